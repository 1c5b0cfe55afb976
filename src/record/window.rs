//! All delays of one series in one flush interval.
//!
//! The first [`WINDOW_VALUES_MAX`] values are kept as they are. The next ones go to a histogram, and the flush
//! thread puts both together ([`Distribution`](super::Distribution)). The poll thread never moves kept values
//! into a histogram: all series would do so at once.
//!
//! A window of delays over their least (RFC 5481's PDV) knows the least only at its end. The delays may
//! contain hours of clock difference, which a histogram from 0 could not resolve. So its histogram counts from
//! the least of the kept values. [`Window::settle`] subtracts the least at the end, and moves the histogram by
//! as much as the least has fallen since.

use std::sync::Arc;

use hdrhistogram::Histogram;

use crate::limits::WINDOW_VALUES_MAX;
use crate::proto::{StampSource, Wall};
use crate::record::chunk::{CHUNK_VALUES, Chunk, Supply};
use crate::record::histogram::{HISTOGRAM_NS_MAX, histogram, is_in_range};
use crate::record::moments::Moments;
use crate::record::series::Series;

/// The memory of a window, for other windows to use.
pub(super) struct Parts {
    pub(super) chain: Option<Box<Chunk>>,
    pub(super) histograms: [Option<Box<Histogram<u32>>>; 2],
}

/// All delays of one series in one flush interval; in a `pdv` series over the least of them. Times are Unix
/// nanoseconds, values are nanoseconds.
#[derive(Clone, Debug)]
pub struct Window {
    filling: Filling,
    series: Arc<Series>,
    start: Wall,
    /// Those of the values not kept, until the flush thread adds the kept ones.
    moments: Moments,
    pub(super) positive: Option<Box<Histogram<u32>>>,
    pub(super) negative: Option<Box<Histogram<u32>>>,
    pub(super) below: u64,
    above: u64,
    /// What was subtracted from all values of a window over the least.
    subtracted: Option<i64>,
}

