//! The recorder from outputs to records, in virtual time.

mod backends;
mod divergence;
mod flows;
mod steps;
mod table;
mod unknown;
mod variation;

use std::collections::BTreeMap;
use std::sync::Arc;

use hdrhistogram::Histogram;
use proptest::prelude::*;

use super::*;
use crate::limits::{PUBLISHED_PER_TURN_MAX, RING_RECORDS_RESERVED, WINDOW_VALUES_MAX};
use crate::proto::{Labels, Metric, Outcome, StampSource, Wall};

const SECOND_NS: u64 = 1_000_000_000;

/// Some seconds after the start, on both clocks.
fn second(seconds: u64) -> Now {
    let ns = seconds * SECOND_NS;
    Now {
        mono: Mono::from_nanos(500 + ns),
        wall: Wall::from_unix_nanos(1_700_000_000_000_000_000 + i64::try_from(ns).unwrap()),
    }
}

fn sample(origin: u32, metric: Metric, value_ns: i64) -> Output {
    Output::Sample(Sample {
        origin: Origin(origin),
        metric,
        outcome: Outcome::Received,
        value_ns,
        at: second(1).wall,
        seq: 7,
        stamp: StampSource::Kernel,
        dwell_ns: None,
        is_corrected: false,
    })
}

fn lost(origin: u32, metric: Metric) -> Output {
    let Output::Sample(mut sample) = sample(origin, metric, 0) else {
        unreachable!()
    };
    sample.outcome = Outcome::Lost;
    Output::Sample(sample)
}

fn opened(origin: u32, target: &str) -> Output {
    Output::Opened {
        origin: Origin(origin),
        labels: Arc::new(Labels::new("a", target, &["isp:x"])),
    }
}

fn sent(count: u64) -> Counters {
    Counters {
        sent: count,
        received: count,
        ..Counters::default()
    }
}

struct Rig {
    recorder: Recorder,
    feed: Feed,
    flows: BTreeMap<u32, (FlowKind, Counters)>,
    own: SelfCounters,
    host: HostGauges,
}

impl Rig {
    fn new(mode: Mode) -> Self {
        Self::with(SinkConfig::new(mode, SECOND_NS))
    }

    fn with(config: SinkConfig) -> Self {
        let mut recorder = Recorder::new("a", second(0));
        let feed = recorder.add_sink(config);
        Self {
            recorder,
            feed,
            flows: BTreeMap::new(),
            own: SelfCounters::default(),
            host: HostGauges::default(),
        }
    }

    fn take(&mut self, outputs: impl IntoIterator<Item = Output>) {
        for output in outputs {
            self.recorder.handle_output(&output);
        }
    }

    /// One turn at this time.
    fn turn(&mut self, now: Now) {
        let flows = self
            .flows
            .iter()
            .map(|(&origin, (kind, counters))| (Origin(origin), *kind, counters));
        self.recorder
            .handle_timeout(now, flows, &self.own, || self.host);
    }

    fn drain(&mut self) -> Vec<Record> {
        std::iter::from_fn(|| self.feed.poll()).collect()
    }

    /// End an interval and take everything that is published of it.
    fn end(&mut self, seconds: u64) -> Vec<Record> {
        self.turn(second(seconds));
        let mut records = self.drain();
        while self.recorder.poll_timeout() < Some(second(seconds).mono.plus(SECOND_NS)) {
            self.turn(second(seconds));
            records.extend(self.drain());
        }
        records
    }
}

fn windows(records: &[Record]) -> Vec<&Window> {
    records.iter().filter_map(Record::window).collect()
}

/// The counts of one metric, with their targets.
fn counts(records: &[Record], metric: &str) -> Vec<i64> {
    records
        .iter()
        .filter(|record| record.metric() == metric)
        .filter_map(Record::value)
        .collect()
}

#[test]
fn origins_of_equal_labels_share_a_window_and_a_count() {
    let mut rig = Rig::new(Mode::Windows);
    rig.take([opened(1, "b"), opened(2, "b"), opened(3, "c")]);
    rig.take([
        sample(1, Metric::UdpRtt, 10),
        sample(2, Metric::UdpRtt, 30),
        sample(2, Metric::TcpRtt, 5),
        sample(3, Metric::UdpRtt, 99),
    ]);
    rig.flows.insert(1, (FlowKind::Udp, sent(3)));
    rig.flows.insert(2, (FlowKind::Udp, sent(4)));
    let records = rig.end(1);
    let mut figures: Vec<_> = windows(&records)
        .iter()
        .map(|window| (window.series().metric.name, window.count(), window.mean()))
        .collect();
    figures.sort_unstable();
    assert_eq!(
        figures,
        [
            ("tcp.wan.rtt", 1, 5),
            ("udp.wan.rtt", 1, 99),
            ("udp.wan.rtt", 2, 20)
        ]
    );
    assert_eq!(counts(&records, "udp.wan.sent"), [7]);
}

