//! One remote sender, as our reflector knows it: what it has sent, what it is published under, and on
//! the native wire the numbers of its replies.

use std::sync::Arc;

use crate::proto::context::Context;
use crate::proto::named::SenderSpec;
use crate::proto::responder::labels::{Claim, RemoteLabels};
use crate::proto::responder::publication::{Measured, Publication};
use crate::proto::responder::received::{Order, ReceiveWindow};
use crate::proto::responder::reflection::Reflection;
use crate::proto::responder::request::{Body, Request};
use crate::proto::sample::{FlowKind, Stamp};
use crate::proto::time::Mono;
use crate::proto::transmit::Place;
use crate::proto::wire::native::{ReplyFields, authenticated::KeyId};

/// A session is forgotten after this long at least, and after eight of its sender's intervals.
const IDLE_MIN_NS: u64 = 60_000_000_000;
/// A session with one request is forgotten after this: longer than any sensible interval.
const IDLE_ONCE_NS: u64 = 3_600_000_000_000;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Session {
    pub(super) place: Place,
    claim: Claim,
    /// What all its requests are authenticated with.
    key: Option<KeyId>,
    publication: Publication,
    received: ReceiveWindow,
    /// Made with the first native request.
    reflection: Option<Reflection>,
    pub(super) last_heard: Mono,
    /// From the last request that was no copy back to whatever came before it.
    gap_ns: Option<u64>,
}

impl Session {
    /// Begins with a sender's first request, whose tags can be read.
    pub(super) fn begin(
        place: Place,
        claim: Claim,
        request: &Request<'_>,
        labels: &mut RemoteLabels,
        context: &mut Context,
    ) -> Self {
        let kind = match place {
            Place::Datagrams { .. } => FlowKind::Udp,
            Place::Connection(_) => FlowKind::Tcp,
        };
        let mut session = Self {
            place,
            claim,
            key: request.key(),
            publication: publication(kind, claim, request, labels),
            received: ReceiveWindow::starting_at(request),
            reflection: None,
            last_heard: context.now.mono,
            gap_ns: None,
        };
        session.measure(request, Some(session.received.highest), labels, context);
        session
    }

    /// Returns the number of the session's first request.
    pub(super) fn first_number(&self) -> u64 {
        self.received.highest
    }

    /// The configuration has other names for senders that say none: this is that of the session, which is one
    /// of those.
    pub(super) fn rename(
        &mut self,
        sender: Option<&Arc<SenderSpec>>,
        labels: &mut RemoteLabels,
        context: &mut Context,
    ) {
        if !self.publication.is_as(sender) {
            self.publication.end(labels, context);
            self.publication = match sender {
                Some(sender) => Publication::named(FlowKind::Udp, sender.clone()),
                None => Publication::new(FlowKind::Udp, None),
            };
        }
    }

    /// True once its sender has shown that it receives our replies.
    pub(super) fn is_proven(&self) -> bool {
        self.claim.is_proof()
    }

    /// Its sender has shown, in this session or another one, that it receives our replies.
    pub(super) fn prove(&mut self, labels: &mut RemoteLabels, context: &mut Context) {
        if !self.is_proven() {
            self.claim = Claim::Proven;
            self.publication.promote(labels, context);
        }
    }

    /// True if the request has the key that all of the session's have.
    pub(super) fn has_key_of(&self, request: &Request<'_>) -> bool {
        request.key() == self.key
    }

    /// Measures one more request. Returns its number; `None` if its tags cannot be read, and it must
    /// not be answered.
    pub(super) fn handle_request(
        &mut self,
        request: &Request<'_>,
        labels: &mut RemoteLabels,
        context: &mut Context,
    ) -> Option<u64> {
        let is_other = !self.publication.is_of(request.identity);
        if is_other {
            if !request.is_readable() {
                return None;
            }
            if !self.is_of_one_flow(request) {
                self.publication.end(labels, context);
                *self = Self::begin(self.place, self.claim, request, labels, context);
                return Some(self.first_number());
            }
        }
        let before = std::mem::replace(&mut self.last_heard, context.now.mono);
        if self.returns_number(request) {
            self.prove(labels, context);
        }
        let (number, order) = self.received.add(request, self.claim.is_proof());
        match order {
            Order::Duplicate => context.counters.duplicate += 1,
            Order::Stale | Order::Reordered => context.counters.reordered += 1,
            Order::First => {
                self.settle(labels, context);
                self.reflection = None;
            }
            Order::Next => {}
        }
        // A copy that the network made says nothing about who sent the one.
        let is_new = !matches!(order, Order::Duplicate | Order::Stale);
        // What was overtaken says how the flow was called before.
        let is_next = matches!(order, Order::First | Order::Next);
        let is_renamed = is_other && is_next && self.is_fresh(request);
        // Text tells its own delay. A native request completes those of the requests before it.
        let is_text = matches!(request.body, Body::Text(_));
        if is_renamed && is_text {
            self.publication
                .take_identity(request.identity, labels, context);
        }
        if is_new {
            self.gap_ns = Some(context.now.mono.since(before));
            // As of a session, the second request publishes a name.
            if self.is_fresh(request) && !is_renamed {
                self.publication.publish(self.claim, labels, context);
            }
        }
        self.measure(request, is_new.then_some(number), labels, context);
        if is_renamed && !is_text {
            self.publication
                .take_identity(request.identity, labels, context);
        }
        Some(number)
    }

