//! The persistent TCP flow of a target: one connection, held while it works, made anew when not.

use std::net::{IpAddr, SocketAddr};

use crate::proto::backoff::Backoff;
use crate::proto::context::Context;
use crate::proto::exchange::Exchange;
use crate::proto::flow::{Flow, Measured, Reply};
use crate::proto::owner::{FlowRef, Owner, Timer};
use crate::proto::peer::Peer;
use crate::proto::probed::Voice;
use crate::proto::sample::Stamp;
use crate::proto::target::Protocol;
use crate::proto::time::Mono;
use crate::proto::transmit::{Arrival, SocketId, Transmit};
use crate::proto::udp::{low, match_reply, takes_offer, wire_seq};
use crate::proto::wheel::TimerKey;
use crate::proto::wire::native::{FRAMED_BYTES_MAX, FrameDecoder, PREAMBLE, encode_frame};
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
    /// The reopen timer is its turn to connect.
    Waiting,
    Connecting(SocketId),
    Up(Connection),
}

/// The conversation on the native wire.
#[derive(Debug)]
struct Native {
    exchange: Exchange,
    decoder: FrameDecoder,
    /// The peer has not been told yet that it begins.
    is_new: bool,
}

impl Native {
    fn new(first: u64, context: &mut Context) -> Box<Self> {
        Box::new(Self {
            exchange: Exchange::new(first, context),
            decoder: FrameDecoder::new(false),
            is_new: true,
        })
    }
}

#[derive(Debug)]
struct Connection {
    socket: SocketId,
    decoder: StreamDecoder,
    /// Instead of the decoder, once native is spoken.
    native: Option<Box<Native>>,
    /// The first probe on this connection; the sequence starts at 0 with it.
    first: u64,
    /// The peer has answered. Until then probes go alone: a Python responder does not survive it
    /// if the first message it reads is two glued together.
    answered: bool,
    /// The kernel takes no more bytes for now.
    blocked: bool,
    /// Since when it has been so, as far as slots that came due have seen.
    blocked_since: Option<Mono>,
    /// Segments sent again, as the kernel counted them last.
    retransmits: u32,
}

#[derive(Debug)]
pub(crate) struct TcpFlow {
    pub(crate) flow: Flow,
    this: FlowRef,
    port: u16,
    max_lost: u32,
    timeout_ns: u64,
    protocol: Protocol,
    remote: Option<SocketAddr>,
    state: State,
    cookie: u32,
    backoff: Backoff,
    /// Armed while connecting (to give up), while down (to try again), and while it waits for its turn.
    timer: Option<TimerKey>,
}

impl TcpFlow {
    pub(crate) fn new(
        context: &mut Context,
        this: FlowRef,
        flow: Flow,
        port: u16,
        (max_lost, timeout_ns): (u32, u64),
        protocol: Protocol,
    ) -> Self {
        Self {
            flow,
            this,
            port,
            max_lost,
            timeout_ns,
            protocol,
            remote: None,
            state: State::Down,
            cookie: context.flow_ids.cookie(),
            backoff: Backoff::new(RETRY_FIRST_NS, timeout_ns / 2),
            timer: None,
        }
    }

    /// The target is at `address` now: the flow moves there.
    pub(crate) fn handle_address(
        &mut self,
        address: IpAddr,
        peer: &mut Peer,
        context: &mut Context,
    ) {
        self.remote = Some(SocketAddr::new(address, self.port));
        self.backoff.reset();
        self.close(peer, context);
        self.connect(context);
    }

    pub(crate) fn handle_connected(&mut self, context: &mut Context) {
        if let State::Connecting(socket) = self.state {
            self.cancel_timer(context);
            self.flow.consecutive_lost = 0;
            self.flow.forget_testimony();
            let first = self.flow.next_number();
            let is_native = self.protocol == Protocol::Native;
            self.state = State::Up(Connection {
                socket,
                decoder: StreamDecoder::new(Role::Replies),
                native: is_native.then(|| Native::new(first, context)),
                first,
                answered: is_native,
                blocked: false,
                blocked_since: None,
                retransmits: 0,
            });
        }
    }

    /// The engine has no socket for us any more.
    pub(crate) fn handle_closed(&mut self, peer: &mut Peer, context: &mut Context) {
        self.settle_all(peer, context);
        self.state = State::Down;
        self.flow.lose_all(context);
        self.retry_later(context);
    }