#[test]
fn counts_are_differences_and_published_when_zero() {
    let mut rig = Rig::new(Mode::Samples);
    rig.take([opened(0, "b"), opened(1, "b")]);
    rig.flows.insert(0, (FlowKind::Udp, sent(5)));
    rig.flows.insert(
        1,
        (
            FlowKind::Connect,
            Counters {
                sent: 4,
                lost: 1,
                ..Counters::default()
            },
        ),
    );
    rig.own.slots_missed = 2;
    rig.own.stamps_missing_transmit = 3;
    rig.own.stamps_missing_receive = 4;
    rig.host = HostGauges {
        cpu_ns: Some(70),
        resident_bytes: Some(9_000),
        clock_steps: 1,
        clock: Some(ClockState {
            is_synchronised: true,
            error_ns: 40_000,
        }),
        config: Some(ConfigRead {
            is_ok: true,
            at: second(0).wall,
        }),
    };
    let records = rig.end(1);
    assert_eq!(counts(&records, "udp.wan.sent"), [5]);
    assert_eq!(counts(&records, "udp.wan.unsent"), [0]);
    assert_eq!(counts(&records, "tcp.wan.latency.failed"), [1]);
    assert!(counts(&records, "tcp.wan.sent").is_empty(), "no TCP flow");
    assert_eq!(counts(&records, "monitor.slots_missed"), [2]);
    assert_eq!(counts(&records, "monitor.config.reload_ok"), [1]);
    let reloaded_at = counts(&records, "monitor.config.reloaded_at");
    assert_eq!(reloaded_at, [1_700_000_000]);
    assert_eq!(counts(&records, "monitor.cpu"), [70]);
    assert_eq!(counts(&records, "monitor.clock.synchronised"), [1]);
    assert_eq!(counts(&records, "monitor.clock.error"), [40_000]);
    assert_eq!(counts(&records, "monitor.stamps_missing.transmit"), [3]);
    assert_eq!(counts(&records, "monitor.stamps_missing.receive"), [4]);
    rig.flows.insert(0, (FlowKind::Udp, sent(6)));
    rig.host.cpu_ns = Some(100);
    rig.host.clock_steps = 3;
    let records = rig.end(2);
    assert_eq!(counts(&records, "udp.wan.sent"), [1]);
    assert_eq!(counts(&records, "udp.wan.lost"), [0]);
    assert_eq!(counts(&records, "monitor.slots_missed"), [0]);
    assert_eq!(counts(&records, "monitor.cpu"), [30]);
    assert_eq!(counts(&records, "monitor.clock_steps"), [2]);
    assert_eq!(counts(&records, "monitor.resident"), [9_000]);
}

#[test]
fn a_closed_origin_leaves_its_last_counts_and_its_number() {
    let mut rig = Rig::new(Mode::Windows);
    rig.take([opened(0, "b"), sample(0, Metric::UdpRtt, 10)]);
    rig.flows.insert(0, (FlowKind::Udp, sent(5)));
    assert_eq!(counts(&rig.end(1), "udp.wan.sent"), [5]);
    rig.flows.clear();
    rig.take([
        sample(0, Metric::UdpRtt, 20),
        Output::Closed {
            origin: Origin(0),
            last: Some(Box::new((FlowKind::Udp, sent(8)))),
        },
        // The number is another target's at once; a straggler of nobody is ignored.
        opened(0, "c"),
        sample(0, Metric::UdpRtt, 400),
        sample(5, Metric::UdpRtt, 1),
    ]);
    rig.flows.insert(0, (FlowKind::Udp, sent(1)));
    let records = rig.end(2);
    assert_eq!(counts(&records, "udp.wan.sent"), [3, 1]);
    let means: Vec<_> = windows(&records).iter().map(|w| w.mean()).collect();
    assert_eq!(means, [20, 400]);
    let records = rig.end(3);
    assert_eq!(counts(&records, "udp.wan.sent"), [0], "b is gone");
    let sets = rig.recorder.series.sets();
    assert_eq!(sets.iter().flatten().count(), 1, "and freed");
    // Its place is used again.
    rig.take([opened(9, "d")]);
    assert_eq!(rig.recorder.series.sets().len(), 2);
}

