//! The state over intervals, and what whoever asks gets of it.

use std::sync::Arc;

use prost::Message as _;

use super::series::{Entry, Key, Value};
use super::*;
use crate::proto::{Labels, Metric};
use crate::publish::exponential::Scale;
use crate::publish::testing::{at, count, gauge, metric, records};
use crate::publish::{HistogramKind, ScrapeSettings};
use crate::record::{Mode, SinkConfig, Tags};

fn keys(state: &State) -> Vec<(&'static str, u64)> {
    let number = |(_, Entry { metric, value, .. }): (&Key, &Entry)| match value {
        Value::Histogram(buckets) => (metric.name, buckets.count()),
        Value::Counter(count) => (metric.name, *count),
        Value::Gauge(value) => (metric.name, value.unsigned_abs()),
    };
    state.series().map(number).collect()
}

fn state(sets: Sets) -> State {
    let sink = SinkConfig::new(Mode::Windows, 10_000_000_000);
    State::new(Shape::classic(None), sets, &sink, at(0).wall)
}

/// A count of what one host sends to another.
fn sent(source: &str, target: &str, name: &str) -> Record {
    let Record::Count { metric, at, .. } = count(name, 1) else {
        unreachable!()
    };
    Record::Count {
        metric,
        tags: Arc::new(Tags::Flow(Arc::new(Labels::new(source, target, &[""; 0])))),
        at,
        value: 1,
    }
}

#[test]
fn a_target_has_room_with_all_its_series_or_with_none_and_idle_ones_make_room() {
    let mut state = state(Sets::limited("a", 2, 0));
    let both = ["udp.wan.late", "udp.wan.lost"];
    let add = |state: &mut State, target: &str| {
        let added = both.map(|name| state.add(&sent("a", target, name)));
        assert_eq!(added[0], added[1], "{target}");
        added[0]
    };
    for target in ["b", "c"] {
        assert_eq!(add(&mut state, target), Added::Yes);
    }
    assert_eq!(add(&mut state, "d"), Added::Refused);
    assert_eq!((state.len(), state.refused()), (4, 2));
    for _ in 0..11 {
        assert_eq!(add(&mut state, "c"), Added::Yes);
        state.end_round();
    }
    assert_eq!(add(&mut state, "d"), Added::Yes);
    assert_eq!(add(&mut state, "b"), Added::Refused);
    // Tags of equal content are one series, wherever they are in memory.
    let counts = [12, 1].map(|count| both.map(|_| count));
    let found: Vec<u64> = keys(&state).iter().map(|(_, count)| *count).collect();
    assert_eq!(
        found,
        [counts[0][0], counts[1][0], counts[0][1], counts[1][1]]
    );
}

#[test]
fn those_who_probe_this_host_take_no_room_of_its_targets() {
    let mut state = state(Sets::limited("a", 1_000, 2));
    let mut taken =
        |source: &str, target: &str| state.add(&sent(source, target, "udp.wan.lost")) == Added::Yes;
    let strangers: Vec<String> = (0..9).map(|number| format!("s{number}")).collect();
    let room = strangers.iter().filter(|name| taken(name, "a")).count();
    assert_eq!(room, 2, "those that came first");
    for target in (0..500).map(|number| format!("t{number}")) {
        assert!(taken("a", &target) && taken(&target, "a"), "{target}");
    }
    assert!(taken("s1", "a") && !taken("s2", "a"));
    // This host's own name gives a stranger no more.
    assert!(!taken("a", "a"));
}

#[test]
fn a_gauge_that_is_not_read_again_is_not_told_for_ever() {
    let mut state = state(Sets::new("a"));
    state.add(&gauge(7));
    state.add(&count("udp.wan.lost", 1));
    for _ in 0..2 {
        state.end_round();
        assert_eq!(keys(&state), [("udp.wan.lost", 1), ("clock.offset", 7)]);
    }
    state.end_round();
    assert_eq!(keys(&state), [("udp.wan.lost", 1)]);
}

fn exposition(histograms: HistogramKind) -> Exposition {
    let settings = ScrapeSettings {
        histograms,
        scale: Scale::DEFAULT,
        buckets: None,
    };
    let sink = SinkConfig::new(Mode::Windows, 10_000_000_000);
    Exposition::new(&settings, "a", &sink, at(0).wall)
}

const DELAYS: [i64; 5] = [-250_000, 0, 1_000_000, 1_500_000, 2_000_000_000];

/// An exposition that has had the same interval so many times.
fn filled(histograms: HistogramKind, intervals: usize) -> Exposition {
    let exposition = exposition(histograms);
    let mut backend = exposition.backend(|_: &[u8]| ());
    for _ in 0..intervals {
        for record in records(
            Mode::Windows,
            Metric::UdpOwd,
            Labels::new("a", "b", &["isp:x"]),
            &DELAYS,
        ) {
            backend.publish(&record).unwrap();
        }
        backend.publish(&count("udp.wan.lost", 3)).unwrap();
        (0..9).for_each(|_| backend.flush().unwrap());
    }
    exposition
}

