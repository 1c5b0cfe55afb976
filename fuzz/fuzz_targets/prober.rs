//! The whole core on hostile inputs: two probers that talk to each other while packets, streams and stamps
//! are bent, lost, doubled and made up. Whatever comes, nothing panics, and every probe has one outcome.

#![no_main]

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::LazyLock;

use arbitrary::{Arbitrary, Unstructured};
use latency_monitor::proto::{
    Arrival, CloseReason, FlowKind, Headers, HopAnswer, Host, IcmpType, KeyRing, ListenerId, Mono,
    Now, Outcome, Output, PathOptions, Prober, ProberConfig, Protocol, SocketId, Stamp, StampKey,
    StampSource, TargetSpec, Transmit, Wall,
};
use latency_monitor::{Config, TargetOptions};
use libfuzzer_sys::fuzz_target;

/// Where the responder answers.
/// A target as it is by default. Each input starts from it.
static DEFAULTS: LazyLock<TargetSpec> = LazyLock::new(|| {
    let target = Config::default().target(TargetOptions::new("10.0.0.2"));
    target.expect("a right target")
});

const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const EPOCH_NS: i64 = 1_795_000_000_000_000_000;
const TIMEOUT_NS: u64 = 20_000_000;

/// What happens next.
#[derive(Debug, Arbitrary)]
enum Step {
    /// Time passes, in microseconds.
    Pass(u16),
    /// The oldest packet under way arrives, with bytes of it changed.
    Deliver { at: u16, xor: u8, stamped: bool },
    /// It is lost.
    Lose,
    /// It arrives, and stays under way.
    Copy,
    /// A packet of somebody's arrives.
    Forge { to_server: bool, bytes: Vec<u8> },
    /// The oldest transmit stamp comes, shifted by so many microseconds, or never does.
    Stamp { shift_us: i16, missing: bool },
    /// An ICMP error comes that quotes the last datagram of a trace, and more behind it; or only the latter.
    Hop {
        by: u8,
        icmp: [u8; 2],
        is_v6: bool,
        is_quoted: bool,
        bytes: Vec<u8>,
        at: u16,
    },
    /// A wall clock is set.
    Step { on_server: bool, ms: i32 },
    /// The client's connection breaks.
    Break,
    /// The responder forgets everything.
    Restart,
}

/// A packet under way.
struct Packet {
    to_server: bool,
    on_stream: bool,
    bytes: Vec<u8>,
}

struct World {
    now_ns: u64,
    wall_ns: [i64; 2],
    client: Prober,
    server: Prober,
    under_way: VecDeque<Packet>,
    /// Stamps to come, and whose they are.
    stamps: VecDeque<(bool, StampKey)>,
    udp: Option<SocketId>,
    stream: Option<SocketId>,
    accepted: Option<SocketId>,
    connecting: Vec<SocketId>,
    closed: Vec<SocketId>,
    /// The last datagram of a trace.
    hop: Vec<u8>,
    outcomes: u64,
}

fn prober(name: &str, seed: u64) -> Prober {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    Prober::new(ProberConfig {
        name: name.into(),
        udp_ports: vec![8001],
        accepted_max: 4,
        resolve_interval_ns: 60_000_000_000,
        seed: bytes,
        native: true,
        keys: KeyRing::default(),
    })
}

impl World {
    fn new(protocol: Protocol, seed: u8) -> Self {
        let mut world = Self {
            now_ns: 0,
            wall_ns: [EPOCH_NS; 2],
            client: prober("a", seed.into()),
            server: prober("b", u64::from(seed) + 1),
            under_way: VecDeque::new(),
            stamps: VecDeque::new(),
            udp: None,
            stream: None,
            accepted: None,
            connecting: Vec::new(),
            closed: Vec::new(),
            hop: Vec::new(),
            outcomes: 0,
        };
        let spec = TargetSpec {
            host: Host::Address(SERVER),
            label: "b".into(),
            tags: ["x:y".into()].into(),
            udp_port: Some(8001),
            tcp_port: Some(8000),
            connect_port: Some(8000),
            interval_ns: 1_000_000,
            timeout_ns: TIMEOUT_NS,
            max_lost: 4,
            protocol,
            owd_corrected: true,
            key: None,
            ..DEFAULTS.clone()
        };
        let options = PathOptions {
            interval_ns: 5_000_000,
            hops_max: 6,
            spacing_ns: 500_000,
            ..PathOptions::never()
        };
        world.client.trace_paths(world.now(false), options);
        world.client.add_target(world.now(false), spec);
        world
    }

