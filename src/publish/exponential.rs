//! Histograms with exponential buckets: those of OTLP, and the native ones of Prometheus.
//!
//! Both have the same bounds. At scale `s` (OTLP's word; Prometheus says schema) neighbouring bounds differ by the
//! factor `2^(2^-s)`, and one of them is 1 second. A bucket's upper bound belongs to it, its lower bound does not;
//! negative values lie in buckets of their own, by their magnitude. An index here is OTLP's: bucket `i` has the
//! values in `(2^(i / 2^s), 2^((i + 1) / 2^s)]` seconds. Prometheus names that bucket by its upper bound, `i + 1`.

use std::collections::BTreeMap;

use crate::record::{Distribution, Window};

/// How fine the buckets are. Both protocols can have these: Prometheus no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scale(i8);

impl Scale {
    /// The coarsest: bounds differ by the factor 65,536.
    pub const MIN: Self = Self(-4);

    /// The finest: a bucket is 0.27 % wide. The histograms of windows are not much finer.
    pub const MAX: Self = Self(8);

    /// A bucket is 2.2 % wide: who takes the middle of it is wrong by 1.1 % at most.
    pub const DEFAULT: Self = Self(5);

    /// The scale of this number; `None` outside [`Scale::MIN`] to [`Scale::MAX`].
    pub const fn new(number: i8) -> Option<Self> {
        if number < Self::MIN.0 || number > Self::MAX.0 {
            return None;
        }
        Some(Self(number))
    }

    /// The number.
    pub const fn number(self) -> i8 {
        self.0
    }

    /// Returns how often the finest buckets are merged in pairs to come here.
    const fn steps_from_finest(self) -> u8 {
        self.0.abs_diff(Self::MAX.0)
    }

    /// Returns the index of the bucket of a magnitude above 0, in nanoseconds.
    fn index(self, magnitude_ns: u64) -> i32 {
        finest_index(magnitude_ns) >> self.steps_from_finest()
    }

    /// Returns the upper bound of a bucket in seconds. It belongs to the bucket.
    pub fn upper_bound(self, index: i32) -> f64 {
        f64::exp2((f64::from(index) + 1.0) * f64::exp2(f64::from(-self.0)))
    }
}

/// Bits behind the point of [`BOUNDS`].
const FRACTION_BITS: i32 = 63;

/// Buckets between a bound and its double, at the finest scale.
const PER_OCTAVE: usize = 1 << Scale::MAX.0;

/// One second.
const SECOND_NS: u64 = 1_000_000_000;

/// The lower bounds of the buckets from 1 to 2 seconds at the finest scale, in nanoseconds, with [`FRACTION_BITS`] of
/// a fraction. The first one is exact. The others are irrational, and their error is under a millionth of a
/// nanosecond: a floating-point logarithm would be wrong beside bounds.
const BOUNDS: [u128; PER_OCTAVE] = bounds();

const fn bounds() -> [u128; PER_OCTAVE] {
    const ONE: u128 = 1 << FRACTION_BITS;
    let mut bounds = [ONE; PER_OCTAVE];
    // Square roots of 2, of that, and so on: each is the factor between bounds of the next finer scale.
    let mut root = 2 * ONE;
    let mut distance = PER_OCTAVE / 2;
    while distance > 0 {
        root = (root << FRACTION_BITS).isqrt();
        let mut place = 0;
        while place < PER_OCTAVE {
            if place & distance != 0 {
                bounds[place] = (bounds[place] * root) >> FRACTION_BITS;
            }
            place += 1;
        }
        distance /= 2;
    }
    let mut place = 0;
    while place < PER_OCTAVE {
        bounds[place] *= SECOND_NS as u128;
        place += 1;
    }
    bounds
}

