//! What is read of this process and its host when an interval ends.

use crate::proto::prober::SelfCounters;
use crate::proto::{ClockState, Wall};

/// The host, as this process finds it. What is not known is not published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostGauges {
    /// Nanoseconds of CPU since the process began, if the system says; published as those of each interval.
    pub cpu_ns: Option<u64>,
    /// Bytes of memory resident now, if the system says.
    pub resident_bytes: Option<u64>,
    /// Times that the wall clock was set since the process began; published as those of each
    /// interval.
    pub clock_steps: u64,
    /// What the kernel says of the wall clock, if it does.
    pub clock: Option<ClockState>,
    /// How the configuration was read, where it is read again.
    pub config: Option<ConfigRead>,
}

/// How the configuration was read last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConfigRead {
    /// False if it had a mistake, and the one before holds.
    pub is_ok: bool,
    /// When the one that holds was read.
    pub at: Wall,
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
