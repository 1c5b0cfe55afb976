//! What is believed of answers, and what counts as another path. How traces go on is shown in the simulation.

use std::net::Ipv4Addr;

use super::*;
use crate::proto::sample::StampSource;
use crate::proto::time::Wall;
use crate::proto::transmit::TargetId;

const EXCEEDED: IcmpType = IcmpType {
    is_v6: false,
    kind: 11,
    code: 0,
};
const REFUSED: IcmpType = IcmpType {
    is_v6: false,
    kind: 3,
    code: 3,
};

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

fn at(ms: u64) -> Now {
    Now {
        mono: Mono::from_nanos(1_000_000_000 + ms * 1_000_000),
        wall: Wall::from_unix_nanos(1_700_000_000_000_000_000 + ms.cast_signed() * 1_000_000),
    }
}

fn flow() -> FlowRef {
    FlowRef {
        slot: 0,
        index: 0,
        target: TargetId(1),
    }
}

fn tuple() -> Tuple {
    Tuple {
        socket: SocketId {
            index: 3,
            generation: 1,
        },
        source_port: 40_000,
        remote: SocketAddr::new(address(9), 8001),
    }
}

/// A tracer with a trace of the only flow, whose first datagram has left.
fn under_way(is_quiet: bool, tracked: &mut Tracked) -> (Tracer, Vec<u8>) {
    let mut tracer = Tracer::new([3; 32]);
    let subject = Subject {
        flow: flow(),
        origin: Origin(0),
        tuple: tuple(),
        routers: None,
        is_quiet,
        replies: 0,
    };
    assert!(tracer.want(flow(), Why::Asked, tracked, at(0).mono));
    assert!(
        !tracer.want(flow(), Why::Asked, tracked, at(0).mono),
        "once"
    );
    let (wanted, why) = tracer.next_wanted(at(0).mono).expect("it waits");
    tracer.begin(wanted, why, Some(subject), tracked, at(0).mono);
    assert!(tracer.is_due(at(0).mono));
    let mut sent = Vec::new();
    assert!(tracer.next_due(at(0).mono).is_some());
    assert!(tracer.send(at(0), 0, tracked, &mut sent).is_some());
    (tracer, sent)
}

fn answer(by: u8, icmp: IcmpType, quote: &[u8]) -> HopAnswer<'_> {
    HopAnswer {
        by: Some(address(by)),
        icmp,
        quote,
        extension_at: 0,
    }
}

fn arrival(ms: u64) -> Arrival {
    Arrival::unstamped(at(ms))
}

/// Whether an answer is taken, and who stands at the first hop after it.
fn judge(
    is_quiet: bool,
    ms: u64,
    by: u8,
    icmp: IcmpType,
    quote: impl Fn(&[u8]) -> Vec<u8>,
) -> (Taken, Option<IpAddr>) {
    let mut tracked = Tracked::default();
    let (mut tracer, sent) = under_way(is_quiet, &mut tracked);
    let quoted = quote(&sent);
    let answer = answer(by, icmp, &quoted);
    let taken = tracer.handle_icmp(arrival(ms), 0, tuple().socket, &answer, &tracked);
    let hop = tracer.traces[0].hop(1);
    (taken, hop.and_then(|hop| hop.address))
}

#[test]
fn what_quotes_the_datagram_is_believed_as_far_as_it_does() {
    type Quote = fn(&[u8]) -> Vec<u8>;
    let wholes: [Quote; 4] = [
        <[u8]>::to_vec,
        |sent| sent[..7].to_vec(),
        |sent| [sent, &[0; 88]].concat(),
        |_| Vec::new(),
    ];
    for whole in wholes {
        let judged = judge(false, 5, 1, EXCEEDED, whole);
        assert_eq!(judged, (Taken::Answer, Some(address(1))));
    }
    let judged = judge(false, 5, 9, REFUSED, <[u8]>::to_vec);
    assert_eq!(judged, (Taken::Answer, Some(address(9))));
}

#[test]
fn a_stranger_who_guesses_the_ports_is_not_believed() {
    // He has seen another trace, and knows how the datagrams begin.
    let guess = |sent: &[u8]| {
        let mut guess = sent.to_vec();
        guess[11] ^= 0x40;
        guess
    };
    assert_eq!(judge(false, 5, 66, EXCEEDED, guess), (Taken::Answer, None));
    assert_eq!(judge(false, 5, 66, REFUSED, guess), (Taken::Answer, None));
    // Of a probe it is none of ours: the flow counts it as it ever does.
    let probe = |_: &[u8]| b"17|a|1768219134587069267||".to_vec();
    for is_quiet in [false, true] {
        let judged = judge(is_quiet, 5, 66, EXCEEDED, probe);
        assert_eq!(judged, (Taken::Other, None));
    }
    // What quotes nothing is about the datagram under way, or about none.
    assert_eq!(
        judge(false, 1_500, 66, EXCEEDED, |_| Vec::new()),
        (Taken::Answer, None)
    );
    assert_eq!(
        judge(false, 20_000, 66, EXCEEDED, |_| Vec::new()),
        (Taken::Other, None)
    );
    assert_eq!(
        judge(false, 5, 66, REFUSED, |_| Vec::new()),
        (Taken::Other, None)
    );
}

#[test]
fn an_empty_datagram_is_known_by_its_time_alone() {
    let judged = judge(true, 5, 1, EXCEEDED, <[u8]>::to_vec);
    assert_eq!(judged, (Taken::Answer, Some(address(1))));
    let filled_up = judge(true, 5, 1, EXCEEDED, |_| vec![0; 100]);
    assert_eq!(filled_up, (Taken::Answer, Some(address(1))));
    assert_eq!(
        judge(true, 5, 9, REFUSED, <[u8]>::to_vec),
        (Taken::Other, None)
    );
}

