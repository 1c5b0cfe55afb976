//! What a responder remembers of one sender: its sequence window, and what it is published under.
//!
//! Tags come from the network, so a stranger must earn a series: a sender is published from its
//! second message on (the first one's delay is held back until then, not dropped), and no more
//! than [`REMOTE_LABELS_MAX`] distinct names are published at one time, nor as new ones in an hour.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use crate::limits::{REMOTE_LABELS_KNOWN_MAX, REMOTE_LABELS_MAX};
use crate::proto::sample::{Labels, Metric, Origin, Outcome, Output, Sample, StampSource};
use crate::proto::shared::Shared;
use crate::proto::time::{Mono, Now, Wall};
use crate::proto::wire::text::{self, Message, SEQUENCES};

/// Sequence numbers behind the highest in which a duplicate is known.
const WINDOW_PROBES: u64 = 1_024;
const WINDOW_WORDS: usize = 16;

/// A sender is forgotten after this long at least, and after eight of its own intervals.
const IDLE_LEAST_NS: u64 = 60_000_000_000;
/// A sender heard only once is forgotten after this: longer than any sensible interval.
const IDLE_ONCE_NS: u64 = 3_600_000_000_000;

/// What a number is to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
    /// The highest so far.
    Next,
    /// RFC 4737: less than one received before it.
    Reordered,
    Duplicate,
    /// So far behind that it cannot be told from a duplicate.
    Stale,
}

/// The numbers received, as far back as it matters.
#[derive(Debug)]
struct ReceiveWindow {
    highest: u64,
    /// One bit a number, at the number modulo the window.
    seen: [u64; WINDOW_WORDS],
    /// The sender's time of the newest probe, to tell a duplicate from a wrapped sequence.
    newest_at: Wall,
    cookie: Option<u32>,
}

impl ReceiveWindow {
    fn starting_at(message: &Message<'_>) -> Self {
        let highest = message.identifier.map_or_else(
            || u64::from(message.header.seq),
            |identifier| u64::from(identifier.number),
        );
        let mut window = Self {
            highest,
            seen: [0; WINDOW_WORDS],
            newest_at: message.header.at,
            cookie: message.identifier.map(|identifier| identifier.cookie),
        };
        window.mark(highest);
        window
    }

    /// Whether the message comes from the sender that the window is of: a restarted one counts
    /// anew and says so by another cookie.
    fn continues(&self, message: &Message<'_>) -> bool {
        self.cookie == message.identifier.map(|identifier| identifier.cookie)
    }

    fn arrive(&mut self, message: &Message<'_>) -> (u64, Arrival) {
        let ahead = self.ahead(message);
        let Some(number) = self.highest.checked_add_signed(ahead) else {
            return (0, Arrival::Stale);
        };
        if ahead > 0 {
            for skipped in (self.highest + 1..number).rev().take(WINDOW_WORDS * 64) {
                self.clear(skipped);
            }
            self.highest = number;
            self.newest_at = message.header.at;
            self.mark(number);
            return (number, Arrival::Next);
        }
        if ahead.unsigned_abs() >= WINDOW_PROBES {
            return (number, Arrival::Stale);
        }
        if self.is_marked(number) {
            return (number, Arrival::Duplicate);
        }
        self.mark(number);
        (number, Arrival::Reordered)
    }

    /// How far the message's number is ahead of the highest one; negative or 0 if it is not.
    fn ahead(&self, message: &Message<'_>) -> i64 {
        if let Some(identifier) = message.identifier {
            #[expect(clippy::cast_possible_truncation, reason = "the low half is compared")]
            let highest = self.highest as u32;
            return i64::from(identifier.number.wrapping_sub(highest).cast_signed());
        }
        let modulus = i64::try_from(SEQUENCES).expect("the modulus is 101");
        let of_highest = i64::try_from(self.highest % SEQUENCES).expect("less than 101");
        let forward = (i64::from(message.header.seq) - of_highest).rem_euclid(modulus);
        let nearest = if forward > modulus / 2 {
            forward - modulus
        } else {
            forward
        };
        // Without an identifier 101 losses in a row look like a duplicate, but for the time.
        let wrapped = nearest <= 0 && message.header.at > self.newest_at;
        if wrapped { nearest + modulus } else { nearest }
    }

