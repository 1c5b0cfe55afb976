//! The publication of a session: what it is published under, once it is, and its one-way delays.
//!
//! A session is published from its second request on. Until then the delay of the first is held back,
//! not dropped. A copy made by the network is no second request. Under which labels it is published is
//! the matter of [`RemoteLabels`].

use std::sync::Arc;

use crate::proto::context::Context;
use crate::proto::named::SenderSpec;
use crate::proto::output::Output;
use crate::proto::responder::labels::{Claim, RemoteLabels, Ticket};
use crate::proto::responder::request::Identity;
use crate::proto::sample::{
    Direction, FlowKind, Metric, OneWay, Origin, Outcome, Sample, Stamp, Trace,
};
use crate::proto::time::Mono;

/// A session that could not be published asks again after this.
const AGAIN_NS: u64 = 100_000_000;

/// A session that has asked so often, and for so long, is there to stay.
const STAYS_ASKED: u32 = 20;
const STAYS_NS: u64 = 10_000_000_000;

/// A one-way delay of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub(super) number: u64,
    /// T1.
    pub(super) left: Stamp,
    /// T2.
    pub(super) received: Stamp,
    /// Nanoseconds that the sender wants subtracted.
    pub(super) correction_ns: Option<i64>,
    /// True if nobody else publishes the delay's variation and bursts. On the native wire the
    /// sender does, because it sees both directions.
    pub(super) is_alone: bool,
}

/// The state of a session's publication.
#[derive(Clone, Copy, Debug)]
enum Standing {
    /// It has sent one request. The delay of that one, once complete, waits for the second.
    Once(Option<Measured>),
    Published(Ticket),
    /// It has sent more, but could not be published.
    Refused(Refusal),
    /// Its sender has no name for labels.
    Nameless,
}

/// What is known of a session that could not be published.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    since: Mono,
    asked: u32,
    /// It does not ask again before this.
    again: Mono,
}

impl Refusal {
    const fn new(now: Mono) -> Self {
        Self {
            since: now,
            asked: 0,
            again: now,
        }
    }

