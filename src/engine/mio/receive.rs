//! What the kernel has to say: connections, datagrams, bytes, stamps and failures.

use std::collections::VecDeque;
use std::io;

use mio::event::Event;
use mio::{Interest, Registry};

use super::MioEngine;
use super::watch::{Left, Readiness, Source, register};
use crate::clock::Clock;
use crate::engine::failure::is_exhaustion;
use crate::engine::stream::Stream;
use crate::engine::udp_port::UdpPort;
use crate::engine::{Core, Engine};
use crate::limits::{ACCEPTS_PER_TURN_MAX, RECEIVES_PER_TURN_MAX, STREAM_READ_BYTES};
use crate::proto::{CloseReason, Headers, ListenerId, Mono, Now};
use crate::sys;
use crate::sys::batch::Inbox;

/// After the descriptors ran out, connections are accepted again this much later: no new edge
/// tells of those that are there already.
const ACCEPT_AGAIN_NS: u64 = 100_000_000;

fn enqueue(ready: &mut VecDeque<Source>, wait: &mut Readiness, source: Source) {
    if !std::mem::replace(&mut wait.is_queued, true) {
        ready.push_back(source);
    }
}

impl MioEngine {
    /// A UDP listener has requests, or stamps of replies have come for it.
    pub(super) fn handle_listener_event(
        &mut self,
        core: &mut Core<'_>,
        place: usize,
        event: &Event,
    ) {
        let sockets = &mut self.sockets;
        let port = &mut sockets.listeners.udp[place];
        if event.is_error() {
            sockets.stamping.empty(core, &mut port.stamped);
        }
        if event.is_readable() || !event.is_error() {
            enqueue(&mut self.ready, &mut port.wait, Source::Listener(place));
        }
    }

    pub(super) fn queue_acceptor(&mut self, place: usize) {
        let wait = &mut self.sockets.listeners.tcp[place].wait;
        enqueue(&mut self.ready, wait, Source::Acceptor(place));
    }

    /// A shared UDP socket has replies, or its error queue has stamps or ICMP errors.
    pub(super) fn handle_shared_event(&mut self, core: &mut Core<'_>, place: usize, event: &Event) {
        let sockets = &mut self.sockets;
        let Some(shared) = sockets.shared.get_mut(place) else {
            return;
        };
        let port = &mut shared.port;
        if event.is_error() {
            sockets.stamping.empty(core, &mut port.stamped);
            // If the error queue had no room, an error is left without its entry. The next call
            // would fail of it, whoever that is for.
            let _ = port.stamped.socket.take_error();
        }
        if event.is_readable() {
            enqueue(&mut self.ready, &mut port.wait, Source::Shared(place));
        }
        sockets.report_icmp(core, place);
    }

    /// A stream is established, has failed, has bytes or room, or stamps have come for it.
    pub(super) fn handle_stream_event(&mut self, core: &mut Core<'_>, index: usize, event: &Event) {
        let sockets = &mut self.sockets;
        let Some((id, stream)) = sockets.table.stream_at(index) else {
            return;
        };
        stream.wait.is_ending |= event.is_read_closed();
        if stream.is_connecting {
            if !(event.is_writable() || event.is_error()) {
                return;
            }
            match is_established(stream) {
                Ok(true) => self.connected(core, id),
                Ok(false) => return,
                Err(error) => return sockets.fail(core, id, &error),
            }
        } else {
            if event.is_error() {
                sockets.stamping.empty(core, &mut stream.stamped);
                // Stamps alone leave no error.
                if let Some(error) = stream.stamped.socket.take_error().unwrap_or_else(Some) {
                    return sockets.fail(core, id, &error);
                }
            }
            if event.is_writable() && stream.unwritten() > 0 {
                self.flush_stream(core, id);
            }
        }
        if (event.is_readable() || event.is_read_closed())
            && let Some(stream) = self.sockets.table.stream_mut(id)
        {
            enqueue(&mut self.ready, &mut stream.wait, Source::Stream(index));
        }
    }

