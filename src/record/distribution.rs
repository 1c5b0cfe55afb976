//! The [`Distribution`] of a window's values: histograms and quantiles.

use hdrhistogram::Histogram;

use crate::record::histogram::{histogram, is_in_range, value_at_rank};
use crate::record::window::Window;

/// The two histograms of one window, one for each sign, and the quantiles over both.
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
    /// Returns an empty one, for [`Distribution::load`].
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

    /// Replaces the values by those of a window.
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

    /// Returns the values from zero up.
    pub fn positive(&self) -> &Histogram<u32> {
        &self.positive
    }

    /// Returns the magnitudes of the values below zero, if there are any.
    pub fn negative(&self) -> Option<&Histogram<u32>> {
        (!self.negative.is_empty()).then_some(&self.negative)
    }

    /// Returns how many values lie so far below zero that they are in no histogram.
    pub const fn below(&self) -> u64 {
        self.below
    }

    /// Returns the value in nanoseconds that the share `quantile` (0 to 1) of all values does not exceed, to
    /// three digits. If it falls among values out of range, it is the least or the greatest value.
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
            // Negative values are in the order of their magnitudes, the least value last.
            -value_at_rank(&self.negative, negatives + 1 - rank)
        } else if rank - negatives <= self.positive.len() {
            value_at_rank(&self.positive, rank - negatives)
        } else {
            self.max
        };
        value.clamp(self.min, self.max)
    }
}

impl Window {
    /// Returns its histograms and quantiles. It allocates; [`Distribution::load`] uses a distribution again.
    pub fn distribution(&self) -> Distribution {
        let mut distribution = Distribution::new();
        distribution.load(self);
        distribution
    }
}
