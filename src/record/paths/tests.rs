//! Flows over parallel paths, by the block and by the hour.

use super::*;
use crate::proto::{FlowNumber, Outcome, Stamp, StampSource};
use crate::record::event::{Departure, Divergence};

const SECOND: i64 = 1_000_000_000;

/// Chance that is the same in every run.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let share = (self.0 >> 11) as f64 / (1_u64 << 53) as f64;
        share
    }
}

/// What a path does to a probe.
#[derive(Clone, Copy, Default)]
struct Way {
    loss: f64,
    later_ns: i64,
}

/// Flows of one target in virtual time.
struct World {
    paths: Paths,
    chance: Chance,
    at: i64,
    seq: u64,
    flows: u16,
    interval_ns: i64,
}

impl World {
    fn new(seed: u64, flows: u16, interval_ns: i64) -> Self {
        let mut paths = Paths::default();
        for number in 1..=flows {
            let number = FlowNumber { number, of: flows };
            paths.join(&Member {
                origin: Origin(number.number.into()),
                target: TargetId(1),
                kind: Some(FlowKind::Udp),
                number,
                total: None,
            });
        }
        Self {
            paths,
            chance: Chance(0x9E37_79B9_7F4A_7C15 ^ (seed << 20 | seed | 1)),
            at: 0,
            seq: 0,
            flows,
            interval_ns,
        }
    }

    /// Lets time pass. Returns the flows whose departure began or ended, and what was told.
    fn run(
        &mut self,
        seconds: i64,
        mut way: impl FnMut(i64, u16) -> Way,
    ) -> Vec<(u32, i64, EventKind)> {
        let mut told = Vec::new();
        let until = self.at + seconds * SECOND;
        while self.at < until {
            for number in 1..=self.flows {
                let at = self.at + self.interval_ns * i64::from(number - 1) / i64::from(self.flows);
                let Way { loss, later_ns } = way(at, number);
                let is_lost = self.chance.next() < loss;
                // Other traffic and hosts: mostly a few microseconds.
                let jitter = self.chance.next().powi(8) * 200_000.0 + self.chance.next() * 5_000.0;
                #[expect(clippy::cast_possible_truncation, reason = "nanoseconds")]
                let forward_ns = 5_000_000 + later_ns + jitter as i64;
                let stamp = |ns: i64| {
                    let (at, source) = (Wall::from_unix_nanos(ns), StampSource::Kernel);
                    (!is_lost).then_some(Stamp { at, source })
                };
                let left = Stamp {
                    at: Wall::from_unix_nanos(at),
                    source: StampSource::Kernel,
                };
                // The other clock is an hour ahead.
                let there = at + forward_ns + 3_600 * SECOND;
                let back = at + forward_ns + 50_000 + 5_000_000;
                let trace = Trace {
                    origin: Origin(number.into()),
                    kind: FlowKind::Udp,
                    seq: self.seq,
                    stamps: [Some(left), stamp(there), stamp(there + 50_000), stamp(back)],
                    outcome: if is_lost {
                        Outcome::Lost
                    } else {
                        Outcome::Received
                    },
                    lost_on: is_lost.then_some(Direction::Forward),
                };
                self.paths.handle_trace(&trace);
                while let Some(found) = self.paths.poll() {
                    if let PathFinding::Event(origin, _, kind) = found {
                        told.push((origin.0, self.at, kind));
                    }
                }
            }
            self.seq += 1;
            self.at += self.interval_ns;
        }
        told
    }
}

fn is_begin(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::PathDivergence(Departure {
            duration_ns: None,
            ..
        })
    )
}

/// Returns the flows that a bad one of `links` links has, and lets them be bad.
fn bad(number: u16, links: u16) -> bool {
    number.is_multiple_of(links)
}

