//! One of several flows departs from the others: what its events say of the hosts, and what they ask for.

use super::*;
use crate::proto::{
    Direction, FlowNumber, Held, HeldBy, Member, PeerHeld, Stamp, TargetId, Trace, Why,
};
use crate::record::{Departure, Divergence};

const FLOWS: u16 = 4;
const BAD: u16 = 2;
const INTERVAL_NS: i64 = 10_000_000;
const SECOND: i64 = 1_000_000_000;

/// What the hosts show in each second of the departure.
#[derive(Clone, Copy, Default)]
struct Hosts {
    kept_ns: u64,
    peer_kept_ns: u64,
    drops: u64,
}

fn wall(ns: i64) -> Wall {
    second(0).wall.plus(ns)
}

/// A probe of a flow; it is lost if nothing says how long each way took.
fn trace(number: u16, seq: u64, at: i64, way_ns: Option<i64>) -> Output {
    let stamp = |ns| Stamp {
        at: wall(at + ns),
        source: StampSource::Kernel,
    };
    let stamps = way_ns.map(|ns| [ns, ns, 2 * ns].map(stamp));
    let [received, sent, back] = stamps.map_or([None; 3], |stamps| stamps.map(Some));
    Output::Trace(Trace {
        origin: Origin(number.into()),
        kind: FlowKind::Udp,
        seq,
        stamps: [Some(stamp(0)), received, sent, back],
        outcome: way_ns.map_or(Outcome::Lost, |_| Outcome::Received),
        lost_on: way_ns.is_none().then_some(Direction::Forward),
    })
}

/// Lets one of the flows lose a quarter, or take 3 ms more, from the second second on until the twentieth. Returns
/// what is told, and how many flows' paths are asked for.
fn depart(what: Divergence, hosts: Hosts) -> (Vec<Departure>, Vec<(Origin, Why)>) {
    let mut rig = Rig::new(Mode::Windows);
    rig.recorder.watch_host();
    for number in 1..=FLOWS {
        rig.take([
            opened(number.into(), "b"),
            Output::Member(Box::new(Member {
                origin: Origin(number.into()),
                target: TargetId(1),
                kind: Some(FlowKind::Udp),
                number: FlowNumber { number, of: FLOWS },
                total: None,
            })),
        ]);
    }
    let (mut told, mut asked) = (Vec::new(), Vec::new());
    let mut drops = 0;
    for seq in 0..30 * SECOND / INTERVAL_NS {
        let at = seq * INTERVAL_NS;
        let is_bad = (2 * SECOND..20 * SECOND).contains(&at);
        for number in 1..=FLOWS {
            let way_ns = match what {
                _ if !is_bad || number != BAD => Some(1_000_000),
                Divergence::Loss => (seq % 4 != 0).then_some(1_000_000),
                Divergence::Delay => Some(4_000_000),
            };
            rig.take([trace(number, seq.unsigned_abs(), at, way_ns)]);
        }
        if at % (SECOND / 10) == 0 {
            let part = |of: u64| if is_bad { of / 10 } else { 0 };
            drops += part(hosts.drops);
            rig.take([
                Output::Held(Held {
                    by: HeldBy::Host,
                    until: wall(at),
                    ns: part(hosts.kept_ns),
                }),
                Output::PeerHeld(PeerHeld {
                    origin: Origin(BAD.into()),
                    from: wall(at - SECOND / 10),
                    until: wall(at),
                    kept_ns: part(hosts.peer_kept_ns),
                    steal_ns: None,
                }),
            ]);
            let reading = HostReading {
                steal_ns: None,
                drops: Some(drops),
            };
            rig.recorder.handle_host(wall(at), reading);
        }
        asked.extend(std::iter::from_fn(|| rig.recorder.poll_trace()));
        told.extend(rig.drain().into_iter().filter_map(|record| {
            let Record::Event(event) = record else {
                return None;
            };
            let EventKind::PathDivergence(departure) = event.kind else {
                return None;
            };
            assert_eq!(event.flow.map(|flow| flow.number), Some(BAD));
            Some(departure)
        }));
    }
    (told, asked)
}

#[test]
fn whom_a_departure_suspects_is_said_at_its_beginning_and_its_end() {
    let cases = [
        (Hosts::default(), Suspect::Network),
        // Pauses of all flows explain none that departs.
        (
            Hosts {
                kept_ns: 300_000_000,
                peer_kept_ns: 300_000_000,
                drops: 2,
            },
            Suspect::Network,
        ),
        (
            Hosts {
                kept_ns: 800_000_000,
                peer_kept_ns: 600_000_000,
                drops: 0,
            },
            Suspect::Local,
        ),
        // What is kept of the peer is less than the time of the departure.
        (
            Hosts {
                peer_kept_ns: 900_000_000,
                ..Hosts::default()
            },
            Suspect::Peer,
        ),
    ];
    for what in [Divergence::Loss, Divergence::Delay] {
        for (hosts, suspect) in cases {
            let (told, _) = depart(what, hosts);
            assert!(told.len() >= 2, "{what:?}: {told:?}");
            for departure in &told {
                assert_eq!(departure.what, what);
                assert_eq!(departure.suspect, Some(suspect), "{departure:?}");
                let kept_ns = departure
                    .evidence
                    .local
                    .kept_waiting_ns
                    .expect("it is known");
                let most_ns = (departure.noticed_ns + 200_000_000) / 1_000_000_000 * hosts.kept_ns
                    + hosts.kept_ns;
                assert!(kept_ns <= most_ns, "{departure:?}");
            }
            let ended = told.iter().filter(|it| it.duration_ns.is_some());
            assert_eq!(ended.count(), told.len() / 2, "each ends: {told:?}");
        }
    }
}

#[test]
fn packets_that_this_host_dropped_are_its_own_losses() {
    let drops = Hosts {
        drops: 30,
        ..Hosts::default()
    };
    let (told, _) = depart(Divergence::Loss, drops);
    assert!(!told.is_empty());
    assert!(
        told.iter().all(|it| it.suspect == Some(Suspect::Local)),
        "{told:?}"
    );
    // They make nothing late.
    let (told, _) = depart(Divergence::Delay, drops);
    assert!(!told.is_empty());
    assert!(
        told.iter().all(|it| it.suspect == Some(Suspect::Network)),
        "{told:?}"
    );
}

#[test]
fn a_departure_that_begins_asks_for_the_flows_path_and_its_end_for_none() {
    let (told, asked) = depart(Divergence::Loss, Hosts::default());
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(asked, [(Origin(BAD.into()), Why::Divergence)]);
}
