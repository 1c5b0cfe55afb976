//! What the kernel has to say: connections, datagrams, bytes, stamps and failures.

use std::io;

use super::UringEngine;
use super::operations::Source;
use crate::engine::datagrams::watch::{Left, Source as Told};
use crate::engine::{Core, Engine};
use crate::limits::DATAGRAMS_PER_CALL_MAX;
use crate::proto::{Now, SocketId};
use crate::sys::ring::{Begun, Buffer, Completion, Happened, is_pause};
use crate::sys::sockets::TcpStream;

impl UringEngine {
    /// Tells the core of the transmit stamps that have come. They go before all else: also before the replies.
    pub(super) fn take_stamps(&mut self, core: &mut Core<'_>) {
        let sockets = &mut self.sockets;
        while let Some(sent) = self.operations.happened().next_transmitted() {
            let (number, stamps) = (sent.number, sent.stamps);
            // Those of datagrams are taken off the error queues.
            if let Source::Stream(id) = Source::of(sent.owner)
                && let Some(stream) = sockets.table.stream_mut(id)
            {
                let from = &mut stream.stamped;
                sockets
                    .stamping
                    .handle_transmitted(core, from, number, stamps);
            }
        }
    }

    /// Handles what has happened by now. The replies to some dozens of requests leave before more of it is looked at.
    ///
    /// The kernel serves its sockets in turn, and stops where it finds no more buffers. So no socket takes more than
    /// its share, and a turn is no longer than there are buffers.
    pub(super) fn handle_completions(&mut self, core: &mut Core<'_>) {
        let mut left = self.operations.happened().happened();
        while left > 0 {
            let some = left.min(DATAGRAMS_PER_CALL_MAX);
            left -= some;
            let mut now = core.clock.now();
            for _ in 0..some {
                if let Some(completion) = self.operations.happened().next() {
                    self.handle(core, &mut now, completion);
                }
            }
            self.transmit(core);
        }
    }

    fn handle(&mut self, core: &mut Core<'_>, now: &mut Now, completion: Completion) {
        let source = Source::of(completion.owner);
        let goes_on = completion.goes_on;
        match (completion.happened, source) {
            (Happened::Received(received), Source::Stream(id)) => {
                match received {
                    Ok(buffer) => {
                        self.handle_message(core, now, id, &buffer);
                        self.operations.happened().give_back(buffer);
                    }
                    // All buffers were taken, or more has happened than there is room for. What has come waits at its
                    // socket.
                    Err(error) if is_pause(&error) => {
                        tracing::debug!(%error, ?source, "receiving has paused");
                    }
                    Err(error) => self.fail(core, id, &error),
                }
                if !goes_on {
                    self.receive_on(id);
                }
            }
            (Happened::Received(Ok(buffer)), _) => self.operations.happened().give_back(buffer),
            (Happened::Told, _) => self.operations.handle_told(),
            (Happened::Connected(connected), Source::Stream(id)) => {
                if let Some(stream) = self.sockets.table.stream_mut(id) {
                    stream.wait.handle_end(Begun::Connect);
                    match connected {
                        Ok(()) => self.handle_established(core, id),
                        Err(error) => self.fail(core, id, &error),
                    }
                }
            }
            (Happened::Room, Source::Stream(id)) => {
                if let Some(stream) = self.sockets.table.stream_mut(id) {
                    stream.wait.handle_end(Begun::Room);
                    self.handle_room(core, id);
                }
            }
            (Happened::StampsEnded(error), Source::Stream(id)) => {
                self.handle_stamps_end(id, &error);
            }
            (Happened::Woken, _) => {
                self.waker.settle();
                if !goes_on {
                    let ring = self.operations.happened();
                    ring.wait_for_wake(&*self.waker, Source::Waker.owner());
                }
            }
            // Nobody else has begun such a thing.
            (
                Happened::Received(Err(_))
                | Happened::Connected(_)
                | Happened::StampsEnded(_)
                | Happened::Room,
                _,
            ) => {}
        }
    }

