//! Targets that files and servers list, as a user has them listed.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;

use crate::Daemon;
use crate::samples::Samples;

/// A list with the far end as its one target, under this tag.
fn group(far: &Daemon, tag: &str) -> String {
    let udp_port = far.udp_port;
    format!("[{{ \"targets\": [\"127.0.0.1:{udp_port}\"], \"labels\": {{ \"n\": \"{tag}\" }} }}]")
}

/// Puts a file in the place of one, as whoever writes lists has to.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("a file");
    std::fs::rename(&new, path).expect("a file in its place");
}

#[test]
fn targets_of_files_come_and_go_with_the_files() {
    let far = Daemon::start("name = \"far\"", &[]);
    let lists = tempfile::tempdir().expect("a folder");
    let list = lists.path().join("one.json");
    replace(&list, &group(&far, "1"));
    // Only a change of the folder can be noticed in time.
    let file = format!(
        "name = \"near\"\n[[discovery]]\nfiles = [\"{}/*.json\"]\nrefresh = 86400\ntype = \"udp\"\ninterval = 5\n\
         timeout = 30\n[[targets]]\nhost = \"127.0.0.1\"\nlabel = \"lasting\"\ntype = \"udp\"\nudp_port = {}\n\
         interval = 5\ntimeout = 30\n",
        lists.path().display(),
        far.udp_port
    );
    let mut near = Daemon::start(&file, &[]);
    assert!(
        near.told("targets are listed")
            .contains("kept=1 relabelled=0 rekeyed=0 added=1 removed=0")
    );
    let lines = near.lines();
    let mut samples = Samples::of(lines);
    let tagged = |samples: &mut Samples<_>, tag: &str| {
        samples.find(|record| {
            let has = |wanted: &str| {
                record["tags"]
                    .as_array()
                    .is_some_and(|tags| tags.iter().any(|it| it == wanted))
            };
            record["metric"] == "udp.wan.rtt" && has("target:127.0.0.1") && has(tag)
        })
    };
    tagged(&mut samples, "n:1");

    // Half of a list leaves them, and is told.
    replace(&list, "[{ \"targets\": [\"127.0");
    let told = near.told("its targets stay as they are");
    assert!(
        told.contains("one.json") && told.contains("no list of groups"),
        "{told}"
    );
    tagged(&mut samples, "n:1");
    replace(&list, &group(&far, "2"));
    near.told("targets can be read again");
    let told = near.told("targets are listed");
    assert!(
        told.contains("kept=1 relabelled=1 rekeyed=0 added=0 removed=0"),
        "{told}"
    );
    tagged(&mut samples, "n:2");

    // A list beside it, of the same target under the name that a reload leaves.
    let more = lists.path().join("two.json");
    replace(&more, &group(&far, "3"));
    assert!(
        near.told("targets are listed")
            .contains("kept=2 relabelled=0 rekeyed=0 added=1 removed=0")
    );
    tagged(&mut samples, "n:3");
    let told = near.reload(&file);
    assert!(
        told.contains("kept=3 relabelled=0 rekeyed=0 added=0 removed=0"),
        "{told}"
    );
    std::fs::remove_file(&more).expect("the file is there");
    assert!(
        near.told("targets are listed")
            .contains("kept=2 relabelled=0 rekeyed=0 added=0 removed=1")
    );
    // Without the table there are no targets of it.
    let (_, alone) = file.split_once("[[targets]]").expect("a target");
    let told = near.reload(&format!("name = \"near\"\n[[targets]]{alone}"));
    assert!(
        told.contains("kept=1 relabelled=0 rekeyed=0 added=0 removed=1"),
        "{told}"
    );
    near.signal("-TERM");
    samples.end_without_a_gap("udp.wan.rtt", &["lasting"]);
    assert_eq!(near.end().code(), Some(0));
    let log = near.rest_of_log();
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
}

