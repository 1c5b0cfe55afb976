//! The readiness engine, on mio: one epoll for every socket, listener and timer.
//!
//! Everything is watched edge-triggered and stands in a queue until it is drained. So one busy
//! socket takes no more than its share of a turn.

mod receive;
mod send;

use std::io;
use std::sync::Arc;

use mio::Waker;

use crate::clock::Clock;
use crate::engine::accepting::Accepting;
use crate::engine::batch::{Batch, Header, Via};
use crate::engine::datagrams::Reader;
use crate::engine::datagrams::lazy::Plan;
use crate::engine::datagrams::watch::{Readiness, Source};
use crate::engine::sockets::{Sockets, Toward};
use crate::engine::{Core, Engine, EngineConfig, EngineError, Listening, Wake};
use crate::limits::{MESSAGE_BYTES_MAX, STREAM_READ_BYTES};
use crate::proto::{Mono, Transmit};
use crate::sys::batch::Inbox;
use crate::sys::events::Event;

/// The engine on mio.
#[derive(Debug)]
pub struct MioEngine {
    /// Its queue tells of every descriptor.
    reader: Reader,
    waker: Arc<Waker>,
    spin_ns: u64,
    sockets: Sockets<Readiness>,
    accepting: Accepting,
    /// Datagrams that leave together.
    batch: Batch,
    /// What the core has given to send.
    payload: Vec<u8>,
    /// What was read from a stream.
    chunk: Inbox,
}

impl MioEngine {
    /// Opens every listener and the timer.
    pub fn new(config: &EngineConfig) -> Result<Self, EngineError> {
        let setup = |operation| move |source| EngineError::Setup { operation, source };
        let mut sockets = Sockets::open(config)?;
        let reader = Reader::new(config, &mut sockets, true)?;
        let accepting = Accepting::new(&reader, &mut sockets)?;
        let waker = reader.queue.waker(Source::Waker.token());
        let waker = waker.map_err(setup("make a waker"))?;
        Ok(Self {
            reader,
            waker: Arc::new(waker),
            spin_ns: config.spin_ns,
            sockets,
            accepting,
            batch: Batch::new(),
            payload: Vec::with_capacity(MESSAGE_BYTES_MAX),
            chunk: Inbox::new(1, STREAM_READ_BYTES),
        })
    }

    /// Ends a wait from another thread.
    pub fn waker(&self) -> Arc<dyn Wake> {
        self.waker.clone()
    }

    /// Waits. With `spin_ns` the last stretch before the deadline is spun.
    fn sleep(&mut self, clock: &Clock, deadline: Option<Mono>) -> io::Result<()> {
        let is_idle = self.reader.is_idle();
        let (queue, lazy) = (&mut self.reader.queue, &self.reader.lazy);
        if !is_idle {
            return queue.look();
        }
        let now = clock.mono();
        let Some(deadline) = deadline else {
            return queue.wait(now, None);
        };
        if deadline.since(now) > self.spin_ns {
            let at = Mono::from_nanos(deadline.as_nanos() - self.spin_ns);
            if lazy.wakes_for_replies() {
                queue.wait(now, Some(at))?;
            } else {
                queue.wait_out(now, at)?;
            }
            if self.spin_ns == 0 || queue.len() > 0 {
                return Ok(());
            }
            // The wait may have ended long before: by the end of an earlier one.
            if deadline.since(clock.mono()) > self.spin_ns {
                return Ok(());
            }
        }
        loop {
            queue.look()?;
            if queue.len() > 0 || clock.mono_for_sure() >= deadline {
                return Ok(());
            }
            std::hint::spin_loop();
        }
    }

    /// Handles the events of one wait: connects and writes at once; reads go into the queue.
    fn handle_events(&mut self, core: &mut Core<'_>) -> io::Result<()> {
        for index in 0..self.reader.queue.len() {
            let event = self.reader.queue.event(index);
            match Source::of(event.token()) {
                Source::Waker => {}
                Source::Replies => self.handle_replies(core)?,
                source => self.handle_event(core, source, event),
            }
        }
        Ok(())
    }

