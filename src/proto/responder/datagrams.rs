//! The sessions of datagrams, by who sends them.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use slab::Slab;

use super::Responder;
use crate::limits::SESSIONS_MAX;
use crate::proto::context::{Context, small};
use crate::proto::owner::Timer;
use crate::proto::responder::reflector::Heard;
use crate::proto::responder::request::{Body, Request};
use crate::proto::responder::session::Session;
use crate::proto::transmit::{Arrival, Headers, Place, StampKey, Transmit};
use crate::proto::wheel::TimerKey;
use crate::proto::wire::text;

/// What tells one session from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    from: IpAddr,
    sender: Sender,
    /// The session identifier of a STAMP packet; `None` for text.
    ssid: Option<u16>,
}

/// What tells the senders at one address apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sender {
    /// The cookie of a flow of ours. A stranger cannot know it, and a translator (NAT) on the way may
    /// give every probe another port.
    Cookie(u32),
    /// The port, and the address of ours that it sends to, where a request has nothing better.
    Port { from: u16, to: Option<IpAddr> },
}

impl Key {
    fn of(headers: &Headers, request: &Request<'_>) -> Self {
        Self {
            from: headers.from.ip(),
            sender: match request.cookie {
                Some(cookie) => Sender::Cookie(cookie),
                None => Sender::Port {
                    from: headers.from.port(),
                    to: headers.to,
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
    /// Sessions with one request, the oldest first: these make room when the table is full.
    unproven: VecDeque<Place>,
    births: u64,
}

impl Datagrams {
    pub(super) fn session_mut(&mut self, slot: u32) -> Option<&mut Session> {
        let entry = self.entries.get_mut(slot as usize)?;
        Some(&mut entry.session)
    }

    pub(super) fn sessions_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        self.entries.iter_mut().map(|(_, entry)| &mut entry.session)
    }

    /// Removes the proven and the gone from the front of the queue, so that it does not grow.
    fn drop_settled(&mut self) {
        while let Some(place) = self.unproven.front() {
            if self.is_unproven(*place) && self.unproven.len() <= 2 * SESSIONS_MAX {
                break;
            }
            self.unproven.pop_front();
        }
    }

    fn is_unproven(&self, place: Place) -> bool {
        let Place::Datagrams { slot, .. } = place else {
            return false;
        };
        let entry = self.entries.get(slot as usize);
        entry.is_some_and(|Entry { session, .. }| session.place == place && !session.is_proven)
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
        let from = headers.from;
        let message = text::decode_datagram(payload);
        let request = match &message {
            // To port 0 no answer can be sent.
            _ if from.port() == 0 => None,
            // A text reply may read as a request; a native one never does, whatever port it comes from.
            Ok(_) if Some(from.port()) == self.udp_port => None,
            Ok(message) => Request::text(arrival, message),
            Err(_) if self.reflector.is_native => Request::native(arrival, Some(headers), payload),
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
        let key = Key::of(headers, request);
        let heard = if let Some(&slot) = self.datagrams.by_key.get(&key) {
            let Some(number) = self.continue_session(slot, request, context) else {
                return false;
            };
            Some((slot, number))
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

    /// Returns the request's number; nothing if its tags cannot be read.
    fn continue_session(
        &mut self,
        slot: u32,
        request: &Request<'_>,
        context: &mut Context,
    ) -> Option<u64> {
        let session = &mut self.datagrams.entries[slot as usize].session;
        let was_proven = session.is_proven;
        let number = session.handle_request(request, &mut self.reflector.labels, context);
        if was_proven && !session.is_proven {
            // It calls itself something else now, and has to prove itself again.
            self.datagrams.unproven.push_back(session.place);
            self.datagrams.drop_settled();
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
        let datagrams = &mut self.datagrams;
        datagrams.births += 1;
        let entry = datagrams.entries.vacant_entry();
        let slot = small(entry.key());
        let place = Place::Datagrams {
            slot,
            birth: datagrams.births,
        };
        let session = Session::begin(place, request, context);
        let number = session.first_number();
        let deadline = session.idle_deadline();
        entry.insert(Entry {
            key,
            session,
            timer: context.wheel.insert(deadline, Timer::Session(slot)),
        });
        datagrams.by_key.insert(key, slot);
        datagrams.unproven.push_back(place);
        datagrams.drop_settled();
        Some((slot, number))
    }

    /// Returns the oldest session with one request; without one the session that has been silent for
    /// longest, if that is long.
    fn find_least_wanted(&mut self, context: &Context) -> Option<u32> {
        while let Some(place) = self.datagrams.unproven.pop_front() {
            if let Place::Datagrams { slot, .. } = place
                && self.datagrams.is_unproven(place)
            {
                return Some(slot);
            }
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
