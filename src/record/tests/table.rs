//! The table of metrics: it is what is published, and `docs/metrics.md` is written from it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use super::*;
use crate::proto::{self, ClockEstimate, Direction, Dscp, Seen, Stamp, Trace};
use crate::record::metrics::Metric;

/// The variable with which the test writes the page in place of comparing it.
const RENEW: &str = "RENEW_DOCS";

fn one_way(kind: FlowKind, direction: Direction, seq: u64) -> Output {
    Output::OneWay(OneWay {
        origin: Origin(0),
        kind,
        direction,
        seq,
        delay_ns: 250_000,
        at: second(1).wall,
        stamp: StampSource::Kernel,
    })
}

/// A probe of a flow without queues.
fn trace(kind: FlowKind, seq: u64) -> Output {
    let start = second(0)
        .wall
        .plus(i64::try_from(seq).unwrap() * 10_000_000);
    let stamp = |at_ns| {
        let (at, source) = (start.plus(at_ns), StampSource::Kernel);
        Some(Stamp { at, source })
    };
    Output::Trace(Trace {
        origin: Origin(0),
        kind,
        seq,
        stamps: [0, 250_000, 270_000, 520_000].map(stamp),
        outcome: Outcome::Received,
        lost_on: None,
    })
}

fn hops(before: Option<u8>) -> Output {
    Output::Hops {
        origin: Origin(0),
        kind: FlowKind::Udp,
        at: second(1).wall,
        hops: 4,
        before,
    }
}

fn dscp(direction: Direction, arrived: u8, has_changed: bool) -> Output {
    Output::Dscp(Seen {
        origin: Origin(0),
        kind: FlowKind::Udp,
        direction,
        at: second(1).wall,
        sent: Dscp::new(46).expect("six bits"),
        arrived: Dscp::new(arrived).expect("six bits"),
        has_changed,
    })
}