    /// The timer fired: an attempt has had its time, or the wait is over. True if it was an attempt.
    pub(crate) fn handle_reopen(&mut self, peer: &mut Peer, context: &mut Context) -> bool {
        self.timer = None;
        if matches!(self.state, State::Waiting) {
            self.open(context);
            return false;
        }
        let failed = matches!(self.state, State::Connecting(_));
        self.close(peer, context);
        self.connect(context);
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
        slot: Mono,
        (voice, peer): (&Voice, &mut Peer),
        context: &mut Context,
        buffer: &mut Vec<u8>,
    ) -> Option<Transmit> {
        if self.is_stuck(context) {
            self.flow.skip();
            self.close(peer, context);
            self.connect(context);
            return None;
        }
        if let State::Up(Connection {
            native: Some(native),
            ..
        }) = &mut self.state
        {
            let before = self.flow.waited_enough(context);
            native
                .exchange
                .handle_aged(before, &mut self.flow, peer, context);
        }
        let up = match &mut self.state {
            State::Up(up) if !up.blocked && (up.answered || self.flow.in_flight() == 0) => up,
            _ => {
                self.flow.skip();
                return None;
            }
        };
        let (socket, first) = (up.socket, up.first);
        let number = self.flow.send(slot, up.native.is_some(), context);
        let key = Some(self.this.stamp_key(number));
        if let Some(native) = &mut up.native {
            if std::mem::take(&mut native.is_new) {
                buffer.extend_from_slice(&PREAMBLE);
            }
            let size = voice.size.map(|size| size.min(FRAMED_BYTES_MAX));
            let extras = (size, peer.correction_ns());
            encode_frame(buffer, |out| {
                native.exchange.encode(number, voice, extras, context, out);
            });
            return Some(Transmit::Stream { socket, key });
        }
        let identifier = Identifier::new(self.cookie, low(number));
        let identifier = match self.protocol {
            Protocol::Auto => identifier.offering_native(),
            Protocol::Text | Protocol::Native => identifier,
        };
        let seq = wire_seq(number, first);
        text::encode_request(
            buffer,
            seq,
            &voice.name,
            context.now.wall,
            &voice.tags,
            Some(identifier),
            voice.size,
        );
        Some(Transmit::Stream { socket, key })
    }

    /// The kernel's stamp of a probe's departure has come. False if nobody waits for it.
    pub(crate) fn handle_left(&mut self, number: u64, stamp: Stamp, context: &mut Context) -> bool {
        let is_known = self.flow.handle_left(number, stamp, context);
        if is_known
            && let State::Up(Connection {
                native: Some(native),
                ..
            }) = &mut self.state
        {
            native.exchange.handle_left(number, stamp);
        }
        is_known
    }

    /// The kernel has sent so many segments of this connection again.
    pub(crate) fn handle_retransmits(&mut self, total: u32) {
        if let State::Up(up) = &mut self.state {
            let before = std::mem::replace(&mut up.retransmits, total);
            self.flow.counters.retransmits += u64::from(total.saturating_sub(before));
        }
    }

    /// Whether the peer has read nothing for a timeout, while nothing more can be sent that could
    /// be lost: the flow would wait as long as TCP itself does, which is a quarter of an hour.
    fn is_stuck(&mut self, context: &Context) -> bool {
        let State::Up(up) = &mut self.state else {
            return false;
        };
        let since = up
            .blocked
            .then(|| *up.blocked_since.get_or_insert(context.now.mono));
        since.is_some_and(|since| context.now.mono.since(since) >= self.timeout_ns)
    }

    /// Bytes came in. A stream that cannot be read is given up: there is no way back into step.
    /// Gives how many messages were complete.
    pub(crate) fn handle_stream(
        &mut self,
        arrival: Arrival,
        bytes: &[u8],
        peer: &mut Peer,
        context: &mut Context,
    ) -> usize {
        let State::Up(up) = &mut self.state else {
            return 0;
        };
        let (messages, is_readable) = if up.native.is_some() {
            self.handle_native(arrival, bytes, peer, context)
        } else {
            self.handle_text(arrival, bytes, context)
        };
        if !is_readable {
            self.flow.counters.corrupt += 1;
            self.close(peer, context);
            self.retry_later(context);
        }
        messages
    }

    /// How many messages were complete, and whether all could be read.
    fn handle_text(
        &mut self,
        arrival: Arrival,
        bytes: &[u8],
        context: &mut Context,
    ) -> (usize, bool) {
        let State::Up(up) = &mut self.state else {
            return (0, true);
        };
        let mut messages = 0;
        let mut is_native = false;
        // The chunk's stamp is that of its last segment, so it is of the last message in it.
        let mut last = None;
        let (flow, cookie, first) = (&mut self.flow, self.cookie, up.first);
        let (answered, backoff) = (&mut up.answered, &mut self.backoff);
        let mut receive = |flow: &mut Flow, arrival: Arrival, (number, received)| {
            let reply = flow.handle_reply(number, context);
            if let Reply::Received(_) | Reply::Late = reply {
                *answered = true;
                backoff.reset();
            }
            if let Reply::Received(departure) = reply {
                let delay = Measured::whole(departure.elapsed(&arrival));
                flow.publish(arrival.best().at, number, delay, context);
                flow.trace_text(number, &departure, received, &arrival, context);
            }
        };
        let unstamped = Arrival::unstamped(arrival.now);
        let outcome = up.decoder.feed(bytes, |message| {
            messages += 1;
            if let Some(number) = match_reply(flow, cookie, first, &message) {
                // With a text probe still unanswered the stream is not between two wires yet.
                is_native = takes_offer(&message) && number + 1 == flow.next_number();
                if let Some(before) = last.replace((number, message.header.at)) {
                    receive(flow, unstamped, before);
                }
            } else {
                flow.counters.corrupt += 1;
            }
        });
        if let Some(last) = last {
            let is_whole = up.decoder.buffered() == 0;
            receive(flow, if is_whole { arrival } else { unstamped }, last);
        }
        let is_between = up.decoder.buffered() == 0;
        if is_native && is_between && self.protocol == Protocol::Auto {
            up.native = Some(Native::new(self.flow.next_number(), context));
        }
        (messages, outcome.is_ok())
    }

