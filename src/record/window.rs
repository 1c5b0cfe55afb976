//! All delays of one series in one flush interval.
//!
//! Few values are kept as they are; once there are [`WINDOW_VALUES_MAX`] the next ones go to a
//! histogram, and the flush thread puts both together ([`Distribution`]). Nothing is ever poured
//! from one into the other on the poll thread: series of one interval would all do so at once.
//!
//! A window of delays over their least (RFC 5481's PDV) knows that only at its end, and the delays may
//! contain hours of clock difference, of which a histogram would show nothing but the hours. It keeps
//! them as they are; the histogram counts from the least of those kept ([`Window::settle`] takes the
//! least away, and moves the histogram by as much as that has fallen since).

use std::sync::Arc;

use hdrhistogram::Histogram;

use crate::limits::WINDOW_VALUES_MAX;
use crate::proto::{StampSource, Wall};
use crate::record::item::Series;
use crate::record::pool::{CHUNK_VALUES, Chunk, Pool};

/// The largest magnitude that histograms hold: a minute, in nanoseconds.
pub const HISTOGRAM_NS_MAX: u64 = 60_000_000_000;

/// Significant decimal digits of the histograms.
pub const HISTOGRAM_DIGITS: u8 = 3;

/// An empty histogram with the bounds that all of them have, so that they merge.
pub(super) fn histogram() -> Histogram<u32> {
    Histogram::new_with_bounds(1, HISTOGRAM_NS_MAX, HISTOGRAM_DIGITS)
        .expect("the bounds are constants and allowed")
}

/// Exact figures over every value, whatever its sign and size.
///
/// Values are summed as distances from the first one, which keeps the squares small however far
/// apart two hosts' clocks are.
#[derive(Clone, Debug, Default)]
struct Moments {
    count: u64,
    first: i64,
    min: i64,
    max: i64,
    sum: i128,
    squares: u128,
    /// How often `squares` has wrapped, which takes clocks that are a century apart.
    wraps: u32,
}

impl Moments {
    fn add(&mut self, value: i64) {
        if self.count == 0 {
            (self.first, self.min, self.max) = (value, value, value);
        }
        self.count += 1;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.sum += i128::from(value) - i128::from(self.first);
        let distance = u128::from(value.abs_diff(self.first));
        let (squares, has_wrapped) = self.squares.overflowing_add(distance * distance);
        self.squares = squares;
        self.wraps += u32::from(has_wrapped);
    }

    /// Take the least value away from all of them.
    fn lower_to_zero(&mut self) {
        self.first = self.first.saturating_sub(self.min);
        self.max = self.max.saturating_sub(self.min);
        self.min = 0;
    }

    fn total(&self) -> i128 {
        i128::from(self.first) * i128::from(self.count) + self.sum
    }

    fn mean(&self) -> i64 {
        let count = i128::from(self.count.max(1));
        // Rounded to the nearest, halves upwards.
        let above_first = (2 * self.sum + count).div_euclid(2 * count);
        let mean = i128::from(self.first) + above_first;
        // A mean lies between two values of its type, unless they were centuries over their least.
        i64::try_from(mean).unwrap_or(i64::MAX)
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a standard deviation of more than 53 bits has digits to spare"
    )]
    fn stddev(&self) -> u64 {
        if self.count == 0 {
            return 0;
        }
        let count = u128::from(self.count);
        let sum = self.sum.unsigned_abs();
        // In whole numbers nothing cancels; only values of many years take the other way.
        let spread = match (self.squares.checked_mul(count), sum.checked_mul(sum)) {
            (Some(squares), Some(square)) if self.wraps == 0 => {
                squares.saturating_sub(square) as f64
            }
            _ => {
                let squares = self.squares as f64 + f64::from(self.wraps) * 2.0_f64.powi(128);
                (squares * count as f64 - (sum as f64).powi(2)).max(0.0)
            }
        };
        (spread.sqrt() / count as f64).round() as u64
    }
}

/// The memory of a window, to be used by others.
pub(super) struct Parts {
    pub(super) chain: Option<Box<Chunk>>,
    pub(super) histograms: [Option<Box<Histogram<u32>>>; 2],
}

