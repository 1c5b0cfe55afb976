//! What the probes of a flow say, and what is read in the replies: over datagrams or in a stream, on the
//! text wire or on the native one, and how a flow comes from one wire to the other.
//!
//! A conversation numbers, encodes and matches; it opens no socket. Where messages begin and end in a
//! stream is the wire's matter, so the stream decoders are here and not in the
//! [carrier](super::carrier).

mod native;
mod stamp;
mod text;

use std::sync::Arc;

use native::{Names, Native, PendingReply};
use stamp::Stamp;
use text::Text;

use crate::proto::context::Context;
use crate::proto::ends::Ends;
use crate::proto::life::LifeEvent;
use crate::proto::output::Output;
use crate::proto::sample::Stamp as At;
use crate::proto::target::{Protocol, TargetSpec};
use crate::proto::time::Mono;
use crate::proto::transmit::Arrival;
use crate::proto::view::Spoken;
use crate::proto::window::{Reply, Window};
use crate::proto::wire::native::authenticated::{self, Direction, Key, OVERHEAD_BYTES};
use crate::proto::wire::native::{
    self as native_wire, BASE_BYTES, FRAMED_BYTES_MAX, FrameDecoder, PREAMBLE, encode_frame,
};
use crate::proto::wire::text::{self as text_wire, Role, StreamDecoder};

/// What an event of a flow changes beside its conversation.
#[derive(Debug)]
pub(crate) struct Scope<'a> {
    pub(crate) window: &'a mut Window,
    pub(crate) ends: &'a mut Ends,
    pub(crate) context: &'a mut Context,
}

impl Scope<'_> {
    /// Handles a packet as it is, or if there is a key the open one in it; one that the key has not made is counted.
    #[inline]
    fn handle_sealed(
        &mut self,
        key: Option<&Key>,
        bytes: &[u8],
        handle: impl FnOnce(&[u8], &mut Self) -> Option<Reply>,
    ) -> Option<Reply> {
        match key {
            None => handle(bytes, self),
            Some(key) => self.handle_opened(key, bytes, handle),
        }
    }

    /// Out of the way of packets that need no key.
    #[inline(never)]
    fn handle_opened(
        &mut self,
        key: &Key,
        bytes: &[u8],
        handle: impl FnOnce(&[u8], &mut Self) -> Option<Reply>,
    ) -> Option<Reply> {
        let mut scratch = std::mem::take(&mut self.context.opened);
        let opened = authenticated::open(bytes, Direction::Reply, key, &mut scratch);
        self.context.counters.unauthentic += u64::from(opened.is_none());
        let reply = opened.and_then(|opened| handle(opened.packet, self));
        self.context.opened = scratch;
        reply
    }

    fn tell(&mut self, event: LifeEvent) {
        self.context.tell(&self.window.subject, event);
    }

    fn announce(&mut self, is_native: bool) {
        let (origin, kind) = (self.window.origin, self.window.kind);
        let at = self.context.now.wall;
        if !is_native {
            self.ends.peer.forget_totals(self.context);
        }
        self.context.outputs.push_back(Output::Wire {
            origin,
            kind,
            at,
            is_native,
        });
    }
}

/// Appends a request padded to `size` bytes, which `encode` writes; authenticated, if there is a key.
#[inline]
fn encode_sealed(
    key: Option<&Key>,
    size: Option<usize>,
    out: &mut Vec<u8>,
    encode: impl FnOnce(Option<usize>, &mut Vec<u8>),
) {
    let Some(key) = key else {
        return encode(size, out);
    };
    let start = out.len();
    encode(size.map(|size| size.saturating_sub(OVERHEAD_BYTES)), out);
    let length = out.len() - start;
    // The HMAC TLV comes last, and so covers all others.
    let mac_at = (length > BASE_BYTES).then_some(length);
    authenticated::seal(out, start, Direction::Request, key, mac_at);
}

