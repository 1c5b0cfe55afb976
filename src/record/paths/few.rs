//! A few of many values, evenly apart in their order, for their median.

/// Values kept of a block.
const KEPT: usize = 32;

/// See the [module](self).
#[derive(Clone, Copy, Debug)]
pub(super) struct Few {
    values: [i64; KEPT],
    len: usize,
    /// One in so many is kept.
    stride: u32,
    to_skip: u32,
}

impl Few {
    pub(super) const fn new() -> Self {
        Self {
            values: [0; KEPT],
            len: 0,
            stride: 1,
            to_skip: 0,
        }
    }

    pub(super) fn push(&mut self, value: i64) {
        if self.to_skip > 0 {
            self.to_skip -= 1;
            return;
        }
        if self.len == KEPT {
            // Every other one stays, and from here on half as many are kept.
            for place in 0..KEPT / 2 {
                self.values[place] = self.values[2 * place];
            }
            self.len = KEPT / 2;
            self.stride = self.stride.saturating_mul(2);
        }
        self.values[self.len] = value;
        self.len += 1;
        self.to_skip = self.stride - 1;
    }

    /// Returns the lower median, if there are `least` values, and forgets all.
    pub(super) fn take_median(&mut self, least: usize) -> Option<i64> {
        let values = &mut self.values[..self.len];
        let middle = values.len().checked_sub(1)? / 2;
        let median = *values.select_nth_unstable(middle).1;
        let is_enough = values.len() >= least;
        (self.len, self.stride, self.to_skip) = (0, 1, 0);
        is_enough.then_some(median)
    }
}
