//! The text to the byte, the state over intervals, and pushes to a gateway of our own.

use std::io::{BufReader, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use super::*;
use crate::proto::{Direction, FlowKind, Labels, Metric, StampSource};
use crate::publish::prometheus::SETTLED_TURNS;
use crate::publish::testing::{at, count, metric, read_request, records, window};
use crate::publish::{BaseUrl, Bounds, Name};
use crate::record::{Burst, Choice, ClockOwner, Event, EventKind, Evidence, Mode, Tags};

const PATIENCE: Duration = Duration::from_secs(20);

fn settings(gateway: &str) -> PushgatewaySettings {
    PushgatewaySettings {
        gateway: BaseUrl::parse(gateway).unwrap(),
        buckets: Some(Bounds::new(vec![-1e-6, 1e-3])),
        ..PushgatewaySettings::default()
    }
}

fn sink(mode: Mode) -> SinkConfig {
    SinkConfig::new(mode, 10_000_000_000)
}

/// A backend of this name that pushes to this gateway.
fn pushing(gateway: &str, name: &str) -> Pushgateway {
    Pushgateway::new(&settings(gateway), name, &sink(Mode::Windows)).unwrap()
}

/// A backend that has no gateway to push to.
fn backend(mode: Mode) -> Pushgateway {
    Pushgateway::new(&settings("localhost:1"), "a", &sink(mode)).unwrap()
}

#[test]
fn the_text_is_what_prometheus_reads() {
    let mut backend = backend(Mode::Windows);
    backend.publish(&window(&[-1_500, 20, 2_000_000])).unwrap();
    backend.publish(&count("udp.wan.lost", 3)).unwrap();
    backend.publish(&count("udp.wan.lost", 4)).unwrap();
    for (name, value) in [
        ("clock.skew", 20),
        ("clock.offset", -250),
        ("monitor.cpu", 1_500_000_000),
        ("monitor.cpu", 1_000_000_000),
        ("monitor.resident", 9_000_000),
        ("monitor.clock.synchronised", 1),
    ] {
        let tags = Arc::new(Tags::Host("a\"\\\n".into()));
        let at = at(10).wall;
        let gauge = Record::Gauge {
            metric: metric(name),
            tags,
            at,
            value,
        };
        backend.publish(&gauge).unwrap();
    }
    let event = Event {
        at: at(3).wall,
        kind: EventKind::ClockStep {
            clock: ClockOwner::Local,
            step_ns: 5,
        },
        tags: Arc::new(Tags::Host("a".into())),
        flow: None,
    };
    backend.publish(&Record::Event(Arc::new(event))).unwrap();
    backend.publish(&burst(FlowKind::Udp)).unwrap();
    insta::assert_snapshot!(backend.text());
}

fn burst(flow: FlowKind) -> Record {
    let burst = Burst {
        flow,
        direction: Some(Direction::Forward),
        duration_ns: 16_000_000,
        peak_ns: 9_000_000,
        mean_ns: 4_000_000,
        base_ns: -250_000,
        probes: 16,
        lost: 1,
        incident: 4,
        stamp: StampSource::Kernel,
        suspect: None,
        evidence: Evidence::default(),
    };
    Record::Event(Arc::new(Event {
        at: at(4).wall,
        kind: EventKind::Burst(burst),
        tags: Arc::new(Tags::Flow(Arc::new(Labels::new("a", "b", &[""; 0])))),
        flow: None,
    }))
}

#[test]
fn everything_adds_up_over_intervals_and_windows_are_counted_once() {
    for (mode, samples) in [(Mode::Windows, 0), (Mode::Samples, 3), (Mode::Both, 3)] {
        let mut backend = backend(mode);
        for _ in 0..5 {
            let labels = Labels::new("a", "2001:db8::1", &[""; 0]);
            let records = records(mode, Metric::UdpRtt, labels, &[10, 20, 3_000_000]);
            let is_sample = |record: &&Record| matches!(record, Record::Sample { .. });
            assert_eq!(records.iter().filter(is_sample).count(), samples);
            for record in &records {
                backend.publish(record).unwrap();
            }
        }
        let text = backend.text();
        let labels = "source=\"a\",target=\"2001:db8::1\"";
        for line in [
            format!("udp_wan_rtt_seconds_bucket{{{labels},le=\"0.001\"}} 10\n"),
            format!("udp_wan_rtt_seconds_bucket{{{labels},le=\"+Inf\"}} 15\n"),
            format!("udp_wan_rtt_seconds_sum{{{labels}}} 0.01500015\n"),
            format!("udp_wan_rtt_seconds_count{{{labels}}} 15\n"),
        ] {
            assert!(text.contains(&line), "{mode:?} lacks {line}{text}");
        }
    }
}

#[test]
fn series_that_the_backend_makes_itself_are_chosen_too() {
    let choice = Choice::of(&["udp.wan.burst.peak", "monitor.pushgateway.series"]).unwrap();
    let sink = SinkConfig {
        choice,
        ..sink(Mode::Windows)
    };
    let mut backend = Pushgateway::new(&settings("localhost:1"), "a", &sink).unwrap();
    for flow in [FlowKind::Udp, FlowKind::Tcp] {
        backend.publish(&burst(flow)).unwrap();
    }
    let text = backend.text();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let names: Vec<&str> = lines.map(|line| line.split('{').next().unwrap()).collect();
    assert_eq!(
        names,
        ["udp_wan_burst_peak_seconds", "monitor_pushgateway_series"]
    );
}

#[test]
fn a_group_has_the_job_and_our_name_whatever_they_are() {
    let url = |job, name| {
        let settings = PushgatewaySettings {
            job: Name::parse(job).unwrap(),
            ..settings("gw:9091")
        };
        String::from(group_url(&settings, name))
    };
    assert_eq!(
        url("j", "host-1.x"),
        "http://gw:9091/metrics/job/j/instance/host-1.x"
    );
    assert_eq!(
        url("a/b", "\u{e9} 1"),
        "http://gw:9091/metrics/job@base64/YS9i/instance@base64/w6kgMQ"
    );
    assert_eq!(
        url("j", ""),
        "http://gw:9091/metrics/job/j/instance@base64/="
    );
    assert_eq!(
        url("j", ".."),
        "http://gw:9091/metrics/job/j/instance@base64/Li4"
    );
    let ours = group_url(&settings("https://gw/x/metrics/"), "a");
    let wanted = "https://gw/x/metrics/job/latency-monitor/instance/a";
    assert_eq!(ours.as_str(), wanted);
}

/// Answers each request with the next of these; the last answer goes on.
fn gateway(answers: &'static [&'static str]) -> (String, Receiver<String>) {
    let last = answers.last().unwrap();
    let mut answers = answers.iter().chain(std::iter::repeat(last));
    gateway_by(move |_| answers.next().unwrap())
}

