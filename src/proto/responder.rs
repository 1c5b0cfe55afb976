//! The answering side: reads requests on both wires, answers, and measures what came in.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use slab::Slab;

use crate::limits::{ACCEPTED_MAX, SESSIONS_MAX};
use crate::proto::context::{Context, small};
use crate::proto::owner::Timer;
use crate::proto::reflection::Reflection;
use crate::proto::sample::Metric;
use crate::proto::sample::Stamp;
use crate::proto::session::{Heard, RemoteLabels, Sender, Taken, measured_text};
use crate::proto::time::Mono;
use crate::proto::transmit::{Arrival, ListenerId, StampKey, Transmit, Wanted};
use crate::proto::wheel::TimerKey;
use crate::proto::wire::native::{self, Request};
use crate::proto::wire::text::{self, Message};

mod streams;

use streams::Accepted;

/// A connection must bring its first message, and finish any message it began, within this.
const MESSAGE_WITHIN_NS: u64 = 10_000_000_000;

/// A full table is searched for its idlest entry this often at most: that takes some tens of
/// microseconds.
const LOOK_EVERY_NS: u64 = 1_000_000;

/// Which conversation of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wire {
    Text,
    /// With this session identifier, and the cookie of a flow of ours: a stranger who has only guessed the
    /// first is another conversation.
    Native(u16, Option<u32>),
}

/// One UDP sender.
#[derive(Debug)]
struct Session {
    key: (SocketAddr, Wire),
    sender: Sender,
    reflection: Option<Reflection>,
    /// Tells this session from a later one at the same place.
    birth: u64,
    timer: TimerKey,
}

#[derive(Debug)]
pub(crate) struct Responder {
    name: Arc<str>,
    /// Requests from this port are another responder's replies, sent here to start a loop.
    udp_port: Option<u16>,
    /// Whether STAMP is answered, and offers of it taken.
    native: bool,
    labels: RemoteLabels,
    sessions: Slab<Session>,
    by_peer: BTreeMap<(SocketAddr, Wire), u32>,
    /// Sessions heard once, oldest first: these make room when the table is full.
    unproven: VecDeque<(u32, u64)>,
    births: u64,
    accepted: Slab<Accepted>,
    accepted_max: usize,
    /// Bytes held of unfinished native packets, over all connections.
    held_bytes: usize,
    /// No search for the idlest session or connection before this.
    look_after: Mono,
}

impl Responder {
    pub(crate) fn new(
        name: Arc<str>,
        udp_port: Option<u16>,
        native: bool,
        accepted_max: usize,
    ) -> Self {
        Self {
            labels: RemoteLabels::new(name.clone()),
            name,
            udp_port,
            native,
            sessions: Slab::new(),
            by_peer: BTreeMap::new(),
            unproven: VecDeque::new(),
            births: 0,
            accepted: Slab::new(),
            accepted_max: accepted_max.min(ACCEPTED_MAX),
            held_bytes: 0,
            look_after: Mono::ZERO,
        }
    }

    /// A datagram came in on a listener.
    pub(crate) fn handle_request(
        &mut self,
        arrival: Arrival,
        listener: ListenerId,
        (from, local): (SocketAddr, Option<IpAddr>),
        payload: &[u8],
        context: &mut Context,
    ) {
        let to = |key| Transmit::Reply {
            listener,
            to: from,
            from: local,
            key,
        };
        // A native reply is no request, whatever port it comes from; a text one may read as one.
        let looping = Some(from.port()) == self.udp_port;
        let was_read = from.port() != 0
            && match text::decode_datagram(payload) {
                Ok(message) if looping || message.is_reply() => false,
                Ok(message) => self.handle_text(arrival, from, &message, to, context),
                Err(_) if self.native => match native::decode_request(payload) {
                    Ok(request) => {
                        self.handle_native(arrival, from, (&request, payload), to, context);
                        true
                    }
                    Err(_) => false,
                },
                Err(_) => false,
            };
        if !was_read {
            context.counters.corrupt += 1;
        }
    }

    /// False if the message cannot be read after all.
    fn handle_text(
        &mut self,
        arrival: Arrival,
        from: SocketAddr,
        message: &Message<'_>,
        to: impl FnOnce(Option<StampKey>) -> Transmit,
        context: &mut Context,
    ) -> bool {
        let heard = Heard::text(arrival, message);
        match self.find_session((from, Wire::Text), &heard, context) {
            Some((_, Taken::Unreadable)) => return false,
            Some((slot, Taken::New(number) | Taken::Anew(number))) => {
                let delay = measured_text(&heard, number);
                self.sessions[slot as usize].sender.measure(delay, context);
            }
            // A copy, or one more sender than there is room for: it is answered.
            Some((_, Taken::Again(_))) | None => {}
        }
        let mut answers = self.answers(false);
        if let Some(start) = context.reply_buffer().map(|buffer| buffer.len()) {
            answers.append(message, context);
            context.queue_reply(start, to(None));
        } else {
            context.counters.replies_dropped += 1;
        }
        true
    }

