//! All sockets of an engine, and what happens to them however the engine waits.
//!
//! An engine brings readiness or completions, and nothing else. `W` is what it keeps with each
//! socket to wait for it; it begins as the default.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::engine::failure::{Complaints, close_reason, is_exhaustion};
use crate::engine::listeners::Listeners;
use crate::engine::shared_udp::{SharedSocket, SharedUdp};
use crate::engine::stamp_queue::StampQueue;
use crate::engine::stamping::Stamping;
use crate::engine::stream::{Role, Stream, Written};
use crate::engine::tuning::SocketTuning;
use crate::engine::udp_port::UdpPort;
use crate::engine::unreachable::Unreachable;
use crate::engine::{Core, EngineConfig, EngineError};
use crate::limits::UNWRITTEN_BYTES_MAX;
use crate::proto::{
    Arrival, CloseReason, Headers, HopAnswer, ListenerId, Marks, Now, Refused, SocketId,
};
use crate::sys;
use crate::sys::sockets::TcpStream;
use crate::sys::words::{Incoming, MarkError};

/// The kernel is asked how many segments of a connection it has sent again no more often than this.
const RETRANSMITS_EVERY_NS: u64 = 100_000_000;

/// A socket that the core has named.
#[derive(Debug)]
pub(super) enum Kind<W> {
    Udp(UdpFlow<W>),
    Stream(Stream<W>),
}

/// A flow on a shared UDP socket.
#[derive(Debug)]
pub(super) struct UdpFlow<W> {
    /// The place of the shared socket.
    pub(super) place: usize,
    pub(super) remote: SocketAddr,
    pub(super) wait: W,
}

#[derive(Debug)]
struct Entry<W> {
    id: SocketId,
    kind: Kind<W>,
}

/// Sockets by the index that the core gave them.
#[derive(Debug)]
pub(super) struct Table<W>(Vec<Option<Entry<W>>>);

impl<W> Table<W> {
    /// Puts a socket in its place. One left there by an earlier generation is dropped.
    fn insert(&mut self, id: SocketId, kind: Kind<W>) {
        let index = id.index as usize;
        if index >= self.0.len() {
            self.0.resize_with(index + 1, || None);
        }
        self.0[index] = Some(Entry { id, kind });
    }

    /// Returns the socket, unless its index belongs to another one by now.
    pub(super) fn get_mut(&mut self, id: SocketId) -> Option<&mut Kind<W>> {
        let entry = self.0.get_mut(id.index as usize)?.as_mut()?;
        (entry.id == id).then_some(&mut entry.kind)
    }

    /// Returns the socket if it is a stream.
    pub(super) fn stream_mut(&mut self, id: SocketId) -> Option<&mut Stream<W>> {
        match self.get_mut(id)? {
            Kind::Stream(stream) => Some(stream),
            Kind::Udp(_) => None,
        }
    }

    /// Returns whatever stream has this index now.
    pub(super) fn stream_at(&mut self, index: usize) -> Option<(SocketId, &mut Stream<W>)> {
        let entry = self.0.get_mut(index)?.as_mut()?;
        match &mut entry.kind {
            Kind::Stream(stream) => Some((entry.id, stream)),
            Kind::Udp(_) => None,
        }
    }

    fn remove(&mut self, id: SocketId) -> Option<Kind<W>> {
        let entry = self.0.get_mut(id.index as usize)?;
        entry
            .take_if(|entry| entry.id == id)
            .map(|entry| entry.kind)
    }
}

/// Where a socket is to lead, and by which way.
#[derive(Debug)]
pub(super) struct Toward {
    pub(super) remote: SocketAddr,
    pub(super) marks: Arc<Marks>,
    /// Where the socket begins to look among the source ports.
    pub(super) place: u32,
}

impl Toward {
    /// Opens a socket on the first of the source ports that is free, or on port 0, which is any, where none is given.
    fn first_free<T>(&self, mut open: impl FnMut(u16) -> io::Result<T>) -> io::Result<T> {
        let Some(ports) = self.marks.source_ports else {
            return open(0);
        };
        for port in ports.from(self.place) {
            match open(port) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                opened => return opened,
            }
        }
        Err(MarkError::NoPort.into())
    }
}

/// Returns the error of a connection that was begun from `port`. Of a given one that is bound already, the system says
/// so that it has a connection to this peer.
fn taken_port(port: u16, error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable if port != 0 => io::ErrorKind::AddrInUse.into(),
        _ => error,
    }
}

