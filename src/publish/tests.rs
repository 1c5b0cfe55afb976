//! The flush thread with its backends, and JSON to the byte.

use std::io::Cursor;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel as unbounded};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;

use super::*;
use crate::proto::prober::SelfCounters;
use crate::proto::{
    Direction, FlowKind, FlowNumber, Hop, IcmpType, Label, Labels, Member, Metric, Mono, Now,
    OneWay, Origin, Outage, Outcome, Output, Path, Sample, Stamp, StampSource, TargetId, Trace,
    Tuple, Wall, Why,
};
use crate::publish::testing::{gauge, metric};
use crate::record::{
    BurstRules, Feed, HostGauges, Mode, Record, Recorder, Series, SinkConfig, Tags,
};

const PATIENCE: Duration = Duration::from_secs(10);

fn labels() -> Arc<Labels> {
    Arc::new(Labels::new("a\"1", "b", &["isp:local"]))
}

fn at(seconds: i64) -> Now {
    let ns = seconds * 1_000_000_000;
    Now {
        mono: Mono::from_nanos(ns.unsigned_abs()),
        wall: Wall::from_unix_nanos(1_768_219_134_587_069_267 + ns),
    }
}

/// A recorder that took these delays, and its feed.
fn recorded(mode: Mode, metric: Metric, values: &[i64]) -> (Recorder, Feed) {
    let mut recorder = Recorder::new("a", at(0));
    let feed = recorder.add_sink(SinkConfig::new(mode, 1_000_000_000));
    recorder.handle_output(&Output::Opened {
        origin: Origin(0),
        labels: labels(),
    });
    for (seq, &value_ns) in (17..).zip(values) {
        recorder.handle_output(&Output::Sample(Sample {
            origin: Origin(0),
            metric,
            outcome: Outcome::Received,
            value_ns,
            at: at(0).wall,
            seq,
            stamp: StampSource::Kernel,
            dwell_ns: None,
            is_corrected: false,
        }));
    }
    (recorder, feed)
}

fn end(recorder: &mut Recorder) {
    let own = SelfCounters::default();
    recorder.handle_timeout(at(1), [], &own, HostGauges::default);
}

fn window(values: &[i64]) -> Record {
    let (mut recorder, mut feed) = recorded(Mode::Windows, Metric::UdpOwd, values);
    end(&mut recorder);
    feed.poll().unwrap()
}

