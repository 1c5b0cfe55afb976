//! The labels under which a session is published, and the limits of their number.
//!
//! Labels come from the network, so a stranger must earn a series: a session is published from its
//! second request on. Until then the delay of the first is held back, not dropped. A copy made by
//! the network is no second request. At most [`REMOTE_LABELS_MAX`] distinct labels are published at
//! once, and as many new ones in an hour.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use crate::limits::{REMOTE_LABELS_KNOWN_MAX, REMOTE_LABELS_MAX};
use crate::proto::context::Context;
use crate::proto::output::Output;
use crate::proto::responder::request::Identity;
use crate::proto::sample::{
    Direction, FlowKind, Labels, Metric, OneWay, Origin, Outcome, Sample, Stamp, Trace,
};
use crate::proto::time::Mono;
use crate::proto::wire::text;

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
    Published(Origin),
    /// It has sent more, but there was no room to publish it.
    Refused,
    /// Its sender has no name for labels.
    Nameless,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Publication {
    kind: FlowKind,
    source: Box<str>,
    /// The labels as on the wire: compared with every request, parsed at publication.
    tags: Box<str>,
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
            standing: match identity {
                Some(_) => Standing::Once(None),
                None => Standing::Nameless,
            },
        }
    }

    /// True if this publishes requests of this identity.
    pub(super) fn is_of(&self, identity: Option<Identity<'_>>) -> bool {
        let Identity { source, tags } = identity.unwrap_or_default();
        *self.source == *source && *self.tags == *tags
    }

    /// Publishes the session from its second request on, if there is room.
    pub(super) fn prove(&mut self, labels: &mut RemoteLabels, context: &mut Context) {
        let held = match self.standing {
            Standing::Once(held) => held,
            Standing::Refused => None,
            Standing::Published(_) | Standing::Nameless => return,
        };
        self.standing = match labels.acquire(&self.source, &self.tags, context) {
            Some(origin) => Standing::Published(origin),
            None => Standing::Refused,
        };
        if let Some(held) = held {
            self.measure(held, context);
        }
    }

    /// Publishes a one-way delay, holds it back until the second request, or counts it as refused.
    pub(super) fn measure(&mut self, delay: Measured, context: &mut Context) {
        let origin = match &mut self.standing {
            Standing::Published(origin) => *origin,
            Standing::Once(held) => {
                *held = Some(delay);
                return;
            }
            Standing::Refused => {
                context.counters.refused += 1;
                return;
            }
            Standing::Nameless => return,
        };
        let delay_ns = delay.received.at.since(delay.left.at);
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
                stamps: [Some(delay.left), Some(delay.received), None, None],
                outcome: Outcome::Received,
                lost_on: None,
            }));
        }
    }

    /// Ends the session's publication.
    pub(super) fn end(&mut self, labels: &mut RemoteLabels, context: &mut Context) {
        if let Standing::Published(origin) = self.standing {
            labels.release(origin, context);
        }
        self.standing = Standing::Nameless;
    }
}

/// The origins of remote senders, shared by those of equal name and tags.
#[derive(Debug)]
pub(super) struct RemoteLabels {
    own_name: Arc<str>,
    origins: BTreeMap<Arc<Labels>, (Origin, u32)>,
    labels: BTreeMap<Origin, Arc<Labels>>,
    /// Hashes of the labels published so far.
    known: BTreeSet<u64>,
    /// When the last used allowance for a new label began, at most an hour from now. At that
    /// instant all of them are used.
    spent_until: Mono,
}

/// Allowance for one new label.
const NEW_LABEL_NS: u64 = HOUR_NS / REMOTE_LABELS_MAX as u64;
const HOUR_NS: u64 = 3_600_000_000_000;

impl RemoteLabels {
    pub(super) fn new(own_name: Arc<str>) -> Self {
        Self {
            own_name,
            origins: BTreeMap::new(),
            labels: BTreeMap::new(),
            known: BTreeSet::new(),
            spent_until: Mono::ZERO,
        }
    }

    /// Returns the origin of a sender with this name and raw tags; `None` if there are too many.
    fn acquire(&mut self, source: &str, tags: &str, context: &mut Context) -> Option<Origin> {
        let tags = text::decode_tags(tags).ok()?;
        let labels = Labels::new(source, &self.own_name, &tags);
        if let Some((origin, users)) = self.origins.get_mut(&labels) {
            *users += 1;
            return Some(*origin);
        }
        if self.origins.len() >= REMOTE_LABELS_MAX || !self.may_open(&labels, context) {
            return None;
        }
        let labels = Arc::new(labels);
        let origin = context.open_origin(labels.clone());
        self.origins.insert(labels.clone(), (origin, 1));
        self.labels.insert(origin, labels);
        Some(origin)
    }

    /// True if the labels were published before, or an allowance for new ones is left.
    fn may_open(&mut self, labels: &Labels, context: &Context) -> bool {
        let mut hasher = DefaultHasher::new();
        labels.hash(&mut hasher);
        let hash = hasher.finish();
        if self.known.contains(&hash) {
            return true;
        }
        let now = context.now.mono;
        let spent_until = self.spent_until.max(now).plus(NEW_LABEL_NS);
        if spent_until > now.plus(HOUR_NS) {
            return false;
        }
        self.spent_until = spent_until;
        if self.known.len() < REMOTE_LABELS_KNOWN_MAX {
            self.known.insert(hash);
        }
        true
    }

    fn release(&mut self, origin: Origin, context: &mut Context) {
        let Some(labels) = self.labels.get(&origin) else {
            return;
        };
        if let Some((_, users)) = self.origins.get_mut(labels) {
            *users -= 1;
            if *users == 0 {
                self.origins.remove(labels);
                self.labels.remove(&origin);
                context.close_origin(origin, None);
            }
        }
    }
}