    fn mark(&mut self, number: u64) {
        let (word, bit) = place(number);
        self.seen[word] |= bit;
    }

    fn clear(&mut self, number: u64) {
        let (word, bit) = place(number);
        self.seen[word] &= !bit;
    }

    fn is_marked(&self, number: u64) -> bool {
        let (word, bit) = place(number);
        self.seen[word] & bit != 0
    }
}

fn place(number: u64) -> (usize, u64) {
    let index = usize::try_from(number % WINDOW_PROBES).expect("less than the window");
    (index / 64, 1 << (index % 64))
}

/// Whether a sender is published.
#[derive(Clone, Copy, Debug)]
enum Standing {
    /// Heard once; the sample waits for the second message.
    Once(Sample),
    Published(Origin),
    /// Proven, but there was no room to publish it.
    Refused,
}

/// One sender: a UDP address, or an accepted connection.
#[derive(Debug)]
pub(crate) struct Sender {
    metric: Metric,
    source: Box<str>,
    /// The tags as they stood on the wire: compared with every message, parsed when they change.
    tags: Box<str>,
    window: ReceiveWindow,
    standing: Standing,
    last_heard: Mono,
    /// Between the last two messages.
    gap_ns: Option<u64>,
}

impl Sender {
    /// A sender's first message. `None` if its tags cannot be read.
    pub(crate) fn new(now: Now, metric: Metric, message: &Message<'_>) -> Option<Self> {
        text::decode_tags(message.header.tags).ok()?;
        let window = ReceiveWindow::starting_at(message);
        Some(Self {
            metric,
            source: message.header.source.into(),
            tags: message.header.tags.into(),
            standing: Standing::Once(sample(now, metric, message, window.highest)),
            window,
            last_heard: now.mono,
            gap_ns: None,
        })
    }

    /// One more message. False if it cannot be read, and must not be answered.
    pub(crate) fn handle_message(
        &mut self,
        now: Now,
        message: &Message<'_>,
        labels: &mut RemoteLabels,
        shared: &mut Shared,
    ) -> bool {
        if *self.source != *message.header.source || *self.tags != *message.header.tags {
            let Some(fresh) = Self::new(now, self.metric, message) else {
                return false;
            };
            self.leave(labels, shared);
            *self = fresh;
            return true;
        }
        self.gap_ns = Some(now.mono.since(self.last_heard));
        self.last_heard = now.mono;
        if !self.window.continues(message) {
            self.window = ReceiveWindow::starting_at(message);
            let sample = sample(now, self.metric, message, self.window.highest);
            self.measure(now.mono, sample, labels, shared);
            return true;
        }
        let (number, arrival) = self.window.arrive(message);
        match arrival {
            Arrival::Duplicate => shared.counters.duplicate += 1,
            Arrival::Stale => shared.counters.reordered += 1,
            Arrival::Next | Arrival::Reordered => {
                shared.counters.reordered += u64::from(arrival == Arrival::Reordered);
                let sample = sample(now, self.metric, message, number);
                self.measure(now.mono, sample, labels, shared);
            }
        }
        true
    }

    /// Publishes a sample, or finds out that it cannot be.
    fn measure(
        &mut self,
        now: Mono,
        mut sample: Sample,
        labels: &mut RemoteLabels,
        shared: &mut Shared,
    ) {
        if let Standing::Published(origin) = self.standing {
            sample.origin = origin;
            shared.outputs.push_back(Output::Sample(sample));
            return;
        }
        match labels.acquire(now, &self.source, &self.tags, shared) {
            Some(origin) => {
                let held = match self.standing {
                    Standing::Once(held) => Some(held),
                    Standing::Published(_) | Standing::Refused => None,
                };
                for sample in held.into_iter().chain([sample]) {
                    shared
                        .outputs
                        .push_back(Output::Sample(Sample { origin, ..sample }));
                }
                self.standing = Standing::Published(origin);
            }
            None => {
                shared.counters.refused += 1;
                self.standing = Standing::Refused;
            }
        }
    }

