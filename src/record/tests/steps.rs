//! This host's clock is set: windows are cut there, and no length is that of the wall clock.

use super::*;
use crate::limits::WINDOW_CUTS_MAX;
use crate::proto::{Direction, FlowKind, OneWay};

const HOUR_NS: i64 = 3_600_000_000_000;

/// Some milliseconds after the start, with a wall clock that was set by so much meanwhile.
fn at(ms: u64, set_ns: i64) -> Now {
    let ns = ms * 1_000_000;
    Now {
        mono: second(0).mono.plus(ns),
        wall: second(0).wall.plus(i64::try_from(ns).unwrap() + set_ns),
    }
}

fn step(now: Now, step_ns: i64) -> Output {
    Output::ClockStep {
        origin: None,
        at: now,
        step_ns,
    }
}

/// A value of each kind of series that a flow has, and the same host's gaps.
fn values(now: Now, delay_ns: i64) -> Vec<Output> {
    let mut outputs: Vec<Output> = Metric::ALL
        .iter()
        .map(|metric| {
            let Output::Sample(mut sample) = sample(0, *metric, delay_ns) else {
                unreachable!()
            };
            sample.at = now.wall;
            Output::Sample(sample)
        })
        .collect();
    outputs.extend([FlowKind::Udp, FlowKind::Tcp].map(|kind| {
        Output::OneWay(OneWay {
            origin: Origin(0),
            kind,
            direction: Direction::Forward,
            seq: now.mono.as_nanos() / 100_000_000,
            delay_ns,
            at: now.wall,
            stamp: StampSource::Kernel,
        })
    }));
    outputs.extend([
        Output::Lateness(5),
        Output::SendGap(6),
        Output::ReceiveGap(7),
    ]);
    outputs
}

fn length_ns(window: &Window) -> i64 {
    window.end().since(window.start())
}

/// The windows of each series, as start and end on the first clock's time, and number of values.
fn by_series(records: &[Record]) -> BTreeMap<String, Vec<(Wall, Wall, u64)>> {
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for window in windows(records) {
        let tags = window.series().tags.iter().map(|tag| tag.to_string());
        let name = format!(
            "{} {:?}",
            window.series().metric.name,
            tags.collect::<Vec<_>>()
        );
        let windows = found.entry(name).or_default();
        windows.push((window.start(), window.end(), window.count()));
    }
    found
}

#[test]
fn every_window_is_cut_at_a_step_and_as_long_as_the_monotonic_clock_says() {
    for step_ns in [
        -HOUR_NS,
        HOUR_NS,
        -10_000_000,
        10_000_000,
        50 * 365 * 24 * HOUR_NS,
    ] {
        let mut rig = Rig::new(Mode::Windows);
        rig.take([opened(0, "b")]);
        rig.take(values(at(100, 0), 10));
        rig.take(values(at(200, 0), 20));
        rig.take([step(at(300, step_ns), step_ns)]);
        rig.take(values(at(400, step_ns), 30));
        rig.turn(at(1_000, step_ns));
        let series = by_series(&rig.drain());
        // Five delays, PDV of two flows, three gaps. IPDV has one difference, before the step.
        let ipdv = series.iter().filter(|(name, _)| name.contains("ipdv"));
        assert_eq!((series.len(), ipdv.count()), (12, 2), "{series:#?}");
        for (name, windows) in &series {
            let mut expected = vec![
                (at(0, 0).wall, at(300, 0).wall, 2),
                (at(300, step_ns).wall, at(1_000, step_ns).wall, 1),
            ];
            if name.contains("ipdv") {
                expected.truncate(1);
                expected[0].2 = 1;
            }
            assert_eq!(*windows, expected, "{name} at a step of {step_ns}");
        }
        // The next interval knows of no step.
        rig.take(values(at(1_100, step_ns), 40));
        rig.turn(at(2_000, step_ns));
        let next = (at(1_000, step_ns).wall, at(2_000, step_ns).wall, 1);
        for (name, windows) in by_series(&rig.drain()) {
            assert_eq!(windows, [next], "{name} after a step of {step_ns}");
        }
    }
}

#[test]
fn a_window_without_a_value_after_the_step_ends_there() {
    let mut rig = Rig::new(Mode::Both);
    rig.take([opened(0, "b")]);
    rig.take(values(at(100, 0), 10));
    rig.take([
        step(at(250, -HOUR_NS), -HOUR_NS),
        step(at(600, 7), HOUR_NS + 7),
    ]);
    rig.turn(at(1_000, 7));
    for (name, windows) in by_series(&rig.drain()) {
        assert_eq!(windows, [(at(0, 0).wall, at(250, 0).wall, 1)], "{name}");
    }
}