/// How messages are told apart.
#[derive(Debug)]
enum Framing {
    /// Each is a datagram of its own; either wire may follow the other.
    Datagrams,
    /// Text after text.
    TextStream {
        decoder: StreamDecoder,
        /// The peer has answered.
        is_answered: bool,
    },
    /// Native frames, for the rest of the stream.
    NativeStream {
        decoder: FrameDecoder,
        /// The peer has not been told yet that it begins.
        is_new: bool,
    },
}

impl Framing {
    fn text_stream() -> Self {
        Self::TextStream {
            decoder: StreamDecoder::new(Role::Replies),
            is_answered: false,
        }
    }
}

/// What the bytes of one event were.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Heard {
    /// Messages that were complete. A datagram that answers no probe of the flow is none of its.
    pub(crate) messages: usize,
    /// A probe was answered in time.
    pub(crate) is_received: bool,
    /// A probe was answered, but late.
    pub(crate) is_late: bool,
    /// The stream cannot be read, and there is no way back into step.
    pub(crate) is_unreadable: bool,
}

impl Heard {
    /// Notes a message; `reply`: what it was, if it answers a probe of ours.
    fn note(&mut self, reply: Option<Reply>, window: &mut Window) {
        self.messages += 1;
        match reply {
            Some(Reply::Received) => self.is_received = true,
            Some(Reply::Late) => self.is_late = true,
            Some(Reply::Duplicate | Reply::Unknown) => {}
            None => window.counters.corrupt += 1,
        }
    }
}

