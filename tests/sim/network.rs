//! The network between hosts: links that delay, lose, duplicate and reorder, and TCP over them.
//!
//! It knows hosts by number and packets as bytes. Everything that happens is an [`Event`] with a
//! time; the world takes events in order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

use crate::nat::Nat;
use crate::rng::Rng;
use crate::routers::{Answer, Routes};
use crate::strangers::Recorded;
use crate::stream::Messages;
use crate::truth::{Instant, Truth};

pub(crate) type HostId = usize;
pub(crate) type ConnectionId = u64;

/// A sender's bytes that wait in its kernel before it is told to hold on.
const SEND_BUFFER_BYTES: usize = 65_536;
/// What TCP waits before it sends a lost segment again, at first and at most.
const RETRANSMIT_FIRST_NS: u64 = 200_000_000;
const RETRANSMIT_MOST_NS: u64 = 5_000_000_000;
/// The same for a lost SYN.
const SYN_AGAIN_NS: u64 = 1_000_000_000;

/// How one direction of a link behaves.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Link {
    pub(crate) delay_us: u64,
    /// Up to so much more, evenly distributed.
    pub(crate) jitter_us: u64,
    pub(crate) loss: f64,
    pub(crate) duplicate: f64,
    /// Datagrams that are held back...
    pub(crate) reorder: f64,
    /// ...by up to so much.
    pub(crate) reorder_us: u64,
    /// Chance that a TCP write arrives in pieces.
    pub(crate) split: f64,
    /// TCP data arrives only at multiples of this, as one chunk.
    pub(crate) glue_us: u64,
    /// Chance that somebody says of a datagram that it did not get there, be that so or not.
    pub(crate) reported: f64,
    pub(crate) down: bool,
    /// So many links lie beside each other, and datagrams take one by their ports.
    pub(crate) parallel: u16,
    /// The first of them loses so much more, and takes so much longer.
    pub(crate) bad_loss: f64,
    pub(crate) bad_delay_us: u64,
}

impl Link {
    /// True for a 5-tuple that takes the first of several parallel links.
    pub(crate) fn takes_bad(self, ports: [u16; 2]) -> bool {
        // Both ways alike, as routers hash them, and no two neighbours' alike.
        let [one, other] = ports.map(u64::from);
        let mixed = (one * other).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
        self.parallel > 1 && mixed % u64::from(self.parallel) == 0
    }
}

impl Default for Link {
    fn default() -> Self {
        Self {
            delay_us: 100,
            jitter_us: 0,
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            reorder_us: 2_000,
            split: 0.0,
            glue_us: 0,
            reported: 0.0,
            down: false,
            parallel: 1,
            bad_loss: 0.0,
            bad_delay_us: 0,
        }
    }
}

/// What can happen.
#[derive(Debug)]
pub(crate) enum Event {
    Datagram(Datagram),
    /// Somebody says that a datagram from the first address did not get to the second.
    Unreachable(SocketAddr, SocketAddr),
    /// An ICMP error that may tell a hop.
    Hop(Answer),
    /// A connection asks to be accepted.
    Syn(ConnectionId),
    /// It was accepted (true) or refused.
    Answer(ConnectionId, bool),
    /// Bytes arrive at this side; when they did so at its kernel, once they have.
    Data(ConnectionId, Side, Vec<u8>, Option<Instant>),
    /// The transmit stamp of a packet comes, to a host's program in its life of that number.
    Stamp(HostId, u32, latency_monitor::proto::StampKey, Instant),
    /// The other side has closed, or never knew the connection.
    Closed(ConnectionId, Side, Ending),
    /// The kernel has room again for this side's bytes.
    Writable(ConnectionId, Side),
    /// Try again to send what this side has lost.
    Retransmit(ConnectionId, Side),
    /// Try again to connect.
    SynAgain(ConnectionId, u32),
    /// A name was looked up by a host's program, in its life of that number.
    Resolved(HostId, u32, latency_monitor::proto::TargetId, Vec<IpAddr>),
    /// The scenario's next act.
    Act(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Finished,
    Reset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Client,
    Server,
}

impl Side {
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) payload: Vec<u8>,
    /// The same for copies of one datagram.
    pub(crate) id: u64,
    /// The datagram that it answers.
    pub(crate) answers: Option<u64>,
    /// The sender's wall clock as its program sent it, in Unix nanoseconds.
    pub(crate) left_wall_ns: i64,
    /// When it reached the receiver's kernel, once it has.
    pub(crate) arrived: Option<Instant>,
}