/// The part that every value touches. It fills one line of the processor's cache, because no cache holds all
/// windows.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Filling {
    generation: u64,
    end: Wall,
    newest: Option<Box<Chunk>>,
    /// The base of the newest chunk.
    base: i64,
    /// The place of the next value in that chunk.
    place: u32,
    /// How many more values may be kept. A chunk that ends early counts as a full one.
    room: usize,
    /// How often the clocks that are in its values had been set when it began.
    steps: u32,
    is_over_least: bool,
    /// The least of the kept values. The histograms of a window over the least count from it.
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
            steps: 0,
            is_over_least: false,
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
            // The value that begins a chunk is always kept.
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
            subtracted: None,
        }
    }

    /// Begins anew after [`Window::clear`] and [`Window::dismantle`].
    pub(super) fn begin(&mut self, series: Arc<Series>, generation: u64, start: Wall) {
        self.filling = Filling::new(generation, start);
        self.series = series;
        self.start = start;
        self.subtracted = None;
    }

    /// Marks this new window with the steps that it begins with, and maybe as one of delays over the least.
    pub(super) fn mark(&mut self, steps: u32, is_over_least: bool) {
        (self.filling.steps, self.filling.is_over_least) = (steps, is_over_least);
    }

    /// Returns the steps that it began with.
    pub(super) fn steps(&self) -> u32 {
        self.filling.steps
    }

    /// Forgets the values and keeps the memory. Runs on the flush thread.
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

    /// Takes the memory of a cleared window.
    pub(super) fn dismantle(&mut self) -> Parts {
        Parts {
            chain: self.filling.newest.take(),
            histograms: [self.positive.take(), self.negative.take()],
        }
    }

    /// Returns the generation of its sink that it belongs to.
    pub(super) const fn generation(&self) -> u64 {
        self.filling.generation
    }

    pub(super) fn set_end(&mut self, end: Wall) {
        self.filling.end = end;
    }

    /// Takes one value in nanoseconds. A kept value costs no more than this.
    pub(super) fn record(&mut self, value: i64, stamp: StampSource, supply: &mut impl Supply) {
        let filling = &mut self.filling;
        filling.stamp = filling.stamp.min(stamp);
        // For delays over the least, the end decides which are in range.
        if filling.room > 0 && (filling.is_over_least || is_in_range(value)) {
            filling.least = filling.least.min(value);
            return filling.keep(value, supply);
        }
        self.moments.add(value);
        self.record_in_histogram(value, supply);
    }

    fn record_in_histogram(&mut self, value: i64, supply: &mut impl Supply) {
        if self.filling.is_over_least && self.positive.is_none() {
            // A value below all others may come at any time, and must not allocate then.
            self.positive = Some(supply.histogram());
            self.negative = Some(supply.histogram());
        }
        let filling = &self.filling;
        let reference = if filling.is_over_least {
            filling.least
        } else {
            0
        };
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

    /// Adds the kept values to the figures, once, before any figure is read. Runs on the flush thread. In a window
    /// over the least, it also subtracts the least.
    ///
    /// Kept values are exact. Those in a histogram have three digits; in a window over the least they also have
    /// an error of a thousandth of how far the least has fallen since the first [`WINDOW_VALUES_MAX`] values.
    pub(super) fn settle(&mut self, spare: &mut Option<Box<Histogram<u32>>>) {
        let mut moments = std::mem::take(&mut self.moments);
        self.kept().for_each(|value| moments.add(value));
        self.moments = moments;
        if !std::mem::take(&mut self.filling.is_over_least) {
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
        self.subtracted = Some(least);
        if fallen > 0 {
            self.move_histograms(fallen, spare);
        }
    }

    /// Adds `by` to all values in histograms. None is negative after that.
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
            // The next window needs one spare; a second one stays with this window.
            if spare.is_none() {
                *spare = histogram;
            } else {
                self.negative = histogram;
            }
        }
        self.positive = Some(moved);
    }

    /// Returns the kept values, the latest chunk first.
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

    /// Returns the metric and the tags.
    pub fn series(&self) -> &Arc<Series> {
        &self.series
    }

    /// Returns when the interval began.
    pub fn start(&self) -> Wall {
        self.start
    }

    /// Returns when the interval ended.
    pub fn end(&self) -> Wall {
        self.filling.end
    }

    /// Returns the number of values.
    pub fn count(&self) -> u64 {
        self.moments.count
    }

    /// Returns the least value in nanoseconds, exactly.
    pub fn min(&self) -> i64 {
        self.moments.min
    }

    /// Returns the least delay of a window of delays over the least, in nanoseconds, exactly: what was subtracted from
    /// each. A one-way delay contains the difference of the two clocks. `None` of other windows, and of one that the
    /// flush thread has not settled yet.
    pub fn subtracted(&self) -> Option<i64> {
        self.subtracted
    }

    /// Returns the greatest value in nanoseconds, exactly.
    pub fn max(&self) -> i64 {
        self.moments.max
    }

    /// Returns the mean in nanoseconds, rounded.
    pub fn mean(&self) -> i64 {
        self.moments.mean()
    }

    /// Returns the sum of all values in nanoseconds, exactly.
    pub fn sum(&self) -> i128 {
        self.moments.total()
    }

    /// Returns the standard deviation of these values in nanoseconds, rounded. It is that of the values
    /// themselves, not an estimate for a population.
    pub fn stddev(&self) -> u64 {
        self.moments.stddev()
    }

    /// Returns the weakest stamp source of the values.
    pub fn stamp(&self) -> StampSource {
        self.filling.stamp
    }

    /// Returns the number of values over [`HISTOGRAM_NS_MAX`] in magnitude. They are in every figure, and in no
    /// histogram.
    pub fn out_of_range(&self) -> u64 {
        self.below + self.above
    }
}