#[test]
fn a_flow_that_lived_within_one_interval_is_counted_by_every_sink() {
    let mut rig = Rig::new(Mode::Windows);
    let mut other = rig
        .recorder
        .add_sink(SinkConfig::new(Mode::Samples, 3 * SECOND_NS));
    rig.take([
        opened(0, "b"),
        Output::Closed {
            origin: Origin(0),
            last: Some(Box::new((FlowKind::Tcp, sent(2)))),
        },
    ]);
    assert_eq!(counts(&rig.end(1), "tcp.wan.sent"), [2]);
    rig.end(2);
    rig.end(3);
    let records: Vec<_> = std::iter::from_fn(|| other.poll()).collect();
    assert_eq!(counts(&records, "tcp.wan.sent"), [2]);
    assert_eq!(rig.recorder.series.sets().iter().flatten().count(), 0);
}

#[test]
fn a_full_ring_drops_samples_and_counts_them_but_keeps_room_for_counts() {
    let mut rig = Rig::with(SinkConfig {
        ring_records: 2 * RING_RECORDS_RESERVED,
        ..SinkConfig::new(Mode::Both, SECOND_NS)
    });
    rig.take([opened(0, "b")]);
    rig.flows.insert(0, (FlowKind::Udp, sent(100)));
    rig.take((0..200).map(|value| sample(0, Metric::UdpRtt, value)));
    let room = i64::try_from(RING_RECORDS_RESERVED).unwrap();
    let records = rig.end(1);
    assert_eq!(counts(&records, "udp.wan.rtt").len(), RING_RECORDS_RESERVED);
    assert_eq!(counts(&records, "monitor.samples_dropped"), [200 - room]);
    assert_eq!(counts(&records, "udp.wan.sent"), [100]);
    assert_eq!(windows(&records)[0].count(), 200, "no window loses any");
    rig.feed.count_dropped(3);
    assert_eq!(counts(&rig.end(2), "monitor.samples_dropped"), [3]);
}

#[test]
fn compat_zero_publishes_losses_and_clamps_in_its_backend_alone() {
    let mut rig = Rig::with(SinkConfig {
        compat_zero: true,
        ..SinkConfig::new(Mode::Both, SECOND_NS)
    });
    let mut plain = rig
        .recorder
        .add_sink(SinkConfig::new(Mode::Samples, SECOND_NS));
    rig.take([
        opened(0, "b"),
        sample(0, Metric::UdpRtt, 10),
        lost(0, Metric::UdpRtt),
        lost(0, Metric::TcpLatency),
        lost(0, Metric::UdpOwd),
        sample(0, Metric::UdpOwd, -5),
    ]);
    let values = |records: Vec<Record>| -> Vec<_> {
        let value = |record: &Record| Some((record.metric(), record.value()?));
        records.iter().filter_map(value).collect()
    };
    let zeros = values(rig.drain());
    let expected = [
        ("udp.wan.rtt", 10),
        ("udp.wan.rtt", 0),
        ("tcp.wan.latency", 0),
        ("udp.wan.owd", 0),
    ];
    assert_eq!(zeros, expected);
    let truth = values(std::iter::from_fn(|| plain.poll()).collect());
    assert_eq!(truth, [("udp.wan.rtt", 10), ("udp.wan.owd", -5)]);
    let records = rig.end(1);
    let owd = windows(&records)[1];
    assert_eq!((owd.count(), owd.min()), (1, -5), "a window is never bent");
}

#[test]
fn what_the_host_takes_is_a_window_in_every_mode() {
    let mut rig = Rig::new(Mode::Samples);
    rig.take([
        Output::Lateness(30),
        Output::Lateness(50),
        Output::SendGap(7),
        Output::ReceiveGap(9),
    ]);
    let records = rig.end(1);
    let means: Vec<_> = windows(&records)
        .iter()
        .map(|window| (window.series().metric.name, window.mean()))
        .collect();
    let expected = [
        ("monitor.lateness", 40),
        ("monitor.send_gap", 7),
        ("monitor.receive_gap", 9),
    ];
    assert_eq!(means, expected);
    let lateness = windows(&records)[0];
    assert_eq!(lateness.series().metric.name, "monitor.lateness");
    assert_eq!((lateness.count(), lateness.mean()), (2, 40));
    assert_eq!(lateness.stamp(), StampSource::User);
    assert!(windows(&rig.end(2)).is_empty(), "nothing was sent");
}

