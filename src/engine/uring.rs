//! The completion engine, on io_uring: one ring for every stream and timeout.
//!
//! What comes on streams is received without being asked for each time, into memory that is lent to the kernel. A turn
//! has one call that hands over what is to be written, connected and cancelled, and one that waits. Datagrams leave and
//! come, and connections are accepted, by the calls of the other engine: the ring waits for the queue that tells of
//! them.

mod events;
mod operations;
mod send;
mod trial;

use std::io;
use std::sync::Arc;

use self::operations::{Armed, Operations, Source};
use crate::clock::Clock;
use crate::engine::accepting::Accepting;
use crate::engine::batch::{Batch, Header, Via};
use crate::engine::datagrams::Reader;
use crate::engine::datagrams::lazy::Plan;
use crate::engine::sockets::{Sockets, Toward};
use crate::engine::{Core, Engine, EngineConfig, EngineError, Listening, Wake};
use crate::limits::MESSAGE_BYTES_MAX;
use crate::proto::{Mono, SocketId, Transmit};
use crate::sys::ring::{EventWaker, Refusal, Ring};

/// Sends one datagram from this host to itself by a ring. The error says what the system refuses.
pub(super) fn try_out() -> Result<(), EngineError> {
    let failed = |source| EngineError::Setup {
        operation: "bring a stamped datagram over loopback by io_uring",
        source,
    };
    let mut ring = Ring::new()?;
    let sent = trial::send(&mut ring).map_err(failed)?;
    if sent {
        Ok(())
    } else {
        Err(failed(io::ErrorKind::TimedOut.into()))
    }
}

/// The engine on io_uring.
#[derive(Debug)]
pub struct UringEngine {
    /// Goes before the sockets: it ends every operation, and with that the kernel's hold on them. So a port is free as
    /// soon as its socket is closed.
    operations: Operations,
    reader: Reader,
    sockets: Sockets<Armed>,
    waker: Arc<EventWaker>,
    spin_ns: u64,
    /// The kernel brings the transmit stamps of streams. Else they are taken off the error queues.
    brings_stamps: bool,
    accepting: Accepting,
    /// Accepted in this turn, and not waited for yet.
    accepted: Vec<SocketId>,
    /// Datagrams that leave together.
    batch: Batch,
    /// What the core has given to send.
    payload: Vec<u8>,
    /// The streams whose bytes wait in the ring, in the order of their writes.
    writing: Vec<SocketId>,
}

impl UringEngine {
    /// Opens every listener and the ring. The calling thread must be the one that uses the engine.
    pub fn new(config: &EngineConfig) -> Result<Self, EngineError> {
        Self::with_stamps(config, true)
    }

    /// Makes one that takes transmit stamps off the error queues, also where the kernel could bring them.
    pub fn with_error_queues(config: &EngineConfig) -> Result<Self, EngineError> {
        Self::with_stamps(config, false)
    }

    fn with_stamps(config: &EngineConfig, may_bring: bool) -> Result<Self, EngineError> {
        let mut ring = Ring::new().map_err(EngineError::from)?;
        let brings_stamps = may_bring && ring.can_bring_stamps();
        let setup = |operation| move |source| EngineError::Setup { operation, source };
        let waker = EventWaker::new().map_err(setup("make a waker"))?;
        ring.wait_for_wake(&waker, Source::Waker.owner());
        let mut sockets = Sockets::<Armed>::open(config)?;
        if brings_stamps {
            sockets.stamping.leave_to_engine();
        }
        let reader = Reader::new(config, &mut sockets, false)?;
        let accepting = Accepting::new(&reader, &mut sockets)?;
        let engine = Self {
            operations: Operations::new(ring),
            reader,
            sockets,
            waker: Arc::new(waker),
            spin_ns: config.spin_ns,
            brings_stamps,
            accepting,
            accepted: Vec::new(),
            batch: Batch::new(),
            payload: Vec::with_capacity(MESSAGE_BYTES_MAX),
            writing: Vec::new(),
        };
        if config.sockets.busy_poll_us > 0 {
            tracing::info!(
                "`busy_poll_us` is for datagrams only: on streams io_uring receives in another way"
            );
        }
        tracing::debug!(brings_stamps, "streams go by io_uring");
        Ok(engine)
    }

