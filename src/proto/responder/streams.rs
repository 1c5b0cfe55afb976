//! Accepted connections: each has one session, of text or of native packets.

use slab::Slab;

use crate::limits::{ACCEPTED_MAX, FRAME_BYTES_HELD_MAX};
use crate::proto::context::{Context, small};
use crate::proto::owner::{Owner, Timer};
use crate::proto::responder::reflector::{Heard, MESSAGE_WITHIN_NS, Reflector, Route};
use crate::proto::responder::request::Request;
use crate::proto::responder::session::{Place, Session};
use crate::proto::sample::Stamp;
use crate::proto::time::Mono;
use crate::proto::transmit::{Arrival, SocketId};
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
        arrival: Arrival,
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
        let (socket, is_blocked) = (*socket, *is_blocked);
        let mut messages = 0;
        let mut is_readable = true;
        let mut receive = |request: Option<Request<'_>>| {
            messages += 1;
            let request = request.filter(|_| is_readable);
            is_readable = request.is_some_and(|request| {
                let labels = &mut reflector.labels;
                let number = match session {
                    Some(session) => session.handle_request(&request, labels, context),
                    None if request.is_readable() => {
                        let place = Place::Connection(socket);
                        let begun = session.insert(Session::begin(place, &request, context));
                        Some(begun.first_number())
                    }
                    None => None,
                };
                let heard = session.as_mut().zip(number);
                let heard = heard.map(|(session, number)| Heard { session, number });
                let is_heard = heard.is_some();
                if is_heard {
                    let route = Route::Stream { socket, is_blocked };
                    reflector.answer(&request, heard, route, context);
                }
                is_heard
            });
        };
        let is_in_step = match incoming {
            Incoming::Text(decoder) => {
                // Which message the chunk's stamp is of cannot be told; T1 is the sender's own anyway.
                let arrival = Arrival::unstamped(arrival.now);
                let outcome =
                    decoder.feed(bytes, |message| receive(Request::text(arrival, message)));
                outcome.is_ok()
            }
            Incoming::Native(decoder) => {
                let outcome = decoder.feed(bytes, |packet, is_last| {
                    // The stamp is that of the last segment that was read.
                    let stamp = arrival.stamp.filter(|_| is_last);
                    receive(Request::native(Arrival { stamp, ..arrival }, packet));
                });
                outcome.is_ok()
            }
        };
        (messages, is_in_step && is_readable)
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

    /// A connection came in. `None` if there is no room for it.
    pub(super) fn handle_accept(
        &mut self,
        reflector: &mut Reflector,
        context: &mut Context,
    ) -> Option<SocketId> {
        if self.accepted.len() >= self.accepted_max {
            context.counters.refused += 1;
            let accepted = self.accepted.iter();
            let heard = accepted.map(|(slot, it)| (slot, it.last_heard(context.now.mono)));
            let slot = reflector.find_idlest(heard, context)?;
            self.close(small(slot), reflector, context);
        }
        let entry = self.accepted.vacant_entry();
        let slot = small(entry.key());
        let socket = context.open_socket(Owner::Accepted(slot));
        let now = context.now.mono;
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

    /// Bytes came in. Closes the connection if they cannot be read. Returns how many messages were
    /// complete.
    pub(super) fn handle_bytes(
        &mut self,
        arrival: Arrival,
        slot: u32,
        bytes: &[u8],
        reflector: &mut Reflector,
        context: &mut Context,
    ) -> usize {
        let Some(accepted) = self.accepted.get_mut(slot as usize) else {
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
        let (messages, is_readable) = accepted.handle_bytes(arrival, bytes, reflector, context);
        if messages > 0 {
            accepted.waiting_since = None;
        }
        if accepted.incoming.buffered() > 0 {
            accepted.waiting_since.get_or_insert(arrival.now.mono);
        }
        self.held_bytes = self.held_bytes + accepted.incoming.held() - held;
        let is_too_much = self.held_bytes > FRAME_BYTES_HELD_MAX;
        context.counters.refused += u64::from(is_too_much);
        context.counters.corrupt += u64::from(!is_readable);
        if !is_readable || is_too_much {
            self.close(slot, reflector, context);
        }
        messages
    }

    pub(super) fn handle_blocked(&mut self, slot: u32, is_blocked: bool) {
        if let Some(accepted) = self.accepted.get_mut(slot as usize) {
            accepted.is_blocked = is_blocked;
        }
    }

    /// The transmit stamp of a reply has come.
    pub(super) fn handle_left(&mut self, slot: u32, seq: u32, stamp: Stamp) {
        let accepted = self.accepted.get_mut(slot as usize);
        if let Some(session) = accepted.and_then(|accepted| accepted.session.as_mut()) {
            session.handle_left(seq, stamp);
        }
    }

    /// The timer of a connection fired: closes it if it is idle, or keeps us waiting.
    pub(super) fn handle_timer(
        &mut self,
        slot: u32,
        reflector: &mut Reflector,
        context: &mut Context,
    ) {
        let Some(accepted) = self.accepted.get_mut(slot as usize) else {
            return;
        };
        let now = context.now.mono;
        let idle = accepted.session.as_ref().map(Session::idle_deadline);
        let since = accepted.waiting_since;
        let stuck = since.map(|since| since.plus(MESSAGE_WITHIN_NS));
        let deadline = idle.into_iter().chain(stuck).min().unwrap_or(now);
        if deadline <= now {
            context.counters.refused += u64::from(stuck == Some(deadline));
            self.close(slot, reflector, context);
        } else {
            // A message may be begun at any time, so look again no later than it would expire.
            let again = deadline.min(now.plus(MESSAGE_WITHIN_NS));
            accepted.timer = context.wheel.insert(again, Timer::Accepted(slot));
        }
    }

    fn close(&mut self, slot: u32, reflector: &mut Reflector, context: &mut Context) {
        if let Some(accepted) = self.accepted.get(slot as usize) {
            context.close_socket(accepted.socket);
            self.forget(slot, reflector, context);
        }
    }

    /// The connection is closed.
    pub(super) fn forget(&mut self, slot: u32, reflector: &mut Reflector, context: &mut Context) {
        if let Some(accepted) = self.accepted.try_remove(slot as usize) {
            context.wheel.cancel(accepted.timer);
            self.held_bytes -= accepted.incoming.held();
            if let Some(session) = accepted.session {
                session.end(&mut reflector.labels, context);
            }
        }
    }

    pub(super) fn settle(&mut self, context: &mut Context) {
        for (_, accepted) in &mut self.accepted {
            if let Some(session) = &mut accepted.session {
                session.settle(context);
            }
        }
    }
}
