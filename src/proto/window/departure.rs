//! When a probe left, and the round trip that a reply makes of it.

use crate::proto::sample::{Stamp, StampSource};
use crate::proto::time::{Mono, Now};
use crate::proto::transmit::Arrival;

/// How much longer two stamps of the kernel may lie apart than two readings of the monotonic clock
/// around them. The wall clock is slewed by 500 ppm at most and anchored to a microsecond; what is
/// over this is a clock that was set in between.
pub(super) const STEP_LEAST_NS: i64 = 1_000_000;

/// T1 of a probe, and whether it was taken by the clock that is still in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Departure {
    /// When it was handed to the kernel.
    pub(crate) sent: Mono,
    /// When it left.
    pub(crate) left: Stamp,
    /// No step of our wall clock since.
    pub(crate) is_comparable: bool,
}

impl Departure {
    /// Returns T4 - T1: between two stamps of the kernel where there are such and the clock they were
    /// read from was not set in between, else between two readings of the monotonic clock.
    pub(crate) fn elapsed(&self, arrival: &Arrival) -> Measured {
        let by_mono = i64::try_from(arrival.now.mono.since(self.sent)).unwrap_or(i64::MAX);
        let received = arrival.best();
        let source = received.source.min(self.left.source);
        let by_wall = received.at.since(self.left.at);
        let is_sane = (0..=by_mono.saturating_add(STEP_LEAST_NS)).contains(&by_wall);
        let is_by_kernel = source > StampSource::User && self.is_comparable && is_sane;
        Measured {
            value_ns: if is_by_kernel { by_wall } else { by_mono },
            stamp: if is_by_kernel {
                source
            } else {
                StampSource::User
            },
            dwell_ns: None,
        }
    }

    /// T1 by the clock that is in force at `now`: if that was set since, it is told from how long ago
    /// the probe was sent.
    pub(super) fn left_by(&self, now: Now) -> Stamp {
        if self.is_comparable {
            return self.left;
        }
        let ago_ns = i64::try_from(now.mono.since(self.sent)).unwrap_or(i64::MAX);
        Stamp::user(now.wall.plus(-ago_ns))
    }
}

/// A round trip to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Measured {
    /// In nanoseconds.
    pub(crate) value_ns: i64,
    pub(crate) stamp: StampSource,
    /// The reflector's dwell in nanoseconds, if it was subtracted.
    pub(crate) dwell_ns: Option<u32>,
}

/// What a reply turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The first one in time. Its delay is still to be published.
    Received,
    /// The first one, after the timeout.
    Late,
    /// One more.
    Duplicate,
    /// To no probe that is remembered.
    Unknown,
}
