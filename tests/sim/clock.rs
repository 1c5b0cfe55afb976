//! The clocks of a simulated host, derived from the one true time.

use latency_monitor::proto::{Mono, Now, Wall};

use crate::truth::Instant;

/// The true time at which every run begins: an instant in 2026, in Unix nanoseconds.
const EPOCH_NS: i64 = 1_795_000_000_000_000_000;

/// One host's view of time: a monotonic clock with an origin of its own, and a wall clock that is
/// off by something, drifts, and can be set. Its rate can change too.
#[derive(Clone, Debug)]
pub(crate) struct HostClock {
    boot_ns: u64,
    offset_ns: i64,
    drift_ppb: i64,
    /// Since when it has this rate, in true time.
    since_ns: u64,
    /// When it was set last, in true time.
    stepped_ns: Option<u64>,
}

impl HostClock {
    pub(crate) const fn new(boot_ns: u64, offset_ns: i64, drift_ppb: i64) -> Self {
        Self {
            boot_ns,
            offset_ns,
            drift_ppb,
            since_ns: 0,
            stepped_ns: None,
        }
    }

    pub(crate) fn now(&self, true_ns: u64) -> Now {
        let passed = i64::try_from(true_ns).expect("virtual time fits");
        let drifted = self.drifted_ns(true_ns);
        Now {
            mono: Mono::from_nanos(self.boot_ns + true_ns),
            wall: Wall::from_unix_nanos(EPOCH_NS + passed + self.offset_ns + drifted),
        }
    }

    /// How far its rate has taken it since it has this one.
    fn drifted_ns(&self, true_ns: u64) -> i64 {
        let passed = i128::from(true_ns) - i128::from(self.since_ns);
        let drifted = passed * i128::from(self.drift_ppb) / 1_000_000_000;
        i64::try_from(drifted).expect("drift is small")
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

    /// From now on its wall clock runs at another rate.
    pub(crate) fn bend(&mut self, true_ns: u64, drift_ppb: i64) {
        self.offset_ns += self.drifted_ns(true_ns);
        self.drift_ppb = drift_ppb;
        self.since_ns = true_ns;
    }

    /// Somebody sets the wall clock.
    pub(crate) const fn step(&mut self, true_ns: u64, by_ns: i64) {
        self.offset_ns += by_ns;
        self.stepped_ns = Some(true_ns);
    }

    /// Whether it was set at this instant or later.
    pub(crate) fn is_set_since(&self, true_ns: u64) -> bool {
        self.stepped_ns.is_some_and(|at| at >= true_ns)
    }
}
