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
use crate::record::chunk::{CHUNK_VALUES, Chunk, Supply};
use crate::record::histogram::{HISTOGRAM_NS_MAX, histogram, is_in_range};
use crate::record::moments::Moments;
use crate::record::series::Series;

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
    pub(super) positive: Option<Box<Histogram<u32>>>,
    pub(super) negative: Option<Box<Histogram<u32>>>,
    pub(super) below: u64,
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

    fn keep(&mut self, value: i64, supply: &mut impl Supply) {
        let distance = value.checked_sub(self.base).map(i32::try_from);
        match distance {
            Some(Ok(distance)) if self.place < CHUNK_VALUES => self.put(distance),
            _ => {
                self.begin_chunk(value, supply);
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
    fn begin_chunk(&mut self, base: i64, supply: &mut impl Supply) {
        if let Some(chunk) = &mut self.newest {
            chunk.count = self.place;
            let left_free = (CHUNK_VALUES - self.place) as usize;
            // At least the value that it is begun for is kept.
            self.room = self.room.saturating_sub(left_free).max(1);
        }
        self.newest = Some(supply.chunk(self.newest.take(), base));
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
    pub(super) fn record(&mut self, value: i64, stamp: StampSource, supply: &mut impl Supply) {
        let filling = &mut self.filling;
        filling.stamp = filling.stamp.min(stamp);
        // What is in range of those over their least is known at the end.
        if filling.room > 0 && (filling.over_least.is_some() || is_in_range(value)) {
            filling.least = filling.least.min(value);
            return filling.keep(value, supply);
        }
        self.moments.add(value);
        self.record_in_histogram(value, supply);
    }

    fn record_in_histogram(&mut self, value: i64, supply: &mut impl Supply) {
        if self.filling.over_least.is_some() && self.positive.is_none() {
            // A value below all before it may come at any time, and that is no time to allocate.
            self.positive = Some(supply.histogram());
            self.negative = Some(supply.histogram());
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
            .get_or_insert_with(|| supply.histogram())
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
    pub(super) fn kept(&self) -> impl Iterator<Item = i64> {
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
}
