//! The face over real sockets, as others meet it.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tempfile::TempDir;

use super::*;
use crate::config::{Config, HttpConfig, Overrides};
use crate::limits::HTTP_LISTENERS_MAX;
use crate::proto::{Counters, FlowKind, Labels, Spoken, Subject, Wall};
use crate::publish::{Backend, HistogramKind, Scale, ScrapeSettings};
use crate::record::{ClockOwner, EventKind, Metric, Mode, Record, SinkConfig, Tags};

/// A monitor that answers as it is told.
struct Told {
    since_turn_ms: AtomicU64,
    backends: Vec<Arc<BackendStats>>,
    reloads: Mutex<Vec<Result<String, String>>>,
}

impl Asked for Told {
    fn since_turn(&self) -> Duration {
        Duration::from_millis(self.since_turn_ms.load(Ordering::Relaxed))
    }

    fn backends(&self) -> Vec<Arc<BackendStats>> {
        self.backends.clone()
    }

    fn view(&self, answer: Answer<Vec<FlowView>>) {
        let labels = Arc::new(Labels::new("a", "b", &["isp:x"]));
        let mut subject = Subject::new(labels, Some(FlowKind::Udp));
        subject.remote = "192.0.2.1:8001".parse().ok();
        let counters = Counters {
            sent: 5,
            lost: 1,
            ..Counters::default()
        };
        answer(vec![FlowView::new(subject, Spoken::Native, counters)]);
    }

    fn reload(&self, answer: Answer<Result<String, String>>) {
        // Nobody answers if nothing is left to say.
        if let Some(said) = self.reloads.lock().pop() {
            answer(said);
        }
    }

    fn dumps(&self) -> Option<Vec<(String, Option<Arc<Event>>)>> {
        let event = Event {
            at: Wall::from_unix_nanos(7),
            kind: EventKind::ClockStep {
                clock: ClockOwner::Local,
                step_ns: 5,
            },
            tags: Arc::new(Tags::Host("a".into())),
            flow: None,
        };
        let dumps = [("one.jsonl", Some(Arc::new(event))), ("two.jsonl", None)];
        Some(dumps.map(|(name, event)| (name.to_owned(), event)).into())
    }

    fn report(&self, dump: &str) -> Option<Result<String, String>> {
        match dump {
            "one.jsonl" => Some(Ok("<!DOCTYPE html>".to_owned())),
            "two.jsonl" => Some(Err("it is empty".to_owned())),
            _ => None,
        }
    }
}

struct Lab {
    told: Arc<Told>,
    events: Events,
    exposition: Exposition,
    face: Face,
    folder: TempDir,
}

fn config(extra: &str) -> HttpConfig {
    let text = format!("[http]\nlisten = '127.0.0.1:0'\n{extra}");
    let config = Config::parse(&text, &Overrides::default());
    config.expect("a right file").http.expect("[http] is there")
}

fn exposition() -> Exposition {
    let settings = ScrapeSettings {
        histograms: HistogramKind::Both,
        scale: Scale::DEFAULT,
        buckets: None,
    };
    let sink = SinkConfig::new(Mode::Windows, 1_000_000_000);
    Exposition::new(&settings, "a", &sink, Wall::from_unix_nanos(0))
}

impl Lab {
    fn start(extra: impl Fn(&TempDir) -> String) -> Self {
        let told = Arc::new(Told {
            since_turn_ms: AtomicU64::new(10),
            backends: ["one", "two"]
                .map(|name| Arc::new(BackendStats::new(name)))
                .into(),
            reloads: Mutex::default(),
        });
        let (events, exposition) = (Events::default(), exposition());
        let folder = tempfile::tempdir().unwrap();
        let config = config(&extra(&folder));
        let asked: Arc<dyn Asked> = Arc::clone(&told) as _;
        let face = Face::start(&config, exposition.clone(), events.clone(), asked).unwrap();
        Self {
            told,
            events,
            exposition,
            face,
            folder,
        }
    }

    fn at(&self) -> SocketAddr {
        self.face.listening()[0].parse().unwrap()
    }

