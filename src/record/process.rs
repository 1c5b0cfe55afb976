//! What is read of this process and its host when an interval ends.

use crate::proto::prober::SelfCounters;

/// The host, as this process finds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostGauges {
    /// Nanoseconds of CPU since the process began; published as those of each interval.
    pub cpu_ns: u64,
    /// Bytes of memory resident now, if the system says.
    pub resident_bytes: Option<u64>,
    /// Times that the wall clock was set since the process began; published as those of each
    /// interval.
    pub clock_steps: u64,
    /// Whether something keeps the wall clock to UTC, as far as the kernel knows.
    pub is_synchronised: bool,
    /// The wall clock's largest error in nanoseconds, as far as the kernel knows.
    pub clock_error_ns: u64,
}

/// The counters of this process, since it began.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ProcessCounters {
    /// Those of the core.
    pub(super) core: SelfCounters,
    /// Records that this sink's backend did not get, or gave up.
    pub(super) samples_dropped: u64,
    /// Dumps that were not written.
    pub(super) dumps_dropped: u64,
}
