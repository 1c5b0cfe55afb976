//! What the kernel has to say: connections, datagrams, bytes, stamps and failures.

use std::io;

use mio::Interest;

use super::MioEngine;
use crate::engine::datagrams::watch::{Left, Readiness, Source, register};
use crate::engine::stream::{Role, Stream};
use crate::engine::{Core, Engine};
use crate::limits::STREAM_READ_BYTES;
use crate::proto::SocketId;
use crate::sys::events::Event;
use crate::sys::sockets::{SHORT_READS_DRAIN, TcpStream};

impl MioEngine {
    /// A stream is established, has failed, has bytes or room, or stamps have come for it.
    pub(super) fn handle_stream_event(&mut self, core: &mut Core<'_>, index: usize, event: Event) {
        // What came before a failure is still to be read, if nobody woke for it.
        if event.is_error()
            && event.is_read_closed()
            && let Some((_, stream)) = self.sockets.table.stream_at(index)
            && !stream.is_connecting
            && self.reader.lazy.is_late(stream.role, &stream.wait.late)
        {
            self.read_stream(core, index);
        }
        let sockets = &mut self.sockets;
        let Some((id, stream)) = sockets.table.stream_at(index) else {
            return;
        };
        stream.wait.is_ending |= event.is_read_closed();
        if stream.is_connecting && stream.role == Role::Probe {
            return self.time_handshake(core, id);
        }
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
            // Stamps that are owed tell of themselves so. A failure would close the stream as well.
            let is_owed = !stream.stamped.stamps.is_empty() && !event.is_read_closed();
            if event.is_error() && is_owed {
                sockets.stamping.collect(core, &mut stream.stamped);
            } else if event.is_error() {
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
            (self.reader).enqueue(&mut stream.wait, Source::Stream(index));
        }
    }

    /// The queue of our flows' sockets has something.
    pub(super) fn handle_replies(&mut self, core: &mut Core<'_>) -> io::Result<()> {
        for index in 0..self.reader.look_at_replies()? {
            if let Some((source, event)) = self.reader.reply_event(index) {
                self.handle_event(core, source, event);
            }
        }
        Ok(())
    }

    /// Reads everything that has come for our flows, which nobody has told of.
    pub(super) fn read_late(&mut self, core: &mut Core<'_>) -> io::Result<()> {
        let now = core.clock.mono();
        self.reader.enqueue_shared(&mut self.sockets);
        if self.sockets.streams_of_ours > 0 {
            self.handle_replies(core)?;
        }
        self.receive(core);
        self.reader.note_read(core, now);
        Ok(())
    }

    /// Wakes for replies from here on. What has come unread is told at once.
    pub(super) fn watch_replies(&mut self, core: &mut Core<'_>) -> io::Result<()> {
        let sockets = &mut self.sockets;
        for index in self.reader.lazy.owing.drain(..) {
            if let Some((_, stream)) = sockets.table.stream_at(index) {
                stream.wait.late.is_owing = false;
                sockets.stamping.collect(core, &mut stream.stamped);
            }
        }
        self.reader.watch_replies(core, sockets)
    }

    /// Reads from the sockets that have something, each in its turn, up to a bounded number.
    pub(super) fn receive(&mut self, core: &mut Core<'_>) {
        let mut budget = self.reader.budget();
        while budget > 0
            && let Some(source) = self.reader.next()
        {
            let left = match source {
                Source::Acceptor(place) => self.accept(core, place),
                Source::Stream(index) => self.receive_bytes(core, index, &mut budget),
                _ => (self.reader).receive(core, &mut self.sockets, source, &mut budget),
            };
            self.transmit(core);
            self.reader.handle_left(source, left);
        }
        self.reader.end_turn();
    }

    /// Accepts this turn's share of connections at a listener.
    fn accept(&mut self, core: &mut Core<'_>, place: usize) -> Left {
        let registry = self.reader.queue.registry();
        let watch = |socket: &mut TcpStream, id: SocketId| {
            let source = Source::Stream(id.index as usize);
            register(registry, socket, source, Interest::READABLE)
        };
        self.accepting.accept(core, &mut self.sockets, place, watch)
    }

    /// Reads one chunk of a stream.
    pub(super) fn receive_bytes(
        &mut self,
        core: &mut Core<'_>,
        index: usize,
        budget: &mut usize,
    ) -> Left {
        let sockets = &mut self.sockets;
        let Some((id, stream)) = sockets.table.stream_at(index) else {
            return Left::Nothing;
        };
        *budget -= 1;
        sockets.stamping.collect(core, &mut stream.stamped);
        match self.chunk.receive_stream(&stream.stamped.socket) {
            Ok(incoming) if incoming.payload.is_empty() => {
                sockets.finish(core, id);
                Left::Nothing
            }
            Ok(incoming) => {
                // The stream is drained after a short read, unless its end is still to be read.
                let is_short = incoming.payload.len() < STREAM_READ_BYTES;
                let is_drained = SHORT_READS_DRAIN && is_short && !stream.wait.is_ending;
                stream.wait.is_queued = !is_drained;
                let mut now = core.clock.now();
                let messages = sockets.handle_bytes(core, &mut now, id, &incoming);
                if let Some(stream) = sockets.table.stream_mut(id) {
                    stream.wait.late.note_answered(messages);
                }
                *budget = budget.saturating_sub(messages);
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
