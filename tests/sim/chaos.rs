//! Random worlds: anything may happen for a while, then the network heals, and every flow must
//! recover.

use std::net::{IpAddr, Ipv4Addr};

use crate::network::Link;
use crate::paths::Trouble;
use crate::rng::Rng;
use crate::routers::{Route, Router, Traces};
use crate::scenario::{Act, HostConfig, Scenario, TargetConfig, What};
use crate::world::World;

const TROUBLE_SECONDS: u64 = 20;
/// Reconnection may wait for a retransmission or a backoff, each of seconds.
const RECOVERY_SECONDS: u64 = 75;
const QUIET_SECONDS: u64 = 5;

#[test]
#[expect(
    clippy::print_stdout,
    reason = "figures for whoever asks by --nocapture"
)]
fn every_flow_finds_its_way_back_in_random_worlds() {
    let (first, runs) = (number("SIM_SEED", 1), number("SIM_RUNS", 12));
    let (mut errors_ns, mut outages) = (Vec::new(), 0);
    for seed in first..first + runs {
        let scenario = random_scenario(seed);
        // What went wrong has been printed by the time that this says where.
        let outcome = std::panic::catch_unwind(|| World::play(scenario));
        let Ok(outcome) = outcome else {
            panic!("again: SIM_SEED={seed} SIM_RUNS=1 cargo test --test sim random");
        };
        errors_ns.extend(outcome.errors_ns);
        outages += outcome.outages;
    }
    errors_ns.sort_unstable();
    let part = |percent: usize| {
        let error_ns = errors_ns.get(errors_ns.len() * percent / 100);
        error_ns.copied().unwrap_or(0)
    };
    println!(
        "{runs} worlds from {first} on; {} estimates of a peer's clock held the truth, with an \
         error of {} ns (median) and {} ns (99 %); {outages} outages were told as they were",
        errors_ns.len(),
        part(50),
        part(99)
    );
}

/// Each of these worlds has a step that is smaller than the round trip at that time. The bound of
/// the peer's clock once did not grow with it.
#[test]
fn a_step_within_a_round_trip_is_within_the_error() {
    for seed in [20_363, 40_092, 500_020, 500_350] {
        World::run(first_mix(seed));
    }
}

#[test]
fn a_seed_gives_the_same_run_again() {
    assert_eq!(
        World::run(random_scenario(77)),
        World::run(random_scenario(77))
    );
}

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")),
        Err(_) => default,
    }
}

/// The first mix, and more trouble with clocks and paths in it.
pub(crate) fn random_scenario(seed: u64) -> Scenario {
    let mut scenario = first_mix(seed);
    // Of a generator of their own, which leaves the rest of the world as it was.
    let mut rng = Rng::new(seed ^ 0xc10c);
    vary_targets(&mut rng, &mut scenario);
    for _ in 0..rng.below(8) {
        add_clock_trouble(&mut rng, &mut scenario);
    }
    let trouble = Trouble {
        seconds: TROUBLE_SECONDS,
    };
    trouble.add(&mut Rng::new(seed ^ 0x9a7), &mut scenario);
    call_otherwise(&mut Rng::new(seed ^ 0x7a6), &mut scenario);
    scenario
}

