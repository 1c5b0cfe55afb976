//! The sessions of datagrams, by who sends them.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use slab::Slab;

use crate::limits::SESSIONS_MAX;
use crate::proto::context::{Context, small};
use crate::proto::owner::Timer;
use crate::proto::responder::reflector::{Heard, Reflector, ReplyTo, Route};
use crate::proto::responder::request::{Body, Request};
use crate::proto::responder::session::{Place, Session, SessionRef};
use crate::proto::sample::Stamp;
use crate::proto::wheel::TimerKey;

/// What tells one session from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    from: SocketAddr,
    wire: Wire,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wire {
    Text,
    Native {
        ssid: u16,
        /// Of a flow of ours: a stranger who has only guessed the SSID is another session.
        cookie: Option<u32>,
    },
}

impl Key {
    fn of(from: SocketAddr, request: &Request<'_>) -> Self {
        let wire = match &request.body {
            Body::Text(_) => Wire::Text,
            Body::Native {
                request: packet, ..
            } => Wire::Native {
                ssid: packet.ssid,
                cookie: request.cookie,
            },
        };
        Self { from, wire }
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
    unproven: VecDeque<SessionRef>,
    births: u64,
}

impl Datagrams {
    /// Measures and answers a request from `reply.to`.
    pub(super) fn handle_request(
        &mut self,
        request: &Request<'_>,
        reply: ReplyTo,
        reflector: &mut Reflector,
        context: &mut Context,
    ) {
        let key = Key::of(reply.to, request);
        let heard = match self.by_key.get(&key) {
            Some(&slot) => self
                .continue_session(slot, request, reflector, context)
                .map(Some),
            None if request.is_readable() => {
                Some(self.begin_session(key, request, reflector, context))
            }
            None => None,
        };
        match heard {
            Some(heard) => reflector.answer(request, heard, Route::Datagram(reply), context),
            None => context.counters.corrupt += 1,
        }
    }

    /// Returns nothing if the request cannot be read after all.
    fn continue_session(
        &mut self,
        slot: u32,
        request: &Request<'_>,
        reflector: &mut Reflector,
        context: &mut Context,
    ) -> Option<Heard<'_>> {
        let session = &mut self.entries[slot as usize].session;
        let was_proven = session.is_proven;
        let labels = &mut reflector.labels;
        let number = session.handle_request(request, labels, context);
        if was_proven && !session.is_proven {
            // It calls itself something else now, and has to prove itself again.
            if let Place::Datagrams(this) = session.place {
                self.unproven.push_back(this);
            }
            self.drop_settled();
        }
        let session = &mut self.entries[slot as usize].session;
        number.map(|number| Heard { session, number })
    }

    /// Begins a session. Returns nothing if there is no room for one more.
    fn begin_session(
        &mut self,
        key: Key,
        request: &Request<'_>,
        reflector: &mut Reflector,
        context: &mut Context,
    ) -> Option<Heard<'_>> {
        if self.entries.len() >= SESSIONS_MAX {
            context.counters.refused += 1;
            let slot = self.find_least_wanted(reflector, context)?;
            self.forget(slot, reflector, context);
        }
        self.births += 1;
        let entry = self.entries.vacant_entry();
        let this = SessionRef {
            slot: small(entry.key()),
            birth: self.births,
        };
        let session = Session::begin(Place::Datagrams(this), request, context);
        let number = session.first_number();
        let timer = Timer::Session(this.slot);
        let timer = context.wheel.insert(session.idle_deadline(), timer);
        entry.insert(Entry {
            key,
            session,
            timer,
        });
        self.by_key.insert(key, this.slot);
        self.unproven.push_back(this);
        self.drop_settled();
        let session = &mut self.entries[this.slot as usize].session;
        Some(Heard { session, number })
    }

    /// Returns the oldest session with one request; without one the session that has been silent for
    /// longest, if that is long.
    fn find_least_wanted(&mut self, reflector: &mut Reflector, context: &Context) -> Option<u32> {
        while let Some(this) = self.unproven.pop_front() {
            if self.is_unproven(this) {
                return Some(this.slot);
            }
        }
        let entries = self.entries.iter();
        let heard = entries.map(|(slot, entry)| (slot, entry.session.last_heard));
        reflector.find_idlest(heard, context).map(small)
    }

    /// Removes the proven and the gone from the front of the queue, so that it does not grow.
    fn drop_settled(&mut self) {
        while let Some(this) = self.unproven.front() {
            if self.is_unproven(*this) && self.unproven.len() <= 2 * SESSIONS_MAX {
                break;
            }
            self.unproven.pop_front();
        }
    }

    fn is_unproven(&self, this: SessionRef) -> bool {
        let entry = self.entries.get(this.slot as usize);
        entry.is_some_and(|Entry { session, .. }| {
            session.place == Place::Datagrams(this) && !session.is_proven
        })
    }

    fn forget(&mut self, slot: u32, reflector: &mut Reflector, context: &mut Context) {
        let entry = self.entries.remove(slot as usize);
        context.wheel.cancel(entry.timer);
        self.by_key.remove(&entry.key);
        entry.session.end(&mut reflector.labels, context);
    }

    /// The transmit stamp of a reply has come.
    pub(super) fn handle_left(&mut self, this: SessionRef, seq: u32, stamp: Stamp) {
        if let Some(Entry { session, .. }) = self.entries.get_mut(this.slot as usize)
            && session.place == Place::Datagrams(this)
        {
            session.handle_left(seq, stamp);
        }
    }

    /// The timer of a session fired: forgets it if it is idle.
    pub(super) fn handle_timer(
        &mut self,
        slot: u32,
        reflector: &mut Reflector,
        context: &mut Context,
    ) {
        let Some(entry) = self.entries.get_mut(slot as usize) else {
            return;
        };
        let deadline = entry.session.idle_deadline();
        if deadline <= context.now.mono {
            self.forget(slot, reflector, context);
        } else {
            entry.timer = context.wheel.insert(deadline, Timer::Session(slot));
        }
    }

    pub(super) fn settle(&mut self, context: &mut Context) {
        for (_, entry) in &mut self.entries {
            entry.session.settle(context);
        }
    }
}
