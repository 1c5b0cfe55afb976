//! What is published of flows and their peers' clocks beside delays.

use super::*;
use crate::limits::SERIES_SETS_ENDED_PER_TURN_MAX;
use crate::proto::{ClockEstimate, FlowNumber, Member, Relabelled, TargetId};

fn clock(origin: u32, offset_ns: i64, error_ns: u64) -> Output {
    Output::Clock {
        origin: Origin(origin),
        estimate: ClockEstimate {
            offset_ns,
            skew_ppb: 2_500,
            error_ns,
        },
    }
}

fn flow(lost: u64, forward: u64, reverse: u64, native: u64) -> Counters {
    Counters {
        sent: 100,
        lost,
        lost_forward: forward,
        lost_reverse: reverse,
        sent_native: native,
        retransmits: 2,
        ..Counters::default()
    }
}

#[test]
fn losses_have_a_direction_once_something_native_was_sent() {
    let mut rig = Rig::new(Mode::Windows);
    rig.take([opened(0, "b")]);
    rig.flows.insert(0, (FlowKind::Udp, flow(4, 0, 0, 0)));
    let records = rig.end(1);
    assert_eq!(counts(&records, "udp.wan.lost"), [4]);
    assert!(counts(&records, "udp.wan.lost.forward").is_empty());
    assert!(counts(&records, "udp.wan.lost.reverse").is_empty());
    assert_eq!(counts(&records, "udp.wan.lost.unattributed"), [4]);
    rig.flows.insert(0, (FlowKind::Udp, flow(9, 1, 0, 50)));
    let records = rig.end(2);
    assert_eq!(counts(&records, "udp.wan.lost"), [5]);
    assert_eq!(counts(&records, "udp.wan.lost.forward"), [1]);
    assert_eq!(counts(&records, "udp.wan.lost.reverse"), [0]);
    assert_eq!(counts(&records, "udp.wan.lost.unattributed"), [8]);
    // Nothing more is lost, but more is known.
    rig.flows.insert(0, (FlowKind::Udp, flow(9, 2, 3, 60)));
    let records = rig.end(3);
    assert_eq!(counts(&records, "udp.wan.lost"), [0]);
    assert_eq!(counts(&records, "udp.wan.lost.forward"), [1]);
    assert_eq!(counts(&records, "udp.wan.lost.reverse"), [3]);
    assert_eq!(counts(&records, "udp.wan.lost.unattributed"), [4]);
}

#[test]
fn a_flow_that_went_keeps_the_directions_of_its_group() {
    let mut rig = Rig::new(Mode::Windows);
    rig.take([opened(0, "b"), opened(1, "b")]);
    rig.flows.insert(0, (FlowKind::Udp, flow(1, 1, 0, 9)));
    rig.end(1);
    rig.flows.remove(&0);
    rig.take([Output::Closed {
        origin: Origin(0),
        last: Some(Box::new((FlowKind::Udp, flow(3, 2, 0, 9)))),
    }]);
    rig.flows.insert(1, (FlowKind::Udp, flow(0, 0, 0, 0)));
    let records = rig.end(2);
    assert_eq!(counts(&records, "udp.wan.lost.forward"), [1]);
    assert_eq!(counts(&records, "udp.wan.lost.unattributed"), [1]);
}

fn member(origin: u32, number: u16, total: Option<&str>) -> Output {
    Output::Member(Box::new(Member {
        origin: Origin(origin),
        target: TargetId(1),
        kind: Some(FlowKind::Udp),
        number: FlowNumber { number, of: 2 },
        total: total.map(|target| Arc::new(Labels::new("a", target, &["isp:x"]))),
    }))
}

