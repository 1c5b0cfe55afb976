//! `latency-monitor ping`, against a monitor in this process and against ports where nothing listens.

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;

use latency_monitor::{Config, LatencyMonitor, Record};
use serde_json::Value;

use crate::ports::{Deaf, Refusing};
use crate::{PROGRAM, run, text};

/// A host that answers, and what it publishes.
struct Far {
    monitor: LatencyMonitor,
    records: Receiver<Record>,
    udp: String,
    tcp: String,
}

impl Far {
    fn start() -> Self {
        let config = Config::default().with_name("far\u{202e}").with_ports(0, 0);
        let mut monitor = LatencyMonitor::new(config);
        let records = monitor.start().expect("free ports");
        let listening = monitor.listening();
        let (udp, tcp) = (listening.udp[0].port(), listening.tcp[0].port());
        Self {
            monitor,
            records,
            udp: udp.to_string(),
            tcp: tcp.to_string(),
        }
    }

    /// Ends it. Returns the one-way delays that it has published.
    fn end(mut self) -> Vec<i64> {
        self.monitor.stop().expect("it ends in order");
        let delays = self.records.iter();
        let delays = delays.filter(|record| record.metric().ends_with(".wan.owd"));
        delays.filter_map(|record| record.value()).collect()
    }
}

/// Runs a ping in an empty folder. Returns its exit code, and what it says on both streams.
fn ping(arguments: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let all = [&["ping"], arguments].concat();
    let output = run(folder.path(), &all);
    let code = output.status.code().expect("it ends by itself");
    (code, text(&output.stdout), text(&output.stderr))
}

