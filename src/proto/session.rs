//! What a responder remembers of one sender: its sequence window, and what it is published under.
//!
//! Tags come from the network, so a stranger must earn a series: a sender is published from its
//! second message on (the first one's delay is held back until then, not dropped; a copy of it that the
//! network made is no second one), and no more than [`REMOTE_LABELS_MAX`] distinct names are published at
//! one time, nor as new ones in an hour.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use crate::limits::{REMOTE_LABELS_KNOWN_MAX, REMOTE_LABELS_MAX};
use crate::proto::context::Context;
use crate::proto::sample::{
    Direction, FlowKind, Labels, Metric, OneWay, Origin, Outcome, Output, Sample, Stamp,
    StampSource, Trace,
};
use crate::proto::time::{Mono, Wall};
use crate::proto::transmit::Arrival;
use crate::proto::wire::native::Request;
use crate::proto::wire::text::{self, Message, SEQUENCES};

/// How a request is numbered.
#[derive(Clone, Copy, Debug)]
enum Number {
    /// The text wire's own: 0 to 100, and again.
    Wire(u8),
    /// The low 32 bits of the probe's number.
    Low(u32),
}

/// One request, on whichever wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard<'a> {
    arrival: Arrival,
    number: Number,
    /// Tells a flow of ours from the one before it.
    cookie: Option<u32>,
    /// T1, as the sender read it.
    sent: Wall,
    /// Who sent it, under which tags; nobody says so but our own program and the Python one.
    labels: Option<(&'a str, &'a str)>,
}

impl<'a> Heard<'a> {
    pub(crate) fn text(arrival: Arrival, message: &Message<'a>) -> Self {
        let header = message.header;
        Self {
            arrival,
            number: message
                .identifier
                .map_or(Number::Wire(header.seq), |identifier| {
                    Number::Low(identifier.number)
                }),
            cookie: message.identifier.map(|identifier| identifier.cookie),
            sent: header.at,
            labels: Some((header.source, header.tags)),
        }
    }

    pub(crate) fn native(arrival: Arrival, request: &Request<'a>) -> Self {
        let ours = request.ours.as_ref();
        Self {
            arrival,
            number: Number::Low(request.seq),
            cookie: ours.map(|ours| ours.cookie),
            sent: request.sent,
            labels: ours.map(|ours| (ours.source, ours.tags)),
        }
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The first one of its number: measure it.
    New(u64),
    /// Another one, or too old to tell; it is answered and no more.
    Again(u64),
    /// It begins the sender anew: another name, or another flow. The first one of its number.
    Anew(u64),
    /// It cannot be read after all, and must not be answered.
    Unreadable,
}

/// Sequence numbers behind the highest in which a duplicate is known.
const WINDOW_PROBES: u64 = 1_024;
const WINDOW_WORDS: usize = 16;

/// A sender is forgotten after this long at least, and after eight of its own intervals.
const IDLE_LEAST_NS: u64 = 60_000_000_000;
/// A sender heard only once is forgotten after this: longer than any sensible interval.
const IDLE_ONCE_NS: u64 = 3_600_000_000_000;

/// What a number is to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
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
    fn starting_at(heard: &Heard<'_>) -> Self {
        let highest = match heard.number {
            Number::Wire(seq) => u64::from(seq),
            Number::Low(number) => u64::from(number),
        };
        let mut window = Self {
            highest,
            seen: [0; WINDOW_WORDS],
            newest_at: heard.sent,
            cookie: heard.cookie,
        };
        window.mark(highest);
        window
    }

    /// Whether the message comes from the sender that the window is of: a restarted one counts
    /// anew and says so by another cookie.
    fn continues(&self, heard: &Heard<'_>) -> bool {
        self.cookie == heard.cookie
    }

