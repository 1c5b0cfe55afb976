//! A window as it is kept for long: the same figures, and of its histograms only the buckets that have values.
//!
//! A bucket is the one of the `HdrHistogram` that every window has, by its place: 2,048 places a nanosecond wide, and
//! then 1,024 for each doubling. So windows that are kept so merge without any error, and a histogram that is made of
//! their sum is the one that all their values would have made.

use hdrhistogram::Histogram;

use crate::proto::StampSource;
use crate::record::histogram::{HISTOGRAM_NS_MAX, is_in_range, rank};
use crate::record::window::Window;

/// Places whose buckets are a nanosecond wide.
const EXACT: u64 = 2_048;

/// Places of one doubling.
const PER_DOUBLING: u64 = EXACT / 2;

/// The place of the last bucket.
pub(crate) const PLACE_MAX: u32 = place_of(HISTOGRAM_NS_MAX);

/// Returns the place of the bucket that has a value, from 0.
const fn place_of(value: u64) -> u32 {
    let value = if value > HISTOGRAM_NS_MAX {
        HISTOGRAM_NS_MAX
    } else {
        value
    };
    let place = if value < EXACT {
        value
    } else {
        // The bits below those that tell a bucket from the next one.
        let shift = value.ilog2() - PER_DOUBLING.ilog2();
        shift as u64 * PER_DOUBLING + (value >> shift)
    };
    #[expect(clippy::cast_possible_truncation, reason = "27 doublings have places")]
    let place = place as u32;
    place
}

/// Returns the least value of a bucket, and how many values from there on it has.
const fn bucket(place: u32) -> [u64; 2] {
    let place = place as u64;
    if place < EXACT {
        return [place, 1];
    }
    let shift = place / PER_DOUBLING - 1;
    let value = (place % PER_DOUBLING + PER_DOUBLING) << shift;
    [value, 1 << shift]
}

/// Returns the middle of a bucket, as the histogram's own `median_equivalent`.
pub(crate) const fn middle(place: u32) -> u64 {
    let [least, width] = bucket(place);
    least + width / 2
}

/// The buckets that have values, each with their number; they ascend.
pub(crate) type Buckets = Vec<(u32, u64)>;

/// A window to keep, or the sum of several; see the [module](self). Values are nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SparseWindow {
    pub(crate) sum: i128,
    pub(crate) min: i64,
    pub(crate) max: i64,
    /// Values so far below zero, and above it, that no histogram has them.
    pub(crate) below: u64,
    pub(crate) above: u64,
    /// The weakest of all values.
    pub(crate) stamp: StampSource,
    /// Values from zero up.
    pub(crate) positive: Buckets,
    /// Magnitudes of the values below zero.
    pub(crate) negative: Buckets,
}

impl SparseWindow {
    /// Takes the values of a window that has some.
    pub(crate) fn of(window: &Window) -> Self {
        let mut sparse = Self {
            sum: window.sum(),
            min: window.min(),
            max: window.max(),
            below: window.below,
            above: window.out_of_range() - window.below,
            stamp: window.stamp(),
            positive: Buckets::new(),
            negative: Buckets::new(),
        };
        let (mut positive, mut negative) = (Vec::new(), Vec::new());
        for value in window.kept().filter(|value| is_in_range(*value)) {
            let side = if value < 0 {
                &mut negative
            } else {
                &mut positive
            };
            side.push(place_of(value.unsigned_abs()));
        }
        for (buckets, mut places, histogram) in [
            (&mut sparse.positive, positive, &window.positive),
            (&mut sparse.negative, negative, &window.negative),
        ] {
            places.sort_unstable();
            for run in places.chunk_by(|one, other| one == other) {
                buckets.push((run[0], run.len() as u64));
            }
            if let Some(histogram) = histogram {
                add(buckets, &of_histogram(histogram));
            }
        }
        sparse
    }

