//! The clocks of a simulated host, derived from the one true time.

use latency_monitor::proto::{Mono, Now, Wall};

use crate::truth::Instant;

/// The true time at which every run begins: an instant in 2026, in Unix nanoseconds.
const EPOCH_NS: i64 = 1_795_000_000_000_000_000;

/// One host's view of time: a monotonic clock with an origin of its own, and a wall clock that is
/// off by something, drifts, and can be set.
#[derive(Clone, Debug)]
pub(crate) struct HostClock {
    boot_ns: u64,
    offset_ns: i64,
    drift_ppb: i64,
}

impl HostClock {
    pub(crate) const fn new(boot_ns: u64, offset_ns: i64, drift_ppb: i64) -> Self {
        Self {
            boot_ns,
            offset_ns,
            drift_ppb,
        }
    }

    pub(crate) fn now(&self, true_ns: u64) -> Now {
        let passed = i64::try_from(true_ns).expect("virtual time fits");
        let drifted = i128::from(passed) * i128::from(self.drift_ppb) / 1_000_000_000;
        let drifted = i64::try_from(drifted).expect("drift is small");
        Now {
            mono: Mono::from_nanos(self.boot_ns + true_ns),
            wall: Wall::from_unix_nanos(EPOCH_NS + passed + self.offset_ns + drifted),
        }
    }

    /// An instant as the host's clock shows it.
    pub(crate) fn instant(&self, true_ns: u64) -> Instant {
        Instant {
            true_ns,
            wall_ns: self.now(true_ns).wall.as_unix_nanos(),
        }
    }

    /// The true time of a reading of the monotonic clock.
    pub(crate) const fn true_ns(&self, mono: Mono) -> u64 {
        mono.as_nanos() - self.boot_ns
    }

    /// Somebody sets the wall clock.
    pub(crate) const fn step(&mut self, by_ns: i64) {
        self.offset_ns += by_ns;
    }
}
