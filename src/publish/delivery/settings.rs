//! What the queue can be told.

use std::path::PathBuf;
use std::time::Duration;

/// How batches wait and are sent, the same for all that have a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliverySettings {
    /// How often a batch is closed and sent.
    pub send_interval: Duration,
    /// Mebibytes of batches that wait at most, in memory or on disk.
    pub buffer_mib: u32,
    /// Where batches wait across a restart; `None`: in memory only.
    pub spool_dir: Option<PathBuf>,
}

impl Default for DeliverySettings {
    fn default() -> Self {
        Self {
            send_interval: Duration::from_secs(30),
            buffer_mib: 64,
            spool_dir: None,
        }
    }
}