#[test]
fn intervals_stay_on_the_grid_and_a_late_one_is_longer() {
    let mut rig = Rig::new(Mode::Windows);
    let half_ns = SECOND_NS / 2;
    rig.take([opened(0, "b"), sample(0, Metric::UdpRtt, 1)]);
    assert_eq!(rig.recorder.poll_timeout(), Some(second(1).mono));
    rig.turn(second(0));
    assert!(rig.drain().is_empty());
    let late = Now {
        mono: second(2).mono.plus(half_ns),
        wall: second(2).wall.plus(500_000_000),
    };
    rig.turn(late);
    let records = rig.drain();
    let window = windows(&records)[0];
    assert_eq!((window.start(), window.end()), (second(0).wall, late.wall));
    assert_eq!(rig.recorder.poll_timeout(), Some(second(3).mono));
    rig.take([sample(0, Metric::UdpRtt, 1)]);
    let records = rig.end(3);
    assert_eq!(windows(&records)[0].start(), late.wall);
}

#[test]
fn a_large_interval_is_handed_over_in_turns_beside_the_next_one() {
    let mut rig = Rig::new(Mode::Windows);
    let targets = 1_000;
    for origin in 0..targets {
        rig.take([
            opened(origin, &format!("t{origin}")),
            sample(origin, Metric::UdpRtt, 1),
        ]);
    }
    rig.turn(second(1));
    let first = rig.drain();
    assert!(first.len() <= PUBLISHED_PER_TURN_MAX + RING_RECORDS_RESERVED);
    // The next interval has begun for all of them, handed over already or not.
    for origin in 0..targets {
        rig.take([sample(origin, Metric::UdpRtt, 3)]);
    }
    let mut records = first;
    records.extend(rig.end(1));
    let all = windows(&records);
    assert_eq!(all.len(), 1_000);
    assert!(
        all.iter()
            .all(|w| w.max() == 1 && w.end() == second(1).wall)
    );
    let records = rig.end(2);
    assert_eq!(windows(&records).len(), 1_000);
    assert!(windows(&records).iter().all(|w| w.min() == 3));
}

#[test]
fn finish_publishes_all_there_is_as_the_flush_thread_makes_room() {
    let mut rig = Rig::with(SinkConfig {
        ring_records: 2 * RING_RECORDS_RESERVED,
        ..SinkConfig::new(Mode::Windows, SECOND_NS)
    });
    for origin in 0..200 {
        let target = format!("t{origin}");
        rig.take([opened(origin, &target), sample(origin, Metric::UdpRtt, 1)]);
    }
    rig.turn(second(1));
    rig.take([sample(0, Metric::UdpRtt, 2), Output::Lateness(9)]);
    let mut records = Vec::new();
    let mut turns = 0;
    loop {
        let own = SelfCounters::default();
        let now = second(1);
        let ended = rig.recorder.finish(now, [], &own, HostGauges::default);
        records.extend(rig.drain());
        if ended {
            break;
        }
        turns += 1;
        assert!(turns < 100, "it ends");
    }
    assert_eq!(windows(&records).len(), 202);
    assert_eq!(counts(&records, "monitor.clock_steps").len(), 2);
    assert_eq!(rig.recorder.poll_timeout(), None);
}

#[test]
fn finish_does_not_wait_for_a_flush_thread_that_is_gone() {
    let mut recorder = Recorder::new("a", second(0));
    drop(recorder.add_sink(SinkConfig::new(Mode::Both, SECOND_NS)));
    recorder.handle_output(&opened(0, "b"));
    recorder.handle_output(&sample(0, Metric::UdpRtt, 1));
    let own = SelfCounters::default();
    assert!(recorder.finish(second(1), [], &own, HostGauges::default));
}

#[test]
fn recycled_windows_begin_empty() {
    let mut rig = Rig::new(Mode::Windows);
    rig.take([opened(0, "b")]);
    let many = i64::try_from(WINDOW_VALUES_MAX).unwrap() + 500;
    for end in 1..6 {
        let sign = if end % 2 == 0 { -1 } else { 1 };
        rig.take((1..=many).map(|value| sample(0, Metric::UdpOwd, sign * value * 1_000)));
        let records = rig.end(end);
        let window = windows(&records)[0];
        assert_eq!(window.count(), many.unsigned_abs());
        let distribution = window.distribution();
        let values =
            distribution.positive().len() + distribution.negative().map_or(0, Histogram::len);
        assert_eq!(values, many.unsigned_abs());
        assert_eq!(distribution.negative().is_some(), sign < 0);
        for record in records {
            rig.feed.recycle(record);
        }
    }
}

