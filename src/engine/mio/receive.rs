//! What the kernel has to say: connections, datagrams, bytes, stamps and failures.

use std::io;

use mio::event::Event;
use mio::{Interest, Token};

use super::sockets::{Entry, Kind, Role, Stream, Udp};
use super::{ACCEPT_AGAIN_NS, FIRST_LISTENER, MioEngine};
use crate::clock::Clock;
use crate::engine::{Engine, Resolve};
use crate::limits::{ACCEPTS_PER_TURN_MAX, RECEIVES_PER_TURN_MAX, STREAM_READ_BYTES};
use crate::proto::{CloseReason, ListenerId, Mono, Prober, SocketId};
use crate::sys;
use crate::sys::stamp::{Numbers, receive};

impl MioEngine {
    /// A listener has something, or stamps have come for it.
    pub(super) fn sort_listener_event(
        &mut self,
        clock: &Clock,
        prober: &mut Prober,
        token: usize,
        event: &Event,
    ) {
        if event.is_error()
            && let Some(listener) = self.udp.get_mut(token - FIRST_LISTENER)
        {
            let line = (&listener.udp.socket, &mut listener.line);
            self.stamping.empty(clock, prober, line);
            if !event.is_readable() {
                return;
            }
        }
        self.queue_listener(token);
    }