/// Answers each request as this says, and tells what it got.
fn gateway_by(
    mut answer: impl FnMut(&str) -> &'static str + Send + 'static,
) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, receiver) = channel();
    thread::spawn(move || {
        loop {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(&stream);
            let (head, body) = read_request(&mut reader).unwrap();
            let request = head + str::from_utf8(&body).unwrap();
            let answer = answer(&request);
            let answer =
                format!("HTTP/1.1 {answer}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            (&stream).write_all(answer.as_bytes()).unwrap();
            if sender.send(request).is_err() {
                return;
            }
        }
    });
    (address, receiver)
}

/// An interval ends: what it had to say, and the quiet after it.
fn interval(backend: &mut Pushgateway, lost: u64) {
    backend.publish(&count("udp.wan.lost", lost)).unwrap();
    for _ in 0..SETTLED_TURNS {
        backend.flush().unwrap();
    }
}

fn pushed(requests: &Receiver<String>) -> String {
    requests.recv_timeout(PATIENCE).unwrap()
}

#[test]
fn a_push_in_vain_is_made_good_by_the_next() {
    let (address, requests) = gateway(&["503 Busy", "404 Nowhere", "200 OK"]);
    let mut backend = pushing(&address, "a");
    interval(&mut backend, 1);
    let first = pushed(&requests);
    assert!(first.starts_with("PUT /metrics/job/latency-monitor/instance/a HTTP/1.1\r\n"));
    assert!(
        first.contains("content-type: text/plain; version=0.0.4"),
        "{first}"
    );
    let labels = "{isp=\"local\",source=\"a\",target=\"b\"}";
    assert!(
        first.contains(&format!("udp_wan_lost_total{labels} 1\n")),
        "{first}"
    );
    // Tried again by itself, and refused for good: the next interval brings it all.
    pushed(&requests);
    interval(&mut backend, 2);
    let third = pushed(&requests);
    assert!(
        third.contains(&format!("udp_wan_lost_total{labels} 3\n")),
        "{third}"
    );
    // What came after the last push goes with the end.
    backend.publish(&count("udp.wan.lost", 4)).unwrap();
    backend.finish(PATIENCE).unwrap();
    let last = pushed(&requests);
    assert!(
        last.contains(&format!("udp_wan_lost_total{labels} 7\n")),
        "{last}"
    );
    let failed = "monitor_pushgateway_pushes_failed_total{source=\"a\"}";
    assert!(last.contains(&format!("{failed} 2\n")), "{last}");
}

/// A name and labels that a parser finds once in each line, whatever the tags are.
fn parsed(line: &str) -> (String, Vec<(String, String)>) {
    let (name, rest) = line.split_once('{').expect("labels");
    let mut labels = Vec::new();
    let mut letters = rest.chars();
    loop {
        let key: String = letters
            .by_ref()
            .take_while(|&letter| letter != '=')
            .collect();
        assert_eq!(letters.next(), Some('"'), "{line}");
        let mut value = String::new();
        loop {
            match letters.next().expect("a closing quote") {
                '"' => break,
                '\\' => value.push(match letters.next().unwrap() {
                    'n' => '\n',
                    escaped @ ('"' | '\\') => escaped,
                    other => panic!("{other:?} in {line}"),
                }),
                letter => value.push(letter),
            }
        }
        labels.push((key, value));
        match letters.next() {
            Some(',') => {}
            Some('}') => break,
            other => panic!("{other:?} in {line}"),
        }
    }
    let number = letters.as_str().trim();
    assert!(number.parse::<f64>().is_ok(), "{number} in {line}");
    (name.to_owned(), labels)
}