    const fn stays(&self, now: Mono) -> bool {
        self.asked >= STAYS_ASKED && now.since(self.since) >= STAYS_NS
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Publication {
    kind: FlowKind,
    source: Box<str>,
    /// The labels as on the wire: compared with every request, parsed at publication.
    tags: Box<str>,
    /// What the configuration calls a sender that says no name.
    sender: Option<Arc<SenderSpec>>,
    standing: Standing,
}

impl Publication {
    /// Returns the publication of a new session; `kind` is UDP or TCP.
    pub(super) fn new(kind: FlowKind, identity: Option<Identity<'_>>) -> Self {
        let Identity { source, tags } = identity.unwrap_or_default();
        Self {
            kind,
            source: source.into(),
            tags: tags.into(),
            sender: None,
            standing: match identity {
                Some(_) => Standing::Once(None),
                None => Standing::Nameless,
            },
        }
    }

    /// Returns the publication of a sender that says no name, as the configuration has it.
    pub(super) fn named(kind: FlowKind, sender: Arc<SenderSpec>) -> Self {
        Self {
            sender: Some(sender),
            standing: Standing::Once(None),
            ..Self::new(kind, None)
        }
    }

    /// True if it publishes a sender that says no name under this one, or not at all if this is none.
    pub(super) fn is_as(&self, sender: Option<&Arc<SenderSpec>>) -> bool {
        self.sender.as_ref() == sender
    }

    /// True if this publishes requests of this identity.
    pub(super) fn is_of(&self, identity: Option<Identity<'_>>) -> bool {
        let Identity { source, tags } = identity.unwrap_or_default();
        *self.source == *source && *self.tags == *tags
    }

    /// The flow calls itself otherwise from this request on, and is published so from the next one on.
    pub(super) fn take_identity(
        &mut self,
        identity: Option<Identity<'_>>,
        labels: &mut RemoteLabels,
        context: &mut Context,
    ) {
        self.end(labels, context);
        *self = Self::new(self.kind, identity);
    }

    /// The session has sent more than one request: publishes it, if there is room for it.
    pub(super) fn publish(
        &mut self,
        claim: Claim,
        labels: &mut RemoteLabels,
        context: &mut Context,
    ) {
        let now = context.now.mono;
        let (held, mut refusal) = match self.standing {
            Standing::Once(held) => (held, Refusal::new(now)),
            Standing::Refused(refusal) if refusal.again <= now => (None, refusal),
            Standing::Refused(_) | Standing::Published(_) | Standing::Nameless => return,
        };
        let identity = Identity {
            source: &self.source,
            tags: &self.tags,
        };
        let stays = refusal.stays(now);
        let ticket = match (&self.sender, claim) {
            (Some(sender), Claim::Unproven(who)) => {
                labels.acquire_named(sender, who, stays, context)
            }
            _ => labels.acquire(identity, claim, stays, context),
        };
        self.standing = match ticket {
            Some(ticket) => Standing::Published(ticket),
            None => {
                refusal.asked += 1;
                refusal.again = now.plus(AGAIN_NS);
                Standing::Refused(refusal)
            }
        };
        if let Some(held) = held {
            self.measure(held, labels, context);
        }
    }

    /// The session has shown that it receives our replies: it is published among those that have.
    pub(super) fn promote(&mut self, labels: &mut RemoteLabels, context: &mut Context) {
        match self.standing {
            Standing::Published(ticket) => labels.release(ticket, context),
            Standing::Refused(_) => {}
            Standing::Once(_) | Standing::Nameless => return,
        }
        self.standing = Standing::Refused(Refusal::new(context.now.mono));
        self.publish(Claim::Proven, labels, context);
    }

    /// Publishes a one-way delay, holds it back until the second request, or counts it as refused.
    pub(super) fn measure(
        &mut self,
        delay: Measured,
        labels: &mut RemoteLabels,
        context: &mut Context,
    ) {
        match &mut self.standing {
            Standing::Published(ticket) => match labels.redeem(*ticket, context) {
                Some(origin) => return self.push(&delay, origin, context),
                None => self.standing = Standing::Refused(Refusal::new(context.now.mono)),
            },
            Standing::Once(held) => {
                *held = Some(delay);
                return;
            }
            Standing::Refused(_) => {}
            Standing::Nameless => return,
        }
        context.counters.refused += 1;
    }

    fn push(&self, delay: &Measured, origin: Origin, context: &mut Context) {
        let ahead_ns = self
            .sender
            .as_ref()
            .map_or(0, |sender| sender.utc_offset_ns);
        let left = Stamp {
            at: delay.left.at.plus(-ahead_ns),
            ..delay.left
        };
        let delay_ns = delay.received.at.since(left.at);
        let stamp = delay.left.source.min(delay.received.source);
        let at = delay.received.at;
        context.outputs.push_back(Output::Sample(Sample {
            origin,
            metric: Metric::one_way(self.kind),
            outcome: Outcome::Received,
            value_ns: delay_ns.saturating_sub(delay.correction_ns.unwrap_or(0)),
            at,
            seq: delay.number,
            stamp,
            dwell_ns: None,
            is_corrected: delay.correction_ns.is_some(),
        }));
        if delay.is_alone {
            let kind = self.kind;
            context.outputs.push_back(Output::OneWay(OneWay {
                origin,
                kind,
                direction: Direction::Forward,
                seq: delay.number,
                delay_ns,
                at,
                stamp,
            }));
            context.outputs.push_back(Output::Trace(Trace {
                origin,
                kind,
                seq: delay.number,
                stamps: [Some(left), Some(delay.received), None, None],
                outcome: Outcome::Received,
                lost_on: None,
            }));
        }
    }

    /// Ends the session's publication.
    pub(super) fn end(&mut self, labels: &mut RemoteLabels, context: &mut Context) {
        if let Standing::Published(ticket) = self.standing {
            labels.release(ticket, context);
        }
        self.standing = Standing::Nameless;
    }
}
