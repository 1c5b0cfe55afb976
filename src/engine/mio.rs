//! The readiness engine, on mio: one epoll for every socket, listener and timer.
//!
//! Everything is watched edge-triggered and stands in a queue until it is drained, so that one
//! busy socket takes no more than its share of a turn.

mod sockets;

use std::collections::VecDeque;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mio::event::Event;
use mio::net::TcpListener;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use self::sockets::{Entry, Kind, Sockets, Stream, Written};
use crate::clock::Clock;
use crate::engine::{Engine, EngineConfig, EngineError, Listening, Resolve};
use crate::limits::{
    ACCEPTS_PER_TURN_MAX, EVENTS_PER_POLL_MAX, MESSAGE_BYTES_MAX, RECEIVES_PER_TURN_MAX,
    STREAM_READ_BYTES, UNWRITTEN_BYTES_MAX,
};
use crate::proto::{Arrival, CloseReason, ListenerId, Mono, Prober, SocketId, Transmit};
use crate::sys;
use crate::sys::timer::WakeTimer;
use crate::sys::udp::UdpListener;

const TIMER: Token = Token(0);
const WAKER: Token = Token(1);
const FIRST_LISTENER: usize = 2;

/// After the descriptors ran out, connections are accepted again this much later: no new edge
/// tells of those that wait.
const ACCEPT_AGAIN_NS: u64 = 100_000_000;