proptest::proptest! {
    /// No tag, whoever wrote it, makes a text that the gateway refuses.
    #[test]
    fn any_tags_make_a_text_that_is_read(
        tags in proptest::collection::vec(
            proptest::prop_oneof![
                "(direction|source|target|backend|owd|event|le|job|instance|tags|quantile|__name__)[:=]?.{0,9}",
                "\\PC{0,9}:?\\PC{0,9}",
                "[\r\n\"\\\\{},=# ]{1,9}:.?",
            ],
            0..6,
        ),
        source in "\\PC{0,9}",
    ) {
        let mut backend = backend(Mode::Windows);
        let labels = || Labels::new(&source, "b", &tags);
        for record in records(Mode::Windows, Metric::UdpOwd, labels(), &[1, -2]) {
            backend.publish(&record).unwrap();
        }
        for direction in [Some(Direction::Forward), Some(Direction::Reverse), None] {
            let burst = Burst {
                flow: FlowKind::Udp,
                direction,
                duration_ns: 1,
                peak_ns: 1,
                mean_ns: 1,
                base_ns: 1,
                probes: 1,
                lost: 0,
                incident: 1,
                stamp: StampSource::Kernel,
                suspect: None,
                evidence: Evidence::default(),
            };
            let event = Event {
                at: at(1).wall,
                kind: EventKind::Burst(burst),
                tags: Arc::new(Tags::Flow(Arc::new(labels()))),
                flow: None,
            };
            backend.publish(&Record::Event(Arc::new(event))).unwrap();
        }
        let text = backend.text();
        let mut seen = std::collections::BTreeSet::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, labels) = parsed(line);
            let mut keys: Vec<&str> = labels.iter().map(|(key, _)| key.as_str()).collect();
            keys.sort_unstable();
            assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "{line}");
            for key in keys {
                let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
                assert!(key.chars().all(is_name) && !key.starts_with(|c: char| c.is_ascii_digit()), "{line}");
            }
            assert!(seen.insert((name, labels)), "twice: {line}");
        }
    }
}

#[test]
fn a_family_that_the_gateway_refuses_is_left_out_alone() {
    let bad = ["udp_wan_lost_total", "monitor_pushgateway_refused_total"];
    let (address, requests) = gateway_by(move |request| {
        let is_bad = bad
            .iter()
            .any(|name| request.contains(&format!("# HELP {name} ")));
        if is_bad { "400 Inconsistent" } else { "200 OK" }
    });
    let mut backend = pushing(&address, "a");
    backend.publish(&count("udp.wan.sent", 1)).unwrap();
    interval(&mut backend, 1);
    let names = |request: &str| -> Vec<String> {
        let heads = request
            .lines()
            .filter_map(|line| line.strip_prefix("# HELP "));
        heads
            .map(|head| head.split(' ').next().unwrap().to_owned())
            .collect()
    };
    let all = names(&pushed(&requests));
    let good = |name: &&String| !bad.contains(&name.as_str());
    let mut left: Vec<_> = all.iter().filter(good).cloned().collect();
    assert_eq!(left.len() + 2, all.len());
    // Halves go on until the two are alone; all others are there by then.
    let mut taken = Vec::new();
    while taken.len() < left.len() {
        let request = pushed(&requests);
        assert!(request.starts_with("POST "));
        let names = names(&request);
        if names.iter().all(|name| good(&name)) {
            taken.extend(names);
        }
    }
    // From then on they are left out, and the others go at once.
    interval(&mut backend, 1);
    let request =
        std::iter::repeat_with(|| pushed(&requests)).find(|request| request.starts_with("PUT "));
    assert_eq!(names(&request.unwrap()), left);
    taken.sort();
    left.sort();
    assert_eq!(taken, left);
}

#[test]
fn the_group_goes_with_the_daemon_if_asked() {
    let (address, requests) = gateway(&["202 Accepted"]);
    let settings = PushgatewaySettings {
        delete_on_stop: true,
        ..settings(&address)
    };
    let mut backend = Pushgateway::new(&settings, "a/b", &sink(Mode::Windows)).unwrap();
    interval(&mut backend, 1);
    assert!(pushed(&requests).starts_with("PUT "));
    backend.finish(PATIENCE).unwrap();
    let last = pushed(&requests);
    assert!(
        last.starts_with("DELETE /metrics/job/latency-monitor/instance@base64/YS9i "),
        "{last}"
    );
}

#[test]
fn a_gateway_that_hangs_holds_up_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut backend = pushing(&address, "a");
    for _ in 0..100 {
        interval(&mut backend, 1);
    }
    let error = backend.finish(Duration::from_millis(50)).unwrap_err();
    assert_eq!(error.lost(), 100);
}
