//! Payloads to the byte and to their limits, and what the intake's answers become.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use flate2::read::GzDecoder;
use serde_json::Value;

use super::halves::{first_series, halves};
use super::*;
use crate::limits::{DATADOG_COMPRESSED_BYTES_MAX, DATADOG_JSON_BYTES_MAX};
use crate::proto::{Labels, Metric};
use crate::publish::testing::{at, count, gauge, metric, records, window};
use crate::publish::{BaseUrl, Batch, BatchId, Encode, Payload, SendError, Transport, Verdict};
use crate::record::{ClockOwner, Event, EventKind, Mode, Record, Series, Tags};

const INTERVAL: Duration = Duration::from_secs(10);

fn encoder(mode: Mode) -> DatadogEncoder {
    DatadogEncoder::new("a", mode, INTERVAL)
}

fn taken(encoder: &mut DatadogEncoder) -> Vec<Payload> {
    let mut out = Vec::new();
    encoder.take(&mut out);
    out
}

fn json(payload: &Payload) -> String {
    let mut text = String::new();
    GzDecoder::new(&payload.body[..])
        .read_to_string(&mut text)
        .unwrap();
    text
}

/// The one payload that these become, a series a line.
fn encoded(mode: Mode, records: &[Record]) -> String {
    let mut encoder = encoder(mode);
    for record in records {
        assert!(encoder.add(record));
    }
    let [payload] = &taken(&mut encoder)[..] else {
        panic!("more than one payload");
    };
    assert_eq!(payload.kind, SERIES);
    assert_eq!(payload.records, u64::try_from(records.len()).unwrap());
    json(payload).replace("},{\"metric\"", "},\n{\"metric\"")
}

#[test]
fn a_window_is_its_median_with_the_rest_beside_it() {
    let mut values: Vec<i64> = (1..=1_000).map(|value| value * 1_000).collect();
    values.push(-2_500_000);
    insta::assert_snapshot!(encoded(Mode::Windows, &[window(&values)]));
}