    fn now(&self, on_server: bool) -> Now {
        let passed = i64::try_from(self.now_ns).expect("a run is short");
        Now {
            mono: Mono::from_nanos(self.now_ns),
            wall: Wall::from_unix_nanos(
                self.wall_ns[usize::from(on_server)].saturating_add(passed),
            ),
        }
    }

    fn arrival(&self, on_server: bool, stamped: bool) -> Arrival {
        let now = self.now(on_server);
        let stamp = stamped.then_some(Stamp {
            at: now.wall.plus(-700),
            source: StampSource::Kernel,
        });
        Arrival {
            now,
            stamp,
            tos: None,
        }
    }

    /// What both have to send goes under way.
    fn drain(&mut self) {
        for on_server in [false, true] {
            let mut bytes = Vec::new();
            loop {
                let now = self.now(on_server);
                let prober = if on_server {
                    &mut self.server
                } else {
                    &mut self.client
                };
                let Some(transmit) = prober.poll_transmit(now, &mut bytes) else {
                    break;
                };
                self.carry_out(on_server, &transmit, &bytes);
            }
        }
        while let Some(output) = self.client.poll_output() {
            if let Output::Sample(sample) = output
                && sample.seq < u64::from(u32::MAX)
            {
                self.outcomes += u64::from(sample.outcome == Outcome::Lost);
            }
        }
        while self.server.poll_output().is_some() {}
        for (_, _, counters) in self.client.flows() {
            // `in_flight` subtracts, so more outcomes than probes would show.
            assert!(counters.in_flight() <= counters.sent);
            assert!(counters.lost_forward + counters.lost_reverse <= counters.lost);
            assert!(counters.sent_native <= counters.sent);
            assert!(counters.settling <= counters.received);
        }
    }

    fn carry_out(&mut self, on_server: bool, transmit: &Transmit, bytes: &[u8]) {
        let packet = |on_stream| Packet {
            to_server: !on_server,
            on_stream,
            bytes: bytes.to_vec(),
        };
        let key = match *transmit {
            Transmit::Open { socket, kind, .. } => {
                match kind {
                    FlowKind::Udp => {
                        self.udp = Some(socket);
                        let local = SocketAddr::new(CLIENT, 40_000);
                        self.client.handle_opened(socket, local);
                    }
                    FlowKind::Tcp | FlowKind::Connect => self.connecting.push(socket),
                }
                return;
            }
            Transmit::Datagram { key, .. } | Transmit::Reply { key, .. } => {
                self.under_way.push_back(packet(false));
                key
            }
            Transmit::Hop { key, .. } => {
                self.hop = bytes.to_vec();
                self.under_way.push_back(packet(false));
                key
            }
            Transmit::Stream { key, .. } => {
                self.under_way.push_back(packet(true));
                key
            }
            Transmit::Close { socket } => {
                self.closed.push(socket);
                self.connecting.retain(|other| *other != socket);
                if self.accepted.is_some_and(|own| on_server && own == socket) {
                    self.accepted = None;
                }
                return;
            }
            Transmit::Resolve { .. } => return,
        };
        self.stamps.extend(key.map(|key| (on_server, key)));
        // As the engine has it: what waits too long is given up.
        if self.stamps.len() > 64 {
            self.stamps.pop_front();
        }
    }

