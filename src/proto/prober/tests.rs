//! Late reads: what arrived in time is received, however late it is read.

mod limited;
mod pools;
mod remarks;

use super::*;
use crate::proto::sample::StampSource;
use crate::proto::target::{Family, Host, Protocol, Reopen, StampOptions};
use crate::proto::time::Wall;

const TIMEOUT_US: u64 = 100_000;

fn at(us: u64) -> Now {
    Now {
        mono: Mono::from_nanos(us * 1_000),
        wall: Wall::from_unix_nanos(1_800_000_000_000_000_000 + us.cast_signed() * 1_000),
    }
}

fn prober(name: &str) -> Prober {
    Prober::new(ProberConfig {
        name: name.into(),
        udp_ports: vec![8_001],
        accepted_max: 1,
        resolve_interval_ns: 60_000_000_000,
        seed: [7; 32],
        native: true,
        keys: KeyRing::default(),
    })
}

fn spec() -> TargetSpec {
    TargetSpec {
        host: Host::Address([192, 0, 2, 1].into()),
        family: Family::Any,
        every_address: false,
        label: "far".into(),
        tags: Box::default(),
        udp_port: Some(8_001),
        tcp_port: None,
        connect_port: None,
        interval_ns: 1_000_000_000,
        timeout_ns: TIMEOUT_US * 1_000,
        size: None,
        max_lost: 10,
        flows: 1,
        per_flow: false,
        reopen: Reopen::Auto,
        rtt: true,
        protocol: Protocol::Text,
        stamp: StampOptions::default(),
        owd_corrected: false,
        visit: None,
        key: None,
        marks: Arc::default(),
    }
}

/// A prober with one probe in flight.
struct Sent {
    prober: Prober,
    target: TargetId,
    socket: SocketId,
    /// When it left, in microseconds.
    us: u64,
    reply: Vec<u8>,
}

impl Sent {
    fn new() -> Self {
        let mut prober = prober("near");
        let target = prober.add_target(at(0), spec()).expect("room");
        let (us, socket, request) = next_probe(&mut prober);
        Self {
            prober,
            target,
            socket,
            us,
            reply: reply_to(&request, at(us + 50)),
        }
    }

    fn after(&self, us: u64) -> Now {
        at(self.us + us)
    }

    /// Reads the reply so long after the probe left; the kernel saw it earlier.
    fn read(&mut self, us: u64, arrived_us: u64) {
        let stamp = Stamp {
            at: self.after(arrived_us).wall,
            source: StampSource::Kernel,
        };
        let arrival = Arrival {
            now: self.after(us),
            stamp: Some(stamp),
            tos: None,
        };
        (self.prober).handle_datagram(arrival, self.socket, &self.reply);
    }

    fn turn(&mut self, us: u64) {
        self.prober.handle_timeout(self.after(us));
    }

    fn catch_up(&mut self, us: u64) {
        self.prober.handle_caught_up(self.after(us).mono);
    }

    /// Received, lost and late.
    fn counts(&self) -> [u64; 3] {
        let (_, _, counters) = self.prober.flows().next().expect("a flow");
        [counters.received, counters.lost, counters.late]
    }
}

/// Has the next probe leave. Gives when, over what, and its bytes.
fn next_probe(prober: &mut Prober) -> (u64, SocketId, Vec<u8>) {
    let mut payload = Vec::new();
    loop {
        let due = prober.poll_timeout().expect("a slot comes");
        let now = at(due.as_nanos().div_ceil(1_000));
        prober.handle_timeout(now);
        while let Some(transmit) = prober.poll_transmit(now, &mut payload) {
            if let Transmit::Datagram { socket, .. } = transmit {
                return (now.mono.as_nanos() / 1_000, socket, payload);
            }
        }
    }
}

fn reply_to(request: &[u8], now: Now) -> Vec<u8> {
    let mut far = prober("far");
    let headers = Headers::new(([192, 0, 2, 9], 40_000).into(), None, 8_001);
    far.handle_request(Arrival::unstamped(now), ListenerId(0), &headers, request);
    let mut payload = Vec::new();
    let transmit = far.poll_transmit(now, &mut payload);
    assert!(matches!(transmit, Some(Transmit::Reply { .. })));
    payload
}

#[test]
fn a_reply_that_arrived_in_time_is_received_however_late_it_is_read() {
    // Before its probe has had its time, and after.
    for (read_us, arrived_us) in [(90_000, 80), (101_500, 80), (101_500, 99_999)] {
        let mut sent = Sent::new();
        sent.catch_up(70);
        if read_us > TIMEOUT_US {
            sent.turn(TIMEOUT_US + 1_000);
            assert!(sent.prober.awaits_arrivals());
        }
        sent.read(read_us, arrived_us);
        sent.catch_up(read_us);
        sent.turn(read_us);
        assert!(!sent.prober.awaits_arrivals());
        assert_eq!(sent.counts(), [1, 0, 0], "{read_us} {arrived_us}");
    }
}

