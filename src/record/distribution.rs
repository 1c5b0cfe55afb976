//! The [`Distribution`] of a window's values: histograms and quantiles.

use hdrhistogram::Histogram;

use crate::record::histogram::{SignedHistogram, is_in_range, rank};
use crate::record::window::Window;

/// The two histograms of one window or of several, one for each sign, and the figures over both.
#[derive(Clone, Debug)]
pub struct Distribution {
    values: SignedHistogram<u32>,
    below: u64,
    count: u64,
    sum: i128,
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
            sum: 0,
            min: 0,
            max: 0,
        }
    }

    /// Replaces the values by those of a window.
    pub fn load(&mut self, window: &Window) {
        self.clear();
        self.add(window);
    }

    /// Forgets all values.
    pub fn clear(&mut self) {
        for histogram in [&mut self.values.positive, &mut self.values.negative] {
            if !histogram.is_empty() {
                histogram.reset();
            }
        }
        (self.below, self.count, self.sum) = (0, 0, 0);
        (self.min, self.max) = (0, 0);
    }

    /// Adds the values of a window. What was in it stays: the windows of one series in a row have the figures that one
    /// window of their whole time would have.
    pub fn add(&mut self, window: &Window) {
        if window.count() == 0 {
            return;
        }
        for (mine, theirs) in [
            (&mut self.values.positive, &window.positive),
            (&mut self.values.negative, &window.negative),
        ] {
            if let Some(theirs) = theirs {
                mine.add(&**theirs).expect("all histograms have one range");
            }
        }
        for value in window.kept().filter(|value| is_in_range(*value)) {
            self.values.record(value, 1);
        }
        let is_first = self.count == 0;
        self.below += window.below;
        self.count += window.count();
        self.sum += window.sum();
        self.min = if is_first {
            window.min()
        } else {
            self.min.min(window.min())
        };
        self.max = if is_first {
            window.max()
        } else {
            self.max.max(window.max())
        };
    }

    /// Returns the number of values.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Returns the least value in nanoseconds, exactly; 0 without values.
    pub const fn min(&self) -> i64 {
        self.min
    }

    /// Returns the greatest value in nanoseconds, exactly; 0 without values.
    pub const fn max(&self) -> i64 {
        self.max
    }

    /// Returns the mean in nanoseconds, rounded as that of a window; 0 without values.
    pub fn mean(&self) -> i64 {
        let count = i128::from(self.count.max(1));
        let mean = (2 * self.sum + count).div_euclid(2 * count);
        i64::try_from(mean).unwrap_or(i64::MAX)
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