    /// Bytes have come on a stream, or its end.
    fn handle_message(
        &mut self,
        core: &mut Core<'_>,
        now: &mut Now,
        id: SocketId,
        buffer: &Buffer,
    ) {
        let sockets = &mut self.sockets;
        let Some(stream) = sockets.table.stream_mut(id) else {
            return;
        };
        // A request's own stamp goes before its reply.
        sockets.stamping.collect(core, &mut stream.stamped);
        match self.operations.happened().message(buffer) {
            Some(incoming) if incoming.payload.is_empty() => self.finish(core, id),
            Some(incoming) => {
                sockets.handle_bytes(core, now, id, &incoming);
            }
            None => {}
        }
    }

    /// Looks at what the event queue tells of, if it has ended a wait.
    pub(super) fn look_at_queue(&mut self, core: &mut Core<'_>) -> io::Result<()> {
        if !self.operations.was_told() {
            return Ok(());
        }
        let (reader, sockets) = (&mut self.reader, &mut self.sockets);
        reader.queue.look()?;
        for index in 0..reader.queue.len() {
            let event = reader.queue.event(index);
            match Told::of(event.token()) {
                Told::Replies => {
                    for index in 0..reader.look_at_replies()? {
                        if let Some((source, event)) = reader.reply_event(index) {
                            reader.handle_event(core, sockets, source, event);
                        }
                    }
                }
                source => reader.handle_event(core, sockets, source, event),
            }
        }
        Ok(())
    }

    /// Reads the UDP sockets and listeners that have something, each in its turn, up to a bounded number.
    pub(super) fn receive(&mut self, core: &mut Core<'_>) {
        let mut budget = self.reader.budget();
        while budget > 0
            && let Some(source) = self.reader.next()
        {
            let left = match source {
                Told::Acceptor(place) => self.accept(core, place),
                _ => (self.reader).receive(core, &mut self.sockets, source, &mut budget),
            };
            self.transmit(core);
            self.reader.handle_left(source, left);
        }
        self.reader.end_turn();
    }

    /// Reads everything that has come for our flows, which nobody has told of.
    pub(super) fn read_late(&mut self, core: &mut Core<'_>) -> io::Result<()> {
        let now = core.clock.mono();
        self.operations.ring().gather()?;
        self.take_stamps(core);
        self.handle_completions(core);
        self.look_at_queue(core)?;
        self.reader.enqueue_shared(&mut self.sockets);
        self.receive(core);
        self.reader.note_read(core, now);
        Ok(())
    }

    /// The peer of a stream has sent its end.
    fn finish(&mut self, core: &mut Core<'_>, id: SocketId) {
        self.operations.before_close(&mut self.sockets, id);
        self.sockets.finish(core, id);
    }

    /// Receives on, where the kernel has stopped to.
    fn receive_on(&mut self, id: SocketId) {
        if let Some(stream) = self.sockets.table.stream_mut(id) {
            stream.wait.handle_end(Begun::Receive);
            let socket = &stream.stamped.socket;
            self.operations.receive(&mut stream.wait, socket);
        }
    }

    /// Accepts this turn's share of connections at a listener.
    fn accept(&mut self, core: &mut Core<'_>, place: usize) -> Left {
        let mut accepted = std::mem::take(&mut self.accepted);
        let watch = |_: &mut TcpStream, id| {
            accepted.push(id);
            Ok(())
        };
        let left = self.accepting.accept(core, &mut self.sockets, place, watch);
        for id in accepted.drain(..) {
            if let Some(stream) = self.sockets.table.stream_mut(id) {
                stream.wait = self.operations.armed(Source::Stream(id));
                self.watch_stream(id);
            }
        }
        self.accepted = accepted;
        left
    }

    /// The kernel brings no more stamps of a stream.
    fn handle_stamps_end(&mut self, id: SocketId, error: &io::Error) {
        let may_go_on = is_pause(error);
        let Some(stream) = self.sockets.table.stream_mut(id) else {
            return;
        };
        stream.wait.handle_end(Begun::Stamps);
        if may_go_on {
            let socket = &stream.stamped.socket;
            self.operations.bring_stamps(&mut stream.wait, socket);
        } else if self.brings_stamps {
            self.brings_stamps = false;
            self.sockets.stamping.take_from_queues();
            tracing::warn!(
                %error,
                "the kernel brings no more transmit stamps by io_uring: they are taken off the error queues"
            );
        }
    }
}