#[test]
fn another_socket_has_no_part_in_it() {
    let mut tracked = Tracked::default();
    let (mut tracer, sent) = under_way(false, &mut tracked);
    let other = SocketId {
        index: 4,
        generation: 1,
    };
    let quoted = answer(1, EXCEEDED, &sent);
    let taken = tracer.handle_icmp(arrival(5), 0, other, &quoted, &Tracked::default());
    assert_eq!(taken, Taken::Other);
    assert!(tracer.traces[0].hop(1).is_none());
}

#[test]
fn a_service_that_returns_what_it_gets_is_the_end() {
    is_the_end(<[u8]>::to_vec);
}

#[test]
fn a_reflector_that_answers_what_is_no_request_is_the_end() {
    is_the_end(|sent| [&[0; 24], sent, &[0; 8]].concat());
}

/// What a host answers to a datagram shows that it is there.
fn is_the_end(answer: impl Fn(&[u8]) -> Vec<u8>) {
    let mut tracked = Tracked::default();
    let (mut tracer, sent) = under_way(false, &mut tracked);
    let socket = tuple().socket;
    let other = answer(b"hops00000000");
    assert_eq!(
        tracer.handle_echo(arrival(1), 0, socket, &other),
        Taken::Other
    );
    assert_eq!(
        tracer.handle_echo(arrival(1), 0, socket, &answer(&sent)),
        Taken::Answer
    );
    let mut turn = tracer.turn(at(1).mono);
    let ended = turn.ended().next().expect("it has ended");
    let seen = Seen {
        replies: 0,
        routers: None,
        last: None,
    };
    let path = ended.finish(&mut tracked, &seen);
    assert!(path.is_reached && path.hops.len() == 1);
    assert_eq!(path.hops[0].rtt_ns, Some(1_000_000));
    assert_eq!(path.hops[0].stamp, Some(StampSource::User));
}

fn path(hops: &[Option<u8>], is_reached: bool) -> Path {
    let hop = |(ttl, last): (u8, &Option<u8>)| Hop {
        ttl,
        address: last.map(address),
        rtt_ns: None,
        stamp: None,
        icmp: None,
        labels: Box::default(),
    };
    Path {
        origin: Origin(0),
        at: Wall::default(),
        why: Why::Interval,
        source_port: 40_000,
        remote: SocketAddr::new(address(9), 8001),
        hops: (1..).zip(hops).map(hop).collect(),
        is_reached,
        before: None,
    }
}

#[test]
fn another_path_is_told_against_the_last_whole_one() {
    let mut tracked = Tracked::default();
    let learn = |tracked: &mut Tracked, hops: &[Option<u8>], is_reached| {
        let before = tracked.learn(&path(hops, is_reached));
        before.map(|before| before.to_vec())
    };
    let whole = [Some(1), Some(2), Some(9)];
    assert_eq!(learn(&mut tracked, &[Some(1)], false), None);
    assert_eq!(learn(&mut tracked, &whole, true), None);
    // Silent hops are like any, and a path that is cut is no other one.
    assert_eq!(learn(&mut tracked, &[Some(1), None, Some(9)], true), None);
    assert_eq!(learn(&mut tracked, &[None], false), None);
    let known = whole.map(|last| last.map(address)).to_vec();
    assert_eq!(
        learn(&mut tracked, &[Some(1), Some(3), Some(9)], true),
        Some(known)
    );
    assert_eq!(
        learn(&mut tracked, &[Some(1), Some(3), Some(9)], true),
        None
    );
    // One that is longer is another one.
    let longer = [Some(1), None, Some(4), Some(9)];
    assert!(learn(&mut tracked, &longer, true).is_some());
    assert_eq!(learn(&mut tracked, &longer, true), None);
    // It led elsewhere, and then nowhere; told once.
    assert!(learn(&mut tracked, &[Some(7)], false).is_some());
    assert_eq!(learn(&mut tracked, &[Some(7)], false), None);
    // Another 5-tuple has a path of its own.
    let mut other = path(&[Some(5), Some(6), Some(9)], true);
    other.source_port += 1;
    assert_eq!(tracked.learn(&other), None);
}

#[test]
fn events_call_for_a_trace_if_they_are_chosen_and_once_a_minute() {
    let mut tracer = Tracer::new([3; 32]);
    let mut tracked = Tracked::default();
    let mut want = |tracer: &mut Tracer, why, seconds: u64| {
        let wants = tracer.want(flow(), why, &mut tracked, at(seconds * 1_000).mono);
        tracer.wanted.clear();
        wants
    };
    assert!(!want(&mut tracer, Why::Burst, 0), "nothing is chosen");
    tracer.options.on = vec![Why::Burst, Why::Outage];
    assert!(want(&mut tracer, Why::Burst, 0));
    assert!(want(&mut tracer, Why::Outage, 1), "each has its minute");
    assert!(!want(&mut tracer, Why::Burst, 59));
    assert!(!want(&mut tracer, Why::Reopen, 59));
    assert!(want(&mut tracer, Why::Burst, 60));
    // The queue is bounded.
    for slot in 0..u32::try_from(TRACES_WANTED_MAX).expect("a few") {
        tracer
            .wanted
            .push_back((FlowRef { slot, ..flow() }, Why::Burst));
    }
    let mut other = Tracked::default();
    let last = FlowRef {
        slot: 999,
        ..flow()
    };
    assert!(!tracer.want(last, Why::Outage, &mut other, at(0).mono));
}
