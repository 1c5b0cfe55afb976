//! A host that reads late learns what one that reads at once learns, only later.

use std::net::{IpAddr, Ipv4Addr};

use latency_monitor::proto::{Outcome, StampSource};

use crate::network::Link;
use crate::results::{self, Measured, Results};
use crate::scenario::{Act, HostConfig, Scenario, TargetConfig, What};
use crate::world::World;

/// When the network falls silent: what is under way arrives, and nothing more.
const SILENT_AT: f64 = 2.5;

fn host(name: &str, last: u8, reads_within_us: u64, target: TargetConfig) -> HostConfig {
    HostConfig {
        name: name.to_owned(),
        address: address(last),
        python: false,
        foreign: None,
        clock_offset_ns: i64::from(last) * 1_234_567,
        clock_drift_ppb: 0,
        send_fails: 0.0,
        accepted_max: None,
        stamps: true,
        noise_us: 0,
        reads_within_us,
        traces: None,
        resolve_interval: 60.0,
        keys: Vec::new(),
        require_key: false,
        targets: vec![target],
    }
}

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, last).into()
}

/// Two hosts that probe each other in the same way over such links, until the network falls silent.
fn world(seed: u64, reads_within_us: u64, link: Link, target: &TargetConfig) -> Scenario {
    let to = |last| TargetConfig {
        host: address(last).to_string(),
        max_lost: 100_000,
        ..target.clone()
    };
    let silence = |from: &str, to: &str| Act {
        at: SILENT_AT,
        what: What::Link {
            from: from.to_owned(),
            to: to.to_owned(),
            is: Link { down: true, ..link },
        },
    };
    Scenario {
        seconds: 3.5,
        seed,
        settled_at: None,
        exact_losses: false,
        bursts: false,
        windows: false,
        life: false,
        results: true,
        link,
        hosts: vec![
            host("a", 1, reads_within_us, to(2)),
            host("b", 2, reads_within_us, to(1)),
        ],
        links: Vec::new(),
        routes: Vec::new(),
        acts: vec![silence("a", "b"), silence("b", "a")],
        names: std::collections::BTreeMap::new(),
    }
}

/// Plays the same world with hosts that read at once and with hosts that read late, and compares all but what was sent
/// in the end, whose stamps have nothing to be carried by. Gives how many values were compared, and how many
/// of them are the kernel's for one host alone.
fn compare(link: Link, target: &TargetConfig, has_values: bool) -> (usize, usize) {
    let (mut compared, mut apart) = (0, 0);
    for (seed, within_us) in [(1, 2_000), (2, 1_500), (3, 5_000), (4, 100_000)] {
        let play = |us| World::play(world(seed, us, link, target)).results;
        let (at_once, late) = (play(0), play(within_us));
        assert_eq!(at_once.len(), late.len());
        for (at_once, late) in at_once.iter().zip(&late) {
            let place = format!("seed {seed}, {within_us} us");
            for (flow, counters) in &at_once.counters {
                assert!(counters.received > 0, "{place}: {flow:?}: {counters:?}");
                assert_eq!(*counters, late.counters[flow], "{place}: {flow:?}");
            }
            if has_values {
                let (count, by_one) = compare_values(&place, at_once, late, target);
                compared += count;
                apart += by_one;
            }
        }
    }
    (compared, apart)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a small number"
)]
fn compare_values(
    place: &str,
    at_once: &Results,
    late: &Results,
    target: &TargetConfig,
) -> (usize, usize) {
    let sent = ((SILENT_AT - 0.1) * 1e3 / target.interval_ms) as u64;
    let is_kernels = |value: &Measured| value.stamp == StampSource::Kernel;
    let (mut compared, mut apart) = (0, 0);
    // Until it has read a reply a sender cannot show that it receives them, and its first packets are not measured.
    let first = sent / 4;
    let is_compared = |key: &(String, results::What, u64)| (first..sent).contains(&key.2);
    let sorted = |values: &[Measured]| {
        let mut values = values.to_vec();
        values.sort_by_key(|measured| measured.value_ns);
        values
    };
    for (key, values) in at_once.measured.iter().filter(|(key, _)| is_compared(key)) {
        let others = late.measured.get(key);
        let others = others.unwrap_or_else(|| panic!("{place}: {key:?} is not measured"));
        // A probe and a reply of one number and direction have the same labels.
        let (first, second) = (sorted(values), sorted(others));
        assert_eq!(
            first.len(),
            second.len(),
            "{place}: {key:?}: {first:?} {second:?}"
        );
        for (first, second) in first.iter().zip(&second) {
            assert_eq!(first.outcome, second.outcome, "{place}: {key:?}");
            if is_kernels(first) == is_kernels(second) || first.outcome == Outcome::Lost {
                assert_eq!(first, second, "{place}: {key:?}");
            } else {
                apart += 1;
            }
            compared += 1;
        }
    }
    let count = |of: &Results| of.measured.keys().filter(|key| is_compared(key)).count();
    assert_eq!(count(at_once), count(late), "{place}");
    (compared, apart)
}

fn native(interval_ms: f64, timeout_ms: f64) -> TargetConfig {
    TargetConfig {
        // Packets travel for whole microseconds. So none arrives just as a probe leaves, which would have the
        // two runs draw the fates of packets in another order.
        interval_ms: interval_ms + 0.000_037,
        timeout_ms,
        protocol: "native".to_owned(),
        ..TargetConfig::default()
    }
}

