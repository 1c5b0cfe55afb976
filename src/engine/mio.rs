//! The readiness engine, on mio: one epoll for every socket, listener and timer.
//!
//! Everything is watched edge-triggered and stands in a queue until it is drained, so that one
//! busy socket takes no more than its share of a turn.

mod receive;
mod send;
pub(super) mod watch;

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mio::net::{TcpListener, UdpSocket};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use self::watch::Watch;
use crate::clock::Clock;
use crate::engine::batch::{Batch, Lane};
use crate::engine::failure::Complaints;
use crate::engine::shared_udp::SharedSockets;
use crate::engine::sockets::Sockets;
use crate::engine::stamp_queue::StampQueue;
use crate::engine::stamping::Stamping;
use crate::engine::tuning::SocketTuning;
use crate::engine::unreachable::Unreachable;
use crate::engine::{Core, Engine, EngineConfig, EngineError, Listening};
use crate::limits::{
    DATAGRAMS_PER_CALL_MAX, EVENTS_PER_POLL_MAX, MESSAGE_BYTES_MAX, STREAM_READ_BYTES,
};
use crate::proto::{Mono, SocketId, StampKey, Transmit};
use crate::sys;
use crate::sys::batch::{Inbox, Outbox};
use crate::sys::timer::WakeTimer;

const TIMER: Token = Token(0);
const WAKER: Token = Token(1);
const FIRST_LISTENER: usize = 2;
/// Shared sockets count from here: the core's own numbers stay far below.
const FIRST_SHARED: usize = 1 << 31;

/// After the descriptors ran out, connections are accepted again this much later: no new edge
/// tells of those that wait.
const ACCEPT_AGAIN_NS: u64 = 100_000_000;

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
    stamping: Stamping,
    tuning: SocketTuning,
    udp: Vec<Listener>,
    tcp: Vec<TcpListener>,
    listening: Listening,
    sockets: Sockets,
    /// What UDP flows leave from.
    shared: SharedSockets,
    /// What was told of addresses that packets do not reach.
    unreachable: Unreachable,
    /// Sockets and listeners that may have more to read.
    ready: VecDeque<Token>,
    /// Those that are to be read again in the next turn.
    unwatched: Vec<Token>,
    /// Listeners in that queue.
    listener_queued: Vec<bool>,
    /// Listeners that could not accept, until this.
    accept_again: Option<Mono>,
    complaints: Complaints,
    unwritten: usize,
    payload: Vec<u8>,
    /// Datagrams that leave together.
    batch: Batch,
    outbox: Outbox,
    inbox: Inbox,
    /// What a stream brings.
    received: Box<[u8]>,
}

/// A UDP listener, and its replies whose stamps have not come.
#[derive(Debug)]
struct Listener {
    socket: UdpSocket,
    queue: StampQueue<StampKey>,
    watch: Watch,
}

impl MioEngine {
    /// Opens every listener and the timer.
    pub fn new(config: &EngineConfig) -> Result<Self, EngineError> {
        let setup = |operation| move |source| EngineError::Setup { operation, source };
        let poll = Poll::new().map_err(setup("make an event queue"))?;
        let timer = WakeTimer::new().map_err(setup("make a timer"))?;
        let waker = Waker::new(poll.registry(), WAKER).map_err(setup("make a waker"))?;
        poll.registry()
            .register(&mut SourceFd(&timer.raw_fd()), TIMER, Interest::READABLE)
            .map_err(setup("watch the timer"))?;
        let mut engine = Self {
            poll,
            events: Events::with_capacity(EVENTS_PER_POLL_MAX),
            waker: Arc::new(waker),
            timer,
            armed: None,
            spin_ns: config.spin_ns,
            stamping: Stamping::new(config.timestamps),
            tuning: SocketTuning::new(config.sockets),
            udp: Vec::new(),
            tcp: Vec::new(),
            listening: Listening::default(),
            sockets: Sockets::default(),
            shared: SharedSockets::default(),
            unreachable: Unreachable::default(),
            ready: VecDeque::new(),
            unwatched: Vec::new(),
            listener_queued: Vec::new(),
            accept_again: None,
            complaints: Complaints::default(),
            unwritten: 0,
            payload: Vec::with_capacity(MESSAGE_BYTES_MAX),
            batch: Batch::new(),
            outbox: Outbox::new(),
            inbox: Inbox::new(DATAGRAMS_PER_CALL_MAX, MESSAGE_BYTES_MAX + 1),
            received: vec![0; STREAM_READ_BYTES].into(),
        };
        engine.listen(config)?;
        Ok(engine)
    }

    /// Ends a wait from another thread.
    pub fn waker(&self) -> Arc<Waker> {
        self.waker.clone()
    }