/// Returns the index at the finest scale. One at a coarser scale has its low bits left out: the bounds there are every
/// second, every fourth of these, and so on.
fn finest_index(magnitude_ns: u64) -> i32 {
    const SECOND_BITS: i32 = 30;
    assert!(magnitude_ns > 0, "zero has a bucket of its own");
    let length = i32::try_from(magnitude_ns.ilog2()).expect("64 bits");
    // The magnitude in units of `2^octave`, as a number like BOUNDS.
    let scaled = |octave: i32| u128::from(magnitude_ns) << (FRACTION_BITS - octave);
    // A second is a little less than 2^30 ns, so the octave is one of two.
    let mut octave = length - SECOND_BITS + 1;
    if scaled(octave) <= BOUNDS[0] {
        octave -= 1;
    }
    let magnitude = scaled(octave);
    let place = BOUNDS.partition_point(|bound| *bound < magnitude) - 1;
    (octave << Scale::MAX.0) + i32::try_from(place).expect("256 of them")
}

/// The counts of buckets on one side of zero, by index. Empty ones are not there.
pub type Buckets = BTreeMap<i32, u64>;

/// A histogram of delays in seconds, recorded in nanoseconds. Its size follows the spread of the values, not
/// their number; [`Exponential::fit`] bounds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exponential {
    scale: Scale,
    zero: u64,
    positive: Buckets,
    negative: Buckets,
    figures: Figures,
}

/// What is known of the values exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Figures {
    count: u64,
    sum_ns: i128,
    least_ns: i64,
    greatest_ns: i64,
}

impl Exponential {
    /// Makes an empty one.
    pub const fn new(scale: Scale) -> Self {
        Self {
            scale,
            zero: 0,
            positive: Buckets::new(),
            negative: Buckets::new(),
            figures: Figures {
                count: 0,
                sum_ns: 0,
                least_ns: i64::MAX,
                greatest_ns: i64::MIN,
            },
        }
    }

    /// Makes one of a window. `distribution` has loaded that window.
    pub fn of_window(scale: Scale, window: &Window, distribution: &Distribution) -> Self {
        let mut histogram = Self::new(scale);
        histogram.record_window(window, distribution);
        histogram
    }

    /// Counts a value so many times.
    pub fn record_n(&mut self, value_ns: i64, times: u64) {
        if times == 0 {
            return;
        }
        self.put(value_ns, times);
        self.include(Figures {
            count: times,
            sum_ns: i128::from(value_ns) * i128::from(times),
            least_ns: value_ns,
            greatest_ns: value_ns,
        });
    }

    /// Counts all values of a window, which `distribution` has loaded. Count, sum, least and greatest are exact. A
    /// value is in its bucket or, closer to the bound than the three digits of a window's histogram, in the next one.
    /// Values out of the range of that histogram count as the least or the greatest value.
    pub fn record_window(&mut self, window: &Window, distribution: &Distribution) {
        if window.count() == 0 {
            return;
        }
        let sides = [
            (Some(distribution.positive()), 1),
            (distribution.negative(), -1),
        ];
        for (histogram, sign) in sides {
            let Some(histogram) = histogram else { continue };
            for step in histogram.iter_recorded() {
                let magnitude = histogram.median_equivalent(step.value_iterated_to());
                let magnitude = i64::try_from(magnitude).unwrap_or(i64::MAX);
                let value_ns = (sign * magnitude).clamp(window.min(), window.max());
                self.put(value_ns, step.count_at_value().into());
            }
        }
        let below = distribution.below();
        self.put(window.min(), below);
        self.put(window.max(), window.out_of_range().saturating_sub(below));
        self.include(Figures {
            count: window.count(),
            sum_ns: window.sum(),
            least_ns: window.min(),
            greatest_ns: window.max(),
        });
    }

    /// Adds all values of another one. The scale becomes the coarser one of the two.
    pub fn merge(&mut self, other: &Self) {
        self.reduce_to(other.scale);
        let steps = other.scale.0.abs_diff(self.scale.0);
        for (mine, theirs) in [
            (&mut self.positive, &other.positive),
            (&mut self.negative, &other.negative),
        ] {
            for (index, count) in theirs {
                add(mine, index >> steps, *count);
            }
        }
        self.zero = self.zero.saturating_add(other.zero);
        self.include(other.figures);
    }