    /// Takes these values, all of them in range.
    #[cfg(test)]
    pub(crate) fn of_values(values: &[i64], stamp: StampSource) -> Self {
        let sum = values.iter().map(|value| i128::from(*value)).sum();
        let of = |sign: i64| {
            let magnitudes = values.iter().map(|value| sign * value);
            let side = magnitudes.filter(|value| *value > 0 || (*value == 0 && sign > 0));
            let mut places: Vec<u32> = side.map(|value| place_of(value.unsigned_abs())).collect();
            places.sort_unstable();
            let runs = places.chunk_by(|one, other| one == other);
            runs.map(|run| (run[0], run.len() as u64)).collect()
        };
        Self {
            sum,
            min: values.iter().copied().min().unwrap_or(0),
            max: values.iter().copied().max().unwrap_or(0),
            below: 0,
            above: 0,
            stamp,
            positive: of(1),
            negative: of(-1),
        }
    }

    /// Adds the values of another one.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.sum = self.sum.saturating_add(other.sum);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.below = self.below.saturating_add(other.below);
        self.above = self.above.saturating_add(other.above);
        self.stamp = self.stamp.min(other.stamp);
        add(&mut self.positive, &other.positive);
        add(&mut self.negative, &other.negative);
    }

    /// Returns the number of values.
    pub(crate) fn count(&self) -> u64 {
        let sides = [&self.positive, &self.negative];
        let counts = sides.into_iter().flatten().map(|(_, count)| *count);
        counts.fold(self.below.saturating_add(self.above), u64::saturating_add)
    }

    /// Returns the value that the share `quantile` (0 to 1) of all values does not exceed, as
    /// [`Distribution::quantile`](super::Distribution::quantile).
    pub(crate) fn quantile(&self, quantile: f64) -> i64 {
        let rank = rank(quantile, self.count());
        let Some(mut left) = rank.checked_sub(self.below).filter(|left| *left > 0) else {
            return self.min;
        };
        let negative = self.negative.iter().rev().map(|one| (*one, -1));
        let positive = self.positive.iter().map(|one| (*one, 1));
        for ((place, count), sign) in negative.chain(positive) {
            if left <= count {
                let [least, width] = bucket(place);
                let value = i64::try_from(least + width - 1).unwrap_or(i64::MAX);
                return (sign * value).clamp(self.min, self.max);
            }
            left -= count;
        }
        self.max
    }

    /// Returns the buckets as signed values and their numbers, as a file of windows has them: the greatest magnitude
    /// of each.
    pub(crate) fn values(&self) -> impl Iterator<Item = (i64, u64)> {
        let sides = [(&self.positive, 1), (&self.negative, -1)];
        sides.into_iter().flat_map(|(buckets, sign)| {
            buckets.iter().map(move |(place, count)| {
                let [least, width] = bucket(*place);
                let value = i64::try_from(least + width - 1).unwrap_or(i64::MAX);
                (sign * value, *count)
            })
        })
    }
}

fn of_histogram(histogram: &Histogram<u32>) -> Buckets {
    let steps = histogram.iter_recorded();
    steps
        .map(|step| {
            (
                place_of(step.value_iterated_to()),
                step.count_at_value().into(),
            )
        })
        .collect()
}

