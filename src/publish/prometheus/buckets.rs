//! The default bounds of histograms, and the counts of their buckets.

use crate::publish::Bounds;
use crate::record::{Distribution, Window};

/// The bounds within a power of ten. Neighbours differ by a factor of 1.56 at most.
const STEPS: [f64; 6] = [1.0, 1.5, 2.0, 3.0, 4.5, 7.0];

/// The number of powers of ten, from 1 us up to 10 s.
const DECADES: i32 = 7;

impl Bounds {
    /// Returns these bounds and zero, which separates negative values from small ones.
    pub(super) fn with_zero(&self) -> Self {
        Self::new(self.seconds().iter().copied().chain([0.0]).collect())
    }

    /// The default bounds: from 1 us to 10 s.
    pub(super) fn positive() -> Self {
        Self::new(positive().collect())
    }

    /// The default bounds of one-way delays: also zero, and one bound in each power of ten from
    /// -1 us to -10 s. While two clocks differ, a one-way delay has a sign, and the difference is
    /// what one looks for.
    pub(super) fn signed() -> Self {
        let negative = (0..=DECADES).map(|decade| -microseconds(1.0, decade));
        Self::new(negative.chain([0.0]).chain(positive()).collect())
    }
}

fn positive() -> impl Iterator<Item = f64> {
    (0..DECADES)
        .flat_map(|decade| STEPS.map(|step| microseconds(step, decade)))
        .chain([10.0])
}

/// Returns microseconds as seconds, as near to the decimal number as a float can be.
fn microseconds(step: f64, decade: i32) -> f64 {
    step / 10.0_f64.powi(6 - decade)
}

/// The counts of buckets since the process began.
#[derive(Debug)]
pub(super) struct Buckets {
    bounds: Bounds,
    /// The count of each bucket, not cumulative. The last is above all bounds.
    counts: Box<[u64]>,
}

impl Buckets {
    pub(super) fn new(bounds: &Bounds) -> Self {
        Self {
            bounds: bounds.clone(),
            counts: vec![0; bounds.ns().len() + 1].into(),
        }
    }

    /// Counts one value.
    pub(super) fn record(&mut self, value_ns: i64) {
        self.put(value_ns, 1);
    }

    /// Counts all values of a window, which `distribution` has loaded. A value of more than three
    /// digits counts as the value nearest to zero that its histogram does not separate from it.
    pub(super) fn merge(&mut self, window: &Window, distribution: &Distribution) {
        let positive = distribution.positive();
        for step in positive.iter_recorded() {
            let value = positive.lowest_equivalent(step.value_iterated_to());
            self.put(signed(value), u64::from(step.count_at_value()));
        }
        if let Some(negative) = distribution.negative() {
            for step in negative.iter_recorded() {
                let value = negative.lowest_equivalent(step.value_iterated_to());
                self.put(-signed(value), u64::from(step.count_at_value()));
            }
        }
        let below = distribution.below();
        self.put(i64::MIN, below);
        self.put(i64::MAX, window.out_of_range().saturating_sub(below));
    }

    fn put(&mut self, value_ns: i64, count: u64) {
        let place = self.bounds.ns().partition_point(|&bound| bound < value_ns);
        self.counts[place] += count;
    }

    /// Fills `out` with each bound in seconds and the number of values between it and the one
    /// before.
    pub(super) fn fill(&self, out: &mut Vec<(f64, u64)>) {
        out.clear();
        let bounds = self.bounds.seconds().iter().copied();
        out.extend(
            bounds
                .chain([f64::INFINITY])
                .zip(self.counts.iter().copied()),
        );
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::testing::window;

    #[test]
    fn the_default_bounds_are_decimal_and_close() {
        let bounds = Bounds::positive();
        assert_eq!(bounds.seconds().len(), 43);
        assert_eq!(bounds.seconds()[..4], [1e-6, 1.5e-6, 2e-6, 3e-6]);
        assert_eq!(bounds.seconds()[41..], [7.0, 10.0]);
        assert_eq!(bounds.ns()[..4], [1_000, 1_500, 2_000, 3_000]);
        for pair in bounds.seconds().windows(2) {
            assert!(pair[1] / pair[0] < 1.5556, "{pair:?}");
        }
        let signed = Bounds::signed();
        assert_eq!(signed.seconds()[..2], [-10.0, -1.0]);
        assert_eq!(signed.seconds()[7..10], [-1e-6, 0.0, 1e-6]);
        assert_eq!(signed.ns()[7..10], [-1_000, 0, 1_000]);
    }

    fn filled(buckets: &Buckets) -> Vec<u64> {
        let mut out = Vec::new();
        buckets.fill(&mut out);
        out.iter().map(|&(_, count)| count).collect()
    }

    #[test]
    fn values_are_counted_where_they_belong() {
        // At most -1 us, 0, 1 us, 10 us, 1 ms, and what is above.
        let bounds = Bounds::new(vec![-1e-6, 0.0, 1e-6, 1e-5, 1e-3]);
        let values = [
            -61_000_000_000, // below every histogram
            -5_000,
            -1_000, // on its bound
            -999,
            0,
            1,
            1_000, // on its bound
            1_001,
            10_000,    // on its bound
            1_000_000, // on its bound
            1_001_000,
            61_000_000_000, // above every histogram
        ];
        let expected = [3, 2, 2, 2, 1, 2];
        let mut by_value = Buckets::new(&bounds);
        for value in values {
            by_value.record(value);
        }
        assert_eq!(filled(&by_value), expected);
        let window = window(&values);
        let window = window.window().unwrap();
        let mut by_window = Buckets::new(&bounds);
        by_window.merge(window, &window.distribution());
        assert_eq!(filled(&by_window), expected);
        // A second window adds up.
        by_window.merge(window, &window.distribution());
        assert_eq!(filled(&by_window), expected.map(|count| 2 * count));
    }
}
