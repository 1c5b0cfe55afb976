//! The persistent TCP flow of a target: one connection, held while it works, made anew when not.

use std::net::{IpAddr, SocketAddr};

use crate::proto::backoff::Backoff;
use crate::proto::flow::{Flow, Reply};
use crate::proto::prober::Voice;
use crate::proto::shared::{FlowRef, Owner, Shared, Timer};
use crate::proto::time::{Mono, Now};
use crate::proto::transmit::{Arrival, SocketId, Transmit};
use crate::proto::udp::{low, match_reply, wire_seq};
use crate::proto::wheel::TimerKey;
use crate::proto::wire::text::{self, Identifier, Role, StreamDecoder};

/// The first wait before a new connection: short, since a restarted peer refuses or accepts at
/// once and a flow has to be back within its timeout.
const RETRY_FIRST_NS: u64 = 10_000_000;
/// A connection attempt gets this long at least, for a SYN that has to be sent twice.
const CONNECT_LEAST_NS: u64 = 1_000_000_000;

#[derive(Debug)]
enum State {
    /// No address, or waiting for the reopen timer.
    Down,
    Connecting(SocketId),
    Up(Connection),
}

#[derive(Debug)]
struct Connection {
    socket: SocketId,
    decoder: StreamDecoder,
    /// The first probe on this connection; the sequence starts at 0 with it.
    first: u64,
    /// The peer has answered. Until then probes go alone: a Python responder does not survive it
    /// if the first message it reads is two glued together.
    answered: bool,
    /// The kernel takes no more bytes for now.
    blocked: bool,
    /// Since when it has been so, as far as slots that came due have seen.
    blocked_since: Option<Mono>,
}

#[derive(Debug)]
pub(crate) struct TcpFlow {
    pub(crate) flow: Flow,
    this: FlowRef,
    port: u16,
    max_lost: u32,
    timeout_ns: u64,
    remote: Option<SocketAddr>,
    state: State,
    cookie: u32,
    backoff: Backoff,
    /// Armed while connecting (to give up) and while down (to try again).
    timer: Option<TimerKey>,
}

impl TcpFlow {
    pub(crate) fn new(
        shared: &mut Shared,
        this: FlowRef,
        flow: Flow,
        port: u16,
        (max_lost, timeout_ns): (u32, u64),
    ) -> Self {
        Self {
            flow,
            this,
            port,
            max_lost,
            timeout_ns,
            remote: None,
            state: State::Down,
            cookie: shared.rng.next_u32(),
            backoff: Backoff::new(RETRY_FIRST_NS, timeout_ns / 2),
            timer: None,
        }
    }

    /// The target is at `address` now: the flow moves there.
    pub(crate) fn handle_address(&mut self, now: Now, address: IpAddr, shared: &mut Shared) {
        self.remote = Some(SocketAddr::new(address, self.port));
        self.backoff.reset();
        self.close(now, shared);
        self.connect(now, shared);
    }

    pub(crate) fn handle_connected(&mut self, shared: &mut Shared) {
        if let State::Connecting(socket) = self.state {
            self.cancel_timer(shared);
            self.flow.consecutive_lost = 0;
            self.state = State::Up(Connection {
                socket,
                decoder: StreamDecoder::new(Role::Replies),
                first: self.flow.next_number(),
                answered: false,
                blocked: false,
                blocked_since: None,
            });
        }
    }

    /// The engine has no socket for us any more.
    pub(crate) fn handle_closed(&mut self, now: Now, shared: &mut Shared) {
        self.state = State::Down;
        self.flow.lose_all(now, shared);
        self.retry_later(now, shared);
    }

    /// The timer fired: an attempt has had its time, or the wait is over. True if it was an attempt.
    pub(crate) fn handle_reopen(&mut self, now: Now, shared: &mut Shared) -> bool {
        self.timer = None;
        let failed = matches!(self.state, State::Connecting(_));
        self.close(now, shared);
        self.connect(now, shared);
        failed
    }

    pub(crate) fn handle_blocked(&mut self, blocked: bool) {
        if let State::Up(connection) = &mut self.state {
            connection.blocked = blocked;
            connection.blocked_since = None;
        }
    }