#[test]
fn a_clock_that_is_set_all_the_time_makes_no_window_longer_or_shorter_than_it_was() {
    let mut rig = Rig::new(Mode::Windows);
    rig.take([opened(0, "b")]);
    let mut set_ns = 0;
    let steps = 3 * u64::try_from(WINDOW_CUTS_MAX).unwrap();
    for number in 1..=steps {
        let step_ns = if number % 2 == 0 { HOUR_NS } else { -HOUR_NS };
        set_ns += step_ns;
        rig.take([step(at(number, set_ns), step_ns)]);
        rig.take(values(at(number, set_ns), 10));
    }
    rig.turn(at(1_000, set_ns));
    let records = rig.drain();
    let lengths: Vec<i64> = windows(&records)
        .iter()
        .map(|window| length_ns(window))
        .collect();
    assert!(
        lengths
            .iter()
            .all(|length| (0..=1_000_000_000).contains(length)),
        "{lengths:?}"
    );
    let rtt = |records: &[Record]| {
        let found = windows(records).into_iter();
        let of_rtt = found.filter(|window| window.series().metric.name == "udp.wan.rtt");
        of_rtt
            .map(|window| (length_ns(window), window.count()))
            .collect::<Vec<_>>()
    };
    let counted: u64 = rtt(&records).iter().map(|(_, count)| count).sum();
    assert_eq!(counted, steps, "no value is lost");
    // The next interval is cut again.
    rig.take(values(at(1_100, set_ns), 10));
    rig.take([step(at(1_400, set_ns + 5), 5)]);
    rig.take(values(at(1_500, set_ns + 5), 10));
    rig.turn(at(2_000, set_ns + 5));
    assert_eq!(rtt(&rig.drain()), [(400_000_000, 1), (600_000_000, 1)]);
}

/// The flush thread takes nothing while the clock is set: the interval before it is handed over late.
#[test]
fn an_interval_that_is_handed_over_late_ends_by_the_clock_of_its_time() {
    let mut config = SinkConfig::new(Mode::Windows, SECOND_NS);
    config.ring_records = 0;
    let mut rig = Rig::with(config);
    // More series than the ring takes at once.
    rig.take((0..20).map(|origin| opened(origin, &format!("b{origin}"))));
    let rtt = |now: Now| {
        (0..20).map(move |origin| {
            let Output::Sample(mut sample) = sample(origin, Metric::UdpRtt, 10) else {
                unreachable!()
            };
            sample.at = now.wall;
            Output::Sample(sample)
        })
    };
    rig.take((0..200).map(|_| Output::Lateness(1)));
    rig.take(rtt(at(500, 0)));
    rig.turn(at(1_000, 0));
    rig.take([step(at(1_010, -HOUR_NS), -HOUR_NS)]);
    rig.take(rtt(at(1_500, -HOUR_NS)));
    let mut records = rig.drain();
    for ms in (1_600..=3_000).step_by(20) {
        rig.turn(at(ms, -HOUR_NS));
        records.extend(rig.drain());
    }
    let spans: std::collections::BTreeSet<_> = windows(&records)
        .iter()
        .filter(|window| window.series().metric.name == "udp.wan.rtt")
        .map(|window| (window.start(), window.end()))
        .collect();
    assert!(
        spans
            .iter()
            .any(|span| *span == (at(0, 0).wall, at(1_000, 0).wall)),
        "{spans:?}"
    );
    for (start, end) in spans {
        let length = end.since(start);
        assert!(length > 0 && length <= 1_100_000_000, "{start} to {end}");
    }
}

#[test]
fn the_peers_step_cuts_what_its_clock_is_in_and_no_round_trip() {
    let mut rig = Rig::new(Mode::Windows);
    rig.take([opened(0, "b")]);
    rig.take(values(at(100, 0), 10));
    rig.take([Output::ClockStep {
        origin: Some(Origin(0)),
        at: at(300, 0),
        step_ns: HOUR_NS,
    }]);
    rig.take(values(at(400, 0), HOUR_NS));
    rig.turn(at(1_000, 0));
    let whole = vec![(at(0, 0).wall, at(1_000, 0).wall, 2)];
    let halves = vec![
        (at(0, 0).wall, at(300, 0).wall, 1),
        (at(300, 0).wall, at(1_000, 0).wall, 1),
    ];
    for (name, windows) in by_series(&rig.drain()) {
        let has_both_clocks = name.contains(".owd") || name.contains(".pdv");
        let expected = if has_both_clocks { &halves } else { &whole };
        if name.starts_with("monitor.") {
            assert_eq!(windows.len(), 1, "{name}");
        } else {
            assert_eq!(windows, *expected, "{name}");
        }
    }
}

/// This host's clock runs fast, and the peer's is set a moment before the interval ends.
#[test]
fn a_window_that_the_peers_step_begins_is_as_long_as_the_monotonic_clock_says() {
    let mut rig = Rig::new(Mode::Windows);
    rig.take([opened(0, "b")]);
    rig.take(values(at(100, 0), 10));
    rig.take([Output::ClockStep {
        origin: Some(Origin(0)),
        at: at(998, 3_000_000),
        step_ns: HOUR_NS,
    }]);
    rig.take(values(at(999, 3_000_000), HOUR_NS));
    rig.turn(at(1_000, 3_000_000));
    let expected = [
        (at(0, 0).wall, at(998, 0).wall, 1),
        (at(998, 0).wall, at(1_000, 0).wall, 1),
    ];
    let series = by_series(&rig.drain());
    let mut delays = series.iter().filter(|(name, _)| name.contains(".owd"));
    assert!(
        delays.all(|(_, windows)| *windows == expected),
        "{series:#?}"
    );
}