fn families(exposition: &Exposition) -> Vec<protobuf::MetricFamily> {
    let bytes = exposition.write(Format::Protobuf);
    let mut rest = &bytes[..];
    let mut families = Vec::new();
    while !rest.is_empty() {
        families.push(protobuf::MetricFamily::decode_length_delimited(&mut rest).unwrap());
    }
    families
}

#[test]
fn native_histograms_have_every_value_and_when_they_began() {
    for kind in [HistogramKind::Native, HistogramKind::Both] {
        let families = families(&filled(kind, 2));
        let family = families
            .iter()
            .find(|it| it.name == "udp_wan_owd_seconds")
            .unwrap();
        let [message] = &family.metric[..] else {
            panic!("one series");
        };
        let labels: Vec<_> = message
            .label
            .iter()
            .map(|it| (&*it.name, &*it.value))
            .collect();
        assert_eq!(labels, [("isp", "x"), ("source", "a"), ("target", "b")]);
        let native = message.histogram.as_ref().unwrap();
        assert_eq!(
            (native.sample_count, native.schema, native.zero_count),
            (10, 5, 2)
        );
        assert!(
            (native.sample_sum - 4.004_500_0).abs() < 1e-9,
            "{}",
            native.sample_sum
        );
        // 250 us, and 1 ms, 1.5 ms, 2 s: each bucket has its bound at 2^(index / 32).
        let bound = |index: i32| f64::exp2(f64::from(index) / 32.0);
        let first = native.negative_span[0].offset;
        assert!(bound(first - 1) < 250e-6 && 250e-6 <= bound(first));
        assert_eq!(native.negative_delta, [2]);
        let spans: Vec<u32> = native
            .positive_span
            .iter()
            .map(|span| span.length)
            .collect();
        assert_eq!(
            (&spans[..], &native.positive_delta[..]),
            (&[1, 1, 1][..], &[2, 0, 0][..])
        );
        assert!(native.bucket.is_empty());
        let began = native.created_timestamp.as_ref().unwrap();
        assert_eq!(began.seconds, at(0).wall.as_unix_nanos() / 1_000_000_000);
        let lost = families
            .iter()
            .find(|it| it.name == "udp_wan_lost_total")
            .unwrap();
        let lost = lost.metric[0].counter.as_ref().unwrap();
        assert!((lost.value - 6.0).abs() < 1e-9 && lost.created_timestamp.is_some());
    }
}

#[test]
fn classic_buckets_go_where_no_native_ones_do() {
    let families = families(&filled(HistogramKind::Classic, 1));
    let family = families
        .iter()
        .find(|it| it.name == "udp_wan_owd_seconds")
        .unwrap();
    let classic = family.metric[0].histogram.as_ref().unwrap();
    assert_eq!((classic.bucket.len(), classic.zero_threshold), (53, 0.0));
    let last = classic.bucket.last().unwrap();
    assert_eq!(
        (last.cumulative_count, last.upper_bound),
        (5, f64::INFINITY)
    );
}

#[test]
fn text_has_classic_buckets_and_without_them_counts() {
    let lines = |kind, format| {
        let text = String::from_utf8(filled(kind, 1).write(format)).unwrap();
        let of = |line: &&str| line.starts_with("udp_wan_owd_seconds_bucket");
        (text.lines().filter(of).count(), text.ends_with("# EOF\n"))
    };
    // Seven powers of ten below zero and one more, zero, 43 bounds above, and the infinite one.
    assert_eq!(lines(HistogramKind::Both, Format::Text), (53, false));
    assert_eq!(
        lines(HistogramKind::Classic, Format::OpenMetrics),
        (53, true)
    );
    assert_eq!(lines(HistogramKind::Native, Format::Text), (1, false));
}

#[test]
fn the_last_window_is_kept() {
    let exposition = filled(HistogramKind::Native, 3);
    let last =
        |target| exposition.last(metric("udp.wan.owd"), &Labels::new("a", target, &["isp:x"]));
    let window = last("b").unwrap();
    assert_eq!(
        (window.count, window.min_ns, window.max_ns),
        (5, -250_000, 2_000_000_000)
    );
    assert!(window.p50_ns.abs_diff(1_000_000) < 1_000 && window.p99_ns == window.max_ns);
    assert_eq!(last("c"), None);
}

#[test]
fn a_format_is_what_is_asked_for_most() {
    let prometheus = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
                      application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    for (accept, format) in [
        (prometheus, Format::Protobuf),
        (
            "application/openmetrics-text; version=1.0.0; q=0.75, text/plain;q=0.5",
            Format::OpenMetrics,
        ),
        (
            "text/plain;q=0.5, application/openmetrics-text;q=0.4",
            Format::Text,
        ),
        (
            "application/vnd.google.protobuf;proto=another;q=1, application/openmetrics-text;q=0",
            Format::Text,
        ),
        ("application/json", Format::Text),
        ("", Format::Text),
        ("*/*", Format::Text),
        ("application/openmetrics-text;q=nonsense", Format::Text),
        (
            "application/openmetrics-text;q=7.12345",
            Format::OpenMetrics,
        ),
        (";;;q=,,;q=.5", Format::Text),
    ] {
        assert_eq!(Format::accepted(accept), format, "{accept}");
    }
}