    fn handle_native(
        &mut self,
        arrival: Arrival,
        bytes: &[u8],
        peer: &mut Peer,
        context: &mut Context,
    ) -> (usize, bool) {
        let State::Up(Connection {
            native: Some(native),
            ..
        }) = &mut self.state
        else {
            return (0, true);
        };
        let mut messages = 0;
        let Native {
            exchange, decoder, ..
        } = &mut **native;
        let (flow, backoff) = (&mut self.flow, &mut self.backoff);
        let outcome = decoder.feed(bytes, |packet, is_last| {
            messages += 1;
            let stamp = arrival.stamp.filter(|_| is_last);
            let arrival = Arrival { stamp, ..arrival };
            match exchange.handle_reply(arrival, packet, (&mut *flow, &mut *peer), context) {
                Some(Reply::Received(_) | Reply::Late) => backoff.reset(),
                Some(_) => {}
                None => flow.counters.corrupt += 1,
            }
        });
        (messages, outcome.is_ok())
    }

    /// The expiry timer fired. True if the losses call for a fresh start.
    pub(crate) fn handle_expiry(&mut self, peer: &mut Peer, context: &mut Context) -> bool {
        let mut last_lost = None;
        self.flow
            .handle_expiry(context, |number, _| last_lost = Some(number));
        if let State::Up(Connection {
            native: Some(native),
            ..
        }) = &mut self.state
            && let Some(number) = last_lost
        {
            native
                .exchange
                .handle_expired(number, &mut self.flow, peer, context);
        }
        let silent = self.flow.consecutive_lost >= self.max_lost;
        if silent && matches!(self.state, State::Up(_)) {
            self.close(peer, context);
            self.connect(context);
        }
        silent
    }

    /// Our own clock is about to be another one, or the connection or the daemon ends: what waits is
    /// settled.
    pub(crate) fn settle_all(&mut self, peer: &mut Peer, context: &mut Context) {
        if let State::Up(Connection {
            native: Some(native),
            ..
        }) = &mut self.state
        {
            native.exchange.settle_all(&mut self.flow, peer, context);
        }
    }

    /// Connects when it is this flow's turn, which it is at once unless many others wait for theirs.
    fn connect(&mut self, context: &mut Context) {
        self.cancel_timer(context);
        let turn = context.take_turn();
        if turn <= context.now.mono {
            return self.open(context);
        }
        self.state = State::Waiting;
        self.timer = Some(context.wheel.insert(turn, Timer::Reopen(self.this)));
    }

    fn open(&mut self, context: &mut Context) {
        let Some(remote) = self.remote else { return };
        let socket = context.open_socket(Owner::Tcp(self.this.slot));
        context
            .actions
            .push_back(Transmit::OpenTcp { socket, remote });
        self.state = State::Connecting(socket);
        let give_up = context.now.mono.plus(self.timeout_ns.max(CONNECT_LEAST_NS));
        self.timer = Some(context.wheel.insert(give_up, Timer::Reopen(self.this)));
    }

    fn retry_later(&mut self, context: &mut Context) {
        self.cancel_timer(context);
        let at = context.now.mono.plus(self.backoff.wait(&mut context.rng));
        self.timer = Some(context.wheel.insert(at, Timer::Reopen(self.this)));
    }

    fn close(&mut self, peer: &mut Peer, context: &mut Context) {
        self.settle_all(peer, context);
        match std::mem::replace(&mut self.state, State::Down) {
            State::Down | State::Waiting => {}
            State::Connecting(socket) | State::Up(Connection { socket, .. }) => {
                context.close_socket(socket);
                self.flow.lose_all(context);
            }
        }
    }

    fn cancel_timer(&mut self, context: &mut Context) {
        if let Some(timer) = self.timer.take() {
            context.wheel.cancel(timer);
        }
    }

    pub(crate) fn end(&mut self, context: &mut Context) {
        self.flow.cancel_timers(context);
        self.cancel_timer(context);
        if let State::Connecting(socket) | State::Up(Connection { socket, .. }) = self.state {
            self.state = State::Down;
            context.close_socket(socket);
        }
    }
}
