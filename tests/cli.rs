//! Runs the program as a user does: help, exit codes, messages, output, and its end.

#[path = "cli/backends.rs"]
mod backends;
#[path = "cli/discovery.rs"]
mod discovery;
#[path = "cli/host.rs"]
mod host;
#[path = "cli/migrating.rs"]
mod migrating;
#[path = "cli/ping.rs"]
mod ping;
#[path = "cli/ports.rs"]
mod ports;
#[path = "cli/samples.rs"]
mod samples;
#[path = "cli/top.rs"]
mod top;
#[path = "cli/trace.rs"]
mod trace;

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::channel;
use std::thread;

use serde_json::Value;

use samples::{Samples, is_event, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_latency-monitor");

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(PROGRAM)
        .args(arguments)
        .current_dir(folder)
        .output();
    output.expect("the program can be started")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// A daemon that is ended with the test.
struct Daemon {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
    udp_port: u16,
    tcp_port: u16,
    /// Has its file, `lm.toml`.
    folder: tempfile::TempDir,
}

impl Daemon {
    /// Starts it on free ports and waits until it listens.
    fn start(file: &str, arguments: &[&str]) -> Self {
        Self::start_by(Command::new(PROGRAM), file, arguments)
    }

    fn start_by(mut program: Command, file: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lm.toml");
        std::fs::write(&path, file).expect("a file");
        let mut child = program
            .arg("-c")
            .arg(&path)
            .args(["--tcp-port", "0", "--udp-port", "0"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program can be started");
        let mut log = BufReader::new(child.stderr.take().expect("stderr"));
        let mut line = String::new();
        while !line.contains("answering probes") {
            line.clear();
            assert!(
                log.read_line(&mut line).expect("a log") > 0,
                "it ended before it listened"
            );
        }
        let port = |protocol: &str| {
            let (_, rest) = line
                .split_once(protocol)
                .expect("the log names the protocol");
            let digits = rest.split_once("0.0.0.0:").expect("and the address").1;
            let end = digits
                .find(|c: char| !c.is_ascii_digit())
                .expect("and more");
            digits[..end].parse().expect("and the port")
        };
        let (udp_port, tcp_port) = (port("udp="), port("tcp="));
        Self {
            child,
            log,
            udp_port,
            tcp_port,
            folder,
        }
    }

    /// Returns the log's next line with these words.
    fn told(&mut self, words: &str) -> String {
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            assert!(
                self.log.read_line(&mut line).expect("a log") > 0,
                "it ended, and has not said {words:?}"
            );
        }
        line
    }

    /// Gives it another file, and has it read that. Returns what it says of it.
    fn reload(&mut self, file: &str) -> String {
        std::fs::write(self.folder.path().join("lm.toml"), file).expect("a file");
        self.signal("-HUP");
        self.told("read again")
    }

    /// Starts one that probes `peer`.
    fn probing(peer: &Self, top: &str, arguments: &[&str]) -> Self {
        let (udp_port, tcp_port) = (peer.udp_port, peer.tcp_port);
        let file = format!(
            "name = \"near\"\ninterval = 5\n{top}\n[[targets]]\nhost = \"127.0.0.1\"\n\
             label = \"far\"\ntags = [\"isp:local\"]\nudp_port = {udp_port}\ntcp_port = {tcp_port}\n"
        );
        Self::start(&file, arguments)
    }

    fn output(&mut self) -> BufReader<std::process::ChildStdout> {
        BufReader::new(self.child.stdout.take().expect("stdout, once"))
    }

    /// Returns the lines that it prints. They are read as they come: it never waits for the test.
    fn lines(&mut self) -> impl Iterator<Item = String> + use<> {
        let (sender, lines) = channel();
        let out = self.output();
        thread::spawn(move || {
            let lines = out.lines().map(|line| line.expect("a line"));
            for line in lines {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        lines.into_iter()
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .arg(name)
            .arg(self.child.id().to_string())
            .status();
        assert!(sent.expect("kill can be started").success());
    }

    fn end(&mut self) -> ExitStatus {
        self.child.wait().expect("a child that can be waited for")
    }

    fn rest_of_log(&mut self) -> String {
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).expect("a log");
        rest
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn help_has_the_groups_and_examples_of_the_predecessor() {
    let output = run(Path::new("."), &["--help"]);
    assert!(output.status.success());
    insta::assert_snapshot!("help", text(&output.stdout));
}

#[test]
fn check_prints_what_the_repository_s_file_comes_to() {
    let output = run(Path::new(env!("CARGO_MANIFEST_DIR")), &["check"]);
    assert!(output.status.success(), "{output:?}");
    insta::assert_snapshot!("check", text(&output.stdout));
}

#[test]
fn a_wrong_file_ends_with_2_and_names_key_line_and_what_would_be_right() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(
        folder.path().join("lm.toml"),
        "name = 'a'\nintervall = 5\nudp_port = 'x'\n",
    )
    .expect("a file");
    for arguments in [&["-c", "lm.toml"][..], &["check", "-c", "lm.toml"]] {
        let output = run(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(
            text(&output.stderr),
            "latency-monitor: lm.toml, line 2: `intervall` is not a key of the top level; did you mean `interval`?\n\
             lm.toml, line 3: `udp_port` must be a whole number or a list of them, not the string \"x\"\n"
        );
        assert_eq!(text(&output.stdout), "");
    }
}

#[test]
fn a_file_that_is_named_must_be_there_and_flags_are_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = run(folder.path(), &["-c", "none.toml"]);
    assert_eq!(missing.status.code(), Some(2));
    let said = text(&missing.stderr);
    assert!(
        said.starts_with("latency-monitor: cannot read the configuration file none.toml"),
        "{said}"
    );
    let flag = run(folder.path(), &["-i", "-3"]);
    assert_eq!(flag.status.code(), Some(2));
    let said = text(&flag.stderr);
    assert_eq!(
        said,
        "latency-monitor: `--interval` must be 0.001 to 86400000 milliseconds, not -3\n"
    );
    let unknown = run(folder.path(), &["--intervall", "3"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("--interval"), "{unknown:?}");
    // The default file may be absent: server mode.
    let server = run(folder.path(), &["check", "--no-udp"]);
    assert!(server.status.success());
    assert!(text(&server.stdout).contains("udp = false"));
}

#[test]
fn check_says_what_would_not_work_on_this_host_and_starts_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = "tcp_port = 0\n[burst]\ndump_dir = 'lm.toml/dumps'\n\
                [[targets]]\nhost = '127.0.0.1'\nsize = 1500";
    std::fs::write(folder.path().join("lm.toml"), file).expect("a file");
    let told = run(
        folder.path(),
        &["check", "-c", "lm.toml", "--tcp-port", "9"],
    );
    assert!(told.status.success(), "{told:?}");
    let said = text(&told.stderr);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 5, "{said}");
    assert!(
        lines[0].starts_with("warning: lm.toml, line 6: `size` is 1500 bytes"),
        "{said}"
    );
    assert!(
        lines[1].starts_with("warning: `dump_dir` lm.toml/dumps cannot be written: "),
        "{said}"
    );
    assert!(lines[2].starts_with("1 targets: up to "), "{said}");
    assert!(
        lines[3].starts_with("engine: mio (1 connect probes a second; "),
        "{said}"
    );
    assert!(lines[4].starts_with("sandbox: restricts "), "{said}");
    // What would end the daemon ends the check.
    for (file, wanted) in [
        (
            "log_file = 'lm.toml/log'",
            "cannot open the log file lm.toml/log",
        ),
        (
            "address = '203.0.113.7'",
            "cannot listen on UDP 203.0.113.7:0",
        ),
        (
            "address = 'fe80::1%nowhere'",
            "cannot listen on `address` fe80::1%nowhere",
        ),
    ] {
        std::fs::write(folder.path().join("lm.toml"), file).expect("a file");
        for arguments in [&["check", "-c", "lm.toml"][..], &["-c", "lm.toml"]] {
            let told = run(folder.path(), arguments);
            assert_eq!(told.status.code(), Some(1), "{file}");
            let said = text(&told.stderr);
            let wanted = wanted.trim_end_matches('0');
            assert!(said.contains(wanted), "{said}");
        }
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("it").count(), 1);
}

/// `nohup` and a shell's `&` start a program so.
#[test]
fn check_prints_what_another_member_of_a_mesh_makes_of_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    // Nothing of it is there on this host, which is no member either.
    let file = "log_file = '/proc/none/log'
        address = '203.0.113.5'
        [[mesh]]
        name = 'm'
        tags = ['mesh:m']
        members = [
            { name = 'a', address = '192.0.2.1' },
            { name = 'b', address = '192.0.2.2', tags = ['site:b'] },
        ]";
    std::fs::write(folder.path().join("latency.toml"), file).expect("a file");
    let output = run(folder.path(), &["check", "--as", "a"]);
    let (printed, told) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(printed.starts_with("name = \"a\"\n"), "{printed}");
    let targets: Vec<&str> = printed.split("[[targets]]").skip(1).collect();
    assert_eq!(targets.len(), 1, "{printed}");
    for line in [
        "host = \"192.0.2.2\"",
        "label = \"b\"",
        "tags = [\"mesh:m\", \"site:b\"]",
    ] {
        assert!(targets[0].contains(line), "{printed}");
    }
    assert!(told.starts_with("1 targets: up to "), "{told}");
    let output = run(folder.path(), &["check", "--as", "nobody"]);
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(
        told.contains("line 3: `mesh` \"m\" has no member called \"nobody\""),
        "{told}"
    );
    assert!(
        told.contains("`--as nobody`: no [[mesh]] has a member of this name"),
        "{told}"
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn a_signal_that_is_ignored_at_the_start_stays_ignored() {
    for (ignored, ends) in [("HUP", "-TERM"), ("INT", "-TERM"), ("TERM", "-INT")] {
        let mut shell = Command::new("sh");
        let script = format!("trap '' {ignored}; exec \"$0\" \"$@\"");
        shell.args(["-c", &script, PROGRAM]);
        let mut daemon = Daemon::start_by(shell, "", &[]);
        // The kernel drops it at once; the next one shows that the daemon goes on.
        daemon.signal(&format!("-{ignored}"));
        daemon.signal("-USR1");
        let mut line = String::new();
        while !line.contains("cannot dump") {
            line.clear();
            assert!(daemon.log.read_line(&mut line).expect("a log") > 0);
            assert!(!line.contains("ending"), "{ignored}: {line}");
        }
        daemon.signal(ends);
        assert!(daemon.end().success());
    }
}

#[test]
fn a_log_file_that_was_moved_is_opened_again_on_sighup() {
    let folder = tempfile::tempdir().expect("a folder");
    let (log, moved) = (folder.path().join("log"), folder.path().join("log.1"));
    let file = format!("log_file = '{}'", log.display());
    let mut daemon = Daemon::start(&file, &[]);
    let text = |path| std::fs::read_to_string(path).expect("a log");
    // Another thread writes the file, which may be later than the console.
    while !text(&log).contains("answering probes") {
        thread::yield_now();
    }
    std::fs::rename(&log, &moved).expect("a log");
    daemon.signal("-HUP");
    daemon.told("is opened again");
    daemon.signal("-TERM");
    assert!(daemon.end().success());
    assert!(text(&moved).contains("answering probes") && !text(&moved).contains("ending"));
    assert!(text(&log).contains("ending") && !text(&log).contains("answering probes"));
}

#[test]
fn samples_come_as_the_predecessor_prints_them_and_a_signal_ends_it_in_order() {
    let far = Daemon::start("name = \"far\"", &[]);
    for signal in ["-TERM", "-INT"] {
        let mut near = Daemon::probing(&far, "", &[]);
        let mut lines = near.lines();
        let mut missing = vec!["udp.wan.rtt", "tcp.wan.rtt", "tcp.wan.latency"];
        while !missing.is_empty() {
            let line = lines.next().expect("more samples");
            let sample = json(&line);
            if is_event(&sample) {
                continue;
            }
            assert!(line.starts_with("{\"metric\": \""), "{line}");
            let order = [
                "\"metric\"",
                "\"points\"",
                "\"tags\"",
                "\"stamp\"",
                "\"seq\"",
            ];
            let places: Vec<_> = order
                .iter()
                .map(|key| line.find(key).expect("each key"))
                .collect();
            assert!(places.is_sorted(), "{line}");
            assert_eq!(
                sample["tags"],
                serde_json::json!(["source:near", "target:far", "isp:local"]),
                "{line}"
            );
            assert!(
                sample["points"][0][1].as_i64().is_some_and(|ns| ns > 0),
                "{line}"
            );
            missing.retain(|metric| sample["metric"] != *metric);
        }
        near.signal(signal);
        // What was counted comes out before the end.
        let last: Vec<Value> = lines.map(|line| json(&line)).collect();
        assert!(
            last.iter().any(|record| record["metric"] == "udp.wan.sent"),
            "{signal}"
        );
        assert_eq!(near.end().code(), Some(0), "{signal}");
        let log = near.rest_of_log();
        assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
    }
}

#[test]
fn a_file_that_is_read_again_changes_what_it_says_and_nothing_else() {
    let far = Daemon::start("name = \"far\"", &[]);
    let target_with = |label: &str, rest: &str| {
        format!(
            "[[targets]]\nhost = \"127.0.0.1\"\nlabel = \"{label}\"\ninterval = 5\ntimeout = 30\nudp_port = {}\n\
             tcp_port = {}\n{rest}",
            far.udp_port, far.tcp_port
        )
    };
    let target = |label: &str| target_with(label, "");
    let first = [
        target("one"),
        target("two"),
        target_with("gone", "size = 500\n"),
    ]
    .concat();
    let top = "name = \"near\"\nmetrics = { send_interval = 0.2 }\n";
    let mut near = Daemon::start(&format!("{top}{first}"), &[]);
    let lines = near.lines();
    let mut samples = Samples::of(lines);
    samples.next("udp.wan.rtt", "two");
    samples.next("udp.wan.rtt", "gone");
    let before = samples.next("udp.wan.rtt", "one");
    let is_read = |record: &Value| record["metric"] == "monitor.config.reload_ok";
    assert_eq!(samples.find(is_read)["points"][0][1], 1);

    // With a mistake nothing changes.
    let told = near.reload(&format!("{top}intervall = 5\n{}", target("one")));
    assert!(
        told.contains("ERROR") && told.contains("nothing has changed"),
        "{told}"
    );
    assert!(told.contains("line 3: `intervall`"), "{told}");
    samples.find(|record| is_read(record) && record["points"][0][1] == 0);
    samples.next("tcp.wan.rtt", "two");
    let of_two = samples.next("udp.wan.rtt", "two");

    let told = near.reload(&format!(
        "log_level = \"DEBUG\"\n{top}{}{}{}",
        target("one"),
        target_with("renamed", "tags = [\"a:b\"]\n"),
        target_with("three", "size = 600\n")
    ));
    assert!(
        told.contains("kept=1 relabelled=1 rekeyed=0 added=1 removed=1"),
        "{told}"
    );
    samples.find(|record| is_read(record) && record["points"][0][1] == 1);
    assert!(
        samples.next("udp.wan.rtt", "renamed") > of_two,
        "it is the same flow"
    );
    assert!(near.told("only a restart").contains("log_level"));
    for metric in ["udp.wan.rtt", "tcp.wan.rtt", "tcp.wan.latency"] {
        samples.next(metric, "three");
    }
    // It has gone on with the same numbers.
    assert!(samples.next("udp.wan.rtt", "one") > before);
    std::fs::remove_file(near.folder.path().join("lm.toml")).expect("a file");
    near.signal("-HUP");
    assert!(near.told("read again").contains("ERROR"), "there is none");
    near.signal("-TERM");
    samples.end_without_a_gap("udp.wan.rtt", &["one"]);
    samples.end_without_a_gap("udp.wan.rtt", &["two", "renamed"]);
    assert_eq!(near.end().code(), Some(0));
}

#[test]
fn keys_are_changed_without_a_loss() {
    let keys = tempfile::tempdir().expect("a folder");
    let (theirs, ours) = (keys.path().join("far"), keys.path().join("near"));
    std::fs::create_dir(&theirs).expect("a folder");
    let write = |path: &Path, byte: u8| {
        std::fs::write(path, [byte; 32]).expect("a file");
    };
    write(&theirs.join("near"), 1);
    write(&ours, 1);
    let far_file = format!(
        "name = \"far\"\n[auth]\nkey_dir = \"{}\"\nrequire_key = true\n",
        theirs.display()
    );
    let mut far = Daemon::start(&far_file, &[]);
    let near_file = format!(
        "name = \"near\"\nmetrics = {{ send_interval = 0.2 }}\n[[targets]]\nhost = \"127.0.0.1\"\nlabel = \"far\"\n\
         interval = 5\ntimeout = 30\nkey_file = \"{}\"\nudp_port = {}\ntcp_port = {}\n",
        ours.display(),
        far.udp_port,
        far.tcp_port
    );
    let mut near = Daemon::start(&near_file, &[]);
    let lines = near.lines();
    let mut samples = Samples::of(lines);
    let go_on = |samples: &mut Samples<_>| {
        for metric in ["udp.wan.rtt", "tcp.wan.rtt"].repeat(10) {
            samples.next(metric, "far");
        }
    };
    go_on(&mut samples);
    write(&theirs.join("near"), 2);
    far.reload(&far_file);
    go_on(&mut samples);
    write(&ours, 2);
    let told = near.reload(&near_file);
    assert!(
        told.contains("kept=0 relabelled=0 rekeyed=1 added=0 removed=0"),
        "{told}"
    );
    go_on(&mut samples);
    far.reload(&far_file);
    go_on(&mut samples);
    near.signal("-TERM");
    samples.end_without_a_gap("udp.wan.rtt", &["far"]);
    assert_eq!(near.end().code(), Some(0));
}

#[test]
fn windows_carry_a_histogram_that_can_be_read() {
    use base64::Engine as _;
    let far = Daemon::start("name = \"far\"", &[]);
    let near_file = "metrics = { send_interval = 0.2, mode = \"windows\" }";
    let mut near = Daemon::probing(&far, near_file, &[]);
    let mut lines = near.lines();
    let window = lines
        .by_ref()
        .map(|line| json(&line))
        .inspect(|record| {
            assert!(record.get("seq").is_none(), "a sample: {record}");
        })
        .find(|record| record["metric"] == "udp.wan.rtt" && record["count"].as_u64() > Some(5));
    let window = window.expect("a window");
    let encoded = window["hdr"].as_str().expect("a histogram");
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(encoded)
        .expect("base64");
    let mut deserializer = hdrhistogram::serialization::Deserializer::new();
    let histogram: hdrhistogram::Histogram<u64> = deserializer
        .deserialize(&mut &bytes[..])
        .expect("a V2 deflate histogram");
    assert_eq!(Some(histogram.len()), window["count"].as_u64());
    let p50 = window["p50"].as_u64().expect("a percentile");
    assert!(histogram.equivalent(histogram.value_at_quantile(0.5), p50));
    near.signal("-TERM");
    assert!(lines.count() > 0);
    assert_eq!(near.end().code(), Some(0));
}

#[test]
fn the_log_backend_writes_at_its_level() {
    let far = Daemon::start("name = \"far\"", &[]);
    let file = "metrics = { backend = \"log\", level = \"ERROR\" }";
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("deep/er/lm.log");
    let path = log.to_str().expect("UTF-8");
    // With stdout free the log goes there, and to the file: the start is seen in the file.
    let (udp_port, tcp_port) = (far.udp_port, far.tcp_port);
    std::fs::write(
        folder.path().join("lm.toml"),
        format!(
            "{file}\ninterval = 5\ntcp_port = 0\nudp_port = 0\n[[targets]]\nhost = \"127.0.0.1\"\n\
             udp_port = {udp_port}\ntcp_port = {tcp_port}\n"
        ),
    )
    .expect("a file");
    let mut near = Command::new(PROGRAM)
        .args(["-c", "lm.toml", "-f", path])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program can be started");
    let mut lines = BufReader::new(near.stdout.take().expect("stdout")).lines();
    let sample = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("udp.wan.rtt")));
    let sample = sample.expect("a sample").expect("a line");
    let (before, object) = sample.split_once('{').expect("an object");
    assert!(before.contains("ERROR"), "{sample}");
    json(&format!("{{{object}"));
    let sent = Command::new("kill").arg(near.id().to_string()).status();
    assert!(sent.expect("kill can be started").success());
    assert!(lines.count() > 0);
    assert!(near.wait().expect("it ends").success());
    let filed = std::fs::read_to_string(log).expect("the log file");
    assert!(filed.contains("answering probes") && filed.contains("udp.wan.rtt"));
}

#[test]
fn a_reader_that_leaves_ends_it_without_a_word_of_panic() {
    let far = Daemon::start("name = \"far\"", &[]);
    let mut near = Daemon::probing(&far, "", &[]);
    let mut line = String::new();
    near.output().read_line(&mut line).expect("a line");
    assert_eq!(near.end().code(), Some(0));
    let log = near.rest_of_log();
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
}

#[test]
fn a_port_that_is_taken_is_said_and_ends_with_1() {
    let folder = tempfile::tempdir().expect("a folder");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let udp = udp.local_addr().expect("bound").port();
    let tcp = tcp.local_addr().expect("bound").port();
    for (protocol, port, udp_port, tcp_port) in [
        ("UDP", udp, udp.to_string(), 0),
        ("UDP", udp, format!("[0, {udp}]"), 0),
        ("TCP", tcp, "0".to_owned(), tcp),
    ] {
        let file = format!("address = '127.0.0.1'\nudp_port = {udp_port}\ntcp_port = {tcp_port}");
        std::fs::write(folder.path().join("latency.toml"), file).expect("a file");
        let output = run(folder.path(), &[]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = text(&output.stderr);
        let wanted = format!("latency-monitor: cannot listen on {protocol} 127.0.0.1:{port}: ");
        assert!(said.contains(&wanted), "{said}");
    }
}

#[test]
fn a_backend_that_cannot_start_is_said_and_ends_with_1() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port();
    let file = format!(
        "tcp_port = 0\nudp_port = 0\n[metrics]\nbackend = 'zeromq'\naddress = '127.0.0.1'\nport = {port}"
    );
    std::fs::write(folder.path().join("latency.toml"), file).expect("a file");
    let output = run(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let wanted = format!(
        "latency-monitor: cannot start the backend zeromq: cannot bind tcp://127.0.0.1:{port}: \
         Address already in use\n"
    );
    assert_eq!(text(&output.stderr), wanted);
}

#[test]
fn check_shows_that_there_is_a_secret_and_not_which() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = "name = 'a'\n[[metrics]]\nbackend = 'clickhouse'\npassword_file = 'key'\n\
                [[metrics]]\nbackend = 'datadog'\n[[metrics]]\nbackend = 'zeromq'\n\
                [[metrics]]\nbackend = 'pushgateway'\nspool_dir = '/var/spool/lm'\n";
    std::fs::write(folder.path().join("lm.toml"), file).expect("a file");
    std::fs::write(folder.path().join("key"), "open sesame\n").expect("a file");
    let output = Command::new(PROGRAM)
        .args(["check", "-c", "lm.toml"])
        .env("DD_API_KEY", "0123456789")
        .env_remove("DD_SITE")
        .current_dir(folder.path())
        .output()
        .expect("the program can be started");
    assert!(output.status.success(), "{output:?}");
    let printed = text(&output.stdout);
    assert!(!printed.contains("sesame") && !printed.contains("0123456789"));
    let metrics = printed.find("[[metrics]]").expect("a table of metrics");
    insta::assert_snapshot!("check_backends", &printed[metrics..]);
}