/// All delays of one series in one flush interval; those of a `pdv` series over the least of them. Times
/// are Unix nanoseconds, values nanoseconds.
#[derive(Clone, Debug)]
pub struct Window {
    filling: Filling,
    series: Arc<Series>,
    start: Wall,
    /// Of those not kept, until the flush thread adds those that are.
    moments: Moments,
    positive: Option<Box<Histogram<u32>>>,
    negative: Option<Box<Histogram<u32>>>,
    below: u64,
    above: u64,
}

/// What every value touches: one line of the processor's cache, of windows that no cache holds all of.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Filling {
    generation: u64,
    end: Wall,
    newest: Option<Box<Chunk>>,
    /// Of the newest chunk.
    base: i64,
    /// The next value's place in that chunk.
    place: u32,
    /// Values that may still be kept. A chunk that is left early counts as a full one.
    room: usize,
    /// If its least value is to be taken away from all: how often the clocks had been set when it began.
    over_least: Option<u32>,
    /// The least of the values kept: if so, what its histograms count from.
    least: i64,
    stamp: StampSource,
}

const _: () = assert!(size_of::<Filling>() == 64, "one line of the cache");

impl Filling {
    const fn new(generation: u64, start: Wall) -> Self {
        Self {
            generation,
            end: start,
            newest: None,
            base: 0,
            place: CHUNK_VALUES,
            room: WINDOW_VALUES_MAX,
            over_least: None,
            least: i64::MAX,
            stamp: StampSource::Hw,
        }
    }

    fn keep(&mut self, value: i64, pool: &mut Pool) {
        let distance = value.checked_sub(self.base).map(i32::try_from);
        match distance {
            Some(Ok(distance)) if self.place < CHUNK_VALUES => self.put(distance),
            _ => {
                self.begin_chunk(value, pool);
                self.put(0);
            }
        }
    }

    fn put(&mut self, distance: i32) {
        if let Some(chunk) = &mut self.newest {
            chunk.distances[self.place as usize] = distance;
            self.place += 1;
            self.room -= 1;
        }
    }

    #[cold]
    #[inline(never)]
    fn begin_chunk(&mut self, base: i64, pool: &mut Pool) {
        if let Some(chunk) = &mut self.newest {
            chunk.count = self.place;
            let left_free = (CHUNK_VALUES - self.place) as usize;
            // At least the value that it is begun for is kept.
            self.room = self.room.saturating_sub(left_free).max(1);
        }
        self.newest = Some(pool.chunk(self.newest.take(), base));
        (self.base, self.place) = (base, 0);
    }
}

impl Window {
    pub(super) fn new(series: Arc<Series>, generation: u64, start: Wall) -> Self {
        Self {
            filling: Filling::new(generation, start),
            series,
            start,
            moments: Moments::default(),
            positive: None,
            negative: None,
            below: 0,
            above: 0,
        }
    }

    /// Begin anew after [`Window::clear`] and [`Window::dismantle`].
    pub(super) fn begin(&mut self, series: Arc<Series>, generation: u64, start: Wall) {
        self.filling = Filling::new(generation, start);
        self.series = series;
        self.start = start;
    }

    /// The values of this new window are to be those over their least.
    pub(super) fn begin_over_least(&mut self, steps: u32) {
        self.filling.over_least = Some(steps);
    }

    /// What it was begun with, if its values are those over their least.
    pub(super) fn steps(&self) -> u32 {
        self.filling.over_least.unwrap_or(0)
    }

    /// Forget the values, in the flush thread's time; the memory stays.
    pub(super) fn clear(&mut self) {
        self.moments = Moments::default();
        (self.below, self.above) = (0, 0);
        for histogram in [&mut self.positive, &mut self.negative]
            .into_iter()
            .flatten()
        {
            histogram.reset();
        }
    }

    /// The memory of a cleared window.
    pub(super) fn dismantle(&mut self) -> Parts {
        Parts {
            chain: self.filling.newest.take(),
            histograms: [self.positive.take(), self.negative.take()],
        }
    }

    /// Which window of its sink this is.
    pub(super) const fn generation(&self) -> u64 {
        self.filling.generation
    }

    pub(super) fn set_end(&mut self, end: Wall) {
        self.filling.end = end;
    }

    /// Take in one value, in nanoseconds. While values are kept that is all there is to do.
    pub(super) fn record(&mut self, value: i64, stamp: StampSource, pool: &mut Pool) {
        let filling = &mut self.filling;
        filling.stamp = filling.stamp.min(stamp);
        // What is in range of those over their least is known at the end.
        if filling.room > 0 && (filling.over_least.is_some() || is_in_range(value)) {
            filling.least = filling.least.min(value);
            return filling.keep(value, pool);
        }
        self.moments.add(value);
        self.record_in_histogram(value, pool);
    }

