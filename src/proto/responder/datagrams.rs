//! The sessions of datagrams, by who sends them.

use std::collections::{BTreeMap, VecDeque};

use slab::Slab;

use super::Responder;
use crate::limits::SESSIONS_MAX;
use crate::proto::context::{Context, small};
use crate::proto::key_ring::Unsealed;
use crate::proto::named::{NamedSenders, SenderSpec};
use crate::proto::owner::Timer;
use crate::proto::responder::labels::{Claim, Sender, Who};
use crate::proto::responder::reflector::Heard;
use crate::proto::responder::request::{Body, Request};
use crate::proto::responder::session::Session;
use crate::proto::time::Mono;
use crate::proto::tracer::is_of_trace;
use crate::proto::transmit::{Arrival, Headers, Place, StampKey, Transmit};
use crate::proto::wheel::TimerKey;
use crate::proto::wire::text;

/// What tells one session from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    who: Who,
    /// The session identifier of a STAMP packet; `None` for text.
    ssid: Option<u16>,
}

impl Key {
    fn of(headers: &Headers, request: &Request<'_>) -> Self {
        Self {
            who: Who {
                from: headers.from.ip(),
                key: request.key(),
                sender: match request.cookie {
                    Some(cookie) => Sender::Cookie(cookie),
                    None => Sender::Port {
                        from: headers.from.port(),
                        to: headers.to,
                        to_port: headers.port,
                    },
                },
            },
            ssid: match &request.body {
                Body::Text(_) => None,
                Body::Native { request, .. } => Some(request.ssid),
            },
        }
    }
}

#[derive(Debug)]
struct Entry {
    key: Key,
    session: Session,
    timer: TimerKey,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Datagrams {
    entries: Slab<Entry>,
    by_key: BTreeMap<Key, u32>,
    /// Sessions that have not shown that they receive our replies. They make room when the table is full:
    /// from the front, unless they were heard again since they stood at the back.
    unproven: VecDeque<Queued>,
    births: u64,
}

/// A place in the queue of those who make room.
#[derive(Clone, Copy, Debug)]
struct Queued {
    place: Place,
    /// When the session had been heard last.
    heard: Mono,
}

/// Sessions that are looked at to find one that makes room.
const LOOKS_MAX: usize = 64;

impl Datagrams {
    pub(super) fn session_mut(&mut self, slot: u32) -> Option<&mut Session> {
        let entry = self.entries.get_mut(slot as usize)?;
        Some(&mut entry.session)
    }

    pub(super) fn sessions_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        self.entries.iter_mut().map(|(_, entry)| &mut entry.session)
    }

    fn queue_unproven(&mut self, place: Place, heard: Mono) {
        self.unproven.push_back(Queued { place, heard });
        // The proven and the gone are left in the queue, which must not grow by that.
        while self.unproven.len() > 2 * SESSIONS_MAX
            && let Some(queued) = self.unproven.pop_front()
        {
            if self.unproven_at(queued.place).is_some() {
                self.unproven.push_back(queued);
            }
        }
    }

    /// Returns the session at a place, if it is still the same and unproven.
    fn unproven_at(&self, place: Place) -> Option<(u32, &Session)> {
        let Place::Datagrams { slot, .. } = place else {
            return None;
        };
        let session = &self.entries.get(slot as usize)?.session;
        (session.place == place && !session.is_proven()).then_some((slot, session))
    }

    /// Returns the session that is to make room: an unproven one that was not heard again.
    fn find_unproven(&mut self) -> Option<u32> {
        for _ in 0..LOOKS_MAX {
            let queued = self.unproven.pop_front()?;
            let Some((slot, session)) = self.unproven_at(queued.place) else {
                continue;
            };
            let heard = session.last_heard;
            if heard == queued.heard {
                return Some(slot);
            }
            self.unproven.push_back(Queued { heard, ..queued });
        }
        None
    }