fn lines(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

#[test]
fn every_probe_is_counted_and_what_both_ends_publish_is_the_same() {
    for flag in ["--udp", "--tcp"] {
        let far = Far::start();
        let port = if flag == "--udp" { &far.udp } else { &far.tcp };
        let (code, out, err) = ping(&[
            flag,
            port,
            "-c",
            "20",
            "-i",
            "5ms",
            "-W",
            "30",
            "--protocol",
            "native",
            "--raw",
            "--json",
            "-v",
            "127.0.0.1",
        ]);
        assert_eq!(code, 0, "{err}");
        let lines = lines(&out);
        let (summary, probes) = lines.split_last().expect("a summary");
        assert_eq!(summary["line"], "summary");
        for key in ["sent", "received", "sent_native"] {
            assert_eq!(summary[key], 20, "{key}: {summary}");
        }
        assert_eq!(summary["wire"], "native wire");
        for delay in ["rtt", "forward", "reverse"] {
            assert_eq!(summary[delay]["count"], 20, "{delay}: {summary}");
        }
        assert!(summary["clock"]["error"].as_i64().is_some_and(|ns| ns > 0));
        let probes: Vec<&Value> = probes
            .iter()
            .filter(|line| line["line"] == "probe")
            .collect();
        assert_eq!(probes.len(), 20, "{out}");
        let mut sums = 0;
        let mut forward: Vec<i64> = probes
            .iter()
            .map(|probe| probe["forward"].as_i64().expect("a delay"))
            .collect();
        for probe in &probes {
            let sum = probe["forward"].as_i64().zip(probe["reverse"].as_i64());
            let sum = sum.map(|(forward, reverse)| forward + reverse);
            // Without the kernel's stamp of a reply its round trip is by another clock than the directions.
            let is_by_one_clock = probe["stamp"] != "user";
            assert!(!is_by_one_clock || sum == probe["rtt"].as_i64(), "{probe}");
            sums += u32::from(is_by_one_clock);
        }
        assert!(flag == "--tcp" || sums > 0, "{out}");
        let published = far.end();
        forward.sort_unstable();
        // What a probe of a stream carries, and when its bytes left, both ends know by other stamps.
        if flag == "--udp" {
            let same = forward.iter().filter(|ns| published.contains(ns));
            // The first ones and the last may have had their stamps another way there.
            assert!(same.count() >= 17, "{forward:?} {published:?}");
        }
    }
}

#[test]
fn for_people_there_is_a_line_at_the_start_and_a_summary_at_the_end() {
    let far = Far::start();
    let (code, out, err) = ping(&[
        "--udp",
        &far.udp,
        "-c",
        "3",
        "-i",
        "10ms",
        "-W",
        "30",
        "localhost",
        "-4",
    ]);
    assert_eq!(code, 0, "{err}");
    let first = format!(
        "PING localhost (127.0.0.1), UDP port {}, a probe every 10.00 ms",
        far.udp
    );
    assert!(out.starts_with(&first), "{out}");
    for part in [
        "3 sent, 3 answered, 0 lost (0 %)",
        "native wire ---",
        "forward ",
        "rtt of 3 probes:",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let few = ["-qc", "2", "-i", "10ms", "-W", "30", "127.0.0.1"];
    let quiet = ping(&[&["--udp", &far.udp], &few[..]].concat()).1;
    assert!(quiet.starts_with("\n--- 127.0.0.1"), "{quiet}");
    assert!(quiet.contains("2 sent, 2 answered"), "{quiet}");
}

#[test]
fn a_connect_needs_no_program_of_ours() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = server.local_addr().expect("it is bound").port().to_string();
    let (code, out, err) = ping(&[
        "--connect",
        &port,
        "-c",
        "3",
        "-i",
        "10ms",
        "127.0.0.1",
        "--json",
    ]);
    assert_eq!(code, 0, "{err}");
    let summary = lines(&out).pop().expect("a summary");
    assert_eq!(summary["wire"], "connects");
    for key in ["sent", "received"] {
        assert_eq!(summary[key], 3, "{summary}");
    }
    assert_eq!(summary["forward"], Value::Null);
}

#[test]
fn a_closed_port_is_told_of_and_ends_with_1() {
    let deaf = Deaf::new();
    let port = deaf.port();
    let (code, out, err) = ping(&[
        "--udp",
        &port,
        "-c",
        "2",
        "-i",
        "10ms",
        "-W",
        "0.1",
        "127.0.0.1",
    ]);
    assert_eq!(code, 1, "{err}");
    let said = format!(
        "The host itself says (ICMP): port unreachable. So 127.0.0.1 is there, and nothing listens on UDP port {port}"
    );
    assert!(out.contains(&said), "{out}");
    let refusing = Refusing::new();
    let refused = ping(&[
        "--connect",
        &refusing.port(),
        "-c",
        "2",
        "-i",
        "10ms",
        "127.0.0.1",
    ]);
    assert_eq!(refused.0, 1, "{}", refused.2);
    assert!(
        refused
            .1
            .contains("The connection was refused: 127.0.0.1 is there"),
        "{}",
        refused.1
    );
}

#[test]
fn what_else_answers_is_found() {
    // The text probes of a ping are no requests of the reflector here, which answers STAMP alone.
    let reflector = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = reflector
        .local_addr()
        .expect("it is bound")
        .port()
        .to_string();
    std::thread::spawn(move || {
        let mut request = [0; 2_000];
        while let Ok((length, from)) = reflector.recv_from(&mut request) {
            // A number in binary, and not in digits.
            if length >= 44 && request[0] == 0 {
                let reply = reflect(&request[..44]);
                let _ = reflector.send_to(&reply, from);
            }
        }
    });
    let (code, out, err) = ping(&[
        "--udp",
        &port,
        "-c",
        "2",
        "-i",
        "10ms",
        "-W",
        "0.2",
        "127.0.0.1",
    ]);
    assert_eq!(code, 1, "{err}");
    let told = format!(
        "Tried STAMP to UDP port {port}: it answers. Use `latency-monitor ping --protocol stamp --udp {port} 127.0.0.1`."
    );
    assert!(out.contains(&told), "{out}");
    assert!(out.contains("Silence: no answer from UDP port"), "{out}");
}

/// A stateless reflector's answer (RFC 8762, section 4.3.1), with the sender's time for its own.
fn reflect(request: &[u8]) -> Vec<u8> {
    let (number, rest) = request.split_at(4);
    let (stamp, error) = (&rest[..8], &rest[8..10]);
    [
        number,
        stamp,
        error,
        &[0; 2],
        stamp,
        number,
        stamp,
        error,
        &[0; 2],
        &[255],
        &[0; 3],
    ]
    .concat()
}

#[test]
fn wrong_names_and_flags_end_with_2_and_of_a_plugin_with_3() {
    for (arguments, said) in [
        (
            &["nowhere.invalid"][..],
            "cannot find the address of nowhere.invalid",
        ),
        (
            &["-6", "127.0.0.1"],
            "127.0.0.1 has no IPv6 address; it leads to 127.0.0.1",
        ),
        (&["a\u{202e}b"], "a\\u{202e}b is no name and no address"),
        (
            &["-i", "0", "127.0.0.1"],
            "must be 0.000001 to 86400 seconds",
        ),
        (&["-c", "0", "127.0.0.1"], "0 is not in 1.."),
        (
            &["--udp", "1", "--tcp", "2", "127.0.0.1"],
            "cannot be used with",
        ),
        (&["--source", "::1", "127.0.0.1"], "source"),
        (&["224.0.0.1"], "is the address of many hosts"),
        (&["--key-file", "none", "127.0.0.1"], "none"),
    ] {
        let (code, out, err) = ping(arguments);
        assert!(err.contains(said), "{arguments:?}: {err}");
        assert_eq!((code, &*out), (2, ""), "{arguments:?}");
        let plugin = [&["--thresholds", "rtt=1,2"], arguments].concat();
        let (code, out, _) = ping(&plugin);
        assert_eq!(code, 3, "{plugin:?}: {out}");
        assert!(out.starts_with("PING UNKNOWN - "), "{out}");
    }
    let (code, out, _) = ping(&["--thresholds", "rtt=2,1", "127.0.0.1"]);
    assert_eq!(code, 3);
    assert!(
        out.contains("has a critical value under the one that warns"),
        "{out}"
    );
}

#[test]
fn flags_of_the_daemon_stand_before_no_other_command_than_check() {
    let folder = tempfile::tempdir().expect("a folder");
    for arguments in [
        &["-i", "5", "ping", "127.0.0.1"][..],
        &["--no-udp", "trace", "127.0.0.1"],
        &["-c", "f.toml", "schema", "config"],
    ] {
        let output = run(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = text(&output.stderr);
        assert!(
            said.contains("is a flag of the daemon and of `check`"),
            "{said}"
        );
    }
    std::fs::write(folder.path().join("f.toml"), "max_size = 700").expect("a file");
    for arguments in [
        &["check", "-c", "f.toml", "-s", "900"][..],
        &["-c", "f.toml", "-s", "900", "check"],
        &["-s", "900", "check", "-c", "f.toml"],
        &[
            "-s",
            "3",
            "-c",
            "none.toml",
            "check",
            "-c",
            "f.toml",
            "-s",
            "900",
        ],
    ] {
        let output = run(folder.path(), arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        assert!(
            text(&output.stdout).contains("max_size = 900"),
            "{arguments:?}"
        );
    }
}

#[test]
fn a_plugin_says_one_line() {
    let far = Far::start();
    let base = [
        "--udp",
        &far.udp,
        "-c",
        "3",
        "-i",
        "10ms",
        "-W",
        "30",
        "127.0.0.1",
        "--thresholds",
    ];
    for (threshold, code, word) in [
        ("rtt.p99=1min,2min", 0, "OK"),
        ("rtt.max=0,1min", 1, "WARNING"),
        ("rtt.min=0,0", 2, "CRITICAL"),
    ] {
        let (found, out, err) = ping(&[&base[..], &[threshold]].concat());
        assert_eq!(found, code, "{out}{err}");
        assert_eq!(out.lines().count(), 1, "{out}");
        assert!(
            out.starts_with(&format!("PING {word} - 127.0.0.1, UDP port ")),
            "{out}"
        );
        assert!(
            out.contains(" | rtt.m") || out.contains(" | rtt.p99="),
            "{out}"
        );
    }
    let deaf = Deaf::new();
    let silent = [
        "--udp",
        &deaf.port(),
        "-c",
        "2",
        "-i",
        "10ms",
        "-W",
        "0.1",
        "127.0.0.1",
    ];
    let (code, out, _) = ping(&[&silent[..], &["--thresholds", "rtt=1,2"]].concat());
    assert_eq!(code, 2);
    assert!(
        out.contains("CRITICAL") && out.contains("no answer to 2 probes | rtt.mean=U;"),
        "{out}"
    );
}

#[test]
fn help_has_every_flag() {
    let (code, out, _) = ping(&["--help"]);
    assert_eq!(code, 0);
    insta::assert_snapshot!("ping_help", out);
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill")
        .arg(name)
        .arg(child.id().to_string())
        .status();
    assert!(sent.expect("kill can be started").success());
}

#[test]
fn a_signal_ends_it_with_a_summary_and_sigquit_asks_for_one_meanwhile() {
    let far = Far::start();
    let mut child = Command::new(PROGRAM)
        .args(["ping", "--udp", &far.udp, "-v", "-i", "20ms", "-W", "30"])
        .arg("127.0.0.1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program can be started");
    let mut out = BufReader::new(child.stdout.take().expect("stdout"));
    let mut until = |words: &str| {
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            assert!(
                out.read_line(&mut line).expect("text") > 0,
                "it ended before {words:?}"
            );
        }
    };
    until("seq 3 ");
    signal(&child, "-QUIT");
    until("--- 127.0.0.1");
    // It goes on.
    until("seq ");
    signal(&child, "-INT");
    until("--- 127.0.0.1");
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("text");
    assert!(rest.contains(" answered, "), "{rest}");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}
