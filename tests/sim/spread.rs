//! The least, the mean and the greatest of some values.

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spread {
    count: u64,
    min: i64,
    max: i64,
    sum: i128,
}

impl Spread {
    pub(crate) fn add(&mut self, value: i64) {
        self.min = if self.count == 0 {
            value
        } else {
            self.min.min(value)
        };
        self.max = if self.count == 0 {
            value
        } else {
            self.max.max(value)
        };
        self.count += 1;
        self.sum += i128::from(value);
    }

    pub(crate) fn show(&self) -> String {
        if self.count == 0 {
            return "none".to_owned();
        }
        let mean = self.sum / i128::from(self.count);
        format!(
            "{} samples, min {} mean {mean} max {} ns",
            self.count, self.min, self.max
        )
    }
}