    fn listen(&mut self, config: &EngineConfig) -> Result<(), EngineError> {
        // Two sockets cannot both take IPv4 on one port.
        let only_v6 = config.addresses.iter().any(IpAddr::is_ipv4);
        for address in config
            .addresses
            .iter()
            .filter(|_| config.udp_port.is_some())
        {
            let address = SocketAddr::new(*address, config.udp_port.unwrap_or(0));
            let failed = |source| EngineError::Listen {
                protocol: "UDP",
                address,
                source,
            };
            let mut socket = sys::udp::listen(address, only_v6).map_err(failed)?;
            self.tuning.apply(&socket);
            let token = Token(FIRST_LISTENER + self.udp.len());
            self.poll
                .registry()
                .register(&mut socket, token, Interest::READABLE)
                .map_err(failed)?;
            self.listening
                .udp
                .push(socket.local_addr().map_err(failed)?);
            let queue = self.stamping.begin_udp(&socket);
            self.udp.push(Listener {
                socket,
                queue,
                watch: Watch::default(),
            });
        }
        for address in config
            .addresses
            .iter()
            .filter(|_| config.tcp_port.is_some())
        {
            let address = SocketAddr::new(*address, config.tcp_port.unwrap_or(0));
            let failed = |source| EngineError::Listen {
                protocol: "TCP",
                address,
                source,
            };
            let mut listener = sys::tcp::listen(address, only_v6).map_err(failed)?;
            let token = Token(FIRST_LISTENER + self.udp.len() + self.tcp.len());
            self.poll
                .registry()
                .register(&mut listener, token, Interest::READABLE)
                .map_err(failed)?;
            self.listening
                .tcp
                .push(listener.local_addr().map_err(failed)?);
            self.tcp.push(listener);
        }
        self.listener_queued = vec![false; self.udp.len() + self.tcp.len()];
        Ok(())
    }

    fn first_socket(&self) -> usize {
        FIRST_LISTENER + self.listener_queued.len()
    }

    fn token(&self, socket: SocketId) -> Token {
        Token(self.first_socket() + socket.index as usize)
    }

    // --- what the kernel has to say ---

    /// Arms the timer and waits. With `spin_ns` the last stretch before the deadline is spun.
    fn sleep(&mut self, clock: &Clock, deadline: Option<Mono>) -> io::Result<()> {
        let at_once = Some(std::time::Duration::ZERO);
        if !self.ready.is_empty() {
            return self.poll_events(at_once);
        }
        let Some(deadline) = deadline else {
            return self.poll_events(None);
        };
        let left_ns = deadline.since(clock.mono());
        if left_ns > self.spin_ns {
            self.arm(
                Mono::from_nanos(deadline.as_nanos() - self.spin_ns),
                left_ns - self.spin_ns,
            )?;
            self.poll_events(None)?;
            if self.spin_ns == 0 || !self.woke_by_timer_alone() {
                return Ok(());
            }
            // Its event is used up here, where the next wait must not take it for armed.
            self.armed = None;
        }
        loop {
            self.poll_events(at_once)?;
            if !self.events.is_empty() || clock.mono() >= deadline {
                return Ok(());
            }
            std::hint::spin_loop();
        }
    }

    fn arm(&mut self, at: Mono, in_ns: u64) -> io::Result<()> {
        if self.armed != Some(at) {
            self.timer.arm(in_ns)?;
            self.armed = Some(at);
        }
        Ok(())
    }

    fn poll_events(&mut self, timeout: Option<std::time::Duration>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            other => other,
        }
    }

    fn woke_by_timer_alone(&self) -> bool {
        self.events.iter().all(|event| event.token() == TIMER)
    }

    /// Sorts the events of one wait: connects and writes at once, reads into the queue.
    fn sort_events(&mut self, core: &mut Core<'_>) {
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            match event.token() {
                TIMER => self.armed = None,
                WAKER => {}
                Token(token) if token < self.first_socket() => {
                    self.sort_listener_event(core, token, event);
                }
                Token(token) if token >= FIRST_SHARED => {
                    self.sort_shared_event(core, token - FIRST_SHARED, event);
                }
                Token(token) => {
                    self.sort_socket_event(core, token - self.first_socket(), event);
                }
            }
        }
        self.events = events;
    }

    fn carry_out(&mut self, core: &mut Core<'_>, transmit: Transmit) {
        match transmit {
            Transmit::OpenUdp { socket, .. }
            | Transmit::OpenTcp { socket, .. }
            | Transmit::OpenProbe { socket, .. } => {
                self.open(core, socket, &transmit);
            }
            Transmit::Datagram {
                socket,
                key,
                at_once,
            } => {
                self.push_probe(socket, key);
                self.flush_if(at_once, core);
            }
            Transmit::Reply {
                listener,
                to,
                from,
                key,
            } => {
                let lane = Lane::Listener(listener.0 as usize);
                self.batch
                    .push(lane, (to, from), (None, key), &self.payload);
                self.flush_if(key.is_none(), core);
            }
            Transmit::Stream { socket, key } => self.write_stream(core, socket, key),
            Transmit::Close { socket } => {
                // A flow's last probe goes before its end.
                self.flush_batch(core);
                self.drop_socket(core, socket);
            }
            Transmit::Resolve { target, host } => core.resolver.resolve(target, &host),
        }
    }

    fn queue_listener(&mut self, token: usize) {
        if !std::mem::replace(&mut self.listener_queued[token - FIRST_LISTENER], true) {
            self.ready.push_back(Token(token));
        }
    }
}

impl Engine for MioEngine {
    fn transmit(&mut self, core: &mut Core<'_>) {
        loop {
            while let Some(transmit) = core
                .prober
                .poll_transmit(core.clock.now(), &mut self.payload)
            {
                self.carry_out(core, transmit);
            }
            // What could not be sent may call for something else.
            if self.flush_batch(core) {
                return;
            }
        }
    }

    fn wait(&mut self, core: &mut Core<'_>, deadline: Option<Mono>) -> Result<(), EngineError> {
        let deadline = deadline.into_iter().chain(self.accept_again).min();
        self.sleep(core.clock, deadline)
            .map_err(EngineError::Wait)?;
        self.sort_events(core);
        self.resume_accepting(core.clock.mono());
        self.receive(core);
        Ok(())
    }

    fn listening(&self) -> &Listening {
        &self.listening
    }
}