    /// Whether it has been heard more than once.
    pub(crate) fn is_proven(&self) -> bool {
        !matches!(self.standing, Standing::Once(_))
    }

    /// When it was heard last.
    pub(crate) fn last_heard(&self) -> Mono {
        self.last_heard
    }

    /// When it is to be forgotten if nothing more is heard.
    pub(crate) fn idle_deadline(&self) -> Mono {
        let idle_ns = match self.gap_ns {
            Some(gap_ns) => gap_ns.saturating_mul(8).clamp(IDLE_LEAST_NS, IDLE_ONCE_NS),
            None => IDLE_ONCE_NS,
        };
        self.last_heard.plus(idle_ns)
    }

    /// The sender is forgotten.
    pub(crate) fn leave(&mut self, labels: &mut RemoteLabels, shared: &mut Shared) {
        if let Standing::Published(origin) = self.standing {
            labels.release(origin, shared);
        }
        self.standing = Standing::Refused;
    }
}

/// The one-way delay of a message received now: our clock less the sender's, signed.
fn sample(now: Now, metric: Metric, message: &Message<'_>, number: u64) -> Sample {
    Sample {
        origin: Origin(u32::MAX),
        metric,
        outcome: Outcome::Received,
        value_ns: now.wall.since(message.header.at),
        at: now.wall,
        seq: number,
        stamp: StampSource::User,
        dwell_ns: None,
        is_corrected: false,
    }
}

/// The origins of remote senders, shared by those of equal name and tags.
#[derive(Debug)]
pub(crate) struct RemoteLabels {
    own_name: Arc<str>,
    origins: BTreeMap<Arc<Labels>, (Origin, u32)>,
    labels: BTreeMap<Origin, Arc<Labels>>,
    /// Hashes of labels that have been published.
    known: BTreeSet<u64>,
    /// When the last allowance for a new label that has been used began: at most an hour from now,
    /// which is when all of them have been.
    spent_until: Mono,
}

/// Allowance for one new label.
const NEW_LABEL_NS: u64 = HOUR_NS / REMOTE_LABELS_MAX as u64;
const HOUR_NS: u64 = 3_600_000_000_000;

impl RemoteLabels {
    pub(crate) fn new(own_name: Arc<str>) -> Self {
        Self {
            own_name,
            origins: BTreeMap::new(),
            labels: BTreeMap::new(),
            known: BTreeSet::new(),
            spent_until: Mono::ZERO,
        }
    }

    /// The origin for a sender of this name with these raw tags; `None` when there are too many.
    fn acquire(
        &mut self,
        now: Mono,
        source: &str,
        tags: &str,
        shared: &mut Shared,
    ) -> Option<Origin> {
        let tags = text::decode_tags(tags).ok()?;
        let labels = Labels::new(source, &self.own_name, &tags);
        if let Some((origin, users)) = self.origins.get_mut(&labels) {
            *users += 1;
            return Some(*origin);
        }
        if self.origins.len() >= REMOTE_LABELS_MAX || !self.may_open(now, &labels) {
            return None;
        }
        let labels = Arc::new(labels);
        let origin = shared.open_origin(labels.clone());
        self.origins.insert(labels.clone(), (origin, 1));
        self.labels.insert(origin, labels);
        Some(origin)
    }

    /// Whether labels have been published before, or there is an allowance left for new ones.
    fn may_open(&mut self, now: Mono, labels: &Labels) -> bool {
        let mut hasher = DefaultHasher::new();
        labels.hash(&mut hasher);
        let hash = hasher.finish();
        if self.known.contains(&hash) {
            return true;
        }
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

    fn release(&mut self, origin: Origin, shared: &mut Shared) {
        let Some(labels) = self.labels.get(&origin) else {
            return;
        };
        if let Some((_, users)) = self.origins.get_mut(labels) {
            *users -= 1;
            if *users == 0 {
                self.origins.remove(labels);
                self.labels.remove(&origin);
                shared.close_origin(origin, None);
            }
        }
    }
}
