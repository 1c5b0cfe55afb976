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
    /// Returns a span of one probe, of which nothing is received.
    pub(super) const fn lost(at: Wall, seq: u64, stamp: StampSource) -> Self {
        Self {
            start: at,
            end: at,
            peak_ns: 0,
            sum_ns: 0,
            received: 0,
            skipped: 0,
            base_ns: 0,
            seqs: Seqs {
                first: seq,
                last: seq,
            },
            stamp,
        }
    }

    fn new(seen: &Seen<'_>) -> Self {
        let mut span = Self::lost(seen.at, seen.passage.seq, seen.passage.stamp);
        span.base_ns = seen.passage.delay_ns.saturating_sub_unsigned(seen.over_ns);
        span.extend(seen, Unsure::default());
        span
    }

    /// Takes a packet, and those before it that were not sure to belong to the burst.
    fn extend(&mut self, seen: &Seen<'_>, unsure: Unsure) {
        self.end = self.end.max(seen.at);
        self.peak_ns = self.peak_ns.max(seen.over_ns);
        self.sum_ns += unsure.sum_ns + seen.over_ns;
        self.received += unsure.received + 1;
        self.skipped += unsure.skipped;
        self.seqs.first = self.seqs.first.min(seen.passage.seq);
        self.seqs.last = self.seqs.last.max(seen.passage.seq);
        self.stamp = self.stamp.min(seen.passage.stamp);
    }
}

/// A packet beside the line.
struct Seen<'a> {
    passage: &'a Passage,
    /// When it left.
    at: Wall,
    over_ns: u64,
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
        self.sink();
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
        let queued_ns = if passage.is_arrival {
            signed_ns.max(0)
        } else {
            0
        };
        let seen = Seen {
            passage,
            at: passage.at.plus(-queued_ns),
            over_ns: u64::try_from(signed_ns).unwrap_or(0),
        };
        let Some(threshold_ns) = rules.threshold_ns.or(self.threshold_ns) else {
            return self.learn(rules, &seen);
        };
        if signed_ns < -i64::try_from(threshold_ns / 2).unwrap_or(i64::MAX) {
            return self.handle_low(&seen, signed_ns);
        }
        self.low = None;
        if self.active.is_some() {
            self.handle_active(rules, threshold_ns, &seen)
        } else {
            self.handle_quiet(rules, threshold_ns, &seen)
        }
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
    fn learn(&mut self, rules: Rules, seen: &Seen<'_>) -> Option<Found> {
        self.noise.take(seen.over_ns);
        if !self
            .base
            .take(seen.passage.at.as_unix_nanos(), seen.passage.delay_ns)
        {
            return None;
        }
        self.threshold_ns = self.noise.threshold();
        let threshold_ns = rules.threshold_ns.or(self.threshold_ns);
        threshold_ns.map(Found::Threshold)
    }

    fn handle_quiet(&mut self, rules: Rules, threshold_ns: u64, seen: &Seen<'_>) -> Option<Found> {
        if seen.over_ns <= threshold_ns / 2 {
            self.sink();
            return self.learn(rules, seen);
        }
        let is_over = seen.over_ns > threshold_ns;
        let rising = match &mut self.rising {
            // A burst that passes the threshold starts there.
            Some(rising) if self.over > 0 || !is_over => {
                rising.extend(seen, Unsure::default());
                rising
            }
            rising => rising.insert(Span::new(seen)),
        };
        self.over = if is_over { self.over + 1 } else { 0 };
        let is_burst = match rules.threshold_ns {
            Some(_) => is_over,
            None => self.over >= OVER || rising.received >= OVER_HALF,
        };
        if !is_burst {
            return self.learn(rules, seen);
        }
        let span = *rising;
        self.abandon();
        self.base.pass(seen.passage.at.as_unix_nanos());
        self.active = Some(Active {
            span,
            unsure: Unsure::default(),
            least_ns: u64::MAX,
        });
        Some(Found::Began(span.start))
    }

    fn handle_active(&mut self, rules: Rules, threshold_ns: u64, seen: &Seen<'_>) -> Option<Found> {
        self.base.pass(seen.passage.at.as_unix_nanos());
        let over_ns = seen.over_ns;
        let active = self.active.as_mut()?;
        let for_ns = seen.at.since(active.span.start);
        let is_long_quiet = seen.at.since(active.span.end) >= rules.quiet_ns;
        if over_ns > threshold_ns / 2 && is_long_quiet && active.unsure.received > 0 {
            // The packets between were quiet, so this packet begins another burst.
            let ended = self.close();
            self.over = u32::from(over_ns > threshold_ns);
            self.rising = Some(Span::new(seen));
            return ended.map(Found::Ended);
        }
        if over_ns > threshold_ns / 2 {
            let unsure = std::mem::take(&mut active.unsure);
            active.span.extend(seen, unsure);
        } else {
            active.unsure.sum_ns += over_ns;
            active.unsure.received += 1;
            if is_long_quiet && !active.may_go_on(seen.passage.seq) {
                return self.close().map(Found::Ended);
            }
        }
        active.least_ns = active.least_ns.min(over_ns);
        let Active { span, least_ns, .. } = *active;
        let has_moved = for_ns >= ROUTE_NS && span.received >= ROUTE_PACKETS;
        let mean_ns = span.sum_ns / u64::from(span.received);
        let is_steady = mean_ns.saturating_sub(least_ns) <= self.noise.spread();
        if has_moved && least_ns > threshold_ns / 2 && is_steady {
            self.abandon();
            return Some(self.move_line(span.base_ns, i64::try_from(least_ns).unwrap_or(i64::MAX)));
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
    fn handle_low(&mut self, seen: &Seen<'_>, signed_ns: i64) -> Option<Found> {
        self.base.pass(seen.passage.at.as_unix_nanos());
        let ended = self.close();
        self.sink();
        let low = self.low.get_or_insert(Low {
            since: seen.at,
            packets: 0,
            least_ns: 0,
        });
        low.packets += 1;
        low.least_ns = low.least_ns.min(signed_ns);
        if seen.at.since(low.since) < ROUTE_NS || low.packets <= ROUTE_PACKETS {
            return ended.map(Found::Ended);
        }
        let least_ns = low.least_ns;
        self.low = None;
        Some(self.move_line(seen.passage.delay_ns.saturating_sub(signed_ns), least_ns))
    }

    /// Moves the line, because the route has changed.
    fn move_line(&mut self, old_ns: i64, by_ns: i64) -> Found {
        self.base.shift(by_ns);
        let new_ns = old_ns.saturating_add(by_ns);
        Found::Route { old_ns, new_ns }
    }

    /// Forgets the packets that were rising: the last one was no part of a burst.
    const fn sink(&mut self) {
        self.rising = None;
        self.over = 0;
    }
}