/// All sockets, and what they share.
#[derive(Debug)]
pub(super) struct Sockets<W> {
    pub(super) listeners: Listeners<W>,
    pub(super) shared: SharedUdp<W>,
    pub(super) table: Table<W>,
    pub(super) stamping: Stamping,
    pub(super) unreachable: Unreachable,
    pub(super) complaints: Complaints,
    /// Bytes that the kernel has not taken, over all streams.
    pub(super) unwritten: usize,
    /// Connections that we have begun and not closed.
    pub(super) streams_of_ours: usize,
    /// Those of them whose handshake is timed and goes on.
    pub(super) handshakes: usize,
    /// The engine takes the stamps of our flows' datagrams itself, later than they are sent.
    pub(super) defers_stamps: bool,
    tuning: SocketTuning,
}

impl<W: Default> Sockets<W> {
    /// Opens the listeners.
    pub(super) fn open(config: &EngineConfig) -> Result<Self, EngineError> {
        if let Some(lacks) = sys::LACKS {
            tracing::info!("{lacks}");
        }
        let stamping = Stamping::new(config.timestamps);
        let mut tuning = SocketTuning::new(config.sockets);
        Ok(Self {
            listeners: Listeners::open(config, &mut tuning, &stamping)?,
            shared: SharedUdp::default(),
            table: Table(Vec::new()),
            stamping,
            unreachable: Unreachable::default(),
            complaints: Complaints::default(),
            unwritten: 0,
            streams_of_ours: 0,
            handshakes: 0,
            defers_stamps: false,
            tuning,
        })
    }

    /// Gives a flow a shared socket. If none will do a fresh one is opened, and given to `watch` with
    /// its place.
    pub(super) fn open_udp(
        &mut self,
        id: SocketId,
        to: &Toward,
        mut watch: impl FnMut(&mut UdpPort<W>, usize) -> io::Result<()>,
    ) -> io::Result<()> {
        let route = sys::udp::route(to.remote, &to.marks)?;
        let mut local = route.local;
        let place = to.first_free(|port| {
            local.set_port(port);
            if let Some(place) = self.shared.find(local, route.remote, &to.marks) {
                return Ok(place);
            }
            let socket = sys::udp::open(local, &to.marks)?;
            let mut port = UdpPort::new(socket, &mut self.tuning, &self.stamping);
            let place = self.shared.next_place();
            watch(&mut port, place)?;
            self.shared
                .insert(SharedSocket::new(port, local, &to.marks));
            Ok(place)
        })?;
        self.shared.join(place, route.remote, id);
        let flow = UdpFlow {
            place,
            remote: route.remote,
            wait: W::default(),
        };
        self.table.insert(id, Kind::Udp(flow));
        Ok(())
    }

    /// Opens a socket for a connection, which `begin` begins and waits for. Returns what that returns: true if it is
    /// established already.
    pub(super) fn open_stream(
        &mut self,
        id: SocketId,
        role: Role,
        to: &Toward,
        mut begin: impl FnMut(&mut TcpStream) -> io::Result<bool>,
    ) -> io::Result<bool> {
        let (socket, is_established) = to.first_free(|port| {
            let mut socket = match role {
                Role::Probe => sys::tcp::open_probe(to.remote, &to.marks, port)?,
                Role::Flow | Role::Accepted => sys::tcp::open(to.remote, &to.marks, port)?,
            };
            let begun = begin(&mut socket);
            let is_established = begun.map_err(|error| taken_port(port, error))?;
            Ok((socket, is_established))
        })?;
        // It is not stamped before it is established.
        let stream = Stream::new(socket, role, StampQueue::off());
        self.table.insert(id, Kind::Stream(stream));
        self.streams_of_ours += 1;
        self.handshakes += usize::from(role == Role::Probe);
        Ok(is_established)
    }

    /// Takes in a connection of others, unless the core has no room for it.
    pub(super) fn take_in(
        &mut self,
        core: &mut Core<'_>,
        mut socket: TcpStream,
        watch: impl FnOnce(&mut TcpStream, SocketId) -> io::Result<()>,
    ) {
        let now = core.clock.now();
        // A peer that is gone already has no address any more.
        let is_admitted = |from: SocketAddr| core.prober.admits(now, from.ip());
        if !socket.peer_addr().is_ok_and(is_admitted) {
            return;
        }
        let Some(id) = core.prober.handle_accept(now) else {
            return;
        };
        // It is measured all the same.
        sys::tcp::reflect_class(&socket).ok();
        let stamps = self.stamping.begin_stream(&socket);
        match socket
            .set_nodelay(true)
            .and_then(|()| watch(&mut socket, id))
        {
            Ok(()) => {
                let stream = Stream::new(socket, Role::Accepted, stamps);
                self.table.insert(id, Kind::Stream(stream));
            }
            Err(error) => self.fail(core, id, &error),
        }
    }

