//! Estimates a peer's clock against ours, from the four stamps of each exchange.
//!
//! No exchange takes negative time, so each gives an upper and a lower bound of the difference
//! (`bounds`). While both clocks run at constant rates the difference is a straight line. So all
//! bounds of the last minutes together leave a narrow tube for it (`tube`). The offset is the
//! middle of that tube and the error half its width: certain, as far as the rates were constant.
//! `docs/design/clocks.md` has the picture.
//!
//! Real clocks change their rates and are set. After a change of rate, the oldest bounds are
//! forgotten until a line passes again. A jump is what no permitted rate explains. It takes two
//! exchanges in a row that agree with each other, so one wrong stamp does no harm.

mod bounds;
mod tube;

#[cfg(test)]
mod tests;

use crate::limits::CLOCK_BINS;
use crate::proto::peer_clock::bounds::{Bounds, drift_ns};
use crate::proto::peer_clock::tube::{Lines, Point, Tube};
use crate::proto::sample::ClockEstimate;
use crate::proto::time::Mono;

/// A smaller jump is forgotten like a bend and not reported: daemons slew small differences.
const STEP_LEAST_NS: u64 = 1_000_000;

/// The shortest time with bounds of its own. Times the bins it is a hundred seconds, in which a
/// clock's rate hardly changes and jitter averages out.
const BIN_NS_LEAST: u64 = 1_562_500_000;

/// The interval of estimates.
const ESTIMATE_EVERY_NS: u64 = 1_000_000_000;

/// One request and its reply, stamped at both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    /// When the reply was received.
    pub(crate) at: Mono,
    /// T2 - T1: the request's delay plus the lead of the peer's clock.
    pub(crate) forward_ns: i64,
    /// T4 - T3: the reply's delay less that lead.
    pub(crate) reverse_ns: i64,
    /// At least the time from the request's departure to `at`, with the peer's dwell and the time
    /// until the reply was read.
    pub(crate) took_ns: u64,
}

impl Exchange {
    /// Returns its length. If a caller gives less than the sum of the delays, this takes the sum,
    /// which costs no more than a looser bound.
    fn length_ns(&self) -> u64 {
        self.took_ns.max(self.round_trip_ns())
    }

    /// Returns the round trip without the dwell, at least 0.
    fn round_trip_ns(&self) -> u64 {
        let sum_ns = i128::from(self.forward_ns) + i128::from(self.reverse_ns);
        u64::try_from(sum_ns.max(0)).expect("two of 63 bits have a sum of 64")
    }

    /// Returns an instant before which the request had not left.
    fn began(&self) -> Mono {
        let ns = self.at.as_nanos().saturating_sub(self.length_ns());
        Mono::from_nanos(ns)
    }
}

/// The result of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It is in the estimate, or of no use to it.
    Estimating,
    /// It contradicts all before it. There is no estimate until the next one decides. Our own clock
    /// may have been set: a caller that knows so calls `restart` now.
    Suspicious,
    /// It is the second such one and agrees with the first. The peer's clock was set by this many
    /// nanoseconds; positive: forward.
    Stepped(i64),
}

/// The estimator for one peer.
#[derive(Clone, Debug)]
pub(crate) struct PeerClock {
    bins: Box<[Bin; CLOCK_BINS]>,
    bin_ns: u64,
    /// Bins before this one are forgotten.
    oldest: u64,
    /// No exchange is from a bin after this one.
    newest: u64,
    /// The end of the last exchange in the bins.
    latest: Mono,
    /// The common bounds of all exchanges, if only the limits of the rates are known. They are a
    /// cheap and certain measure of what may come next; `None` before the first exchange.
    known: Option<Bounds>,
    /// The exchange that contradicts.
    suspect: Option<Exchange>,
    /// Exchanges that began before this are, at least in part, from before a step.
    since: Mono,
    estimated: Option<Mono>,
    /// True after an exchange since the last estimate.
    has_news: bool,
}

impl PeerClock {
    /// Returns an estimator for one exchange every `interval_ns`. Only this allocates.
    pub(crate) fn new(interval_ns: u64) -> Self {
        Self {
            bins: Box::new([Bin::VACANT; CLOCK_BINS]),
            bin_ns: interval_ns.max(BIN_NS_LEAST),
            oldest: 0,
            newest: 0,
            latest: Mono::ZERO,
            known: None,
            suspect: None,
            since: Mono::ZERO,
            estimated: None,
            has_news: false,
        }
    }

