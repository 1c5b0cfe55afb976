//! The readiness engine, on mio: one epoll for every socket, listener and timer.
//!
//! Everything is watched edge-triggered and stands in a queue until it is drained. So one busy
//! socket takes no more than its share of a turn.

mod receive;
mod send;
mod watch;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Waker};

use self::watch::{Readiness, Source};
use crate::clock::Clock;
use crate::engine::batch::{Batch, Header, Via};
use crate::engine::sockets::Sockets;
use crate::engine::{Core, Engine, EngineConfig, EngineError, Listening};
use crate::limits::{
    DATAGRAMS_PER_CALL_MAX, EVENTS_PER_POLL_MAX, MESSAGE_BYTES_MAX, STREAM_READ_BYTES,
};
use crate::proto::{Mono, Transmit};
use crate::sys::batch::Inbox;
use crate::sys::timer::WakeTimer;

/// The engine on mio.
#[derive(Debug)]
pub struct MioEngine {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    timer: WakeTimer,
    /// What the timer is armed for, while it has not fired.
    armed: Option<Mono>,
    spin_ns: u64,
    sockets: Sockets<Readiness>,
    /// What may have more to read.
    ready: VecDeque<Source>,
    /// What is to be read again in the next turn.
    unwatched: Vec<Source>,
    /// Until then no connection is accepted, for want of descriptors.
    accept_again: Option<Mono>,
    /// Datagrams that leave together.
    batch: Batch,
    /// What the core has given to send.
    payload: Vec<u8>,
    /// Datagrams that were received together.
    inbox: Inbox,
    /// What was read from a stream.
    chunk: Inbox,
}

impl MioEngine {
    /// Opens every listener and the timer.
    pub fn new(config: &EngineConfig) -> Result<Self, EngineError> {
        let setup = |operation| move |source| EngineError::Setup { operation, source };
        let poll = Poll::new().map_err(setup("make an event queue"))?;
        let timer = WakeTimer::new().map_err(setup("make a timer"))?;
        let registry = poll.registry();
        let waker = Waker::new(registry, Source::Waker.token()).map_err(setup("make a waker"))?;
        let watch = |fd: RawFd, source: Source| {
            registry
                .register(&mut SourceFd(&fd), source.token(), Interest::READABLE)
                .map_err(setup("watch a timer or listener"))
        };
        watch(timer.raw_fd(), Source::Timer)?;
        let sockets = Sockets::open(config)?;
        for (place, port) in sockets.listeners.udp.iter().enumerate() {
            watch(port.stamped.socket.as_raw_fd(), Source::Listener(place))?;
        }
        for (place, acceptor) in sockets.listeners.tcp.iter().enumerate() {
            watch(acceptor.socket.as_raw_fd(), Source::Acceptor(place))?;
        }
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS_PER_POLL_MAX),
            waker: Arc::new(waker),
            timer,
            armed: None,
            spin_ns: config.spin_ns,
            sockets,
            ready: VecDeque::new(),
            unwatched: Vec::new(),
            accept_again: None,
            batch: Batch::new(),
            payload: Vec::with_capacity(MESSAGE_BYTES_MAX),
            inbox: Inbox::new(DATAGRAMS_PER_CALL_MAX, MESSAGE_BYTES_MAX + 1),
            chunk: Inbox::new(1, STREAM_READ_BYTES),
        })
    }

    /// Ends a wait from another thread.
    pub fn waker(&self) -> Arc<Waker> {
        self.waker.clone()
    }

    /// Arms the timer and waits. With `spin_ns` the last stretch before the deadline is spun.
    fn sleep(&mut self, clock: &Clock, deadline: Option<Mono>) -> io::Result<()> {
        let at_once = Some(Duration::ZERO);
        if !self.ready.is_empty() {
            return self.poll_events(at_once);
        }
        let Some(deadline) = deadline else {
            return self.poll_events(None);
        };
        let left_ns = deadline.since(clock.mono());
        if left_ns > self.spin_ns {
            let at = Mono::from_nanos(deadline.as_nanos() - self.spin_ns);
            if self.armed != Some(at) {
                self.timer.arm(left_ns - self.spin_ns)?;
                self.armed = Some(at);
            }
            self.poll_events(None)?;
            if self.spin_ns == 0 || !self.woke_by_timer_alone() {
                return Ok(());
            }
            // Its event is used up here, where the next wait must not take it for armed.
            self.armed = None;
        }
        loop {
            self.poll_events(at_once)?;
            if !self.events.is_empty() || clock.mono_for_sure() >= deadline {
                return Ok(());
            }
            std::hint::spin_loop();
        }
    }

    fn poll_events(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            other => other,
        }
    }

    fn woke_by_timer_alone(&self) -> bool {
        let mut sources = self.events.iter().map(|event| Source::of(event.token()));
        sources.all(|source| source == Source::Timer)
    }

    /// Handles the events of one wait: connects and writes at once; reads go into the queue.
    fn handle_events(&mut self, core: &mut Core<'_>) {
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            match Source::of(event.token()) {
                Source::Timer => self.armed = None,
                Source::Waker => {}
                Source::Listener(place) => self.handle_listener_event(core, place, event),
                Source::Acceptor(place) => self.queue_acceptor(place),
                Source::Shared(place) => self.handle_shared_event(core, place, event),
                Source::Stream(index) => self.handle_stream_event(core, index, event),
            }
        }
        self.events = events;
    }

    fn carry_out(&mut self, core: &mut Core<'_>, transmit: Transmit) {
        match transmit {
            Transmit::Open {
                socket,
                remote,
                kind,
            } => self.open(core, socket, remote, kind),
            Transmit::Datagram {
                socket,
                key,
                at_once,
            } => {
                self.push_request(socket, key);
                self.flush_if(at_once, core);
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
                    flow: None,
                    key,
                };
                self.batch.push(reply, &self.payload);
                self.flush_if(key.is_none(), core);
            }
            Transmit::Stream { socket, key } => self.write_stream(core, socket, key),
            Transmit::Close { socket } => {
                // A flow's last probe goes before its end.
                self.sockets.send(core, &mut self.batch);
                self.sockets.close(core, socket);
            }
            Transmit::Resolve { target, host } => core.resolver.resolve(target, &host),
        }
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
        let deadline = deadline.into_iter().chain(self.accept_again).min();
        self.sleep(core.clock, deadline)
            .map_err(EngineError::Wait)?;
        self.handle_events(core);
        self.resume_accepting(core.clock.mono());
        self.receive(core);
        Ok(())
    }

    fn listening(&self) -> &Listening {
        &self.sockets.listeners.listening
    }
}