    /// Reads from the sockets that have something, each in its turn, up to a bounded number.
    ///
    /// Every socket that had something by now is read once at least. With a fixed number, a turn
    /// that was long because many probes were due would take in no more than a short one. What
    /// comes would then pile up for good once the host was slow for a moment.
    pub(super) fn receive(&mut self, core: &mut Core<'_>) {
        // A stream's message counts beside its read, and datagrams come as long as streams are
        // read.
        let mut budget = RECEIVES_PER_TURN_MAX + 4 * self.ready.len();
        while budget > 0
            && let Some(source) = self.ready.pop_front()
        {
            let left = match source {
                Source::Shared(place) => self.receive_replies(core, place, &mut budget),
                Source::Listener(place) => self.receive_requests(core, place, &mut budget),
                Source::Acceptor(place) => self.accept(core, place, &mut budget),
                Source::Stream(index) => self.receive_bytes(core, index, &mut budget),
                Source::Timer | Source::Waker => Left::Nothing,
            };
            self.transmit(core);
            match left {
                Left::Nothing => {}
                Left::More => self.ready.push_back(source),
                Left::Unwatched => self.unwatched.push(source),
            }
        }
        self.ready.extend(self.unwatched.drain(..));
    }

    /// Reads a batch of replies from a shared socket.
    fn receive_replies(&mut self, core: &mut Core<'_>, place: usize, budget: &mut usize) -> Left {
        let sockets = &mut self.sockets;
        let Some(shared) = sockets.shared.get_mut(place) else {
            return Left::Nothing;
        };
        // A request's own stamp goes before its reply.
        let port = &mut shared.port;
        sockets.stamping.collect(core, &mut port.stamped);
        let source = Source::Shared(place);
        let registry = self.poll.registry();
        let mut read = read_port(&mut self.inbox, core.clock, registry, port, source, budget);
        for index in 0..read.count {
            let incoming = self.inbox.datagram(index);
            // One from anyone else is no reply, whatever it says.
            let Some(from) = incoming.from else { continue };
            let Some(flow) = shared.flow(from) else {
                if !shared.has_probed(from) {
                    core.prober.handle_stray(read.now, from, incoming.payload);
                }
                continue;
            };
            let arrival = sockets
                .stamping
                .arrival(core, &mut read.now, incoming.stamps);
            core.prober.handle_datagram(arrival, flow, incoming.payload);
            sockets.unreachable.handle_reply(read.now.mono, from);
        }
        read.left
    }

    /// Reads a batch of requests from a listener.
    fn receive_requests(&mut self, core: &mut Core<'_>, place: usize, budget: &mut usize) -> Left {
        let sockets = &mut self.sockets;
        let local_port = sockets.listeners.listening.udp[place].port();
        let port = &mut sockets.listeners.udp[place];
        if port.wait.watch.is_off() {
            // Nobody else tells of stamps that come late.
            sockets.stamping.collect(core, &mut port.stamped);
        }
        let source = Source::Listener(place);
        let registry = self.poll.registry();
        let mut read = read_port(&mut self.inbox, core.clock, registry, port, source, budget);
        let listener = ListenerId(u32::try_from(place).unwrap_or(u32::MAX));
        for index in 0..read.count {
            let incoming = self.inbox.datagram(index);
            let Some(from) = incoming.from else { continue };
            let arrival = sockets
                .stamping
                .arrival(core, &mut read.now, incoming.stamps);
            let headers = Headers {
                from,
                to: incoming.local,
                port: local_port,
                ttl: incoming.ttl,
                tos: incoming.tos,
            };
            core.prober
                .handle_request(arrival, listener, &headers, incoming.payload);
        }
        read.left
    }