    /// Returns the sessions of a flow of ours: nobody else can know its cookie.
    fn flow(&self, who: Who) -> impl Iterator<Item = u32> {
        let with = |ssid| Key { who, ssid };
        let keys = self.by_key.range(with(None)..=with(Some(u16::MAX)));
        let is_ours = matches!(who.sender, Sender::Cookie(_));
        keys.filter(move |_| is_ours).map(|(_, slot)| *slot)
    }
}

impl Responder {
    /// A datagram came in on a listener. `transmit` leads back to its sender.
    pub(crate) fn handle_datagram(
        &mut self,
        arrival: &Arrival,
        headers: &Headers,
        transmit: impl FnOnce(Option<StampKey>) -> Transmit,
        payload: &[u8],
        context: &mut Context,
    ) {
        // One that has learnt nothing on its way: it asks for nothing, and counts as nothing.
        if is_of_trace(payload) || !self.admits(headers.from.ip(), context) {
            return;
        }
        let Some(keys) = self.reflector.keys.clone() else {
            let open = Unsealed::open(payload);
            return self.handle_unsealed(arrival, headers, transmit, open, context);
        };
        let mut opened = std::mem::take(&mut context.opened);
        match keys.unseal(payload, Some(headers.from.ip()), &mut opened) {
            Some(unsealed) => self.handle_unsealed(arrival, headers, transmit, unsealed, context),
            None => context.counters.unauthentic += 1,
        }
        context.opened = opened;
    }

    /// The same of a datagram whose key has been looked at.
    #[inline]
    fn handle_unsealed(
        &mut self,
        arrival: &Arrival,
        headers: &Headers,
        transmit: impl FnOnce(Option<StampKey>) -> Transmit,
        unsealed: Unsealed<'_>,
        context: &mut Context,
    ) {
        let from = headers.from;
        let message = text::decode_datagram(unsealed.packet);
        let request = match &message {
            // To port 0 no answer can be sent.
            _ if from.port() == 0 => None,
            // A text reply may read as a request; a native one never does, whatever port it comes from.
            Ok(_) if self.udp_ports.contains(&from.port()) => None,
            Ok(message) => Request::text(arrival, message),
            Err(_) if self.reflector.is_native => Request::native(arrival, Some(headers), unsealed),
            Err(_) => None,
        };
        let is_heard = match &request {
            Some(request) => self.handle_request(request, headers, transmit, context),
            None => false,
        };
        context.counters.corrupt += u64::from(!is_heard);
    }

    /// Measures and answers a request. False if it cannot be read after all.
    fn handle_request(
        &mut self,
        request: &Request<'_>,
        headers: &Headers,
        transmit: impl FnOnce(Option<StampKey>) -> Transmit,
        context: &mut Context,
    ) -> bool {
        let from = headers.from.ip();
        if request.is_short() && !self.gate.may_grow(from, context.now.mono) {
            context.counters.limited += 1;
            return true;
        }
        let key = Key::of(headers, request);
        let heard = if let Some(&slot) = self.datagrams.by_key.get(&key) {
            let Some(number) = self.continue_session(slot, &key, request, context) else {
                return false;
            };
            Some((slot, number))
        } else if self.lacks_key(key.who, request) {
            context.counters.unauthentic += 1;
            return true;
        } else if request.is_readable() {
            self.begin_session(key, request, context)
        } else {
            return false;
        };
        let heard = heard.map(|(slot, number)| {
            let session = &mut self.datagrams.entries[slot as usize].session;
            Heard { session, number }
        });
        self.reflector
            .answer(request, heard, true, transmit, context);
        true
    }

    /// True for a request of a sender that the configuration gives a key, without that.
    fn lacks_key(&self, who: Who, request: &Request<'_>) -> bool {
        let ssid = request.plain_ssid();
        let sender = ssid.and_then(|ssid| self.reflector.labels.sender(who.from, ssid));
        sender.is_some_and(|sender| self.reflector.lacks_key(sender, who.key))
    }