    /// Merges buckets until the scale is this one. Does nothing if it is as coarse already.
    pub fn reduce_to(&mut self, scale: Scale) {
        if scale >= self.scale {
            return;
        }
        let steps = self.scale.0.abs_diff(scale.0);
        for side in [&mut self.positive, &mut self.negative] {
            let mut reduced = Buckets::new();
            for (index, count) in &*side {
                add(&mut reduced, index >> steps, *count);
            }
            *side = reduced;
        }
        self.scale = scale;
    }

    /// Merges buckets until those from the first to the last one of each side, empty ones between them included, are
    /// `buckets_max` at most. At the coarsest scale it gives up: no side has more than five buckets there.
    pub fn fit(&mut self, buckets_max: usize) {
        let widest = |steps: u8| {
            let sides = [&self.positive, &self.negative].into_iter();
            let span = |side: &Buckets| {
                let (first, last) = (side.first_key_value()?, side.last_key_value()?);
                Some((last.0 >> steps).abs_diff(first.0 >> steps) as usize + 1)
            };
            sides.filter_map(span).max().unwrap_or(0)
        };
        let steps_max = self.scale.0.abs_diff(Scale::MIN.0);
        let steps = (0..steps_max).find(|steps| widest(*steps) <= buckets_max);
        let number = self
            .scale
            .0
            .saturating_sub_unsigned(steps.unwrap_or(steps_max));
        self.reduce_to(Scale(number));
    }

    /// The scale.
    pub const fn scale(&self) -> Scale {
        self.scale
    }

    /// The number of values that are 0.
    pub const fn zero(&self) -> u64 {
        self.zero
    }

    /// The values above 0.
    pub const fn positive(&self) -> &Buckets {
        &self.positive
    }

    /// The values below 0, by their magnitudes.
    pub const fn negative(&self) -> &Buckets {
        &self.negative
    }

    /// The number of values.
    pub const fn count(&self) -> u64 {
        self.figures.count
    }

    /// The sum of the values in nanoseconds.
    pub const fn sum_ns(&self) -> i128 {
        self.figures.sum_ns
    }

    /// The least and the greatest value in nanoseconds, if there are values.
    pub const fn range_ns(&self) -> Option<(i64, i64)> {
        let figures = &self.figures;
        if figures.count == 0 {
            return None;
        }
        Some((figures.least_ns, figures.greatest_ns))
    }

    fn put(&mut self, value_ns: i64, count: u64) {
        if count == 0 {
            return;
        }
        let side = match value_ns {
            0 => return self.zero = self.zero.saturating_add(count),
            1.. => &mut self.positive,
            _ => &mut self.negative,
        };
        add(side, self.scale.index(value_ns.unsigned_abs()), count);
    }

    /// Adds figures of other values.
    fn include(&mut self, figures: Figures) {
        let mine = &mut self.figures;
        mine.count = mine.count.saturating_add(figures.count);
        mine.sum_ns = mine.sum_ns.saturating_add(figures.sum_ns);
        mine.least_ns = mine.least_ns.min(figures.least_ns);
        mine.greatest_ns = mine.greatest_ns.max(figures.greatest_ns);
    }
}