    fn deliver(&mut self, packet: &Packet, stamped: bool) {
        let arrival = self.arrival(packet.to_server, stamped);
        let from = SocketAddr::new(CLIENT, 40_000);
        match (packet.to_server, packet.on_stream) {
            (true, false) => self.server.handle_request(
                arrival,
                ListenerId(0),
                &Headers::new(from, Some(SERVER), 8001),
                &packet.bytes,
            ),
            (false, false) => {
                if let Some(socket) = self.udp {
                    self.client.handle_datagram(arrival, socket, &packet.bytes);
                }
            }
            (true, true) => {
                if let Some(socket) = self.accepted {
                    self.server.handle_stream(arrival, socket, &packet.bytes);
                }
            }
            (false, true) => {
                if let Some(socket) = self.stream {
                    self.client.handle_stream(arrival, socket, &packet.bytes);
                }
            }
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Pass(us) => {
                self.now_ns += u64::from(us) * 1_000;
                self.client.handle_timeout(self.now(false));
                self.server.handle_timeout(self.now(true));
                for socket in std::mem::take(&mut self.connecting) {
                    self.stream = Some(socket);
                    self.accepted = self.server.handle_accept(self.now(true));
                    self.client
                        .handle_connected(self.now(false), socket, Some(900));
                }
            }
            Step::Deliver { at, xor, stamped } => {
                if let Some(mut packet) = self.under_way.pop_front() {
                    let length = packet.bytes.len().max(1);
                    if let Some(byte) = packet.bytes.get_mut(usize::from(at) % length) {
                        *byte ^= xor;
                    }
                    self.deliver(&packet, stamped);
                }
            }
            Step::Lose => drop(self.under_way.pop_front()),
            Step::Copy => {
                if let Some(packet) = self.under_way.pop_front() {
                    self.deliver(&packet, true);
                    self.under_way.push_front(packet);
                }
            }
            Step::Forge { to_server, bytes } => {
                for on_stream in [false, true] {
                    let packet = Packet {
                        to_server,
                        on_stream,
                        bytes: bytes.clone(),
                    };
                    self.deliver(&packet, true);
                }
            }
            Step::Hop {
                by,
                icmp: [kind, code],
                is_v6,
                is_quoted,
                bytes,
                at,
            } => {
                let mut quote = if is_quoted {
                    self.hop.clone()
                } else {
                    Vec::new()
                };
                quote.extend(bytes);
                let answer = HopAnswer {
                    by: Some(Ipv4Addr::new(10, 9, 0, by).into()),
                    icmp: IcmpType { is_v6, kind, code },
                    quote: &quote,
                    extension_at: at.into(),
                };
                let arrival = self.arrival(false, true);
                if let Some(socket) = self.udp {
                    self.client.handle_hop(arrival, socket, &answer);
                }
            }
            Step::Stamp { shift_us, missing } => {
                let Some((on_server, key)) = self.stamps.pop_front() else {
                    return;
                };
                let at = self.now(on_server).wall.plus(i64::from(shift_us) * 1_000);
                let prober = if on_server {
                    &mut self.server
                } else {
                    &mut self.client
                };
                if missing {
                    prober.handle_stamp_missing(key);
                } else {
                    let source = StampSource::Kernel;
                    prober.handle_stamp(key, Stamp { at, source });
                }
            }
            Step::Step { on_server, ms } => {
                let step_ns = i64::from(ms) * 1_000_000;
                let own = &mut self.wall_ns[usize::from(on_server)];
                *own = own.saturating_add(step_ns);
                let now = self.now(on_server);
                let prober = if on_server {
                    &mut self.server
                } else {
                    &mut self.client
                };
                prober.handle_clock_step(now, step_ns);
            }
            Step::Break => {
                let (now, peer) = (self.now(false), self.now(true));
                if let Some(socket) = self.stream.take() {
                    self.client.handle_closed(now, socket, CloseReason::Reset);
                }
                if let Some(socket) = self.accepted.take() {
                    self.server.handle_closed(peer, socket, CloseReason::Reset);
                }
            }
            Step::Restart => {
                self.server = prober("b", self.now_ns + 7);
                self.accepted = None;
                self.stamps.retain(|(on_server, _)| !on_server);
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Unstructured::new(data);
    let protocol = match input.int_in_range(0..=3_u8) {
        Ok(0) => Protocol::Text,
        Ok(1) => Protocol::Native,
        Ok(3) => Protocol::Stamp,
        _ => Protocol::Auto,
    };
    let mut world = World::new(protocol, 1);
    world.drain();
    while let Ok(step) = input.arbitrary::<Step>() {
        world.run(step);
        world.drain();
        if input.is_empty() {
            break;
        }
    }
    world.client.handle_end();
    world.server.handle_end();
    world.drain();
    for (_, _, counters) in world.client.flows() {
        assert_eq!(counters.settling, 0);
    }
});