    /// The configuration has these names for senders that say none.
    pub(crate) fn name_senders(&mut self, senders: &[SenderSpec], context: &mut Context) {
        let reflector = &mut self.reflector;
        reflector.labels.name_senders(NamedSenders::new(senders));
        let mut without_key = Vec::new();
        for (slot, Entry { key, session, .. }) in &mut self.datagrams.entries {
            // Only what no flow of ours has sent can be of them.
            if let (Some(ssid), Sender::Port { .. }) = (key.ssid, key.who.sender) {
                let sender = reflector.labels.sender(key.who.from, ssid).cloned();
                if let Some(sender) = &sender
                    && reflector.lacks_key(sender, key.who.key)
                {
                    without_key.push(small(slot));
                }
                session.rename(sender.as_ref(), &mut reflector.labels, context);
            }
        }
        for slot in without_key {
            self.forget_session(slot, context);
        }
    }

    /// Returns the request's number; nothing if its tags cannot be read.
    fn continue_session(
        &mut self,
        slot: u32,
        key: &Key,
        request: &Request<'_>,
        context: &mut Context,
    ) -> Option<u64> {
        let labels = &mut self.reflector.labels;
        let session = &mut self.datagrams.entries[slot as usize].session;
        let was_proven = session.is_proven();
        let number = session.handle_request(request, labels, context);
        if !was_proven && session.is_proven() {
            let flow: Vec<u32> = self.datagrams.flow(key.who).collect();
            for slot in flow {
                let session = &mut self.datagrams.entries[slot as usize].session;
                session.prove(labels, context);
            }
        }
        number
    }

    /// Begins a session. Returns its place and the request's number; nothing if there is no room for one
    /// more.
    fn begin_session(
        &mut self,
        key: Key,
        request: &Request<'_>,
        context: &mut Context,
    ) -> Option<(u32, u64)> {
        if self.datagrams.entries.len() >= SESSIONS_MAX {
            context.counters.refused += 1;
            let slot = self.find_least_wanted(context)?;
            self.forget_session(slot, context);
        }
        let labels = &mut self.reflector.labels;
        let datagrams = &mut self.datagrams;
        datagrams.births += 1;
        let is_proven = |slot: u32| datagrams.entries[slot as usize].session.is_proven();
        let claim = if datagrams.flow(key.who).any(is_proven) {
            Claim::Proven
        } else {
            Claim::Unproven(key.who)
        };
        let entry = datagrams.entries.vacant_entry();
        let slot = small(entry.key());
        let place = Place::Datagrams {
            slot,
            birth: datagrams.births,
        };
        let session = Session::begin(place, claim, request, labels, context);
        let number = session.first_number();
        let deadline = session.idle_deadline();
        entry.insert(Entry {
            key,
            session,
            timer: context.wheel.insert(deadline, Timer::Session(slot)),
        });
        datagrams.by_key.insert(key, slot);
        debug_assert!(datagrams.entries.len() <= SESSIONS_MAX, "room was made");
        datagrams.queue_unproven(place, context.now.mono);
        Some((slot, number))
    }

    /// Returns an unproven session; without one the session that has been silent for longest, if that is
    /// long.
    fn find_least_wanted(&mut self, context: &Context) -> Option<u32> {
        if let Some(slot) = self.datagrams.find_unproven() {
            return Some(slot);
        }
        let entries = self.datagrams.entries.iter();
        let heard = entries.map(|(slot, entry)| (slot, entry.session.last_heard));
        self.reflector.find_idlest(heard, context).map(small)
    }

    fn forget_session(&mut self, slot: u32, context: &mut Context) {
        let entry = self.datagrams.entries.remove(slot as usize);
        context.wheel.cancel(entry.timer);
        self.datagrams.by_key.remove(&entry.key);
        entry.session.end(&mut self.reflector.labels, context);
    }

    /// The timer of a session of datagrams fired: forgets it if it is idle.
    pub(crate) fn handle_session_timer(&mut self, slot: u32, context: &mut Context) {
        let Some(entry) = self.datagrams.entries.get_mut(slot as usize) else {
            return;
        };
        let deadline = entry.session.idle_deadline();
        if deadline <= context.now.mono {
            self.forget_session(slot, context);
        } else {
            entry.timer = context.wheel.insert(deadline, Timer::Session(slot));
        }
    }
}