#[test]
fn a_reply_that_arrived_after_the_timeout_is_late() {
    for arrived_us in [100_000, 100_001, 101_400] {
        let mut sent = Sent::new();
        sent.catch_up(70);
        sent.turn(TIMEOUT_US);
        sent.read(101_500, arrived_us);
        assert_eq!(sent.counts(), [0, 1, 1], "{arrived_us}");
        sent.catch_up(101_500);
        sent.turn(101_500);
        assert_eq!(sent.counts(), [0, 1, 1], "{arrived_us}");
        assert!(!sent.prober.awaits_arrivals());
    }
}

#[test]
fn a_probe_is_lost_once_all_is_read_that_came_by_its_timeout() {
    let mut sent = Sent::new();
    sent.catch_up(99_999);
    for turn_us in [TIMEOUT_US, TIMEOUT_US + 700] {
        sent.turn(turn_us);
        assert_eq!(sent.counts(), [0, 0, 0]);
        assert!(sent.prober.awaits_arrivals());
        let now = sent.after(turn_us).mono;
        assert_eq!(sent.prober.poll_timeout(), Some(now), "at once");
    }
    sent.catch_up(TIMEOUT_US);
    sent.turn(TIMEOUT_US + 800);
    assert_eq!(sent.counts(), [0, 1, 0]);
    assert!(!sent.prober.awaits_arrivals());
}

#[test]
fn probes_that_are_put_off_are_lost_once_all_is_read_that_had_come_by_then() {
    let mut prober = prober("near");
    // All leave within an interval, the first of them no longer ago than its timeout.
    let timeout_us = 1_000_000;
    for _ in 0..5 {
        let timeout_ns = timeout_us * 1_000;
        let spec = TargetSpec {
            timeout_ns,
            ..spec()
        };
        prober.add_target(at(0), spec).expect("room");
    }
    let sent: Vec<u64> = (0..5).map(|_| next_probe(&mut prober).0).collect();
    let lost = |prober: &Prober| prober.flows().map(|flow| flow.2.lost).sum::<u64>();
    prober.handle_caught_up(Mono::ZERO);
    let last = sent[4] + timeout_us;
    prober.handle_timeout(at(last));
    // A loss may close a socket, and replies to other probes may lie there unread.
    for sent_us in &sent[..4] {
        prober.handle_caught_up(at(sent_us + timeout_us).mono);
        prober.handle_timeout(at(last));
        assert_eq!(lost(&prober), 0);
        assert!(prober.awaits_arrivals());
    }
    prober.handle_caught_up(at(last).mono);
    prober.handle_timeout(at(last + 1));
    assert_eq!(lost(&prober), 5);
    assert!(!prober.awaits_arrivals());
}

#[test]
fn a_flow_may_end_while_its_probe_is_put_off() {
    let mut sent = Sent::new();
    sent.catch_up(0);
    sent.turn(TIMEOUT_US);
    assert!(sent.prober.awaits_arrivals());
    assert!(sent.prober.remove_target(sent.target));
    assert!(!sent.prober.awaits_arrivals(), "nobody waits any more");
    // Another one takes its place, and its probe has its whole time.
    sent.prober
        .add_target(sent.after(TIMEOUT_US), spec())
        .expect("room");
    (sent.us, sent.socket, _) = next_probe(&mut sent.prober);
    sent.catch_up(0);
    sent.turn(TIMEOUT_US - 1);
    assert_eq!(sent.counts(), [0, 0, 0]);
    assert!(!sent.prober.awaits_arrivals());
    sent.turn(TIMEOUT_US);
    assert!(sent.prober.awaits_arrivals());
    sent.catch_up(TIMEOUT_US);
    sent.turn(TIMEOUT_US);
    assert_eq!(sent.counts(), [0, 1, 0]);
}

#[test]
fn what_an_engine_says_nothing_of_is_read_by_then() {
    let mut sent = Sent::new();
    sent.turn(TIMEOUT_US - 1);
    assert_eq!(sent.counts(), [0, 0, 0]);
    sent.turn(TIMEOUT_US);
    assert_eq!(sent.counts(), [0, 1, 0]);
    assert!(!sent.prober.awaits_arrivals());
    sent.read(TIMEOUT_US + 10, TIMEOUT_US + 5);
    assert_eq!(sent.counts(), [0, 1, 1]);
}
