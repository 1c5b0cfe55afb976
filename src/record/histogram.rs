//! The bounds that all histograms have, so that they merge.

use hdrhistogram::Histogram;

/// The largest magnitude that histograms hold, in nanoseconds: a minute.
pub const HISTOGRAM_NS_MAX: u64 = 60_000_000_000;

/// Significant decimal digits of the histograms.
pub const HISTOGRAM_DIGITS: u8 = 3;

/// Returns an empty histogram.
pub(super) fn histogram() -> Histogram<u32> {
    Histogram::new_with_bounds(1, HISTOGRAM_NS_MAX, HISTOGRAM_DIGITS)
        .expect("the bounds are constants and allowed")
}

/// True if a histogram holds a value of this magnitude.
pub(super) const fn is_in_range(value: i64) -> bool {
    value.unsigned_abs() <= HISTOGRAM_NS_MAX
}

/// Returns the `rank`th value of a histogram, counted from 1.
#[expect(
    clippy::cast_precision_loss,
    reason = "a window has far fewer than 2^53 values"
)]
pub(super) fn value_at_rank(histogram: &Histogram<u32>, rank: u64) -> i64 {
    // Half a rank below: the histogram rounds it up to this rank, whichever way the division rounds.
    let quantile = (rank as f64 - 0.5) / histogram.len() as f64;
    i64::try_from(histogram.value_at_quantile(quantile)).unwrap_or(i64::MAX)
}