    /// Sends a request over a connection of its own; returns the status and the body.
    fn ask(&self, method: &str, path: &str, headers: &str) -> (u16, String) {
        exchange(
            TcpStream::connect(self.at()).unwrap(),
            method,
            path,
            headers,
        )
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path, "")
    }
}

fn exchange(
    mut stream: impl io::Read + io::Write,
    method: &str,
    path: &str,
    headers: &str,
) -> (u16, String) {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        body.to_owned(),
    )
}

#[test]
fn health_is_whether_the_poll_thread_turns_and_readiness_what_backends_say() {
    let lab = Lab::start(|_| String::new());
    assert_eq!(lab.get("/healthz"), (200, "ok\n".into()));
    assert_eq!(
        lab.get("/readyz"),
        (
            200,
            "listening: yes\none: nothing sent yet\ntwo: nothing sent yet\n".into()
        )
    );
    lab.told.backends[0].set_last_try(Some(true));
    lab.told.backends[1].set_last_try(Some(false));
    let (status, text) = lab.get("/readyz");
    assert_eq!(status, 503);
    assert!(
        text.ends_with("one: ok\ntwo: the last try failed\n"),
        "{text}"
    );
    lab.told.since_turn_ms.store(7_250, Ordering::Relaxed);
    let stuck = "the poll thread has not turned for 7.2 s\n";
    assert_eq!(lab.get("/healthz"), (503, stuck.into()));
    lab.face.stop();
}

#[test]
fn flows_are_json_and_metrics_text() {
    let lab = Lab::start(|_| String::new());
    let (status, text) = lab.get("/api/v1/targets");
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let flow = &json["flows"][0];
    assert_eq!(
        (status, &flow["target"], &flow["wire"]),
        (200, &"b".into(), &"native".into())
    );
    assert_eq!(
        (&flow["remote"], &flow["local"]),
        (&"192.0.2.1:8001".into(), &serde_json::Value::Null)
    );
    assert_eq!(
        (&flow["probes"]["sent"], &flow["probes"]["lost"]),
        (&5.into(), &1.into())
    );
    let (status, text) = lab.get("/metrics");
    assert!(
        status == 200 && text.contains("monitor_http_series{source=\"a\"} 0\n"),
        "{text}"
    );
    let (_, text) = lab.ask(
        "GET",
        "/metrics",
        "Accept: application/openmetrics-text\r\n",
    );
    assert!(
        text.contains("monitor_http_scrapes_total{source=\"a\"} 2\n") && text.ends_with("# EOF\n")
    );
    lab.face.stop();
}

#[test]
fn what_is_not_there_or_not_meant_so_is_told() {
    let lab = Lab::start(|_| String::new());
    assert!(lab.get("/").1.contains("POST /-/reload"));
    assert_eq!(lab.get("/nothing").0, 404);
    assert_eq!(lab.ask("POST", "/metrics", "Content-Length: 0\r\n").0, 405);
    assert_eq!(lab.get("/-/reload").0, 405);
    assert_eq!(lab.ask("HEAD", "/healthz", "").1, "");
    // What is no HTTP at all costs a connection, and nothing else.
    let mut stream = TcpStream::connect(lab.at()).unwrap();
    stream.write_all(&[0xff; 300]).unwrap();
    let mut rest = Vec::new();
    // It may be reset, for there was more than was read.
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 400 "));
    assert_eq!(lab.get("/healthz").0, 200);
    lab.face.stop();
}

/// The page is for everyone, since a browser has no token yet. What it shows is not.
#[test]
fn a_browser_gets_a_page_and_everybody_else_the_list() {
    let lab = Lab::start(|folder| {
        let token = folder.path().join("token");
        std::fs::write(&token, "s3cret").unwrap();
        format!("token_file = '{}'", token.display())
    });
    let browser = "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n";
    let (status, page) = lab.ask("GET", "/", browser);
    assert!(status == 200 && page.starts_with("<!DOCTYPE html>"));
    assert_eq!(lab.ask("HEAD", "/", browser), (200, String::new()));
    assert_eq!(lab.ask("GET", "/api/v1/live", browser).0, 401);
    assert_eq!(lab.ask("POST", "/", browser).0, 401);
    assert_eq!(lab.ask("GET", "/", "Accept: */*\r\n").0, 401);
    let known = "Authorization: Bearer s3cret\r\nAccept: */*\r\n";
    let (status, list) = lab.ask("GET", "/", known);
    assert!(status == 200 && list.starts_with("latency-monitor\n"));
    lab.face.stop();
}

