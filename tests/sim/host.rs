//! The engine of the simulation: a prober on simulated sockets.

mod hops;
mod late;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use latency_monitor::proto::{
    Address, Arrival, CloseReason, FlowKind, Headers, Host, Key, KeyRing, ListenerId, Now, Origin,
    Output, Prober, ProberConfig, SocketId, Stamp, StampKey, StampSource, TargetId, TargetSpec,
    Transmit, Wall, Why,
};

use crate::account::Account;
use crate::clock::HostClock;
use crate::late::Late;
use crate::network::{ConnectionId, Datagram, Ending, Event, HostId, Network, Side};
use crate::outages::Outages;
use crate::results::Results;
use crate::routers::Answer;
use crate::scenario::{HostConfig, nanos};
use crate::slots::Sent;
use crate::truth::Instant;
use crate::windows::Windows;

/// The ports that every simulated program listens on.
pub(crate) const TCP_PORT: u16 = 8000;
pub(crate) const UDP_PORT: u16 = 8001;

/// The number of a connect probe on its socket.
const HANDSHAKE: u64 = 0;

/// How long the system's resolver takes.
const LOOK_UP_NS: u64 = 5_000_000;

/// What a program learns.
#[derive(Debug)]
pub(crate) enum Input<'a> {
    /// Time has come.
    Tick,
    Datagram(&'a Datagram),
    /// A datagram from the first address did not get to the second, somebody says.
    Unreachable(SocketAddr, SocketAddr),
    /// An ICMP error that may tell a hop.
    Hop(&'a Answer),
    Accept(ConnectionId),
    Connected(ConnectionId),
    Refused(ConnectionId),
    /// When its last segment reached the kernel.
    Data(ConnectionId, Side, &'a [u8], Option<Instant>),
    /// The transmit stamp of a packet has come.
    Stamp(StampKey, Instant),
    /// The wall clock was set.
    ClockStep(i64),
    Closed(ConnectionId, Side, Ending),
    Writable(ConnectionId, Side),
    Resolved(TargetId, &'a [IpAddr]),
}

/// Where a program runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) host: HostId,
    pub(crate) address: IpAddr,
    /// How often it has been started.
    pub(crate) life: u32,
}

#[derive(Clone, Copy, Debug)]
enum Socket {
    Udp {
        port: u16,
        remote: SocketAddr,
    },
    /// A stream, and which side of it is ours; `None` leads nowhere.
    Stream(Option<(ConnectionId, Side)>),
}

#[derive(Debug)]
pub(crate) struct ProberHost {
    prober: Prober,
    sockets: BTreeMap<SocketId, Socket>,
    by_port: BTreeMap<u16, SocketId>,
    by_stream: BTreeMap<(ConnectionId, Side), SocketId>,
    /// Streams whose kernel has no room.
    blocked: BTreeSet<SocketId>,
    /// The datagram that is being delivered.
    request: Option<u64>,
    labels: BTreeMap<String, TargetId>,
    payload: Vec<u8>,
    /// Chance that the kernel refuses a datagram.
    send_fails: f64,
    /// Its kernel stamps packets.
    stamps: bool,
    /// What is sent waits up to so long before it leaves.
    noise_ns: u64,
    /// Nothing leaves before what was sent earlier.
    leaves_ns: u64,
    /// UDP sockets that it refuses everything of.
    stale: Vec<SocketId>,
    pub(crate) windows: Option<Windows>,
    /// Its UDP replies leave from this address, whichever was probed.
    pub(crate) answers_from: Option<IpAddr>,
    /// Its link is down, and the system says why.
    pub(crate) cut_off: Option<CloseReason>,
    outages: Outages,
    /// UDP flows that are cut off since the last turn.
    cut: Vec<Origin>,
    /// It reads late what comes for its own flows.
    late: Option<Late>,
    pub(crate) results: Option<Results>,
    pub(crate) account: Account,
}

/// A seed of 32 bytes with `seed` in front.
fn seed_of(seed: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes
}

impl ProberHost {
    pub(crate) fn new(config: &HostConfig, seed: u64) -> Self {
        let prober = Prober::new(ProberConfig {
            name: config.name.as_str().into(),
            udp_ports: vec![UDP_PORT],
            accepted_max: config.accepted_max.unwrap_or(usize::MAX),
            resolve_interval_ns: nanos(config.resolve_interval),
            seed: seed_of(seed),
            native: true,
            keys: config.key_ring(),
        });
        Self {
            prober,
            sockets: BTreeMap::new(),
            by_port: BTreeMap::new(),
            by_stream: BTreeMap::new(),
            blocked: BTreeSet::new(),
            request: None,
            labels: BTreeMap::new(),
            payload: Vec::new(),
            send_fails: config.send_fails,
            stamps: config.stamps,
            noise_ns: config.noise_us * 1_000,
            leaves_ns: 0,
            stale: Vec::new(),
            windows: None,
            answers_from: None,
            cut_off: None,
            outages: Outages::new(config.reads_within_ns()),
            cut: Vec::new(),
            late: config.reads_within_ns().map(Late::new),
            results: None,
            account: Account::new(config.reads_within_ns()),
        }
    }

    pub(crate) fn add(&mut self, now_ns: u64, now: Now, spec: TargetSpec) {
        self.account.add(spec.clone(), now_ns);
        self.outages.add(spec.clone());
        let label = spec.label.to_string();
        let target = self
            .prober
            .add_target(now, spec)
            .expect("room for a target");
        self.labels.insert(label, target);
    }

    /// From now on the UDP sockets that are open cannot send.
    pub(crate) fn lose_address(&mut self) {
        self.stale = self.by_port.values().copied().collect();
    }

    pub(crate) fn has(&self, label: &str) -> bool {
        self.labels.contains_key(label)
    }

    /// Removes a target, if there is one: a host that was started again has those of its beginning.
    pub(crate) fn remove(&mut self, label: &str) {
        let Some(target) = self.labels.remove(label) else {
            return;
        };
        self.account.closed_something = true;
        assert!(self.prober.remove_target(target));
    }

    pub(crate) fn set_key(&mut self, now: Now, label: &str, key: &Arc<Key>) {
        assert!(self.prober.set_key(now, self.labels[label], key));
    }

    /// Calls a target otherwise, if there is one: it may have been removed.
    pub(crate) fn set_labels(&mut self, now: Now, label: &str, to: &str, tags: &[String]) {
        let Some(target) = self.labels.remove(label) else {
            return;
        };
        let tags: Vec<Box<str>> = tags.iter().map(|tag| tag.as_str().into()).collect();
        assert!(self.prober.set_labels(now, target, to, &tags));
        self.labels.insert(to.to_owned(), target);
    }

    pub(crate) fn set_keys(&mut self, keys: KeyRing) {
        self.prober.set_keys(keys);
    }

    /// When it wants to run again, in true time.
    pub(crate) fn timeout_ns(&mut self, clock: &HostClock) -> Option<u64> {
        self.prober.poll_timeout().map(|at| clock.true_ns(at))
    }

    /// One turn of the loop: what is due, then what happened.
    pub(crate) fn step(
        &mut self,
        at: Place,
        clock: &HostClock,
        net: &mut Network,
        input: &Input<'_>,
    ) {
        let now = clock.now(net.now_ns);
        let mut known = now;
        if let Input::ClockStep(ns) = input {
            known.wall = now.wall.plus(-ns);
        }
        self.outages.begin_turn(known, self.account.was_frozen);
        self.begin_turn(at, clock, net, input);
        if let Some(deadline) = self.prober.poll_timeout() {
            self.prober.handle_woken(now, deadline);
        }
        self.prober.handle_timeout(now);
        self.transmit(at, clock, net);
        self.deliver(at, clock, net, input);
        self.transmit(at, clock, net);
        self.request = None;
        self.end_turn(at, clock, net);
        if let Some(windows) = &mut self.windows {
            windows.handle_turn(now);
        }
        self.account.check(net.now_ns, &self.prober);
    }

    fn deliver(&mut self, at: Place, clock: &HostClock, net: &mut Network, input: &Input<'_>) {
        let now = clock.now(net.now_ns);
        let prober = &mut self.prober;
        match *input {
            Input::Tick => {}
            Input::Datagram(datagram) if datagram.to.port() == UDP_PORT => {
                // As our engine does, for a dwell must not have a step in it. That of a reply is
                // left in, which does no harm.
                let arrived = datagram
                    .arrived
                    .filter(|at| !clock.is_set_since(at.true_ns));
                let arrival = arrival(self.stamps, now, arrived);
                let owd_ns = arrival.best().at.as_unix_nanos() - datagram.left_wall_ns;
                self.account.request = Some((datagram.id, owd_ns));
                self.request = Some(datagram.id);
                let (from, to) = (datagram.from, datagram.to);
                let mut headers = Headers::new(from, Some(to.ip()), to.port());
                headers.ttl = net
                    .routers(from.ip(), to.ip())
                    .map(|passed| u8::MAX - passed);
                prober.handle_request(arrival, ListenerId(0), &headers, &datagram.payload);
            }
            Input::Datagram(datagram) => {
                let Some(id) = self.by_port.get(&datagram.to.port()) else {
                    return;
                };
                if let Some(Socket::Udp { remote, .. }) = self.sockets.get(id) {
                    let arrival = arrival(self.stamps, now, datagram.arrived);
                    if *remote == datagram.from {
                        if self.late.is_none() {
                            let numbers = datagram.answers.as_slice();
                            self.outages.handle_replies(*id, numbers);
                        }
                        prober.handle_datagram(arrival, *id, &datagram.payload);
                    } else {
                        prober.handle_stray(now, datagram.from, &datagram.payload);
                    }
                }
            }
            // A listener's kernel tells nobody.
            Input::Unreachable(from, to) => self.hear_unreachable(net.now_ns, from, to),
            Input::Hop(answer) => self.hear_hop(now, clock, answer),
            Input::Accept(connection) => {
                if let Some(id) = prober.handle_accept(now) {
                    self.sockets
                        .insert(id, Socket::Stream(Some((connection, Side::Server))));
                    self.by_stream.insert((connection, Side::Server), id);
                } else {
                    net.close(connection, Side::Server, Ending::Finished);
                }
            }
            Input::Connected(connection) => {
                if let Some(id) = self.by_stream.get(&(connection, Side::Client)) {
                    self.outages.handle_replies(*id, &[HANDSHAKE]);
                    prober.handle_connected(now, *id, None);
                    // Streams have no ports here.
                    prober.handle_opened(*id, SocketAddr::new(at.address, 0));
                }
            }
            Input::Refused(connection) => {
                self.end(now, (connection, Side::Client), CloseReason::Reset);
            }
            Input::Data(connection, side, bytes, arrived) => {
                if let Some(id) = self.by_stream.get(&(connection, side)).copied() {
                    if self.late.is_none() || side == Side::Server {
                        self.note_bytes(net, (connection, side), id, bytes.len());
                    }
                    let arrival = arrival(self.stamps, now, arrived);
                    let replies = self.prober.handle_stream(arrival, id, bytes);
                    if let Some(late) = &mut self.late {
                        late.note_answered(id, replies);
                    }
                    // A stream that cannot be read may be given up.
                    self.account.closed_something = true;
                }
            }
            Input::Closed(connection, side, ending) => {
                let reason = match ending {
                    Ending::Finished => CloseReason::Finished,
                    Ending::Reset => CloseReason::Reset,
                };
                self.end(now, (connection, side), reason);
            }
            Input::Stamp(key, at) => prober.handle_stamp(key, stamp(at)),
            Input::ClockStep(ns) => prober.handle_clock_step(now, ns),
            Input::Writable(connection, side) => {
                if let Some(id) = self.by_stream.get(&(connection, side)) {
                    self.blocked.remove(id);
                    prober.handle_blocked(*id, false);
                }
            }
            Input::Resolved(target, addresses) => {
                self.account.closed_something = true;
                let addresses: Vec<_> = addresses.iter().map(|ip| Address::from(*ip)).collect();
                prober.handle_resolved(now, target, &addresses);
            }
        }
    }

    /// Bytes of a stream have come: what they are known to answer.
    fn note_bytes(
        &mut self,
        net: &mut Network,
        (connection, side): (ConnectionId, Side),
        id: SocketId,
        count: usize,
    ) {
        let connection = net.connection_mut(connection);
        match (connection.and_then(|c| c.messages.as_mut()), side) {
            (Some(messages), Side::Server) => {
                messages.read_requests(count, !self.blocked.contains(&id));
            }
            (Some(messages), Side::Client) => {
                let numbers = messages.read_replies(count);
                self.outages.handle_replies(id, &numbers);
            }
            (None, _) => self.outages.handle_unknown_replies(id),
        }
    }

    fn end(&mut self, now: Now, stream: (ConnectionId, Side), reason: CloseReason) {
        if let Some(id) = self.by_stream.remove(&stream) {
            self.sockets.remove(&id);
            self.account.closed_something = true;
            self.outages.handle_closed(id);
            self.forget(id);
            self.prober.handle_closed(now, id, reason);
        }
    }

    fn forget(&mut self, socket: SocketId) {
        if let Some(late) = &mut self.late {
            late.forget(socket);
        }
    }

    fn transmit(&mut self, at: Place, clock: &HostClock, net: &mut Network) {
        let now = clock.now(net.now_ns);
        let mut payload = std::mem::take(&mut self.payload);
        self.drain(at, net, None);
        for origin in std::mem::take(&mut self.cut) {
            self.prober.trace(now, origin, Why::Outage);
        }
        while let Some(transmit) = self.prober.poll_transmit(now, &mut payload) {
            self.carry_out(at, (now, clock), net, &transmit, &payload);
        }
        let (sockets, blocked) = (&self.sockets, &self.blocked);
        self.outages.handle_slots(&self.prober, |id| {
            matches!(sockets.get(&id), Some(Socket::Stream(Some(_)))) && !blocked.contains(&id)
        });
        self.drain(at, net, None);
        self.payload = payload;
    }

    fn carry_out(
        &mut self,
        at: Place,
        (now, clock): (Now, &HostClock),
        net: &mut Network,
        transmit: &Transmit,
        payload: &[u8],
    ) {
        let wall_ns = now.wall.as_unix_nanos();
        match *transmit {
            Transmit::Open { socket, kind, .. } if self.cut_off.is_some() => {
                self.refuse(at, (now, net), socket, kind);
            }
            Transmit::Open {
                socket,
                remote,
                kind: FlowKind::Udp,
                ..
            } => {
                let port = net.open_port();
                self.sockets.insert(socket, Socket::Udp { port, remote });
                self.by_port.insert(port, socket);
                let local = SocketAddr::new(at.address, port);
                self.prober.handle_opened(socket, local);
            }
            Transmit::Open {
                socket,
                remote,
                kind,
                ..
            } => {
                self.connect(at, net, socket, remote);
                if kind == FlowKind::Connect {
                    self.drain(at, net, Some(Sent::new(socket, HANDSHAKE)));
                }
            }
            Transmit::Datagram {
                socket,
                key,
                at_once,
            } => {
                self.drain(at, net, Some(Sent::new(socket, net.next_id())));
                let Some(Socket::Udp { port, remote }) = self.sockets.get(&socket).copied() else {
                    panic!("a probe for a socket that is not open");
                };
                let is_stale = self.stale.contains(&socket);
                let no_address = is_stale.then_some(CloseReason::NoAddress);
                let mut fails = || net.rng.chance(self.send_fails);
                let reason = self.cut_off.or(no_address);
                let reason = reason.or_else(|| fails().then_some(CloseReason::Exhausted));
                if let Some(reason) = reason {
                    self.account.closed_something = true;
                    self.prober.handle_unsent(now, socket, reason);
                    self.account.handle_unsent(&self.prober);
                    self.outages.handle_refused(socket);
                } else {
                    let from = SocketAddr::new(at.address, port);
                    let late = self.late.as_mut();
                    let waits = late.map(|late| late.note_request(socket, at_once)).and(key);
                    let key = key.filter(|_| waits.is_none());
                    let left = self.leave(at, clock, net, key);
                    if let (Some(late), Some(key)) = (&mut self.late, waits) {
                        late.push_stamp(socket, key, left);
                    }
                    let payload = (payload, None);
                    net.send_datagram((at.host, from), remote, payload, (wall_ns, left));
                }
            }
            Transmit::Hop { socket, ttl, key } => {
                self.send_hop(at, clock, net, (socket, ttl, key), payload);
            }
            Transmit::Reply { .. } if self.cut_off.is_some() => self.prober.handle_reply_unsent(),
            Transmit::Reply {
                listener,
                to,
                from,
                key,
                ..
            } => {
                assert_eq!(listener, ListenerId(0));
                let from = from.expect("as it was given");
                let from = SocketAddr::new(self.answers_from.unwrap_or(from), UDP_PORT);
                let left = self.leave(at, clock, net, key);
                let payload = (payload, self.request);
                net.send_datagram((at.host, from), to, payload, (wall_ns, left));
            }
            Transmit::Stream {
                socket,
                key,
                at_once,
            } => self.write(at, clock, net, (socket, key, at_once), payload),
            Transmit::Close { socket } => self.close(net, socket),
            Transmit::Resolve { target, ref host } => {
                let Host::Name(name) = host else {
                    panic!("{host} needs no resolution")
                };
                let addresses = net.names.get(&**name).cloned().unwrap_or_default();
                let answer = Event::Resolved(at.host, at.life, target, addresses);
                net.schedule(net.now_ns + LOOK_UP_NS, answer);
            }
        }
    }

    fn write(
        &mut self,
        at: Place,
        clock: &HostClock,
        net: &mut Network,
        (socket, key, at_once): (SocketId, Option<StampKey>, bool),
        payload: &[u8],
    ) {
        let Some(Socket::Stream(stream)) = self.sockets.get(&socket).copied() else {
            panic!("bytes for a stream that is not open");
        };
        let (connection, side) = stream.expect("a stream that is established");
        if side == Side::Client {
            let messages = net.connection(connection).map(|c| c.messages.as_ref());
            let number = messages
                .expect("an open one")
                .map(|messages| messages.requests);
            self.drain(at, net, Some(Sent { socket, number }));
            self.settle_stream(at, clock, net, socket, at_once);
            self.drain(at, net, None);
        }
        if let Some(key) = key.filter(|_| self.stamps) {
            let left = clock.instant(net.now_ns);
            let late = self.late.as_mut().filter(|_| side == Side::Client);
            match late.filter(|late| !late.is_at_once(socket)) {
                Some(late) => late.push_stamp(socket, key, left),
                None => net.schedule(net.now_ns, Event::Stamp(at.host, at.life, key, left)),
            }
        }
        if net.write(connection, side, payload) {
            self.blocked.insert(socket);
            self.prober.handle_blocked(socket, true);
        }
    }

    /// The link is down: a socket cannot be opened.
    fn refuse(&mut self, at: Place, (now, net): (Now, &Network), socket: SocketId, kind: FlowKind) {
        if kind == FlowKind::Connect {
            self.drain(at, net, Some(Sent::new(socket, HANDSHAKE)));
        }
        self.account.closed_something = true;
        self.outages.handle_closed(socket);
        let reason = self.cut_off.unwrap_or(CloseReason::NoRoute);
        self.prober.handle_closed(now, socket, reason);
    }

    /// When a datagram that is sent now leaves the host; its stamp comes then.
    fn leave(
        &mut self,
        at: Place,
        clock: &HostClock,
        net: &mut Network,
        key: Option<StampKey>,
    ) -> Instant {
        let noise_ns = match self.noise_ns {
            0 => 0,
            most => net.rng.below(most),
        };
        self.leaves_ns = self.leaves_ns.max(net.now_ns + noise_ns);
        let left = clock.instant(self.leaves_ns);
        if let Some(key) = key.filter(|_| self.stamps) {
            net.schedule(left.true_ns, Event::Stamp(at.host, at.life, key, left));
        }
        left
    }

    fn connect(&mut self, at: Place, net: &mut Network, socket: SocketId, remote: SocketAddr) {
        let stream = net
            .connect(at.host, remote)
            .map(|connection| (connection, Side::Client));
        self.sockets.insert(socket, Socket::Stream(stream));
        if let Some(stream) = stream {
            self.by_stream.insert(stream, socket);
        }
    }

    fn close(&mut self, net: &mut Network, socket: SocketId) {
        self.account.closed_something = true;
        self.outages.handle_closed(socket);
        self.forget(socket);
        match self.sockets.remove(&socket) {
            Some(Socket::Udp { port, .. }) => drop(self.by_port.remove(&port)),
            Some(Socket::Stream(Some((connection, side)))) => {
                self.by_stream.remove(&(connection, side));
                net.close(connection, side, Ending::Finished);
            }
            Some(Socket::Stream(None)) | None => {}
        }
    }

    /// Takes what the prober has to say. After a send the last word is its lateness.
    fn drain(&mut self, at: Place, net: &Network, sent: Option<Sent>) {
        let now_ns = net.now_ns;
        let mut lateness = None;
        while let Some(output) = self.prober.poll_output() {
            if let Some(windows) = &mut self.windows {
                windows.handle_output(&output);
            }
            self.outages.handle_output(&self.prober, &output);
            if let Some(results) = &mut self.results {
                results.handle_output(&output);
            }
            if let Output::Outage(outage) = &output
                && outage.duration_ns.is_none()
            {
                self.cut.push(outage.origin);
            }
            match output {
                Output::Lateness(ns) if sent.is_some() => lateness = Some(ns),
                output => {
                    let world = (at.host, &net.truth);
                    self.account
                        .handle_output(now_ns, world, &self.prober, output);
                }
            }
        }
        match (sent, lateness) {
            (Some(sent), Some(ns)) => {
                let origin = self.account.handle_send(now_ns, &self.prober, ns);
                self.outages.handle_send(origin, sent);
            }
            (None, None) => {}
            _ => panic!("a probe has one lateness"),
        }
    }

    /// Probing ends: what waits for a transmit stamp comes out. Gives how many outages were compared with the truth.
    pub(crate) fn finish(&mut self, at: Place, net: &Network) -> u64 {
        self.prober.handle_end();
        self.drain(at, net, None);
        self.account.check_nothing_waits(&self.prober);
        if let Some(results) = &mut self.results {
            results.finish(&self.prober);
        }
        self.outages.finish()
    }

    pub(crate) fn report(&self, out: &mut String) {
        self.account.report(out, &self.prober);
        if let Some(windows) = &self.windows {
            windows.report(out);
        }
    }
}

fn stamp(at: Instant) -> Stamp {
    Stamp {
        at: Wall::from_unix_nanos(at.wall_ns),
        source: StampSource::Kernel,
    }
}

fn arrival(stamps: bool, now: Now, arrived: Option<Instant>) -> Arrival {
    Arrival {
        now,
        stamp: arrived.filter(|_| stamps).map(stamp),
        tos: None,
    }
}
