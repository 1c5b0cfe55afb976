//! A probe's way through two hosts in virtual time, without a socket: cores, recorders, rings and flush
//! threads' ends are the daemon's, the wire between them is a queue.
//!
//! Each step is one turn of a poll thread that finds one thing to do: what is due or what has come. A
//! daemon with many targets does more in a turn, so a probe there costs somewhat less than here.
//!
//! The functions that must not be inlined are those that the instruction bench counts by.

mod end;
mod wire;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};

use latency_monitor::proto::{
    Arrival, FlowKind, Host, ListenerId, Mono, Now, Protocol, Stamp, StampSource, TargetSpec,
    Transmit, Wall,
};
use latency_monitor::{Config, TargetOptions};

use end::{End, record, record_turn};
use wire::{Packet, UDP_PORT, Wire};

/// A wake-up is so late, and a packet is seen so long after the kernel has stamped it.
const HOST_NS: u64 = 3_000;

/// From the call that sends to the kernel's stamp.
const SEND_NS: i64 = 2_000;

/// Unix time at the beginning.
const EPOCH_NS: i64 = 1_768_219_134_000_000_000;

/// Labels that the reflector sees: less than it has room for. Beyond that a few flows share each.
const LABELS: u32 = 4_000;

/// What all flows speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flows {
    /// STAMP over UDP.
    NativeUdp,
    /// The text wire over UDP.
    TextUdp,
    /// STAMP behind lengths over connections that last.
    NativeTcp,
}

/// Both hosts and what is between them.
#[derive(Debug)]
pub(crate) struct Path {
    now_ns: u64,
    near: End,
    far: End,
    wire: Wire,
    /// Replies that have reached the prober.
    back: u64,
}

impl Path {
    /// One host that probes another one under many addresses, once each interval.
    pub(crate) fn new(flows: Flows, targets: u32, interval_ns: u64) -> Self {
        let (near, far) = (
            End::new("host-a", clock(0, false)),
            End::new("host-b", clock(0, true)),
        );
        let mut path = Self {
            now_ns: 0,
            near,
            far,
            wire: Wire::default(),
            back: 0,
        };
        for number in 0..targets {
            let spec = spec(flows, number, interval_ns);
            let added = path.near.prober.add_target(clock(0, false), spec);
            added.expect("room for a target");
        }
        path.near_step(clock(0, false), None);
        path
    }

    /// Goes on until so many more replies have come back.
    pub(crate) fn run(&mut self, probes: u64) {
        let aim = self.back + probes;
        while self.back < aim {
            self.step();
        }
    }

    /// What happens next, on whichever host.
    fn step(&mut self) {
        let seen = |queue: &VecDeque<Packet>| {
            let front = queue.front();
            front.map_or(u64::MAX, |packet| packet.arrives_ns + HOST_NS)
        };
        let (request, reply) = (seen(&self.wire.to_far), seen(&self.wire.to_near));
        let (near, far) = (self.near.wakes_ns, self.far.wakes_ns);
        self.now_ns = request.min(reply).min(near).min(far);
        let (near_now, far_now) = (clock(self.now_ns, false), clock(self.now_ns, true));
        if self.now_ns == request {
            let packet = self.wire.to_far.pop_front();
            self.far_step(far_now, packet);
        } else if self.now_ns == reply {
            let packet = self.wire.to_near.pop_front();
            self.near_step(near_now, packet);
        } else if self.now_ns == near {
            self.near_step(near_now, None);
        } else {
            self.far_step(far_now, None);
        }
        self.near.flush();
        self.far.flush();
    }

    /// A turn of the prober's poll thread.
    #[inline(never)]
    fn near_step(&mut self, now: Now, packet: Option<Packet>) {
        let End {
            prober,
            recorder,
            buffer,
            stamped,
            ..
        } = &mut self.near;
        if let Some(packet) = packet {
            let arrival = arrival(now);
            if packet.is_stream {
                self.back += prober.handle_stream(arrival, packet.socket, &packet.payload) as u64;
            } else {
                prober.handle_datagram(arrival, packet.socket, &packet.payload);
                self.back += 1;
            }
            self.wire.spare.push(packet.payload);
        } else {
            prober.handle_timeout(now);
        }
        while let Some(transmit) = prober.poll_transmit(now, buffer) {
            match transmit {
                Transmit::Datagram { socket, key, .. } => {
                    stamped.extend(key);
                    self.wire.send(self.now_ns, (socket, true, false), buffer);
                }
                Transmit::Stream { socket, key, .. } => {
                    stamped.extend(key);
                    let peer = self.wire.far_of(socket);
                    self.wire.send(self.now_ns, (peer, true, true), buffer);
                }
                Transmit::Open {
                    socket,
                    remote,
                    kind,
                    ..
                } => {
                    self.wire.open(socket, remote);
                    if kind == FlowKind::Udp {
                        continue;
                    }
                    let accepted = self.far.prober.handle_accept(clock(self.now_ns, true));
                    let accepted = accepted.expect("room for a connection");
                    self.wire.connect(socket, accepted);
                    prober.handle_connected(now, socket, None);
                }
                other => panic!("{other:?} on a path that loses nothing"),
            }
        }
        for key in stamped.drain(..) {
            prober.handle_stamp(key, kernel(now.wall.plus(SEND_NS)));
        }
        while let Some(output) = prober.poll_output() {
            record(recorder, &output);
        }
        let recorder_wakes = record_turn(recorder, prober, now);
        self.near.wakes_ns = wakes_ns([prober.poll_timeout(), recorder_wakes]);
    }

