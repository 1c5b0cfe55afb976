//! How delays vary: by hand, over losses, reordering, far clocks and their steps.

use super::*;
use crate::limits::WINDOW_VALUES_MAX;
use crate::proto::Direction;

const HOUR_NS: i64 = 3_600_000_000_000;

/// Packet `seq` of flow 0, with this delay.
fn udp(seq: u64, delay_ns: i64) -> Output {
    one_way(0, FlowKind::Udp, Direction::Forward, seq, delay_ns)
}

fn one_way(origin: u32, kind: FlowKind, direction: Direction, seq: u64, delay_ns: i64) -> Output {
    let ns = i64::try_from(seq).unwrap_or(i64::MAX);
    Output::OneWay(OneWay {
        origin: Origin(origin),
        kind,
        direction,
        seq,
        delay_ns,
        at: second(0).wall.plus(ns.saturating_mul(1_000)),
        stamp: StampSource::Kernel,
    })
}

fn step(origin: Option<u32>) -> Output {
    // Only a step of our own clock shows on it.
    let set_ns = if origin.is_none() { -HOUR_NS } else { 0 };
    Output::ClockStep {
        origin: origin.map(Origin),
        at: Now {
            mono: second(0).mono.plus(3_000),
            wall: second(0).wall.plus(3_000 + set_ns),
        },
        step_ns: -HOUR_NS,
    }
}

fn tags(record: &Record) -> String {
    let tags: Vec<String> = record.tags().map(|tag| tag.to_string()).collect();
    tags.join(" ")
}

/// The samples of a metric, with their numbers.
fn samples(records: &[Record], metric: &str) -> Vec<(u64, i64)> {
    let found = records.iter().filter_map(|record| match record {
        Record::Sample { value_ns, seq, .. } => Some((record.metric(), *seq, *value_ns)),
        _ => None,
    });
    found
        .filter(|(name, ..)| *name == metric)
        .map(|(_, seq, value_ns)| (seq, value_ns))
        .collect()
}

/// All windows of a metric.
fn windows_of<'a>(records: &'a [Record], metric: &str) -> Vec<&'a Window> {
    let mut found = windows(records);
    found.retain(|window| window.series().metric.name == metric);
    found
}

/// The values of a window that has kept all of them.
fn figures(window: &Window) -> (u64, i64, i64, i64) {
    (window.count(), window.min(), window.mean(), window.max())
}

#[test]
fn only_consecutive_packets_in_their_order_have_a_difference() {
    let mut rig = Rig::new(Mode::Samples);
    rig.take([opened(0, "b"), udp(1, 100), udp(2, 130), udp(3, 90)]);
    // 4 is lost; 7 overtakes 6, which has a pair in neither direction; 8 follows 7.
    rig.take([udp(5, 95), udp(7, 200), udp(6, 100), udp(7, 1), udp(8, 203)]);
    let ipdv = samples(&rig.drain(), "udp.wan.ipdv");
    assert_eq!(ipdv, [(2, 30), (3, 40), (8, 3)]);
}

