//! What a host asks of the program beside probes: a service manager, a health check, `man`, a shell.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::{Daemon, PROGRAM, run, text};

/// What has not come by then does not come.
const GIVE_UP: Duration = Duration::from_secs(90);

/// A service manager's end, at an abstract name.
struct Manager {
    socket: UnixDatagram,
    name: String,
}

impl Manager {
    fn new(test: &str) -> Self {
        let name = format!("latency-monitor-{test}-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let socket = UnixDatagram::bind_addr(&address).expect("a socket");
        socket.set_read_timeout(Some(GIVE_UP)).expect("a time");
        Self { socket, name }
    }

    /// Returns how a daemon is started that it waits for.
    fn starts(&self, watchdog_us: &str) -> Command {
        let mut program = Command::new(PROGRAM);
        program
            .env("NOTIFY_SOCKET", format!("@{}", self.name))
            .env("WATCHDOG_USEC", watchdog_us)
            .env_remove("WATCHDOG_PID");
        program
    }

    /// Returns what it is told next, signs of life among it.
    fn told(&self) -> String {
        let mut bytes = [0; 256];
        let length = self.socket.recv(&mut bytes).expect("to be told something");
        text(&bytes[..length])
    }

    /// Returns what it is told next that is no sign of life.
    fn told_of_state(&self) -> String {
        loop {
            let told = self.told();
            if told != "WATCHDOG=1" {
                return told;
            }
        }
    }
}

/// Returns the answer over a Unix socket, which must be there at once.
fn asked_at(socket: &Path, path: &str) -> String {
    let mut stream = UnixStream::connect(socket).expect("somebody who listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

fn monotonic_us() -> u128 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a clock");
    Duration::from(now).as_micros()
}

#[test]
fn a_service_manager_is_told_of_the_start_a_reload_and_the_end() {
    let manager = Manager::new("told");
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("http");
    let file = format!(
        "[metrics]\nbackend = 'cli'\n[http]\nsocket = {socket:?}\n[[targets]]\nhost = '127.0.0.1'\nudp_port = 9\ntype = 'udp'"
    );
    // A sign of life a second: those that come while this test does something else have room.
    let mut daemon = Daemon::start_by(manager.starts("2000000"), &file, &[]);
    assert_eq!(manager.told_of_state(), "READY=1");
    // It is ready: it answers HTTP, and its target is there.
    let targets = asked_at(&socket, "/api/v1/targets");
    assert!(targets.contains("\"127.0.0.1\""), "{targets}");
    // The loop turns.
    for _ in 0..3 {
        assert_eq!(manager.told(), "WATCHDOG=1");
    }
    let before = monotonic_us();
    daemon.reload(&file.replace("'udp'", "'udp'\nlabel = 'other'"));
    let told = manager.told_of_state();
    let at = told.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
    let at: u128 = at
        .and_then(|at| at.parse().ok())
        .expect("both, with a time");
    assert!((before..=monotonic_us()).contains(&at), "{told}, {before}");
    assert_eq!(manager.told_of_state(), "READY=1");
    let targets = asked_at(&socket, "/api/v1/targets");
    assert!(targets.contains("\"other\""), "{targets}");
    // A mistake changes nothing, and what was ready is ready still.
    daemon.reload("nom = 'a'");
    assert!(manager.told_of_state().starts_with("RELOADING=1\n"));
    assert_eq!(manager.told_of_state(), "READY=1");
    daemon.signal("-TERM");
    assert_eq!(manager.told_of_state(), "STOPPING=1");
    assert!(daemon.end().success());
}

#[test]
fn a_daemon_that_cannot_start_is_never_ready() {
    let manager = Manager::new("never");
    let taken = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = taken.local_addr().expect("its own").port().to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let output = manager
        .starts("200000")
        .args(["--tcp-port", &port, "--udp-port", "0"])
        .current_dir(folder.path())
        .output();
    let output = output.expect("the program can be started");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    manager.socket.set_nonblocking(true).expect("a socket");
    let error = manager.socket.recv(&mut [0; 64]).expect_err("nothing");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_manager_that_is_not_there_keeps_no_daemon_from_running() {
    for name in ["/proc/none/notify", "vsock:2:1234"] {
        let mut program = Command::new(PROGRAM);
        program.env("NOTIFY_SOCKET", name);
        let mut daemon = Daemon::start_by(program, "", &[]);
        daemon.signal("-TERM");
        assert!(daemon.end().success());
    }
}

#[test]
fn health_is_0_for_a_daemon_that_is_well_and_1_with_the_reason_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("http");
    let file = format!("[metrics]\nbackend = 'cli'\n[http]\nsocket = {socket:?}");
    let daemon = Daemon::start(&file, &[]);
    let path = daemon.folder.path().join("lm.toml");
    let path = path.to_str().expect("UTF-8");
    let at = format!("unix:{}", socket.display());
    for (arguments, wanted) in [
        (&["-c", path][..], "ok"),
        (&[&at], "ok"),
        (&["--ready", &at], "listening: yes"),
    ] {
        let output = run(folder.path(), &[&["health"], arguments].concat());
        let said = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(said.starts_with(&format!("{at}: {wanted}")), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    drop(daemon);
    for arguments in [&["-c", path][..], &[&at], &["-c", "missing.toml"]] {
        let output = run(folder.path(), &[&["health"], arguments].concat());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let below = folder.path().join("share/man");
    let written = run(folder.path(), &["man", "--dir", "share/man"]);
    assert!(written.status.success(), "{written:?}");
    assert!(written.stdout.is_empty());
    let names = std::fs::read_dir(&below).expect("the folder");
    let names = names.map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = names
        .map(|name| name.into_string().expect("UTF-8"))
        .collect();
    names.sort();
    insta::assert_snapshot!("manual_pages", names.join("\n"));
    for name in &names {
        let file = std::fs::read_to_string(below.join(name)).expect("a page");
        let (page, section) = name.rsplit_once('.').expect("a section");
        let title = format!(".TH \"{page}\" \"{section}\" ");
        assert!(
            file.contains(&title) && file.contains(".SH NAME\n"),
            "{name}"
        );
        let printed = run(folder.path(), &["man", page]);
        assert_eq!(text(&printed.stdout), file);
    }
    let page = text(&run(folder.path(), &["man"]).stdout);
    for words in [
        "SIGHUP",
        "EXIT STATUS",
        "NOTIFY_SOCKET",
        "\\-\\-no\\-tcp",
        ".SH EXAMPLES",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let missing = run(folder.path(), &["man", "nothing"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("latency-monitor-ping, "));
}

#[test]
fn completions_know_commands_and_flags() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(Path::new("."), &["completions", shell]);
        assert!(output.status.success(), "{output:?}");
        let script = text(&output.stdout);
        for word in ["health", "thresholds", "udp-port"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let output = run(Path::new("."), &["completions", "tcsh"]);
    assert_eq!(output.status.code(), Some(2));
}
