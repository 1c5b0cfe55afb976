//! Payloads to the byte, totals, and what a receiver's answers become.

use std::collections::BTreeMap;
use std::io::{BufReader, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::halves::{first_series, halves};
use super::*;
use crate::proto::{FlowKind, Labels, Metric, StampSource};
use crate::publish::exponential::Scale;
use crate::publish::testing::{at, count, gauge, metric, read_request, records, window};
use crate::publish::text::gunzip;
use crate::publish::{
    BaseUrl, Batch, BatchId, Encode, Payload, SendError, Transport, Verdict, gzip,
};
use crate::record::{Burst, Event, EventKind, Evidence, HostEvidence, Mode, Record, Suspect, Tags};

const INTERVAL: Duration = Duration::from_secs(10);

fn settings(temporality: Temporality) -> OtlpSettings {
    OtlpSettings {
        temporality,
        ..OtlpSettings::default()
    }
}

fn encoder(temporality: Temporality) -> OtlpEncoder {
    OtlpEncoder::new("a", &settings(temporality), INTERVAL, at(0).wall)
}

fn taken(encoder: &mut OtlpEncoder) -> Vec<Payload> {
    let mut out = Vec::new();
    encoder.take(&mut out);
    out
}

fn text(payload: &Payload) -> String {
    gunzip(&payload.body, 1 << 24).unwrap()
}

fn parsed(payload: &Payload) -> Value {
    serde_json::from_str(&text(payload)).unwrap()
}

/// The metrics of the one payload that these records become.
fn encoded(encoder: &mut OtlpEncoder, records: &[Record]) -> BTreeMap<String, Value> {
    for record in records {
        assert!(encoder.add(record));
    }
    let [payload] = &taken(encoder)[..] else {
        panic!("not one payload");
    };
    assert_eq!(payload.kind, METRICS);
    assert_eq!(payload.records, u64::try_from(records.len()).unwrap());
    let mut payload = parsed(payload);
    let metrics = payload["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].take();
    let metrics: Vec<Value> = serde_json::from_value(metrics).unwrap();
    let named = |metric: Value| (metric["name"].as_str().unwrap().to_owned(), metric);
    metrics.into_iter().map(named).collect()
}

#[test]
fn a_window_is_a_histogram_with_buckets_on_both_sides() {
    let mut encoder = encoder(Temporality::Delta);
    assert!(encoder.add(&window(&[-1_000_000, 0, 1_000_000, 1_000_000, 1_100_000])));
    let [payload] = &taken(&mut encoder)[..] else {
        panic!("one payload");
    };
    insta::assert_snapshot!(text(payload));
}

#[test]
fn a_sum_is_there_only_where_no_value_is_negative() {
    for (values, sum) in [
        (&[5, 1_000_000_000][..], json!(1.000_000_005)),
        (&[-1, 5], Value::Null),
    ] {
        let metrics = encoded(&mut encoder(Temporality::Delta), &[window(values)]);
        let point = &metrics["udp.wan.owd"]["exponentialHistogram"]["dataPoints"][0];
        assert_eq!(point["sum"], sum, "{values:?}");
    }
}

#[test]
fn histograms_are_as_fine_as_asked_unless_they_have_too_many_buckets() {
    for (scale, max_buckets, values, got) in [
        (5, 160, [1_000_000, 2_000_000], 5),
        (8, 160, [1_000_000, 1_010_000], 8),
        (8, 160, [1_000_000, 60_000_000], 4),
        (-3, 160, [1_000_000, 60_000_000], -3),
        (5, 8, [1_000_000, 2_000_000], 2),
    ] {
        let settings = OtlpSettings {
            scale: Scale::new(scale).unwrap(),
            max_buckets,
            ..settings(Temporality::Delta)
        };
        let mut encoder = OtlpEncoder::new("a", &settings, INTERVAL, at(0).wall);
        let metrics = encoded(&mut encoder, &[window(&values)]);
        let point = &metrics["udp.wan.owd"]["exponentialHistogram"]["dataPoints"][0];
        assert_eq!(point["scale"], json!(got), "{scale} {max_buckets}");
        let counts = point["positive"]["bucketCounts"].as_array().unwrap();
        assert!(counts.len() <= max_buckets);
        assert_eq!(
            (&counts[0], counts.last().unwrap()),
            (&json!("1"), &json!("1"))
        );
    }
}

fn reading(name: &str, seconds: i64, value: i64) -> Record {
    Record::Gauge {
        metric: metric(name),
        tags: Arc::new(Tags::Host("a".into())),
        at: at(seconds).wall,
        value,
    }
}

#[test]
fn numbers_have_units_of_ucum() {
    let records = [
        count("udp.wan.lost", 7),
        gauge(-250),
        reading("clock.skew", 10, 20),
        reading("monitor.resident", 10, 4_096),
        reading("monitor.cpu", 10, 1_500_000_000),
        reading("monitor.clock.synchronised", 10, 1),
    ];
    let metrics = encoded(&mut encoder(Temporality::Delta), &records);
    for (name, data, unit, value) in [
        ("udp.wan.lost", "sum", "{count}", json!({ "asInt": "7" })),
        (
            "clock.offset",
            "gauge",
            "s",
            json!({ "asDouble": -0.000_000_25 }),
        ),
        ("clock.skew", "gauge", "1", json!({ "asDouble": 2e-8 })),
        (
            "monitor.resident",
            "gauge",
            "By",
            json!({ "asInt": "4096" }),
        ),
        ("monitor.cpu", "sum", "s", json!({ "asDouble": 1.5 })),
        (
            "monitor.clock.synchronised",
            "gauge",
            "{count}",
            json!({ "asInt": "1" }),
        ),
    ] {
        let found = &metrics[name];
        assert_eq!(found["unit"], json!(unit), "{name}");
        let point = &found[data]["dataPoints"][0];
        for (key, value) in value.as_object().unwrap() {
            assert_eq!(point[key], *value, "{name}");
        }
        let is_sum = data == "sum";
        assert_eq!(
            found[data].get("isMonotonic"),
            is_sum.then_some(&json!(true)),
            "{name}"
        );
        assert_eq!(point.get("startTimeUnixNano").is_some(), is_sum, "{name}");
    }
}

#[test]
fn samples_are_a_gauge_of_their_own() {
    let labels = Labels::new("a", "b", &["x"; 0]);
    let mut records = records(Mode::Samples, Metric::UdpRtt, labels, &[282_072, 500]);
    records.retain(|record| matches!(record, Record::Sample { .. }));
    let metrics = encoded(&mut encoder(Temporality::Cumulative), &records);
    let points = metrics["udp.wan.rtt.sample"]["gauge"]["dataPoints"]
        .as_array()
        .unwrap();
    let values: Vec<_> = points.iter().map(|point| &point["asDouble"]).collect();
    assert_eq!(values, [&json!(0.000_282_072), &json!(0.000_000_5)]);
    assert_eq!(points[0]["timeUnixNano"], json!("1768219134587069267"));
}

/// A count of a flow at the end of an interval.
fn sent(target: &str, seconds: i64, value: u64) -> Record {
    Record::Count {
        metric: metric("udp.wan.sent"),
        tags: Arc::new(Tags::Flow(Arc::new(Labels::new("a", target, &["x"; 0])))),
        at: at(seconds).wall,
        value,
    }
}

/// Start, time and value of the only point of a sum; seconds since the start of the test.
fn sum_of(encoder: &mut OtlpEncoder, record: Record) -> (i64, i64, i64) {
    let name = record.metric();
    let metrics = encoded(encoder, &[record]);
    let point = &metrics[name]["sum"]["dataPoints"][0];
    let number = |key: &str| point[key].as_str().unwrap().parse::<i64>().unwrap();
    let second = |key: &str| (number(key) - at(0).wall.as_unix_nanos()) / 1_000_000_000;
    (
        second("startTimeUnixNano"),
        second("timeUnixNano"),
        number("asInt"),
    )
}

#[test]
fn a_delta_is_of_its_interval() {
    let mut encoder = encoder(Temporality::Delta);
    assert_eq!(sum_of(&mut encoder, sent("b", 10, 7)), (0, 10, 7));
    assert_eq!(sum_of(&mut encoder, sent("c", 10, 1)), (0, 10, 1));
    assert_eq!(sum_of(&mut encoder, sent("b", 20, 3)), (10, 20, 3));
    // The clock was set back, and the last interval is shorter.
    assert_eq!(sum_of(&mut encoder, sent("b", 5, 2)), (-5, 5, 2));
    assert_eq!(sum_of(&mut encoder, sent("b", 8, 2)), (5, 8, 2));
}

#[test]
fn totals_never_fall_and_keep_their_start() {
    let mut encoder = encoder(Temporality::Cumulative);
    assert_eq!(sum_of(&mut encoder, sent("b", 10, 7)), (0, 10, 7));
    assert_eq!(sum_of(&mut encoder, sent("b", 20, 0)), (0, 20, 7));
    // A flow that was opened anew has other tags of the same content.
    assert_eq!(sum_of(&mut encoder, sent("b", 30, 3)), (0, 30, 10));
    // One that comes later begins later.
    assert_eq!(sum_of(&mut encoder, sent("c", 40, 1)), (30, 40, 1));
    assert_eq!(sum_of(&mut encoder, sent("b", 5, 1)), (-5, 5, 11));
}

#[test]
fn cumulative_histograms_add_up_also_over_scales() {
    let mut encoder = encoder(Temporality::Cumulative);
    let windows: [&[i64]; 3] = [&[1_000, 2_000], &[60_000_000_000], &[-5, 0, 1_000]];
    let mut counts = Vec::new();
    for values in windows {
        let metrics = encoded(&mut encoder, &[window(values)]);
        let metric = &metrics["udp.wan.owd"]["exponentialHistogram"];
        assert_eq!(metric["aggregationTemporality"], json!(2));
        let point = metric["dataPoints"][0].clone();
        assert_eq!(point["startTimeUnixNano"], json!("1768219134587069267"));
        counts.push((point["count"].clone(), point["scale"].clone()));
        let of_side = |side: &str| {
            let counts = point[side]["bucketCounts"].as_array().into_iter().flatten();
            counts
                .map(|count| count.as_str().unwrap().parse::<u64>().unwrap())
                .sum::<u64>()
        };
        let zero: u64 = point["zeroCount"].as_str().unwrap().parse().unwrap();
        let count: u64 = point["count"].as_str().unwrap().parse().unwrap();
        assert_eq!(of_side("positive") + of_side("negative") + zero, count);
    }
    let expected =
        [("2", 5), ("3", 2), ("6", 2)].map(|(count, scale)| (json!(count), json!(scale)));
    assert_eq!(counts, expected);
}

fn event(kind: EventKind) -> Record {
    let labels = Labels::new("a", "b", &["isp:local", "flow:mine"]);
    Record::Event(Arc::new(Event {
        at: at(3).wall,
        kind,
        tags: Arc::new(Tags::Flow(Arc::new(labels))),
        flow: None,
    }))
}

#[test]
fn an_event_is_a_log_record() {
    let mut encoder = encoder(Temporality::Cumulative);
    encoder.add(&event(EventKind::Burst(Burst {
        flow: FlowKind::Udp,
        direction: None,
        duration_ns: 5_000_000,
        peak_ns: 2_000_000,
        mean_ns: 900_000,
        base_ns: -300,
        probes: 5,
        lost: 1,
        incident: 17,
        stamp: StampSource::Kernel,
        suspect: Some(Suspect::Peer),
        evidence: Evidence {
            local: HostEvidence::default(),
            peer: HostEvidence {
                kept_waiting_ns: Some(4_000_000),
                steal_ns: Some(0),
                ..HostEvidence::default()
            },
        },
    })));
    encoder.add(&event(EventKind::Wire {
        flow: FlowKind::Tcp,
        is_native: true,
    }));
    encoder.add(&gauge(1));
    let [metrics, logs] = &taken(&mut encoder)[..] else {
        panic!("two payloads");
    };
    assert_eq!((metrics.kind, logs.kind, logs.records), (METRICS, LOGS, 2));
    insta::assert_snapshot!(text(logs));
    assert!(taken(&mut encoder).is_empty());
}

#[test]
fn what_no_store_refuses_alone_is_divided_between_series() {
    let mut encoder = encoder(Temporality::Delta);
    for target in ["b", "c", "d"] {
        let first = sent(target, 10, 1);
        let mut second = first.clone();
        if let Record::Count { at: end, .. } = &mut second {
            *end = at(20).wall;
        }
        encoder.add(&first);
        encoder.add(&second);
    }
    encoder.add(&window(&[1, 2, 3]));
    encoder.add(&gauge(1));
    let whole = taken(&mut encoder).remove(0);
    assert_eq!(whole.records, 8);
    let (mut waiting, mut alone) = (vec![whole.clone()], Vec::new());
    while let Some(payload) = waiting.pop() {
        match halves(&payload) {
            Some(halves) => {
                assert_eq!(halves[0].records + halves[1].records, payload.records);
                let around =
                    |payload: &Payload| parsed(payload)["resourceMetrics"][0]["resource"].clone();
                assert_eq!(around(&halves[0]), around(&whole));
                waiting.extend(halves);
            }
            None => alone.push((first_series(&payload), payload.records)),
        }
    }
    alone.sort();
    let of_sent = |target: &str| (format!("udp.wan.sent of source:a,target:{target}"), 2);
    let expected = [
        ("clock.offset of source:a".to_owned(), 1),
        ("udp.wan.owd of isp:local,source:a,target:b".to_owned(), 1),
        of_sent("b"),
        of_sent("c"),
        of_sent("d"),
    ];
    assert_eq!(alone, expected);
    let wire = |is_native| EventKind::Wire {
        flow: FlowKind::Tcp,
        is_native,
    };
    for is_native in [true, false] {
        encoder.add(&event(wire(is_native)));
    }
    let [one, other] = halves(&taken(&mut encoder)[0]).unwrap();
    assert_eq!((one.records, other.records, halves(&one)), (1, 1, None));
    assert_ne!(text(&one), text(&other));
    assert!(
        first_series(&one).starts_with("wire of "),
        "{}",
        first_series(&one)
    );
}

#[test]
fn a_batch_is_full_before_it_is_too_large() {
    let mut encoder = encoder(Temporality::Delta);
    let values: Vec<i64> = (0..200)
        .map(|value| 100_000 + value * value * 500)
        .collect();
    let window = window(&values);
    while !encoder.is_full() {
        encoder.add(&window);
    }
    let payload = taken(&mut encoder).remove(0);
    let bytes = text(&payload).len();
    assert!((3 << 20..5 << 20).contains(&bytes), "{bytes} bytes");
    assert!(!encoder.is_full());
}

/// The head and the body of a request.
type Request = (String, Vec<u8>);

/// A receiver that gives these answers, one after the other, and returns the requests.
fn receiver(answers: Vec<String>) -> (String, thread::JoinHandle<Vec<Request>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/base/", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let mut requests = Vec::new();
        for answer in answers {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            requests.extend(read_request(&mut reader));
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
        }
        requests
    });
    (url, server)
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\n{headers}connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

fn batch(kind: u8) -> Batch {
    let body = gzip(b"{}");
    let payload = Payload {
        kind,
        body,
        records: 9,
    };
    Batch {
        id: BatchId(7),
        payload,
    }
}

fn transport(url: &str, headers: Headers) -> OtlpTransport {
    let settings = OtlpSettings {
        endpoint: BaseUrl::parse(url).unwrap(),
        headers,
        ..OtlpSettings::default()
    };
    OtlpTransport::new("otlp", settings)
}

/// What becomes of a batch by an answer, and how many of its records were left out.
fn outcome(kind: u8, said: String) -> (Result<(), SendError>, u64) {
    let (url, server) = receiver(vec![said]);
    let mut transport = transport(&url, Headers::default());
    let result = transport.send(&batch(kind), Duration::from_secs(20));
    server.join().unwrap();
    (result, transport.left_out())
}

#[test]
fn requests_say_what_they_are_and_have_the_headers_of_the_moment() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("headers");
    let text = "Authorization: Bearer one\nx-scope: 7";
    std::fs::write(&path, text).unwrap();
    let secret = crate::publish::Secret::parse_lines(text)
        .unwrap()
        .of_file(&path);
    let (url, server) = receiver(vec![answer("200 OK", "", "{}"); 4]);
    let mut transport = transport(&url, Headers::of(&secret).unwrap());
    let mut send = |kind| {
        transport
            .send(&batch(kind), Duration::from_secs(20))
            .unwrap();
    };
    send(METRICS);
    send(LOGS);
    std::fs::write(&path, "Authorization: Bearer two\n").unwrap();
    send(METRICS);
    // What is no header changes nothing.
    std::fs::write(&path, "nothing\n").unwrap();
    send(METRICS);
    let heads: Vec<String> = server
        .join()
        .unwrap()
        .into_iter()
        .map(|(head, _)| head)
        .collect();
    assert!(
        heads[0].starts_with("POST /base/v1/metrics HTTP/1.1\r\n"),
        "{}",
        heads[0]
    );
    assert!(
        heads[1].starts_with("POST /base/v1/logs HTTP/1.1\r\n"),
        "{}",
        heads[1]
    );
    for header in [
        "content-type: application/json\r\n",
        "content-encoding: gzip\r\n",
        "authorization: Bearer one\r\n",
        "x-scope: 7\r\n",
    ] {
        assert!(
            heads[0].contains(header) && heads[1].contains(header),
            "{}",
            heads[0]
        );
    }
    for head in &heads[2..] {
        assert!(head.contains("authorization: Bearer two\r\n"), "{head}");
        assert!(!head.contains("x-scope"), "{head}");
    }
}