    fn handle_native(
        &mut self,
        arrival: Arrival,
        from: SocketAddr,
        (request, bytes): (&Request<'_>, &[u8]),
        to: impl FnOnce(Option<StampKey>) -> Transmit,
        context: &mut Context,
    ) {
        let heard = Heard::native(arrival, request);
        let cookie = request.ours.as_ref().map(|ours| ours.cookie);
        let wire = Wire::Native(request.ssid, cookie);
        let Some((slot, taken)) = self.find_session((from, wire), &heard, context) else {
            // Its replies could not be numbered.
            context.counters.replies_dropped += 1;
            return;
        };
        let found = self.sessions.get_mut(slot as usize);
        let Some(session) = found.filter(|_| taken != Taken::Unreadable) else {
            context.counters.corrupt += 1;
            return;
        };
        let Session {
            sender,
            reflection,
            birth,
            ..
        } = session;
        let conversation = Conversation { sender, reflection };
        let Some(start) = context.reply_buffer().map(|buffer| buffer.len()) else {
            context.counters.replies_dropped += 1;
            return;
        };
        if let Some(seq) =
            conversation.reflect(arrival, (request, bytes), taken, &self.name, context)
        {
            let birth = *birth;
            let key = StampKey(Wanted::Reply { slot, birth, seq });
            context.queue_reply(start, to(Some(key)));
        }
    }

    /// The session of a message, made if it has none, and what the message is in it: an unreadable one
    /// need not have any. `None` if there is no room for one more.
    fn find_session(
        &mut self,
        key: (SocketAddr, Wire),
        heard: &Heard<'_>,
        context: &mut Context,
    ) -> Option<(u32, Taken)> {
        if let Some(&slot) = self.by_peer.get(&key) {
            let session = &mut self.sessions[slot as usize];
            let was_proven = session.sender.is_proven();
            let labels = &mut self.labels;
            let taken = session.sender.handle_message(heard, labels, context);
            if was_proven && !session.sender.is_proven() {
                // It calls itself something else now, and has to prove itself again.
                self.unproven.push_back((slot, session.birth));
                self.drop_settled();
            }
            return Some((slot, taken));
        }
        let metric = Metric::UdpOwd;
        let Some((sender, number)) = Sender::new(metric, heard) else {
            return Some((u32::MAX, Taken::Unreadable));
        };
        if self.sessions.len() >= SESSIONS_MAX && !self.evict(context) {
            context.counters.refused += 1;
            return None;
        }
        self.births += 1;
        let birth = self.births;
        let deadline = sender.idle_deadline();
        let entry = self.sessions.vacant_entry();
        let slot = small(entry.key());
        let timer = context.wheel.insert(deadline, Timer::Session(slot));
        entry.insert(Session {
            key,
            sender,
            reflection: None,
            birth,
            timer,
        });
        self.by_peer.insert(key, slot);
        self.unproven.push_back((slot, birth));
        self.drop_settled();
        Some((slot, Taken::Anew(number)))
    }

    fn answers(&self, blocked: bool) -> Answers<'_> {
        Answers {
            name: &self.name,
            takes_offers: self.native,
            blocked,
            readable: true,
        }
    }

    /// The transmit stamp of a reply to a datagram has come.
    pub(crate) fn handle_reply_left(&mut self, slot: u32, birth: u64, seq: u32, stamp: Stamp) {
        if let Some(session) = self.sessions.get_mut(slot as usize)
            && session.birth == birth
            && let Some(reflection) = &mut session.reflection
        {
            reflection.handle_left(seq, stamp);
        }
    }

    /// The daemon ends: what waits for a transmit stamp takes what there is.
    pub(crate) fn settle_all(&mut self, context: &mut Context) {
        for (_, session) in &mut self.sessions {
            if let Some(reflection) = &mut session.reflection {
                reflection.settle_all(&mut session.sender, context);
            }
        }
        for (_, accepted) in &mut self.accepted {
            accepted.settle_all(context);
        }
    }

