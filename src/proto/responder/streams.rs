//! Accepted connections: text or native packets, answered on the spot.

use super::{Answers, Conversation, MESSAGE_WITHIN_NS, Responder};
use crate::limits::FRAME_BYTES_HELD_MAX;
use crate::proto::context::{Context, small};
use crate::proto::owner::{Owner, Timer};
use crate::proto::reflection::Reflection;
use crate::proto::sample::{Metric, Stamp};
use crate::proto::session::{Heard, RemoteLabels, Sender, Taken, measured_text};
use crate::proto::time::Mono;
use crate::proto::transmit::{Arrival, SocketId, StampKey, Transmit, Wanted};
use crate::proto::wheel::TimerKey;
use crate::proto::wire::native::{self, FrameDecoder, PREAMBLE};
use crate::proto::wire::text::{Message, Role, StreamDecoder};

/// What the peer speaks.
#[derive(Debug)]
enum Incoming {
    Text(StreamDecoder),
    Native(FrameDecoder),
}

impl Incoming {
    /// Bytes kept of a message that is not complete.
    fn buffered(&self) -> usize {
        match self {
            Self::Text(decoder) => decoder.buffered(),
            Self::Native(decoder) => decoder.buffered(),
        }
    }

    /// Of those, the ones that count against the limit for all connections: what text keeps has a small
    /// one for each.
    fn held(&self) -> usize {
        match self {
            Self::Text(_) => 0,
            Self::Native(decoder) => decoder.buffered(),
        }
    }
}

/// One accepted connection.
#[derive(Debug)]
pub(super) struct Accepted {
    socket: SocketId,
    incoming: Incoming,
    sender: Option<Sender>,
    reflection: Option<Reflection>,
    /// When it was accepted, or began the message that it has not finished.
    waiting_since: Option<Mono>,
    /// The kernel takes no more bytes for now: the peer does not read.
    blocked: bool,
    timer: TimerKey,
}

impl Accepted {
    pub(super) fn settle_all(&mut self, context: &mut Context) {
        if let (Some(sender), Some(reflection)) = (&mut self.sender, &mut self.reflection) {
            reflection.settle_all(sender, context);
        }
    }

    /// One text message. False if it must not be answered.
    fn take_text(
        &mut self,
        arrival: Arrival,
        message: &Message<'_>,
        labels: &mut RemoteLabels,
        context: &mut Context,
    ) -> bool {
        if message.is_reply() {
            return false;
        }
        let heard = Heard::text(arrival, message);
        let taken = self.take(&heard, labels, context);
        if let (Taken::New(number) | Taken::Anew(number), Some(sender)) = (taken, &mut self.sender)
        {
            sender.measure(measured_text(&heard, number), context);
        }
        taken != Taken::Unreadable
    }

    fn take(
        &mut self,
        heard: &Heard<'_>,
        labels: &mut RemoteLabels,
        context: &mut Context,
    ) -> Taken {
        match &mut self.sender {
            Some(sender) => sender.handle_message(heard, labels, context),
            None => match Sender::new(Metric::TcpOwd, heard) {
                Some((sender, number)) => {
                    self.sender = Some(sender);
                    Taken::Anew(number)
                }
                None => Taken::Unreadable,
            },
        }
    }

    /// One native packet, answered if the peer reads. False if it cannot be read.
    fn take_native(
        &mut self,
        arrival: Arrival,
        packet: &[u8],
        (name, labels): (&str, &mut RemoteLabels),
        context: &mut Context,
    ) -> bool {
        let Ok(request) = native::decode_request(packet) else {
            return false;
        };
        let taken = self.take(&Heard::native(arrival, &request), labels, context);
        let Some(sender) = &mut self.sender else {
            return false;
        };
        let reflection = &mut self.reflection;
        let conversation = Conversation { sender, reflection };
        let start = context.reply_buffer().map(|buffer| buffer.len());
        let Some(start) = start.filter(|_| !self.blocked) else {
            context.counters.replies_dropped += 1;
            return taken != Taken::Unreadable;
        };
        if let (Some(out), Ok(length)) = (context.reply_buffer(), u16::try_from(packet.len())) {
            out.extend_from_slice(&length.to_be_bytes());
        }
        let answered = conversation.reflect(arrival, (&request, packet), taken, name, context);
        let Some(seq) = answered else {
            context.drop_reply(start);
            return taken != Taken::Unreadable;
        };
        let socket = self.socket;
        let key = Some(StampKey(Wanted::StreamReply { socket, seq }));
        context.queue_reply(start, Transmit::Stream { socket, key });
        true
    }
}