    fn handle_event(&mut self, core: &mut Core<'_>, source: Source, event: Event) {
        match source {
            Source::Stream(index) => self.handle_stream_event(core, index, event),
            _ => (self.reader).handle_event(core, &mut self.sockets, source, event),
        }
    }

    fn carry_out(&mut self, core: &mut Core<'_>, transmit: Transmit) {
        match transmit {
            Transmit::Open {
                socket,
                remote,
                kind,
                marks,
                place,
            } => {
                let to = Toward {
                    remote,
                    marks,
                    place,
                };
                self.open(core, socket, &to, kind);
            }
            Transmit::Datagram {
                socket,
                key,
                at_once,
            } => {
                let (bytes, sockets) = (self.payload.len(), &mut self.sockets);
                if let Some(request) = self.reader.request(sockets, socket, key, bytes, at_once) {
                    sockets.push(core, &mut self.batch, request, &self.payload, at_once);
                }
            }
            Transmit::Hop { socket, ttl, key } => {
                let (now, bytes) = (core.clock.mono(), self.payload.len());
                let sockets = &mut self.sockets;
                if let Some(hop) = self.reader.hop(now, sockets, socket, ttl, key, bytes) {
                    sockets.push(core, &mut self.batch, hop, &self.payload, true);
                }
            }
            Transmit::Reply {
                listener,
                to,
                from,
                tos,
                key,
            } => {
                let reply = Header {
                    via: Via::Listener(listener.0 as usize),
                    to,
                    from,
                    tos,
                    ttl: None,
                    flow: None,
                    key,
                };
                self.sockets
                    .push(core, &mut self.batch, reply, &self.payload, key.is_none());
            }
            Transmit::Stream {
                socket,
                key,
                at_once,
            } => {
                self.settle_stream(core, socket, at_once);
                self.write_stream(core, socket, key);
            }
            Transmit::Close { socket } => {
                // A flow's last probe goes before its end.
                self.sockets.send(core, &mut self.batch);
                self.sockets.close(core, socket);
            }
            Transmit::Resolve { target, host } => core.resolver.resolve(target, &host),
        }
    }
}

impl Wake for Waker {
    fn wake(&self) -> io::Result<()> {
        Self::wake(self)
    }
}

impl Engine for MioEngine {
    fn transmit(&mut self, core: &mut Core<'_>) {
        loop {
            // The clock is read for each: the time in a packet is that of its own departure.
            while let Some(transmit) = core
                .prober
                .poll_transmit(core.clock.now(), &mut self.payload)
            {
                self.carry_out(core, transmit);
            }
            // A refused datagram may call for something else.
            if self.sockets.send(core, &mut self.batch) {
                return;
            }
        }
    }

    fn wait(&mut self, core: &mut Core<'_>, deadline: Option<Mono>) -> Result<(), EngineError> {
        let mut deadline = self.accepting.before(deadline);
        match self.reader.plan(core, &self.sockets, deadline) {
            Plan::Sleep => {
                (self.reader.unwatch_replies()).map_err(EngineError::Wait)?;
                self.reader.take_due_stamps(core, &mut self.sockets);
                if self.sockets.handshakes > 0 && self.reader.lazy.looks() {
                    // Whoever accepts a connection that is closed soon wakes for it once.
                    self.handle_replies(core).map_err(EngineError::Wait)?;
                    return Ok(());
                }
            }
            Plan::Read => return self.read_late(core).map_err(EngineError::Wait),
            Plan::Watch => {
                self.watch_replies(core).map_err(EngineError::Wait)?;
                if core.prober.awaits_arrivals() {
                    deadline = Some(core.clock.mono());
                }
            }
        }
        self.reader.lazy.note_slept();
        self.sleep(core.clock, deadline)
            .map_err(EngineError::Wait)?;
        let now = core.clock.now();
        let woken = now.mono;
        if let Some(deadline) = deadline {
            core.prober.handle_woken(now, deadline);
        }
        self.handle_events(core).map_err(EngineError::Wait)?;
        self.accepting
            .resume(woken, &mut self.reader, &mut self.sockets);
        self.receive(core);
        if self.reader.lazy.wakes_for_replies() {
            self.reader.note_read(core, woken);
        }
        Ok(())
    }

    fn listening(&self) -> &Listening {
        &self.sockets.listeners.listening
    }
}
