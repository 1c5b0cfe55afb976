//! A reading of a path that counts once it stays: how many routers probes pass, which code point they arrive with.

use crate::proto::time::Mono;

/// Probes in a row that show another value before it is one: a path that is spread packet by packet has several.
const AGREE: u32 = 3;

/// A change is told this much later than the one before, at the earliest.
const CHANGE_AGAIN_NS: u64 = 10_000_000_000;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Steady {
    /// What counts now.
    known: Option<u8>,
    /// What was seen last, and how often in a row.
    last: u8,
    times: u32,
    /// No change is told before this.
    change_after: Mono,
}

impl Steady {
    /// Begins with a value that counts.
    pub(crate) fn of(value: u8) -> Self {
        Self {
            known: Some(value),
            ..Self::default()
        }
    }

    /// Takes what a probe has shown. Returns what counted before, if that has changed.
    pub(crate) fn add(&mut self, value: u8, now: Mono) -> Option<u8> {
        self.times = if value == self.last {
            self.times.saturating_add(1)
        } else {
            1
        };
        self.last = value;
        let known = *self.known.get_or_insert(value);
        if value == known || self.times < AGREE || now < self.change_after {
            return None;
        }
        self.change_after = now.plus(CHANGE_AGAIN_NS);
        self.known.replace(value)
    }

    /// Returns what counts.
    pub(crate) fn value(&self) -> u8 {
        self.known.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_takes_three_probes_and_comes_once_in_ten_seconds() {
        let mut hops = Steady::default();
        let mut add = |ms: u64, seen: u8| hops.add(seen, Mono::from_nanos(ms * 1_000_000));
        let spread = [add(0, 4), add(1, 5), add(2, 4), add(3, 5), add(4, 5)];
        assert_eq!(spread, [None; 5]);
        assert_eq!(add(5, 5), Some(4));
        assert_eq!([6, 7, 8, 9_999].map(|ms| add(ms, 4)), [None; 4]);
        assert_eq!(add(10_005, 4), Some(5));
    }
}
