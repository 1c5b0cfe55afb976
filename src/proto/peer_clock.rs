//! What a peer's clock shows against ours, from the four stamps of each exchange.
//!
//! No exchange can take negative time, so each gives an upper and a lower bound for the difference
//! (`bounds`). While both clocks run at constant rates the difference is a straight line, so all
//! bounds of the last minutes together leave a narrow tube for it (`tube`). What comes out is the
//! middle of that tube and half of its width: an offset and an error that is certain, as far as the
//! rates were constant. `docs/design/clocks.md` has the picture.
//!
//! Real clocks are bent and set. Bends are met by forgetting the oldest bounds until a line passes
//! again. A jump is what no permitted rate explains; it takes two exchanges in a row that agree with
//! each other, so that one wrong stamp does no harm.

mod bounds;
mod tube;

#[cfg(test)]
mod tests;

use crate::limits::CLOCK_BINS;
use crate::proto::peer_clock::bounds::{Bounds, drift_ns};
use crate::proto::peer_clock::tube::{Lines, Point, Tube};
use crate::proto::sample::ClockEstimate;
use crate::proto::time::Mono;

/// A jump by less than this is forgotten like a bend, and not reported: daemons slew what is small.
const STEP_LEAST_NS: u64 = 1_000_000;

/// The shortest stretch that has bounds of its own; times the bins a hundred seconds, in which the
/// rate of a clock hardly changes and jitter averages out.
const BIN_NS_LEAST: u64 = 1_562_500_000;

/// An estimate is due this often.
const ESTIMATE_EVERY_NS: u64 = 1_000_000_000;

/// One request and its reply, stamped at both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    /// When the reply was received.
    pub(crate) at: Mono,
    /// T2 - T1: the request's delay plus what the peer's clock is ahead.
    pub(crate) forward_ns: i64,
    /// T4 - T3: the reply's delay less that.
    pub(crate) reverse_ns: i64,
    /// How long before `at` the request left, or longer: with the peer's turn-around in it, and with how
    /// long the reply waited to be read.
    pub(crate) took_ns: u64,
}

impl Exchange {
    /// How long it took. A length below the sum of its delays would be a caller's mistake, and
    /// costs no more than a looser bound.
    fn length_ns(&self) -> u64 {
        self.took_ns.max(self.round_trip_ns())
    }

    /// Without the turn-around; not less than 0.
    fn round_trip_ns(&self) -> u64 {
        let sum_ns = i128::from(self.forward_ns) + i128::from(self.reverse_ns);
        u64::try_from(sum_ns.max(0)).expect("two of 63 bits have a sum of 64")
    }

    /// The request had not left before this.
    fn began(&self) -> Mono {
        let ns = self.at.as_nanos().saturating_sub(self.length_ns());
        Mono::from_nanos(ns)
    }
}

/// What became of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It is in the estimate, or is of no use to it.
    Estimating,
    /// It contradicts all before it. Until the next one decides there is no estimate. Our own clock
    /// may be the one that was set: whoever can tell does so now, and calls `restart`.
    Suspicious,
    /// It is the second that does, and agrees with the first: the peer's clock was set by this many
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
    /// What all exchanges say together if nothing is known of the rates but their limits. A cheap
    /// and certain measure of what may come next; `None` before the first exchange.
    known: Option<Bounds>,
    /// The one that contradicts.
    suspect: Option<Exchange>,
    /// Exchanges that began before this are from before a step, in part or as a whole.
    since: Mono,
    estimated: Option<Mono>,
    /// Whether there was an exchange since the last estimate.
    has_news: bool,
}

impl PeerClock {
    /// For exchanges that come every `interval_ns`. The only one to allocate.
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

    /// Takes an exchange in. They may come in any order; one whose stamps cannot be right is passed
    /// over.
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

    /// Our own clock was set at `now`, or by then: nothing from before counts any more, also of the
    /// exchanges that are still under way.
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

    /// Whether an estimate is worth asking for: there is something new in it, and the last one is a
    /// second old.
    pub(crate) fn is_due(&self, now: Mono) -> bool {
        let is_time = self
            .estimated
            .is_none_or(|last| now.since(last) >= ESTIMATE_EVERY_NS);
        self.has_news && self.suspect.is_none() && is_time
    }

    /// What is known for the instant `now`: the peer's clock less ours is within `error_ns` of
    /// `offset_ns`. Further from the last exchange that error is larger. Takes some microseconds, so
    /// it is not for every probe.
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

    /// How far the clock went to get from where it was expected to where it is now; `None`: so
    /// little that it counts as a bend.
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

    /// The lines that fit the bins. Forgets the oldest bins while they stand in the way.
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
                // The lines hold from the last exchange on; before it, what the clocks may drift.
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

    /// The bins that count, the newest first.
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
    // One more for what the additions before rounded.
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

/// One bound of the difference, and the instant that it is for.
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

    /// Differences from a nearby instant and value: those fit a float to a fraction of a nanosecond.
    #[expect(clippy::cast_precision_loss, reason = "small unless it is of no use")]
    fn seen_from(self, at: Mono, reference_ns: i64) -> Point {
        Point {
            age: at.since(self.at) as f64,
            value: (i128::from(self.ns) - i128::from(reference_ns)) as f64,
        }
    }
}

/// The tightest bounds of one stretch of time. Each is true on its own, so it does not matter that
/// others were not kept.
#[derive(Clone, Copy, Debug)]
struct Bin {
    number: u64,
    high: Bound,
    low: Bound,
    round_trip_ns_min: u64,
}

impl Bin {
    /// No time has this number: a bin is longer than a second.
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
