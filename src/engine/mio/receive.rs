//! What the kernel has to say: connections, datagrams, bytes, stamps and failures.

use std::io;

use mio::event::Event;
use mio::{Interest, Token};

use super::watch::Left;
use super::{ACCEPT_AGAIN_NS, FIRST_LISTENER, FIRST_SHARED, MioEngine};
use crate::engine::failure::is_exhaustion;
use crate::engine::sockets::{Kind, Role, Stream};
use crate::engine::{Core, Engine};
use crate::limits::{ACCEPTS_PER_TURN_MAX, RECEIVES_PER_TURN_MAX, STREAM_READ_BYTES};
use crate::proto::{CloseReason, ListenerId, Mono, SocketId};
use crate::sys::stamp::receive;

impl MioEngine {
    /// A listener has something, or stamps have come for it.
    pub(super) fn sort_listener_event(&mut self, core: &mut Core<'_>, token: usize, event: &Event) {
        if event.is_error()
            && let Some(listener) = self.udp.get_mut(token - FIRST_LISTENER)
        {
            self.stamping
                .empty(core, &listener.socket, &mut listener.queue);
            if !event.is_readable() {
                return;
            }
        }
        self.queue_listener(token);
    }

    /// A socket that flows share has something, or stamps have come for it.
    pub(super) fn sort_shared_event(&mut self, core: &mut Core<'_>, place: usize, event: &Event) {
        let Some(shared) = self.shared.get_mut(place) else {
            return;
        };
        if event.is_error() {
            self.stamping.empty(core, &shared.socket, &mut shared.queue);
            // Where the error queue had no room an error is left over without its entry: it would be
            // told by the next call, whoever that is for.
            let _ = shared.socket.take_error();
        }
        if event.is_readable() && !std::mem::replace(&mut shared.queued, true) {
            self.ready.push_back(Token(FIRST_SHARED + place));
        }
        self.tell_reports(core, place);
    }

    /// Tells the core whose packets did not get there, and people what that means.
    pub(super) fn tell_reports(&mut self, core: &mut Core<'_>, place: usize) {
        if self.stamping.reports.is_empty() {
            return;
        }
        let now = core.clock.mono();
        for report in self.stamping.reports.drain(..) {
            let shared = self.shared.get_mut(place);
            let Some((flow, local)) =
                shared.and_then(|shared| Some((shared.flow(report.to)?, shared.local())))
            else {
                continue; // Of a flow that has left.
            };
            core.prober.handle_unreachable(flow);
            if !self.unreachable.handle_report(now, &report) {
                tracing::trace!(?report, "a datagram did not get there");
                continue;
            }
            let (address, port) = (report.to.ip(), report.to.port());
            let by = match report.by {
                Some(by) if by == local.to_canonical() => "this host itself".to_owned(),
                Some(by) => by.to_string(),
                None => "nobody".to_owned(),
            };
            tracing::warn!(
                "UDP port {port} of {address}: {}, says {by}",
                report.trouble
            );
        }
    }

    pub(super) fn sort_socket_event(&mut self, core: &mut Core<'_>, index: usize, event: &Event) {
        let Some(entry) = self.sockets.at(index) else {
            return;
        };
        let id = entry.id;
        match &mut entry.kind {
            Kind::Udp(_) => return,
            Kind::Stream(stream) => {
                stream.ending |= event.is_read_closed();
                if stream.connecting {
                    if !(event.is_writable() || event.is_error()) {
                        return;
                    }
                    match established(stream) {
                        Ok(true) => self.connected(core, id),
                        Ok(false) => return,
                        Err(error) => return self.fail(core, id, &error),
                    }
                } else {
                    if event.is_error() {
                        self.stamping.empty(core, &stream.socket, &mut stream.queue);
                        // Stamps alone leave no error.
                        if let Some(error) = stream.socket.take_error().unwrap_or_else(Some) {
                            return self.fail(core, id, &error);
                        }
                    }
                    if event.is_writable() && stream.unwritten() > 0 {
                        self.flush(core, id);
                    }
                }
            }
        }
        if (event.is_readable() || event.is_read_closed())
            && let Some(entry) = self.sockets.get_mut(id)
            && !std::mem::replace(&mut entry.queued, true)
        {
            self.ready.push_back(Token(self.first_socket() + index));
        }
    }