#[test]
fn a_reload_is_answered_with_what_came_of_it() {
    let lab = Lab::start(|_| String::new());
    let said = [
        Err("line 3: `hots` is not a key".to_owned()),
        Ok("targets: 1 kept".to_owned()),
    ];
    *lab.told.reloads.lock() = said.into();
    let reload = || lab.ask("POST", "/-/reload", "Content-Length: 0\r\n");
    assert_eq!(reload(), (200, "targets: 1 kept\n".into()));
    assert_eq!(reload(), (422, "line 3: `hots` is not a key\n".into()));
    // The daemon that ends answers no more.
    assert_eq!(reload().0, 503);
    let page = lab.ask(
        "POST",
        "/-/reload",
        "Content-Length: 0\r\nOrigin: http://x\r\n",
    );
    assert_eq!(page.0, 403);
    lab.face.stop();
}

#[test]
fn events_come_as_they_happen_and_there_is_room_for_others() {
    let lab = Lab::start(|_| String::new());
    let listen = || {
        let mut stream = TcpStream::connect(lab.at()).unwrap();
        let head = "GET /api/v1/events HTTP/1.1\r\nHost: x\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut status = String::new();
        reader.read_line(&mut status).unwrap();
        (status, reader)
    };
    let mut all: Vec<_> = (0..HTTP_LISTENERS_MAX).map(|_| listen()).collect();
    assert!(
        all.iter()
            .all(|(status, _)| status.starts_with("HTTP/1.1 200 "))
    );
    assert!(listen().0.starts_with("HTTP/1.1 503 "));
    assert_eq!(lab.get("/healthz").0, 200);
    lab.events.publish(b"{\"event\": \"burst\"}");
    for (_, reader) in &mut all {
        let mut lines = reader.lines().map(Result::unwrap);
        assert!(lines.any(|line| line == "data: {\"event\": \"burst\"}"));
    }
    lab.face.stop();
}

#[test]
fn whoever_looks_gets_all_that_is_known_and_then_what_comes() {
    let lab = Lab::start(|_| String::new());
    let mut filler = lab.exposition.backend(lab.events.clone());
    let labels = Labels::new("a", "<b>", &["isp:x"]);
    let end = |filler: &mut Box<dyn Backend>| {
        filler.publish(&count(labels.clone())).unwrap();
        (0..9).for_each(|_| filler.flush().unwrap());
    };
    end(&mut filler);
    let mut stream = TcpStream::connect(lab.at()).unwrap();
    let head = "GET /api/v1/live HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let mut next = |kind: &str| {
        let begins = format!("event: {kind}");
        assert!(lines.any(|line| line == begins));
        let data = lines.next().unwrap();
        let data = data.strip_prefix("data: ").unwrap();
        serde_json::from_str::<serde_json::Value>(data).unwrap()
    };
    let snapshot = next("snapshot");
    assert_eq!(snapshot["flows"][0]["target"], "b");
    assert_eq!(snapshot["deliveries"][0]["backend"], "one");
    assert_eq!(snapshot["pairs"][0]["target"], "<b>");
    assert_eq!(snapshot["rows"]["sent"][0], 1);
    end(&mut filler);
    assert_eq!(next("update")["rows"]["sent"][0], 1);
    lab.events.publish(b"{\"event\": \"burst\"}");
    assert_eq!(next("event")["event"], "burst");
    lab.face.stop();
}

