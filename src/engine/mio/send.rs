//! What the core asks for: sockets opened and closed, datagrams and bytes sent.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;

use mio::{Interest, Token};

use super::{FIRST_SHARED, MioEngine};
use crate::engine::Core;
use crate::engine::batch::Lane;
use crate::engine::failure::{close_reason, is_exhaustion};
use crate::engine::shared_udp::SharedSocket;
use crate::engine::sockets::{Entry, Kind, Role, Stream, Udp, Written};
use crate::limits::{DATAGRAMS_PER_CALL_MAX, UNWRITTEN_BYTES_MAX};
use crate::proto::{CloseReason, SocketId, StampKey, Transmit};
use crate::sys;

/// So many times a datagram is sent again because the send may have failed of what the network says
/// of another one. Each failure uses up one such message, and it takes microseconds: that many more
/// seldom come meanwhile.
const PENDING_ERRORS_MAX: u32 = 3;

/// How much of a connection was sent again is asked for no more often than this.
const RETRANSMITS_EVERY_NS: u64 = 100_000_000;

impl MioEngine {
    pub(super) fn open(&mut self, core: &mut Core<'_>, socket: SocketId, transmit: &Transmit) {
        let opened = match transmit {
            Transmit::OpenUdp { remote, .. } => self.place(*remote).map(|(place, remote)| {
                self.shared.join(place, remote, socket);
                (Kind::Udp(Udp { place, remote }), true)
            }),
            Transmit::OpenTcp { remote, .. } => sys::tcp::connect(*remote)
                .map(|(stream, done)| (Kind::Stream(Stream::new(stream, Role::Flow)), done)),
            Transmit::OpenProbe { remote, .. } => sys::tcp::connect_probe(*remote)
                .map(|(stream, done)| (Kind::Stream(Stream::new(stream, Role::Probe)), done)),
            _ => return,
        };
        let established = opened.and_then(|(mut kind, done)| {
            let token = self.token(socket);
            let registry = self.poll.registry();
            let both = Interest::READABLE | Interest::WRITABLE;
            if let Kind::Stream(stream) = &mut kind {
                registry.register(&mut stream.socket, token, both)?;
            }
            self.sockets.insert(socket, kind);
            Ok(done)
        });
        match established {
            Ok(true) => self.connected(core, socket),
            Ok(false) => {}
            Err(error) => self.fail(core, socket, &error),
        }
    }

    /// A shared socket for a flow to `remote`, a fresh one if there is none that will do; and where
    /// replies come from.
    fn place(&mut self, remote: SocketAddr) -> io::Result<(usize, SocketAddr)> {
        let (local, remote) = sys::udp::route(remote)?;
        if let Some(place) = self.shared.find(local, remote) {
            return Ok((place, remote));
        }
        let mut socket = sys::udp::open(local)?;
        self.tuning.apply(&socket);
        let place = self.shared.next_place();
        let token = Token(FIRST_SHARED + place);
        let registry = self.poll.registry();
        registry.register(&mut socket, token, Interest::READABLE)?;
        let queue = self.stamping.begin_udp(&socket);
        self.shared.insert(SharedSocket::new(socket, queue, local));
        Ok((place, remote))
    }

    /// A socket that was opened can be used.
    pub(super) fn connected(&mut self, core: &mut Core<'_>, socket: SocketId) {
        let now = core.clock.now();
        let Some(stream) = self.sockets.stream_mut(socket) else {
            return core.prober.handle_connected(now, socket, None);
        };
        stream.connecting = false;
        if stream.role == Role::Probe {
            let handshake_ns = sys::tcp::handshake_ns(&stream.socket);
            return core.prober.handle_connected(now, socket, handshake_ns);
        }
        stream.queue = self.stamping.begin_stream(&stream.socket);
        match self.watch(socket, false) {
            Ok(()) => core.prober.handle_connected(now, socket, None),
            Err(error) => self.fail(core, socket, &error),
        }
    }