    /// Builds the probe for the slot that was taken off the queue.
    pub(crate) fn poll_transmit(
        &mut self,
        now: Now,
        slot: Mono,
        voice: &Voice,
        shared: &mut Shared,
        buffer: &mut Vec<u8>,
    ) -> Option<Transmit> {
        if self.is_stuck(now) {
            self.flow.skip();
            self.close(now, shared);
            self.connect(now, shared);
            return None;
        }
        let (socket, first) = match &self.state {
            State::Up(up) if !up.blocked && (up.answered || self.flow.in_flight() == 0) => {
                (up.socket, up.first)
            }
            _ => {
                self.flow.skip();
                return None;
            }
        };
        let number = self.flow.send(now, slot, shared);
        let identifier = Identifier::new(self.cookie, low(number));
        let seq = wire_seq(number, first);
        text::encode_request(
            buffer,
            seq,
            &voice.name,
            now.wall,
            &voice.tags,
            Some(identifier),
            voice.size,
        );
        Some(Transmit::Stream { socket, key: None })
    }

    /// Whether the peer has read nothing for a timeout, while nothing more can be sent that could
    /// be lost: the flow would wait as long as TCP itself does, which is a quarter of an hour.
    fn is_stuck(&mut self, now: Now) -> bool {
        let State::Up(up) = &mut self.state else {
            return false;
        };
        let since = up
            .blocked
            .then(|| *up.blocked_since.get_or_insert(now.mono));
        since.is_some_and(|since| now.mono.since(since) >= self.timeout_ns)
    }

    /// Bytes came in. A stream that cannot be read is given up: there is no way back into step.
    /// Gives how many messages were complete.
    pub(crate) fn handle_stream(
        &mut self,
        arrival: Arrival,
        bytes: &[u8],
        shared: &mut Shared,
    ) -> usize {
        let now = arrival.now;
        let State::Up(connection) = &mut self.state else {
            return 0;
        };
        let mut messages = 0;
        let (flow, cookie, first) = (&mut self.flow, self.cookie, connection.first);
        let (answered, backoff) = (&mut connection.answered, &mut self.backoff);
        let outcome = connection.decoder.feed(bytes, |message| {
            messages += 1;
            match match_reply(flow, cookie, first, &message) {
                Some(number) => {
                    if let Reply::Received(_) | Reply::Late = flow.handle_reply(now, number, shared)
                    {
                        *answered = true;
                        backoff.reset();
                    }
                }
                None => flow.counters.corrupt += 1,
            }
        });
        if outcome.is_err() {
            self.flow.counters.corrupt += 1;
            self.close(now, shared);
            self.retry_later(now, shared);
        }
        messages
    }

    /// The expiry timer fired. True if the losses call for a fresh start.
    pub(crate) fn handle_expiry(&mut self, now: Now, shared: &mut Shared) -> bool {
        self.flow.handle_expiry(now, shared, |_, _| ());
        let silent = self.flow.consecutive_lost >= self.max_lost;
        if silent && matches!(self.state, State::Up(_)) {
            self.close(now, shared);
            self.connect(now, shared);
        }
        silent
    }

    fn connect(&mut self, now: Now, shared: &mut Shared) {
        let Some(remote) = self.remote else { return };
        self.cancel_timer(shared);
        let socket = shared.open_socket(Owner::Tcp(self.this.slot));
        shared
            .actions
            .push_back(Transmit::OpenTcp { socket, remote });
        self.state = State::Connecting(socket);
        let give_up = now.mono.plus(self.timeout_ns.max(CONNECT_LEAST_NS));
        self.timer = Some(shared.wheel.insert(give_up, Timer::Reopen(self.this)));
    }

    fn retry_later(&mut self, now: Now, shared: &mut Shared) {
        self.cancel_timer(shared);
        let at = now.mono.plus(self.backoff.wait(&mut shared.rng));
        self.timer = Some(shared.wheel.insert(at, Timer::Reopen(self.this)));
    }

    fn close(&mut self, now: Now, shared: &mut Shared) {
        match std::mem::replace(&mut self.state, State::Down) {
            State::Down => {}
            State::Connecting(socket) | State::Up(Connection { socket, .. }) => {
                shared.close_socket(socket);
                self.flow.lose_all(now, shared);
            }
        }
    }

    fn cancel_timer(&mut self, shared: &mut Shared) {
        if let Some(timer) = self.timer.take() {
            shared.wheel.cancel(timer);
        }
    }

    pub(crate) fn end(&mut self, shared: &mut Shared) {
        self.flow.cancel_timers(shared);
        self.cancel_timer(shared);
        if let State::Connecting(socket) | State::Up(Connection { socket, .. }) = self.state {
            self.state = State::Down;
            shared.close_socket(socket);
        }
    }
}
