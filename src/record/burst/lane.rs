//! One flow in one direction: from one-way delays to bursts and changes of route.

use crate::proto::{StampSource, Wall};
use crate::record::burst::base::Base;
use crate::record::burst::noise::Noise;

/// Packets in a row over the threshold that begin a burst if it was found from noise, and over half of it.
/// One alone is what heavy tails are made of.
const OVER: u32 = 2;
const OVER_HALF: u32 = 4;

/// A delay that has moved for so long, in nanoseconds and packets, has another route.
const ROUTE_NS: i64 = 2_000_000_000;
const ROUTE_PACKETS: u32 = 16;

/// A queue that stands for so long is what the flow has now: it is told, and noise is learned anew.
const STANDING_NS: i64 = 10_000_000_000;
const STANDING_PACKETS: u32 = 64;

/// Packets in a row with stamps worse than the flow's before those are what it has now.
const WORSE: u32 = 64;

/// Quiet packets after which those before them that have not come are not merely out of order.
const REORDERED: u32 = 8;

/// What is to be found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// `None`: found from noise.
    pub(super) threshold_ns: Option<u64>,
    pub(super) quiet_ns: i64,
}

/// One packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passage {
    /// When it left, or when it would have come in had there been no queue: on this host's clock, so
    /// `at + queue` where only the arrival is known.
    pub(super) at: Wall,
    /// Whether `at` is the arrival, and the queue is to be taken off.
    pub(super) is_arrival: bool,
    pub(super) delay_ns: i64,
    pub(super) seq: u64,
    pub(super) stamp: StampSource,
}

/// A burst that is over, or runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: Wall,
    pub(super) end: Wall,
    pub(super) peak_ns: u64,
    pub(super) sum_ns: u64,
    pub(super) received: u32,
    /// Received with stamps that say nothing.
    pub(super) skipped: u32,
    pub(super) base_ns: i64,
    pub(super) seqs: (u64, u64),
    pub(super) stamp: StampSource,
}

impl Span {
    fn new(at: Wall, over_ns: u64, passage: &Passage) -> Self {
        Self {
            start: at,
            end: at,
            peak_ns: over_ns,
            sum_ns: over_ns,
            received: 1,
            skipped: 0,
            base_ns: passage.delay_ns.saturating_sub_unsigned(over_ns),
            seqs: (passage.seq, passage.seq),
            stamp: passage.stamp,
        }
    }

    fn extend(&mut self, at: Wall, over_ns: u64, passage: &Passage, unsure: &mut Unsure) {
        let Unsure {
            sum_ns,
            received,
            skipped,
        } = std::mem::take(unsure);
        self.end = self.end.max(at);
        self.peak_ns = self.peak_ns.max(over_ns);
        self.sum_ns += sum_ns + over_ns;
        self.received += received + 1;
        self.skipped += skipped;
        self.seqs.0 = self.seqs.0.min(passage.seq);
        self.seqs.1 = self.seqs.1.max(passage.seq);
        self.stamp = self.stamp.min(passage.stamp);
    }
}

/// What a packet has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Began(Wall),
    Ended(Span),
    Route { old_ns: i64, new_ns: i64 },
    Threshold(u64),
}

/// What came since the last packet over half of the threshold, and may still be of the burst.
#[derive(Clone, Copy, Debug, Default)]
struct Unsure {
    sum_ns: u64,
    received: u32,
    skipped: u32,
}

#[derive(Clone, Copy, Debug)]
struct Active {
    span: Span,
    unsure: Unsure,
    least_ns: u64,
}

impl Active {
    /// Whether a quiet packet after `quiet_ns` of quiet may have overtaken others that are still of the burst.
    fn may_go_on(&self, seq: u64) -> bool {
        let came = self.unsure.received + self.unsure.skipped;
        let due = self.span.seqs.1 + u64::from(came);
        self.unsure.received < REORDERED && seq > due
    }
}

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub(super) struct Lane {
    base: Base,
    noise: Noise,
    threshold_ns: Option<u64>,
    stamp: Option<StampSource>,
    worse: u32,
    /// What is over half of the threshold, and how many of the last in a row are over all of it.
    rising: Option<Span>,
    over: u32,
    active: Option<Active>,
    /// Delays under the line: since when, how many, and the one that is closest to it.
    low: Option<(Wall, u32, i64)>,
}

impl Lane {
    /// A clock was set: no delay from before says anything of those to come.
    pub(super) fn step(&mut self) {
        self.base = Base::default();
        self.abandon();
    }

    fn abandon(&mut self) {
        self.rising = None;
        self.over = 0;
        self.active = None;
        self.low = None;
        self.noise.discard();
    }

    /// The burst that runs.
    pub(super) fn active(&self) -> Option<&Span> {
        self.active.as_ref().map(|active| &active.span)
    }

    /// The flow ends, and what runs with it.
    pub(super) fn close(&mut self) -> Option<Span> {
        self.active.take().map(|active| active.span)
    }

    /// One packet.
    pub(super) fn handle(&mut self, rules: Rules, passage: &Passage) -> Option<Found> {
        if !self.is_comparable(passage.stamp) {
            if let Some(active) = &mut self.active {
                active.unsure.skipped += 1;
            }
            return None;
        }
        let at_ns = passage.at.as_unix_nanos();
        if self.base.expire(at_ns) {
            self.abandon();
        }
        if !self.base.is_known() {
            self.base.take(at_ns, passage.delay_ns);
            return None;
        }
        let signed_ns = self.base.over(at_ns, passage.delay_ns);
        let over_ns = u64::try_from(signed_ns).unwrap_or(0);
        let at = if passage.is_arrival {
            passage.at.plus(-signed_ns.max(0))
        } else {
            passage.at
        };
        let Some(threshold_ns) = rules.threshold_ns.or(self.threshold_ns) else {
            return self.learn(rules, passage, over_ns);
        };
        if signed_ns < -i64::try_from(threshold_ns / 2).unwrap_or(i64::MAX) {
            return self.handle_low(at, passage, signed_ns);
        }
        self.low = None;
        if self.active.is_some() {
            return self.handle_active(rules, threshold_ns, (at, over_ns), passage);
        }
        self.handle_quiet(rules, threshold_ns, (at, over_ns), passage)
    }

