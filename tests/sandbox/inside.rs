//! What is tried inside, and what must come of it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::{TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::thread;

use latency_monitor::engine::Kind;
use latency_monitor::monitor::sandbox::Sandbox;
use latency_monitor::{Config, Overrides};
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::unistd::getppid;

/// The argument by which the program knows that it is to lock itself in.
pub(crate) const WORD: &str = "inside";

/// What must go on, by what it is called in the output.
const ALLOWED: [&str; 14] = [
    "read the configuration",
    "list keys",
    "read a key",
    "write a dump",
    "replace a dump",
    "remove a dump",
    "append to the log",
    "accept on what listened before",
    "connect",
    "send a datagram",
    "resolve a name",
    "make a thread",
    "pair sockets",
    "read what the kernel tells of this process",
];

/// What Landlock must refuse.
const NO_FILES: [&str; 5] = [
    "read another file",
    "list another folder",
    "write another file",
    "make a file beside the configuration",
    "read the log",
];

/// The version of Landlock that keeps signals from others.
const OF_SIGNALS: i32 = 6;

/// What seccomp must refuse.
const NO_CALLS: [&str; 7] = [
    "start a program",
    "become a program",
    "listen on a port",
    "listen on any port",
    "listen on a Unix socket",
    "open a socket for raw packets",
    "make a ring",
];

/// Starts this program again with a folder of files, and looks at what it says.
pub(crate) fn check() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    for name in ["etc", "keys", "other", "log"] {
        fs::create_dir(at(name)).expect("a folder");
    }
    let file = "[auth]\nkey_dir = 'keys'\n[burst]\ndump_dir = 'dumps'";
    fs::write(
        at("etc/lm.toml"),
        format!("log_file = 'log/lm.log'\n{file}"),
    )
    .expect("a file");
    fs::write(at("keys/one"), [7; 32]).expect("a file");
    fs::write(at("other/secret"), "hush").expect("a file");
    let program = std::env::current_exe().expect("this program");
    let ran = Command::new(program)
        .arg(WORD)
        .arg(folder.path())
        .current_dir(folder.path())
        .output()
        .expect("it can be started");
    let said = String::from_utf8_lossy(&ran.stdout);
    let complaint = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{}: {said}{complaint}", ran.status);
    let results: BTreeMap<&str, &str> = said
        .lines()
        .filter_map(|line| line.split_once(": "))
        .collect();
    let result = |what: &str| {
        *results
            .get(what)
            .unwrap_or_else(|| panic!("{what}? {said}"))
    };
    for what in ALLOWED {
        assert_eq!(result(what), "done", "{what}");
    }
    // An older kernel restricts less, and says so.
    let landlock: i32 = result("Landlock").parse().expect("a version");
    for what in NO_FILES.iter().filter(|_| landlock > 0) {
        assert_eq!(result(what), "refused EACCES", "{what}");
    }
    if landlock >= OF_SIGNALS {
        assert_eq!(result("signal another process"), "refused EPERM");
    }
    for what in NO_CALLS {
        assert!(
            result(what).starts_with("refused"),
            "{what}: {}",
            result(what)
        );
    }
    for word in ["execve", "socket", "io_uring_setup"] {
        assert!(result("refused calls").contains(word), "{said}");
    }
    assert_eq!(result("capabilities"), "CapPrm 0 CapEff 0");
    assert_eq!(result("filters"), "NoNewPrivs 1 Seccomp 2");
}

