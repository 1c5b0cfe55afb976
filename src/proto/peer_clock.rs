//! Estimates a peer's clock against ours, from the four stamps of each exchange.
//!
//! No exchange takes negative time, so each gives an upper and a lower bound of the difference
//! (`bounds`). The bounds of one exchange hold whatever the clocks did before it began. The error
//! comes from the newest exchange alone, so it is certain.
//!
//! While both clocks run at constant rates the difference is a straight line, and all bounds of the
//! last minutes together leave a narrow tube for it (`tube`). The offset is the middle of that
//! tube: a much better guess than one exchange gives, but a guess. A step that is smaller than a
//! round trip contradicts no bound, and older bounds then hold the tube where the clock no longer
//! is. `docs/design/clocks.md` has the picture and the proof.
//!
//! Real clocks change their rates and are set. After a change of rate, the oldest bounds are
//! forgotten until a line passes again. A jump is what no permitted rate explains. It takes two
//! exchanges in a row that agree with each other, so one wrong stamp does no harm.

mod bounds;
mod tube;

#[cfg(test)]
mod tests;

use crate::limits::CLOCK_BINS;
use crate::proto::peer_clock::bounds::Bounds;
use crate::proto::peer_clock::tube::{Lines, Point, Tube};
use crate::proto::sample::ClockEstimate;
use crate::proto::time::Mono;

/// A smaller jump is forgotten like a bend and not reported: daemons slew small differences.
const STEP_LEAST_NS: u64 = 1_000_000;

/// The shortest time with bounds of its own. Times the bins it is a hundred seconds, in which a
/// clock's rate hardly changes and jitter averages out.
const BIN_NS_LEAST: u64 = 1_562_500_000;

/// The shortest interval of estimates. The longest is twice this, while exchanges come.
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

/// The bounds of one exchange, which nothing before it can make wrong.
#[derive(Clone, Copy, Debug)]
struct Certain {
    began: Mono,
    bounds: Bounds,
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
    /// Of the exchanges in the bins the one that began last.
    settled: Option<Certain>,
    /// A later one whose T3 is still to come.
    unsettled: Option<Certain>,
    /// The width of the narrowest bounds since the last estimate.
    least_ns: u64,
    /// The exchange that contradicts.
    suspect: Option<Certain>,
    /// Exchanges that began before this are, at least in part, from before a step.
    since: Mono,
    estimated: Option<Mono>,
    /// True after an exchange since the last estimate.
    has_news: bool,
}