impl Responder {
    /// A connection came in.
    pub(crate) fn handle_accept(&mut self, context: &mut Context) -> Option<SocketId> {
        if self.accepted.len() >= self.accepted_max {
            context.counters.refused += 1;
            if !self.drop_idlest(context) {
                return None;
            }
        }
        let entry = self.accepted.vacant_entry();
        let slot = small(entry.key());
        let socket = context.open_socket(Owner::Accepted(slot));
        let deadline = context.now.mono.plus(MESSAGE_WITHIN_NS);
        entry.insert(Accepted {
            socket,
            incoming: Incoming::Text(StreamDecoder::new(Role::Requests)),
            sender: None,
            reflection: None,
            waiting_since: Some(context.now.mono),
            blocked: false,
            timer: context.wheel.insert(deadline, Timer::Accepted(slot)),
        });
        Some(socket)
    }

    /// Closes the connection that has been silent for longest, if that is long.
    fn drop_idlest(&mut self, context: &mut Context) -> bool {
        if !self.may_look(context) {
            return false;
        }
        let heard = |accepted: &Accepted| {
            let heard = accepted.sender.as_ref().map(Sender::last_heard);
            heard.or(accepted.waiting_since).unwrap_or(context.now.mono)
        };
        let idlest = self
            .accepted
            .iter()
            .min_by_key(|(_, accepted)| heard(accepted));
        let Some((slot, accepted)) = idlest else {
            return false;
        };
        if context.now.mono.since(heard(accepted)) < MESSAGE_WITHIN_NS {
            return false;
        }
        let socket = accepted.socket;
        context.close_socket(socket);
        self.forget_accepted(small(slot), context);
        true
    }

    /// Bytes came in on an accepted connection. One that cannot be read is closed. Gives how many
    /// messages were complete.
    pub(crate) fn handle_stream(
        &mut self,
        arrival: Arrival,
        slot: u32,
        bytes: &[u8],
        context: &mut Context,
    ) -> usize {
        let Some(accepted) = self.accepted.get_mut(slot as usize) else {
            return 0;
        };
        let held = accepted.incoming.held();
        if self.native
            && let Incoming::Text(decoder) = &accepted.incoming
            && decoder.buffered() == 0
            && bytes.first() == PREAMBLE.first()
        {
            accepted.incoming = Incoming::Native(FrameDecoder::new(true));
        }
        let (messages, is_readable) = match accepted.incoming {
            Incoming::Text(_) => self.handle_text_stream(arrival, slot, bytes, context),
            Incoming::Native(_) => self.handle_native_stream(arrival, slot, bytes, context),
        };
        let Some(accepted) = self.accepted.get_mut(slot as usize) else {
            return messages;
        };
        if messages > 0 {
            accepted.waiting_since = None;
        }
        if accepted.incoming.buffered() > 0 && accepted.waiting_since.is_none() {
            accepted.waiting_since = Some(arrival.now.mono);
        }
        self.held_bytes = self.held_bytes + accepted.incoming.held() - held;
        let is_too_much = self.held_bytes > FRAME_BYTES_HELD_MAX;
        context.counters.refused += u64::from(is_too_much);
        context.counters.corrupt += u64::from(!is_readable);
        if !is_readable || is_too_much {
            let socket = accepted.socket;
            context.close_socket(socket);
            self.forget_accepted(slot, context);
        }
        messages
    }