/// Hosts and paths with every kind of trouble for a while.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn first_mix(seed: u64) -> Scenario {
    let mut rng = Rng::new(seed);
    let count = 2 + rng.below(3);
    let mut hosts: Vec<HostConfig> = (0..count)
        .map(|id| random_host(&mut rng, id, count))
        .collect();
    // Who is told to speak native alone has to have somebody to speak to.
    let python: Vec<String> = hosts
        .iter()
        .filter(|host| host.python)
        .map(|host| host.address.to_string())
        .collect();
    for target in hosts.iter_mut().flat_map(|host| &mut host.targets) {
        if target.protocol == "native" && python.contains(&target.host) {
            "auto".clone_into(&mut target.protocol);
        }
    }
    let mut acts = Vec::new();
    for _ in 0..4 + rng.below(12) {
        let at = rng.below(TROUBLE_SECONDS * 1000) as f64 / 1e3;
        acts.push(Act {
            at,
            what: random_act(&mut rng, &hosts),
        });
    }
    for host in hosts.iter().filter(|host| !host.targets.is_empty()) {
        let at = rng.below(TROUBLE_SECONDS * 1000) as f64 / 1e3;
        let (host, target) = (host.name.clone(), host.targets[0].clone());
        let label = target.host.clone();
        acts.push(Act {
            at,
            what: What::Remove {
                host: host.clone(),
                label,
            },
        });
        // A moment later, with probes to the old one still under way, or much later.
        let at = at + rng.below(4_000) as f64 / 1e3;
        acts.push(Act {
            at,
            what: What::Add { host, target },
        });
    }
    // Of a generator of their own: what is said of packets must not change what happens to them.
    let mut reports = Rng::new(!seed);
    for act in &mut acts {
        if let What::Link { is, .. } = &mut act.what
            && reports.chance(0.3)
        {
            is.reported = reports.below(100) as f64 / 100.0;
        }
    }
    acts.push(Act {
        at: TROUBLE_SECONDS as f64 + 4.0,
        what: What::Heal,
    });
    Scenario {
        seconds: (TROUBLE_SECONDS + 4 + RECOVERY_SECONDS + QUIET_SECONDS) as f64,
        seed,
        settled_at: Some((TROUBLE_SECONDS + 4 + RECOVERY_SECONDS) as f64),
        exact_losses: false,
        bursts: false,
        windows: true,
        life: false,
        results: false,
        link: Link {
            delay_us: 50 + rng.below(20_000),
            ..Link::default()
        },
        routes: routes(&hosts),
        hosts,
        links: Vec::new(),
        acts,
        names: std::collections::BTreeMap::new(),
    }
}

/// Two routers between most hosts, which answer, are silent, or have their answers forged.
fn routes(hosts: &[HostConfig]) -> Vec<Route> {
    let mut routes = Vec::new();
    for (from, to) in hosts
        .iter()
        .flat_map(|from| hosts.iter().map(move |to| (from, to)))
    {
        let number = routes.len();
        let router = |place: u8| Router {
            address: (number % 3 > 0).then(|| Ipv4Addr::new(10, 9, 0, place).into()),
            quotes: [0, 4, usize::MAX][number % 3],
        };
        routes.push(Route {
            from: from.name.clone(),
            to: to.name.clone(),
            routers: if number.is_multiple_of(4) {
                Vec::new()
            } else {
                vec![router(1), router(2)]
            },
            is_closed: false,
            is_forged: number.is_multiple_of(2),
            cut_after: None,
        });
    }
    routes
}

fn address(id: u64) -> IpAddr {
    Ipv4Addr::from_bits(0x0a00_0001 + u32::try_from(id).expect("few hosts")).into()
}