    /// Watches a stream, for room to write only while something waits for it: a stamp on the error
    /// queue would report the room there is anyhow, and end a wait for nothing.
    fn watch(&mut self, socket: SocketId, writes_wait: bool) -> io::Result<()> {
        let token = self.token(socket);
        let Some(stream) = self.sockets.stream_mut(socket) else {
            return Ok(());
        };
        let interest = if writes_wait {
            Interest::READABLE | Interest::WRITABLE
        } else {
            Interest::READABLE
        };
        let registry = self.poll.registry();
        registry.reregister(&mut stream.socket, token, interest)
    }

    /// Has the payload leave with the batch.
    pub(super) fn push_probe(&mut self, socket: SocketId, key: Option<StampKey>) {
        if let Some(Entry {
            kind: Kind::Udp(Udp { place, remote }),
            ..
        }) = self.sockets.get_mut(socket)
        {
            let lane = Lane::Shared(*place);
            self.batch
                .push(lane, (*remote, None), (Some(socket), key), &self.payload);
        }
    }

    /// Sends the batch if it may not wait for more.
    pub(super) fn flush_if(&mut self, at_once: bool, core: &mut Core<'_>) {
        if at_once || self.stamping.is_ours() || self.batch.is_full() {
            self.flush_batch(core);
        }
    }

    /// Sends what waits, in one call for each socket, and takes the stamps. False if something could
    /// not be sent.
    pub(super) fn flush_batch(&mut self, core: &mut Core<'_>) -> bool {
        if self.batch.is_empty() {
            return true;
        }
        self.batch.sort();
        let (mut start, mut all_sent) = (0, true);
        while let Some((lane, end)) = self.batch.run(start) {
            all_sent &= self.send_run(core, lane, start..end);
            start = end;
        }
        self.batch.clear();
        all_sent
    }

