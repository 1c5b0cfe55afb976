//! All sockets of an engine, and what happens to them however the engine waits.
//!
//! An engine brings readiness or completions, and nothing else. `W` is what it keeps with each
//! socket to wait for it; it begins as the default.

use std::io;
use std::net::{SocketAddr, TcpStream};

use crate::engine::failure::{Complaints, close_reason, is_exhaustion};
use crate::engine::listeners::Listeners;
use crate::engine::shared_udp::{SharedSocket, SharedUdp};
use crate::engine::stamp_queue::StampQueue;
use crate::engine::stamping::Stamping;
use crate::engine::stream::{Role, Stream};
use crate::engine::tuning::SocketTuning;
use crate::engine::udp_port::UdpPort;
use crate::engine::unreachable::Unreachable;
use crate::engine::{Core, EngineConfig, EngineError};
use crate::proto::SocketId;
use crate::sys;

/// The kernel is asked how many segments of a connection it has sent again no more often than this.
const RETRANSMITS_EVERY_NS: u64 = 100_000_000;

/// A socket that the core has named.
#[derive(Debug)]
pub(super) enum Kind<W> {
    Udp(UdpFlow),
    Stream(Stream<W>),
}

/// A flow on a shared UDP socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct UdpFlow {
    /// The place of the shared socket.
    pub(super) place: usize,
    pub(super) remote: SocketAddr,
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
    tuning: SocketTuning,
}

impl<W: Default> Sockets<W> {
    /// Opens the listeners.
    pub(super) fn open(config: &EngineConfig) -> Result<Self, EngineError> {
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
            tuning,
        })
    }

    /// Gives a flow to `remote` a shared socket. If none will do a fresh one is opened, and given
    /// to `watch` with its place.
    pub(super) fn open_udp(
        &mut self,
        id: SocketId,
        remote: SocketAddr,
        watch: impl FnOnce(&UdpPort<W>, usize) -> io::Result<()>,
    ) -> io::Result<()> {
        let route = sys::udp::route(remote)?;
        let place = match self.shared.find(route.local, route.remote) {
            Some(place) => place,
            None => {
                let socket = sys::udp::open(route.local)?;
                let port = UdpPort::new(socket, &mut self.tuning, &self.stamping);
                let place = self.shared.next_place();
                watch(&port, place)?;
                self.shared.insert(SharedSocket::new(port, route.local));
                place
            }
        };
        self.shared.join(place, route.remote, id);
        let remote = route.remote;
        self.table.insert(id, Kind::Udp(UdpFlow { place, remote }));
        Ok(())
    }

    /// Begins a connection, and gives its socket to `watch`. True if it is established already.
    pub(super) fn open_stream(
        &mut self,
        id: SocketId,
        role: Role,
        remote: SocketAddr,
        watch: impl FnOnce(&TcpStream) -> io::Result<()>,
    ) -> io::Result<bool> {
        let (socket, is_established) = match role {
            Role::Probe => sys::tcp::connect_probe(remote)?,
            Role::Flow | Role::Accepted => sys::tcp::connect(remote)?,
        };
        watch(&socket)?;
        // It is not stamped before it is established.
        let stream = Stream::new(socket, role, StampQueue::off());
        self.table.insert(id, Kind::Stream(stream));
        Ok(is_established)
    }

    /// Takes in a connection of others, unless the core has no room for it.
    pub(super) fn take_in(
        &mut self,
        core: &mut Core<'_>,
        socket: TcpStream,
        watch: impl FnOnce(&TcpStream, SocketId) -> io::Result<()>,
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
        let stamps = self.stamping.begin_stream(&socket);
        match socket.set_nodelay(true).and_then(|()| watch(&socket, id)) {
            Ok(()) => {
                let stream = Stream::new(socket, Role::Accepted, stamps);
                self.table.insert(id, Kind::Stream(stream));
            }
            Err(error) => self.fail(core, id, &error),
        }
    }

    /// Begins to stamp a connection that was just established. For a connect probe it returns the
    /// duration of the handshake instead.
    pub(super) fn establish(&mut self, id: SocketId) -> Option<u64> {
        let stream = self.table.stream_mut(id)?;
        stream.is_connecting = false;
        if stream.role == Role::Probe {
            return sys::tcp::handshake_ns(&stream.stamped.socket);
        }
        stream.stamped.stamps = self.stamping.begin_stream(&stream.stamped.socket);
        None
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
    /// core whose datagrams did not arrive, and to the log.
    pub(super) fn report_icmp(&mut self, core: &mut Core<'_>, place: usize) {
        if self.stamping.reports.is_empty() {
            return;
        }
        let now = core.clock.mono();
        for report in self.stamping.reports.drain(..) {
            // A flow that has left its socket hears of nothing.
            if let Some(shared) = self.shared.get_mut(place)
                && let Some(flow) = shared.flow(report.to)
            {
                core.prober.handle_unreachable(flow);
                self.unreachable.handle_report(now, &report, shared.local());
            }
        }
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

    /// Closes a socket. The core hears nothing but its last figures.
    pub(super) fn close(&mut self, core: &mut Core<'_>, id: SocketId) {
        match self.table.remove(id) {
            Some(Kind::Udp(flow)) => self.shared.leave(flow.place, flow.remote),
            Some(Kind::Stream(stream)) => {
                self.unwritten -= stream.unwritten();
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
