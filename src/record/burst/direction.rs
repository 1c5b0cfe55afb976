//! Finds bursts and changes of route in the one-way delays of one flow in one direction.

use crate::proto::{StampSource, Wall};
use crate::record::burst::base::Base;
use crate::record::burst::noise::Noise;

/// Packets in a row over the threshold, and over half of it, that begin a burst if the threshold comes from
/// noise. A single one is no burst: noise with a heavy tail has many.
const OVER: u32 = 2;
const OVER_HALF: u32 = 4;

/// Time in nanoseconds, and packets, for which a delay must have moved to be a change of route.
const ROUTE_NS: i64 = 2_000_000_000;
const ROUTE_PACKETS: u32 = 16;

/// Time in nanoseconds, and packets, after which a standing queue is what the flow has now. It is published, and
/// the noise is learned anew.
const STANDING_NS: i64 = 10_000_000_000;
const STANDING_PACKETS: u32 = 64;

/// Packets in a row with worse stamps, after which the flow is taken to have these.
const WORSE: u32 = 64;

/// Quiet packets after which a missing packet before them is lost and not merely late.
const REORDERED: u32 = 8;

/// What counts as a burst.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// `None`: it is found from noise.
    pub(super) threshold_ns: Option<u64>,
    pub(super) quiet_ns: i64,
}

/// One packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passage {
    /// When it left, on this host's clock. Where this host knows only its arrival: when it arrived.
    pub(super) at: Wall,
    /// True if `at` is the arrival: the queueing delay must be subtracted.
    pub(super) is_arrival: bool,
    pub(super) delay_ns: i64,
    pub(super) seq: u64,
    pub(super) stamp: StampSource,
}

/// The numbers of probes, from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seqs {
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Seqs {
    /// Returns the number of one probe.
    pub(super) const fn one(seq: u64) -> Self {
        Self {
            first: seq,
            last: seq,
        }
    }

    /// Returns how many there are.
    pub(super) const fn len(self) -> u64 {
        self.last - self.first + 1
    }

    /// True if a probe is among them.
    pub(super) const fn contains(self, seq: u64) -> bool {
        self.first <= seq && seq <= self.last
    }
}

/// A burst that is over, or that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: Wall,
    pub(super) end: Wall,
    pub(super) peak_ns: u64,
    pub(super) sum_ns: u64,
    pub(super) received: u32,
    /// Packets received with stamps that cannot be compared.
    pub(super) skipped: u32,
    pub(super) base_ns: i64,
    pub(super) seqs: Seqs,
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
            seqs: Seqs::one(passage.seq),
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
        self.seqs.first = self.seqs.first.min(passage.seq);
        self.seqs.last = self.seqs.last.max(passage.seq);
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

/// What arrived since the last packet over half of the threshold. It may still belong to the burst.
#[derive(Clone, Copy, Debug, Default)]
struct Unsure {
    sum_ns: u64,
    received: u32,
    skipped: u32,
}

/// Delays far under the line.
#[derive(Clone, Copy, Debug)]
struct Low {
    since: Wall,
    packets: u32,
    least_ns: i64,
}

#[derive(Clone, Copy, Debug)]
struct Active {
    span: Span,
    unsure: Unsure,
    least_ns: u64,
}

impl Active {
    /// True if a quiet packet after `quiet_ns` of quiet may have overtaken others that belong to the burst.
    fn may_go_on(&self, seq: u64) -> bool {
        let came = self.unsure.received + self.unsure.skipped;
        let due = self.span.seqs.last + u64::from(came);
        self.unsure.received < REORDERED && seq > due
    }
}

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub(super) struct DirectionDetector {
    base: Base,
    noise: Noise,
    threshold_ns: Option<u64>,
    stamp: Option<StampSource>,
    worse: u32,
    /// The packets over half of the threshold, and how many of the last in a row are over all of it.
    rising: Option<Span>,
    over: u32,
    active: Option<Active>,
    low: Option<Low>,
}

impl DirectionDetector {
    /// Forgets the line, because a clock was set: the delays before it say nothing of those after it.
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

    /// Returns the burst that runs.
    pub(super) fn active(&self) -> Option<&Span> {
        self.active.as_ref().map(|active| &active.span)
    }

    /// Ends the burst that runs, because the flow ends.
    pub(super) fn close(&mut self) -> Option<Span> {
        self.active.take().map(|active| active.span)
    }

    /// Takes one packet. Returns what it shows.
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
            return self.handle_active(rules, threshold_ns, at, over_ns, passage);
        }
        self.handle_quiet(rules, threshold_ns, at, over_ns, passage)
    }

    /// True if the packet's stamps are as good as the flow's usual ones. With worse stamps, the delay contains
    /// the host's own.
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

    /// Takes a packet of a quiet time.
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
        at: Wall,
        over_ns: u64,
        passage: &Passage,
    ) -> Option<Found> {
        if over_ns <= threshold_ns / 2 {
            self.rising = None;
            self.over = 0;
            return self.learn(rules, passage, over_ns);
        }
        let is_over = over_ns > threshold_ns;
        let rising = match &mut self.rising {
            // A burst that passes the threshold starts there.
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
        at: Wall,
        over_ns: u64,
        passage: &Passage,
    ) -> Option<Found> {
        self.base.pass(passage.at.as_unix_nanos());
        let active = self.active.as_mut()?;
        let for_ns = at.since(active.span.start);
        let is_long_quiet = at.since(active.span.end) >= rules.quiet_ns;
        if over_ns > threshold_ns / 2 && is_long_quiet && active.unsure.received > 0 {
            // The packets between were quiet, so this packet begins another burst.
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

    /// Takes a delay far under the line. If the delay stays there, the route has changed.
    fn handle_low(&mut self, at: Wall, passage: &Passage, signed_ns: i64) -> Option<Found> {
        self.base.pass(passage.at.as_unix_nanos());
        let ended = self.close();
        self.rising = None;
        self.over = 0;
        let low = self.low.get_or_insert(Low {
            since: at,
            packets: 0,
            least_ns: 0,
        });
        let packets = low.packets;
        low.packets += 1;
        low.least_ns = low.least_ns.min(signed_ns);
        let Low {
            since, least_ns, ..
        } = *low;
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