#[derive(Debug)]
enum Segment {
    Bytes(Vec<u8>),
    Finish(Ending),
}

#[derive(Debug, Default)]
struct Outbound {
    waiting: VecDeque<Segment>,
    waiting_bytes: usize,
    told_blocked: bool,
    /// When what was lost is sent again; nothing overtakes it.
    again_ns: Option<u64>,
    /// How long that was put off the last time.
    wait_ns: u64,
    /// Nothing arrives before what was sent earlier.
    arrives_ns: u64,
}

#[derive(Debug)]
pub(crate) struct Connection {
    hosts: [HostId; 2],
    pub(crate) server: SocketAddr,
    open: [bool; 2],
    out: [Outbound; 2],
    /// `None`: which request a reply answers is not known.
    pub(crate) messages: Option<Messages>,
}

impl Connection {
    pub(crate) const fn host(&self, side: Side) -> HostId {
        self.hosts[side as usize]
    }

    pub(crate) const fn is_open(&self, side: Side) -> bool {
        self.open[side as usize]
    }
}

#[derive(Debug)]
struct Scheduled {
    at_ns: u64,
    serial: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.serial == other.serial
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ns, self.serial).cmp(&(other.at_ns, other.serial))
    }
}

#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) now_ns: u64,
    pub(crate) rng: Rng,
    /// For what is said of datagrams, which must not change what happens to others.
    reports: Rng,
    pub(crate) names: BTreeMap<String, Vec<IpAddr>>,
    pub(crate) nat: Nat,
    /// The last datagrams, for who sends them again.
    pub(crate) recorded: Recorded,
    pub(crate) truth: Truth,
    pub(crate) routes: Routes,
    hosts: BTreeMap<IpAddr, HostId>,
    links: BTreeMap<(HostId, HostId), Link>,
    connections: BTreeMap<ConnectionId, Connection>,
    connected: ConnectionId,
    events: BinaryHeap<Reverse<Scheduled>>,
    /// Payloads to use again: an hour has tens of millions of them.
    spare: Vec<Vec<u8>>,
    serial: u64,
    datagrams: u64,
    next_port: u16,
}