    /// A connection was just established: begins to stamp it, or counts a timed handshake as over.
    pub(super) fn establish(&mut self, id: SocketId) {
        let Some(stream) = self.table.stream_mut(id) else {
            return;
        };
        let was_connecting = std::mem::take(&mut stream.is_connecting);
        if stream.role == Role::Probe {
            self.handshakes -= usize::from(was_connecting);
        } else {
            stream.stamped.stamps = self.stamping.begin_stream(&stream.stamped.socket);
        }
    }

    /// Returns how many bytes a UDP socket's receive buffer takes.
    pub(super) fn room_bytes(&self) -> usize {
        self.tuning.room_bytes
    }

    /// Returns the address and port that a lasting socket is bound to.
    pub(super) fn local(&mut self, id: SocketId) -> Option<SocketAddr> {
        let local = match self.table.get_mut(id)? {
            Kind::Udp(flow) => self
                .shared
                .get_mut(flow.place)?
                .port
                .stamped
                .socket
                .local_addr(),
            Kind::Stream(stream) if stream.role == Role::Flow => stream.stamped.socket.local_addr(),
            Kind::Stream(_) => return None,
        };
        local.ok()
    }

    /// Reports the ICMP errors taken off the error queue of the shared socket at `place`: to the
    /// core whose datagrams did not arrive, and to the log. True if there was one about a probe: those about datagrams
    /// that were to learn a hop are its answers.
    pub(super) fn report_icmp(&mut self, core: &mut Core<'_>, place: usize) -> bool {
        if self.stamping.reports.is_empty() {
            return false;
        }
        let (mut now, mut is_trouble) = (core.clock.now(), false);
        let mut reports = std::mem::take(&mut self.stamping.reports);
        for report in reports.drain(..) {
            // A flow that has left its socket hears of nothing.
            let Some(shared) = self.shared.get_mut(place) else {
                continue;
            };
            let Some(flow) = shared.flow(report.to) else {
                continue;
            };
            if core.prober.awaits_hops() {
                let stamp = self.stamping.judge(core, &mut now, report.stamps);
                let arrival = Arrival {
                    stamp,
                    ..Arrival::unstamped(now)
                };
                let answer = HopAnswer {
                    by: report.by,
                    icmp: report.icmp,
                    quote: &report.quote,
                    extension_at: report.extension_at,
                };
                if core.prober.handle_hop(arrival, flow, &answer) {
                    continue;
                }
            }
            is_trouble = true;
            let (by, icmp) = (report.by, report.icmp);
            core.prober.handle_unreachable(flow, Refused { by, icmp });
            self.unreachable
                .handle_report(now.mono, &report, shared.local());
        }
        self.stamping.reports = reports;
        is_trouble
    }

    /// Tells the core, now and then, how many segments of a flow TCP has sent again.
    pub(super) fn report_retransmits(&mut self, core: &mut Core<'_>, id: SocketId) {
        let stream = self.table.stream_mut(id);
        let Some(stream) = stream.filter(|stream| stream.role == Role::Flow) else {
            return;
        };
        let now = core.clock.mono();
        if now < stream.ask_at {
            return;
        }
        stream.ask_at = now.plus(RETRANSMITS_EVERY_NS);
        if let Some(total) = sys::tcp::retransmits(&stream.stamped.socket) {
            core.prober.handle_retransmits(id, total);
        }
    }

    /// Takes in what became of a write to a stream that had `before` bytes left. True if room is to be waited for from
    /// here on.
    pub(super) fn handle_written(
        &mut self,
        core: &mut Core<'_>,
        id: SocketId,
        before: usize,
        written: io::Result<Written>,
    ) -> bool {
        match written {
            Ok(Written::All) => self.report_retransmits(core, id),
            Ok(Written::Left(bytes)) => {
                self.unwritten += bytes - before;
                core.prober.handle_blocked(id, true);
                if self.unwritten <= UNWRITTEN_BYTES_MAX {
                    return before == 0;
                }
                self.close(core, id);
                let now = core.clock.now();
                core.prober.handle_closed(now, id, CloseReason::Exhausted);
            }
            Err(error) => self.fail(core, id, &error),
        }
        false
    }