    /// A turn of the reflector's poll thread.
    #[inline(never)]
    fn far_step(&mut self, now: Now, packet: Option<Packet>) {
        let End {
            prober,
            recorder,
            buffer,
            stamped,
            ..
        } = &mut self.far;
        if let Some(packet) = packet {
            let arrival = arrival(now);
            if packet.is_stream {
                prober.handle_stream(arrival, packet.socket, &packet.payload);
            } else {
                let headers = self.wire.headers(packet.socket);
                prober.handle_request(arrival, ListenerId(0), &headers, &packet.payload);
            }
            self.wire.spare.push(packet.payload);
        } else {
            prober.handle_timeout(now);
        }
        while let Some(transmit) = prober.poll_transmit(now, buffer) {
            match transmit {
                Transmit::Reply { to, key, .. } => {
                    stamped.extend(key);
                    let socket = self.wire.at_port(to.port());
                    self.wire.send(self.now_ns, (socket, false, false), buffer);
                }
                Transmit::Stream { socket, key, .. } => {
                    stamped.extend(key);
                    let peer = self.wire.near_of(socket);
                    self.wire.send(self.now_ns, (peer, false, true), buffer);
                }
                other => panic!("{other:?} of a host that only answers"),
            }
        }
        for key in stamped.drain(..) {
            prober.handle_stamp(key, kernel(now.wall.plus(SEND_NS)));
        }
        while let Some(output) = prober.poll_output() {
            record(recorder, &output);
        }
        let recorder_wakes = record_turn(recorder, prober, now);
        self.far.wakes_ns = wakes_ns([prober.poll_timeout(), recorder_wakes]);
    }
}

fn wakes_ns(deadlines: [Option<Mono>; 2]) -> u64 {
    let first = deadlines.into_iter().flatten().min();
    first.map_or(u64::MAX, |at| at.as_nanos().saturating_add(HOST_NS))
}

fn spec(flows: Flows, number: u32, interval_ns: u64) -> TargetSpec {
    let is_tcp = flows == Flows::NativeTcp;
    let [_, high, middle, low] = number.to_be_bytes();
    TargetSpec {
        host: Host::Address(IpAddr::V4(Ipv4Addr::new(10, 1 + high, middle, low))),
        label: format!("t{number}").into(),
        tags: [
            "isp:local".into(),
            "link:primary".into(),
            format!("number:{}", number % LABELS).into(),
        ]
        .into(),
        udp_port: (!is_tcp).then_some(UDP_PORT),
        tcp_port: is_tcp.then_some(8_000),
        connect_port: None,
        interval_ns,
        protocol: if flows == Flows::TextUdp {
            Protocol::Text
        } else {
            Protocol::Native
        },
        ..Config::default()
            .target(TargetOptions::new("192.0.2.1"))
            .expect("a right target")
    }
}

/// A host's clocks. The far one's wall clock is a millisecond and 15 ppm ahead.
fn clock(ns: u64, is_far: bool) -> Now {
    let ahead_ns = if is_far { 1_000_000 + (ns >> 16) } else { 0 };
    Now {
        mono: Mono::from_nanos(ns),
        wall: Wall::from_unix_nanos(EPOCH_NS + (ns + ahead_ns).cast_signed()),
    }
}

fn kernel(at: Wall) -> Stamp {
    Stamp {
        at,
        source: StampSource::Kernel,
    }
}

/// What the kernel has stamped a moment before it is seen.
fn arrival(now: Now) -> Arrival {
    Arrival {
        now,
        stamp: Some(kernel(now.wall.plus(-HOST_NS.cast_signed()))),
        tos: None,
    }
}
