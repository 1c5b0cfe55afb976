//! The answering side: reads requests on both protocols, answers, and measures what came in.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use slab::Slab;

use crate::limits::{ACCEPTED_MAX, SESSIONS_MAX};
use crate::proto::sample::Metric;
use crate::proto::session::{RemoteLabels, Sender};
use crate::proto::shared::{Owner, Shared, Timer, small};
use crate::proto::time::{Mono, Now};
use crate::proto::transmit::{Arrival, ListenerId, SocketId, Transmit};
use crate::proto::wheel::TimerKey;
use crate::proto::wire::text::{self, Message, Role, StreamDecoder};

/// A connection must bring its first message, and finish any message it began, within this.
const MESSAGE_WITHIN_NS: u64 = 10_000_000_000;

/// A full table is searched for its idlest entry this often at most: that takes some tens of
/// microseconds.
const LOOK_EVERY_NS: u64 = 1_000_000;

/// One UDP sender.
#[derive(Debug)]
struct Session {
    from: SocketAddr,
    sender: Sender,
    /// Tells this session from a later one at the same place.
    birth: u64,
    timer: TimerKey,
}

/// One accepted connection.
#[derive(Debug)]
struct Accepted {
    socket: SocketId,
    decoder: StreamDecoder,
    sender: Option<Sender>,
    /// When it was accepted, or began the message that it has not finished.
    waiting_since: Option<Mono>,
    /// The kernel takes no more bytes for now: the peer does not read.
    blocked: bool,
    timer: TimerKey,
}

#[derive(Debug)]
pub(crate) struct Responder {
    name: Arc<str>,
    /// Requests from this port are another responder's replies, sent here to start a loop.
    udp_port: Option<u16>,
    labels: RemoteLabels,
    sessions: Slab<Session>,
    by_peer: BTreeMap<SocketAddr, u32>,
    /// Sessions heard once, oldest first: these make room when the table is full.
    unproven: VecDeque<(u32, u64)>,
    births: u64,
    accepted: Slab<Accepted>,
    accepted_max: usize,
    /// No search for the idlest session or connection before this.
    look_after: Mono,
}