    pub(super) fn sort_socket_event(
        &mut self,
        clock: &Clock,
        prober: &mut Prober,
        index: usize,
        event: &Event,
    ) {
        let Some(entry) = self.sockets.at(index) else {
            return;
        };
        let id = entry.id;
        match &mut entry.kind {
            Kind::Udp(udp) => {
                if event.is_error() {
                    self.stamping
                        .empty(clock, prober, (&udp.socket, &mut udp.line));
                    // What an ICMP error says of an earlier datagram, its timeout tells as well.
                    // Asking takes it away, so that the next send does not fail of it.
                    let _ = udp.socket.take_error();
                }
            }
            Kind::Stream(stream) => {
                stream.ending |= event.is_read_closed();
                if stream.connecting {
                    if !(event.is_writable() || event.is_error()) {
                        return;
                    }
                    match established(stream) {
                        Ok(true) => self.connected(clock, prober, id),
                        Ok(false) => return,
                        Err(error) => return self.fail(clock, prober, id, &error),
                    }
                } else {
                    if event.is_error() {
                        let line = (&stream.socket, &mut stream.line);
                        self.stamping.empty(clock, prober, line);
                        // Stamps alone leave no error.
                        if let Some(error) = stream.socket.take_error().unwrap_or_else(Some) {
                            return self.fail(clock, prober, id, &error);
                        }
                    }
                    if event.is_writable() && stream.unwritten() > 0 {
                        self.flush(clock, prober, id);
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
    pub(super) fn receive(
        &mut self,
        clock: &Clock,
        prober: &mut Prober,
        resolver: &mut dyn Resolve,
    ) {
        let mut left = RECEIVES_PER_TURN_MAX;
        while left > 0
            && let Some(Token(token)) = self.ready.pop_front()
        {
            let listener = token.wrapping_sub(FIRST_LISTENER);
            let drained = if token >= self.first_socket() {
                self.receive_socket(clock, prober, token - self.first_socket(), &mut left)
            } else {
                let drained = if listener < self.udp.len() {
                    self.receive_requests(clock, prober, listener, &mut left)
                } else {
                    self.accept(clock, prober, listener - self.udp.len(), &mut left)
                };
                self.listener_queued[listener] = !drained;
                drained
            };
            self.transmit(clock, prober, resolver);
            if !drained {
                self.ready.push_back(Token(token));
            }
        }
    }

    /// Reads one datagram or chunk. True if there is nothing more.
    fn receive_socket(
        &mut self,
        clock: &Clock,
        prober: &mut Prober,
        index: usize,
        left: &mut usize,
    ) -> bool {
        let Some(entry) = self.sockets.at(index) else {
            return true;
        };
        let id = entry.id;
        *left -= 1;
        let drained = match &mut entry.kind {
            Kind::Udp(_) => self.receive_datagram(clock, prober, id),
            Kind::Stream(_) => self.receive_bytes(clock, prober, id, left),
        };
        if drained && let Some(entry) = self.sockets.get_mut(id) {
            entry.queued = false;
        }
        drained
    }

    fn receive_datagram(&mut self, clock: &Clock, prober: &mut Prober, id: SocketId) -> bool {
        let Some(Entry {
            kind: Kind::Udp(Udp { socket, line }),
            ..
        }) = self.sockets.get_mut(id)
        else {
            return true;
        };
        // A request's own stamp goes before its reply.
        self.stamping.collect(clock, prober, (&*socket, line));
        match receive(socket, &mut self.received, &mut self.stamping.control) {
            Ok((length, stamps)) => {
                let arrival = self.stamping.arrival(clock, prober, stamps);
                prober.handle_datagram(arrival, id, &self.received[..length]);
                false
            }
            // Other errors are an ICMP error about an earlier datagram; the probe's timeout tells the
            // rest.
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    fn receive_bytes(
        &mut self,
        clock: &Clock,
        prober: &mut Prober,
        id: SocketId,
        left: &mut usize,
    ) -> bool {
        let Some(stream) = self.sockets.stream_mut(id) else {
            return true;
        };
        let line = (&stream.socket, &mut stream.line);
        self.stamping.collect(clock, prober, line);
        let buffer = &mut self.received[..STREAM_READ_BYTES];
        match receive(&stream.socket, buffer, &mut self.stamping.control) {
            Ok((0, _)) => {
                self.drop_socket(prober, id);
                prober.handle_closed(clock.now(), id, CloseReason::Finished);
                true
            }
            Ok((length, stamps)) => {
                // The stream is drained after a short read, as epoll(7) has it, unless its end
                // is still to be read.
                let drained = length < STREAM_READ_BYTES && !stream.ending;
                let arrival = self.stamping.arrival(clock, prober, stamps);
                let messages = prober.handle_stream(arrival, id, &self.received[..length]);
                *left = left.saturating_sub(messages);
                self.tell_retransmits(clock, prober, id);
                drained
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => true,
                io::ErrorKind::Interrupted => false,
                _ => {
                    self.fail(clock, prober, id, &error);
                    true
                }
            },
        }
    }

    /// Reads one request. True if there is nothing more.
    fn receive_requests(
        &mut self,
        clock: &Clock,
        prober: &mut Prober,
        listener: usize,
        left: &mut usize,
    ) -> bool {
        *left -= 1;
        let udp = &self.udp[listener].udp;
        match udp.receive(&mut self.received, &mut self.stamping.control) {
            Ok(request) => {
                let arrival = self.stamping.arrival(clock, prober, request.stamps);
                let id = ListenerId(u32::try_from(listener).unwrap_or(u32::MAX));
                prober.handle_request(
                    arrival,
                    id,
                    request.from,
                    request.local,
                    &self.received[..request.length],
                );
                false
            }
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// Accepts connections until there are no more or the turn is over.
    fn accept(
        &mut self,
        clock: &Clock,
        prober: &mut Prober,
        listener: usize,
        left: &mut usize,
    ) -> bool {
        for _ in 0..ACCEPTS_PER_TURN_MAX.min(*left) {
            *left -= 1;
            match self.tcp[listener].accept() {
                Ok((stream, _)) => self.take_in(clock, prober, stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if sys::is_exhaustion(&error) => {
                    let now = clock.mono();
                    self.complain(now, "accept a connection", &error);
                    self.accept_again = Some(now.plus(ACCEPT_AGAIN_NS));
                    return true;
                }
                // The connection was gone before it was accepted: the next one may be there.
                Err(_) => {}
            }
        }
        false
    }

    fn take_in(&mut self, clock: &Clock, prober: &mut Prober, stream: mio::net::TcpStream) {
        let Some(socket) = prober.handle_accept(clock.now()) else {
            return;
        };
        let token = self.token(socket);
        let mut stream = Stream::new(stream, Role::Accepted);
        stream.connecting = false;
        stream.line = self.stamping.begin(&stream.socket, Numbers::Bytes);
        let registry = self.poll.registry();
        let watched = stream
            .socket
            .set_nodelay(true)
            .and_then(|()| registry.register(&mut stream.socket, token, Interest::READABLE));
        match watched {
            Ok(()) => drop(self.sockets.insert(socket, Kind::Stream(stream))),
            Err(error) => self.fail(clock, prober, socket, &error),
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