fn text(interval_ms: f64, timeout_ms: f64) -> TargetConfig {
    TargetConfig {
        protocol: "text".to_owned(),
        ..native(interval_ms, timeout_ms)
    }
}

fn over_udp(target: TargetConfig) -> TargetConfig {
    TargetConfig {
        tcp: false,
        connect: false,
        ..target
    }
}

/// Loses, copies and overtakes.
const BAD: Link = Link {
    delay_us: 400,
    jitter_us: 700,
    loss: 0.03,
    duplicate: 0.03,
    reorder: 0.05,
    reorder_us: 2_500,
    split: 0.0,
    glue_us: 0,
    reported: 0.0,
    down: false,
    parallel: 1,
    bad_loss: 0.0,
    bad_delay_us: 0,
};

const GOOD: Link = Link {
    delay_us: 350,
    jitter_us: 20,
    loss: 0.0,
    duplicate: 0.0,
    reorder: 0.0,
    ..BAD
};

#[test]
fn a_late_reader_measures_what_one_that_reads_at_once_does() {
    for target in [
        native(1.0, 100.0),
        native(1.0, 2.0),
        native(7.0, 50.0),
        text(2.0, 50.0),
    ] {
        let (compared, apart) = compare(GOOD, &over_udp(target.clone()), true);
        assert!(
            compared > 1_000 && apart == 0,
            "{target:?}: {compared}, {apart} apart"
        );
    }
}

#[test]
fn it_does_so_where_packets_are_lost_copied_and_overtaken() {
    for target in [
        native(1.0, 100.0),
        native(1.0, 2.0),
        native(7.0, 50.0),
        text(2.0, 4.0),
    ] {
        // What says when a packet left is lost with the two packets that carry it, which may be others.
        let (compared, apart) = compare(BAD, &over_udp(target.clone()), true);
        assert!(
            compared > 1_000 && apart < compared / 50,
            "{target:?}: {compared}, {apart} apart"
        );
    }
}

#[test]
fn the_same_is_received_late_and_lost_over_tcp() {
    for target in [native(1.0, 100.0), native(7.0, 50.0), text(2.0, 50.0)] {
        compare(GOOD, &target, false);
        compare(BAD, &target, false);
    }
}

#[test]
fn the_same_is_measured_over_tcp() {
    for target in [native(1.0, 100.0), native(7.0, 50.0), text(2.0, 50.0)] {
        let (compared, apart) = compare(GOOD, &target, true);
        assert!(
            compared > 1_000 && apart == 0,
            "{target:?}: {compared}, {apart} apart"
        );
    }
}

/// Two transmit stamps come in one request of a late reader: they are measured in the order of their requests.
#[test]
fn what_one_request_tells_of_is_measured_in_its_order() {
    for within_us in [0, 2_000, 5_000] {
        let outcome = World::play(world(9, within_us, GOOD, &over_udp(native(1.0, 100.0))));
        for results in outcome.results {
            let numbers = results.order.values();
            assert!(
                numbers.clone().all(|numbers| numbers.is_sorted()),
                "{within_us}"
            );
            assert!(numbers.flatten().count() > 2_000, "{within_us}");
        }
    }
}

/// One host stands still so often, every so many seconds, for so long. The network does not fall silent.
fn stalls(count: u32, every: f64, seconds: f64) -> Vec<Act> {
    let stall = |place| Act {
        at: 0.2 + f64::from(place) * every,
        what: What::Freeze {
            host: "a".to_owned(),
            seconds,
        },
    };
    (0..count).map(stall).collect()
}

/// A host is stalled again and again, for longer than the timeout. What had come in time is received.
#[test]
fn a_stall_loses_nothing_that_had_come_in_time() {
    for (protocol, within_us) in [("native", 2_000), ("text", 2_000), ("native", 50_000)] {
        let target = TargetConfig {
            protocol: protocol.to_owned(),
            ..over_udp(native(1.0, 5.0))
        };
        let mut scenario = world(11, within_us, GOOD, &target);
        scenario.acts = stalls(20, 0.1017, 0.05);
        let results = World::play(scenario).results;
        let (flow, counters) = results[0].counters.first_key_value().expect("a flow");
        let in_flight = counters.in_flight() + counters.settling;
        assert_eq!(
            (counters.lost, counters.late),
            (0, 0),
            "{flow:?}: {counters:?}"
        );
        assert!(
            counters.received > 1_500 && in_flight < 10,
            "{flow:?}: {counters:?}"
        );
    }
}

/// Here and there a probe is lost, and the host is stalled for longer than the timeout: it learns of all those
/// losses at once, with replies between them. They are not in a row.
#[test]
fn a_stall_makes_no_row_of_losses_far_apart() {
    for (protocol, within_us) in [("native", 0), ("native", 2_000), ("text", 0)] {
        let target = TargetConfig {
            protocol: protocol.to_owned(),
            ..over_udp(native(1.0, 200.0))
        };
        let link = Link { loss: 0.1, ..GOOD };
        let mut scenario = world(12, within_us, link, &target);
        for host in &mut scenario.hosts {
            host.targets[0].max_lost = 10;
        }
        scenario.acts = stalls(6, 0.5, 0.25);
        let results = World::play(scenario).results;
        let (flow, counters) = results[0].counters.first_key_value().expect("a flow");
        assert!(counters.lost > 100, "{flow:?}: {counters:?}");
        assert_eq!(results[0].reopened, 0, "{flow:?}: {counters:?}");
    }
}