#[test]
fn the_past_is_told_of_all_or_of_one() {
    let lab = Lab::start(|_| String::new());
    let mut filler = lab.exposition.backend(|_: &[u8]| ());
    filler
        .publish(&count(Labels::new("a", "b", &["isp:x"])))
        .unwrap();
    (0..9).for_each(|_| filler.flush().unwrap());
    let json = |path| {
        let (status, text) = lab.get(path);
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    assert_eq!(json("/api/v1/past")["series"][0]["sent"][0], 1);
    let one = json("/api/v1/past?pair=0&flow=udp");
    assert_eq!(
        (&one["sent"][0], &one["end_ns"][0]),
        (&1.into(), &1_000_000_000.into())
    );
    for (query, status) in [
        ("?pair=0", 400),
        ("?pair=x&flow=udp", 400),
        ("?", 400),
        ("?pair=7&flow=udp", 404),
        ("?pair=0&flow=smoke", 404),
        // It keeps nothing on a disk.
        ("?last=60", 404),
        ("?last=0", 400),
        ("?last=60&columns=x", 400),
        ("?pair=0&flow=udp&last=60&columns=9999", 400),
    ] {
        assert_eq!(
            lab.get(&format!("/api/v1/past{query}")).0,
            status,
            "{query}"
        );
    }
    lab.face.stop();
}

#[test]
fn a_token_is_needed_over_the_network_and_not_over_the_socket() {
    let lab = Lab::start(|folder| {
        let (token, socket) = (folder.path().join("token"), folder.path().join("socket"));
        std::fs::write(&token, "s3cret\n").unwrap();
        format!(
            "token_file = '{}'\nsocket = '{}'",
            token.display(),
            socket.display()
        )
    });
    assert_eq!(lab.get("/metrics").0, 401);
    assert_eq!(
        lab.ask("GET", "/metrics", "Authorization: Bearer s3cret\r\n")
            .0,
        200
    );
    let socket = PathBuf::from(&lab.face.listening()[1]);
    let over_socket = || exchange(UnixStream::connect(&socket).unwrap(), "GET", "/metrics", "");
    assert_eq!(over_socket().0, 200);
    // A new token holds after a reload; a file that is gone changes nothing.
    let token = lab.folder.path().join("token");
    let mut config = config("");
    config.token_file = Some(token.clone());
    std::fs::write(&token, "other").unwrap();
    lab.face.reload(&config).unwrap();
    assert_eq!(
        lab.ask("GET", "/metrics", "Authorization: Bearer s3cret\r\n")
            .0,
        401
    );
    assert_eq!(
        lab.ask("GET", "/metrics", "Authorization: Bearer other\r\n")
            .0,
        200
    );
    std::fs::remove_file(&token).unwrap();
    let error = lab.face.reload(&config).unwrap_err().to_string();
    assert!(
        error.contains("token") && error.contains("cannot be read"),
        "{error}"
    );
    assert_eq!(
        lab.ask("GET", "/metrics", "Authorization: Bearer other\r\n")
            .0,
        200
    );
    lab.face.stop();
    assert!(!socket.exists());
}

#[test]
fn a_socket_that_was_left_behind_is_replaced_and_one_in_use_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let mut config = config(&format!("socket = '{}'", path.display()));
    config.listen = None;
    let start = || {
        let lab = Lab::start(|_| String::new());
        let asked: Arc<dyn Asked> = Arc::clone(&lab.told) as _;
        Face::start(&config, exposition(), Events::default(), asked)
    };
    let face = start().unwrap();
    let error = start().unwrap_err().to_string();
    assert!(
        error.starts_with("cannot answer HTTP on /") && error.contains("in use"),
        "{error}"
    );
    face.stop();
    std::fs::write(&path, "no socket").unwrap();
    assert!(start().is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"no socket");
}