    fn send_run(&mut self, core: &mut Core<'_>, lane: Lane, mut range: Range<usize>) -> bool {
        let is_shared = matches!(lane, Lane::Shared(_));
        let found = match lane {
            Lane::Listener(place) => {
                let listener = self.udp.get_mut(place);
                listener.map(|listener| (&listener.socket, &mut listener.queue))
            }
            Lane::Shared(place) => self.shared.get_mut(place).map(|shared| {
                shared.listen_again(|| core.clock.mono());
                (&shared.socket, &mut shared.queue)
            }),
        };
        let Some((socket, queue)) = found else {
            return true;
        };
        let (mut all_sent, mut again, mut is_full) = (true, 0, false);
        while !range.is_empty() {
            let offered = range.len().min(DATAGRAMS_PER_CALL_MAX);
            match self.outbox.send(socket, self.batch.outgoing(range.clone())) {
                Ok(count) => {
                    let end = (range.start + count).min(range.end);
                    for sent in self.batch.pending(range.start..end) {
                        let key = self.stamping.wanted(sent.key);
                        queue.handle_sent(1, key, |key| core.prober.handle_stamp_missing(key));
                    }
                    // The stamps are there already unless the packets wait in a queue of the interface.
                    self.stamping.collect(core, socket, queue);
                    if count < offered && is_shared {
                        // What the next one failed of need not show again, but may have cost a number.
                        self.stamping.handle_unsent(core, socket, queue);
                    }
                    (range.start, again) = (end, 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.stamping.handle_unsent(core, socket, queue);
                    // A socket that has a datagram too long for one piece goes on in pieces. Here, too,
                    // a message about another one may be meant.
                    let in_pieces = sys::udp::is_too_long(&error)
                        && sys::udp::keep_whole(socket, false).is_ok();
                    let may_pass = in_pieces || is_shared && sys::icmp::may_be_of_another(&error);
                    if may_pass && again < PENDING_ERRORS_MAX {
                        again += 1;
                        continue;
                    }
                    is_full |= sys::icmp::is_full_queue(&error);
                    (all_sent, again) = (false, 0);
                    for unsent in self.batch.pending(range.start..range.start + 1) {
                        tracing::debug!(%error, to = %unsent.to, "the kernel did not take a datagram");
                        match unsent.flow {
                            Some(flow) => core.prober.handle_unsent(core.clock.now(), flow),
                            None => core.prober.handle_reply_unsent(),
                        }
                    }
                    range.start += 1;
                }
            }
        }
        if let Lane::Shared(place) = lane {
            if is_full && let Some(shared) = self.shared.get_mut(place) {
                shared.deafen(core.clock.mono());
            }
            self.tell_reports(core, place);
        }
        all_sent
    }

    pub(super) fn write_stream(
        &mut self,
        core: &mut Core<'_>,
        socket: SocketId,
        key: Option<StampKey>,
    ) {
        let Some(stream) = self.sockets.stream_mut(socket) else {
            return;
        };
        let key = self.stamping.wanted(key);
        let before = stream.unwritten();
        let written = stream.write(&self.payload, key, &mut |key| {
            core.prober.handle_stamp_missing(key);
        });
        self.stamping
            .collect(core, &stream.socket, &mut stream.queue);
        match written {
            Ok(Written::All) => self.tell_retransmits(core, socket),
            Ok(Written::Waiting(now_waiting)) => {
                self.unwritten += now_waiting - before;
                core.prober.handle_blocked(socket, true);
                if self.unwritten > UNWRITTEN_BYTES_MAX {
                    self.drop_socket(core, socket);
                    core.prober
                        .handle_closed(core.clock.now(), socket, CloseReason::Exhausted);
                } else if before == 0
                    && let Err(error) = self.watch(socket, true)
                {
                    self.fail(core, socket, &error);
                }
            }
            Err(error) => self.fail(core, socket, &error),
        }
    }

    /// There is room again for what waits.
    pub(super) fn flush(&mut self, core: &mut Core<'_>, socket: SocketId) {
        let Some(stream) = self.sockets.stream_mut(socket) else {
            return;
        };
        let before = stream.unwritten();
        let written = stream.flush(&mut |key| core.prober.handle_stamp_missing(key));
        let after = stream.unwritten();
        self.stamping
            .collect(core, &stream.socket, &mut stream.queue);
        let watched = written.and_then(|written| {
            self.unwritten -= before - after;
            core.prober.handle_blocked(socket, written != Written::All);
            match written {
                Written::All => self.watch(socket, false),
                Written::Waiting(_) => Ok(()),
            }
        });
        if let Err(error) = watched {
            self.fail(core, socket, &error);
        }
    }

    /// Tells the core how much TCP has sent again on a flow of ours, now and then.
    pub(super) fn tell_retransmits(&mut self, core: &mut Core<'_>, socket: SocketId) {
        let Some(stream) = self.sockets.stream_mut(socket) else {
            return;
        };
        if stream.role != Role::Flow {
            return;
        }
        let now = core.clock.mono();
        if now < stream.ask_at {
            return;
        }
        stream.ask_at = now.plus(RETRANSMITS_EVERY_NS);
        if let Some(total) = sys::tcp::retransmits(&stream.socket) {
            core.prober.handle_retransmits(socket, total);
        }
    }

    /// Closes a socket without a word to the core but its last figures.
    pub(super) fn drop_socket(&mut self, core: &mut Core<'_>, socket: SocketId) {
        let Some(entry) = self.sockets.remove(socket) else {
            return;
        };
        match entry.kind {
            Kind::Udp(Udp { place, remote }) => self.shared.leave(place, remote),
            Kind::Stream(stream) => {
                self.unwritten -= stream.unwritten();
                if stream.role == Role::Flow
                    && let Some(total) = sys::tcp::retransmits(&stream.socket)
                {
                    core.prober.handle_retransmits(socket, total);
                }
            }
        }
    }

    /// Closes a socket after an error and tells the core.
    pub(super) fn fail(&mut self, core: &mut Core<'_>, socket: SocketId, error: &io::Error) {
        self.drop_socket(core, socket);
        let now = core.clock.now();
        if is_exhaustion(error) {
            self.complaints.complain(now.mono, "open a socket", error);
        }
        core.prober.handle_closed(now, socket, close_reason(error));
    }
}