    /// Takes an exchange, in any order. Ignores one whose stamps cannot be right.
    pub(crate) fn handle_exchange(&mut self, exchange: Exchange) -> Seen {
        let before = if self.suspect.is_some() {
            Seen::Suspicious
        } else {
            Seen::Estimating
        };
        let Some(bounds) = Bounds::of(&exchange) else {
            return before;
        };
        if exchange.began() < self.since {
            return before;
        }
        let Some(known) = self.known else {
            self.keep(&exchange, bounds, bounds);
            return Seen::Estimating;
        };
        if let Ok(both) = known.and(bounds) {
            self.suspect = None;
            self.keep(&exchange, bounds, both);
            return Seen::Estimating;
        }
        let first = self.suspect.replace(exchange);
        let first = first.and_then(|first| Some((first, Bounds::of(&first)?)));
        let Some((first, first_bounds)) = first else {
            return Seen::Suspicious;
        };
        let Ok(both) = first_bounds.and(bounds) else {
            return Seen::Suspicious;
        };
        let step_ns = self.step_to(known, first_bounds, both);
        self.restart(first.at.min(exchange.at));
        self.keep(&first, first_bounds, first_bounds);
        self.keep(&exchange, bounds, both);
        step_ns.map_or(Seen::Estimating, Seen::Stepped)
    }

    /// Discards all before `now`, because our own clock was set by then. This includes the
    /// exchanges still under way.
    pub(crate) fn restart(&mut self, now: Mono) {
        self.bins.fill(Bin::VACANT);
        self.oldest = 0;
        self.newest = 0;
        self.latest = Mono::ZERO;
        self.known = None;
        self.suspect = None;
        self.since = now;
        self.estimated = None;
        self.has_news = false;
    }

    /// True if an estimate is worth its cost: there is a new exchange, and the last estimate is a
    /// second old.
    pub(crate) fn is_due(&self, now: Mono) -> bool {
        let is_time = self
            .estimated
            .is_none_or(|last| now.since(last) >= ESTIMATE_EVERY_NS);
        self.has_news && self.suspect.is_none() && is_time
    }

    /// Estimates for the instant `now`: the peer's clock less ours is within `error_ns` of
    /// `offset_ns`. The error grows with the time since the last exchange. Takes some microseconds,
    /// too long for every probe.
    pub(crate) fn estimate(&mut self, now: Mono) -> Option<ClockEstimate> {
        if self.suspect.is_some() {
            return None;
        }
        self.estimated = Some(now);
        self.has_news = false;
        self.fit(now)
    }

    fn keep(&mut self, exchange: &Exchange, bounds: Bounds, known: Bounds) {
        self.known = Some(known);
        let number = exchange.at.as_nanos() / self.bin_ns;
        self.newest = self.newest.max(number);
        let span = CLOCK_BINS as u64 - 1;
        self.oldest = self.oldest.max(self.newest.saturating_sub(span));
        if number < self.oldest {
            return;
        }
        self.latest = self.latest.max(exchange.at);
        self.has_news = true;
        self.bins[slot_of(number)].take(number, bounds, exchange.round_trip_ns());
    }

    /// Returns how far the clock moved from its expected place; `None` if so little that it counts
    /// as a bend.
    fn step_to(&mut self, known: Bounds, first: Bounds, found: Bounds) -> Option<i64> {
        let apart_ns = known.and(first).err().max(known.and(found).err())?;
        if apart_ns < STEP_LEAST_NS {
            return None;
        }
        let expected_ns = match self.fit(found.at) {
            Some(estimate) => estimate.offset_ns,
            None => known.middle_ns(),
        };
        Some(found.middle_ns().saturating_sub(expected_ns))
    }