#[test]
fn what_was_rejected_of_a_batch_is_left_out_and_not_sent_again() {
    for (kind, body, left_out) in [
        (
            METRICS,
            r#"{"partialSuccess":{"rejectedDataPoints":"3","errorMessage":"old"}}"#,
            3,
        ),
        (METRICS, r#"{"partialSuccess":{"rejectedDataPoints":2}}"#, 2),
        (LOGS, r#"{"partialSuccess":{"rejectedLogRecords":"1"}}"#, 1),
        (
            METRICS,
            r#"{"partialSuccess":{"errorMessage":"use less"}}"#,
            0,
        ),
        (
            METRICS,
            r#"{"partialSuccess":{"rejectedDataPoints":"99"}}"#,
            9,
        ),
        (
            METRICS,
            r#"{"partialSuccess":{"rejectedDataPoints":"-1"}}"#,
            0,
        ),
        (METRICS, "{}", 0),
        (METRICS, "", 0),
        (METRICS, "not json", 0),
    ] {
        let (result, left) = outcome(kind, answer("200 OK", "", body));
        assert_eq!((result, left), (Ok(()), left_out), "{body}");
    }
}

#[test]
fn a_batch_is_sent_again_for_four_statuses_only() {
    for (status, verdict) in [
        ("429 Too Many", Verdict::Later),
        ("502 Gateway", Verdict::Later),
        ("503 Away", Verdict::Later),
        ("504 Timeout", Verdict::Later),
        ("400 Bad", Verdict::Never),
        ("413 Large", Verdict::Never),
        ("500 Broken", Verdict::Never),
        ("501 No", Verdict::Never),
        ("401 Who", Verdict::Barred),
        ("403 No", Verdict::Barred),
        ("404 Where", Verdict::Barred),
        ("415 What", Verdict::Barred),
        ("302 Moved", Verdict::Barred),
    ] {
        let (result, _) = outcome(METRICS, answer(status, "", ""));
        let error = result.unwrap_err();
        assert_eq!((error.verdict, error.after), (verdict, None), "{status}");
    }
    let (result, _) = outcome(METRICS, answer("503 Away", "retry-after: 7\r\n", ""));
    assert_eq!(result.unwrap_err().after, Some(Duration::from_secs(7)));
    let (result, _) = outcome(METRICS, answer("401 Who", "", "no token"));
    let reason = result.unwrap_err().reason;
    assert!(
        reason.contains("no token") && reason.contains("`headers_file`"),
        "{reason}"
    );
    // Metrics do not wait for a receiver that takes no logs.
    let (result, _) = outcome(LOGS, answer("404 Where", "", ""));
    let error = result.unwrap_err();
    assert_eq!(error.verdict, Verdict::Never);
    assert!(error.reason.contains("!monitor.events"), "{}", error.reason);
}

#[test]
fn only_what_may_be_at_fault_itself_is_divided() {
    let mut encoder = encoder(Temporality::Delta);
    encoder.add(&sent("b", 10, 1));
    encoder.add(&sent("c", 10, 1));
    let payload = taken(&mut encoder).remove(0);
    let batch = Batch {
        id: BatchId(7),
        payload,
    };
    for (status, is_divided) in [
        ("400 Bad", true),
        ("413 Large", true),
        ("500 Broken", false),
    ] {
        let (url, server) = receiver(vec![answer(status, "", "")]);
        let mut transport = transport(&url, Headers::default());
        transport.send(&batch, Duration::from_secs(20)).unwrap_err();
        server.join().unwrap();
        assert_eq!(transport.halves(&batch).is_some(), is_divided, "{status}");
    }
}