    fn arrive(&mut self, heard: &Heard<'_>) -> (u64, Order) {
        let ahead = self.ahead(heard);
        let Some(number) = self.highest.checked_add_signed(ahead) else {
            return (0, Order::Stale);
        };
        if ahead > 0 {
            for skipped in (self.highest + 1..number).rev().take(WINDOW_WORDS * 64) {
                self.clear(skipped);
            }
            self.highest = number;
            self.newest_at = heard.sent;
            self.mark(number);
            return (number, Order::Next);
        }
        if ahead.unsigned_abs() >= WINDOW_PROBES {
            return (number, Order::Stale);
        }
        if self.is_marked(number) {
            return (number, Order::Duplicate);
        }
        self.mark(number);
        (number, Order::Reordered)
    }

    /// How far the message's number is ahead of the highest one; negative or 0 if it is not.
    fn ahead(&self, heard: &Heard<'_>) -> i64 {
        let seq = match heard.number {
            Number::Wire(seq) => seq,
            Number::Low(number) => {
                #[expect(clippy::cast_possible_truncation, reason = "the low half is compared")]
                let highest = self.highest as u32;
                return i64::from(number.wrapping_sub(highest).cast_signed());
            }
        };
        let modulus = i64::try_from(SEQUENCES).expect("the modulus is 101");
        let of_highest = i64::try_from(self.highest % SEQUENCES).expect("less than 101");
        let forward = (i64::from(seq) - of_highest).rem_euclid(modulus);
        let nearest = if forward > modulus / 2 {
            forward - modulus
        } else {
            forward
        };
        // Without an identifier 101 losses in a row look like a duplicate, but for the time.
        let wrapped = nearest <= 0 && heard.sent > self.newest_at;
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

    /// Bit i: the number i + 1 before this one has been received.
    fn seen_before(&self, number: u64) -> u64 {
        let oldest = (self.highest + 1).saturating_sub(WINDOW_PROBES);
        let known = match u32::try_from(number.saturating_sub(oldest)) {
            Ok(known) if known < 64 => !(u64::MAX << known),
            _ => u64::MAX,
        };
        // The 64 lie in two neighbouring words, the oldest lowest.
        let (word, bit) = place(number.wrapping_add(WINDOW_PROBES - 64));
        let shift = bit.trailing_zeros();
        let next = self.seen[(word + 1) % self.seen.len()];
        let ascending = self.seen[word] >> shift | next.checked_shl(64 - shift).unwrap_or(0);
        ascending.reverse_bits() & known
    }
}

fn place(number: u64) -> (usize, u64) {
    let index = usize::try_from(number % WINDOW_PROBES).expect("less than the window");
    (index / 64, 1 << (index % 64))
}

/// Whether a sender is published.
#[derive(Clone, Copy, Debug)]
enum Standing {
    /// Heard once; its sample, if that is complete, waits for the second message.
    Once(Option<Measured>),
    Published(Origin),
    /// Proven, but there was no room to publish it.
    Refused,
    /// It has no name to be published under.
    Nameless,
}

/// A one-way delay of a request, before it is known whether it is published.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) number: u64,
    /// T1 and T2.
    pub(crate) left: Stamp,
    pub(crate) received: Stamp,
    /// What the sender wants taken out of it, in nanoseconds.
    pub(crate) correction_ns: Option<i64>,
    /// Whether nobody else publishes the variation of the delay, and the bursts in it: on the native wire
    /// the sender does, which sees both directions.
    pub(crate) is_alone: bool,
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
    is_proven: bool,
    last_heard: Mono,
    /// Between the last message that was no copy and whatever came before it.
    gap_ns: Option<u64>,
}

impl Sender {
    /// A sender's first message, and its number. `None` if its tags cannot be read.
    pub(crate) fn new(metric: Metric, heard: &Heard<'_>) -> Option<(Self, u64)> {
        let (source, tags) = heard.labels.unwrap_or_default();
        text::decode_tags(tags).ok()?;
        let window = ReceiveWindow::starting_at(heard);
        let number = window.highest;
        let sender = Self {
            metric,
            source: source.into(),
            tags: tags.into(),
            standing: match heard.labels {
                Some(_) => Standing::Once(None),
                None => Standing::Nameless,
            },
            is_proven: false,
            window,
            last_heard: heard.arrival.now.mono,
            gap_ns: None,
        };
        Some((sender, number))
    }

