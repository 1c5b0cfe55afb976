//! What a backend is.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::record::{BackendStats, Record};

/// A place that records are published to. Only its own flush thread calls it, so it may wait.
pub trait Backend: Send {
    /// Its name in the configuration and in messages.
    fn name(&self) -> &'static str;

    /// What is known of its queue, if it has one; published as `monitor.backend.*`.
    fn stats(&self) -> Option<Arc<BackendStats>> {
        None
    }

    /// Take a record: send it, or gather it for later. An error says how many records are lost,
    /// this one included if it is.
    fn publish(&mut self, record: &Record) -> Result<(), PublishError>;

    /// There are no more records for now: send what is to be sent by now. Called at least every
    /// few tens of milliseconds while the backend does not itself wait, so it is also the moment
    /// to retry.
    fn flush(&mut self) -> Result<(), PublishError>;

    /// There will be no more records: send what is left, within `timeout`.
    fn finish(&mut self, timeout: Duration) -> Result<(), PublishError> {
        let _ = timeout;
        self.flush()
    }
}

/// Why a backend did not publish.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// Whoever read its output is gone, and nothing can be published any more.
    #[error("{backend}: the reader has gone")]
    Closed {
        /// The backend's name.
        backend: &'static str,
    },
    /// One record found no room.
    #[error("{backend}: no room; records are dropped and counted")]
    Full {
        /// The backend's name.
        backend: &'static str,
    },
    /// A write failed.
    #[error("{backend}: write failed, {lost} records are lost: {source}")]
    Write {
        /// The backend's name.
        backend: &'static str,
        /// How many records were in it.
        lost: u64,
        /// What the system said.
        source: io::Error,
    },
}

impl PublishError {
    /// How many records are lost with this error.
    pub fn lost(&self) -> u64 {
        match self {
            Self::Closed { .. } => 0,
            Self::Full { .. } => 1,
            Self::Write { lost, .. } => *lost,
        }
    }
}
