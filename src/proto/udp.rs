//! The UDP flow of a target: one connected socket, so one 5-tuple, for as long as it works.

use std::net::{IpAddr, SocketAddr};

use crate::limits::{UDP_PAYLOAD_V4_MAX, UDP_PAYLOAD_V6_MAX};
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
use crate::proto::wheel::TimerKey;
use crate::proto::wire::text::{self, Identifier, Message, SEQUENCES};

/// The longest wait between two fresh sockets toward a peer that stays silent.
const REOPEN_MOST_NS: u64 = 60_000_000_000;
/// The shortest, however short the timeout.
const REOPEN_FIRST_NS: u64 = 100_000_000;

#[derive(Debug)]
pub(crate) struct UdpFlow {
    pub(crate) flow: Flow,
    this: FlowRef,
    port: u16,
    max_lost: u32,
    remote: Option<SocketAddr>,
    socket: Option<SocketId>,
    protocol: Protocol,
    /// The next probe speaks native.
    is_native: bool,
    /// The conversation on the native wire, once there was one on this socket: replies are read also
    /// when text is spoken again.
    exchange: Option<Exchange>,
    /// The first probe on this socket, or after native ones: the text sequence starts at 0 with it.
    first: u64,
    cookie: u32,
    backoff: Backoff,
    reopen_timer: Option<TimerKey>,
    /// No fresh socket before this.
    reopen_after: Mono,
    /// Probes in a row that the kernel did not take.
    refused: u32,
    /// It did not take the last one.
    was_refused: bool,
}