/// At most one complaint about missing descriptors in this time.
const COMPLAIN_EVERY_NS: u64 = 10_000_000_000;

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
    udp: Vec<UdpListener>,
    tcp: Vec<TcpListener>,
    listening: Listening,
    sockets: Sockets,
    /// Sockets and listeners that may have more to read.
    ready: VecDeque<Token>,
    /// Listeners in that queue.
    listener_queued: Vec<bool>,
    /// Listeners that could not accept, until this.
    accept_again: Option<Mono>,
    complained: Option<Mono>,
    unwritten: usize,
    payload: Vec<u8>,
    received: Box<[u8]>,
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
            udp: Vec::new(),
            tcp: Vec::new(),
            listening: Listening::default(),
            sockets: Sockets::default(),
            ready: VecDeque::new(),
            listener_queued: Vec::new(),
            accept_again: None,
            complained: None,
            unwritten: 0,
            payload: Vec::with_capacity(MESSAGE_BYTES_MAX),
            received: vec![0; MESSAGE_BYTES_MAX + 1].into(),
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
            let mut listener = UdpListener::bind(address, only_v6).map_err(failed)?;
            let token = Token(FIRST_LISTENER + self.udp.len());
            self.poll
                .registry()
                .register(&mut listener.socket, token, Interest::READABLE)
                .map_err(failed)?;
            self.listening
                .udp
                .push(listener.socket.local_addr().map_err(failed)?);
            self.udp.push(listener);
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

    // --- what the core asks for ---

    fn open(&mut self, clock: &Clock, prober: &mut Prober, socket: SocketId, transmit: &Transmit) {
        let opened = match transmit {
            Transmit::OpenUdp { remote, .. } => {
                sys::udp::connect(*remote).map(|socket| (Kind::Udp(socket), true))
            }
            Transmit::OpenTcp { remote, .. } => sys::tcp::connect(*remote)
                .map(|(stream, done)| (Kind::Stream(Stream::new(stream, !done)), done)),
            Transmit::OpenProbe { remote, .. } => sys::tcp::connect_probe(*remote)
                .map(|(stream, done)| (Kind::Stream(Stream::new(stream, !done)), done)),
            _ => return,
        };
        let established = opened.and_then(|(mut kind, done)| {
            let token = self.token(socket);
            let registry = self.poll.registry();
            let both = Interest::READABLE | Interest::WRITABLE;
            match &mut kind {
                Kind::Udp(udp) => registry.register(udp, token, Interest::READABLE)?,
                Kind::Stream(stream) => registry.register(&mut stream.socket, token, both)?,
            }
            self.sockets.insert(socket, kind);
            Ok(done)
        });
        match established {
            Ok(true) => prober.handle_connected(clock.now(), socket, None),
            Ok(false) => {}
            Err(error) => self.fail(clock, prober, socket, &error),
        }
    }

    fn send_datagram(&mut self, clock: &Clock, prober: &mut Prober, socket: SocketId) {
        let Some(Entry {
            kind: Kind::Udp(udp),
            ..
        }) = self.sockets.get_mut(socket)
        else {
            return;
        };
        let mut sent = udp.send(&self.payload);
        if sent
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        {
            // That was about an earlier datagram, whose port unreachable has come back by now.
            sent = udp.send(&self.payload);
        }
        if let Err(error) = sent {
            tracing::debug!(%error, "the kernel did not take a UDP probe");
            prober.handle_unsent(clock.now(), socket);
        }
    }

    fn write_stream(&mut self, clock: &Clock, prober: &mut Prober, socket: SocketId) {
        let Some(Entry {
            kind: Kind::Stream(stream),
            ..
        }) = self.sockets.get_mut(socket)
        else {
            return;
        };
        let before = stream.unwritten();
        match stream.write(&self.payload) {
            Ok(Written::All) => {}
            Ok(Written::Waiting(now_waiting)) => {
                self.unwritten += now_waiting - before;
                prober.handle_blocked(socket, true);
                if self.unwritten > UNWRITTEN_BYTES_MAX {
                    self.drop_socket(socket);
                    prober.handle_closed(clock.now(), socket, CloseReason::Exhausted);
                }
            }
            Err(error) => self.fail(clock, prober, socket, &error),
        }
    }

    fn reply(
        &mut self,
        prober: &mut Prober,
        listener: ListenerId,
        to: SocketAddr,
        from: Option<IpAddr>,
    ) {
        let Some(udp) = self.udp.get_mut(listener.0 as usize) else {
            return;
        };
        if let Err(error) = udp.send(to, from, &self.payload) {
            tracing::debug!(%error, %to, "the kernel did not take a reply");
            prober.handle_reply_unsent();
        }
    }

    /// Closes a socket without a word to the core.
    fn drop_socket(&mut self, socket: SocketId) {
        if let Some(Entry {
            kind: Kind::Stream(stream),
            ..
        }) = self.sockets.remove(socket)
        {
            self.unwritten -= stream.unwritten();
        }
    }

    /// Closes a socket after an error and tells the core.
    fn fail(&mut self, clock: &Clock, prober: &mut Prober, socket: SocketId, error: &io::Error) {
        self.drop_socket(socket);
        let now = clock.now();
        if sys::is_exhaustion(error) {
            self.complain(now.mono, "open a socket", error);
        }
        prober.handle_closed(now, socket, sys::close_reason(error));
    }

    /// Says that the host has run out of something, but not for every probe that suffers from it.
    fn complain(&mut self, now: Mono, operation: &str, error: &io::Error) {
        if self
            .complained
            .is_none_or(|last| now.since(last) >= COMPLAIN_EVERY_NS)
        {
            self.complained = Some(now);
            tracing::error!(
                %error,
                "cannot {operation}; trying again (raise the limit of open files, `ulimit -n`, \
                 or probe fewer targets)"
            );
        }
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
    fn sort_events(&mut self, clock: &Clock, prober: &mut Prober) {
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            match event.token() {
                TIMER => self.armed = None,
                WAKER => {}
                Token(token) if token < self.first_socket() => self.queue_listener(token),
                Token(token) => {
                    self.sort_socket_event(clock, prober, token - self.first_socket(), event);
                }
            }
        }
        self.events = events;
    }

    fn queue_listener(&mut self, token: usize) {
        if !std::mem::replace(&mut self.listener_queued[token - FIRST_LISTENER], true) {
            self.ready.push_back(Token(token));
        }
    }

    fn sort_socket_event(
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
        if let Kind::Stream(stream) = &mut entry.kind {
            stream.ending |= event.is_read_closed();
            if stream.connecting && (event.is_writable() || event.is_error()) {
                match established(stream) {
                    Ok(true) => {
                        stream.connecting = false;
                        prober.handle_connected(clock.now(), id, None);
                    }
                    Ok(false) => return,
                    Err(error) => return self.fail(clock, prober, id, &error),
                }
            } else if event.is_writable() && stream.unwritten() > 0 {
                self.flush(clock, prober, id);
            }
        }
        if (event.is_readable() || event.is_read_closed() || event.is_error())
            && let Some(entry) = self.sockets.get_mut(id)
            && !std::mem::replace(&mut entry.queued, true)
        {
            self.ready.push_back(Token(self.first_socket() + index));
        }
    }

    fn flush(&mut self, clock: &Clock, prober: &mut Prober, socket: SocketId) {
        let Some(Entry {
            kind: Kind::Stream(stream),
            ..
        }) = self.sockets.get_mut(socket)
        else {
            return;
        };
        let before = stream.unwritten();
        match stream.flush() {
            Ok(written) => {
                self.unwritten -= before - stream.unwritten();
                prober.handle_blocked(socket, written != Written::All);
            }
            Err(error) => self.fail(clock, prober, socket, &error),
        }
    }

    /// Reads from the sockets that have something, each in its turn, up to a bounded number.
    fn receive(&mut self, clock: &Clock, prober: &mut Prober, resolver: &mut dyn Resolve) {
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
        let (read, is_udp) = match &mut entry.kind {
            Kind::Udp(socket) => (socket.recv(&mut self.received), true),
            Kind::Stream(stream) => (
                stream.socket.read(&mut self.received[..STREAM_READ_BYTES]),
                false,
            ),
        };
        let now = clock.now();
        let drained = match read {
            Ok(length) if is_udp => {
                prober.handle_datagram(Arrival::unstamped(now), id, &self.received[..length]);
                false
            }
            Ok(0) => {
                self.drop_socket(id);
                prober.handle_closed(now, id, CloseReason::Finished);
                true
            }
            Ok(length) => {
                let messages =
                    prober.handle_stream(Arrival::unstamped(now), id, &self.received[..length]);
                *left = left.saturating_sub(messages);
                // The stream is drained after a short read, as epoll(7) has it, unless its end
                // is still to be read.
                length < STREAM_READ_BYTES && !self.is_ending(id)
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => true,
                io::ErrorKind::Interrupted => false,
                // An ICMP error about an earlier datagram; the probe's timeout tells the rest.
                _ if is_udp => false,
                _ => {
                    self.fail(clock, prober, id, &error);
                    true
                }
            },
        };
        if drained && let Some(entry) = self.sockets.get_mut(id) {
            entry.queued = false;
        }
        drained
    }

    fn is_ending(&mut self, socket: SocketId) -> bool {
        matches!(
            self.sockets.get_mut(socket),
            Some(Entry {
                kind: Kind::Stream(Stream { ending: true, .. }),
                ..
            })
        )
    }

    /// Reads requests until there are no more or the turn is over; each is answered at once.
    fn receive_requests(
        &mut self,
        clock: &Clock,
        prober: &mut Prober,
        listener: usize,
        left: &mut usize,
    ) -> bool {
        *left -= 1;
        match self.udp[listener].receive(&mut self.received) {
            Ok((length, from, local)) => {
                let now = clock.now();
                let id = ListenerId(u32::try_from(listener).unwrap_or(u32::MAX));
                prober.handle_request(
                    Arrival::unstamped(now),
                    id,
                    from,
                    local,
                    &self.received[..length],
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

    fn take_in(&mut self, clock: &Clock, prober: &mut Prober, mut stream: mio::net::TcpStream) {
        let Some(socket) = prober.handle_accept(clock.now()) else {
            return;
        };
        let token = self.token(socket);
        let both = Interest::READABLE | Interest::WRITABLE;
        let watched = stream
            .set_nodelay(true)
            .and_then(|()| self.poll.registry().register(&mut stream, token, both));
        match watched {
            Ok(()) => drop(
                self.sockets
                    .insert(socket, Kind::Stream(Stream::new(stream, false))),
            ),
            Err(error) => self.fail(clock, prober, socket, &error),
        }
    }

    /// Looks at the listeners again that had to be left alone.
    fn resume_accepting(&mut self, now: Mono) {
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

impl Engine for MioEngine {
    fn transmit(&mut self, clock: &Clock, prober: &mut Prober, resolver: &mut dyn Resolve) {
        while let Some(transmit) = prober.poll_transmit(clock.now(), &mut self.payload) {
            match transmit {
                Transmit::OpenUdp { socket, .. }
                | Transmit::OpenTcp { socket, .. }
                | Transmit::OpenProbe { socket, .. } => {
                    self.open(clock, prober, socket, &transmit);
                }
                Transmit::Datagram { socket, .. } => self.send_datagram(clock, prober, socket),
                Transmit::Reply {
                    listener, to, from, ..
                } => self.reply(prober, listener, to, from),
                Transmit::Stream { socket, .. } => self.write_stream(clock, prober, socket),
                Transmit::Close { socket } => self.drop_socket(socket),
                Transmit::Resolve { target, host } => resolver.resolve(target, &host),
            }
        }
    }

    fn wait(
        &mut self,
        clock: &Clock,
        prober: &mut Prober,
        resolver: &mut dyn Resolve,
        deadline: Option<Mono>,
    ) -> Result<(), EngineError> {
        let deadline = deadline.into_iter().chain(self.accept_again).min();
        self.sleep(clock, deadline).map_err(EngineError::Wait)?;
        self.sort_events(clock, prober);
        self.resume_accepting(clock.mono());
        self.receive(clock, prober, resolver);
        Ok(())
    }

    fn listening(&self) -> &Listening {
        &self.listening
    }
}