    fn record_in_histogram(&mut self, value: i64, pool: &mut Pool) {
        if self.filling.over_least.is_some() && self.positive.is_none() {
            // A value below all before it may come at any time, and that is no time to allocate.
            self.positive = Some(pool.histogram());
            self.negative = Some(pool.histogram());
        }
        let reference = self.filling.over_least.map_or(0, |_| self.filling.least);
        let value = value.saturating_sub(reference);
        let histogram = match (is_in_range(value), value < 0) {
            (true, false) => &mut self.positive,
            (true, true) => &mut self.negative,
            (false, false) => return self.above += 1,
            (false, true) => return self.below += 1,
        };
        histogram
            .get_or_insert_with(|| pool.histogram())
            .saturating_record(value.unsigned_abs());
    }

    /// Take the values that were kept into the figures, in the flush thread's time; once, before any figure is
    /// read. If the values are to be those over their least, make them so.
    ///
    /// Those are exact but for those in a histogram, which have three digits, and an error of a
    /// thousandth of how far the least has fallen since the first [`WINDOW_VALUES_MAX`] values.
    pub(super) fn settle(&mut self, spare: &mut Option<Box<Histogram<u32>>>) {
        let mut moments = std::mem::take(&mut self.moments);
        self.kept().for_each(|value| moments.add(value));
        self.moments = moments;
        if self.filling.over_least.take().is_none() {
            return;
        }
        let least = self.moments.min;
        self.moments.lower_to_zero();
        let mut chunk = self.filling.newest.as_deref_mut();
        while let Some(one) = chunk {
            one.base = one.base.saturating_sub(least);
            chunk = one.older.as_deref_mut();
        }
        if self.moments.max.unsigned_abs() > HISTOGRAM_NS_MAX {
            self.above += self.kept().filter(|value| !is_in_range(*value)).count() as u64;
        }
        let fallen = self.filling.least.abs_diff(least);
        if fallen > 0 {
            self.move_histograms(fallen, spare);
        }
    }

    /// Add so much to all values that are in histograms; none is negative after that.
    fn move_histograms(&mut self, by: u64, spare: &mut Option<Box<Histogram<u32>>>) {
        let histograms = [self.positive.take(), self.negative.take()];
        if histograms.iter().all(Option::is_none) {
            return;
        }
        let mut moved = spare.take().unwrap_or_else(|| Box::new(histogram()));
        for (mut histogram, is_positive) in histograms.into_iter().zip([true, false]) {
            let Some(old) = &mut histogram else { continue };
            for step in old.iter_recorded() {
                let value = old.median_equivalent(step.value_iterated_to());
                let value = if is_positive {
                    value.saturating_add(by)
                } else {
                    by.saturating_sub(value)
                };
                let count = step.count_at_value();
                if value > HISTOGRAM_NS_MAX {
                    self.above += u64::from(count);
                } else {
                    moved.saturating_record_n(value, count);
                }
            }
            old.reset();
            // One is the next window's; a second one goes on with this window's memory.
            if spare.is_none() {
                *spare = histogram;
            } else {
                self.negative = histogram;
            }
        }
        self.positive = Some(moved);
    }

    /// The values kept as they are, the latest chunk of them first.
    fn kept(&self) -> impl Iterator<Item = i64> {
        let mut chunk = self.filling.newest.as_deref();
        let mut count = self.filling.place;
        let chunks = std::iter::from_fn(move || {
            let values = chunk?.values(count);
            chunk = chunk?.older.as_deref();
            count = chunk.map_or(0, |older| older.count);
            Some(values)
        });
        chunks.flatten()
    }

    /// The metric and the tags.
    pub fn series(&self) -> &Arc<Series> {
        &self.series
    }

    /// When the interval began.
    pub fn start(&self) -> Wall {
        self.start
    }

    /// When the interval ended.
    pub fn end(&self) -> Wall {
        self.filling.end
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.moments.count
    }

    /// The least value in nanoseconds, exactly.
    pub fn min(&self) -> i64 {
        self.moments.min
    }

    /// The greatest value in nanoseconds, exactly.
    pub fn max(&self) -> i64 {
        self.moments.max
    }