#[test]
fn several_flows_add_up_and_each_has_its_own_beside() {
    let mut rig = Rig::new(Mode::Windows);
    for (number, tag) in [(1, "flow:1"), (2, "flow:2")] {
        rig.take([
            Output::Opened {
                origin: Origin(number),
                labels: Arc::new(Labels::new("a", "b", &["isp:x", tag])),
            },
            member(number, u16::try_from(number).unwrap(), Some("b")),
        ]);
        rig.flows
            .insert(number, (FlowKind::Udp, sent(u64::from(number))));
    }
    rig.take([
        sample(1, Metric::UdpRtt, 5),
        sample(2, Metric::UdpRtt, 6),
        sample(2, Metric::UdpRtt, 7),
    ]);
    let of = |records: &[Record], metric: &str| -> Vec<(String, i64)> {
        let found = records.iter().filter(|record| record.metric() == metric);
        let mut found: Vec<(String, i64)> = found
            .map(|record| {
                let tags: Vec<String> = record.tags().map(|tag| tag.to_string()).collect();
                let count = record.window().map(|it| i64::try_from(it.count()).unwrap());
                (
                    tags[2..].join(","),
                    count.or_else(|| record.value()).unwrap(),
                )
            })
            .collect();
        found.sort();
        found
    };
    let by_flow = |all, one, two| {
        [("isp:x", all), ("isp:x,flow:1", one), ("isp:x,flow:2", two)]
            .map(|(tags, count)| (tags.to_owned(), count))
    };
    let records = rig.end(1);
    assert_eq!(of(&records, "udp.wan.rtt"), by_flow(3, 1, 2));
    assert_eq!(of(&records, "udp.wan.sent"), by_flow(3, 1, 2));
    // The one that ends leaves what it has counted, at both places.
    rig.flows.remove(&2);
    rig.take([Output::Closed {
        origin: Origin(2),
        last: Some(Box::new((FlowKind::Udp, sent(6)))),
    }]);
    rig.flows.insert(1, (FlowKind::Udp, sent(2)));
    assert_eq!(of(&rig.end(2), "udp.wan.sent"), by_flow(5, 1, 4));
    rig.flows.insert(1, (FlowKind::Udp, sent(3)));
    let left = [("isp:x", 1), ("isp:x,flow:1", 1)].map(|(tags, count)| (tags.to_owned(), count));
    assert_eq!(of(&rig.end(3), "udp.wan.sent"), left);
}

fn relabelled(origin: u32, target: &str, last: Option<Counters>) -> Output {
    Output::Relabelled(Box::new(Relabelled {
        origin: Origin(origin),
        labels: Arc::new(Labels::new("a", target, &["isp:y"])),
        last: last.map(|counters| (FlowKind::Udp, counters)),
    }))
}

#[test]
fn a_flow_that_is_called_otherwise_leaves_what_it_has_where_it_was() {
    let mut rig = Rig::new(Mode::Windows);
    let of = |records: &[Record], metric: &str| -> Vec<(String, i64)> {
        let found = records.iter().filter(|record| record.metric() == metric);
        let tagged = found.map(|record| {
            let tags: Vec<String> = record.tags().map(|tag| tag.to_string()).collect();
            let value = record
                .window()
                .map(|window| i64::try_from(window.count()).unwrap());
            (
                tags[1..].join(","),
                value.or_else(|| record.value()).unwrap(),
            )
        });
        tagged.collect()
    };
    rig.take([opened(0, "b"), opened(1, "c"), sample(0, Metric::UdpRtt, 5)]);
    rig.flows.insert(0, (FlowKind::Udp, sent(3)));
    rig.flows.insert(1, (FlowKind::Udp, sent(1)));
    rig.end(1);
    // Three were sent under each name in this interval.
    rig.take([
        sample(0, Metric::UdpRtt, 5),
        relabelled(0, "d", Some(sent(6))),
        sample(0, Metric::UdpRtt, 5),
        sample(0, Metric::UdpRtt, 6),
    ]);
    rig.flows.insert(0, (FlowKind::Udp, sent(9)));
    let records = rig.end(2);
    let named = |target: &str, isp: &str| format!("target:{target},isp:{isp}");
    let old = (named("b", "x"), 3);
    let new = (named("d", "y"), 3);
    let mut counted = of(&records, "udp.wan.sent");
    counted.sort();
    assert_eq!(counted, [old, (named("c", "x"), 0), new]);
    let mut windows = of(&records, "udp.wan.rtt");
    windows.sort();
    assert_eq!(windows, [(named("b", "x"), 1), (named("d", "y"), 2)]);
    // Nothing is left of the old name, and what has the new one goes on.
    rig.take([sample(0, Metric::UdpRtt, 5)]);
    rig.flows.insert(0, (FlowKind::Udp, sent(10)));
    let records = rig.end(3);
    assert_eq!(of(&records, "udp.wan.rtt"), [(named("d", "y"), 1)]);
    assert!(
        of(&records, "udp.wan.sent")
            .iter()
            .all(|(tags, _)| !tags.contains("target:b"))
    );
    // Under the name of another flow both are counted together, and each ends alone.
    rig.take([relabelled(1, "d", Some(sent(1)))]);
    rig.flows.insert(1, (FlowKind::Udp, sent(2)));
    rig.end(4);
    rig.flows.remove(&0);
    rig.take([Output::Closed {
        origin: Origin(0),
        last: Some(Box::new((FlowKind::Udp, sent(10)))),
    }]);
    rig.flows.insert(1, (FlowKind::Udp, sent(4)));
    assert_eq!(of(&rig.end(5), "udp.wan.sent"), [(named("d", "y"), 2)]);
}