impl Network {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            now_ns: 0,
            rng: Rng::new(seed),
            reports: Rng::new(!seed),
            names: BTreeMap::new(),
            nat: Nat::default(),
            recorded: Recorded::default(),
            truth: Truth::default(),
            routes: Routes::new(),
            hosts: BTreeMap::new(),
            links: BTreeMap::new(),
            connections: BTreeMap::new(),
            connected: 0,
            events: BinaryHeap::new(),
            spare: Vec::new(),
            serial: 0,
            datagrams: 0,
            next_port: 20_000,
        }
    }

    pub(crate) fn place(&mut self, address: IpAddr, host: HostId) {
        self.hosts.insert(address, host);
    }

    pub(crate) fn unplace(&mut self, address: IpAddr) {
        self.hosts.remove(&address);
    }

    pub(crate) fn host_at(&self, address: IpAddr) -> Option<HostId> {
        self.hosts.get(&address).copied()
    }

    pub(crate) fn set_link(&mut self, from: HostId, to: HostId, link: Link) {
        self.links.insert((from, to), link);
    }

    pub(crate) fn links_mut(&mut self) -> impl Iterator<Item = &mut Link> {
        self.links.values_mut()
    }

    fn link(&self, from: HostId, to: HostId) -> Link {
        self.links.get(&(from, to)).copied().unwrap_or_default()
    }

    pub(crate) fn connection(&self, connection: ConnectionId) -> Option<&Connection> {
        self.connections.get(&connection)
    }

    pub(crate) fn connection_mut(&mut self, connection: ConnectionId) -> Option<&mut Connection> {
        self.connections.get_mut(&connection)
    }

    pub(crate) const fn last_port(&self) -> u16 {
        self.next_port
    }

    pub(crate) fn open_port(&mut self) -> u16 {
        self.next_port = if self.next_port == u16::MAX {
            20_000
        } else {
            self.next_port + 1
        };
        self.next_port
    }

    pub(crate) fn schedule(&mut self, at_ns: u64, event: Event) {
        self.serial += 1;
        self.events.push(Reverse(Scheduled {
            at_ns,
            serial: self.serial,
            event,
        }));
    }

    pub(crate) fn next_at(&self) -> Option<u64> {
        self.events.peek().map(|Reverse(next)| next.at_ns)
    }

    /// Takes the next event, if it is due by `until_ns`.
    pub(crate) fn pop(&mut self, until_ns: u64) -> Option<Event> {
        if self.next_at()? > until_ns {
            return None;
        }
        let Reverse(Scheduled { at_ns, event, .. }) = self.events.pop()?;
        let Event::Data(connection, side, mut bytes, mut arrived) = event else {
            return Some(event);
        };
        // What arrives together is read together.
        while let Some(Reverse(next)) = self.events.peek()
            && next.at_ns == at_ns
            && matches!(&next.event, Event::Data(c, s, ..) if (*c, *s) == (connection, side))
        {
            if let Some(Reverse(Scheduled {
                event: Event::Data(_, _, more, later),
                ..
            })) = self.events.pop()
            {
                bytes.extend_from_slice(&more);
                // As in a kernel, the stamp of the last segment stands for all.
                arrived = later;
                self.spare.push(more);
            }
        }
        Some(Event::Data(connection, side, bytes, arrived))
    }

    /// Gives back the bytes of an event that is done with.
    pub(crate) fn recycle(&mut self, mut bytes: Vec<u8>) {
        bytes.clear();
        self.spare.push(bytes);
    }

    fn copy(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(bytes);
        copy
    }

    fn travel_ns(&mut self, link: Link) -> u64 {
        (link.delay_us + self.rng.below(link.jitter_us + 1)) * 1_000
    }

    // --- UDP ---

    /// The identity of one more datagram.
    pub(crate) fn new_id(&mut self) -> u64 {
        self.datagrams += 1;
        self.datagrams
    }

    /// The identity that the next one will have.
    pub(crate) const fn next_id(&self) -> u64 {
        self.datagrams + 1
    }

    /// Sends a datagram, which may answer another one.
    pub(crate) fn send_datagram(
        &mut self,
        (host, from): (HostId, SocketAddr),
        to: SocketAddr,
        (payload, answers): (&[u8], Option<u64>),
        (left_wall_ns, left): (i64, Instant),
    ) {
        self.truth.note_left(host, payload, left);
        let id = self.new_id();
        self.recorded.note(from, to, payload, left_wall_ns);
        let (from, to) = self.nat.translate(from, to);
        let Some(receiver) = self.host_at(to.ip()) else {
            return;
        };
        let mut link = self.link(host, receiver);
        if link.takes_bad([from.port(), to.port()]) {
            link.loss += link.bad_loss;
            link.delay_us += link.bad_delay_us;
        }
        if self.reports.chance(link.reported) {
            let travel_ns = (link.delay_us + self.reports.below(link.jitter_us + 1)) * 1_000;
            self.schedule(left.true_ns + travel_ns, Event::Unreachable(from, to));
        }
        if link.down || self.rng.chance(link.loss) {
            return;
        }
        let copies = 1 + u32::from(self.rng.chance(link.duplicate));
        for _ in 0..copies {
            let mut travel_ns = self.travel_ns(link);
            if self.rng.chance(link.reorder) {
                travel_ns += self.rng.below(link.reorder_us * 1_000);
            }
            let payload = self.copy(payload);
            let datagram = Datagram {
                from,
                to,
                payload,
                id,
                answers,
                left_wall_ns,
                arrived: None,
            };
            self.schedule(left.true_ns + travel_ns, Event::Datagram(datagram));
        }
    }

    // --- TCP ---

    pub(crate) fn connect(&mut self, client: HostId, server: SocketAddr) -> Option<ConnectionId> {
        let host = self.host_at(server.ip())?;
        self.connected += 1;
        let connection = Connection {
            hosts: [client, host],
            server,
            open: [true, false],
            out: [Outbound::default(), Outbound::default()],
            messages: Some(Messages::default()),
        };
        self.connections.insert(self.connected, connection);
        self.send_syn(self.connected, 0);
        Some(self.connected)
    }

    pub(crate) fn send_syn(&mut self, id: ConnectionId, attempt: u32) {
        let Some(connection) = self.connections.get(&id).filter(|c| c.open[0]) else {
            return;
        };
        let [client, server] = connection.hosts;
        let link = self.link(client, server);
        if link.down || self.rng.chance(link.loss) {
            return self.retry_syn(id, attempt);
        }
        let travel_ns = self.travel_ns(link);
        self.schedule(self.now_ns + travel_ns, Event::Syn(id));
    }

    pub(crate) fn retry_syn(&mut self, id: ConnectionId, attempt: u32) {
        if attempt < 6 {
            let again = self.now_ns + (SYN_AGAIN_NS << attempt);
            self.schedule(again, Event::SynAgain(id, attempt + 1));
        }
    }

    /// The server's kernel answers a SYN: something listens there, or nothing does.
    pub(crate) fn answer(&mut self, id: ConnectionId, accepts: bool) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.open[1] = accepts;
        let [client, server] = connection.hosts;
        let link = self.link(server, client);
        if link.down || self.rng.chance(link.loss) {
            return self.retry_syn(id, 0);
        }
        let travel_ns = self.travel_ns(link);
        // Data that follows at once must not overtake this.
        let arrives_ns = self.now_ns + travel_ns;
        self.out(id, Side::Server).arrives_ns = arrives_ns;
        self.schedule(self.now_ns + travel_ns, Event::Answer(id, accepts));
    }

    /// Queues bytes. True if the kernel cannot take more for now.
    pub(crate) fn write(&mut self, id: ConnectionId, side: Side, bytes: &[u8]) -> bool {
        if !self.connections.get(&id).is_some_and(|c| c.is_open(side)) {
            return false;
        }
        let segment = self.copy(bytes);
        let out = self.out(id, side);
        out.waiting_bytes += bytes.len();
        out.waiting.push_back(Segment::Bytes(segment));
        self.pump(id, side);
        let out = self.out(id, side);
        out.told_blocked = out.waiting_bytes > SEND_BUFFER_BYTES;
        let is_blocked = out.told_blocked;
        if let Some(connection) = self.connections.get_mut(&id)
            && let Some(messages) = &mut connection.messages
            && !messages.write(side, bytes)
        {
            connection.messages = None;
        }
        is_blocked
    }

    /// One side closes; the other learns of it after everything that was written.
    pub(crate) fn close(&mut self, id: ConnectionId, side: Side, ending: Ending) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if std::mem::replace(&mut connection.open[side as usize], false) {
            connection.out[side as usize]
                .waiting
                .push_back(Segment::Finish(ending));
            self.pump(id, side);
        }
        self.forget_if_done(id);
    }

    /// A host loses power: its connections are gone and nobody is told.
    pub(crate) fn forget_host(&mut self, host: HostId) {
        let mut gone = Vec::new();
        for (id, connection) in &mut self.connections {
            for side in [Side::Client, Side::Server] {
                if connection.host(side) == host {
                    connection.open[side as usize] = false;
                    connection.out[side as usize] = Outbound::default();
                    gone.push(*id);
                }
            }
        }
        for id in gone {
            self.forget_if_done(id);
        }
    }

    /// A program ends: its kernel closes what it had open.
    pub(crate) fn close_host(&mut self, host: HostId) {
        let ends: Vec<(ConnectionId, Side)> = self
            .connections
            .iter()
            .flat_map(|(id, c)| [Side::Client, Side::Server].map(|side| (*id, side, c.host(side))))
            .filter(|(_, _, owner)| *owner == host)
            .map(|(id, side, _)| (id, side))
            .collect();
        for (id, side) in ends {
            self.close(id, side, Ending::Finished);
        }
    }

    pub(crate) fn retransmit(&mut self, id: ConnectionId, side: Side) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.out[side as usize].arrives_ns =
                connection.out[side as usize].arrives_ns.max(self.now_ns);
            self.pump(id, side);
        }
        self.forget_if_done(id);
    }

    /// Bytes reached a kernel that has no such connection (any more).
    pub(crate) fn reset(&mut self, id: ConnectionId, by: Side) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let to = by.other();
        let link = self.link(connection.host(by), connection.host(to));
        if !link.down {
            let travel_ns = self.travel_ns(link);
            self.schedule(
                self.now_ns + travel_ns,
                Event::Closed(id, to, Ending::Reset),
            );
        }
    }

    /// Bytes reached a host that is off: TCP sends them again, from the beginning of the line.
    pub(crate) fn undeliverable(&mut self, id: ConnectionId, to: Side, bytes: Vec<u8>) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let out = &mut connection.out[to.other() as usize];
        out.waiting_bytes += bytes.len();
        out.waiting.push_front(Segment::Bytes(bytes));
        self.lose(id, to.other());
    }

    fn lose(&mut self, id: ConnectionId, side: Side) {
        let now_ns = self.now_ns;
        let out = self.out(id, side);
        if out.again_ns.is_none_or(|again| again <= now_ns) {
            out.wait_ns = (out.wait_ns * 2).clamp(RETRANSMIT_FIRST_NS, RETRANSMIT_MOST_NS);
            let again_ns = now_ns + out.wait_ns;
            out.again_ns = Some(again_ns);
            self.schedule(again_ns, Event::Retransmit(id, side));
        }
    }

    fn out(&mut self, id: ConnectionId, side: Side) -> &mut Outbound {
        &mut self
            .connections
            .get_mut(&id)
            .expect("a connection in use")
            .out[side as usize]
    }

    /// Sends what waits, as far as nothing is lost.
    fn pump(&mut self, id: ConnectionId, side: Side) {
        let connection = &self.connections[&id];
        let link = self.link(connection.host(side), connection.host(side.other()));
        loop {
            let (now_ns, out) = (self.now_ns, self.out(id, side));
            if out.again_ns.is_some_and(|again| again > now_ns) || out.waiting.is_empty() {
                break;
            }
            if link.down || self.rng.chance(link.loss) {
                self.lose(id, side);
                break;
            }
            self.send_segment(id, side, link);
        }
        let out = self.out(id, side);
        if out.told_blocked && out.waiting_bytes <= SEND_BUFFER_BYTES {
            out.told_blocked = false;
            self.schedule(self.now_ns, Event::Writable(id, side));
        }
    }

    fn send_segment(&mut self, id: ConnectionId, side: Side, link: Link) {
        let travel_ns = self.travel_ns(link);
        let mut arrives_ns = self.now_ns + travel_ns;
        if link.glue_us > 0 {
            arrives_ns = arrives_ns.next_multiple_of(link.glue_us * 1_000);
        }
        let out = self.out(id, side);
        (out.again_ns, out.wait_ns) = (None, 0);
        arrives_ns = arrives_ns.max(out.arrives_ns);
        out.arrives_ns = arrives_ns;
        let to = side.other();
        match out.waiting.pop_front() {
            Some(Segment::Bytes(bytes)) => {
                out.waiting_bytes -= bytes.len();
                if bytes.len() > 1 && self.rng.chance(link.split) {
                    let bound = bytes.len() as u64 - 1;
                    let at = 1 + usize::try_from(self.rng.below(bound)).expect("a length");
                    let rest = self.copy(&bytes[at..]);
                    let mut first = bytes;
                    first.truncate(at);
                    self.schedule(arrives_ns, Event::Data(id, to, first, None));
                    let later_ns = arrives_ns + 1_000;
                    self.out(id, side).arrives_ns = later_ns;
                    self.schedule(later_ns, Event::Data(id, to, rest, None));
                } else {
                    self.schedule(arrives_ns, Event::Data(id, to, bytes, None));
                }
            }
            Some(Segment::Finish(ending)) => {
                self.schedule(arrives_ns, Event::Closed(id, to, ending));
            }
            None => {}
        }
    }

    /// A connection that both sides are done with goes, once its last bytes have been delivered:
    /// those that are still under way find nothing and are dropped.
    fn forget_if_done(&mut self, id: ConnectionId) {
        let done = self.connections.get(&id).is_some_and(|connection| {
            !connection.open[0]
                && !connection.open[1]
                && connection.out.iter().all(|out| out.waiting.is_empty())
        });
        if done {
            self.connections.remove(&id);
        }
    }
}