#[test]
fn a_code_point_that_is_changed_on_the_way_is_an_event() {
    let mut rig = Rig::new(Mode::Samples);
    let (forward, reverse) = (Direction::Forward, Direction::Reverse);
    rig.take([
        opened(0, "b"),
        dscp(forward, 0, true),
        dscp(reverse, 46, false),
    ]);
    let records = rig.end(1);
    let events = records
        .iter()
        .filter(|record| matches!(record, Record::Event(_)));
    let events: Vec<String> = events.map(Record::to_json).collect();
    assert_eq!(events.len(), 1, "{events:?}");
    let said = r#""event": "remarked", "flow": "udp", "direction": "forward""#;
    assert!(events[0].contains(said), "{events:?}");
    assert!(
        events[0].contains(r#""sent": "ef", "arrived": "cs0""#),
        "{events:?}"
    );
    let gauge = |name: &str| {
        let found = records.iter().find(|record| record.metric() == name);
        found.expect("a gauge").to_json()
    };
    assert!(gauge("udp.wan.dscp.forward").contains(" 0]]"));
    assert!(gauge("udp.wan.dscp.reverse").contains(" 46]]"));
}

#[test]
fn another_number_of_hops_is_an_event() {
    let mut rig = Rig::new(Mode::Samples);
    rig.take([opened(0, "b"), hops(None), hops(Some(6))]);
    let records = rig.end(1);
    let found: Vec<_> = records
        .iter()
        .filter_map(|record| match record {
            Record::Event(event) => Some((event.name(), event.value(), record.to_json())),
            _ => None,
        })
        .collect();
    let [(name, value, json)] = &found[..] else {
        panic!("one event: {found:?}")
    };
    assert_eq!((*name, *value), ("hops_change", -2));
    assert!(
        json.contains(r#""old":6,"new":4"#) || json.contains(r#""old": 6, "new": 4"#),
        "{json}"
    );
    let gauge = records
        .iter()
        .find(|record| record.metric() == "udp.wan.hops");
    assert!(
        gauge.is_some_and(|gauge| gauge.to_json().contains("4]]")),
        "{gauge:?}"
    );
}

/// The names of all that a recorder publishes when everything happens.
fn published(choice: Choice) -> BTreeSet<&'static str> {
    let mut rig = Rig::with(SinkConfig {
        choice,
        ..SinkConfig::new(Mode::Both, SECOND_NS)
    });
    rig.recorder.find_bursts(BurstRules {
        threshold_ns: Some(1_000_000),
        quiet_ns: 5_000_000,
    });
    rig.recorder
        .add_backend(Arc::new(BackendStats::new("datadog")));
    rig.host = HostGauges {
        cpu_ns: Some(1),
        resident_bytes: Some(1),
        clock_steps: 1,
        clock: Some(ClockState::default()),
        config: Some(ConfigRead::default()),
    };
    let kinds = [FlowKind::Udp, FlowKind::Tcp, FlowKind::Connect];
    for (origin, kind) in (0..).zip(kinds) {
        rig.take([opened(origin, "b")]);
        let native = Counters {
            sent_native: 1,
            ..sent(1)
        };
        rig.flows.insert(origin, (kind, native));
    }
    rig.take(proto::Metric::ALL.map(|metric| sample(0, metric, 1)));
    for kind in [FlowKind::Udp, FlowKind::Tcp] {
        for direction in [Direction::Forward, Direction::Reverse] {
            rig.take((1..3).map(|seq| one_way(kind, direction, seq)));
        }
        rig.take((1..400).map(|seq| trace(kind, seq)));
    }
    for (number, kind) in [(3, FlowKind::Udp), (4, FlowKind::Tcp)] {
        let origin = Origin(number);
        rig.take([
            opened(number, "b"),
            Output::Member(Box::new(proto::Member {
                origin,
                target: proto::TargetId(1),
                kind: Some(kind),
                number: proto::FlowNumber { number: 2, of: 2 },
                total: None,
            })),
        ]);
        rig.take((0..600).map(|seq| {
            let at = |ns: i64| Stamp {
                at: Wall::from_unix_nanos(seq * 100_000_000 + ns),
                source: StampSource::Kernel,
            };
            Output::Trace(Trace {
                origin,
                kind,
                seq: seq.cast_unsigned(),
                stamps: [0, 1, 2, 3].map(|ns| Some(at(ns))),
                outcome: Outcome::Received,
                lost_on: None,
            })
        }));
    }
    let estimate = ClockEstimate {
        offset_ns: 1,
        skew_ppb: 1,
        error_ns: 1,
    };
    rig.take([
        Output::Clock {
            origin: Origin(0),
            estimate,
        },
        hops(None),
        dscp(Direction::Forward, 46, false),
        dscp(Direction::Reverse, 46, false),
        Output::Lateness(1),
        Output::SendGap(1),
        Output::ReceiveGap(1),
    ]);
    let records = rig.end(1);
    records.iter().map(Record::metric).collect()
}

/// A record can only have a metric of the table, and here is every one of them.
#[test]
fn what_is_published_is_the_table() {
    let mut names = published(Choice::ALL);
    for metric in Metric::of_prometheus() {
        assert!(names.insert(metric.name), "{} is published", metric.name);
    }
    let table: BTreeSet<_> = Metric::all().map(|metric| metric.name).collect();
    assert_eq!(names, table);
}

/// Whatever is chosen is published, and nothing else.
#[test]
fn what_is_not_chosen_is_not_published() {
    let all = published(Choice::ALL);
    for metric in Metric::all() {
        let only = published(Choice::of(&[metric.name]).unwrap());
        let expected: BTreeSet<_> = all
            .iter()
            .copied()
            .filter(|name| *name == metric.name)
            .collect();
        assert_eq!(only, expected);
        let others = published(Choice::of(&[format!("!{}", metric.name)]).unwrap());
        assert!(!others.contains(metric.name), "{}", metric.name);
        assert_eq!(others.len() + only.len(), all.len());
    }
}

/// What stands above the lists.
const HEAD: &str = "\
# Metrics

This page is written from the table in `src/record/metrics.rs` by `RENEW_DOCS=1 cargo test --lib table`.

All times are nanoseconds in the JSON of the `cli`, `log`, `zeromq` and `clickhouse` backends. Datadog gets
milliseconds, Prometheus and OTLP seconds.

| kind | what is published |
| --- | --- |
| delay | a sample of each probe, or a window of each interval, as the backend's `mode` says |
| signed delay | the same; it may be negative, because it contains the difference of two clocks |
| window | a window of each interval, in every mode |
| count | how often it happened in an interval |
| gauge | a reading at the end of an interval |
| increment | a gauge of what an interval added |
| last event | a gauge that stays until the next event |

A window has the count, the least, the mean and the greatest value, the standard deviation, percentiles and the whole
histogram. [Prometheus names](backends/pushgateway.md) have `_` in place of `.`, and the unit at the end
(`udp_wan_rtt_seconds`); counts and increments end in `_total`. Events (`burst`, `outage_begin`, `outage`,
`route_change`, `hops_change`, `remarked`, `path`, `path_change`, `path_divergence`, `wire`, `reopened`, `clock_step`)
are described in [records.md](records.md).
";

/// A section of the page: its title, what it says of the tags, and which metrics it has.
struct Section {
    title: &'static str,
    tags: &'static str,
    has: fn(&Metric) -> bool,
}

const SECTIONS: [Section; 5] = [
    Section {
        title: "Flows",
        tags: "Tags: `source`, `target`, and the target's own tags. With `owd = \"corrected\"` the estimated difference of\n\
               the clocks is taken out of a one-way delay, which then has the tag `owd:corrected` too. A sender under a name\n\
               that is another one's has the tag `address` ([design/trust.md](design/trust.md)).",
        has: |metric| metric.tags == TagSet::Flow,
    },
    Section {
        title: "Flows, in each direction",
        tags: "Tags: those of the flow, and `direction:forward` or `direction:reverse`.",
        has: |metric| metric.tags == TagSet::Direction && !is_of_prometheus(metric),
    },
    Section {
        title: "The host and the process",
        tags: "Tags: `source`.",
        has: |metric| metric.tags == TagSet::Host && !is_of_prometheus(metric),
    },
    Section {
        title: "Backends",
        tags: "Tags: `source`, and `backend` with the backend's name. Every backend publishes those of all, so one backend\n\
               shows that another one is down.",
        has: |metric| metric.tags == TagSet::Backend,
    },
    Section {
        title: "For Prometheus only, pushed or pulled",
        tags: "Prometheus takes no events. Tags: those of the event, and `event` or `direction`; of `monitor.*`\n\
               `source`.",
        has: is_of_prometheus,
    },
];

fn is_of_prometheus(metric: &Metric) -> bool {
    Metric::of_prometheus().any(|other| other.name == metric.name)
}

const fn kind(metric: &Metric) -> &'static str {
    match metric.kind {
        MetricKind::Delay => "delay",
        MetricKind::SignedDelay => "signed delay",
        MetricKind::Window => "window",
        MetricKind::Count => "count",
        MetricKind::Gauge => "gauge",
        MetricKind::Increment => "increment",
        MetricKind::LastEvent => "last event",
    }
}