    /// Writes what is left of a stream, now that the kernel has room. True if nothing is left.
    pub(super) fn flush(&mut self, core: &mut Core<'_>, id: SocketId) -> bool {
        let Some(stream) = self.table.stream_mut(id) else {
            return false;
        };
        let before = stream.unwritten();
        let written = stream.flush();
        let after = stream.unwritten();
        self.stamping.collect(core, &mut stream.stamped);
        match written {
            Ok(written) => {
                self.unwritten -= before - after;
                core.prober.handle_blocked(id, written != Written::All);
                written == Written::All
            }
            Err(error) => {
                self.fail(core, id, &error);
                false
            }
        }
    }

    /// Gives the core a datagram that has come to the shared socket at `place`, if it is a reply.
    pub(super) fn handle_reply(
        &mut self,
        core: &mut Core<'_>,
        now: &mut Now,
        place: usize,
        incoming: &Incoming<'_>,
    ) {
        if let Some(shared) = self.shared.get_mut(place) {
            shared.port.note_dropped(core, incoming);
        }
        // One from anyone else is no reply, whatever it says.
        let (Some(from), Some(shared)) = (incoming.from, self.shared.get_mut(place)) else {
            return;
        };
        let Some(flow) = shared.flow(from) else {
            if !shared.has_probed(from) {
                core.prober.handle_stray(*now, from, incoming.payload);
            }
            return;
        };
        let arrival = Arrival {
            tos: incoming.tos,
            ..self.stamping.arrival(core, now, incoming.stamps)
        };
        core.prober.handle_datagram(arrival, flow, incoming.payload);
        self.unreachable.handle_reply(now.mono, from);
    }

    /// Gives the core a datagram that has come to the listener at `place`.
    pub(super) fn handle_request(
        &mut self,
        core: &mut Core<'_>,
        now: &mut Now,
        place: usize,
        incoming: &Incoming<'_>,
    ) {
        self.listeners.udp[place].note_dropped(core, incoming);
        let Some(from) = incoming.from else {
            return;
        };
        let arrival = self.stamping.arrival(core, now, incoming.stamps);
        let headers = Headers {
            from,
            to: incoming.local,
            port: self.listeners.listening.udp[place].port(),
            ttl: incoming.ttl,
            tos: incoming.tos,
        };
        let listener = ListenerId(u32::try_from(place).unwrap_or(u32::MAX));
        core.prober
            .handle_request(arrival, listener, &headers, incoming.payload);
    }

    /// Gives the core what has come on a stream. Returns how many messages that were.
    pub(super) fn handle_bytes(
        &mut self,
        core: &mut Core<'_>,
        now: &mut Now,
        id: SocketId,
        incoming: &Incoming<'_>,
    ) -> usize {
        let arrival = self.stamping.arrival(core, now, incoming.stamps);
        let messages = core.prober.handle_stream(arrival, id, incoming.payload);
        self.report_retransmits(core, id);
        messages
    }

    /// Closes a stream whose peer has sent its end, and tells the core.
    pub(super) fn finish(&mut self, core: &mut Core<'_>, id: SocketId) {
        self.close(core, id);
        let now = core.clock.now();
        core.prober.handle_closed(now, id, CloseReason::Finished);
    }

    /// Closes a socket. The core hears nothing but its last figures.
    pub(super) fn close(&mut self, core: &mut Core<'_>, id: SocketId) {
        match self.table.remove(id) {
            Some(Kind::Udp(flow)) => self.shared.leave(flow.place, flow.remote),
            Some(Kind::Stream(stream)) => {
                self.unwritten -= stream.unwritten();
                self.streams_of_ours -= usize::from(stream.role != Role::Accepted);
                let was_timed = stream.role == Role::Probe && stream.is_connecting;
                self.handshakes -= usize::from(was_timed);
                if stream.role == Role::Flow
                    && let Some(total) = sys::tcp::retransmits(&stream.stamped.socket)
                {
                    core.prober.handle_retransmits(id, total);
                }
            }
            None => {}
        }
    }

    /// Closes a socket that has failed, and tells the core.
    pub(super) fn fail(&mut self, core: &mut Core<'_>, id: SocketId, error: &io::Error) {
        self.close(core, id);
        let now = core.clock.now();
        if is_exhaustion(error) {
            self.complaints.complain(now.mono, "open a socket", error);
        }
        core.prober.handle_closed(now, id, close_reason(error));
    }
}