/// The one window of these delays.
fn window_of(values: &[i64]) -> Record {
    let mut rig = Rig::new(Mode::Windows);
    rig.take([opened(0, "b")]);
    rig.take(values.iter().map(|&value| sample(0, Metric::UdpOwd, value)));
    rig.end(1).swap_remove(0)
}

#[test]
fn values_out_of_range_are_in_every_figure_and_counted() {
    let day_ns = 86_400 * 1_000_000_000;
    let record = window_of(&[-day_ns, -7, 0, 7, day_ns, day_ns]);
    let window = record.window().unwrap();
    assert_eq!((window.count(), window.out_of_range()), (6, 3));
    assert_eq!((window.min(), window.max()), (-day_ns, day_ns));
    assert_eq!(window.mean(), day_ns / 6);
    let distribution = window.distribution();
    let quantiles = [0.0, 0.2, 0.5, 0.6, 0.9].map(|q| distribution.quantile(q));
    assert_eq!(quantiles, [-day_ns, -7, 0, 7, day_ns]);
}

#[test]
fn values_seconds_apart_are_told_as_exactly() {
    // Further from each other than a chunk reaches, each time, so that each begins one.
    let apart_ns = 5 * 1_000_000_000;
    let count = i64::try_from(WINDOW_VALUES_MAX).unwrap() / 16;
    let values: Vec<_> = (0..count).map(|i| (i % 2) * apart_ns + i).collect();
    let record = window_of(&values);
    let window = record.window().unwrap();
    assert_eq!(window.count(), count.unsigned_abs());
    assert_eq!(window.sum(), i128::from(values.iter().sum::<i64>()));
    assert_eq!((window.min(), window.max()), (0, apart_ns + count - 1));
    let distribution = window.distribution();
    let error = distribution
        .quantile(0.5)
        .abs_diff(values[values.len() - 2]);
    assert!(error <= 1, "half of the values are below that");
    let median = distribution.quantile(0.75) - apart_ns;
    assert!(median.unsigned_abs() <= apart_ns.unsigned_abs() / 1_000);
}

#[test]
fn moments_survive_the_extremes() {
    let record = window_of(&[i64::MIN, i64::MAX, i64::MIN, i64::MAX]);
    let window = record.window().unwrap();
    assert_eq!(window.mean(), 0);
    let half = i64::MAX.unsigned_abs();
    assert!(window.stddev().abs_diff(half) < half / 1_000);
    // Far apart clocks, small jitter: nothing cancels.
    let far = 1_700_000_000_000_000_000;
    let record = window_of(&[far + 1, far + 3, far + 5, far + 7]);
    let window = record.window().unwrap();
    assert_eq!((window.mean(), window.stddev()), (far + 4, 2));
}

proptest! {
    #[test]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "thousands of values, each far below 2^53"
    )]
    fn quantiles_are_those_of_the_sorted_values_to_three_digits(
        values in prop::collection::vec(
            prop_oneof![-60_000_000_000_i64..=60_000_000_000, -5_000_i64..=5_000],
            1..2 * WINDOW_VALUES_MAX,
        ),
        quantile in 0.0..=1.0_f64,
    ) {
        let record = window_of(&values);
        let window = record.window().unwrap();
        let distribution = window.distribution();
        let mut sorted = values;
        sorted.sort_unstable();
        let rank = ((quantile * sorted.len() as f64).ceil() as usize).max(1);
        let expected = sorted[rank - 1];
        let found = distribution.quantile(quantile);
        prop_assert!(
            found.abs_diff(expected) <= expected.unsigned_abs() / 1_000,
            "{found} for {expected}"
        );
        prop_assert_eq!(window.min(), sorted[0]);
        prop_assert_eq!(window.max(), sorted[sorted.len() - 1]);
        let total: i128 = sorted.iter().map(|&value| i128::from(value)).sum();
        let mean = total as f64 / sorted.len() as f64;
        prop_assert!((window.mean() as f64 - mean).abs() <= 1.0);
        let squares: f64 = sorted.iter().map(|&value| (value as f64 - mean).powi(2)).sum();
        let stddev = (squares / sorted.len() as f64).sqrt();
        prop_assert!((window.stddev() as f64 - stddev).abs() <= 1.0 + stddev * 1e-9);
    }
}