#[test]
fn directions_and_protocols_are_series_of_their_own_tags() {
    let mut rig = Rig::new(Mode::Samples);
    rig.take([opened(0, "b"), opened(1, "b")]);
    for seq in 1..=2 {
        let delay_ns = i64::try_from(seq).unwrap();
        rig.take([
            udp(seq, 10 * delay_ns),
            one_way(0, FlowKind::Udp, Direction::Reverse, seq, 20 * delay_ns),
            // A remote sender on both, under one name.
            one_way(1, FlowKind::Udp, Direction::Reverse, seq + 7, 30 * delay_ns),
            one_way(1, FlowKind::Tcp, Direction::Reverse, seq, 40 * delay_ns),
            one_way(1, FlowKind::Connect, Direction::Forward, seq, delay_ns),
            one_way(9, FlowKind::Udp, Direction::Forward, seq, delay_ns),
        ]);
    }
    let records = rig.end(1);
    let mut found: Vec<_> = records
        .iter()
        .filter(|record| record.metric().ends_with("pdv"))
        .map(|record| {
            let value = record.value().or_else(|| record.window().map(Window::max));
            (record.metric(), tags(record), value.unwrap())
        })
        .collect();
    found.sort();
    let forward = "source:a target:b isp:x direction:forward".to_owned();
    let reverse = "source:a target:b isp:x direction:reverse".to_owned();
    let expected = [
        ("tcp.wan.ipdv", reverse.clone(), 40),
        ("tcp.wan.pdv", reverse.clone(), 40),
        ("udp.wan.ipdv", forward.clone(), 10),
        ("udp.wan.ipdv", reverse.clone(), 20),
        ("udp.wan.ipdv", reverse.clone(), 30),
        ("udp.wan.pdv", forward, 10),
        ("udp.wan.pdv", reverse, 40),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_sender_that_counts_anew_has_pairs_again() {
    let mut rig = Rig::new(Mode::Samples);
    rig.take([opened(0, "b"), udp(5_000, 7)]);
    rig.take((1..=10).map(|seq| udp(seq, i64::try_from(seq).unwrap())));
    let ipdv = samples(&rig.drain(), "udp.wan.ipdv");
    assert_eq!(ipdv, [(9, 1), (10, 1)], "after eight in a row");
}

#[test]
fn windows_have_the_differences_too_and_the_weaker_stamp() {
    let mut rig = Rig::new(Mode::Windows);
    let Output::OneWay(mut user) = udp(2, 30) else {
        unreachable!()
    };
    user.stamp = StampSource::User;
    rig.take([opened(0, "b"), udp(1, 10), Output::OneWay(user), udp(3, 80)]);
    let records = rig.end(1);
    assert!(samples(&records, "udp.wan.ipdv").is_empty());
    let ipdv = windows_of(&records, "udp.wan.ipdv")[0];
    assert_eq!(figures(ipdv), (2, 20, 35, 50));
    assert_eq!(ipdv.stamp(), StampSource::User);
}

#[test]
fn pdv_is_over_the_least_of_the_window_however_far_the_clocks_are() {
    for offset_ns in [0, HOUR_NS, -HOUR_NS, i64::MAX - 500, i64::MIN] {
        let mut rig = Rig::new(Mode::Samples);
        let delays_ns = [300, 100, 400, 150, 100];
        let packets = (1..).zip(delays_ns);
        rig.take([opened(0, "b")]);
        rig.take(packets.map(|(seq, delay_ns)| udp(seq, offset_ns + delay_ns)));
        let records = rig.end(1);
        let pdv = windows_of(&records, "udp.wan.pdv")[0];
        // 200, 0, 300, 50, 0
        assert_eq!(figures(pdv), (5, 0, 110, 300), "{offset_ns}");
        assert_eq!(pdv.stddev(), 120);
        assert_eq!(pdv.out_of_range(), 0);
        let distribution = pdv.distribution();
        assert!(distribution.negative().is_none());
        let quantiles = [0.2, 0.5, 0.8, 1.0].map(|q| distribution.quantile(q));
        assert_eq!(quantiles, [0, 50, 200, 300], "{offset_ns}");
        assert_eq!(pdv.end(), second(1).wall);
        // The next interval has a least of its own.
        rig.take([udp(6, offset_ns + 450), udp(7, offset_ns + 460)]);
        let records = rig.end(2);
        assert_eq!(
            figures(windows_of(&records, "udp.wan.pdv")[0]),
            (2, 0, 5, 10)
        );
    }
}

/// More values than are kept, at an hour's offset; the later ones with another least than the first.
#[test]
fn a_histogram_of_pdv_is_precise_whenever_the_least_came() {
    let kept = i64::try_from(WINDOW_VALUES_MAX).unwrap();
    for (first_ns, later_ns) in [(50_000, 50_000), (50_000, 80_000), (80_000, 50_000)] {
        let mut rig = Rig::new(Mode::Windows);
        rig.take([opened(0, "b")]);
        // Delays in steps of 100 ns over their base, in no order.
        let spread = |number: i64| 100 * (number * 7_919 % 1_000);
        let delays: Vec<i64> = (0..3 * kept)
            .map(|number| (if number < kept { first_ns } else { later_ns }) + spread(number))
            .collect();
        // Twice, so that recycled memory is met.
        for interval in 1..=2 {
            let packets = (1..).zip(&delays);
            rig.take(packets.map(|(seq, &delay_ns)| udp(seq, HOUR_NS + delay_ns)));
            let records = rig.end(interval);
            let pdv = windows_of(&records, "udp.wan.pdv")[0];
            let mut sorted = delays.clone();
            sorted.sort_unstable();
            let least = sorted[0];
            assert_eq!((pdv.min(), pdv.out_of_range()), (0, 0));
            assert_eq!(pdv.max(), sorted[sorted.len() - 1] - least);
            let distribution = pdv.distribution();
            assert_eq!(distribution.positive().len(), pdv.count());
            assert!(distribution.negative().is_none());
            let fallen_ns = (first_ns - least).unsigned_abs();
            for percent in [1, 10, 25, 50, 75, 90, 99, 100] {
                let rank = (sorted.len() * percent).div_ceil(100);
                let expected = sorted[rank - 1] - least;
                #[expect(clippy::cast_precision_loss, reason = "at most 100")]
                let found = distribution.quantile(percent as f64 / 100.0);
                let allowed = expected.unsigned_abs() / 600 + fallen_ns / 1_000;
                assert!(
                    found.abs_diff(expected) <= allowed,
                    "{found} for {expected} at {percent} %, {first_ns} then {later_ns}"
                );
            }
            for record in records {
                rig.feed.recycle(record);
            }
        }
    }
}

#[test]
fn pdv_out_of_range_is_in_every_figure_and_counted() {
    // An hour's step that nobody has told of, upwards and downwards.
    for (first_ns, second_ns) in [(0, HOUR_NS), (HOUR_NS, 0)] {
        let mut rig = Rig::new(Mode::Windows);
        rig.take([opened(0, "b")]);
        let half = WINDOW_VALUES_MAX as u64;
        rig.take((0..half).map(|seq| udp(seq, first_ns)));
        rig.take((half..2 * half).map(|seq| udp(seq, second_ns)));
        let records = rig.end(1);
        let pdv = windows_of(&records, "udp.wan.pdv")[0];
        assert_eq!((pdv.count(), pdv.min(), pdv.max()), (2 * half, 0, HOUR_NS));
        assert!(pdv.out_of_range() >= half, "{}", pdv.out_of_range());
        let distribution = pdv.distribution();
        assert_eq!(distribution.quantile(0.4), 0);
        assert_eq!(distribution.quantile(0.6), HOUR_NS);
    }
}

#[test]
fn a_step_parts_the_window_and_has_no_difference() {
    for mode in [Mode::Samples, Mode::Windows, Mode::Both] {
        for origin in [None, Some(0)] {
            let mut rig = Rig::new(mode);
            rig.take([opened(0, "b"), udp(1, HOUR_NS + 10), udp(2, HOUR_NS + 30)]);
            rig.take([step(origin), udp(3, 500), udp(4, 540)]);
            let records = rig.end(1);
            let pdv = windows_of(&records, "udp.wan.pdv");
            assert_eq!(figures(pdv[0]), (2, 0, 10, 20), "{mode:?}");
            assert_eq!(figures(pdv[1]), (2, 0, 20, 40), "{mode:?}");
            // They do not overlap. The second one is on our own clock, if that was set.
            let set_ns = if origin.is_none() { -HOUR_NS } else { 0 };
            assert_eq!(pdv[0].start(), second(0).wall);
            assert_eq!(pdv[0].end(), second(0).wall.plus(3_000));
            assert_eq!(pdv[1].start(), second(0).wall.plus(3_000 + set_ns));
            assert_eq!(pdv[1].end(), second(1).wall.plus(set_ns));
            let largest = records
                .iter()
                .filter(|record| record.metric() == "udp.wan.ipdv")
                .filter_map(|record| record.value().or_else(|| record.window().map(Window::max)))
                .max();
            assert_eq!(largest, Some(40), "{mode:?}");
        }
    }
}

#[test]
fn a_step_of_one_peer_leaves_the_others_alone() {
    let mut rig = Rig::new(Mode::Samples);
    rig.take([opened(0, "b"), opened(1, "c"), udp(1, 10)]);
    rig.take([one_way(1, FlowKind::Udp, Direction::Forward, 1, 10)]);
    rig.take([step(Some(1)), step(Some(9)), udp(2, 15)]);
    rig.take([one_way(1, FlowKind::Udp, Direction::Forward, 2, 10)]);
    let records = rig.end(1);
    assert_eq!(samples(&records, "udp.wan.ipdv"), [(2, 5)]);
    let counts: Vec<_> = windows_of(&records, "udp.wan.pdv")
        .iter()
        .map(|window| window.count())
        .collect();
    assert_eq!(counts, [1, 2, 1]);
}

#[test]
fn a_step_between_intervals_parts_nothing() {
    let mut rig = Rig::new(Mode::Windows);
    rig.take([opened(0, "b"), udp(1, 10)]);
    // The interval has ended, and waits for the ring.
    rig.turn(second(1));
    rig.take([step(None), udp(2, HOUR_NS), udp(3, HOUR_NS + 6)]);
    let mut records = rig.drain();
    records.extend(rig.end(2));
    let pdv = windows_of(&records, "udp.wan.pdv");
    let counts: Vec<_> = pdv.iter().map(|window| figures(window)).collect();
    assert_eq!(counts, [(1, 0, 0, 0), (2, 0, 3, 6)]);
}

#[test]
fn a_window_that_finds_no_room_at_a_step_is_counted() {
    let mut rig = Rig::with(SinkConfig {
        ring_records: 2 * RING_RECORDS_RESERVED,
        ..SinkConfig::new(Mode::Samples, SECOND_NS)
    });
    rig.take([opened(0, "b"), udp(1, 10)]);
    rig.take((0..200).map(|value| sample(0, Metric::UdpRtt, value)));
    rig.take([step(Some(0)), udp(2, 20)]);
    let records = rig.end(1);
    assert_eq!(windows_of(&records, "udp.wan.pdv").len(), 1);
    let room = i64::try_from(RING_RECORDS_RESERVED).unwrap();
    let dropped = counts(&records, "monitor.samples_dropped");
    assert_eq!(dropped, [200 - room + 1]);
}

#[test]
fn an_origin_begins_without_what_its_number_had_before() {
    let mut rig = Rig::new(Mode::Samples);
    rig.take([opened(0, "b"), udp(1, 10), opened(0, "b"), udp(2, 99)]);
    assert!(samples(&rig.drain(), "udp.wan.ipdv").is_empty());
}