    /// True if the request is of the flow that has made the session, whatever it calls itself: of a connection, or with
    /// the cookie by which sessions are told apart. At an address and port alone another program may stand by now.
    fn is_of_one_flow(&self, request: &Request<'_>) -> bool {
        matches!(self.place, Place::Connection(_)) || request.cookie.is_some()
    }

    /// True if the request says which number we gave the session, as only who reads our replies can.
    fn returns_number(&self, request: &Request<'_>) -> bool {
        let reflection = self.reflection.as_ref();
        reflection.is_some_and(|reflection| request.returned == Some(reflection.session))
    }

    /// True unless the request may be one that somebody has recorded and sends again. A key says who made it, and not
    /// when; only one that returns this session's number was made in this session. Without a key anybody can write that
    /// number, if he sees our replies.
    fn is_fresh(&self, request: &Request<'_>) -> bool {
        self.key.is_none() || request.returned.is_none() || self.returns_number(request)
    }

    /// Measures a request as far as its wire lets us now; a copy has no `number`.
    fn measure(
        &mut self,
        request: &Request<'_>,
        number: Option<u64>,
        labels: &mut RemoteLabels,
        context: &mut Context,
    ) {
        let is_fresh = self.is_fresh(request);
        let publication = &mut self.publication;
        match (&request.body, number) {
            // Nobody tells T1 better than the request itself does.
            (Body::Text(_), Some(number)) => {
                let delay = Measured {
                    number,
                    left: Stamp::user(request.sent),
                    received: request.arrival.best(),
                    correction_ns: None,
                    is_alone: true,
                };
                publication.measure(delay, labels, context);
            }
            (Body::Text(_), None) => {}
            (
                Body::Native {
                    request: packet, ..
                },
                number,
            ) => {
                let reflection = reflection(&mut self.reflection, context);
                let publish = |delay| publication.measure(delay, labels, context);
                reflection.handle_request(request.arrival, packet, number, is_fresh, publish);
                // A sender that has heard nothing yet has no number to return.
                let is_refused = !is_fresh && number.is_some() && request.returned != Some(0);
                context.counters.refused += u64::from(is_refused);
            }
        }
    }

    /// Returns what the reply to the native request of this number says.
    pub(super) fn next_reply<'a>(
        &mut self,
        request: &Request<'a>,
        number: u64,
        name: &'a str,
        context: &mut Context,
    ) -> ReplyFields<'a> {
        let seen = self.received.seen_before(number);
        let reflection = reflection(&mut self.reflection, context);
        let mut fields = reflection.next_reply(request.arrival, seen, context.clock_error, name);
        fields.totals = Some(context.presence.totals());
        if let Body::Native {
            request, headers, ..
        } = &request.body
        {
            (fields.headers, fields.is_light) = (*headers, request.is_light);
        }
        fields
    }

    /// The kernel's stamp of a reply's departure has come.
    pub(super) fn handle_left(&mut self, seq: u32, stamp: Stamp) {
        if let Some(reflection) = &mut self.reflection {
            reflection.handle_left(seq, stamp);
        }
    }

    /// Publishes all pending delays as they are: no more requests are to come, or none are to be waited
    /// for.
    pub(super) fn settle(&mut self, labels: &mut RemoteLabels, context: &mut Context) {
        if let Some(reflection) = &mut self.reflection {
            reflection.settle(|delay| self.publication.measure(delay, labels, context));
        }
    }

    /// Ends the session.
    pub(super) fn end(mut self, labels: &mut RemoteLabels, context: &mut Context) {
        self.settle(labels, context);
        self.publication.end(labels, context);
    }

    /// Returns when the session is to be forgotten if nothing more is heard.
    pub(super) fn idle_deadline(&self) -> Mono {
        let idle_ns = match self.gap_ns {
            Some(gap_ns) => gap_ns.saturating_mul(8).clamp(IDLE_MIN_NS, IDLE_ONCE_NS),
            None => IDLE_ONCE_NS,
        };
        self.last_heard.plus(idle_ns)
    }
}

/// Returns the publication of a session that begins.
fn publication(
    kind: FlowKind,
    claim: Claim,
    request: &Request<'_>,
    labels: &RemoteLabels,
) -> Publication {
    let sender = match (request.plain_ssid(), claim) {
        (Some(ssid), Claim::Unproven(who)) => labels.sender(who.from, ssid),
        _ => None,
    };
    match sender {
        Some(sender) => Publication::named(kind, sender.clone()),
        None => Publication::new(kind, request.identity),
    }
}

/// Returns a session's native part, which the first native request makes.
fn reflection<'a>(slot: &'a mut Option<Reflection>, context: &mut Context) -> &'a mut Reflection {
    slot.get_or_insert_with(|| Reflection::new(context.session_ids.session()))
}