#[test]
fn flows_on_a_bad_link_are_told_within_ten_seconds_and_no_others() {
    for (interval_ms, links, loss, later_ns, what) in [
        (1, 4, 0.05, 0, Divergence::Loss),
        (10, 4, 0.05, 0, Divergence::Loss),
        (10, 3, 0.05, 0, Divergence::Loss),
        (10, 16, 0.03, 0, Divergence::Loss),
        (1, 4, 0.0, 2_000_000, Divergence::Delay),
        (10, 3, 0.0, 2_000_000, Divergence::Delay),
        (10, 16, 0.0, 1_500_000, Divergence::Delay),
    ] {
        let case = format!("{interval_ms} ms, one of {links} links, {loss}, {later_ns} ns");
        let mut world = World::new(7, 16, interval_ms * 1_000_000);
        assert!(world.run(30, |_, _| Way::default()).is_empty(), "{case}");
        let since = world.at;
        let way = |_, number| {
            if bad(number, links) {
                Way { loss, later_ns }
            } else {
                Way::default()
            }
        };
        let told = world.run(10, way);
        let mut flows: Vec<u32> = told.iter().map(|it| it.0).collect();
        flows.sort_unstable();
        let expected: Vec<u32> = (1..=16)
            .filter(|it| bad(*it, links))
            .map(u32::from)
            .collect();
        assert_eq!(flows, expected, "{case}: {told:?}");
        for (_, at, kind) in &told {
            let EventKind::PathDivergence(Departure {
                direction,
                what: said,
                value,
                others,
                noticed_ns,
                ..
            }) = *kind
            else {
                panic!("{kind:?}");
            };
            assert!(is_begin(kind) && said == what, "{case}: {kind:?}");
            assert_eq!(direction, Some(Direction::Forward), "{case}");
            assert!(
                value > others && at - since < 10 * SECOND && noticed_ns < 10 * 1_000_000_000,
                "{case}: {kind:?}"
            );
        }
        // Healed, it ends, once for each.
        let ended = world.run(60, |_, _| Way::default());
        let mut flows: Vec<u32> = ended.iter().map(|it| it.0).collect();
        flows.sort_unstable();
        assert_eq!(flows, expected, "{case}: {ended:?}");
        assert!(!ended.iter().any(|it| is_begin(&it.2)), "{case}");
    }
}

#[test]
fn what_all_paths_have_in_common_is_no_divergence() {
    let mut world = World::new(11, 16, 10_000_000);
    let way = |at: i64, number: u16| {
        let second = at / SECOND % 60;
        let later_ns = i64::from(number) * 4_000;
        match second {
            // An outage, a queue that all share, and losses of the whole path.
            5..8 => Way {
                loss: 1.0,
                later_ns,
            },
            15..20 => Way {
                loss: 0.2,
                later_ns: later_ns + 8_000_000,
            },
            30..45 => Way {
                loss: 0.01,
                later_ns,
            },
            // A few probes of one flow: a burst is none either.
            50 if number == 3 && at % SECOND < 200_000_000 => Way {
                loss: 1.0,
                later_ns,
            },
            _ => Way {
                loss: 0.0,
                later_ns,
            },
        }
    };
    assert_eq!(world.run(600, way), []);
}

/// Many hours of paths that are alike, each with a share of losses of its own; `SIM_RUNS` for more.
#[test]
fn paths_that_are_alike_are_never_told_apart() {
    let runs = std::env::var("SIM_RUNS")
        .ok()
        .and_then(|runs| runs.parse().ok());
    let runs: u64 = runs.unwrap_or(12);
    for seed in 1..=runs {
        let flows = [2, 3, 4, 16][usize::try_from(seed % 4).unwrap()];
        let loss = [0.0, 0.001, 0.01, 0.05][usize::try_from(seed / 4 % 4).unwrap()];
        let mut world = World::new(seed, flows, 50_000_000);
        let told = world.run(3_600, |_, _| Way { loss, later_ns: 0 });
        assert_eq!(told, [], "seed {seed}: {flows} flows that lose {loss}");
    }
}

#[test]
fn a_flow_with_another_path_is_judged_anew() {
    let mut world = World::new(3, 4, 10_000_000);
    let way = |_, number| Way {
        loss: if number == 2 { 0.1 } else { 0.0 },
        later_ns: 0,
    };
    let told = world.run(20, way);
    assert_eq!(told.iter().map(|it| it.0).collect::<Vec<_>>(), [2]);
    let [local, remote] = ["192.0.2.1:4000", "192.0.2.2:8001"].map(|at| at.parse().unwrap());
    let origin = Origin(2);
    world.paths.handle_tuple(&Tuple {
        origin,
        local,
        remote,
    });
    let Some(PathFinding::Event(Origin(2), _, ended)) = world.paths.poll() else {
        panic!("what lasts ends with its path");
    };
    assert!(!is_begin(&ended), "{ended:?}");
    assert_eq!(
        world.paths.flow_of(origin).unwrap().tuple,
        Some([local, remote])
    );
    assert_eq!(world.run(60, |_, _| Way::default()), []);
}
