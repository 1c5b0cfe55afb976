//! The trait that all backends implement, and their errors.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::record::{BackendStats, Record};

/// Publishes records to one place. Only its own flush thread calls it, so it may wait.
pub trait Backend: Send {
    /// The name in messages and in `monitor.backend.*`: that of the kind, or one that was given.
    fn name(&self) -> &str;

    /// The figures of its queue, if it has one; published as `monitor.backend.*`.
    fn stats(&self) -> Option<Arc<BackendStats>> {
        None
    }

    /// How its last try to send something ended, if a thread of its own sends: then what it takes says nothing.
    fn last_try(&self) -> Tried {
        Tried::AsTaken
    }

    /// Sends a record, or gathers it for later. An error says how many records are lost, this one
    /// included if it is.
    fn publish(&mut self, record: &Record) -> Result<(), PublishError>;

    /// Sends what is due. The flush thread calls it whenever its ring is empty, every 25 ms at
    /// least unless the backend itself waits. So it is also the moment to retry.
    fn flush(&mut self) -> Result<(), PublishError>;

    /// Sends what is left within `timeout`. No record comes after this.
    fn finish(&mut self, timeout: Duration) -> Result<(), PublishError> {
        let _ = timeout;
        self.flush()
    }
}

/// How the last try to send something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried {
    /// As the last call did.
    AsTaken,
    /// Nothing was tried yet.
    Nothing,
    /// It was sent, or not.
    Ended {
        /// Whether it was.
        is_ok: bool,
    },
}

impl Tried {
    /// How a try ended, if there was one.
    pub(super) fn of(is_ok: Option<bool>) -> Self {
        is_ok.map_or(Self::Nothing, |is_ok| Self::Ended { is_ok })
    }
}

/// Why a backend did not publish.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The reader of its output is gone, so nothing can be published any more.
    #[error("the reader has gone")]
    Closed,
    /// There was no room for one record.
    #[error("no room; records are dropped and counted")]
    Full,
    /// A write failed.
    #[error("write failed, {lost} records are lost: {source}")]
    Write {
        /// The number of records in that write.
        lost: u64,
        /// The error of the system.
        source: io::Error,
    },
}

impl PublishError {
    /// A write of `lost` records failed for a reason that is no error of the system.
    pub(super) fn other(lost: u64, reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let source = io::Error::other(reason);
        Self::Write { lost, source }
    }

    /// Returns the number of records that are lost with this error.
    pub fn lost(&self) -> u64 {
        match self {
            Self::Closed => 0,
            Self::Full => 1,
            Self::Write { lost, .. } => *lost,
        }
    }
}
