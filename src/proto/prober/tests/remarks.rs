//! What a sender learns of code points that change on the way.

use super::*;
use crate::proto::marks::{Dscp, Marks};
use crate::proto::output::Seen;
use crate::proto::sample::Direction;

const EF: u8 = 46;

/// Two hosts, and a path that may change code points.
struct Path {
    near: Prober,
    far: Prober,
    /// What arrives instead of what was sent, if another: there, and back.
    forward: Option<u8>,
    reverse: Option<u8>,
    /// The code points that replies have left with.
    replied: Vec<u8>,
}

impl Path {
    fn new(protocol: Protocol, dscp: Option<u8>) -> Self {
        let mut near = prober("near");
        let marks = Marks {
            dscp: dscp.and_then(Dscp::new),
            ..Marks::default()
        };
        let spec = TargetSpec {
            protocol,
            marks: Arc::new(marks),
            ..spec()
        };
        near.add_target(at(0), spec).expect("room");
        Self {
            near,
            far: prober("far"),
            forward: None,
            reverse: None,
            replied: Vec::new(),
        }
    }

    /// Brings so many probes and their replies over the path. Returns what was seen.
    fn bring(&mut self, count: usize, dscp: u8) -> Vec<Seen> {
        let mut seen = Vec::new();
        for _ in 0..count {
            let (us, socket, request) = next_probe(&mut self.near);
            let headers = Headers {
                tos: Some(self.forward.unwrap_or(dscp) << 2),
                ..Headers::new(([192, 0, 2, 9], 40_000).into(), None, 8_001)
            };
            let there = at(us + 50);
            (self.far).handle_request(Arrival::unstamped(there), ListenerId(0), &headers, &request);
            let mut reply = Vec::new();
            let Some(Transmit::Reply { tos, .. }) = self.far.poll_transmit(there, &mut reply)
            else {
                panic!("it is answered");
            };
            self.replied.push(tos >> 2);
            let arrival = Arrival {
                tos: Some(self.reverse.map_or(tos, |dscp| dscp << 2)),
                ..Arrival::unstamped(at(us + 100))
            };
            self.near.handle_datagram(arrival, socket, &reply);
            while let Some(output) = self.near.poll_output() {
                if let Output::Dscp(one) = output {
                    seen.push(one);
                }
            }
        }
        seen
    }
}

/// The changes among what was seen: the direction, and what arrives from then on.
fn changes(seen: &[Seen]) -> Vec<(Direction, u8)> {
    let changes = seen.iter().filter(|seen| seen.has_changed);
    changes
        .map(|seen| (seen.direction, seen.arrived.number()))
        .collect()
}

#[test]
fn each_direction_is_told_by_itself_once_when_it_begins_and_once_when_it_ends() {
    let mut path = Path::new(Protocol::Native, Some(EF));
    let seen = path.bring(5, EF);
    assert_eq!((seen.len(), changes(&seen)), (10, vec![]));
    assert!(
        seen.iter()
            .all(|seen| seen.arrived == seen.sent && seen.sent.number() == EF)
    );
    // The way there bleaches. The reply leaves as it was asked to, so nothing is wrong on the way back.
    path.forward = Some(0);
    assert_eq!(changes(&path.bring(2, EF)), []);
    assert_eq!(changes(&path.bring(5, EF)), [(Direction::Forward, 0)]);
    assert!(
        path.replied.iter().all(|dscp| *dscp == EF),
        "{:?}",
        path.replied
    );
    path.reverse = Some(10);
    assert_eq!(changes(&path.bring(8, EF)), [(Direction::Reverse, 10)]);
    (path.forward, path.reverse) = (Some(8), None);
    let mut told = changes(&path.bring(20, EF));
    told.sort();
    assert_eq!(told, [(Direction::Forward, 8), (Direction::Reverse, EF)]);
    path.forward = None;
    assert_eq!(changes(&path.bring(20, EF)), [(Direction::Forward, EF)]);
}

#[test]
fn a_single_packet_that_went_another_way_is_no_change() {
    let mut path = Path::new(Protocol::Native, Some(EF));
    for _ in 0..20 {
        path.forward = Some(0);
        assert_eq!(changes(&path.bring(2, EF)), []);
        path.forward = None;
        assert_eq!(changes(&path.bring(1, EF)), []);
    }
}

#[test]
fn who_does_not_know_says_nothing() {
    for (protocol, dscp) in [(Protocol::Text, Some(EF)), (Protocol::Native, None)] {
        let mut path = Path::new(protocol, dscp);
        path.forward = Some(0);
        assert_eq!(path.bring(10, dscp.unwrap_or(0)), []);
        // What comes without asking for a class is answered with its own.
        assert!(path.replied.iter().all(|dscp| *dscp == 0));
    }
}