    /// How many messages were complete, and whether all could be read.
    fn handle_text_stream(
        &mut self,
        arrival: Arrival,
        slot: u32,
        bytes: &[u8],
        context: &mut Context,
    ) -> (usize, bool) {
        // Which message the chunk's stamp is of cannot be told; T1 is the sender's own anyway.
        let arrival = Arrival::unstamped(arrival.now);
        let accepted = &mut self.accepted[slot as usize];
        let (socket, blocked) = (accepted.socket, accepted.blocked);
        let empty = Incoming::Text(StreamDecoder::new(Role::Requests));
        let Incoming::Text(mut decoder) = std::mem::replace(&mut accepted.incoming, empty) else {
            return (0, true);
        };
        let labels = &mut self.labels;
        let mut answers = Answers {
            name: &self.name,
            takes_offers: self.native,
            blocked,
            readable: true,
        };
        let mut messages = 0;
        let start = context.reply_buffer().map(|buffer| buffer.len());
        let outcome = decoder.feed(bytes, |message| {
            messages += 1;
            answers.readable &= accepted.take_text(arrival, &message, labels, context);
            if answers.readable {
                answers.append(&message, context);
            }
        });
        let is_readable = outcome.is_ok() && answers.readable;
        accepted.incoming = Incoming::Text(decoder);
        if let Some(start) = start {
            context.queue_reply(start, Transmit::Stream { socket, key: None });
        }
        (messages, is_readable)
    }

    fn handle_native_stream(
        &mut self,
        arrival: Arrival,
        slot: u32,
        bytes: &[u8],
        context: &mut Context,
    ) -> (usize, bool) {
        let accepted = &mut self.accepted[slot as usize];
        let empty = Incoming::Native(FrameDecoder::new(false));
        let Incoming::Native(mut decoder) = std::mem::replace(&mut accepted.incoming, empty) else {
            return (0, true);
        };
        let (name, labels) = (&*self.name, &mut self.labels);
        let mut messages = 0;
        let mut is_readable = true;
        let outcome = decoder.feed(bytes, |packet, is_last| {
            messages += 1;
            // The stamp is that of the last segment that was read.
            let stamp = arrival.stamp.filter(|_| is_last);
            let arrival = Arrival { stamp, ..arrival };
            is_readable =
                is_readable && accepted.take_native(arrival, packet, (name, &mut *labels), context);
        });
        accepted.incoming = Incoming::Native(decoder);
        (messages, is_readable && outcome.is_ok())
    }

    pub(crate) fn handle_blocked(&mut self, slot: u32, blocked: bool) {
        if let Some(accepted) = self.accepted.get_mut(slot as usize) {
            accepted.blocked = blocked;
        }
    }

    /// The transmit stamp of a reply on a connection has come.
    pub(crate) fn handle_stream_reply_left(&mut self, slot: u32, seq: u32, stamp: Stamp) {
        if let Some(accepted) = self.accepted.get_mut(slot as usize)
            && let Some(reflection) = &mut accepted.reflection
        {
            reflection.handle_left(seq, stamp);
        }
    }

    /// The engine has no socket for the connection any more.
    pub(crate) fn handle_closed(&mut self, slot: u32, context: &mut Context) {
        self.forget_accepted(slot, context);
    }

    /// The timer of an accepted connection fired: close it if it is idle, or keeps us waiting.
    pub(crate) fn handle_accepted_timer(&mut self, slot: u32, context: &mut Context) {
        let Some(accepted) = self.accepted.get_mut(slot as usize) else {
            return;
        };
        let idle = accepted.sender.as_ref().map(Sender::idle_deadline);
        let stuck = accepted
            .waiting_since
            .map(|since| since.plus(MESSAGE_WITHIN_NS));
        let deadline = idle
            .into_iter()
            .chain(stuck)
            .min()
            .unwrap_or(context.now.mono);
        if deadline <= context.now.mono {
            context.counters.refused += u64::from(stuck == Some(deadline));
            let socket = accepted.socket;
            context.close_socket(socket);
            self.forget_accepted(slot, context);
        } else {
            // A message may be begun at any time, so look again no later than it would expire.
            let again = deadline.min(context.now.mono.plus(MESSAGE_WITHIN_NS));
            accepted.timer = context.wheel.insert(again, Timer::Accepted(slot));
        }
    }

    fn forget_accepted(&mut self, slot: u32, context: &mut Context) {
        if let Some(mut accepted) = self.accepted.try_remove(slot as usize) {
            context.wheel.cancel(accepted.timer);
            self.held_bytes -= accepted.incoming.held();
            accepted.settle_all(context);
            if let Some(sender) = &mut accepted.sender {
                sender.leave(&mut self.labels, context);
            }
        }
    }
}