#[test]
fn a_sample_is_the_old_object_with_new_keys_after_it() {
    let (_recorder, mut feed) = recorded(Mode::Samples, Metric::UdpRtt, &[282_072]);
    insta::assert_snapshot!(feed.poll().unwrap().to_json(), @r#"{"metric": "udp.wan.rtt", "points": [[1768219134587069267, 282072]], "tags": ["source:a\"1", "target:b", "isp:local"], "stamp": "kernel", "seq": 17}"#);
}

#[test]
fn a_sample_without_the_reflector_s_time_says_how_long_that_was() {
    let (mut recorder, mut feed) = recorded(Mode::Samples, Metric::UdpRtt, &[]);
    recorder.handle_output(&Output::Sample(Sample {
        origin: Origin(0),
        metric: Metric::UdpOwd,
        outcome: Outcome::Received,
        value_ns: -7,
        at: at(0).wall,
        seq: 17,
        stamp: StampSource::Hw,
        dwell_ns: Some(41_000),
        is_corrected: true,
    }));
    insta::assert_snapshot!(feed.poll().unwrap().to_json(), @r#"{"metric": "udp.wan.owd", "points": [[1768219134587069267, -7]], "tags": ["source:a\"1", "target:b", "isp:local", "owd:corrected"], "stamp": "hw", "seq": 17, "dwell": 41000}"#);
}

#[test]
fn a_step_of_a_clock_is_an_event() {
    let (mut recorder, mut feed) = recorded(Mode::Windows, Metric::UdpRtt, &[]);
    for origin in [None, Some(Origin(0))] {
        recorder.handle_output(&Output::ClockStep {
            origin,
            at: at(0),
            step_ns: -3_600_000_000_000,
        });
    }
    insta::assert_snapshot!(feed.poll().unwrap().to_json(), @r#"{"event": "clock_step", "clock": "local", "at": 1768219134587069267, "step": -3600000000000, "tags": ["source:a"]}"#);
    insta::assert_snapshot!(feed.poll().unwrap().to_json(), @r#"{"event": "clock_step", "clock": "peer", "at": 1768219134587069267, "step": -3600000000000, "tags": ["source:a\"1", "target:b", "isp:local"]}"#);
}

#[test]
fn bursts_outages_and_other_routes_are_events() {
    let (mut recorder, mut feed) = recorded(Mode::Windows, Metric::UdpRtt, &[]);
    recorder.find_bursts(BurstRules {
        threshold_ns: Some(1_000_000),
        quiet_ns: 5_000_000,
    });
    let stamp = |ms: u64, ns: i64| {
        let ns = ns + i64::try_from(ms * 1_000_000).unwrap();
        Some(Stamp {
            at: at(0).wall.plus(ns),
            source: StampSource::Kernel,
        })
    };
    let outputs = (0..10_000).map(|seq| {
        let is_lost = (3_500..3_540).contains(&seq);
        let queue_ns = match seq {
            3_000..3_010 => 4_000_000,
            5_000.. => 2_000_000,
            _ => 0,
        };
        let received = stamp(seq, 250_000 + queue_ns);
        let back = stamp(seq, 500_000 + queue_ns);
        Output::Trace(Trace {
            origin: Origin(0),
            kind: FlowKind::Udp,
            seq,
            stamps: if is_lost {
                [stamp(seq, 0), None, None, None]
            } else {
                [stamp(seq, 0), received, received, back]
            },
            outcome: if is_lost {
                Outcome::Lost
            } else {
                Outcome::Received
            },
            lost_on: None,
        })
    });
    let outage = |duration_ns| {
        Output::Outage(Outage {
            origin: Origin(0),
            kind: FlowKind::Udp,
            start: stamp(3_500, 0).unwrap().at,
            duration_ns,
            interval_ns: 1_000_000,
            slots: 40,
            lost: Some([3_500, 3_539]),
            direction: None,
            stamp: StampSource::Kernel,
        })
    };
    for (seq, output) in outputs.enumerate() {
        recorder.handle_output(&output);
        match seq {
            3_502 => recorder.handle_output(&outage(None)),
            3_540 => recorder.handle_output(&outage(Some(39_000_000))),
            _ => {}
        }
    }
    insta::assert_snapshot!(feed.poll().unwrap().to_json(), @r#"{"event": "burst", "flow": "udp", "direction": "forward", "start": 1768219137587069267, "duration": 9000000, "peak": 4000000, "mean": 4000000, "base": 250000, "probes": 10, "lost": 0, "tags": ["source:a\"1", "target:b", "isp:local"], "incident": 1768219137587069267, "stamp": "kernel", "suspect": null, "evidence": {"local": {"kept_waiting": 0, "steal": null, "receive_gap": null, "send_gap": null, "drops": null}, "peer": {"kept_waiting": null, "steal": null, "receive_gap": null, "send_gap": null, "drops": null}}}"#);
    let traces: Vec<_> = std::iter::from_fn(|| recorder.poll_trace()).collect();
    let wanted = [Why::Burst, Why::Outage].map(|why| (Origin(0), why));
    assert_eq!(traces, wanted, "each as soon as it has begun");
    insta::assert_snapshot!(feed.poll().unwrap().to_json(), @r#"{"event": "outage_begin", "flow": "udp", "start": 1768219138087069267, "tags": ["source:a\"1", "target:b", "isp:local"]}"#);
    insta::assert_snapshot!(feed.poll().unwrap().to_json(), @r#"{"event": "outage", "flow": "udp", "direction": null, "start": 1768219138087069267, "duration": 39000000, "peak": 0, "mean": 0, "base": 0, "probes": 40, "lost": 40, "tags": ["source:a\"1", "target:b", "isp:local"], "incident": 1768219138087069267, "stamp": "kernel", "suspect": null, "evidence": {"local": {"kept_waiting": 0, "steal": null, "receive_gap": null, "send_gap": null, "drops": null}, "peer": {"kept_waiting": null, "steal": null, "receive_gap": null, "send_gap": null, "drops": null}}}"#);
    insta::assert_snapshot!(feed.poll().unwrap().to_json(), @r#"{"event": "route_change", "flow": "udp", "direction": "forward", "at": 1768219141587069267, "old": 250000, "new": 2250000, "tags": ["source:a\"1", "target:b", "isp:local"]}"#);
    assert!(feed.poll().is_none());
}

#[test]
fn a_path_has_its_hops_and_a_change_those_before() {
    let (mut recorder, mut feed) = recorded(Mode::Samples, Metric::UdpRtt, &[]);
    let exceeded = IcmpType {
        is_v6: false,
        kind: 11,
        code: 0,
    };
    let label = Label {
        label: 16_001,
        traffic_class: 5,
        ttl: 1,
    };
    let hop = |ttl, address: Option<&str>, icmp, labels: &[Label]| Hop {
        ttl,
        address: address.map(|address| address.parse().unwrap()),
        rtt_ns: address.map(|_| u64::from(ttl) * 1_000),
        stamp: address.map(|_| StampSource::Kernel),
        icmp,
        labels: labels.into(),
    };
    let mut path = Path {
        origin: Origin(0),
        at: at(0).wall,
        why: Why::Outage,
        source_port: 40_931,
        remote: "192.0.2.9:8001".parse().unwrap(),
        hops: Box::new([
            hop(1, Some("192.0.2.1"), Some(exceeded), &[label]),
            hop(2, None, None, &[]),
            hop(3, Some("192.0.2.9"), None, &[]),
        ]),
        is_reached: true,
        before: None,
    };
    recorder.handle_output(&Output::Path(Box::new(path.clone())));
    path.before = Some(Box::new([None, Some("192.0.2.7".parse().unwrap())]));
    recorder.handle_output(&Output::Path(Box::new(path)));
    insta::assert_snapshot!(feed.poll().unwrap().to_json());
    assert!(
        feed.poll()
            .unwrap()
            .to_json()
            .starts_with(r#"{"event": "path", "#)
    );
    insta::assert_snapshot!(feed.poll().unwrap().to_json());
    assert!(feed.poll().is_none());
}

#[test]
fn a_path_of_one_of_several_flows_has_its_port_once() {
    let (mut recorder, mut feed) = recorded(Mode::Samples, Metric::UdpRtt, &[]);
    recorder.handle_output(&Output::Member(Box::new(Member {
        origin: Origin(0),
        target: TargetId(1),
        kind: Some(FlowKind::Udp),
        number: FlowNumber { number: 2, of: 3 },
        total: None,
    })));
    let path = Path {
        origin: Origin(0),
        at: at(0).wall,
        why: Why::Interval,
        source_port: 40_931,
        remote: "192.0.2.9:8001".parse().unwrap(),
        hops: Box::new([]),
        is_reached: false,
        before: None,
    };
    recorder.handle_output(&Output::Path(Box::new(path.clone())));
    recorder.handle_output(&Output::Tuple(Box::new(Tuple {
        origin: Origin(0),
        local: "192.0.2.1:40931".parse().unwrap(),
        remote: path.remote,
    })));
    recorder.handle_output(&Output::Path(Box::new(path)));
    let told: Vec<String> = std::iter::from_fn(|| feed.poll())
        .map(|record| record.to_json())
        .filter(|json| json.contains(r#""event": "path""#))
        .collect();
    assert_eq!(told.len(), 2);
    for json in told {
        let ports = json.matches(r#""source_port": 40931"#).count();
        assert_eq!(
            (ports, json.matches(r#""flow_number": 2"#).count()),
            (1, 1),
            "{json}"
        );
    }
}

#[test]
fn variation_has_a_direction() {
    let (mut recorder, mut feed) = recorded(Mode::Samples, Metric::UdpRtt, &[]);
    for seq in 1..=2 {
        recorder.handle_output(&Output::OneWay(OneWay {
            origin: Origin(0),
            kind: FlowKind::Udp,
            direction: Direction::Reverse,
            seq,
            delay_ns: -3_600_000_000_000 + seq.cast_signed(),
            at: at(0).wall,
            stamp: StampSource::Kernel,
        }));
    }
    end(&mut recorder);
    insta::assert_snapshot!(feed.poll().unwrap().to_json(), @r#"{"metric": "udp.wan.ipdv", "points": [[1768219134587069267, 1]], "tags": ["source:a\"1", "target:b", "isp:local", "direction:reverse"], "stamp": "kernel", "seq": 2}"#);
    insta::assert_snapshot!(feed.poll().unwrap().to_json(), @r#"{"metric": "udp.wan.pdv", "tags": ["source:a\"1", "target:b", "isp:local", "direction:reverse"], "start": 1768219134587069267, "end": 1768219135587069267, "count": 2, "min": 0, "mean": 1, "max": 1, "stddev": 1, "p50": 0, "p90": 1, "p99": 1, "p99.9": 1, "p99.99": 1, "stamp": "kernel", "hdr": "HISTFAAAACN4nJNpmSzMwMDAxAABzFCaEYh5f7hHMNh/gAgwMQEAVWcEJA=="}"#);
}

#[test]
fn counts_and_gauges_have_points_and_tags() {
    let count = Record::Count {
        metric: metric("udp.wan.lost"),
        tags: Arc::new(Tags::Flow(labels())),
        at: at(0).wall,
        value: u64::MAX,
    };
    insta::assert_snapshot!(count.to_json(), @r#"{"metric": "udp.wan.lost", "points": [[1768219134587069267, 18446744073709551615]], "tags": ["source:a\"1", "target:b", "isp:local"]}"#);
    insta::assert_snapshot!(gauge(-5).to_json(), @r#"{"metric": "clock.offset", "points": [[1768219134587069267, -5]], "tags": ["source:a"]}"#);
}

#[test]
fn any_name_can_be_read_back() {
    let name = "caf\u{e9} \\ \t \u{7} \u{1f600}";
    let gauge = Record::Gauge {
        metric: metric("clock.offset"),
        tags: Arc::new(Tags::Host(name.into())),
        at: at(0).wall,
        value: 0,
    };
    let object: serde_json::Value = serde_json::from_str(&gauge.to_json()).unwrap();
    assert_eq!(
        object["tags"],
        serde_json::json!([format!("source:{name}")])
    );
}

#[test]
fn a_window_has_all_figures_in_order() {
    let values: Vec<i64> = (1..=1_000).map(|value| value * 1_000).collect();
    insta::assert_snapshot!(window(&values).to_json(), @r#"{"metric": "udp.wan.owd", "tags": ["source:a\"1", "target:b", "isp:local"], "start": 1768219134587069267, "end": 1768219135587069267, "count": 1000, "min": 1000, "mean": 500500, "max": 1000000, "stddev": 288675, "p50": 500223, "p90": 900095, "p99": 990207, "p99.9": 999423, "p99.99": 1000000, "stamp": "kernel", "hdr": "HISTFAAAAJ54nO2NSwrCMBRFX26UCFIycKguwRWIOHQL7sEViFN3IC7AkbgWKV1F5+2oHTY0gdIvpdBC2+S8T3KTl7t7vjZE4k96cdOZSie+XOkcaMGTcCXeK/gCnwVCbuILRKwifgwP3BvyhqPilNZu/YAt9oqsDn+WcLBWqcl21epU7wWWKdz0PO1VOz/+eQ4qUBLqaP2wjz+tuTWfh3kCZUI9YQ=="}"#);
}

#[test]
fn a_window_says_what_is_negative_and_out_of_range() {
    insta::assert_snapshot!(window(&[-1_500, 20, 61_000_000_000]).to_json(), @r#"{"metric": "udp.wan.owd", "tags": ["source:a\"1", "target:b", "isp:local"], "start": 1768219134587069267, "end": 1768219135587069267, "count": 3, "min": -1500, "mean": 20333332840, "max": 61000000000, "stddev": 28755676117, "p50": 20, "p90": 61000000000, "p99": 61000000000, "p99.9": 61000000000, "p99.99": 61000000000, "stamp": "kernel", "hdr": "HISTFAAAACN4nJNpmSzMwMDAxAABzFCaEYh5f7hHMNh/gAioMwEAVbEESQ==", "hdr_negative": "HISTFAAAACN4nJNpmSzMwMDAzAABMJoRiHl/uEcw2H+ACGwXZwIAW/oE8Q==", "out_of_range": 1}"#);
}

#[test]
fn a_window_of_lateness_has_the_source_alone() {
    let mut recorder = Recorder::new("a", at(0));
    let mut feed = recorder.add_sink(SinkConfig::new(Mode::Samples, 1_000_000_000));
    recorder.handle_output(&Output::Lateness(52_000));
    end(&mut recorder);
    insta::assert_snapshot!(feed.poll().unwrap().to_json(), @r#"{"metric": "monitor.lateness", "tags": ["source:a"], "start": 1768219134587069267, "end": 1768219135587069267, "count": 1, "min": 52000, "mean": 52000, "max": 52000, "stddev": 0, "p50": 52000, "p90": 52000, "p99": 52000, "p99.9": 52000, "p99.99": 52000, "stamp": "user", "hdr": "HISTFAAAACN4nJNpmSzMwMDAzAABMJoRiHl/uEcw2H+ACGzMZAIAXIwFPQ=="}"#);
}

/// Decode the histogram under a key, as a consumer of the JSON does.
fn decoded(json: &str, key: &str) -> Histogram<u64> {
    let object: serde_json::Value = serde_json::from_str(json).unwrap();
    let bytes = STANDARD.decode(object[key].as_str().unwrap()).unwrap();
    Deserializer::new()
        .deserialize(&mut Cursor::new(bytes))
        .unwrap()
}

#[test]
fn histograms_decode_and_merge() {
    let few = window(&[-1_500, 20, 300]).to_json();
    let many: Vec<i64> = (0..10_000).collect();
    let many = window(&many).to_json();
    let mut merged = decoded(&few, "hdr");
    merged.add(decoded(&many, "hdr")).unwrap();
    assert_eq!(merged.len(), 10_002);
    assert_eq!(merged.low(), 1);
    assert_eq!(merged.sigfig(), crate::record::HISTOGRAM_DIGITS);
    assert!(merged.equivalent(merged.max(), 9_999));
    let negative = decoded(&few, "hdr_negative");
    assert_eq!(negative.len(), 1);
    assert!(negative.equivalent(negative.max(), 1_500));
}

#[test]
fn an_encoder_forgets_the_window_before() {
    let mut encoder = Encoder::new();
    for values in [&[-5, 100_000_000_000][..], &[10], &[-7, 8]] {
        let record = window(values);
        let mut out = Vec::new();
        encoder.encode(&record, &mut out);
        assert_eq!(out, record.to_json().as_bytes());
    }
}

/// Tells the test what is asked of it, and answers as told.
struct Told {
    sender: Sender<String>,
    answer: fn() -> Result<(), PublishError>,
}

impl Backend for Told {
    fn name(&self) -> &'static str {
        "told"
    }

    fn publish(&mut self, record: &Record) -> Result<(), PublishError> {
        self.sender.send(record.metric().to_owned()).unwrap();
        (self.answer)()
    }

    fn flush(&mut self) -> Result<(), PublishError> {
        Ok(())
    }

    fn finish(&mut self, timeout: Duration) -> Result<(), PublishError> {
        let seconds = timeout.as_secs_f64().ceil();
        self.sender.send(format!("finish in {seconds}s")).unwrap();
        Ok(())
    }
}

#[test]
fn the_flush_thread_publishes_everything_before_it_ends() {
    let (mut recorder, feed) = recorded(Mode::Both, Metric::UdpRtt, &[1, 2]);
    let (sender, told) = unbounded();
    let backend = Told {
        sender,
        answer: || Ok(()),
    };
    let flusher = Flusher::spawn(feed, Box::new(backend), || unreachable!()).unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "udp.wan.rtt");
    let own = SelfCounters::default();
    assert!(recorder.finish(at(1), [], &own, HostGauges::default));
    flusher.stop(Duration::from_secs(3));
    assert!(flusher.join(PATIENCE));
    let rest: Vec<String> = told.iter().collect();
    assert_eq!(rest[..2], ["udp.wan.rtt", "udp.wan.rtt"]);
    assert_eq!(
        rest[rest.len() - 2..],
        ["monitor.clock_steps", "finish in 3s"]
    );
}

#[test]
fn the_flush_thread_ends_with_the_recorder() {
    let (recorder, feed) = recorded(Mode::Samples, Metric::UdpRtt, &[1]);
    let (sender, told) = unbounded();
    let backend = Told {
        sender,
        answer: || Ok(()),
    };
    let flusher = Flusher::spawn(feed, Box::new(backend), || unreachable!()).unwrap();
    drop(recorder);
    assert!(flusher.join(PATIENCE));
    assert_eq!(told.iter().next().unwrap(), "udp.wan.rtt");
}

#[test]
fn a_closed_reader_is_reported_once_and_ends_the_thread() {
    let (mut recorder, feed) = recorded(Mode::Samples, Metric::UdpRtt, &[1, 2]);
    let (sender, told) = unbounded();
    let backend = Told {
        sender,
        answer: || Err(PublishError::Closed),
    };
    let (closed_sender, closed) = unbounded();
    let on_closed = move || closed_sender.send(()).unwrap();
    let flusher = Flusher::spawn(feed, Box::new(backend), on_closed).unwrap();
    closed.recv_timeout(PATIENCE).unwrap();
    assert!(flusher.join(PATIENCE));
    assert_eq!(told.iter().count(), 1);
    // The recorder sees that nobody reads, and does not wait for it.
    let own = SelfCounters::default();
    assert!(recorder.finish(at(1), [], &own, HostGauges::default));
}

#[test]
fn what_a_backend_drops_is_counted_by_its_recorder() {
    let (mut recorder, feed) = recorded(Mode::Samples, Metric::UdpRtt, &[1, 2, 3]);
    let (sender, told) = unbounded();
    let backend = Told {
        sender,
        answer: || Err(PublishError::Full),
    };
    let stats = Arc::clone(feed.stats());
    let flusher = Flusher::spawn(feed, Box::new(backend), || unreachable!()).unwrap();
    for _ in 0..3 {
        told.recv_timeout(PATIENCE).unwrap();
    }
    let own = SelfCounters::default();
    recorder.finish(at(1), [], &own, HostGauges::default);
    flusher.stop(PATIENCE);
    assert!(flusher.join(PATIENCE));
    let rest = told.iter().filter(|told| !told.starts_with("finish"));
    let published = 3 + u64::try_from(rest.count()).unwrap();
    // The count of drops is among what is dropped, and what it told of is to be told again: the first
    // three or, if the third was just being counted, two of them.
    let counted = stats.gave_up();
    let again = counted - published;
    assert!((2..=3).contains(&again), "{counted} of {published}");
}

#[test]
fn records_share_their_series() {
    let (_recorder, mut feed) = recorded(Mode::Samples, Metric::UdpRtt, &[1, 2]);
    let series = |record: Option<Record>| -> Arc<Series> {
        match record {
            Some(Record::Sample { series, .. }) => series,
            other => panic!("{other:?}"),
        }
    };
    assert!(Arc::ptr_eq(&series(feed.poll()), &series(feed.poll())));
    assert!(size_of::<Record>() <= 48);
}