    /// Accepts connections until there are no more or the turn is over.
    fn accept(&mut self, core: &mut Core<'_>, place: usize, budget: &mut usize) -> Left {
        let sockets = &mut self.sockets;
        let mut left = Left::More;
        for _ in 0..ACCEPTS_PER_TURN_MAX.min(*budget) {
            *budget -= 1;
            match sys::tcp::accept(&sockets.listeners.tcp[place].socket) {
                Ok(socket) => sockets.take_in(core, socket, |socket, id| {
                    let source = Source::Stream(id.index as usize);
                    register(self.poll.registry(), socket, source, Interest::READABLE)
                }),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => left = Left::Nothing,
                Err(error) if is_exhaustion(&error) => {
                    let now = core.clock.mono();
                    sockets
                        .complaints
                        .complain(now, "accept a connection", &error);
                    self.accept_again = Some(now.plus(ACCEPT_AGAIN_NS));
                    left = Left::Nothing;
                }
                // The connection was gone before it was accepted: the next one may be there.
                Err(_) => {}
            }
            if left == Left::Nothing {
                break;
            }
        }
        sockets.listeners.tcp[place].wait.is_queued = left != Left::Nothing;
        left
    }

    /// Looks at the TCP listeners again that had to be left alone.
    pub(super) fn resume_accepting(&mut self, now: Mono) {
        if self.accept_again.is_some_and(|again| now >= again) {
            self.accept_again = None;
            for place in 0..self.sockets.listeners.tcp.len() {
                self.queue_acceptor(place);
            }
        }
    }

    /// Reads one chunk of a stream.
    fn receive_bytes(&mut self, core: &mut Core<'_>, index: usize, budget: &mut usize) -> Left {
        let sockets = &mut self.sockets;
        let Some((id, stream)) = sockets.table.stream_at(index) else {
            return Left::Nothing;
        };
        *budget -= 1;
        sockets.stamping.collect(core, &mut stream.stamped);
        match self.chunk.receive_stream(&stream.stamped.socket) {
            Ok(incoming) if incoming.payload.is_empty() => {
                sockets.close(core, id);
                let now = core.clock.now();
                core.prober.handle_closed(now, id, CloseReason::Finished);
                Left::Nothing
            }
            Ok(incoming) => {
                // The stream is drained after a short read, as epoll(7) has it, unless its end
                // is still to be read.
                let is_short = incoming.payload.len() < STREAM_READ_BYTES;
                let is_drained = is_short && !stream.wait.is_ending;
                stream.wait.is_queued = !is_drained;
                let mut now = core.clock.now();
                let stamping = &mut sockets.stamping;
                let arrival = stamping.arrival(core, &mut now, incoming.stamps);
                let messages = core.prober.handle_stream(arrival, id, incoming.payload);
                *budget = budget.saturating_sub(messages);
                sockets.report_retransmits(core, id);
                Left::of_watched(is_drained)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                stream.wait.is_queued = false;
                Left::Nothing
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Left::More,
            Err(error) => {
                sockets.fail(core, id, &error);
                Left::Nothing
            }
        }
    }
}

/// What a read of a UDP socket has left in the inbox.
struct Read {
    count: usize,
    /// When it was there.
    now: Now,
    left: Left,
}

/// Reads a batch of datagrams into the inbox, and takes it off the turn's budget.
fn read_port(
    inbox: &mut Inbox,
    clock: &Clock,
    registry: &Registry,
    port: &mut UdpPort<Readiness>,
    source: Source,
    budget: &mut usize,
) -> Read {
    let received = inbox.receive(&port.stamped.socket, *budget);
    let now = clock.now();
    let watch = &mut port.wait.watch;
    let left = watch.after(&received, registry, &port.stamped.socket, source);
    port.wait.is_queued = left != Left::Nothing;
    let count = received.map_or(0, |(count, _)| count);
    // A read that finds nothing is not free either.
    *budget -= count.clamp(1, *budget);
    Read { count, now, left }
}

/// True if a connection is there; false if not yet. An error if it never will be.
fn is_established(stream: &Stream<Readiness>) -> io::Result<bool> {
    if let Some(error) = stream.stamped.socket.take_error()? {
        return Err(error);
    }
    match stream.stamped.socket.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}