/// Locks itself in, and tries everything.
pub(crate) fn run(folder: &str) {
    let at = |name: &str| Path::new(folder).join(name);
    let file = at("etc/lm.toml");
    let config = Config::load(Some(&file), &Overrides::default()).expect("a right file");
    // The next ones are free, since nobody listens on them now.
    let free = TcpListener::bind("127.0.0.1:0")
        .expect("a free port")
        .local_addr()
        .expect("it");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let near = listener.local_addr().expect("its address");
    fs::write(at("log/lm.log"), "before\n").expect("a file");
    Kind::IoUring.try_out().expect("this system allows rings");

    let sandbox = Sandbox::enter(&config);
    sandbox.close();

    say("Landlock", sandbox.landlock().unwrap_or(0));
    tried("read the configuration", fs::read(&file));
    tried("list keys", fs::read_dir(at("keys")));
    tried("read a key", fs::read(at("keys/one")));
    tried("write a dump", fs::write(at("dumps/new"), "one"));
    tried(
        "replace a dump",
        fs::rename(at("dumps/new"), at("dumps/old")),
    );
    tried("remove a dump", fs::remove_file(at("dumps/old")));
    let log = File::options()
        .append(true)
        .create(true)
        .open(at("log/lm.log"));
    tried(
        "append to the log",
        log.and_then(|mut log| log.write_all(b"after\n").and_then(|()| log.set_len(7))),
    );
    let connected = TcpStream::connect(near);
    tried("connect", connected.as_ref().map_err(copy));
    tried("accept on what listened before", listener.accept());
    let datagram = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(b"probe", near));
    tried("send a datagram", datagram);
    tried("resolve a name", ("localhost", 1).to_socket_addrs());
    let thread = thread::Builder::new().spawn(|| 1);
    tried(
        "make a thread",
        thread.map(|thread| thread.join().expect("no panic")),
    );
    tried("pair sockets", UnixStream::pair());
    let status = fs::read_to_string("/proc/self/status");
    tried(
        "read what the kernel tells of this process",
        status.as_ref().map_err(copy),
    );

    tried("read another file", fs::read(at("other/secret")));
    tried("list another folder", fs::read_dir(at("other")));
    tried("write another file", fs::write(at("other/new"), "ours"));
    tried(
        "make a file beside the configuration",
        fs::write(at("etc/new"), "ours"),
    );
    tried("read the log", fs::read(at("log/lm.log")));
    tried(
        "signal another process",
        kill(getppid(), None).map_err(of_system),
    );

    tried("start a program", Command::new("/bin/true").status());
    let error = Command::new("/bin/true").exec();
    tried::<()>("become a program", Err(error));
    tried("listen on a port", TcpListener::bind(free));
    tried("listen on any port", TcpListener::bind("127.0.0.1:0"));
    tried(
        "listen on a Unix socket",
        UnixListener::bind(at("dumps/socket")),
    );
    let raw = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::empty(),
        None,
    );
    tried("open a socket for raw packets", raw.map_err(of_system));
    let ring = Kind::IoUring.try_out();
    tried("make a ring", ring.map_err(|_| of_system(Errno::EPERM)));

    say("refused calls", sandbox.refused().join(" "));
    let status = status.unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        let value = line
            .and_then(|line| line.split_whitespace().nth(1))
            .unwrap_or("?");
        format!(
            "{} {}",
            name.trim_end_matches(':'),
            value.trim_start_matches("000000000000000")
        )
    };
    say(
        "capabilities",
        format!("{} {}", field("CapPrm:"), field("CapEff:")),
    );
    say(
        "filters",
        format!("{} {}", field("NoNewPrivs:"), field("Seccomp:")),
    );
}

fn say(what: &str, result: impl Display) {
    writeln!(io::stdout(), "{what}: {result}").expect("the parent reads it");
}

fn tried<T>(what: &str, result: io::Result<T>) {
    match result {
        Ok(_) => say(what, "done"),
        Err(error) => {
            let code = Errno::from_raw(error.raw_os_error().unwrap_or(0));
            say(what, format!("refused {code:?}"));
        }
    }
}

fn copy(error: &io::Error) -> io::Error {
    io::Error::from_raw_os_error(error.raw_os_error().unwrap_or(0))
}

fn of_system(error: Errno) -> io::Error {
    io::Error::from_raw_os_error(error as i32)
}