    /// One more message.
    pub(crate) fn handle_message(
        &mut self,
        heard: &Heard<'_>,
        labels: &mut RemoteLabels,
        context: &mut Context,
    ) -> Taken {
        let now = heard.arrival.now;
        let (source, tags) = heard.labels.unwrap_or_default();
        if *self.source != *source || *self.tags != *tags {
            let Some((fresh, number)) = Self::new(self.metric, heard) else {
                return Taken::Unreadable;
            };
            self.leave(labels, context);
            *self = fresh;
            return Taken::Anew(number);
        }
        let before = std::mem::replace(&mut self.last_heard, now.mono);
        let taken = if self.window.continues(heard) {
            let (number, order) = self.window.arrive(heard);
            match order {
                Order::Duplicate => context.counters.duplicate += 1,
                Order::Stale | Order::Reordered => context.counters.reordered += 1,
                Order::Next => {}
            }
            match order {
                Order::Next | Order::Reordered => Taken::New(number),
                // A copy that the network made says nothing about who sent the one.
                Order::Duplicate | Order::Stale => return Taken::Again(number),
            }
        } else {
            self.window = ReceiveWindow::starting_at(heard);
            Taken::Anew(self.window.highest)
        };
        self.gap_ns = Some(now.mono.since(before));
        self.prove(labels, context);
        taken
    }

    /// It has sent a second message, so it is published from here on, if there is room.
    fn prove(&mut self, labels: &mut RemoteLabels, context: &mut Context) {
        self.is_proven = true;
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

    /// Publishes a one-way delay, holds it back until the sender has proved itself, or counts that
    /// it cannot be published.
    pub(crate) fn measure(&mut self, delay: Measured, context: &mut Context) {
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
            metric: self.metric,
            outcome: Outcome::Received,
            value_ns: delay_ns.saturating_sub(delay.correction_ns.unwrap_or(0)),
            at,
            seq: delay.number,
            stamp,
            dwell_ns: None,
            is_corrected: delay.correction_ns.is_some(),
        }));
        if delay.is_alone {
            let kind = match self.metric {
                Metric::TcpOwd => FlowKind::Tcp,
                _ => FlowKind::Udp,
            };
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

    /// Whether it has sent more than one message; a copy is none.
    pub(crate) fn is_proven(&self) -> bool {
        self.is_proven
    }

    /// Which of the 64 requests before this one have been received: bit i is the one i + 1 before.
    pub(crate) fn seen_before(&self, number: u64) -> u64 {
        self.window.seen_before(number)
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
    pub(crate) fn leave(&mut self, labels: &mut RemoteLabels, context: &mut Context) {
        if let Standing::Published(origin) = self.standing {
            labels.release(origin, context);
        }
        self.standing = Standing::Nameless;
    }
}

/// The delay of a request on the text wire, whose T1 nobody tells better than it does itself.
pub(crate) fn measured_text(heard: &Heard<'_>, number: u64) -> Measured {
    Measured {
        number,
        left: Stamp {
            at: heard.sent,
            source: StampSource::User,
        },
        received: heard.arrival.best(),
        correction_ns: None,
        is_alone: true,
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

    /// Whether labels have been published before, or there is an allowance left for new ones.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Two words say what asking for each of the 64 numbers would.
        #[test]
        fn the_64_before_a_number_are_those_that_are_marked(
            seen in any::<[u64; WINDOW_WORDS]>(),
            highest in prop_oneof![0_u64..3_000, any::<u32>().prop_map(u64::from)],
            back in 0_u64..1_200,
        ) {
            let (newest_at, cookie) = (Wall::default(), None);
            let window = ReceiveWindow { highest, seen, newest_at, cookie };
            let number = highest.saturating_sub(back);
            let oldest = (highest + 1).saturating_sub(WINDOW_PROBES);
            let bits = window.seen_before(number);
            for bit in 0..64 {
                let before = number.checked_sub(bit + 1);
                let expected = before.is_some_and(|before| before >= oldest && window.is_marked(before));
                prop_assert_eq!(bits >> bit & 1 == 1, expected, "{} before {}", bit + 1, number);
            }
        }
    }
}