impl UdpFlow {
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
            protocol,
            is_native: false,
            exchange: None,
            max_lost,
            remote: None,
            socket: None,
            first: 0,
            cookie: context.flow_ids.cookie(),
            backoff: Backoff::new(timeout_ns.max(REOPEN_FIRST_NS), REOPEN_MOST_NS),
            reopen_timer: None,
            reopen_after: Mono::ZERO,
            refused: 0,
            was_refused: false,
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
        self.reopen(peer, context);
    }

    /// The engine has no socket for us any more.
    pub(crate) fn handle_closed(&mut self, peer: &mut Peer, context: &mut Context) {
        self.socket = None;
        self.flow.lose_all(context);
        self.begin(peer, context);
        self.schedule_reopen(context);
    }

    /// The reopen timer fired.
    pub(crate) fn handle_reopen(&mut self, peer: &mut Peer, context: &mut Context) {
        self.reopen_timer = None;
        self.reopen(peer, context);
    }

    /// Builds the probe for the slot that was taken off the queue.
    pub(crate) fn poll_transmit(
        &mut self,
        slot: Mono,
        (voice, peer): (&Voice, &mut Peer),
        context: &mut Context,
        buffer: &mut Vec<u8>,
    ) -> Option<Transmit> {
        if let Some(exchange) = &mut self.exchange {
            let before = self.flow.waited_enough(context);
            exchange.handle_aged(before, &mut self.flow, peer, context);
        }
        let may_doubt = self.is_native && self.protocol == Protocol::Auto;
        if may_doubt && self.flow.is_unheard_at(slot) {
            self.speak_text();
        }
        let (Some(socket), Some(remote)) = (self.socket, self.remote) else {
            self.flow.skip();
            return None;
        };
        let payload_most = if remote.is_ipv4() {
            UDP_PAYLOAD_V4_MAX
        } else {
            UDP_PAYLOAD_V6_MAX
        };
        if !std::mem::take(&mut self.was_refused) {
            self.refused = 0;
        }
        let number = self.flow.send(slot, self.is_native, context);
        let size = voice.size.map(|size| size.min(payload_most));
        if let Some(exchange) = self.exchange.as_ref().filter(|_| self.is_native) {
            let extras = (size, peer.correction_ns());
            exchange.encode(number, voice, extras, context, buffer);
        } else {
            let identifier = Identifier::new(self.cookie, low(number));
            let identifier = match self.protocol {
                Protocol::Auto => identifier.offering_native(),
                Protocol::Text | Protocol::Native => identifier,
            };
            let seq = wire_seq(number, self.first);
            text::encode_request(
                buffer,
                seq,
                &voice.name,
                context.now.wall,
                &voice.tags,
                Some(identifier),
                size,
            );
        }
        let key = Some(self.this.stamp_key(number));
        Some(Transmit::Datagram {
            socket,
            key,
            at_once: !self.is_native,
        })
    }

    /// The kernel's stamp of a probe's departure has come. False if nobody waits for it.
    pub(crate) fn handle_left(&mut self, number: u64, stamp: Stamp, context: &mut Context) -> bool {
        let is_known = self.flow.handle_left(number, stamp, context);
        let tells = is_known && self.flow.is_native(number);
        if let Some(exchange) = self.exchange.as_mut().filter(|_| tells) {
            exchange.handle_left(number, stamp);
        }
        is_known
    }

    /// The kernel did not take the last probe. If that goes on as losses would, the socket's own
    /// address may be gone, which only a fresh one gets over. True if it is time for one.
    pub(crate) fn handle_unsent(&mut self, peer: &mut Peer, context: &mut Context) -> bool {
        self.flow.unsend_last();
        self.was_refused = true;
        self.refused = self.refused.saturating_add(1);
        let over = self.refused >= self.max_lost && context.now.mono >= self.reopen_after;
        if over {
            self.refused = 0;
            self.reopen(peer, context);
        }
        over
    }

    /// A datagram came in on our socket.
    pub(crate) fn handle_datagram(
        &mut self,
        arrival: Arrival,
        payload: &[u8],
        peer: &mut Peer,
        context: &mut Context,
    ) {
        let was_read = match text::decode_datagram(payload) {
            Ok(message) => self.handle_text(arrival, &message, context),
            Err(_) => self.handle_native(arrival, payload, peer, context),
        };
        if !was_read {
            self.flow.counters.corrupt += 1;
        }
    }

    fn handle_text(
        &mut self,
        arrival: Arrival,
        message: &Message<'_>,
        context: &mut Context,
    ) -> bool {
        let Some(number) = match_reply(&self.flow, self.cookie, self.first, message) else {
            return false;
        };
        if let Reply::Received(departure) = self.flow.handle_reply(number, context) {
            self.backoff.reset();
            let delay = Measured::whole(departure.elapsed(&arrival));
            self.flow.publish(arrival.best().at, number, delay, context);
            let received = message.header.at;
            self.flow
                .trace_text(number, &departure, received, &arrival, context);
        }
        if takes_offer(message) && self.protocol == Protocol::Auto {
            self.speak_native(context);
        }
        true
    }

    fn handle_native(
        &mut self,
        arrival: Arrival,
        payload: &[u8],
        peer: &mut Peer,
        context: &mut Context,
    ) -> bool {
        let Some(exchange) = &mut self.exchange else {
            return false;
        };
        let reply = exchange.handle_reply(arrival, payload, (&mut self.flow, peer), context);
        if let Some(Reply::Received(_)) = reply {
            self.backoff.reset();
            // One that was slower than the doubt about it.
            self.is_native = true;
        }
        reply.is_some()
    }

    /// From the next probe on.
    fn speak_native(&mut self, context: &mut Context) {
        self.is_native = true;
        if self.exchange.is_none() {
            self.flow.forget_testimony();
            self.exchange = Some(Exchange::new(self.flow.next_number(), context));
        }
    }

    /// From the next probe on.
    fn speak_text(&mut self) {
        self.is_native = false;
        self.first = self.flow.next_number();
    }

    /// Everything anew: the next probe is the first one of its socket.
    fn begin(&mut self, peer: &mut Peer, context: &mut Context) {
        if let Some(mut exchange) = self.exchange.take() {
            exchange.settle_all(&mut self.flow, peer, context);
        }
        self.speak_text();
        if self.protocol == Protocol::Native {
            self.speak_native(context);
        }
    }

    /// The expiry timer fired. True if the losses call for a fresh start.
    pub(crate) fn handle_expiry(&mut self, peer: &mut Peer, context: &mut Context) -> bool {
        let mut last_lost = None;
        self.flow
            .handle_expiry(context, |number, _| last_lost = Some(number));
        if let (Some(exchange), Some(number)) = (&mut self.exchange, last_lost) {
            exchange.handle_expired(number, &mut self.flow, peer, context);
            // A whole timeout without a word: perhaps somebody else is there now, who speaks text.
            let is_silent = self.is_native && self.flow.is_native_unheard(number);
            if is_silent && self.protocol == Protocol::Auto {
                self.speak_text();
            }
        }
        self.restart_if_silent(peer, context)
    }

    /// Our own clock is about to be another one, or the daemon ends: what waits is settled.
    pub(crate) fn settle_all(&mut self, peer: &mut Peer, context: &mut Context) {
        if let Some(exchange) = &mut self.exchange {
            exchange.settle_all(&mut self.flow, peer, context);
        }
    }

    /// After `max_lost` losses in a row a fresh socket takes a fresh 5-tuple: a path, a firewall's
    /// state or a balancer's choice that has gone bad is left behind. What is in flight is not
    /// given up lightly, so no sooner than a timeout after the last time.
    fn restart_if_silent(&mut self, peer: &mut Peer, context: &mut Context) -> bool {
        let silent =
            self.flow.consecutive_lost >= self.max_lost && context.now.mono >= self.reopen_after;
        if silent && self.socket.is_some() {
            self.reopen(peer, context);
        }
        silent
    }

    fn reopen(&mut self, peer: &mut Peer, context: &mut Context) {
        if let Some(timer) = self.reopen_timer.take() {
            context.wheel.cancel(timer);
        }
        if let Some(socket) = self.socket.take() {
            context.close_socket(socket);
            self.flow.lose_all(context);
        }
        let Some(remote) = self.remote else { return };
        self.flow.consecutive_lost = 0;
        self.begin(peer, context);
        self.reopen_after = context.now.mono.plus(self.backoff.wait(&mut context.rng));
        let socket = context.open_socket(Owner::Udp(self.this.slot));
        self.socket = Some(socket);
        context
            .actions
            .push_back(Transmit::OpenUdp { socket, remote });
    }

    fn schedule_reopen(&mut self, context: &mut Context) {
        if self.reopen_timer.is_none() {
            let at = context.now.mono.plus(self.backoff.wait(&mut context.rng));
            self.reopen_timer = Some(context.wheel.insert(at, Timer::Reopen(self.this)));
        }
    }

    pub(crate) fn end(&mut self, context: &mut Context) {
        self.flow.cancel_timers(context);
        if let Some(timer) = self.reopen_timer.take() {
            context.wheel.cancel(timer);
        }
        if let Some(socket) = self.socket.take() {
            context.close_socket(socket);
        }
    }
}

/// Whether a message is a reply of ours that takes our offer of the native wire.
pub(crate) fn takes_offer(message: &Message<'_>) -> bool {
    message
        .identifier
        .is_some_and(|identifier| identifier.is_reply && identifier.is_native)
}

/// The probe that a text reply answers: by the identifier in its padding if that came back, else
/// by the sequence number, while that says which.
pub(crate) fn match_reply(
    flow: &Flow,
    cookie: u32,
    first: u64,
    message: &Message<'_>,
) -> Option<u64> {
    let seq = message.header.seq;
    let number = match message.identifier {
        Some(identifier) if identifier.cookie == cookie => flow.widen(identifier.number)?,
        Some(_) => return None,
        None => flow.by_residue(first, SEQUENCES, u64::from(seq))?,
    };
    (number >= first && wire_seq(number, first) == seq).then_some(number)
}

/// The text wire's sequence number, 0 to 100, of a probe on a socket whose first was `first`.
pub(crate) fn wire_seq(number: u64, first: u64) -> u8 {
    u8::try_from((number - first) % SEQUENCES).expect("the modulus is 101")
}

/// The low half of a number, as identifiers carry it.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the receiver widens it again"
)]
pub(crate) fn low(number: u64) -> u32 {
    number as u32
}