    /// Reads from the sockets that have something, each in its turn, up to a bounded number.
    ///
    /// Every socket that had something by now is read once at least. With a fixed number, a turn that was
    /// long because many probes were due would take no more in than a short one: what comes would pile
    /// up for good once the host was slow for a moment.
    pub(super) fn receive(&mut self, core: &mut Core<'_>) {
        // A stream's message counts beside its read, and datagrams come as long as streams are read.
        let mut left = RECEIVES_PER_TURN_MAX + 4 * self.ready.len();
        while left > 0
            && let Some(Token(token)) = self.ready.pop_front()
        {
            let listener = token.wrapping_sub(FIRST_LISTENER);
            let found = if token >= FIRST_SHARED {
                self.receive_replies(core, token - FIRST_SHARED, &mut left)
            } else if token >= self.first_socket() {
                let index = token - self.first_socket();
                Left::of_watched(self.receive_socket(core, index, &mut left))
            } else {
                let found = if listener < self.udp.len() {
                    self.receive_requests(core, listener, &mut left)
                } else {
                    let place = listener - self.udp.len();
                    Left::of_watched(self.accept(core, place, &mut left))
                };
                self.listener_queued[listener] = found != Left::Nothing;
                found
            };
            self.transmit(core);
            match found {
                Left::Nothing => {}
                Left::More => self.ready.push_back(Token(token)),
                Left::Unwatched => self.unwatched.push(Token(token)),
            }
        }
        self.ready.extend(self.unwatched.drain(..));
    }

    /// Reads one chunk of a stream. True if there is nothing more.
    fn receive_socket(&mut self, core: &mut Core<'_>, index: usize, left: &mut usize) -> bool {
        let Some(entry) = self.sockets.at(index) else {
            return true;
        };
        let id = entry.id;
        *left -= 1;
        let drained = self.receive_bytes(core, id, left);
        if drained && let Some(entry) = self.sockets.get_mut(id) {
            entry.queued = false;
        }
        drained
    }

    /// Reads a batch of replies from a socket that flows share.
    fn receive_replies(&mut self, core: &mut Core<'_>, place: usize, left: &mut usize) -> Left {
        let Some(shared) = self.shared.get_mut(place) else {
            return Left::Nothing;
        };
        // A request's own stamp goes before its reply.
        self.stamping
            .collect(core, &shared.socket, &mut shared.queue);
        let received = self.inbox.receive(&shared.socket, *left);
        let mut now = core.clock.now();
        let token = Token(FIRST_SHARED + place);
        let socket = (&mut shared.socket, token);
        let found = shared.watch.after(&received, self.poll.registry(), socket);
        match received {
            Ok((count, _)) => {
                *left -= count.min(*left);
                for index in 0..count {
                    let incoming = self.inbox.datagram(index);
                    let flow = incoming.from.and_then(|from| shared.flow(from));
                    // From anyone else it is as if nobody had the port.
                    let Some(flow) = flow else { continue };
                    let arrival = self.stamping.arrival(core, &mut now, incoming.stamps);
                    core.prober.handle_datagram(arrival, flow, incoming.payload);
                    if !self.unreachable.is_empty()
                        && let Some(from) = incoming.from
                        && self.unreachable.handle_reply(now.mono, from)
                    {
                        let (address, port) = (from.ip(), from.port());
                        tracing::info!("UDP port {port} of {address} answers again");
                    }
                }
            }
            Err(_) => *left -= 1,
        }
        shared.queued = found != Left::Nothing;
        found
    }