/// Whoever takes no answer holds a share of the large ones, and no others wait for him.
#[test]
fn who_reads_nothing_keeps_nobody_waiting() {
    let lab = Lab::start(|_| String::new());
    let mut filler = lab.exposition.backend(|_: &[u8]| ());
    // More than a connection takes on its way to somebody who does not read.
    for number in 0..8_000 {
        let labels = Labels::new("a", &format!("target {number}"), &["isp:x"]);
        filler.publish(&count(labels)).unwrap();
    }
    let idle: Vec<TcpStream> = (0..6)
        .map(|_| {
            let mut stream = TcpStream::connect(lab.at()).unwrap();
            let head = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    // Some of them have the shares by now or soon; others are told to come again, and all else goes on.
    for _ in 0..20 {
        assert_eq!(lab.get("/healthz").0, 200);
        assert!([200, 503].contains(&lab.get("/metrics").0));
    }
    drop(idle);
    lab.face.stop();
}

fn count(labels: Labels) -> Record {
    Record::Count {
        metric: Metric::named("udp.wan.sent").unwrap(),
        tags: Arc::new(Tags::Flow(Arc::new(labels))),
        at: Wall::from_unix_nanos(1_000_000_000),
        value: 1,
    }
}

const CERTIFICATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/publish/http/certificates");

/// Asks over HTTPS, with a client's certificate or without one.
fn ask_over_tls(at: SocketAddr, is_certified: bool) -> io::Result<String> {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    let file = |name| format!("{CERTIFICATES}/{name}");
    let certificate = |name| CertificateDer::from_pem_file(file(name)).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate("ca.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = if is_certified {
        let key = PrivateKeyDer::from_pem_file(file("leaf.key")).unwrap();
        builder
            .with_client_auth_cert(vec![certificate("leaf.pem")], key)
            .unwrap()
    } else {
        builder.with_no_client_auth()
    };
    let name = "localhost".try_into().unwrap();
    let client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = rustls::StreamOwned::new(client, TcpStream::connect(at)?);
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    match stream.read_to_string(&mut text) {
        // The connection ends without a word of TLS, after the whole answer.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && text.ends_with("ok\n") => {}
        result => drop(result?),
    }
    Ok(text)
}

#[test]
fn https_is_spoken_and_clients_show_who_they_are() {
    let files = format!(
        "tls_cert_file = '{CERTIFICATES}/leaf.pem'\ntls_key_file = '{CERTIFICATES}/leaf.key'\n"
    );
    let lab = Lab::start(|_| files.clone());
    assert!(ask_over_tls(lab.at(), false).unwrap().ends_with("ok\n"));
    // Who speaks no TLS gets no answer, and does no harm.
    let mut stream = TcpStream::connect(lab.at()).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(!rest.starts_with(b"HTTP"));
    lab.face
        .reload(&config(&format!(
            "{files}client_ca_file = '{CERTIFICATES}/ca.pem'"
        )))
        .unwrap();
    assert!(ask_over_tls(lab.at(), false).is_err());
    assert!(ask_over_tls(lab.at(), true).unwrap().ends_with("ok\n"));
    // A key of another certificate is told, and changes nothing.
    let other = files.replace("leaf.key", "server.key");
    let error = lab.face.reload(&config(&other)).unwrap_err().to_string();
    assert!(
        error.contains("server.key of [http] does not fit `tls_cert_file`"),
        "{error}"
    );
    assert!(ask_over_tls(lab.at(), true).is_ok());
    lab.face.stop();
}

#[test]
fn dumps_are_listed_with_their_events_and_drawn_by_name() {
    let lab = Lab::start(|_| String::new());
    let (status, body) = lab.get("/api/v1/dumps");
    let listed: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status, &listed["dumps"][0]["name"]),
        (200, &"one.jsonl".into())
    );
    assert_eq!(listed["dumps"][0]["event"]["event"], "clock_step");
    assert!(listed["dumps"][1]["event"].is_null());
    let whole = lab.ask("GET", "/api/v1/report?dump=one.jsonl", "");
    assert_eq!(whole, (200, "<!DOCTYPE html>".to_owned()));
    for (query, status) in [
        ("", 400),
        ("?dump", 400),
        ("?dump=two.jsonl", 422),
        ("?dump=three.jsonl", 404),
        ("?dump=../one.jsonl", 404),
    ] {
        assert_eq!(
            lab.get(&format!("/api/v1/report{query}")).0,
            status,
            "{query}"
        );
    }
    // Who may not read the figures may not read these.
    let lab = Lab::start(|folder| {
        let path = folder.path().join("token");
        std::fs::write(&path, "s3cret").unwrap();
        format!("token_file = '{}'\n", path.display())
    });
    for path in ["/api/v1/dumps", "/api/v1/report?dump=one.jsonl"] {
        assert_eq!(lab.get(path).0, 401, "{path}");
        let known = lab.ask("GET", path, "Authorization: Bearer s3cret\r\n");
        assert_eq!(known.0, 200, "{path}");
    }
}
