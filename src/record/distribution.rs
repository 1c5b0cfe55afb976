//! The [`Distribution`] of a window's values: histograms and quantiles.

use hdrhistogram::Histogram;

use crate::record::histogram::{SignedHistogram, is_in_range, rank};
use crate::record::window::Window;

/// The two histograms of one window, one for each sign, and the quantiles over both.
#[derive(Clone, Debug)]
pub struct Distribution {
    values: SignedHistogram<u32>,
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
            values: SignedHistogram::new(),
            below: 0,
            count: 0,
            min: 0,
            max: 0,
        }
    }

    /// Replaces the values by those of a window.
    pub fn load(&mut self, window: &Window) {
        for (mine, theirs) in [
            (&mut self.values.positive, &window.positive),
            (&mut self.values.negative, &window.negative),
        ] {
            if !mine.is_empty() {
                mine.reset();
            }
            if let Some(theirs) = theirs {
                mine.add(&**theirs).expect("all histograms have one range");
            }
        }
        for value in window.kept().filter(|value| is_in_range(*value)) {
            self.values.record(value, 1);
        }
        self.below = window.below;
        self.count = window.count();
        (self.min, self.max) = (window.min(), window.max());
    }

    /// Returns the values from zero up.
    pub fn positive(&self) -> &Histogram<u32> {
        &self.values.positive
    }

    /// Returns the magnitudes of the values below zero, if there are any.
    pub fn negative(&self) -> Option<&Histogram<u32>> {
        Some(&self.values.negative).filter(|negative| !negative.is_empty())
    }

    /// Returns how many values lie so far below zero that they are in no histogram.
    pub const fn below(&self) -> u64 {
        self.below
    }

    /// Returns the value in nanoseconds that the share `quantile` (0 to 1) of all values does not exceed, to
    /// three digits. If it falls among values out of range, it is the least or the greatest value.
    pub fn quantile(&self, quantile: f64) -> i64 {
        match rank(quantile, self.count).checked_sub(self.below) {
            None | Some(0) => self.min,
            Some(rank) => {
                let value = self.values.at_rank(rank).unwrap_or(self.max);
                value.clamp(self.min, self.max)
            }
        }
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
