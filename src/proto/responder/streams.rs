//! Accepted connections: each has one session, of text or of native packets.

use slab::Slab;

use super::Responder;
use crate::limits::{ACCEPTED_MAX, FRAME_BYTES_HELD_MAX};
use crate::proto::context::{Context, small};
use crate::proto::key_ring::Unsealed;
use crate::proto::owner::{Owner, Timer};
use crate::proto::responder::labels::Claim;
use crate::proto::responder::reflector::{Heard, MESSAGE_WITHIN_NS, Reflector};
use crate::proto::responder::request::Request;
use crate::proto::responder::session::Session;
use crate::proto::time::Mono;
use crate::proto::transmit::{Arrival, Place, SocketId, StampKey, Transmit};
use crate::proto::wheel::TimerKey;
use crate::proto::wire::native::{FrameDecoder, PREAMBLE};
use crate::proto::wire::text::{Role, StreamDecoder};

/// What the peer speaks.
#[derive(Debug)]
enum Incoming {
    Text(StreamDecoder),
    Native(FrameDecoder),
}

impl Incoming {
    /// Returns how many bytes of an incomplete message are kept.
    fn buffered(&self) -> usize {
        match self {
            Self::Text(decoder) => decoder.buffered(),
            Self::Native(decoder) => decoder.buffered(),
        }
    }

    /// Returns how many of those count against the limit for all connections: what text keeps has a
    /// small limit for each.
    fn held(&self) -> usize {
        match self {
            Self::Text(_) => 0,
            Self::Native(decoder) => decoder.buffered(),
        }
    }
}

/// One accepted connection.
#[derive(Debug)]
struct Accepted {
    socket: SocketId,
    incoming: Incoming,
    session: Option<Session>,
    /// When it was accepted, or began the message that it has not finished.
    waiting_since: Option<Mono>,
    /// The kernel takes no more bytes for now: the peer does not read.
    is_blocked: bool,
    timer: TimerKey,
}

impl Accepted {
    fn last_heard(&self, now: Mono) -> Mono {
        let heard = self.session.as_ref().map(|session| session.last_heard);
        heard.or(self.waiting_since).unwrap_or(now)
    }

    /// Reads and answers the messages that end in these bytes. Returns how many were complete, and
    /// whether all could be read.
    fn handle_bytes(
        &mut self,
        arrival: &Arrival,
        bytes: &[u8],
        reflector: &mut Reflector,
        context: &mut Context,
    ) -> (usize, bool) {
        let Self {
            socket,
            incoming,
            session,
            is_blocked,
            ..
        } = self;
        let (socket, reads) = (*socket, !*is_blocked);
        let (mut messages, mut unauthentic) = (0, 0);
        let (keys, mut opened) = (reflector.keys.clone(), std::mem::take(&mut context.opened));
        let mut is_readable = true;
        let mut receive = |request: &Option<Request<'_>>| {
            messages += 1;
            let (Some(request), true) = (request, is_readable) else {
                is_readable = false;
                return;
            };
            let number = match session {
                // Who has not the key goes on in a connection that somebody with the key began.
                Some(session) if !session.has_key_of(request) => None,
                Some(session) => session.handle_request(request, &mut reflector.labels, context),
                None => request.is_readable().then(|| {
                    let place = Place::Connection(socket);
                    let begun = Session::begin(
                        place,
                        Claim::Connected,
                        request,
                        &mut reflector.labels,
                        context,
                    );
                    session.insert(begun).first_number()
                }),
            };
            is_readable = number.is_some();
            if let Some((session, number)) = session.as_mut().zip(number) {
                let heard = Some(Heard { session, number });
                let transmit = |key: Option<StampKey>| Transmit::Stream {
                    socket,
                    key,
                    at_once: key.is_none(),
                };
                reflector.answer(request, heard, reads, transmit, context);
            }
        };
        let is_in_step = match incoming {
            Incoming::Text(decoder) => {
                // Which message the chunk's stamp is of cannot be told; T1 is the sender's own anyway.
                let arrival = Arrival::unstamped(arrival.now);
                let outcome = decoder.feed(bytes, |message| {
                    receive(&Request::text(&arrival, &message));
                });
                outcome.is_ok()
            }
            Incoming::Native(decoder) => {
                let outcome = decoder.feed(bytes, |packet, is_last| {
                    let arrival = arrival.of_last(is_last);
                    let unsealed = match &keys {
                        Some(keys) => keys.unseal(packet, None, &mut opened),
                        None => Some(Unsealed::open(packet)),
                    };
                    unauthentic += u64::from(unsealed.is_none());
                    receive(&unsealed.and_then(|packet| Request::native(&arrival, None, packet)));
                });
                outcome.is_ok()
            }
        };
        let is_readable = is_in_step && is_readable;
        context.counters.unauthentic += unauthentic;
        context.opened = opened;
        (messages, is_readable)
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Streams {
    accepted: Slab<Accepted>,
    accepted_max: usize,
    /// Bytes kept of incomplete native packets, over all connections.
    held_bytes: usize,
}

impl Streams {
    pub(super) fn new(accepted_max: usize) -> Self {
        Self {
            accepted: Slab::new(),
            accepted_max: accepted_max.min(ACCEPTED_MAX),
            held_bytes: 0,
        }
    }

