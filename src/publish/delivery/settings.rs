//! The settings of the queue.

use std::path::PathBuf;
use std::time::Duration;

/// How batches wait and are sent; the same for all backends with a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliverySettings {
    /// The time after which a batch is closed and sent.
    pub send_interval: Duration,
    /// The most mebibytes of pending batches, in memory or on disk.
    pub buffer_mib: u32,
    /// The folder that keeps batches over a restart. `None`: memory only.
    pub spool_dir: Option<PathBuf>,
}