    /// The mean in nanoseconds, rounded.
    pub fn mean(&self) -> i64 {
        self.moments.mean()
    }

    /// The sum of all values in nanoseconds, exactly.
    pub fn sum(&self) -> i128 {
        self.moments.total()
    }

    /// The standard deviation of these values (not an estimate of others'), in nanoseconds, rounded.
    pub fn stddev(&self) -> u64 {
        self.moments.stddev()
    }

    /// The weakest of what made the values' stamps.
    pub fn stamp(&self) -> StampSource {
        self.filling.stamp
    }

    /// Values whose magnitude passes [`HISTOGRAM_NS_MAX`]: in every figure, in no histogram.
    pub fn out_of_range(&self) -> u64 {
        self.below + self.above
    }

    /// Its histograms and quantiles. Costs a histogram; [`Distribution::load`] uses one again.
    pub fn distribution(&self) -> Distribution {
        let mut distribution = Distribution::new();
        distribution.load(self);
        distribution
    }
}

const fn is_in_range(value: i64) -> bool {
    value.unsigned_abs() <= HISTOGRAM_NS_MAX
}

/// The histograms of one window, one of each sign, and the quantiles over both.
#[derive(Clone, Debug)]
pub struct Distribution {
    positive: Histogram<u32>,
    negative: Histogram<u32>,
    below: u64,
    count: u64,
    min: i64,
    max: i64,
}

impl Default for Distribution {
    fn default() -> Self {
        Self::new()
    }
}

impl Distribution {
    /// An empty one, for [`Distribution::load`].
    pub fn new() -> Self {
        Self {
            positive: histogram(),
            negative: histogram(),
            below: 0,
            count: 0,
            min: 0,
            max: 0,
        }
    }

    /// Take on the values of a window instead of those before.
    pub fn load(&mut self, window: &Window) {
        for (mine, theirs) in [
            (&mut self.positive, &window.positive),
            (&mut self.negative, &window.negative),
        ] {
            if !mine.is_empty() {
                mine.reset();
            }
            if let Some(theirs) = theirs {
                mine.add(&**theirs).expect("all histograms have one range");
            }
        }
        for value in window.kept().filter(|value| is_in_range(*value)) {
            let histogram = if value < 0 {
                &mut self.negative
            } else {
                &mut self.positive
            };
            histogram.saturating_record(value.unsigned_abs());
        }
        self.below = window.below;
        self.count = window.count();
        (self.min, self.max) = (window.min(), window.max());
    }

    /// The values from zero up.
    pub fn positive(&self) -> &Histogram<u32> {
        &self.positive
    }

    /// The magnitudes of the values below zero, if there are any.
    pub fn negative(&self) -> Option<&Histogram<u32>> {
        (!self.negative.is_empty()).then_some(&self.negative)
    }

    /// How many values lie so far below zero that they are in no histogram.
    pub const fn below(&self) -> u64 {
        self.below
    }

    /// The value in nanoseconds that the share `quantile` (0 to 1) of all values does not exceed,
    /// to three digits; where it falls among values out of range, the least or the greatest.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a window has far fewer than 2^53 values"
    )]
    pub fn quantile(&self, quantile: f64) -> i64 {
        let rank = ((quantile * self.count as f64).ceil() as u64).clamp(1, self.count.max(1));
        let Some(rank) = rank.checked_sub(self.below).filter(|&rank| rank > 0) else {
            return self.min;
        };
        let negatives = self.negative.len();
        let value = if rank <= negatives {
            // The first of the negatives is the one of the greatest magnitude.
            -value_at_rank(&self.negative, negatives + 1 - rank)
        } else if rank - negatives <= self.positive.len() {
            value_at_rank(&self.positive, rank - negatives)
        } else {
            self.max
        };
        value.clamp(self.min, self.max)
    }
}

/// The value that is the `rank`th of a histogram, from 1.
#[expect(
    clippy::cast_precision_loss,
    reason = "a window has far fewer than 2^53 values"
)]
fn value_at_rank(histogram: &Histogram<u32>, rank: u64) -> i64 {
    // Half a rank below: whichever way this rounds, the histogram rounds it up to the rank meant.
    let quantile = (rank as f64 - 0.5) / histogram.len() as f64;
    i64::try_from(histogram.value_at_quantile(quantile)).unwrap_or(i64::MAX)
}