impl Responder {
    pub(crate) fn new(name: Arc<str>, udp_port: Option<u16>, accepted_max: usize) -> Self {
        Self {
            labels: RemoteLabels::new(name.clone()),
            name,
            udp_port,
            sessions: Slab::new(),
            by_peer: BTreeMap::new(),
            unproven: VecDeque::new(),
            births: 0,
            accepted: Slab::new(),
            accepted_max: accepted_max.min(ACCEPTED_MAX),
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
        shared: &mut Shared,
    ) {
        let now = arrival.now;
        let looping = from.port() == 0 || Some(from.port()) == self.udp_port;
        let message = match text::decode_datagram(payload) {
            Ok(message) if !looping && !message.is_reply() => message,
            _ => {
                shared.counters.corrupt += 1;
                return;
            }
        };
        if !self.measure_datagram(now, from, &message, shared) {
            shared.counters.corrupt += 1;
            return;
        }
        let transmit = Transmit::Reply {
            listener,
            to: from,
            from: local,
            key: None,
        };
        self.reply(now, &message, transmit, shared);
    }

    /// False if the message cannot be read after all.
    fn measure_datagram(
        &mut self,
        now: Now,
        from: SocketAddr,
        message: &Message<'_>,
        shared: &mut Shared,
    ) -> bool {
        if let Some(slot) = self.by_peer.get(&from) {
            let session = &mut self.sessions[*slot as usize];
            let was_proven = session.sender.is_proven();
            let labels = &mut self.labels;
            let readable = session.sender.handle_message(now, message, labels, shared);
            if was_proven && !session.sender.is_proven() {
                // It calls itself something else now, and has to prove itself again.
                self.unproven.push_back((*slot, session.birth));
                self.drop_settled();
            }
            return readable;
        }
        let Some(sender) = Sender::new(now, Metric::UdpOwd, message) else {
            return false;
        };
        if self.sessions.len() >= SESSIONS_MAX && !self.evict(now, shared) {
            shared.counters.refused += 1;
            return true;
        }
        self.births += 1;
        let birth = self.births;
        let deadline = sender.idle_deadline();
        let entry = self.sessions.vacant_entry();
        let slot = small(entry.key());
        let timer = shared.wheel.insert(deadline, Timer::Session(slot));
        entry.insert(Session {
            from,
            sender,
            birth,
            timer,
        });
        self.by_peer.insert(from, slot);
        self.unproven.push_back((slot, birth));
        self.drop_settled();
        true
    }

    /// Forgets the oldest session that was heard only once; without one the session that has been
    /// silent for longest, if that is long.
    fn evict(&mut self, now: Now, shared: &mut Shared) -> bool {
        while let Some((slot, birth)) = self.unproven.pop_front() {
            if self.is_unproven(slot, birth) {
                shared.counters.refused += 1;
                self.forget(slot, shared);
                return true;
            }
        }
        self.evict_idlest(now, shared)
    }

    /// Whether there is time to look at a whole table.
    fn may_look(&mut self, now: Now) -> bool {
        let may = now.mono >= self.look_after;
        if may {
            self.look_after = now.mono.plus(LOOK_EVERY_NS);
        }
        may
    }

    fn evict_idlest(&mut self, now: Now, shared: &mut Shared) -> bool {
        if !self.may_look(now) {
            return false;
        }
        let sessions = self.sessions.iter();
        let idlest = sessions.min_by_key(|(_, session)| session.sender.last_heard());
        let Some((slot, session)) = idlest else {
            return false;
        };
        if now.mono.since(session.sender.last_heard()) < MESSAGE_WITHIN_NS {
            return false;
        }
        shared.counters.refused += 1;
        self.forget(small(slot), shared);
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

    fn forget(&mut self, slot: u32, shared: &mut Shared) {
        let mut session = self.sessions.remove(slot as usize);
        session.sender.leave(&mut self.labels, shared);
        shared.wheel.cancel(session.timer);
        self.by_peer.remove(&session.from);
    }

    /// The session timer fired.
    pub(crate) fn handle_session_timer(&mut self, now: Now, slot: u32, shared: &mut Shared) {
        let Some(session) = self.sessions.get_mut(slot as usize) else {
            return;
        };
        let deadline = session.sender.idle_deadline();
        if deadline <= now.mono {
            self.forget(slot, shared);
        } else {
            session.timer = shared.wheel.insert(deadline, Timer::Session(slot));
        }
    }

    /// A connection came in.
    pub(crate) fn handle_accept(&mut self, now: Now, shared: &mut Shared) -> Option<SocketId> {
        if self.accepted.len() >= self.accepted_max {
            shared.counters.refused += 1;
            if !self.drop_idlest(now, shared) {
                return None;
            }
        }
        let entry = self.accepted.vacant_entry();
        let slot = small(entry.key());
        let socket = shared.open_socket(Owner::Accepted(slot));
        let deadline = now.mono.plus(MESSAGE_WITHIN_NS);
        entry.insert(Accepted {
            socket,
            decoder: StreamDecoder::new(Role::Requests),
            sender: None,
            waiting_since: Some(now.mono),
            blocked: false,
            timer: shared.wheel.insert(deadline, Timer::Accepted(slot)),
        });
        Some(socket)
    }

    /// Closes the connection that has been silent for longest, if that is long.
    fn drop_idlest(&mut self, now: Now, shared: &mut Shared) -> bool {
        if !self.may_look(now) {
            return false;
        }
        let heard = |accepted: &Accepted| {
            let heard = accepted.sender.as_ref().map(Sender::last_heard);
            heard.or(accepted.waiting_since).unwrap_or(now.mono)
        };
        let idlest = self
            .accepted
            .iter()
            .min_by_key(|(_, accepted)| heard(accepted));
        let Some((slot, accepted)) = idlest else {
            return false;
        };
        if now.mono.since(heard(accepted)) < MESSAGE_WITHIN_NS {
            return false;
        }
        let socket = accepted.socket;
        shared.close_socket(socket);
        self.forget_accepted(small(slot), shared);
        true
    }

    /// Bytes came in on an accepted connection. One that cannot be read is closed. Gives how many
    /// messages were complete.
    pub(crate) fn handle_stream(
        &mut self,
        arrival: Arrival,
        slot: u32,
        bytes: &[u8],
        shared: &mut Shared,
    ) -> usize {
        let now = arrival.now;
        let Some(accepted) = self.accepted.get_mut(slot as usize) else {
            return 0;
        };
        let mut messages = 0;
        let Accepted {
            decoder,
            sender,
            waiting_since,
            blocked,
            socket,
            ..
        } = accepted;
        let labels = &mut self.labels;
        let mut answers = Answers {
            name: &self.name,
            blocked: *blocked,
            readable: true,
        };
        let start = shared.reply_buffer().map(|buffer| buffer.len());
        let outcome = decoder.feed(bytes, |message| {
            messages += 1;
            *waiting_since = None;
            answers.readable &= !message.is_reply()
                && match sender {
                    Some(sender) => sender.handle_message(now, &message, labels, shared),
                    None => {
                        *sender = Sender::new(now, Metric::TcpOwd, &message);
                        sender.is_some()
                    }
                };
            if answers.readable {
                answers.append(now, &message, shared);
            }
        });
        if let Some(start) = start {
            shared.queue_reply(
                start,
                Transmit::Stream {
                    socket: *socket,
                    key: None,
                },
            );
        }
        if decoder.buffered() > 0 && waiting_since.is_none() {
            *waiting_since = Some(now.mono);
        }
        if outcome.is_err() || !answers.readable {
            shared.counters.corrupt += 1;
            let socket = *socket;
            shared.close_socket(socket);
            self.forget_accepted(slot, shared);
        }
        messages
    }

    pub(crate) fn handle_blocked(&mut self, slot: u32, blocked: bool) {
        if let Some(accepted) = self.accepted.get_mut(slot as usize) {
            accepted.blocked = blocked;
        }
    }

    /// The engine has no socket for the connection any more.
    pub(crate) fn handle_closed(&mut self, slot: u32, shared: &mut Shared) {
        self.forget_accepted(slot, shared);
    }

    /// The timer of an accepted connection fired: close it if it is idle, or keeps us waiting.
    pub(crate) fn handle_accepted_timer(&mut self, now: Now, slot: u32, shared: &mut Shared) {
        let Some(accepted) = self.accepted.get_mut(slot as usize) else {
            return;
        };
        let idle = accepted.sender.as_ref().map(Sender::idle_deadline);
        let stuck = accepted
            .waiting_since
            .map(|since| since.plus(MESSAGE_WITHIN_NS));
        let deadline = idle.into_iter().chain(stuck).min().unwrap_or(now.mono);
        if deadline <= now.mono {
            shared.counters.refused += u64::from(stuck == Some(deadline));
            let socket = accepted.socket;
            shared.close_socket(socket);
            self.forget_accepted(slot, shared);
        } else {
            // A message may be begun at any time, so look again no later than it would expire.
            let again = deadline.min(now.mono.plus(MESSAGE_WITHIN_NS));
            accepted.timer = shared.wheel.insert(again, Timer::Accepted(slot));
        }
    }

    fn forget_accepted(&mut self, slot: u32, shared: &mut Shared) {
        if let Some(mut accepted) = self.accepted.try_remove(slot as usize) {
            shared.wheel.cancel(accepted.timer);
            if let Some(sender) = &mut accepted.sender {
                sender.leave(&mut self.labels, shared);
            }
        }
    }

    fn reply(&self, now: Now, message: &Message<'_>, to: Transmit, shared: &mut Shared) {
        let mut answers = Answers {
            name: &self.name,
            blocked: false,
            readable: true,
        };
        if let Some(start) = shared.reply_buffer().map(|buffer| buffer.len()) {
            answers.append(now, message, shared);
            shared.queue_reply(start, to);
        } else {
            shared.counters.replies_dropped += 1;
        }
    }
}

/// Appends replies to the shared buffer, and counts them.
struct Answers<'a> {
    name: &'a str,
    blocked: bool,
    /// Every message so far could be read.
    readable: bool,
}

impl Answers<'_> {
    fn append(&mut self, now: Now, message: &Message<'_>, shared: &mut Shared) {
        let fits = !self.blocked
            && shared
                .reply_buffer()
                .is_some_and(|buffer| text::encode_reply(buffer, message, self.name, now.wall));
        if fits {
            shared.counters.answered += 1;
        } else {
            shared.counters.replies_dropped += 1;
        }
    }
}
