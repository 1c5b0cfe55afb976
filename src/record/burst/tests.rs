//! Flows of made-up probes, in virtual time: quiet hours, planted bursts, and what is neither.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "made-up delays are drawn as floating-point numbers, and lie within hours"
)]

use super::*;
use crate::proto::{Stamp, StampSource};

const MS: i64 = 1_000_000;
const SECOND: i64 = 1_000 * MS;
const BEGAN: i64 = 1_700_000_000 * SECOND;

/// Seeded (xorshift64*).
struct Random(u64);

impl Random {
    /// In (0, 1).
    fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
        (f64::from(u32::try_from(bits).unwrap()) + 0.5) / 4_294_967_296.0
    }

    fn between(&mut self, least: f64, most: f64) -> f64 {
        least + (most - least) * self.uniform()
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// How delays vary, in units of 20 us.
#[derive(Clone, Copy, Debug)]
enum Jitter {
    Normal,
    /// Of four exponentials.
    Gamma,
    Exponential,
    LogNormal,
    Pareto,
}

const JITTERS: [Jitter; 5] = [
    Jitter::Normal,
    Jitter::Gamma,
    Jitter::Exponential,
    Jitter::LogNormal,
    Jitter::Pareto,
];

impl Jitter {
    fn draw(self, random: &mut Random) -> f64 {
        let units = match self {
            Self::Normal => 5.0 + random.normal(),
            Self::Gamma => (0..4).map(|_| -random.uniform().ln()).sum(),
            Self::Exponential => -random.uniform().ln(),
            Self::LogNormal => random.normal().exp(),
            Self::Pareto => random.uniform().powf(-1.0 / 2.5),
        };
        units * 20_000.0
    }

    /// What 99 in a hundred stay under, over the least of them, in nanoseconds.
    fn noise(self) -> f64 {
        let mut random = Random(99);
        let mut drawn: Vec<f64> = (0..10_000).map(|_| self.draw(&mut random)).collect();
        drawn.sort_by(f64::total_cmp);
        drawn[9_900] - drawn[0]
    }
}

/// A flow on clocks that are five seconds apart.
struct Link {
    detector: Detector,
    random: Random,
    jitter: Jitter,
    interval_ns: i64,
    /// How fast the peer's clock gains, in nanoseconds a second.
    drift: fn(f64) -> f64,
    offset_ns: f64,
    seq: u64,
    stamp: StampSource,
}

impl Link {
    fn new(jitter: Jitter, seed: u64, threshold_ns: Option<u64>) -> Self {
        let quiet_ns = 5_000_000;
        Self {
            detector: Detector::new(BurstRules {
                threshold_ns,
                quiet_ns,
            }),
            random: Random(seed),
            jitter,
            interval_ns: MS,
            drift: |_| 0.0,
            offset_ns: 5e9,
            seq: 0,
            stamp: StampSource::Kernel,
        }
    }

    fn now_ns(&self) -> i64 {
        BEGAN + i64::try_from(self.seq).unwrap() * self.interval_ns
    }

    /// One probe, with these queues before it forward and in reverse; gives the forward queueing with its jitter.
    fn probe(&mut self, queues: [f64; 2]) -> f64 {
        let seconds = self.seq as f64 * self.interval_ns as f64 / 1e9;
        self.offset_ns += (self.drift)(seconds) * self.interval_ns as f64 / 1e9;
        let jitters = [(); 2].map(|()| self.jitter.draw(&mut self.random));
        let forward_ns = 300_000.0 + jitters[0] + queues[0];
        let reverse_ns = 300_000.0 + jitters[1] + queues[1];
        let left = self.now_ns();
        let received = left + (forward_ns + self.offset_ns) as i64;
        let sent = received + 20_000;
        let back = sent + (reverse_ns - self.offset_ns) as i64;
        let stamps = [left, received, sent, back].map(|ns| Some(self.stamp(ns)));
        self.tell(stamps, Outcome::Received, self.seq);
        self.seq += 1;
        jitters[0] + queues[0]
    }

    fn stamp(&self, ns: i64) -> Stamp {
        let at = Wall::from_unix_nanos(ns);
        let source = self.stamp;
        Stamp { at, source }
    }

    fn tell(&mut self, stamps: [Option<Stamp>; 4], outcome: Outcome, seq: u64) {
        self.detector.handle_trace(&Trace {
            origin: Origin(0),
            kind: FlowKind::Udp,
            seq,
            stamps,
            outcome,
            lost_on: None,
        });
    }

    fn lose(&mut self, seq: u64) {
        let left = BEGAN + i64::try_from(seq).unwrap() * self.interval_ns;
        let stamps = [Some(self.stamp(left)), None, None, None];
        self.tell(stamps, Outcome::Lost, seq);
    }

    fn quiet(&mut self, probes: u32) {
        for _ in 0..probes {
            self.probe([0.0, 0.0]);
        }
    }

    fn events(&mut self) -> Vec<(Wall, EventKind)> {
        let found = std::iter::from_fn(|| self.detector.poll());
        found
            .filter_map(|found| match found {
                Finding::Event(_, at, kind) => Some((at, kind)),
                Finding::Began(..) | Finding::Threshold(..) => None,
            })
            .collect()
    }

    fn bursts(&mut self) -> Vec<(Wall, Burst)> {
        let bursts = self.events().into_iter().map(|(at, kind)| match kind {
            EventKind::Burst(burst) => (at, burst),
            kind => panic!("{kind:?}"),
        });
        bursts.collect()
    }
}

/// An hour at 1 ms has no burst, both ways, whatever the noise and however the clocks drift apart.
#[test]
fn a_quiet_hour_has_no_burst() {
    let drifts: [fn(f64) -> f64; 3] = [
        |_| 100_000.0,
        |_| 0.0,
        // What changes of temperature do: 20 ppm up and down in ten minutes.
        |seconds| -30_000.0 + 20_000.0 * (seconds / 95.0).sin(),
    ];
    std::thread::scope(|scope| {
        for (seed, jitter) in (1..).zip(JITTERS) {
            scope.spawn(move || {
                let mut link = Link::new(jitter, seed * 7_919, None);
                link.drift = drifts[usize::try_from(seed).unwrap() % 3];
                link.quiet(3_600_000);
                assert_eq!(link.events(), [], "{jitter:?}");
            });
        }
    });
}

/// What was planted, as far as it was told.
#[derive(Debug, Default)]
struct Told {
    planted: u32,
    found: u32,
    exact: u32,
}

/// Of bursts of 2 to 200 ms with peaks of 5 to 500 times the noise, 99 in a hundred are told as they were.
#[test]
fn planted_bursts_are_found_as_they_were() {
    std::thread::scope(|scope| {
        for (seed, jitter) in (1..).zip(JITTERS) {
            scope.spawn(move || {
                let told = plant(jitter, seed * 104_729, 1_000);
                assert!(
                    told.found * 100 >= told.planted * 99,
                    "{jitter:?}: {told:?}"
                );
                assert!(told.exact * 100 >= told.found * 99, "{jitter:?}: {told:?}");
            });
        }
    });
}

fn plant(jitter: Jitter, seed: u64, planted: u32) -> Told {
    let mut link = Link::new(jitter, seed, None);
    link.drift = |_| 40_000.0;
    link.quiet(20_000);
    let mut told = Told::default();
    for _ in 0..planted {
        let quiet = link.random.between(200.0, 1_200.0) as u32;
        link.quiet(quiet);
        let early = link.bursts();
        assert!(early.is_empty(), "{jitter:?}: {early:?}");
        let length_ms = 2.0 * 100_f64.powf(link.random.uniform());
        let peak_ns = jitter.noise() * 5.0 * 100_f64.powf(link.random.uniform());
        // It begins somewhere between two probes, and half of them drain in their last fifth.
        let start_ns = link.now_ns() as f64 + link.random.between(-1e6, 0.0);
        let is_square = link.random.uniform() < 0.5;
        let mut most_ns = 0_f64;
        loop {
            let at = (link.now_ns() as f64 - start_ns) / 1e6 / length_ms;
            if at >= 1.0 {
                break;
            }
            let height = if is_square {
                1.0
            } else {
                (5.0 - 5.0 * at).min(1.0)
            };
            most_ns = most_ns.max(link.probe([peak_ns * height, 0.0]));
        }
        link.quiet(60);
        told.planted += 1;
        let bursts = link.bursts();
        let [(start, burst)] = bursts[..] else {
            continue;
        };
        assert_eq!(burst.direction, Some(Direction::Forward));
        told.found += 1;
        let late_ms = (start.as_unix_nanos() as f64 - start_ns) / 1e6;
        let longer_ms = burst.duration_ns as f64 / 1e6 - length_ms;
        // The base is the least of some thousand delays.
        let least_ns = if matches!(jitter, Jitter::Pareto) {
            20_000.0
        } else {
            0.0
        };
        let higher = (burst.peak_ns as f64 + least_ns) / most_ns - 1.0;
        let is_exact = late_ms.abs() <= 2.0
            && longer_ms.abs() <= 3.0_f64.max(0.2 * length_ms)
            && higher.abs() <= 0.1;
        told.exact += u32::from(is_exact);
    }
    told
}

fn square(link: &mut Link, probes: u32, queues: [f64; 2]) {
    for _ in 0..probes {
        link.probe(queues);
    }
}

#[test]
fn a_single_probe_is_no_burst_unless_a_number_says_so() {
    for (threshold_ns, found) in [(None, 0), (Some(1_000_000), 1)] {
        let mut link = Link::new(Jitter::Gamma, 5, threshold_ns);
        link.quiet(5_000);
        square(&mut link, 1, [3e6, 0.0]);
        link.quiet(100);
        assert_eq!(link.bursts().len(), found, "{threshold_ns:?}");
    }
}

#[test]
fn both_directions_at_once_are_one_incident() {
    let mut link = Link::new(Jitter::Gamma, 6, None);
    link.quiet(5_000);
    // The replies to a probe meet their queue as the next one leaves.
    square(&mut link, 1, [0.0, 5e6]);
    square(&mut link, 19, [5e6, 5e6]);
    link.quiet(500);
    square(&mut link, 20, [0.0, 5e6]);
    link.quiet(100);
    let bursts = link.bursts();
    let ways: Vec<_> = bursts.iter().map(|(_, burst)| burst.direction).collect();
    let (forward, reverse) = (Some(Direction::Forward), Some(Direction::Reverse));
    assert_eq!(ways, [forward, reverse, reverse]);
    let [one, two, three] = [0, 1, 2].map(|index| bursts[index].1.incident);
    assert!(one == two && two != three, "{bursts:?}");
}

#[test]
fn a_burst_is_told_when_its_losses_are() {
    let mut link = Link::new(Jitter::Gamma, 7, None);
    link.quiet(5_000);
    square(&mut link, 5, [5e6, 0.0]);
    let lost = link.seq..link.seq + 3;
    link.seq = lost.end;
    square(&mut link, 5, [5e6, 0.0]);
    link.quiet(900);
    assert_eq!(link.events(), [], "three probes are still under way");
    lost.for_each(|seq| link.lose(seq));
    let bursts = link.bursts();
    let [(_, burst)] = bursts[..] else {
        panic!("{bursts:?}");
    };
    assert_eq!((burst.probes, burst.lost), (13, 3));
    assert!((11_000_000..=13_000_000).contains(&burst.duration_ns));
    link.quiet(100);
    assert_eq!(link.events(), [], "no outage beside it");
}

/// Another processor may hand on a packet before the ones that came in ahead of it.
#[test]
fn a_packet_that_overtakes_others_ends_no_burst() {
    let mut link = Link::new(Jitter::Gamma, 8, None);
    link.quiet(5_000);
    square(&mut link, 5, [5e6, 0.0]);
    let between = link.seq..link.seq + 6;
    link.seq = between.end;
    link.quiet(1);
    let after = std::mem::replace(&mut link.seq, between.start);
    square(&mut link, 6, [5e6, 0.0]);
    link.seq = after;
    link.quiet(100);
    let bursts = link.bursts();
    let [(_, burst)] = bursts[..] else {
        panic!("{bursts:?}");
    };
    assert_eq!((burst.probes, burst.lost), (11, 0));
    assert_eq!(burst.duration_ns, 10_000_000);
}

/// A probe that was lost behind a burst does not join the next one to it.
#[test]
fn a_loss_between_two_bursts_keeps_them_apart() {
    let mut link = Link::new(Jitter::Gamma, 9, None);
    link.quiet(5_000);
    square(&mut link, 5, [5e6, 0.0]);
    let lost = link.seq;
    link.seq += 1;
    link.quiet(6);
    square(&mut link, 5, [5e6, 0.0]);
    link.quiet(100);
    link.lose(lost);
    let bursts = link.bursts();
    let [(one, first), (two, second)] = bursts[..] else {
        panic!("{bursts:?}");
    };
    assert_eq!((first.probes, second.probes), (5, 5));
    assert_eq!(two.since(one), 12_000_000);
}

#[test]
fn a_route_that_changes_is_no_burst() {
    for by_ns in [2e6_f64, -200_000.0] {
        let mut link = Link::new(Jitter::Gamma, 10, None);
        link.quiet(20_000);
        square(&mut link, 10_000, [by_ns.max(0.0), 0.0]);
        if by_ns < 0.0 {
            // Nothing can be under the least of the jitter but by another route.
            link.offset_ns += by_ns * 10.0;
            link.quiet(10_000);
        }
        let events = link.events();
        let routes: Vec<_> = events
            .iter()
            .filter_map(|(_, kind)| match kind {
                EventKind::RouteChange {
                    direction,
                    old_ns,
                    new_ns,
                    ..
                } => Some((*direction, (new_ns - old_ns) as f64)),
                _ => None,
            })
            .collect();
        assert_eq!(routes.len(), events.len(), "{events:?}");
        if by_ns > 0.0 {
            let [(Direction::Forward, moved_ns)] = routes[..] else {
                panic!("{routes:?}");
            };
            assert!((moved_ns - by_ns).abs() < 50_000.0, "{moved_ns}");
            // And it is found from there.
            square(&mut link, 10, [by_ns + 5e6, 0.0]);
            square(&mut link, 100, [by_ns, 0.0]);
            assert_eq!(link.bursts().len(), 1);
        } else {
            let mut ways: Vec<_> = routes.iter().map(|(way, _)| *way).collect();
            ways.sort();
            assert_eq!(ways, Direction::ALL);
        }
    }
}

#[test]
fn a_clock_that_is_set_is_no_burst() {
    let mut link = Link::new(Jitter::Gamma, 11, None);
    link.quiet(5_000);
    link.offset_ns += 3.6e12;
    link.quiet(2);
    link.detector.step(0, |origin| origin == Origin(0));
    link.quiet(5_000);
    square(&mut link, 20, [0.0, 5e6]);
    link.quiet(100);
    let bursts = link.bursts();
    let [(_, burst)] = bursts[..] else {
        panic!("{bursts:?}");
    };
    assert_eq!(burst.direction, Some(Direction::Reverse));
}

/// A burst just before the clock was set and one just after are two incidents, also if the clock shows one time.
#[test]
fn the_same_time_twice_is_not_the_same_incident() {
    let mut incidents = Incidents::default();
    let start = Wall::from_unix_nanos(BEGAN);
    let first = incidents.number(start, MS);
    assert_eq!(incidents.number(start, MS), first);
    let mut detector = Detector::new(BurstRules::default());
    detector.incidents = incidents;
    detector.step(-3_600 * SECOND, |_| true);
    let later = start.plus(MS / 2);
    assert_ne!(detector.incidents.number(later, MS), first);
}

#[test]
fn worse_stamps_than_the_flow_has_say_nothing_and_are_named_where_they_are_all() {
    let mut link = Link::new(Jitter::Gamma, 12, None);
    link.quiet(5_000);
    link.stamp = StampSource::User;
    square(&mut link, 20, [5e6, 5e6]);
    link.stamp = StampSource::Kernel;
    link.quiet(200);
    assert_eq!(link.bursts(), []);
    link.stamp = StampSource::User;
    link.quiet(5_000);
    square(&mut link, 20, [5e6, 0.0]);
    link.quiet(100);
    let bursts = link.bursts();
    let [(_, burst)] = bursts[..] else {
        panic!("{bursts:?}");
    };
    assert_eq!(burst.stamp, StampSource::User);
}

#[test]
fn a_queue_that_stands_is_told_once_and_then_is_how_the_flow_is() {
    let mut link = Link::new(Jitter::Exponential, 13, None);
    link.quiet(5_000);
    for _ in 0..30_000 {
        let queue_ns = 5e6 + 5e6 * link.random.uniform();
        link.probe([queue_ns, 0.0]);
    }
    let bursts = link.bursts();
    assert_eq!(bursts.len(), 1, "{bursts:?}");
    assert!(bursts[0].1.duration_ns >= 10_000_000_000);
}

#[test]
fn a_receiver_tells_a_burst_at_once() {
    let mut link = Link::new(Jitter::Gamma, 14, None);
    let mut tell = |queue_ns: f64, seq: u64| {
        let left = BEGAN + i64::try_from(seq).unwrap() * MS;
        let delay_ns = 300_000.0 + link.jitter.draw(&mut link.random) + queue_ns;
        let received = left + delay_ns as i64;
        let stamps = [
            Some(link.stamp(left)),
            Some(link.stamp(received)),
            None,
            None,
        ];
        link.tell(stamps, Outcome::Received, seq % 101);
    };
    (0..5_000).for_each(|seq| tell(0.0, seq));
    (5_000..5_020).for_each(|seq| tell(5e6, seq));
    (5_020..5_040).for_each(|seq| tell(0.0, seq));
    let bursts = link.bursts();
    let [(start, burst)] = bursts[..] else {
        panic!("{bursts:?}");
    };
    assert_eq!((burst.probes, burst.lost), (20, 0));
    assert_eq!(burst.direction, Some(Direction::Forward));
    let late_ns = start.as_unix_nanos() - (BEGAN + 5_000 * MS);
    assert!(late_ns.abs() < MS, "{late_ns}");
}