    fn receive_bytes(&mut self, core: &mut Core<'_>, id: SocketId, left: &mut usize) -> bool {
        let Some(stream) = self.sockets.stream_mut(id) else {
            return true;
        };
        self.stamping
            .collect(core, &stream.socket, &mut stream.queue);
        let buffer = &mut self.received[..STREAM_READ_BYTES];
        match receive(&stream.socket, buffer, &mut self.stamping.control) {
            Ok((0, _)) => {
                self.drop_socket(core, id);
                core.prober
                    .handle_closed(core.clock.now(), id, CloseReason::Finished);
                true
            }
            Ok((length, stamps)) => {
                // The stream is drained after a short read, as epoll(7) has it, unless its end
                // is still to be read.
                let drained = length < STREAM_READ_BYTES && !stream.ending;
                let mut now = core.clock.now();
                let arrival = self.stamping.arrival(core, &mut now, stamps);
                let messages = core
                    .prober
                    .handle_stream(arrival, id, &self.received[..length]);
                *left = left.saturating_sub(messages);
                self.tell_retransmits(core, id);
                drained
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => true,
                io::ErrorKind::Interrupted => false,
                _ => {
                    self.fail(core, id, &error);
                    true
                }
            },
        }
    }

    /// Reads a batch of requests.
    fn receive_requests(&mut self, core: &mut Core<'_>, listener: usize, left: &mut usize) -> Left {
        let asked = &mut self.udp[listener];
        if asked.watch.is_off() {
            // Nobody else tells of those that come late.
            self.stamping.collect(core, &asked.socket, &mut asked.queue);
        }
        let received = self.inbox.receive(&asked.socket, *left);
        let mut now = core.clock.now();
        let socket = (&mut asked.socket, Token(FIRST_LISTENER + listener));
        let found = asked.watch.after(&received, self.poll.registry(), socket);
        match received {
            Ok((count, _)) => {
                *left -= count.min(*left);
                let id = ListenerId(u32::try_from(listener).unwrap_or(u32::MAX));
                for index in 0..count {
                    let incoming = self.inbox.datagram(index);
                    let Some(from) = incoming.from else { continue };
                    let arrival = self.stamping.arrival(core, &mut now, incoming.stamps);
                    core.prober
                        .handle_request(arrival, id, from, incoming.local, incoming.payload);
                }
            }
            Err(_) => *left -= 1,
        }
        found
    }

    /// Accepts connections until there are no more or the turn is over.
    fn accept(&mut self, core: &mut Core<'_>, listener: usize, left: &mut usize) -> bool {
        for _ in 0..ACCEPTS_PER_TURN_MAX.min(*left) {
            *left -= 1;
            match self.tcp[listener].accept() {
                Ok((stream, _)) => self.take_in(core, stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if is_exhaustion(&error) => {
                    let now = core.clock.mono();
                    self.complaints.complain(now, "accept a connection", &error);
                    self.accept_again = Some(now.plus(ACCEPT_AGAIN_NS));
                    return true;
                }
                // The connection was gone before it was accepted: the next one may be there.
                Err(_) => {}
            }
        }
        false
    }

    fn take_in(&mut self, core: &mut Core<'_>, stream: mio::net::TcpStream) {
        let Some(socket) = core.prober.handle_accept(core.clock.now()) else {
            return;
        };
        let token = self.token(socket);
        let mut stream = Stream::new(stream, Role::Accepted);
        stream.connecting = false;
        stream.queue = self.stamping.begin_stream(&stream.socket);
        let registry = self.poll.registry();
        let watched = stream
            .socket
            .set_nodelay(true)
            .and_then(|()| registry.register(&mut stream.socket, token, Interest::READABLE));
        match watched {
            Ok(()) => drop(self.sockets.insert(socket, Kind::Stream(stream))),
            Err(error) => self.fail(core, socket, &error),
        }
    }

    /// Looks at the listeners again that had to be left alone.
    pub(super) fn resume_accepting(&mut self, now: Mono) {
        if self.accept_again.is_some_and(|again| now >= again) {
            self.accept_again = None;
            for listener in self.udp.len()..self.listener_queued.len() {
                self.queue_listener(FIRST_LISTENER + listener);
            }
        }
    }
}

/// Whether a connection is there; not yet, or never.
fn established(stream: &Stream) -> io::Result<bool> {
    if let Some(error) = stream.socket.take_error()? {
        return Err(error);
    }
    match stream.socket.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}