impl PeerClock {
    /// Returns an estimator for one exchange every `interval_ns`. Only this allocates.
    #[cold]
    pub(crate) fn new(interval_ns: u64) -> Self {
        Self {
            bins: Box::new([Bin::VACANT; CLOCK_BINS]),
            bin_ns: interval_ns.max(BIN_NS_LEAST),
            oldest: 0,
            newest: 0,
            latest: Mono::ZERO,
            known: None,
            settled: None,
            unsettled: None,
            least_ns: u64::MAX,
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
        let Some(certain) = self.certain_of(&exchange) else {
            // Until the next one, what was known may be wrong as well.
            self.has_news = false;
            return before;
        };
        let Some(known) = self.known else {
            self.keep(certain, certain.bounds);
            return Seen::Estimating;
        };
        if let Ok(both) = known.and(certain.bounds) {
            self.suspect = None;
            self.keep(certain, both);
            return Seen::Estimating;
        }
        self.handle_contradiction(certain, known)
    }

    /// Takes an exchange that contradicts what is known.
    #[cold]
    fn handle_contradiction(&mut self, certain: Certain, known: Bounds) -> Seen {
        let Some(first) = self.suspect.replace(certain) else {
            return Seen::Suspicious;
        };
        let Ok(both) = first.bounds.and(certain.bounds) else {
            return Seen::Suspicious;
        };
        let step_ns = self.step_to(known, first.bounds, both);
        self.restart(first.bounds.at.min(certain.bounds.at));
        self.keep(first, first.bounds);
        self.keep(certain, both);
        step_ns.map_or(Seen::Estimating, Seen::Stepped)
    }

    /// Takes a reply whose T3 is still to come, with an earlier reading in its place. That makes a
    /// looser bound, and a newer one than the last exchange gives.
    pub(crate) fn handle_unsettled(&mut self, exchange: Exchange) {
        self.unsettled = self.certain_of(&exchange);
    }

    /// Returns the bounds that an exchange sets; `None` if it is of no use: one of its stamps is
    /// wrong, or it began before a step.
    fn certain_of(&self, exchange: &Exchange) -> Option<Certain> {
        let (bounds, began) = (Bounds::of(exchange)?, exchange.began());
        (began >= self.since).then_some(Certain { began, bounds })
    }

    /// Discards all before `now`, because our own clock was set by then. This includes the
    /// exchanges still under way.
    pub(crate) fn restart(&mut self, now: Mono) {
        self.bins.fill(Bin::VACANT);
        self.oldest = 0;
        self.newest = 0;
        self.latest = Mono::ZERO;
        self.known = None;
        self.settled = None;
        self.unsettled = None;
        self.least_ns = u64::MAX;
        self.suspect = None;
        self.since = now;
        self.estimated = None;
        self.has_news = false;
    }

    /// True if a second has gone by since the last estimate.
    pub(crate) fn is_time(&self, now: Mono) -> bool {
        self.estimated
            .is_none_or(|last| now.since(last) >= ESTIMATE_EVERY_NS)
    }

    /// True if an estimate is worth its cost: there is a new exchange, the last estimate is a
    /// second old, and the newest bounds are good ones.
    ///
    /// The error is that of the newest exchange, and the next one may be a faster one. So this
    /// waits for bounds nearly as narrow as the narrowest since the last estimate. It asks for less
    /// the longer it waits, and for nothing after another second.
    pub(crate) fn is_due(&self, now: Mono) -> bool {
        if !self.has_news || self.suspect.is_some() || !self.is_time(now) {
            return false;
        }
        let (Some(last), Some(certain)) = (self.estimated, self.certain(now)) else {
            return true;
        };
        let over_ns = now.since(last) - ESTIMATE_EVERY_NS;
        // An eighth more at first, twice as much at the end.
        let eighths = 9 + over_ns / (ESTIMATE_EVERY_NS / 8);
        over_ns >= ESTIMATE_EVERY_NS
            || u128::from(certain.width_ns()) * 8 <= u128::from(self.least_ns) * u128::from(eighths)
    }

    /// Estimates for the instant `now`: the peer's clock less ours is within `error_ns` of
    /// `offset_ns`. The error grows with the time since the last exchange. Takes some microseconds,
    /// too long for every probe.
    #[cold]
    pub(crate) fn estimate(&mut self, now: Mono) -> Option<ClockEstimate> {
        if self.suspect.is_some() {
            return None;
        }
        self.estimated = Some(now);
        self.has_news = false;
        self.least_ns = u64::MAX;
        let certain = self.certain(now)?;
        let fit = self.fit(now)?;
        // The clock is not where the tube is if the newest exchange excludes that.
        let offset_ns = fit.offset_ns.clamp(certain.low_ns, certain.high_ns);
        let error_ns = offset_ns
            .abs_diff(certain.low_ns)
            .max(offset_ns.abs_diff(certain.high_ns));
        Some(ClockEstimate {
            offset_ns,
            skew_ppb: fit.skew_ppb,
            error_ns,
        })
    }

    /// Returns the newest bounds, as they are at `now`.
    fn certain(&self, now: Mono) -> Option<Bounds> {
        let newest = self.settled?;
        let settled = newest.bounds.moved_to(now);
        let later = self
            .unsettled
            .filter(|later| later.began > newest.began)
            .map(|later| later.bounds.moved_to(now));
        Some(match later {
            Some(later) if later.width_ns() < settled.width_ns() || later.and(settled).is_err() => {
                later
            }
            _ => settled,
        })
    }

    fn keep(&mut self, exchange: Certain, known: Bounds) {
        self.known = Some(known);
        let bounds = exchange.bounds;
        let number = bounds.at.as_nanos() / self.bin_ns;
        self.newest = self.newest.max(number);
        let span = CLOCK_BINS as u64 - 1;
        self.oldest = self.oldest.max(self.newest.saturating_sub(span));
        if number < self.oldest {
            return;
        }
        self.latest = self.latest.max(bounds.at);
        self.has_news = true;
        self.least_ns = self.least_ns.min(bounds.width_ns());
        if self
            .settled
            .is_none_or(|newest| newest.began <= exchange.began)
        {
            self.settled = Some(exchange);
        }
        self.bins[slot_of(number)].take(number, bounds);
    }

    /// Returns how far the clock moved from its expected place; `None` if so little that it counts
    /// as a bend.
    fn step_to(&mut self, known: Bounds, first: Bounds, found: Bounds) -> Option<i64> {
        let apart_ns = known.and(first).err().max(known.and(found).err())?;
        if apart_ns < STEP_LEAST_NS {
            return None;
        }
        let expected_ns = match self.fit(found.at) {
            Some(fit) => fit.offset_ns,
            None => known.middle_ns(),
        };
        Some(found.middle_ns().saturating_sub(expected_ns))
    }

    /// Fits lines to the bins. Forgets the oldest bins while no line passes.
    fn fit(&mut self, now: Mono) -> Option<Fit> {
        let at = now.max(self.latest);
        loop {
            let reference_ns = self.filled().next()?.high.ns;
            let mut tube = Tube::new();
            let mut last = self.newest;
            for bin in self.filled() {
                tube.push(
                    bin.high.seen_from(at, reference_ns),
                    bin.low.seen_from(at, reference_ns),
                );
                last = bin.number;
            }
            if let Some(lines) = tube.lines().filter(|lines| !tube.is_pinched(lines)) {
                return Some(Fit::of(&lines, reference_ns));
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

/// The middle of the lines in a tube.
#[derive(Clone, Copy, Debug)]
struct Fit {
    offset_ns: i64,
    skew_ppb: i64,
}

impl Fit {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "within the range of stamps, and a slope of a thousandth at most"
    )]
    fn of(lines: &Lines, reference_ns: i64) -> Self {
        let middle = f64::midpoint(lines.low, lines.high).round() as i64;
        Self {
            offset_ns: reference_ns.saturating_add(middle),
            skew_ppb: (lines.slope_middle() * 1e9).round() as i64,
        }
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
}

impl Bin {
    /// No time has this number, because a bin is longer than a second.
    const VACANT: Self = Self {
        number: u64::MAX,
        high: Bound::NONE,
        low: Bound::NONE,
    };

    fn take(&mut self, number: u64, bounds: Bounds) {
        let (at, high_ns, low_ns) = (bounds.at, bounds.high_ns, bounds.low_ns);
        if self.number != number {
            *self = Self {
                number,
                high: Bound { at, ns: high_ns },
                low: Bound { at, ns: low_ns },
            };
            return;
        }
        if high_ns < self.high.ns {
            self.high = Bound { at, ns: high_ns };
        }
        if low_ns > self.low.ns {
            self.low = Bound { at, ns: low_ns };
        }
    }
}