    pub(super) fn session_mut(&mut self, slot: u32) -> Option<&mut Session> {
        self.accepted.get_mut(slot as usize)?.session.as_mut()
    }

    pub(super) fn sessions_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        let accepted = self.accepted.iter_mut();
        accepted.filter_map(|(_, accepted)| accepted.session.as_mut())
    }
}

impl Responder {
    /// A connection came in. Returns its name; `None` if there is no room for it.
    pub(crate) fn handle_accept(&mut self, context: &mut Context) -> Option<SocketId> {
        let now = context.now.mono;
        if self.streams.accepted.len() >= self.streams.accepted_max {
            context.counters.refused += 1;
            let accepted = self.streams.accepted.iter();
            let heard = accepted.map(|(slot, it)| (slot, it.last_heard(now)));
            let slot = self.reflector.find_idlest(heard, context)?;
            self.close(small(slot), context);
        }
        let entry = self.streams.accepted.vacant_entry();
        let slot = small(entry.key());
        let socket = context.open_socket(Owner::Accepted(slot));
        let deadline = now.plus(MESSAGE_WITHIN_NS);
        entry.insert(Accepted {
            socket,
            incoming: Incoming::Text(StreamDecoder::new(Role::Requests)),
            session: None,
            waiting_since: Some(now),
            is_blocked: false,
            timer: context.wheel.insert(deadline, Timer::Accepted(slot)),
        });
        Some(socket)
    }

    /// Bytes came in on an accepted connection, which is closed if they cannot be read. Returns how many
    /// messages were complete.
    pub(crate) fn handle_stream(
        &mut self,
        arrival: &Arrival,
        slot: u32,
        bytes: &[u8],
        context: &mut Context,
    ) -> usize {
        let (streams, reflector) = (&mut self.streams, &mut self.reflector);
        let Some(accepted) = streams.accepted.get_mut(slot as usize) else {
            return 0;
        };
        let held = accepted.incoming.held();
        if reflector.is_native
            && let Incoming::Text(decoder) = &accepted.incoming
            && decoder.buffered() == 0
            && bytes.first() == PREAMBLE.first()
        {
            accepted.incoming = Incoming::Native(FrameDecoder::new(true));
        }
        if reflector.requires_key() && matches!(accepted.incoming, Incoming::Text(_)) {
            context.counters.unauthentic += 1;
            self.close(slot, context);
            return 0;
        }
        let (messages, is_readable) = accepted.handle_bytes(arrival, bytes, reflector, context);
        if messages > 0 {
            accepted.waiting_since = None;
        }
        if accepted.incoming.buffered() > 0 {
            accepted.waiting_since.get_or_insert(arrival.now.mono);
        }
        streams.held_bytes = streams.held_bytes + accepted.incoming.held() - held;
        let is_too_much = streams.held_bytes > FRAME_BYTES_HELD_MAX;
        context.counters.refused += u64::from(is_too_much);
        context.counters.corrupt += u64::from(!is_readable);
        if !is_readable || is_too_much {
            self.close(slot, context);
        }
        messages
    }

    /// The kernel takes no more bytes on a connection for now, or takes them again.
    pub(crate) fn handle_blocked(&mut self, slot: u32, is_blocked: bool) {
        if let Some(accepted) = self.streams.accepted.get_mut(slot as usize) {
            accepted.is_blocked = is_blocked;
        }
    }

    /// The timer of a connection fired: closes it if it is idle, or keeps us waiting.
    pub(crate) fn handle_accepted_timer(&mut self, slot: u32, context: &mut Context) {
        let Some(accepted) = self.streams.accepted.get_mut(slot as usize) else {
            return;
        };
        let now = context.now.mono;
        let idle = accepted.session.as_ref().map(Session::idle_deadline);
        let since = accepted.waiting_since;
        let stuck = since.map(|since| since.plus(MESSAGE_WITHIN_NS));
        let deadline = idle.into_iter().chain(stuck).min().unwrap_or(now);
        if deadline <= now {
            context.counters.refused += u64::from(stuck == Some(deadline));
            self.close(slot, context);
        } else {
            // A message may be begun at any time, so look again no later than it would expire.
            let again = deadline.min(now.plus(MESSAGE_WITHIN_NS));
            accepted.timer = context.wheel.insert(again, Timer::Accepted(slot));
        }
    }

    fn close(&mut self, slot: u32, context: &mut Context) {
        if let Some(accepted) = self.streams.accepted.get(slot as usize) {
            context.close_socket(accepted.socket);
            self.handle_closed(slot, context);
        }
    }

    /// The engine has no socket for the connection any more.
    pub(crate) fn handle_closed(&mut self, slot: u32, context: &mut Context) {
        if let Some(accepted) = self.streams.accepted.try_remove(slot as usize) {
            context.wheel.cancel(accepted.timer);
            self.streams.held_bytes -= accepted.incoming.held();
            if let Some(session) = accepted.session {
                session.end(&mut self.reflector.labels, context);
            }
        }
    }
}
