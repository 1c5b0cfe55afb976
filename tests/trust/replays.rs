//! Somebody on the path has recorded what goes both ways under a key, and sends it again.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use latency_monitor::proto::wire::native::authenticated::{self, Direction};
use latency_monitor::proto::wire::native::decode_reply;
use latency_monitor::proto::{
    Arrival, Host, KeyRing, LifeEvent, Metric, Output, Prober, Protocol, SocketId, TargetSpec,
    Transmit,
};
use latency_monitor::{Config, TargetOptions};

use crate::{DELAY_NS, HOST, Reflector, STRANGER, Sender, at, key, sealed};

/// A flow under a key with one who has recorded what went both ways.
struct Keyed {
    reflector: Reflector,
    sender: Sender,
    next: u32,
    recorded: Vec<Vec<u8>>,
}

impl Keyed {
    fn new() -> Self {
        Self {
            reflector: Reflector::with(Self::keys()),
            sender: Sender::honest("a"),
            next: 0,
            recorded: Vec::new(),
        }
    }

    fn keys() -> KeyRing {
        let mut keys = KeyRing::default();
        keys.is_required = true;
        keys.add("7", key(7));
        keys
    }

    /// The honest one asks so often, every 10 ms. Returns the number of its session.
    fn ask(&mut self, count: u32) -> u32 {
        for _ in 0..count {
            let open = self.reflector.native_request(&self.sender, self.next);
            self.next = self.next.wrapping_add(1);
            let request = sealed(&open, &key(7));
            let answer = self.reflector.ask(self.sender.from, &request);
            self.sender.session = session_in(&answer.expect("answered"));
            self.recorded.push(request);
            self.reflector.wait_ms(10);
        }
        self.sender.session
    }

    /// Sends again what was recorded, from this address, and on a connection of its own. Each packet is answered at
    /// most, as a copy that the network made is.
    fn replay(&mut self, from: SocketAddr) {
        for request in &self.recorded {
            self.reflector.ask(from, request);
        }
        for two in self.recorded.windows(2) {
            self.reflector.ask_in_stream([&two[0], &two[1]]);
        }
    }

    /// The reflector is started again, and knows nothing of what was before.
    fn restart(&mut self) {
        let now_ns = self.reflector.now_ns;
        let samples = std::mem::take(&mut self.reflector.samples);
        self.reflector = Reflector::seeded(Self::keys(), 2);
        self.reflector.now_ns = now_ns;
        self.reflector.samples = samples;
    }

    /// All that was published is the honest one's and true. Returns how many delays.
    fn published(&self) -> usize {
        let all = self.reflector.samples.len();
        assert_eq!(self.reflector.published("source:a,target:b"), (all, 0));
        all
    }
}

fn session_in(answer: &[u8]) -> u32 {
    let mut scratch = Vec::new();
    let opened = authenticated::open(answer, Direction::Reply, &key(7), &mut scratch);
    let reply = decode_reply(opened.expect("authenticated").packet).unwrap();
    reply.ours.expect("one of ours answers").session
}

/// A flow is called otherwise, and what it sent before comes again: it does not bring the old name back.
#[test]
fn what_is_sent_again_gives_a_flow_no_name_that_it_had() {
    let mut flow = Keyed::new();
    flow.ask(50);
    flow.sender.name = "c";
    flow.ask(50);
    let published = |flow: &Keyed| {
        ["a", "c"].map(|name| flow.reflector.published(&format!("source:{name},target:b")))
    };
    let before = published(&flow);
    let [(old, 0), (new, 0)] = before else {
        panic!("all of them are true: {before:?}")
    };
    // The first is not known to be new; the last two wait for later ones. None is missing between the names.
    assert_eq!(old + new, 97);
    assert!((47..=50).contains(&old), "{old} under the old name");
    for from in [at(HOST, 4_000), at(STRANGER, 9)] {
        flow.replay(from);
        assert_eq!(published(&flow), before);
    }
    flow.ask(10);
    assert_eq!(published(&flow), [(old, 0), (new + 10, 0)]);
}