    /// Forgets the oldest session that was heard only once; without one the session that has been
    /// silent for longest, if that is long.
    fn evict(&mut self, context: &mut Context) -> bool {
        while let Some((slot, birth)) = self.unproven.pop_front() {
            if self.is_unproven(slot, birth) {
                context.counters.refused += 1;
                self.forget(slot, context);
                return true;
            }
        }
        self.evict_idlest(context)
    }

    /// Whether there is time to look at a whole table.
    fn may_look(&mut self, context: &Context) -> bool {
        let may = context.now.mono >= self.look_after;
        if may {
            self.look_after = context.now.mono.plus(LOOK_EVERY_NS);
        }
        may
    }

    fn evict_idlest(&mut self, context: &mut Context) -> bool {
        if !self.may_look(context) {
            return false;
        }
        let sessions = self.sessions.iter();
        let idlest = sessions.min_by_key(|(_, session)| session.sender.last_heard());
        let Some((slot, session)) = idlest else {
            return false;
        };
        if context.now.mono.since(session.sender.last_heard()) < MESSAGE_WITHIN_NS {
            return false;
        }
        context.counters.refused += 1;
        self.forget(small(slot), context);
        true
    }

    /// Takes the proven and the gone off the front of the queue, so that it does not grow.
    fn drop_settled(&mut self) {
        while let Some((slot, birth)) = self.unproven.front() {
            if self.is_unproven(*slot, *birth) && self.unproven.len() <= 2 * SESSIONS_MAX {
                break;
            }
            self.unproven.pop_front();
        }
    }

    fn is_unproven(&self, slot: u32, birth: u64) -> bool {
        self.sessions
            .get(slot as usize)
            .is_some_and(|session| session.birth == birth && !session.sender.is_proven())
    }

    fn forget(&mut self, slot: u32, context: &mut Context) {
        let mut session = self.sessions.remove(slot as usize);
        if let Some(reflection) = &mut session.reflection {
            reflection.settle_all(&mut session.sender, context);
        }
        session.sender.leave(&mut self.labels, context);
        context.wheel.cancel(session.timer);
        self.by_peer.remove(&session.key);
    }

    /// The session timer fired.
    pub(crate) fn handle_session_timer(&mut self, slot: u32, context: &mut Context) {
        let Some(session) = self.sessions.get_mut(slot as usize) else {
            return;
        };
        let deadline = session.sender.idle_deadline();
        if deadline <= context.now.mono {
            self.forget(slot, context);
        } else {
            session.timer = context.wheel.insert(deadline, Timer::Session(slot));
        }
    }
}

/// A sender and its STAMP session, wherever they are kept.
struct Conversation<'a> {
    sender: &'a mut Sender,
    reflection: &'a mut Option<Reflection>,
}

impl Conversation<'_> {
    /// Measures a native request, and appends its answer to the reply buffer. Gives the reply's number;
    /// `None` if the request must not be answered.
    fn reflect(
        self,
        arrival: Arrival,
        (request, bytes): (&Request<'_>, &[u8]),
        taken: Taken,
        name: &str,
        context: &mut Context,
    ) -> Option<u32> {
        let (new, number) = match taken {
            Taken::Unreadable => {
                context.counters.corrupt += 1;
                return None;
            }
            Taken::Anew(number) => {
                *self.reflection = Some(Reflection::new(context));
                (Some(number), number)
            }
            Taken::New(number) => (Some(number), number),
            Taken::Again(number) => (None, number),
        };
        let reflection = self
            .reflection
            .get_or_insert_with(|| Reflection::new(context));
        let seen = self.sender.seen_before(number);
        reflection.handle_request(arrival, request, (self.sender, new), context);
        let error = context.clock_error;
        let out = context.reply_buffer()?;
        let seq = reflection.answer(arrival, (bytes, seen), name, (error, out));
        context.counters.answered += 1;
        Some(seq)
    }
}

/// Appends replies to the shared buffer, and counts them.
struct Answers<'a> {
    name: &'a str,
    /// An offer of the native wire is taken.
    takes_offers: bool,
    blocked: bool,
    /// Every message so far could be read.
    readable: bool,
}

impl Answers<'_> {
    fn append(&mut self, message: &Message<'_>, context: &mut Context) {
        let now = context.now.wall;
        let fits = !self.blocked
            && context.reply_buffer().is_some_and(|buffer| {
                text::encode_reply(buffer, message, self.name, now, self.takes_offers)
            });
        if fits {
            context.counters.answered += 1;
        } else {
            context.counters.replies_dropped += 1;
        }
    }
}