fn random_host(rng: &mut Rng, id: u64, count: u64) -> HostConfig {
    let python = id > 0 && rng.chance(0.2);
    let mut targets = Vec::new();
    for other in (0..count).filter(|other| *other != id && !python) {
        if rng.chance(0.3) {
            continue;
        }
        targets.push(TargetConfig {
            host: address(other).to_string(),
            // Fast enough that a Python peer does not hang up, slow enough that it reads one message
            // at a time.
            interval_ms: [5.0, 20.0, 100.0, 500.0]
                [usize::try_from(rng.below(4)).expect("an index")],
            timeout_ms: [100.0, 1000.0][usize::try_from(rng.below(2)).expect("an index")],
            size: rng
                .chance(0.5)
                .then(|| 60 + usize::try_from(rng.below(1400)).expect("a size")),
            max_lost: 1 + u32::try_from(rng.below(12)).expect("a few"),
            flows: [1, 1, 1, 2, 5][usize::try_from(rng.below(5)).expect("an index")],
            per_flow: rng.chance(0.5),
            reopens: !rng.chance(0.2),
            rtt: !rng.chance(0.1),
            protocol: ["auto", "auto", "native", "text"]
                [usize::try_from(rng.below(4)).expect("an index")]
            .to_owned(),
            owd_corrected: rng.chance(0.2),
            ..TargetConfig::default()
        });
    }
    HostConfig {
        name: format!("h{id}"),
        address: address(id),
        python,
        foreign: None,
        clock_offset_ns: i64::try_from(rng.below(2_000_000)).expect("fits") - 1_000_000,
        clock_drift_ppb: i64::try_from(rng.below(200_000)).expect("fits") - 100_000,
        send_fails: 0.0,
        accepted_max: None,
        stamps: rng.chance(0.7),
        noise_us: if rng.chance(0.5) { rng.below(500) } else { 0 },
        reads_within_us: 0,
        // Half of the hosts trace, which must change nothing else.
        traces: id.is_multiple_of(2).then_some(Traces {
            interval: 1.0,
            hops_max: 5,
            asked: None,
        }),
        resolve_interval: 60.0,
        keys: Vec::new(),
        require_key: false,
        targets,
    }
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn random_act(rng: &mut Rng, hosts: &[HostConfig]) -> What {
    let pick = |rng: &mut Rng| {
        let index = usize::try_from(rng.below(hosts.len() as u64)).expect("an index");
        hosts[index].name.clone()
    };
    let host = pick(rng);
    match rng.below(10) {
        0 => What::Crash { host },
        1 => What::PowerOff { host },
        2 | 3 => What::Start { host },
        4 => What::Freeze {
            host,
            seconds: rng.below(3_000) as f64 / 1e3,
        },
        5 => What::Step {
            host,
            ns: i64::try_from(rng.below(4_000_000_000)).expect("fits") - 2_000_000_000,
        },
        _ => What::Link {
            to: pick(rng),
            from: host,
            is: Link {
                delay_us: 50 + rng.below(200_000),
                jitter_us: rng.below(5_000),
                loss: rng.below(60) as f64 / 100.0,
                duplicate: rng.below(20) as f64 / 100.0,
                reorder: rng.below(20) as f64 / 100.0,
                split: rng.below(50) as f64 / 100.0,
                glue_us: if rng.chance(0.3) {
                    rng.below(30_000)
                } else {
                    0
                },
                down: rng.chance(0.2),
                ..Link::default()
            },
        },
    }
}

/// Some targets get other tags, in trouble or when the network is well.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn call_otherwise(rng: &mut Rng, scenario: &mut Scenario) {
    let mut acts = Vec::new();
    for host in &scenario.hosts {
        for target in &host.targets {
            for change in 0..rng.below(3) {
                let at = rng.below((TROUBLE_SECONDS + RECOVERY_SECONDS) * 1_000) as f64 / 1e3;
                acts.push(Act {
                    at,
                    what: What::Labels {
                        host: host.name.clone(),
                        label: target.host.clone(),
                        to: target.host.clone(),
                        tags: vec![format!("change:{change}")],
                    },
                });
            }
        }
    }
    scenario.acts.extend(acts);
}

/// More peers whose clock is estimated, also by few and slow probes.
fn vary_targets(rng: &mut Rng, scenario: &mut Scenario) {
    let python: Vec<String> = scenario
        .hosts
        .iter()
        .filter(|host| host.python)
        .map(|host| host.address.to_string())
        .collect();
    for target in scenario.hosts.iter_mut().flat_map(|host| &mut host.targets) {
        // A Python peer speaks no native, and hangs up if it hears nothing for a second.
        let (is_native, is_slow) = (rng.chance(0.3), rng.chance(0.2));
        if python.contains(&target.host) {
            continue;
        }
        if is_native {
            "native".clone_into(&mut target.protocol);
        }
        if is_slow {
            (target.interval_ms, target.timeout_ms) = (1_000.0, 1_000.0);
        }
    }
}

/// Where and when something happens to a clock.
struct Spot {
    host: String,
    /// At the other end of the path that may change too.
    to: String,
    /// In seconds, while there is trouble.
    at: f64,
    /// The same or later, when the network is well again.
    later: f64,
}

/// Something that a clock does, or a path, or both at once, by which the bound of a peer's clock
/// may come to lie. Clocks go on to do it when the network is well again.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn add_clock_trouble(rng: &mut Rng, scenario: &mut Scenario) {
    let mut pick = || {
        let index = usize::try_from(rng.below(scenario.hosts.len() as u64)).expect("few");
        scenario.hosts[index].name.clone()
    };
    let spot = Spot {
        host: pick(),
        to: pick(),
        at: rng.below(TROUBLE_SECONDS * 1_000) as f64 / 1e3,
        later: rng.below((TROUBLE_SECONDS + RECOVERY_SECONDS) * 1_000) as f64 / 1e3,
    };
    let acts = match rng.below(7) {
        // From a microsecond to two seconds, every magnitude alike.
        0 => vec![step(rng, spot.later, &spot.host, 10..31)],
        1 => slews(rng, &spot),
        // One direction becomes slower or faster, and stays so.
        2 => vec![path(rng, spot.at, &spot.host, &spot.to, 1_000_000)],
        3 => changes_with_path(rng, &spot),
        4 => dark_time(rng, &spot),
        5 => restarts(rng, &spot),
        _ => stall(rng, &spot),
    };
    scenario.acts.extend(acts);
}

