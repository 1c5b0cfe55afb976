//! The two bounds that one exchange sets to the difference between two clocks.

use crate::proto::peer_clock::Exchange;
use crate::proto::time::Mono;

/// The fastest gain of one clock on another. The kernel lets a daemon change the rate of its clock
/// by 500 ppm, and there are two hosts.
pub(super) const SKEW_PPB_MAX: u64 = 1_000_000;

/// The largest error of a stamp, to the side that makes a delay look shorter. Kernel stamps come
/// from one clock and are good to tens of nanoseconds. Stamps of this process follow that clock to
/// within a microsecond (`clock.rs`). A delay between two of those contains two system calls, which
/// take longer than that.
pub(super) const STAMP_ERROR_NS: u64 = 1_000;

/// Stamps further apart than this (146 years) are invalid. Half of the range leaves room to add.
const STAMP_DIFFERENCE_NS_MAX: u64 = i64::MAX.unsigned_abs() / 2;

/// Returns how far two clocks can drift apart in a time, rounded up.
pub(super) fn drift_ns(time_ns: u64) -> u64 {
    const NS_PER_PPB: u64 = 1_000_000_000;
    const {
        assert!(NS_PER_PPB.is_multiple_of(SKEW_PPB_MAX));
    }
    // `div_ceil` looks at the rest as well, and this runs several times for each exchange.
    let is_some = u64::from(time_ns > 0);
    (time_ns - is_some) / (NS_PER_PPB / SKEW_PPB_MAX) + is_some
}

/// A range of the peer's clock less ours, at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) at: Mono,
    pub(super) low_ns: i64,
    pub(super) high_ns: i64,
}

impl Bounds {
    /// Returns the certain bounds of an exchange, at the instant of its end; `None` if one of its
    /// stamps must be wrong.
    ///
    /// The request took time, so the difference was at most `forward_ns` when it arrived. So did
    /// the reply: it was at least `-reverse_ns` when that left. Between then and the end, clocks
    /// may drift.
    pub(super) fn of(exchange: &Exchange) -> Option<Self> {
        let Exchange {
            at,
            forward_ns,
            reverse_ns,
            ..
        } = *exchange;
        let furthest_ns = forward_ns.unsigned_abs().max(reverse_ns.unsigned_abs());
        if furthest_ns > STAMP_DIFFERENCE_NS_MAX {
            return None;
        }
        let slack_ns = STAMP_ERROR_NS + drift_ns(exchange.length_ns());
        let bounds = Self {
            at,
            low_ns: (-reverse_ns).saturating_sub_unsigned(slack_ns),
            high_ns: forward_ns.saturating_add_unsigned(slack_ns),
        };
        (bounds.low_ns <= bounds.high_ns).then_some(bounds)
    }

    /// Returns the bounds that follow for another instant.
    pub(super) fn moved_to(self, at: Mono) -> Self {
        let drift_ns = drift_ns(at.since(self.at).max(self.at.since(at)));
        Self {
            at,
            low_ns: self.low_ns.saturating_sub_unsigned(drift_ns),
            high_ns: self.high_ns.saturating_add_unsigned(drift_ns),
        }
    }

    /// Returns the common bounds of two at the later one's instant, or the gap between them.
    pub(super) fn and(self, other: Self) -> Result<Self, u64> {
        let (earlier, later) = if self.at <= other.at {
            (self, other)
        } else {
            (other, self)
        };
        let at = later.at;
        let moved = earlier.moved_to(at);
        let low_ns = moved.low_ns.max(later.low_ns);
        let high_ns = moved.high_ns.min(later.high_ns);
        if low_ns > high_ns {
            return Err(low_ns.abs_diff(high_ns));
        }
        Ok(Self {
            at,
            low_ns,
            high_ns,
        })
    }

    pub(super) fn width_ns(self) -> u64 {
        self.high_ns.abs_diff(self.low_ns)
    }

    pub(super) fn middle_ns(self) -> i64 {
        let half_ns = self.width_ns() / 2;
        self.low_ns.saturating_add_unsigned(half_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(at_ns: u64, low_ns: i64, high_ns: i64) -> Bounds {
        Bounds {
            at: Mono::from_nanos(at_ns),
            low_ns,
            high_ns,
        }
    }

    #[test]
    fn drift_is_a_thousandth_rounded_up() {
        assert_eq!(drift_ns(0), 0);
        assert_eq!(drift_ns(1), 1);
        assert_eq!(drift_ns(1_000), 1);
        assert_eq!(drift_ns(1_001), 2);
        assert_eq!(drift_ns(u64::MAX), u64::MAX / 1_000 + 1);
    }

    #[test]
    fn an_exchange_bounds_the_difference_from_both_sides() {
        let exchange = Exchange {
            at: Mono::from_nanos(9_000_000),
            forward_ns: 500_000,
            reverse_ns: -300_000,
            took_ns: 5_000_000,
        };
        // A microsecond for the stamps and a thousandth of the exchange's length.
        let expected = bounds(9_000_000, 294_000, 506_000);
        assert_eq!(Bounds::of(&exchange), Some(expected));
    }

    #[test]
    fn the_length_is_never_taken_for_less_than_the_two_delays() {
        let exchange = Exchange {
            at: Mono::ZERO,
            forward_ns: 3_000_000,
            reverse_ns: 2_000_000,
            took_ns: 0,
        };
        let expected = bounds(0, -2_006_000, 3_006_000);
        assert_eq!(Bounds::of(&exchange), Some(expected));
    }

    #[test]
    fn a_negative_round_trip_is_a_wrong_stamp() {
        let exchange = |forward_ns| Exchange {
            at: Mono::ZERO,
            forward_ns,
            reverse_ns: -1_000_000,
            took_ns: 1_000_000,
        };
        // Twice a microsecond for the stamps, and twice one for the drift.
        assert!(Bounds::of(&exchange(996_000)).is_some());
        assert!(Bounds::of(&exchange(995_999)).is_none());
    }

    #[test]
    fn two_together_are_narrower_or_apart() {
        let one = bounds(0, -100, 100);
        assert_eq!(
            one.and(bounds(50_000, 120, 500)),
            Ok(bounds(50_000, 120, 150))
        );
        assert_eq!(one.and(bounds(50_000, 151, 500)), Err(1));
        assert_eq!(bounds(50_000, 151, 500).and(one), Err(1));
        let ends = (bounds(0, i64::MIN, i64::MIN), bounds(0, i64::MAX, i64::MAX));
        assert_eq!(ends.0.and(ends.1), Err(u64::MAX));
        assert_eq!(bounds(0, i64::MIN, i64::MAX).middle_ns(), -1);
    }
}
