//! What the core asks for: sockets opened and closed, datagrams and bytes sent.

use std::io;
use std::net::{IpAddr, SocketAddr};

use mio::Interest;

use super::MioEngine;
use super::sockets::{Entry, Kind, Role, Stream, Udp, Written};
use crate::clock::Clock;
use crate::limits::UNWRITTEN_BYTES_MAX;
use crate::proto::{CloseReason, ListenerId, Prober, SocketId, StampKey, Transmit};
use crate::sys;
use crate::sys::stamp::Numbers;

/// How much of a connection was sent again is asked for no more often than this.
const RETRANSMITS_EVERY_NS: u64 = 100_000_000;

impl MioEngine {
    pub(super) fn open(
        &mut self,
        clock: &Clock,
        prober: &mut Prober,
        socket: SocketId,
        transmit: &Transmit,
    ) {
        let opened = match transmit {
            Transmit::OpenUdp { remote, .. } => sys::udp::connect(*remote).map(|socket| {
                let line = self.stamping.begin(&socket, Numbers::Datagrams);
                (Kind::Udp(Udp { socket, line }), true)
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
            match &mut kind {
                Kind::Udp(udp) => {
                    registry.register(&mut udp.socket, token, Interest::READABLE)?;
                }
                Kind::Stream(stream) => registry.register(&mut stream.socket, token, both)?,
            }
            self.sockets.insert(socket, kind);
            Ok(done)
        });
        match established {
            Ok(true) => self.connected(clock, prober, socket),
            Ok(false) => {}
            Err(error) => self.fail(clock, prober, socket, &error),
        }
    }

    /// A socket that was opened can be used.
    pub(super) fn connected(&mut self, clock: &Clock, prober: &mut Prober, socket: SocketId) {
        let now = clock.now();
        let Some(stream) = self.sockets.stream_mut(socket) else {
            return prober.handle_connected(now, socket, None);
        };
        stream.connecting = false;
        if stream.role == Role::Probe {
            let handshake_ns = sys::tcp::handshake_ns(&stream.socket);
            return prober.handle_connected(now, socket, handshake_ns);
        }
        stream.line = self.stamping.begin(&stream.socket, Numbers::Bytes);
        match self.watch(socket, false) {
            Ok(()) => prober.handle_connected(now, socket, None),
            Err(error) => self.fail(clock, prober, socket, &error),
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

    pub(super) fn send_datagram(
        &mut self,
        clock: &Clock,
        prober: &mut Prober,
        socket: SocketId,
        key: Option<StampKey>,
    ) {
        let Some(Entry {
            kind: Kind::Udp(Udp { socket: udp, line }),
            ..
        }) = self.sockets.get_mut(socket)
        else {
            return;
        };
        let key = self.stamping.wanted(key);
        let mut sent = udp.send(&self.payload);
        if sent
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        {
            // That was about an earlier datagram, whose port unreachable has come back by now.
            self.stamping.handle_unsent(clock, prober, (udp, line));
            sent = udp.send(&self.payload);
        }
        match sent {
            Ok(_) => self.stamping.handle_sent(clock, prober, (udp, line), key),
            Err(error) => {
                tracing::debug!(%error, "the kernel did not take a UDP probe");
                self.stamping.handle_unsent(clock, prober, (udp, line));
                prober.handle_unsent(clock.now(), socket);
            }
        }
    }

    pub(super) fn reply(
        &mut self,
        clock: &Clock,
        prober: &mut Prober,
        (listener, to, from): (ListenerId, SocketAddr, Option<IpAddr>),
        key: Option<StampKey>,
    ) {
        let Some(listener) = self.udp.get_mut(listener.0 as usize) else {
            return;
        };
        let sent = listener.udp.send(to, from, &self.payload);
        let line = (&listener.udp.socket, &mut listener.line);
        match sent {
            Ok(()) => {
                let key = self.stamping.wanted(key);
                self.stamping.handle_sent(clock, prober, line, key);
            }
            Err(error) => {
                tracing::debug!(%error, %to, "the kernel did not take a reply");
                self.stamping.handle_unsent(clock, prober, line);
                prober.handle_reply_unsent();
            }
        }
    }

    pub(super) fn write_stream(
        &mut self,
        clock: &Clock,
        prober: &mut Prober,
        socket: SocketId,
        key: Option<StampKey>,
    ) {
        let Some(stream) = self.sockets.stream_mut(socket) else {
            return;
        };
        let key = self.stamping.wanted(key);
        let before = stream.unwritten();
        let written = stream.write(&self.payload, key, &mut |key| {
            prober.handle_stamp_missing(key);
        });
        let line = (&stream.socket, &mut stream.line);
        self.stamping.collect(clock, prober, line);
        match written {
            Ok(Written::All) => self.tell_retransmits(clock, prober, socket),
            Ok(Written::Waiting(now_waiting)) => {
                self.unwritten += now_waiting - before;
                prober.handle_blocked(socket, true);
                if self.unwritten > UNWRITTEN_BYTES_MAX {
                    self.drop_socket(prober, socket);
                    prober.handle_closed(clock.now(), socket, CloseReason::Exhausted);
                } else if before == 0
                    && let Err(error) = self.watch(socket, true)
                {
                    self.fail(clock, prober, socket, &error);
                }
            }
            Err(error) => self.fail(clock, prober, socket, &error),
        }
    }

    /// There is room again for what waits.
    pub(super) fn flush(&mut self, clock: &Clock, prober: &mut Prober, socket: SocketId) {
        let Some(stream) = self.sockets.stream_mut(socket) else {
            return;
        };
        let before = stream.unwritten();
        let written = stream.flush(&mut |key| prober.handle_stamp_missing(key));
        let after = stream.unwritten();
        let line = (&stream.socket, &mut stream.line);
        self.stamping.collect(clock, prober, line);
        let watched = written.and_then(|written| {
            self.unwritten -= before - after;
            prober.handle_blocked(socket, written != Written::All);
            match written {
                Written::All => self.watch(socket, false),
                Written::Waiting(_) => Ok(()),
            }
        });
        if let Err(error) = watched {
            self.fail(clock, prober, socket, &error);
        }
    }

    /// Tells the core how much TCP has sent again on a flow of ours, now and then.
    pub(super) fn tell_retransmits(
        &mut self,
        clock: &Clock,
        prober: &mut Prober,
        socket: SocketId,
    ) {
        let Some(stream) = self.sockets.stream_mut(socket) else {
            return;
        };
        if stream.role != Role::Flow {
            return;
        }
        let now = clock.mono();
        if now < stream.ask_at {
            return;
        }
        stream.ask_at = now.plus(RETRANSMITS_EVERY_NS);
        if let Some(total) = sys::tcp::retransmits(&stream.socket) {
            prober.handle_retransmits(socket, total);
        }
    }

    /// Closes a socket without a word to the core but its last figures.
    pub(super) fn drop_socket(&mut self, prober: &mut Prober, socket: SocketId) {
        if let Some(Entry {
            kind: Kind::Stream(stream),
            ..
        }) = self.sockets.remove(socket)
        {
            self.unwritten -= stream.unwritten();
            if stream.role == Role::Flow
                && let Some(total) = sys::tcp::retransmits(&stream.socket)
            {
                prober.handle_retransmits(socket, total);
            }
        }
    }

    /// Closes a socket after an error and tells the core.
    pub(super) fn fail(
        &mut self,
        clock: &Clock,
        prober: &mut Prober,
        socket: SocketId,
        error: &io::Error,
    ) {
        self.drop_socket(prober, socket);
        let now = clock.now();
        if sys::is_exhaustion(error) {
            self.complain(now.mono, "open a socket", error);
        }
        prober.handle_closed(now, socket, sys::close_reason(error));
    }
}