/// A key says who made a packet, not when. What was recorded comes again: at once and after hours, from the same
/// address and another one, and on a connection.
#[test]
fn what_is_sent_again_under_a_key_changes_nothing() {
    for (wait_ms, from) in [
        (0, at(HOST, 4_000)),
        (30_000, at(HOST, 4_000)),
        (0, at(STRANGER, 4_000)),
        (30_000, at(STRANGER, 9)),
    ] {
        let mut flow = Keyed::new();
        let number = flow.ask(50);
        let published = flow.published();
        // The first is not known to be new; the last two wait for later ones.
        assert_eq!(published, 47);
        flow.reflector.wait_ms(wait_ms);
        for _ in 0..2 {
            flow.replay(from);
            assert_eq!(
                flow.published(),
                published,
                "after {wait_ms} ms from {from}"
            );
        }
        // Who stays for long is published apart, but not with what he has recorded.
        for _ in 0..30 {
            flow.replay(from);
            flow.reflector.wait_ms(500);
        }
        assert_eq!(flow.published(), published);
        // The session goes on where it was.
        assert_eq!(flow.ask(50), number);
        assert_eq!(flow.published(), published + 50);
    }
}

/// After a restart the reflector does not know what it has received, nor that a name is somebody's. What was recorded
/// before became the newest delays of a host, hours long.
#[test]
fn what_is_sent_again_after_a_restart_changes_nothing() {
    for is_first in [true, false] {
        let mut flow = Keyed::new();
        let before = flow.ask(50);
        flow.reflector.wait_ms(3_600_000);
        let published = flow.published();
        flow.restart();
        if is_first {
            flow.replay(at(HOST, 4_000));
            flow.replay(at(STRANGER, 4_000));
            assert_eq!(flow.published(), published);
        }
        let recorded = flow.recorded.clone();
        assert_ne!(flow.ask(3), before, "another session");
        flow.recorded = recorded;
        flow.replay(at(HOST, 4_000));
        assert_eq!(flow.published(), published);
        flow.ask(50);
        // The first after the restart returns the number of the session before it.
        assert_eq!(flow.published(), published + 50);
        assert!(flow.reflector.prober.self_counters().refused > 0, "counted");
    }
}

/// At 1 ms numbers come round after 49 days, and what is half of that old looks like the future.
#[test]
fn what_is_sent_again_when_numbers_come_round_moves_no_window() {
    let mut flow = Keyed::new();
    flow.ask(20);
    let old = flow.recorded.clone();
    let published = flow.published();
    // Numbers were left out, and time has passed as if they had not been.
    for far in [1 << 30, 1 << 30] {
        flow.reflector.wait_ms(20_000);
        flow.next += far;
        flow.ask(20);
    }
    assert_eq!(flow.published(), published + 40);
    flow.reflector.wait_ms(1_000);
    flow.next += 20;
    flow.ask(20);
    let session = flow.sender.session;
    let reordered = flow.reflector.prober.self_counters().reordered;
    flow.reflector.ask(flow.sender.from, &old[10]);
    assert_eq!(
        flow.reflector.prober.self_counters().reordered,
        reordered + 1
    );
    assert_eq!(flow.ask(20), session);
    // Two in a row begin a window, which the honest one leaves at once.
    for request in &old[10..12] {
        flow.reflector.ask(flow.sender.from, request);
    }
    let published = flow.published();
    flow.ask(20);
    // All but the first, which returns the number of the window before, and the two that are pending.
    assert_eq!(flow.published(), published + 17);
}

/// A prober under a key, and the reflector that it probes; somebody has recorded what came back.
struct Probing {
    prober: Prober,
    reflector: Reflector,
    socket: Option<SocketId>,
    recorded: Vec<Vec<u8>>,
    values: Vec<i64>,
    restarts: u32,
}

