//! The bounds of classic histograms, as users give them.

use std::sync::Arc;

use crate::limits::BUCKETS_MAX;

/// Upper bounds of buckets: finite and ascending, without the infinite one.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounds {
    seconds: Arc<[f64]>,
    ns: Arc<[i64]>,
}

impl Bounds {
    /// Parses bounds in seconds: ascending, above 0, at most [`BUCKETS_MAX`].
    pub fn parse(seconds: &[f64]) -> Result<Self, String> {
        let count = seconds.len();
        if !(1..=BUCKETS_MAX).contains(&count) {
            return Err(format!("must be 1 to {BUCKETS_MAX} bounds, not {count}"));
        }
        // Written so that a NaN is wrong as well.
        let is_bound = |bound: &f64| bound.is_finite() && *bound > 0.0;
        if let Some(bound) = seconds.iter().find(|bound| !is_bound(bound)) {
            return Err(format!("must be seconds above 0, not {bound}"));
        }
        let mut pairs = seconds.windows(2);
        if let Some([before, after]) = pairs.find(|pair| pair[0] >= pair[1]) {
            return Err(format!("must ascend, and {after} comes after {before}"));
        }
        Ok(Self::new(seconds.to_vec()))
    }

    /// The bounds in seconds.
    pub fn seconds(&self) -> &[f64] {
        &self.seconds
    }

    /// The last nanosecond of each bucket.
    pub(super) fn ns(&self) -> &[i64] {
        &self.ns
    }

    /// Bounds that are finite, in any order.
    pub(super) fn new(mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        let ns = seconds.iter().map(|&bound| as_ns(bound)).collect();
        Self {
            seconds: seconds.into(),
            ns,
        }
    }
}

/// The last nanosecond that is not above a bound.
#[expect(
    clippy::cast_possible_truncation,
    reason = "bounds of centuries become the longest that there is"
)]
fn as_ns(bound: f64) -> i64 {
    // A decimal number of nanoseconds must not become one less by how floats have it.
    (bound * 1e9 + 1e-3).floor() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_seconds_that_ascend() {
        let bounds = Bounds::parse(&[1e-6, 0.001, 1.0]).unwrap();
        assert_eq!(bounds.seconds(), [1e-6, 0.001, 1.0]);
        assert_eq!(bounds.ns(), [1_000, 1_000_000, 1_000_000_000]);
        let many = vec![1.0; BUCKETS_MAX + 1];
        for wrong in [
            &[][..],
            &[f64::NAN],
            &[f64::INFINITY],
            &[0.0],
            &[1.0, 1.0],
            &many,
        ] {
            assert!(Bounds::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