    /// Fits lines to the bins. Forgets the oldest bins while no line passes.
    fn fit(&mut self, now: Mono) -> Option<ClockEstimate> {
        let at = now.max(self.latest);
        loop {
            let reference_ns = self.filled().next()?.high.ns;
            let mut tube = Tube::new();
            let mut round_trip_ns_min = u64::MAX;
            let mut last = self.newest;
            for bin in self.filled() {
                tube.push(
                    bin.high.seen_from(at, reference_ns),
                    bin.low.seen_from(at, reference_ns),
                );
                round_trip_ns_min = round_trip_ns_min.min(bin.round_trip_ns_min);
                last = bin.number;
            }
            if let Some(lines) = tube.lines().filter(|lines| !tube.is_pinched(lines)) {
                // The lines hold from the last exchange on. Before it, the clocks may drift.
                let early_ns = drift_ns(at.since(now));
                return Some(estimate_of(
                    &lines,
                    reference_ns,
                    round_trip_ns_min,
                    early_ns,
                ));
            }
            self.bins[slot_of(last)] = Bin::VACANT;
            self.oldest = self.newest.min(last.saturating_add(1));
        }
    }

    /// Returns the bins that count, the newest first.
    fn filled(&self) -> impl Iterator<Item = &Bin> {
        (self.oldest..=self.newest)
            .rev()
            .map(|number| (number, &self.bins[slot_of(number)]))
            .filter(|(number, bin)| bin.number == *number)
            .map(|(_, bin)| bin)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "less than the bins")]
fn slot_of(number: u64) -> usize {
    (number % CLOCK_BINS as u64) as usize
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "rounded outwards, and a slope of a thousandth at most"
)]
fn estimate_of(
    lines: &Lines,
    reference_ns: i64,
    round_trip_ns_min: u64,
    early_ns: u64,
) -> ClockEstimate {
    // Adds one for the rounding of the additions before.
    let high_ns = i128::from(reference_ns) + lines.high.ceil() as i128 + 1;
    let low_ns = i128::from(reference_ns) + lines.low.floor() as i128 - 1;
    let offset_ns = (high_ns + low_ns).div_euclid(2);
    let error_ns = u64::try_from(high_ns - offset_ns).unwrap_or(u64::MAX);
    ClockEstimate {
        offset_ns: offset_ns.clamp(i64::MIN.into(), i64::MAX.into()) as i64,
        skew_ppb: (lines.slope_middle() * 1e9).round() as i64,
        error_ns: error_ns
            .saturating_add(early_ns)
            .max(round_trip_ns_min.div_ceil(2)),
    }
}

/// One bound of the difference, and its instant.
#[derive(Clone, Copy, Debug)]
struct Bound {
    at: Mono,
    ns: i64,
}

impl Bound {
    const NONE: Self = Self {
        at: Mono::ZERO,
        ns: 0,
    };

    /// Differences from a nearby instant and value fit a float to a fraction of a nanosecond.
    #[expect(clippy::cast_precision_loss, reason = "small unless it is of no use")]
    fn seen_from(self, at: Mono, reference_ns: i64) -> Point {
        Point {
            age: at.since(self.at) as f64,
            value: (i128::from(self.ns) - i128::from(reference_ns)) as f64,
        }
    }
}

/// The tightest bounds of one period. Each is true on its own, so the others need not be kept.
#[derive(Clone, Copy, Debug)]
struct Bin {
    number: u64,
    high: Bound,
    low: Bound,
    round_trip_ns_min: u64,
}

impl Bin {
    /// No time has this number, because a bin is longer than a second.
    const VACANT: Self = Self {
        number: u64::MAX,
        high: Bound::NONE,
        low: Bound::NONE,
        round_trip_ns_min: 0,
    };

    fn take(&mut self, number: u64, bounds: Bounds, round_trip_ns: u64) {
        let (at, high_ns, low_ns) = (bounds.at, bounds.high_ns, bounds.low_ns);
        if self.number != number {
            *self = Self {
                number,
                high: Bound { at, ns: high_ns },
                low: Bound { at, ns: low_ns },
                round_trip_ns_min: round_trip_ns,
            };
            return;
        }
        if high_ns < self.high.ns {
            self.high = Bound { at, ns: high_ns };
        }
        if low_ns > self.low.ns {
            self.low = Bound { at, ns: low_ns };
        }
        self.round_trip_ns_min = self.round_trip_ns_min.min(round_trip_ns);
    }
}
