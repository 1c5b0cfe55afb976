//! Histograms of delays of both signs, with bounds that all share, so that they merge.

use hdrhistogram::{Counter, Histogram};

/// The largest magnitude that histograms hold, in nanoseconds: a minute.
pub const HISTOGRAM_NS_MAX: u64 = 60_000_000_000;

/// Significant decimal digits of the histograms.
pub const HISTOGRAM_DIGITS: u8 = 3;

/// Returns an empty histogram.
pub(super) fn histogram<C: Counter>() -> Histogram<C> {
    Histogram::new_with_bounds(1, HISTOGRAM_NS_MAX, HISTOGRAM_DIGITS)
        .expect("the bounds are constants and allowed")
}

/// True if a histogram holds a value of this magnitude.
pub(super) const fn is_in_range(value: i64) -> bool {
    value.unsigned_abs() <= HISTOGRAM_NS_MAX
}

/// A histogram of the values from zero up, and one of the magnitudes of those below.
#[derive(Clone, Debug)]
pub(crate) struct SignedHistogram<C: Counter> {
    pub(crate) positive: Histogram<C>,
    pub(crate) negative: Histogram<C>,
}

impl<C: Counter> SignedHistogram<C> {
    /// Returns an empty one.
    pub(crate) fn new() -> Self {
        Self {
            positive: histogram(),
            negative: histogram(),
        }
    }

    /// Takes a value so many times. One out of range counts as the greatest in range.
    pub(crate) fn record(&mut self, value: i64, count: C) {
        let side = if value < 0 {
            &mut self.negative
        } else {
            &mut self.positive
        };
        side.saturating_record_n(value.unsigned_abs(), count);
    }

    /// Returns the number of values.
    pub(crate) fn len(&self) -> u64 {
        self.negative.len() + self.positive.len()
    }

    /// Returns the `rank`th value, counted from 1; `None` if there are fewer values.
    pub(crate) fn at_rank(&self, rank: u64) -> Option<i64> {
        let negatives = self.negative.len();
        if rank <= negatives {
            // Negative values are in the order of their magnitudes, the least value last.
            return Some(-value_at_rank(&self.negative, negatives + 1 - rank));
        }
        let rank = rank - negatives;
        (rank <= self.positive.len()).then(|| value_at_rank(&self.positive, rank))
    }
}

/// Returns the rank of the value that the share `quantile` (0 to 1) of `count` values does not exceed, from 1.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "nobody has 2^53 values"
)]
pub(crate) fn rank(quantile: f64, count: u64) -> u64 {
    ((quantile * count as f64).ceil() as u64).clamp(1, count.max(1))
}

/// Returns the `rank`th value of a histogram, counted from 1.
#[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 values")]
fn value_at_rank<C: Counter>(histogram: &Histogram<C>, rank: u64) -> i64 {
    // Half a rank below: the histogram rounds it up to this rank, whichever way the division rounds.
    let quantile = (rank as f64 - 0.5) / histogram.len() as f64;
    i64::try_from(histogram.value_at_quantile(quantile)).unwrap_or(i64::MAX)
}
