//! The exact figures of a window.

/// The exact figures over all values, whatever their sign and size.
///
/// It sums distances from the first value. So the squares stay small, however far apart the clocks of two
/// hosts are.
#[derive(Clone, Debug, Default)]
pub(super) struct Moments {
    pub(super) count: u64,
    first: i64,
    pub(super) min: i64,
    pub(super) max: i64,
    sum: i128,
    squares: u128,
    /// How often `squares` has wrapped. That takes clocks that are a century apart.
    wraps: u32,
}

impl Moments {
    pub(super) fn add(&mut self, value: i64) {
        if self.count == 0 {
            (self.first, self.min, self.max) = (value, value, value);
        }
        self.count += 1;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.sum += i128::from(value) - i128::from(self.first);
        let distance = u128::from(value.abs_diff(self.first));
        let (squares, has_wrapped) = self.squares.overflowing_add(distance * distance);
        self.squares = squares;
        self.wraps += u32::from(has_wrapped);
    }

    /// Subtracts the least value from all values.
    pub(super) fn lower_to_zero(&mut self) {
        self.first = self.first.saturating_sub(self.min);
        self.max = self.max.saturating_sub(self.min);
        self.min = 0;
    }

    pub(super) fn total(&self) -> i128 {
        i128::from(self.first) * i128::from(self.count) + self.sum
    }

    pub(super) fn mean(&self) -> i64 {
        let count = i128::from(self.count.max(1));
        // Rounds to the nearest number, halves upwards.
        let above_first = (2 * self.sum + count).div_euclid(2 * count);
        let mean = i128::from(self.first) + above_first;
        // A mean lies between two values of its type, unless they are centuries over their least.
        i64::try_from(mean).unwrap_or(i64::MAX)
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a standard deviation of more than 53 bits has digits to spare"
    )]
    pub(super) fn stddev(&self) -> u64 {
        if self.count == 0 {
            return 0;
        }
        let count = u128::from(self.count);
        let sum = self.sum.unsigned_abs();
        // Integers lose nothing. Only values of many years need floating point.
        let spread = match (self.squares.checked_mul(count), sum.checked_mul(sum)) {
            (Some(squares), Some(square)) if self.wraps == 0 => {
                squares.saturating_sub(square) as f64
            }
            _ => {
                let squares = self.squares as f64 + f64::from(self.wraps) * 2.0_f64.powi(128);
                (squares * count as f64 - (sum as f64).powi(2)).max(0.0)
            }
        };
        (spread.sqrt() / count as f64).round() as u64
    }
}