fn add(side: &mut Buckets, index: i32, count: u64) {
    let sum = side.entry(index).or_insert(0);
    *sum = sum.saturating_add(count);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::publish::testing::window;

    fn scales() -> impl Iterator<Item = Scale> {
        (Scale::MIN.0..=Scale::MAX.0).filter_map(Scale::new)
    }

    fn of(scale: Scale, values: &[i64]) -> Exponential {
        let mut histogram = Exponential::new(scale);
        for value in values {
            histogram.record_n(*value, 1);
        }
        histogram
    }

    #[test]
    fn a_bound_belongs_to_the_bucket_below_it() {
        // What is a power of two in seconds is a whole number of nanoseconds from 2^-9 s on.
        for octave in -9..=33 {
            let bound_ns = 1_953_125_u64 << (octave + 9);
            for scale in scales() {
                let at = |ns| scale.index(ns);
                let (below, on, above) = (at(bound_ns - 1), at(bound_ns), at(bound_ns + 1));
                let per_octave = f64::exp2(f64::from(scale.0));
                let index = (f64::from(octave) * per_octave).ceil() - 1.0;
                assert!(
                    (f64::from(on) - index).abs() < 0.5,
                    "2^{octave} s at {scale:?}: {on}"
                );
                let is_bound = (f64::from(octave) * per_octave).fract() == 0.0;
                assert_eq!(above, on + i32::from(is_bound), "2^{octave} s at {scale:?}");
                assert_eq!(below, on, "2^{octave} s at {scale:?}");
            }
        }
    }

    #[test]
    fn bounds_are_those_of_other_programs() {
        // Roots of two, computed to 25 digits elsewhere: the whole nanosecond below each is the last one in its bucket.
        for (scale, index, bound_ns) in [
            (1, 0, 1_414_213_562),
            (2, 0, 1_189_207_115),
            (3, 0, 1_090_507_732),
            (5, 0, 1_021_897_148),
            (8, 0, 1_002_711_275),
            (8, 254, 1_994_592_112),
            (5, -33, 500_000_000),
            (5, -34, 489_286_031),
        ] {
            let scale = Scale::new(scale).unwrap();
            assert_eq!(scale.index(bound_ns), index, "{scale:?}");
            assert_eq!(scale.index(bound_ns + 1), index + 1, "{scale:?}");
        }
        assert_eq!(Scale::DEFAULT.index(1), -957);
        assert_eq!(Scale::MAX.index(u64::MAX), 8_730);
        assert!((Scale::DEFAULT.upper_bound(0) - 1.021_897_148_654_1).abs() < 1e-12);
    }

    #[test]
    fn every_value_has_its_side_and_zero_its_own() {
        let mut histogram = of(Scale::DEFAULT, &[0, 5, -5, i64::MIN, i64::MAX]);
        histogram.record_n(0, 3);
        histogram.record_n(7, 0);
        assert_eq!((histogram.zero(), histogram.count()), (4, 8));
        assert_eq!(histogram.range_ns(), Some((i64::MIN, i64::MAX)));
        assert_eq!(histogram.sum_ns(), -1);
        assert_eq!(
            (histogram.positive().len(), histogram.negative().len()),
            (2, 2)
        );
        assert_eq!(Exponential::new(Scale::MAX).range_ns(), None);
    }

    #[test]
    fn scales_that_one_protocol_does_not_have_are_none() {
        assert_eq!(Scale::new(-5), None);
        assert_eq!(Scale::new(9), None);
        assert_eq!(Scale::new(8), Some(Scale::MAX));
    }

    #[test]
    fn it_fits_what_it_is_to_fit() {
        // From 1 us to 60 s: 25.8 octaves.
        let wide = of(Scale::MAX, &[1_000, 60_000_000_000, -3_000]);
        for (buckets_max, scale) in [(6_616, 8), (6_615, 7), (160, 2), (26, 0), (25, -1), (1, -4)] {
            let mut histogram = wide.clone();
            histogram.fit(buckets_max);
            assert_eq!(histogram.scale().number(), scale, "{buckets_max}");
            assert_eq!((histogram.count(), histogram.negative().len()), (3, 1));
        }
        let mut empty = Exponential::new(Scale::MAX);
        empty.fit(160);
        assert_eq!(empty.scale(), Scale::MAX);
    }

    #[test]
    fn windows_with_values_out_of_range_lose_none() {
        let values = [
            -61_000_000_000,
            -70_000_000_000,
            -5,
            0,
            1_000_000,
            80_000_000_000,
        ];
        let record = window(&values);
        let window = record.window().unwrap();
        let made = Exponential::of_window(Scale::DEFAULT, window, &window.distribution());
        assert_eq!((made.count(), made.zero()), (6, 1));
        assert_eq!(made.negative().values().sum::<u64>(), 3);
        assert_eq!(made.positive().values().sum::<u64>(), 2);
        assert_eq!(made.range_ns(), Some((-70_000_000_000, 80_000_000_000)));
    }

    fn magnitude() -> impl Strategy<Value = u64> {
        (0_u32..63, any::<u64>())
            .prop_map(|(bits, noise)| (1 << bits) | (noise & ((1 << bits) - 1)))
    }

    fn value() -> impl Strategy<Value = i64> {
        let signed = |(magnitude, is_negative): (u64, bool)| {
            let value = i64::try_from(magnitude).unwrap();
            if is_negative { -value } else { value }
        };
        prop_oneof![1 => Just(0), 9 => (magnitude(), any::<bool>()).prop_map(signed)]
    }

    fn scale() -> impl Strategy<Value = Scale> {
        (Scale::MIN.0..=Scale::MAX.0).prop_map(|number| Scale::new(number).unwrap())
    }

    proptest! {
        #[test]
        fn a_value_lies_between_the_bounds_of_its_bucket(ns in magnitude(), scale in scale()) {
            #[expect(clippy::cast_precision_loss, reason = "the bounds are compared with a tolerance")]
            let seconds = ns as f64 / 1e9;
            let index = scale.index(ns);
            let (lower, upper) = (scale.upper_bound(index - 1), scale.upper_bound(index));
            prop_assert!(lower * (1.0 - 1e-13) < seconds && seconds <= upper * (1.0 + 1e-13));
        }

        #[test]
        fn the_index_never_falls(ns in magnitude(), more in magnitude(), scale in scale()) {
            prop_assert!(scale.index(ns) <= scale.index(ns.saturating_add(more)));
        }

        #[test]
        fn coarser_at_once_or_later_is_the_same(
            values in prop::collection::vec(value(), 0..40), fine in scale(), coarse in scale(),
        ) {
            let mut reduced = of(fine, &values);
            reduced.reduce_to(coarse);
            prop_assert_eq!(reduced, of(fine.min(coarse), &values));
        }

        #[test]
        fn parts_merged_are_the_whole(
            values in prop::collection::vec(value(), 0..40), cut in 0_usize..40, scales in [scale(), scale()],
        ) {
            let (one, other) = values.split_at(cut.min(values.len()));
            let [mut left, mut right] = [of(scales[0], one), of(scales[1], other)];
            let whole = of(scales[0].min(scales[1]), &values);
            let unmerged = right.clone();
            right.merge(&left);
            left.merge(&unmerged);
            // Nothing was merged, nothing is coarser.
            prop_assert_eq!(&left, &whole);
            prop_assert_eq!(&right, &whole);
        }

        #[test]
        fn a_window_is_as_its_values_save_beside_bounds(
            values in prop::collection::vec(-2_000_000_000_i64..2_000_000_000, 1..60), scale in scale(),
        ) {
            let record = window(&values);
            let window = record.window().unwrap();
            let made = Exponential::of_window(scale, window, &window.distribution());
            let exact = of(scale, &values);
            prop_assert_eq!(
                (made.count(), made.sum_ns(), made.range_ns(), made.zero()),
                (exact.count(), exact.sum_ns(), exact.range_ns(), exact.zero())
            );
            // By rank: the same bucket or the next one.
            let list = |buckets: &Buckets| {
                buckets.iter().flat_map(|(index, count)| vec![*index; usize::try_from(*count).unwrap()])
                    .collect::<Vec<_>>()
            };
            for (made, exact) in [(&made.positive, &exact.positive), (&made.negative, &exact.negative)] {
                let (made, exact) = (list(made), list(exact));
                prop_assert_eq!(made.len(), exact.len());
                for (made, exact) in made.iter().zip(&exact) {
                    prop_assert!(made.abs_diff(*exact) <= 1, "{made} {exact}");
                }
            }
        }

        #[test]
        fn what_fits_is_as_fine_as_can_be(
            values in prop::collection::vec(value(), 1..40), buckets_max in 8_usize..200,
        ) {
            let mut fitted = of(Scale::MAX, &values);
            fitted.fit(buckets_max);
            let span = |histogram: &Exponential| {
                let width = |side: &Buckets| Some(side.keys().last()?.abs_diff(*side.keys().next()?) as usize + 1);
                width(&histogram.positive).max(width(&histogram.negative)).unwrap_or(0)
            };
            prop_assert!(span(&fitted) <= buckets_max);
            if let Some(finer) = Scale::new(fitted.scale().number() + 1) {
                prop_assert!(span(&of(finer, &values)) > buckets_max);
            }
        }
    }
}