#[test]
fn only_a_udp_flow_counts_what_the_network_says_of_its_probes() {
    let mut rig = Rig::new(Mode::Windows);
    let told = |unreachable| Counters {
        unreachable,
        ..Counters::default()
    };
    rig.take([opened(0, "b"), opened(1, "b"), opened(2, "b")]);
    rig.flows.insert(0, (FlowKind::Udp, told(0)));
    rig.flows.insert(1, (FlowKind::Tcp, told(0)));
    rig.flows.insert(2, (FlowKind::Connect, told(0)));
    assert_eq!(counts(&rig.end(1), "udp.wan.unreachable"), [0]);
    rig.flows.insert(0, (FlowKind::Udp, told(3)));
    let records = rig.end(2);
    let is_one = |record: &&Record| record.metric().ends_with("unreachable");
    assert_eq!(records.iter().filter(is_one).count(), 1);
    assert_eq!(counts(&records, "udp.wan.unreachable"), [3]);
}

#[test]
fn only_a_persistent_tcp_flow_counts_segments_sent_again() {
    let mut rig = Rig::new(Mode::Samples);
    rig.take([opened(0, "b"), opened(1, "b"), opened(2, "b")]);
    rig.flows.insert(0, (FlowKind::Udp, flow(0, 0, 0, 1)));
    rig.flows.insert(1, (FlowKind::Tcp, flow(0, 0, 0, 1)));
    rig.flows.insert(2, (FlowKind::Connect, flow(5, 0, 0, 1)));
    let records = rig.end(1);
    assert_eq!(counts(&records, "tcp.wan.retransmits"), [2]);
    assert_eq!(counts(&records, "tcp.wan.lost.forward"), [0]);
    let mut connects: Vec<_> = records
        .iter()
        .map(Record::metric)
        .filter(|metric| metric.starts_with("tcp.wan.latency"))
        .collect();
    connects.sort_unstable();
    let expected = [
        "tcp.wan.latency.failed",
        "tcp.wan.latency.sent",
        "tcp.wan.latency.unsent",
    ];
    assert_eq!(connects, expected);
}

#[test]
fn one_flow_has_the_room_that_is_reserved() {
    let mut rig = Rig::with(SinkConfig {
        ring_records: 2 * RING_RECORDS_RESERVED,
        ..SinkConfig::new(Mode::Both, SECOND_NS)
    });
    for (origin, kind) in (0..).zip([FlowKind::Udp, FlowKind::Tcp, FlowKind::Connect]) {
        rig.take([opened(origin, "b"), clock(origin, 1, 1)]);
        rig.flows.insert(origin, (kind, flow(1, 1, 0, 1)));
    }
    let metrics = Metric::ALL.map(|metric| sample(0, metric, 7));
    rig.take(metrics);
    let records = rig.end(1);
    assert_eq!(counts(&records, "monitor.samples_dropped"), [0]);
    assert_eq!(counts(&records, "clock.offset"), [1]);
}

#[test]
fn the_latest_estimate_of_a_clock_is_published_once_a_window() {
    let mut rig = Rig::new(Mode::Samples);
    rig.take([opened(0, "b"), opened(1, "b"), opened(2, "c")]);
    // Its own later one counts though its error is larger, and another's only if that is smaller.
    rig.take([clock(0, -40, 10), clock(0, -44, 12), clock(1, 7, 13)]);
    rig.take([clock(2, 5, 1), clock(9, 1, 1)]);
    let records = rig.end(1);
    assert_eq!(counts(&records, "clock.offset"), [-44, 5]);
    assert_eq!(counts(&records, "clock.skew"), [2_500, 2_500]);
    assert_eq!(counts(&records, "clock.error"), [12, 1]);
    rig.take([clock(0, -44, 12), clock(1, 7, 11)]);
    assert_eq!(counts(&rig.end(2), "clock.offset"), [7]);
    assert!(counts(&rig.end(3), "clock.offset").is_empty(), "none came");
}

#[test]
fn an_estimate_that_came_late_in_a_window_is_not_lost_with_its_origin() {
    let mut rig = Rig::new(Mode::Windows);
    let closed = Output::Closed {
        origin: Origin(0),
        last: None,
    };
    rig.take([opened(0, "b")]);
    rig.turn(second(1));
    rig.take([clock(0, 3, 1), closed]);
    rig.drain();
    assert_eq!(counts(&rig.end(2), "clock.offset"), [3]);
    assert_eq!(rig.recorder.series.sets().iter().flatten().count(), 0);
}