    /// Ends a wait from another thread.
    pub fn waker(&self) -> Arc<dyn Wake> {
        self.waker.clone()
    }

    /// Waits until something has happened. With `spin_ns` the last stretch before the deadline is spun.
    fn sleep(&mut self, clock: &Clock, deadline: Option<Mono>) -> io::Result<()> {
        self.operations.wait_for_queue(&self.reader.queue);
        let ring = self.operations.ring();
        if !ring.is_quiet() || !self.reader.is_idle() {
            return ring.gather();
        }
        let Some(deadline) = deadline else {
            return ring.wait(None);
        };
        let left_ns = deadline.since(clock.mono());
        if left_ns > self.spin_ns {
            ring.wait(Some(left_ns - self.spin_ns))?;
            if self.spin_ns == 0 || !ring.is_quiet() {
                return Ok(());
            }
        }
        loop {
            ring.gather()?;
            if !ring.is_quiet() || clock.mono_for_sure() >= deadline {
                return Ok(());
            }
            std::hint::spin_loop();
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
            } => self.write_stream(core, socket, key, at_once),
            Transmit::Close { socket } => {
                // A flow's last probe goes before its end.
                self.sockets.send(core, &mut self.batch);
                self.write_out(core);
                self.operations.before_close(&mut self.sockets, socket);
                self.sockets.close(core, socket);
            }
            Transmit::Resolve { target, host } => core.resolver.resolve(target, &host),
        }
    }
}

impl From<Refusal> for EngineError {
    fn from(refusal: Refusal) -> Self {
        Self::Ring {
            what: refusal.what,
            hint: refusal.hint(),
            source: refusal.error,
        }
    }
}

impl Wake for EventWaker {
    fn wake(&self) -> io::Result<()> {
        Self::wake(self)
    }
}

impl Engine for UringEngine {
    fn transmit(&mut self, core: &mut Core<'_>) {
        loop {
            // The clock is read for each: the time in a packet is that of its own departure.
            while let Some(transmit) = core
                .prober
                .poll_transmit(core.clock.now(), &mut self.payload)
            {
                self.carry_out(core, transmit);
            }
            // A refused datagram, or a stream that has failed, may call for something else.
            let all_sent = self.sockets.send(core, &mut self.batch);
            if !self.write_out(core) && all_sent {
                break;
            }
        }
        // Connections begin, and closed sockets go. If that fails the next wait says so.
        let _ = self.operations.ring().gather();
        self.take_stamps(core);
    }

    fn wait(&mut self, core: &mut Core<'_>, deadline: Option<Mono>) -> Result<(), EngineError> {
        let mut deadline = self.accepting.before(deadline);
        match self.reader.plan(core, &self.sockets, deadline) {
            Plan::Sleep => {
                (self.reader.unwatch_replies()).map_err(EngineError::Wait)?;
                self.reader.take_due_stamps(core, &mut self.sockets);
            }
            Plan::Read => return self.read_late(core).map_err(EngineError::Wait),
            Plan::Watch => {
                (self.reader.watch_replies(core, &mut self.sockets)).map_err(EngineError::Wait)?;
                if core.prober.awaits_arrivals() {
                    deadline = Some(core.clock.mono());
                }
            }
        }
        self.reader.lazy.note_slept();
        self.sleep(core.clock, deadline)
            .map_err(EngineError::Wait)?;
        let now = core.clock.now();
        if let Some(deadline) = deadline {
            core.prober.handle_woken(now, deadline);
        }
        self.take_stamps(core);
        self.accepting
            .resume(now.mono, &mut self.reader, &mut self.sockets);
        self.handle_completions(core);
        self.look_at_queue(core).map_err(EngineError::Wait)?;
        self.receive(core);
        if self.reader.lazy.wakes_for_replies() {
            self.reader.note_read(core, now.mono);
        }
        Ok(())
    }

    fn listening(&self) -> &Listening {
        &self.sockets.listeners.listening
    }
}