#[test]
fn samples_of_a_series_share_it() {
    let labels = Labels::new("a", "2001:db8::1", &["isp:local", "plain"]);
    let mut records = records(Mode::Samples, Metric::UdpRtt, labels, &[282_072, 500]);
    records.retain(|record| matches!(record, Record::Sample { .. }));
    insta::assert_snapshot!(encoded(Mode::Samples, &records), @r#"{"series":[{"metric":"udp.wan.rtt","type":3,"points":[{"timestamp":1768219134,"value":0.282072},{"timestamp":1768219134,"value":0.0005}],"resources":[{"name":"a","type":"host"}],"tags":["source:a","target:2001:db8::1","isp:local","plain"],"unit":"millisecond"}]}"#);
}

#[test]
fn counts_have_an_interval_and_gauges_a_unit_if_it_is_known() {
    let mut records = vec![count("udp.wan.lost", 7), gauge(-250)];
    for (name, value) in [("clock.skew", 20), ("monitor.resident", 4_096)] {
        let tags = Arc::new(Tags::Host("a".into()));
        let at = at(10).wall;
        records.push(Record::Gauge {
            metric: metric(name),
            tags,
            at,
            value,
        });
    }
    let text = encoded(Mode::Windows, &records);
    for part in [
        r#""metric":"udp.wan.lost","type":1,"points":[{"timestamp":1768219144,"value":7.0}],"resources":[{"name":"a","type":"host"}],"tags":["source:a","target:b","isp:local"],"interval":10}"#,
        r#""metric":"clock.offset","type":3,"points":[{"timestamp":1768219134,"value":-0.00025}],"resources":[{"name":"a","type":"host"}],"tags":["source:a"],"unit":"millisecond"}"#,
        r#""metric":"clock.skew","type":3,"points":[{"timestamp":1768219144,"value":20.0}],"resources":[{"name":"a","type":"host"}],"tags":["source:a"]}"#,
        r#""value":4096.0}],"resources":[{"name":"a","type":"host"}],"tags":["source:a"],"unit":"byte"}"#,
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn with_samples_and_windows_the_samples_have_the_plain_name() {
    let text = encoded(Mode::Both, &[window(&[1, 2])]);
    assert!(!text.contains("\"udp.wan.owd\""), "{text}");
    assert!(text.contains("\"udp.wan.owd.max\""), "{text}");
}

fn event() -> Record {
    Record::Event(Arc::new(Event {
        at: at(3).wall,
        kind: EventKind::ClockStep {
            clock: ClockOwner::Local,
            step_ns: 5,
        },
        tags: Arc::new(Tags::Host("a".into())),
        flow: None,
    }))
}

#[test]
fn an_event_is_a_payload_of_its_own() {
    let mut encoder = encoder(Mode::Windows);
    encoder.add(&event());
    encoder.add(&gauge(1));
    let [series, event] = &taken(&mut encoder)[..] else {
        panic!("two payloads");
    };
    assert_eq!((series.kind, event.kind, event.records), (SERIES, EVENT, 1));
    insta::assert_snapshot!(str::from_utf8(&event.body).unwrap(), @r#"{"title":"latency-monitor: clock_step","text":"{\"event\": \"clock_step\", \"clock\": \"local\", \"at\": 1768219137587069267, \"step\": 5, \"tags\": [\"source:a\"]}","tags":["source:a"],"host":"a","date_happened":1768219137,"aggregation_key":"clock_step","alert_type":"warning"}"#);
    assert!(taken(&mut encoder).is_empty());
}

/// A sample with a value that does not compress.
fn sample(series: &Arc<Series>, seq: u64) -> Record {
    let noise = (seq + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    Record::Sample {
        series: Arc::clone(series),
        at: at(i64::try_from(seq / 1_000).unwrap()).wall,
        value_ns: i64::try_from(noise >> 24).unwrap(),
        seq,
        stamp: crate::proto::StampSource::Kernel,
        dwell_ns: None,
    }
}

fn series(target: &str) -> Arc<Series> {
    let labels = Labels::new("a", target, &["isp:local"]);
    Arc::new(Series {
        metric: metric("udp.wan.rtt"),
        tags: Arc::new(Tags::Flow(Arc::new(labels))),
    })
}

#[test]
fn what_is_too_large_is_split_and_whole() {
    // One series whose points are too many, and many that are too many together.
    let many: Vec<Arc<Series>> = (0..40_000).map(|n| series(&format!("host-{n}"))).collect();
    let one = [series("b")];
    for (kinds, samples) in [(&one[..], 150_000_u64), (&many[..], 80_000)] {
        let mut encoder = encoder(Mode::Samples);
        for (seq, series) in (0..samples).zip(kinds.iter().cycle()) {
            encoder.add(&sample(series, seq));
        }
        assert!(encoder.is_full());
        let payloads = taken(&mut encoder);
        assert!(payloads.len() > 1);
        let mut points = 0;
        for payload in &payloads {
            let text = json(payload);
            assert!(text.len() <= DATADOG_JSON_BYTES_MAX, "{}", text.len());
            let compressed = payload.body.len();
            assert!(compressed <= DATADOG_COMPRESSED_BYTES_MAX, "{compressed}");
            let object: Value = serde_json::from_str(&text).unwrap();
            let series = object["series"].as_array().unwrap();
            let here: usize = series
                .iter()
                .map(|s| s["points"].as_array().unwrap().len())
                .sum();
            assert_eq!(payload.records, u64::try_from(here).unwrap());
            points += payload.records;
        }
        assert_eq!(points, samples);
        assert!(!encoder.is_full());
    }
}

#[test]
fn a_full_batch_is_seldom_split() {
    let mut encoder = encoder(Mode::Samples);
    let series = [series("b"), series("c")];
    for (seq, series) in (0..).zip(series.iter().cycle()) {
        encoder.add(&sample(series, seq));
        if encoder.is_full() {
            break;
        }
    }
    assert_eq!(taken(&mut encoder).len(), 1);
}

/// The answer to a batch by an intake that says this, and what the intake got.
fn sent(answer: &'static str, kind: u8) -> (Result<(), SendError>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut request, mut part) = (Vec::new(), [0; 4_096]);
        while !request.ends_with(b"[body]") {
            let length = stream.read(&mut part).unwrap();
            request.extend_from_slice(&part[..length]);
        }
        stream
            .write_all(format!("HTTP/1.1 {answer}").as_bytes())
            .unwrap();
        String::from_utf8(request).unwrap()
    });
    let mut transport = DatadogTransport::new(DatadogSettings {
        url: Some(BaseUrl::parse_url(&url).unwrap()),
        ..DatadogSettings::new(ApiKey::parse(" secret\n").unwrap())
    });
    let payload = Payload {
        kind,
        body: b"[body]".to_vec(),
        records: 1,
    };
    let id = BatchId(7);
    let result = transport.send(&Batch { id, payload }, Duration::from_secs(20));
    (result, server.join().unwrap())
}

#[test]
fn requests_have_the_key_and_say_what_they_are() {
    let (result, request) = sent("202 Accepted\r\ncontent-length: 0\r\n\r\n", SERIES);
    assert_eq!(result, Ok(()));
    assert!(
        request.starts_with("POST /api/v2/series HTTP/1.1\r\n"),
        "{request}"
    );
    for header in [
        "dd-api-key: secret\r\n",
        "content-encoding: gzip\r\n",
        "content-type: application/json\r\n",
    ] {
        assert!(request.contains(header), "{request}");
    }
    let (result, request) = sent("202 Accepted\r\ncontent-length: 0\r\n\r\n", EVENT);
    assert_eq!(result, Ok(()));
    assert!(
        request.starts_with("POST /api/v1/events HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(!request.contains("content-encoding"), "{request}");
}

#[test]
fn a_busy_intake_is_asked_later_and_a_bad_key_is_not_the_payloads_fault() {
    let (result, _) = sent(
        "429 Too Many\r\nretry-after: 3\r\ncontent-length: 0\r\n\r\n",
        SERIES,
    );
    let SendError {
        verdict,
        reason,
        after,
    } = result.unwrap_err();
    assert_eq!(verdict, Verdict::Later);
    assert_eq!(after, Some(Duration::from_secs(3)));
    assert!(reason.contains("/api/v2/series: 429"), "{reason}");
    let (result, _) = sent("503 Busy\r\ncontent-length: 0\r\n\r\n", SERIES);
    let error = result.unwrap_err();
    assert_eq!((error.verdict, error.after), (Verdict::Later, None));
    let (result, _) = sent(
        "403 Forbidden\r\ncontent-length: 24\r\n\r\n{\"errors\":[\"Forbidden\"]}",
        SERIES,
    );
    let SendError {
        verdict, reason, ..
    } = result.unwrap_err();
    assert_eq!(verdict, Verdict::Barred);
    for part in [
        "403 Forbidden: {\"errors\":[\"Forbidden\"]}",
        "`api_key`",
        "datadoghq.com",
    ] {
        assert!(reason.contains(part), "{reason}");
    }
    assert!(!reason.contains("secret"), "{reason}");
    let (result, _) = sent("413 Large\r\ncontent-length: 0\r\n\r\n", SERIES);
    assert_eq!(result.unwrap_err().verdict, Verdict::Never);
    let nowhere = "404 Nowhere\r\ncontent-length: 0\r\n\r\n";
    let (result, _) = sent(nowhere, SERIES);
    assert_eq!(result.unwrap_err().verdict, Verdict::Barred);
    let (result, _) = sent(nowhere, EVENT);
    // Series do not wait for an event that has no place.
    assert_eq!(result.unwrap_err().verdict, Verdict::Never);
    let (result, _) = sent("", SERIES);
    assert_eq!(result.unwrap_err().verdict, Verdict::Later);
}

fn metrics_of(payload: &Payload) -> Vec<String> {
    let object: Value = serde_json::from_str(&json(payload)).unwrap();
    let series = object["series"].as_array().unwrap().iter();
    let name = |series: &Value| series["metric"].as_str().unwrap().to_owned();
    series.map(name).collect()
}

#[test]
fn a_payload_is_divided_between_series_with_all_their_figures() {
    for (mode, counted) in [(Mode::Windows, 4), (Mode::Samples, 8), (Mode::Both, 10)] {
        let mut encoder = encoder(mode);
        let labels = |target: &str| Labels::new("a", target, &["isp:local"]);
        for metric in [Metric::UdpRtt, Metric::TcpRtt] {
            let records = records(mode, metric, labels("b"), &[1, 2, 3]);
            let of_delay = |record: &&Record| record.metric().contains("rtt");
            for record in records.iter().filter(of_delay) {
                encoder.add(record);
            }
        }
        encoder.add(&count("udp.wan.sent", 1));
        encoder.add(&gauge(1));
        let mut waiting = taken(&mut encoder);
        assert_eq!(waiting[0].records, counted, "{mode:?}");
        let whole = metrics_of(&waiting[0]);
        let mut alone = Vec::new();
        while let Some(payload) = waiting.pop() {
            match halves(&payload) {
                Some(halves) => {
                    assert_eq!(halves[0].records + halves[1].records, payload.records);
                    waiting.extend(halves);
                }
                None => alone.push(payload),
            }
        }
        let mut names: Vec<String> = alone.iter().flat_map(metrics_of).collect();
        names.sort();
        let mut sorted = whole.clone();
        sorted.sort();
        assert_eq!(names, sorted);
        let mut records: Vec<(String, u64)> = alone
            .iter()
            .map(|one| (first_series(one), one.records))
            .collect();
        records.sort();
        let of_delay = (counted - 2) / 2;
        let of = |name: &str, records| (format!("{name} of source:a,target:b,isp:local"), records);
        let expected = [
            ("clock.offset of source:a".to_owned(), 1),
            of("tcp.wan.rtt", of_delay),
            of("udp.wan.rtt", of_delay),
            of("udp.wan.sent", 1),
        ];
        assert_eq!(records, expected, "{mode:?}");
    }
    let mut encoder = encoder(Mode::Windows);
    encoder.add(&event());
    assert_eq!(halves(&taken(&mut encoder)[0]), None);
}