/// Adds the second buckets to the first ones.
fn add(buckets: &mut Buckets, others: &[(u32, u64)]) {
    if others.is_empty() {
        return;
    }
    let mine = std::mem::take(buckets);
    buckets.reserve(mine.len() + others.len());
    let (mut mine, mut others) = (
        mine.into_iter().peekable(),
        others.iter().copied().peekable(),
    );
    loop {
        let next = match (mine.peek(), others.peek()) {
            (Some((one, _)), Some((other, _))) if one == other => {
                let more = others.next().map_or(0, |(_, count)| count);
                mine.next()
                    .map(|(place, count)| (place, count.saturating_add(more)))
            }
            (Some((one, _)), Some((other, _))) if one < other => mine.next(),
            (Some(_), None) => mine.next(),
            _ => others.next(),
        };
        match next {
            Some(bucket) => buckets.push(bucket),
            None => break,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::proto::{Labels, Wall};
    use crate::record::chunk::{Chunk, Supply};
    use crate::record::histogram::histogram;
    use crate::record::metrics::Metric;
    use crate::record::series::{Series, Tags};
    use crate::record::{Distribution, HISTOGRAM_DIGITS};

    struct Heap;

    impl Supply for Heap {
        fn chunk(&mut self, older: Option<Box<Chunk>>, base: i64) -> Box<Chunk> {
            Box::new(Chunk::new(older, base))
        }

        fn histogram(&mut self) -> Box<Histogram<u32>> {
            Box::new(histogram())
        }
    }

    fn window(values: &[i64]) -> Window {
        let labels = Arc::new(Labels::new("a", "b", &["isp:x"]));
        let series = Series {
            metric: Metric::named("udp.wan.owd").unwrap(),
            tags: Arc::new(Tags::Flow(labels)),
        };
        let mut window = Window::new(Arc::new(series), 0, Wall::from_unix_nanos(0));
        for value in values {
            window.record(*value, StampSource::Kernel, &mut Heap);
        }
        window.settle(&mut None);
        window
    }

    fn histogram_of(buckets: &Buckets) -> Histogram<u32> {
        let mut made = Histogram::new_with_bounds(1, HISTOGRAM_NS_MAX, HISTOGRAM_DIGITS).unwrap();
        for (place, count) in buckets {
            let count = u32::try_from(*count).unwrap();
            made.record_n(bucket(*place)[0], count).unwrap();
        }
        made
    }

    fn value() -> impl Strategy<Value = i64> {
        let range = i64::try_from(HISTOGRAM_NS_MAX).unwrap();
        prop_oneof![
            4 => 11_900_000..12_100_000_i64,
            2 => -range..=range,
            1 => -3_000..3_000_i64,
            1 => any::<i64>().prop_map(|value| value / 4),
        ]
    }

    proptest! {
        /// Whatever the windows are, their sum has the histogram and the figures of one window with all values.
        #[test]
        fn windows_that_are_rolled_up_are_the_window_of_all_values(
            parts in proptest::collection::vec(proptest::collection::vec(value(), 1..200), 1..6),
        ) {
            let mut sum: Option<SparseWindow> = None;
            for part in &parts {
                let one = SparseWindow::of(&window(part));
                match &mut sum {
                    Some(sum) => sum.merge(&one),
                    sum => *sum = Some(one),
                }
            }
            let (sum, whole) = (sum.unwrap(), window(&parts.concat()));
            let all = whole.distribution();
            prop_assert_eq!(all.positive(), &histogram_of(&sum.positive));
            let negative = all.negative().cloned();
            let negative = negative.unwrap_or_else(|| Histogram::new_from(all.positive()));
            prop_assert_eq!(&negative, &histogram_of(&sum.negative));
            prop_assert_eq!(
                (sum.count(), sum.sum, sum.min, sum.max, sum.below + sum.above),
                (whole.count(), whole.sum(), whole.min(), whole.max(), whole.out_of_range())
            );
            for quantile in [0.0, 0.01, 0.5, 0.9, 0.99, 0.999, 1.0] {
                prop_assert_eq!(sum.quantile(quantile), all.quantile(quantile));
            }
        }

        #[test]
        fn a_place_is_that_of_the_histogram(value in 0..=HISTOGRAM_NS_MAX) {
            let all: Histogram<u32> = histogram();
            let [least, width] = bucket(place_of(value));
            prop_assert_eq!(least, all.lowest_equivalent(value));
            prop_assert_eq!(least + width - 1, all.highest_equivalent(value));
            prop_assert_eq!(middle(place_of(value)), all.median_equivalent(value));
        }
    }

    /// Ten thousand values: most of them are in the window's own histogram.
    #[test]
    fn a_window_that_is_over_what_it_keeps_is_whole() {
        let values: Vec<i64> = (0..10_000)
            .map(|number| number * number * 37 % 90_000_000 - 5_000)
            .collect();
        let sparse = SparseWindow::of(&window(&values));
        let distribution: Distribution = window(&values).distribution();
        assert_eq!(distribution.positive(), &histogram_of(&sparse.positive));
        assert_eq!(
            distribution.negative(),
            Some(&histogram_of(&sparse.negative))
        );
        assert_eq!(sparse.count(), 10_000);
        assert_eq!(sparse.values().map(|(_, count)| count).sum::<u64>(), 10_000);
    }
}