const fn unit(metric: &Metric) -> &'static str {
    match metric.unit {
        Unit::Nanoseconds => ", ns",
        Unit::Bytes => ", bytes",
        Unit::PartsPerBillion => ", parts per billion",
        Unit::Number => "",
    }
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    for Section { title, tags, has } in &SECTIONS {
        let _ = write!(page, "\n## {title}\n\n{tags}\n\n");
        let all: Vec<_> = Metric::all().filter(|metric| has(metric)).collect();
        for same in all.chunk_by(|one, other| one.help == other.help) {
            let names: Vec<_> = same
                .iter()
                .map(|metric| format!("`{}`", metric.name))
                .collect();
            let metric = same[0];
            let _ = write!(
                page,
                "- {}: {}{}",
                names.join(", "),
                kind(metric),
                unit(metric)
            );
            if !metric.rfc.is_empty() {
                let _ = write!(page, "; {}", metric.rfc);
            }
            let _ = writeln!(page, ".\n  {}.", metric.help);
        }
    }
    page
}

#[test]
fn the_page_of_metrics_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    if std::env::var_os(RENEW).is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page(),
        "docs/metrics.md is not what src/record/metrics.rs says: {RENEW}=1 cargo test --lib table renews it"
    );
}

#[test]
fn every_metric_has_a_name_of_its_own_and_says_what_it_is() {
    let mut names = BTreeSet::new();
    for metric in Metric::all() {
        assert!(names.insert(metric.name), "{} is there twice", metric.name);
        let is_line = (4..=100).contains(&metric.help.len()) && !metric.help.contains('\n');
        assert!(is_line, "{}: {:?}", metric.name, metric.help);
        assert!(!metric.help.ends_with('.'), "{} ends in a dot", metric.name);
        let named = Metric::named(metric.name);
        assert_eq!(named.map(|named| named.help), Some(metric.help));
    }
}