#[test]
fn a_step_is_an_event_for_every_backend_at_once() {
    let mut rig = Rig::new(Mode::Windows);
    let mut other = rig
        .recorder
        .add_sink(SinkConfig::new(Mode::Samples, SECOND_NS));
    let step = |origin| Output::ClockStep {
        origin,
        at: second(5),
        step_ns: -8,
    };
    rig.take([opened(0, "b"), step(Some(Origin(0))), step(None)]);
    rig.take([step(Some(Origin(7)))]);
    let others: Vec<_> = std::iter::from_fn(|| other.poll()).collect();
    for records in [rig.drain(), others] {
        let told: Vec<_> = records
            .iter()
            .map(|record| {
                let Record::Event(event) = record else {
                    panic!("{record:?}")
                };
                assert_eq!((record.at(), record.value()), (second(5).wall, Some(-8)));
                assert_eq!(record.metric(), "clock_step");
                assert!(record.window().is_none());
                let tags: Vec<_> = record.tags().map(|tag| tag.to_string()).collect();
                (event.kind.clone(), tags.join(" "))
            })
            .collect();
        let kind = |clock| EventKind::ClockStep { clock, step_ns: -8 };
        let expected = [
            (kind(ClockOwner::Peer), "source:a target:b isp:x".to_owned()),
            (kind(ClockOwner::Local), "source:a".to_owned()),
        ];
        assert_eq!(told, expected);
    }
}

#[test]
fn corrected_delays_are_a_series_of_their_own() {
    let mut rig = Rig::new(Mode::Both);
    let corrected = |output| {
        let Output::Sample(sample) = output else {
            unreachable!()
        };
        Output::Sample(Sample {
            is_corrected: true,
            dwell_ns: Some(12),
            ..sample
        })
    };
    rig.take([opened(0, "b"), sample(0, Metric::UdpOwd, 5_000)]);
    rig.take([corrected(sample(0, Metric::UdpOwd, 30))]);
    rig.take([corrected(sample(0, Metric::TcpOwd, 31))]);
    let records = rig.end(1);
    let found: Vec<_> = records
        .iter()
        .filter(|record| record.metric().ends_with("owd"))
        .map(|record| {
            let last = record.tags().last().unwrap().to_string();
            let value = record.value().or_else(|| record.window().map(Window::mean));
            (record.metric(), last, value.unwrap())
        })
        .collect();
    let plain = ("udp.wan.owd", "isp:x".to_owned(), 5_000);
    let udp = ("udp.wan.owd", "owd:corrected".to_owned(), 30);
    let tcp = ("tcp.wan.owd", "owd:corrected".to_owned(), 31);
    let expected = [plain.clone(), udp.clone(), tcp.clone(), plain, udp, tcp];
    assert_eq!(found, expected);
}

#[test]
fn one_way_delays_of_our_own_flows_have_the_whole_ring() {
    let mut rig = Rig::with(SinkConfig {
        ring_records: 1_024,
        ..SinkConfig::new(Mode::Samples, SECOND_NS)
    });
    rig.take([opened(0, "b"), opened(1, "c")]);
    rig.flows.insert(0, (FlowKind::Udp, sent(1)));
    rig.end(1);
    rig.take((0..600).map(|value| sample(1, Metric::UdpOwd, value)));
    rig.take((0..300).map(|value| sample(0, Metric::UdpOwd, value)));
    let records = rig.drain();
    assert_eq!(records.len(), 512 + 300);
}

#[test]
fn an_interval_of_many_flows_ends_in_turns_and_misses_none() {
    let mut rig = Rig::new(Mode::Windows);
    let flows = u32::try_from(2 * SERIES_SETS_ENDED_PER_TURN_MAX + 1).unwrap();
    for origin in 0..flows {
        rig.take([opened(origin, &format!("t{origin}"))]);
        rig.flows.insert(origin, (FlowKind::Udp, sent(3)));
    }
    rig.turn(second(1));
    assert!(rig.drain().is_empty(), "not all have ended");
    let records = rig.end(1);
    let each = counts(&records, "udp.wan.received");
    assert_eq!(each, vec![3; flows as usize]);
}

#[test]
fn what_is_counted_while_an_interval_ends_is_not_lost_with_the_last_one() {
    let mut rig = Rig::new(Mode::Windows);
    let flows = u32::try_from(SERIES_SETS_ENDED_PER_TURN_MAX + 1).unwrap();
    for origin in 0..flows {
        rig.take([opened(origin, &format!("t{origin}"))]);
        rig.flows.insert(origin, (FlowKind::Udp, sent(3)));
    }
    rig.turn(second(1));
    let mut records = Vec::new();
    let grown = sent(5);
    loop {
        let flows = (0..flows).map(|origin| (Origin(origin), FlowKind::Udp, &grown));
        let own = SelfCounters::default();
        let ended = rig
            .recorder
            .finish(second(1), flows, &own, HostGauges::default);
        records.extend(rig.drain());
        if ended {
            break;
        }
    }
    let total: i64 = counts(&records, "udp.wan.received").iter().sum();
    assert_eq!(total, 5 * i64::from(flows));
}