impl Probing {
    const INTERVAL_MS: u64 = 100;

    fn new() -> Self {
        let defaults = Config::default().target(TargetOptions::new("192.0.2.2"));
        let spec = TargetSpec {
            host: Host::Address(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2))),
            udp_port: Some(8001),
            tcp_port: None,
            connect_port: None,
            interval_ns: Self::INTERVAL_MS * 1_000_000,
            protocol: Protocol::Native,
            key: Some(Arc::new(key(7))),
            ..defaults.expect("a right target")
        };
        let reflector = Reflector::with(Self::keys());
        let mut prober = Reflector::seeded(KeyRing::default(), 9).prober;
        prober.add_target(reflector.now(), spec).expect("room");
        Self {
            prober,
            reflector,
            socket: None,
            recorded: Vec::new(),
            values: Vec::new(),
            restarts: 0,
        }
    }

    fn keys() -> KeyRing {
        let mut keys = KeyRing::default();
        keys.is_required = true;
        keys.add("a", key(7));
        keys
    }

    fn hear(&mut self, answer: &[u8]) {
        let arrival = Arrival::unstamped(self.reflector.now());
        let socket = self.socket.expect("it is open");
        self.prober.handle_datagram(arrival, socket, answer);
        while let Some(output) = self.prober.poll_output() {
            match output {
                Output::Sample(sample) if sample.metric == Metric::UdpRtt => {
                    self.values.push(sample.value_ns);
                }
                Output::Life(life) => {
                    let is_restart = matches!(life.event, LifeEvent::PeerRestarted);
                    self.restarts += u32::from(is_restart);
                }
                _ => {}
            }
        }
    }

    fn replay(&mut self) {
        for answer in self.recorded.clone() {
            self.hear(&answer);
        }
    }

    /// So many probes, each answered after a millisecond. All that was recorded comes before each answer and after it.
    fn probe(&mut self, count: u64) {
        let mut left = count;
        while left > 0 {
            self.reflector.wait_ms(1);
            self.prober.handle_timeout(self.reflector.now());
            let mut request = Vec::new();
            while let Some(transmit) = self
                .prober
                .poll_transmit(self.reflector.now(), &mut request)
            {
                match transmit {
                    Transmit::Open { socket, .. } => self.socket = Some(socket),
                    Transmit::Datagram { .. } => {
                        let answer = self.reflector.ask(at(HOST, 4_000), &request);
                        let answer = answer.expect("answered");
                        self.reflector.wait_ms(1);
                        self.replay();
                        self.hear(&answer);
                        self.recorded.push(answer);
                        self.replay();
                        left -= 1;
                    }
                    _ => {}
                }
            }
        }
    }
}

/// A reply that was recorded has the number and the time of its own probe. After a restart of the reflector it also
/// told the prober of a session that had ended, with every copy.
#[test]
fn a_reply_that_comes_again_answers_no_later_probe() {
    let mut flow = Probing::new();
    flow.probe(20);
    flow.reflector = Reflector {
        now_ns: flow.reflector.now_ns,
        ..Reflector::seeded(Probing::keys(), 2)
    };
    flow.probe(20);
    assert_eq!(flow.values, [DELAY_NS; 40]);
    assert_eq!(flow.restarts, 1);
    let (_, _, counters) = flow.prober.flows().next().expect("its flow");
    assert_eq!(
        (counters.sent, counters.received, counters.lost),
        (40, 40, 0)
    );
    // Before the answer to probe n come n copies, and n + 1 behind it.
    // Of the oldest nothing is known any more.
    let copies = counters.duplicate + counters.corrupt;
    assert_eq!(copies, (0..40).map(|n| 2 * n + 1).sum::<u64>());
    assert_eq!((counters.lost_forward, counters.lost_reverse), (0, 0));
}