    /// Delays by worse stamps than the flow has otherwise have the host in them.
    fn is_comparable(&mut self, stamp: StampSource) -> bool {
        match self.stamp {
            Some(usual) if stamp < usual => {
                self.worse += 1;
                if self.worse < WORSE {
                    return false;
                }
                *self = Self::default();
            }
            Some(usual) if stamp > usual => *self = Self::default(),
            _ => {}
        }
        self.stamp = Some(stamp);
        self.worse = 0;
        true
    }

    /// A packet of a quiet time.
    fn learn(&mut self, rules: Rules, passage: &Passage, over_ns: u64) -> Option<Found> {
        self.noise.take(over_ns);
        if !self.base.take(passage.at.as_unix_nanos(), passage.delay_ns) {
            return None;
        }
        self.threshold_ns = self.noise.threshold();
        rules
            .threshold_ns
            .or(self.threshold_ns)
            .map(Found::Threshold)
    }

    fn handle_quiet(
        &mut self,
        rules: Rules,
        threshold_ns: u64,
        (at, over_ns): (Wall, u64),
        passage: &Passage,
    ) -> Option<Found> {
        if over_ns <= threshold_ns / 2 {
            self.rising = None;
            self.over = 0;
            return self.learn(rules, passage, over_ns);
        }
        let is_over = over_ns > threshold_ns;
        let rising = match &mut self.rising {
            // It starts where it passes the threshold, if it does.
            Some(rising) if self.over > 0 || !is_over => {
                rising.extend(at, over_ns, passage, &mut Unsure::default());
                rising
            }
            rising => rising.insert(Span::new(at, over_ns, passage)),
        };
        self.over = if is_over { self.over + 1 } else { 0 };
        let wanted = if rules.threshold_ns.is_some() {
            1
        } else {
            OVER
        };
        let is_long = rules.threshold_ns.is_none() && rising.received >= OVER_HALF;
        if self.over < wanted && !is_long {
            return self.learn(rules, passage, over_ns);
        }
        let span = *rising;
        self.abandon();
        self.base.pass(passage.at.as_unix_nanos());
        self.active = Some(Active {
            span,
            unsure: Unsure::default(),
            least_ns: u64::MAX,
        });
        Some(Found::Began(span.start))
    }

    fn handle_active(
        &mut self,
        rules: Rules,
        threshold_ns: u64,
        (at, over_ns): (Wall, u64),
        passage: &Passage,
    ) -> Option<Found> {
        self.base.pass(passage.at.as_unix_nanos());
        let active = self.active.as_mut()?;
        let for_ns = at.since(active.span.start);
        let is_long_quiet = at.since(active.span.end) >= rules.quiet_ns;
        if over_ns > threshold_ns / 2 && is_long_quiet && active.unsure.received > 0 {
            // What is missing before it was lost: this is another one.
            let ended = self.close();
            self.over = u32::from(over_ns > threshold_ns);
            self.rising = Some(Span::new(at, over_ns, passage));
            return ended.map(Found::Ended);
        }
        if over_ns > threshold_ns / 2 {
            active.span.extend(at, over_ns, passage, &mut active.unsure);
        } else {
            active.unsure.sum_ns += over_ns;
            active.unsure.received += 1;
            if is_long_quiet && !active.may_go_on(passage.seq) {
                return self.close().map(Found::Ended);
            }
        }
        active.least_ns = active.least_ns.min(over_ns);
        let Active { span, least_ns, .. } = *active;
        let has_moved = for_ns >= ROUTE_NS && span.received >= ROUTE_PACKETS;
        let mean_ns = span.sum_ns / u64::from(span.received);
        let is_steady = mean_ns.saturating_sub(least_ns) <= self.noise.spread();
        if has_moved && least_ns > threshold_ns / 2 && is_steady {
            let by_ns = i64::try_from(least_ns).unwrap_or(i64::MAX);
            let old_ns = span.base_ns;
            self.abandon();
            self.base.shift(by_ns);
            return Some(Found::Route {
                old_ns,
                new_ns: old_ns.saturating_add(by_ns),
            });
        }
        if for_ns >= STANDING_NS && span.received >= STANDING_PACKETS {
            self.step();
            self.noise = Noise::default();
            self.threshold_ns = None;
            return Some(Found::Ended(span));
        }
        None
    }

    /// A delay far under what is the least: by another route, if it stays.
    fn handle_low(&mut self, at: Wall, passage: &Passage, signed_ns: i64) -> Option<Found> {
        self.base.pass(passage.at.as_unix_nanos());
        let ended = self.close();
        self.rising = None;
        self.over = 0;
        let (since, packets, least_ns) = self.low.unwrap_or((at, 0, 0));
        let least_ns = least_ns.min(signed_ns);
        self.low = Some((since, packets + 1, least_ns));
        if at.since(since) >= ROUTE_NS && packets >= ROUTE_PACKETS {
            self.low = None;
            self.base.shift(least_ns);
            let old_ns = passage.delay_ns.saturating_sub(signed_ns);
            return Some(Found::Route {
                old_ns,
                new_ns: old_ns.saturating_add(least_ns),
            });
        }
        ended.map(Found::Ended)
    }
}
