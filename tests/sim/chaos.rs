//! Random worlds: anything may happen for a while, then the network heals, and every flow must
//! recover.

use std::net::{IpAddr, Ipv4Addr};

use crate::network::Link;
use crate::rng::Rng;
use crate::scenario::{Act, HostConfig, Scenario, TargetConfig, What};
use crate::world::World;

const TROUBLE_SECONDS: u64 = 20;
/// Reconnection may wait for a retransmission or a backoff, each of seconds.
const RECOVERY_SECONDS: u64 = 75;
const QUIET_SECONDS: u64 = 5;

#[test]
fn every_flow_finds_its_way_back_in_random_worlds() {
    let first = number("SIM_SEED", 1);
    for seed in first..first + number("SIM_RUNS", 12) {
        let scenario = random_scenario(seed);
        // What went wrong has been printed by the time that this says where.
        let outcome = std::panic::catch_unwind(|| World::run(scenario));
        assert!(
            outcome.is_ok(),
            "again: SIM_SEED={seed} SIM_RUNS=1 cargo test --test sim random"
        );
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

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn random_scenario(seed: u64) -> Scenario {
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
        link: Link {
            delay_us: 50 + rng.below(20_000),
            ..Link::default()
        },
        hosts,
        links: Vec::new(),
        acts,
        names: std::collections::BTreeMap::new(),
    }
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
        clock_offset_ns: i64::try_from(rng.below(2_000_000)).expect("fits") - 1_000_000,
        clock_drift_ppb: i64::try_from(rng.below(200_000)).expect("fits") - 100_000,
        send_fails: 0.0,
        stamps: rng.chance(0.7),
        noise_us: if rng.chance(0.5) { rng.below(500) } else { 0 },
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