/// A datagram that may answer a probe, whoever's.
#[derive(Debug)]
pub(crate) enum Answer<'a> {
    Text(text_wire::Message<'a>),
    Native(native_wire::Reply<'a>, &'a [u8]),
    /// Perhaps of a reflector that is not ours.
    Other(&'a [u8]),
}

impl<'a> Answer<'a> {
    /// Reads a datagram; `None` if it is neither.
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let text = text_wire::decode_datagram(bytes).map(Self::Text);
        let native = text
            .or_else(|_| native_wire::decode_reply(bytes).map(|reply| Self::Native(reply, bytes)));
        let other = (bytes.len() >= native_wire::REPLY_BYTES_MIN).then_some(Self::Other(bytes));
        native.ok().or(other)
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Conversation {
    protocol: Protocol,
    /// What authenticates the packets of both ends.
    key: Option<Arc<Key>>,
    framing: Framing,
    text: Text,
    /// The session on the native wire, once there was one on this 5-tuple: replies are read also when
    /// text is spoken again.
    native: Option<Native>,
    /// The names of the last session before that, on another 5-tuple to the same address.
    former: Option<Names>,
    /// The session with a reflector that is not ours, in place of all that.
    stamp: Option<Box<Stamp>>,
    /// The next probe speaks native.
    is_native: bool,
    /// It has gone back to text, which may be a peer's doing, or a stranger's on the path.
    has_gone_back: bool,
}

impl Conversation {
    pub(crate) fn new(spec: &TargetSpec, is_stream: bool, context: &mut Context) -> Self {
        let protocol = spec.protocol;
        let stamp =
            (protocol == Protocol::Stamp).then(|| Box::new(Stamp::new(spec.stamp, spec.marks.ttl)));
        let mut begun = Self::with(protocol, stamp, is_stream, context);
        begun.key.clone_from(&spec.key);
        begun
    }

    fn with(
        protocol: Protocol,
        stamp: Option<Box<Stamp>>,
        is_stream: bool,
        context: &mut Context,
    ) -> Self {
        Self {
            is_native: stamp.is_some(),
            stamp,
            protocol,
            key: None,
            framing: if is_stream {
                Framing::text_stream()
            } else {
                Framing::Datagrams
            },
            text: Text::new(protocol == Protocol::Auto, context),
            native: None,
            former: None,
            has_gone_back: false,
        }
    }

    /// Begins anew: the next probe is the first one on its 5-tuple.
    pub(crate) fn begin(&mut self, scope: &mut Scope<'_>) {
        if let Some(stamp) = &mut self.stamp {
            stamp.begin(scope);
            return;
        }
        if !matches!(self.framing, Framing::Datagrams) {
            self.framing = Framing::text_stream();
        }
        let ended = self.native.take();
        self.former = ended.map(|native| native.names).or(self.former);
        self.text.forget_peer();
        self.speak_text(scope);
        if self.protocol == Protocol::Native {
            self.speak_native(scope);
        }
    }

    /// Begins anew under other identifiers. Returns what was said on the 5-tuple that is left, up to
    /// the probe before `end`: it says nothing more, and only listens.
    pub(crate) fn leave(&mut self, end: u64, context: &mut Context) -> Self {
        let is_stream = !matches!(self.framing, Framing::Datagrams);
        let left_stamp = self.stamp.as_mut().map(|stamp| Box::new(stamp.leave()));
        let stamp = std::mem::replace(&mut self.stamp, left_stamp);
        let mut fresh = Self::with(self.protocol, stamp, is_stream, context);
        fresh.key.clone_from(&self.key);
        let mut left = std::mem::replace(self, fresh);
        left.text.leave(end);
        if let Some(native) = &mut left.native {
            native.leave();
        }
        // Nothing that is heard brings it to another wire.
        left.is_native = true;
        left
    }

    /// Authenticates with another key. What was said with the one before is left.
    pub(crate) fn set_key(&mut self, key: Arc<Key>) {
        self.key = Some(key);
    }

    /// Speaks text from the next probe on.
    fn speak_text(&mut self, scope: &Scope<'_>) {
        self.is_native = false;
        self.text.begin(scope.window.next_number());
    }

    /// Speaks native from the next probe on.
    fn speak_native(&mut self, scope: &mut Scope<'_>) {
        self.is_native = true;
        if self.native.is_none() {
            scope.window.forget_reports();
            self.native = Some(Native::new(self.text.cookie, self.key.as_deref(), scope));
        }
        if let Framing::TextStream { .. } = self.framing {
            self.framing = Framing::NativeStream {
                decoder: FrameDecoder::after_preamble(),
                is_new: true,
            };
        }
    }

    /// The peer has shown that it speaks native.
    fn handle_native_peer(&mut self, scope: &mut Scope<'_>) {
        self.speak_native(scope);
        scope.tell(LifeEvent::WentNative);
        // That a flow goes native at first is no change of what was.
        if std::mem::take(&mut self.has_gone_back) {
            scope.announce(true);
        }
    }

    pub(crate) fn is_native(&self) -> bool {
        self.is_native
    }

    /// What the next probe speaks.
    pub(crate) fn spoken(&self) -> Spoken {
        match (&self.stamp, self.is_native) {
            (Some(_), _) => Spoken::Stamp,
            (None, true) => Spoken::Native,
            (None, false) => Spoken::Text,
        }
    }

    pub(crate) fn is_authenticated(&self) -> bool {
        self.key.is_some()
    }

    /// Goes back to text if native probes are `unheard`: perhaps somebody else is there now, who speaks
    /// text. In a stream there is no way back.
    fn doubt_if(&mut self, is_unheard: impl FnOnce(&Window) -> bool, scope: &mut Scope<'_>) {
        let is_free = matches!(self.framing, Framing::Datagrams);
        if self.is_native && is_free && self.protocol == Protocol::Auto && is_unheard(scope.window)
        {
            self.speak_text(scope);
            self.has_gone_back = true;
            scope.tell(LifeEvent::BackToText);
            scope.announce(false);
        }
    }

    /// A slot is about to be sent.
    pub(crate) fn handle_slot(&mut self, slot: Mono, scope: &mut Scope<'_>) {
        if let Some(native) = &mut self.native {
            let before = scope.window.waited_enough(scope.context);
            // No reply may come to carry T3: the flow cannot send, say.
            let is_old = |pending: &PendingReply| pending.arrival.now.mono < before;
            native.settle_where(is_old, scope);
        }
        if let Some(stamp) = &mut self.stamp {
            let before = scope.window.waited_enough(scope.context);
            stamp.settle_where(|pending| pending.arrival.now.mono < before, scope);
        }
        let caught_up = scope.context.caught_up;
        self.doubt_if(|window| window.is_unheard_at(slot, caught_up), scope);
    }

    /// True if the next probe may follow those in flight: a Python responder does not survive it if the
    /// first message that it reads from a stream is two glued together.
    pub(crate) fn may_send(&self, window: &Window) -> bool {
        match self.framing {
            Framing::TextStream { is_answered, .. } => is_answered || !window.has_in_flight(),
            Framing::Datagrams | Framing::NativeStream { .. } => true,
        }
    }

    /// Appends probe `number`, which leaves now, in at most `payload_max` bytes.
    pub(crate) fn encode(
        &mut self,
        number: u64,
        payload_max: usize,
        scope: &Scope<'_>,
        out: &mut Vec<u8>,
    ) {
        let size = scope.ends.identity.size.map(|size| size.min(payload_max));
        let key = self.key.as_deref();
        let Some(native) = self.native.as_ref().filter(|_| self.is_native) else {
            if let Some(stamp) = &self.stamp {
                return encode_sealed(key, size, out, |size, out| {
                    stamp.encode(number, size, scope, out);
                });
            }
            return self.text.encode(number, size, scope, out);
        };
        let Framing::NativeStream { is_new, .. } = &mut self.framing else {
            return encode_sealed(key, size, out, |size, out| {
                native.encode(number, size, scope, out);
            });
        };
        if std::mem::take(is_new) {
            out.extend_from_slice(&PREAMBLE);
        }
        let size = size.map(|size| size.min(FRAMED_BYTES_MAX));
        encode_frame(out, |out| {
            encode_sealed(key, size, out, |size, out| {
                native.encode(number, size, scope, out);
            });
        });
    }

    /// The kernel's stamp of a probe's departure has come.
    pub(crate) fn handle_left(&mut self, number: u64, stamp: At, window: &Window) {
        if let Some(native) = self.native.as_mut().filter(|_| window.is_native(number)) {
            native.handle_left(number, stamp);
        }
    }

    /// A datagram, or some bytes of a stream, came in.
    pub(crate) fn handle_payload(
        &mut self,
        arrival: &Arrival,
        bytes: &[u8],
        scope: &mut Scope<'_>,
    ) -> Heard {
        match self.framing {
            Framing::Datagrams => self.handle_datagram(arrival, bytes, scope),
            Framing::TextStream { .. } => self.handle_text(arrival, bytes, scope),
            Framing::NativeStream { .. } => self.handle_native(arrival, bytes, scope),
        }
    }

    fn handle_datagram(&mut self, arrival: &Arrival, bytes: &[u8], scope: &mut Scope<'_>) -> Heard {
        if let Some(stamp) = &mut self.stamp {
            let mut heard = Heard::default();
            let reply = scope.handle_sealed(self.key.as_deref(), bytes, |bytes, scope| {
                stamp.handle_packet(arrival, bytes, scope)
            });
            if reply.is_some() {
                heard.note(reply, scope.window);
            }
            return heard;
        }
        let reply = match text_wire::decode_datagram(bytes) {
            Ok(message) => {
                // Without an identifier it may be a stranger's, and a peer that speaks native returns one.
                let is_believed = message.identifier.is_some() || !self.is_native;
                let found = self.text.find(scope.window, &message);
                found.filter(|_| is_believed).map(|answer| {
                    let reply = answer.receive(arrival, scope);
                    if answer.takes_offer && !self.is_native {
                        self.handle_native_peer(scope);
                    }
                    reply
                })
            }
            Err(_) => {
                let native = self.native.as_mut();
                let reply = native.and_then(|native| {
                    scope.handle_sealed(self.key.as_deref(), bytes, |bytes, scope| {
                        native.handle_packet(arrival, bytes, scope)
                    })
                });
                // One that was slower than the doubt about it.
                if reply == Some(Reply::Received) && !self.is_native {
                    self.handle_native_peer(scope);
                }
                reply
            }
        };
        let mut heard = Heard::default();
        if reply.is_some() {
            heard.note(reply, scope.window);
        }
        heard
    }

    /// True if this is an answer to a probe of ours, as only who received that probe can give it. The
    /// probe may be given up, and its 5-tuple with it.
    pub(crate) fn is_answered_by(&self, answer: &Answer<'_>, window: &Window) -> bool {
        match answer {
            Answer::Text(message) => self.text.has_named(message),
            Answer::Native(_, bytes) | Answer::Other(bytes) if self.stamp.is_some() => {
                let mut stamps = self.stamp.iter();
                stamps.any(|stamp| stamp.is_answered_by(bytes, window))
            }
            Answer::Other(_) => false,
            Answer::Native(packet, _) => {
                let native = self.native.iter().map(|native| &native.names);
                let mut sessions = native.chain(&self.former);
                sessions.any(|names| names.number_of(window, packet).is_some())
            }
        }
    }

    fn handle_text(&mut self, arrival: &Arrival, bytes: &[u8], scope: &mut Scope<'_>) -> Heard {
        let mut heard = Heard::default();
        let text = &mut self.text;
        let Framing::TextStream {
            decoder,
            is_answered,
        } = &mut self.framing
        else {
            return heard;
        };
        // The chunk's stamp is that of its last segment, so it is of the last message in it.
        let unstamped = Arrival::unstamped(arrival.now);
        let mut last = None;
        let outcome = decoder.feed(bytes, |message| {
            let Some(answer) = text.find(scope.window, &message) else {
                return heard.note(None, scope.window);
            };
            if let Some(before) = last.replace(answer) {
                let reply = before.receive(&unstamped, scope);
                heard.note(Some(reply), scope.window);
            }
        });
        heard.is_unreadable = outcome.is_err();
        let Some(last) = last else { return heard };
        let is_whole = decoder.buffered() == 0;
        let reply = last.receive(if is_whole { arrival } else { &unstamped }, scope);
        heard.note(Some(reply), scope.window);
        *is_answered |= heard.is_received || heard.is_late;
        // With a text probe still unanswered the stream is not between two wires yet.
        let is_between = is_whole && last.number + 1 == scope.window.next_number();
        if last.takes_offer && is_between {
            self.handle_native_peer(scope);
        }
        heard
    }

    fn handle_native(&mut self, arrival: &Arrival, bytes: &[u8], scope: &mut Scope<'_>) -> Heard {
        let mut heard = Heard::default();
        let (Framing::NativeStream { decoder, .. }, Some(native)) =
            (&mut self.framing, &mut self.native)
        else {
            return heard;
        };
        let outcome = decoder.feed(bytes, |packet, is_last| {
            let arrival = arrival.of_last(is_last);
            let reply = scope.handle_sealed(self.key.as_deref(), packet, |packet, scope| {
                native.handle_packet(&arrival, packet, scope)
            });
            heard.note(reply, scope.window);
        });
        heard.is_unreadable = outcome.is_err();
        heard
    }

    /// Probes up to `number` have had their time.
    pub(crate) fn handle_expired(&mut self, number: u64, scope: &mut Scope<'_>) {
        if let Some(native) = &mut self.native {
            // The reply that was to carry their T3 has not come.
            native.settle_where(|pending| pending.number < number, scope);
        } else if let Some(stamp) = &mut self.stamp {
            stamp.settle_where(|pending| pending.number < number, scope);
        }
        self.doubt_if(|window| window.is_native_unheard(number), scope);
    }

    /// Settles what is pending: our own clock is about to be another one, or the socket or the daemon
    /// ends.
    pub(crate) fn settle(&mut self, scope: &mut Scope<'_>) {
        if let Some(native) = &mut self.native {
            native.settle_where(|_| true, scope);
        } else if let Some(stamp) = &mut self.stamp {
            stamp.settle_where(|_| true, scope);
        }
    }
}