/// Answers every request with what `answer` writes, and returns its URL.
fn server(answer: fn(&mut TcpStream, &str) -> std::io::Result<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    // It ends with the test's process.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            thread::spawn(move || {
                let mut head = String::new();
                let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
                while !head.ends_with("\r\n\r\n")
                    && reader.read_line(&mut head).expect("a line") > 0
                {}
                // The reader may have left before it is all written.
                let _ = answer(&mut stream, &head);
            });
        }
    });
    format!("http://127.0.0.1:{port}/list")
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";

#[test]
fn a_server_is_asked_as_prometheus_asks_and_its_targets_are_probed() {
    let far = Daemon::start("name = \"far\"", &[]);
    let token = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(token.path(), "sesame\n").expect("a file");
    let url = server(|stream, head| {
        let head = head.to_ascii_lowercase();
        let is_right = head.starts_with("get /list ")
            && head.contains("authorization: bearer sesame\r\n")
            && head.contains("x-prometheus-refresh-interval-seconds: 1\r\n");
        let list = "[{\"targets\": [\"127.0.0.1\"], \"labels\": {\"__label__\": \"listed\"}}]";
        let status = if is_right {
            OK
        } else {
            "HTTP/1.1 403 Forbidden\r\n\r\n"
        };
        write!(stream, "{status}{list}")
    });
    let file = format!(
        "[[discovery]]\nurl = \"{url}\"\nrefresh = 1\ntoken_file = \"{}\"\ninterval = 5\nudp_port = {}\ntcp_port = {}\n",
        token.path().display(),
        far.udp_port,
        far.tcp_port
    );
    let mut near = Daemon::start(&file, &[]);
    let lines = near.lines();
    let mut samples = Samples::of(lines);
    samples.next("udp.wan.rtt", "listed");
    samples.next("tcp.wan.rtt", "listed");
    // A token that is none any more leaves the targets.
    std::fs::write(token.path(), "other\n").expect("a file");
    let told = near.told("its targets stay as they are");
    assert!(told.contains("/list: 403 Forbidden"), "{told}");
    samples.next("udp.wan.rtt", "listed");
    near.signal("-TERM");
    assert_eq!(near.end().code(), Some(0));
}

#[test]
fn sources_that_hang_lie_or_never_end_are_told_once_and_disturb_nothing() {
    let far = Daemon::start("name = \"far\"", &[]);
    let silent = server(|stream, _| {
        // Until the client gives up.
        stream.read(&mut [0]).map(drop)
    });
    let lying = server(|stream, _| write!(stream, "{OK}[{{\"targets\": [\"one two\"]}}]"));
    let endless = server(|stream, _| {
        write!(stream, "{OK}[{{\"targets\": [\"")?;
        let piece = vec![b'a'; 65_536];
        loop {
            stream.write_all(&piece)?;
        }
    });
    let halting = server(|stream, _| {
        write!(stream, "{OK}[{{\"targets\": [")?;
        stream.flush()?;
        stream.read(&mut [0]).map(drop)
    });
    let sources = [silent, lying, endless, halting]
        .map(|url| format!("[[discovery]]\nurl = \"{url}\"\nrefresh = 1\n"));
    let file = format!("timeout = 30\n{}", sources.concat());
    let mut near = Daemon::probing(&far, &file, &[]);
    let lines = near.lines();
    let mut samples = Samples::of(lines);
    // The lie and what never ends are asked for again before the silent one is given up.
    let mut told: Vec<String> = (0..4)
        .map(|_| near.told("its targets stay as they are"))
        .collect();
    told.sort();
    let said = told.concat();
    for words in [
        "\"one two\": `host` must be",
        "the answer has more than 16777216 bytes",
    ] {
        assert_eq!(said.matches(words).count(), 1, "{said}");
    }
    samples.next("udp.wan.rtt", "far");
    near.signal("-TERM");
    samples.end_without_a_gap("udp.wan.rtt", &["far"]);
    assert_eq!(near.end().code(), Some(0));
    let log = near.rest_of_log();
    assert!(
        !log.contains("stay as they are") && !log.contains("panicked"),
        "{log}"
    );
}