/// A daemon slews the clock, up to what the kernel lets it, and back.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn slews(rng: &mut Rng, spot: &Spot) -> Vec<Act> {
    let mut rate =
        |most: u64| i64::try_from(rng.below(2 * most + 1)).expect("fits") - most.cast_signed();
    let (ppb, back) = (rate(500_000), rate(50_000));
    let seconds = rng.below(10_000) as f64 / 1e3;
    [(spot.later, ppb), (spot.later + seconds, back)]
        .map(|(at, ppb)| Act {
            at,
            what: What::Drift {
                host: spot.host.clone(),
                ppb,
            },
        })
        .into()
}

/// At one instant, or within a few probes, the path changes both ways and the clock is set: no
/// stamp tells the two apart.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn changes_with_path(rng: &mut Rng, spot: &Spot) -> Vec<Act> {
    let (host, to) = (&spot.host, &spot.to);
    let moment = |rng: &mut Rng| rng.below(2) as f64 * rng.below(500) as f64 / 1e3;
    let first = path(rng, spot.at, host, to, 400_000);
    let at = spot.at + moment(rng);
    let second = step(rng, at, host, 20..29);
    let at = at + moment(rng);
    vec![first, second, path(rng, at, to, host, 400_000)]
}

/// A dark time, in which the clock is set, after which the path is another one.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn dark_time(rng: &mut Rng, spot: &Spot) -> Vec<Act> {
    let (host, to) = (&spot.host, &spot.to);
    let down = |from: &str, to: &str| Act {
        at: spot.at,
        what: What::Link {
            from: from.to_owned(),
            to: to.to_owned(),
            is: Link {
                down: true,
                ..Link::default()
            },
        },
    };
    let lasts = rng.below(10_000) as f64 / 1e3;
    vec![
        down(host, to),
        down(to, host),
        step(rng, spot.at + lasts / 2.0, host, 16..31),
        path(rng, spot.at + lasts, host, to, 200_000),
        path(rng, spot.at + lasts, to, host, 200_000),
    ]
}

/// The program starts again a few times, and the clock is set in between.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn restarts(rng: &mut Rng, spot: &Spot) -> Vec<Act> {
    let mut acts = Vec::new();
    let mut at = spot.at;
    for _ in 0..=rng.below(3) {
        let host = spot.host.clone();
        acts.push(Act {
            at,
            what: What::Crash { host: host.clone() },
        });
        at += rng.below(1_500) as f64 / 1e3;
        acts.push(step(rng, at, &host, 16..31));
        acts.push(Act {
            at,
            what: What::Start { host },
        });
        at += rng.below(3_000) as f64 / 1e3;
    }
    acts
}

/// The clock is set while its program stalls, or a moment after.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn stall(rng: &mut Rng, spot: &Spot) -> Vec<Act> {
    let stall = Act {
        at: spot.at,
        what: What::Freeze {
            host: spot.host.clone(),
            seconds: rng.below(2_000) as f64 / 1e3,
        },
    };
    let at = spot.at + rng.below(2_500) as f64 / 1e3;
    vec![stall, step(rng, at, &spot.host, 16..31)]
}

/// A clock is set, in either direction, by a number of nanoseconds with so many bits.
fn step(rng: &mut Rng, at: f64, host: &str, bits: std::ops::Range<u64>) -> Act {
    let bits = bits.start + rng.below(bits.end - bits.start);
    let size = i64::try_from((1 << bits) + rng.below(1 << bits)).expect("fits");
    let ns = if rng.chance(0.5) { size } else { -size };
    Act {
        at,
        what: What::Step {
            host: host.to_owned(),
            ns,
        },
    }
}

/// A link does nothing from now on but take its time: up to so much, every magnitude alike. It
/// becomes so before the network heals.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn path(rng: &mut Rng, at: f64, from: &str, to: &str, most_us: u64) -> Act {
    let delay_us = (rng.below(most_us) >> rng.below(12)) + 20;
    let jitter_us = if rng.chance(0.5) {
        0
    } else {
        rng.below(delay_us)
    };
    Act {
        at: at.min(TROUBLE_SECONDS as f64 + 3.0),
        what: What::Link {
            from: from.to_owned(),
            to: to.to_owned(),
            is: Link {
                delay_us,
                jitter_us,
                ..Link::default()
            },
        },
    }
}
