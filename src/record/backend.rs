//! How the delivery of a backend goes: counted where batches are queued and sent, published as
//! `monitor.backend.*` to every sink.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::proto::Wall;

/// What waits to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queued {
    /// Bytes of all bodies.
    pub bytes: u64,
    /// When the oldest batch was closed; `None`: nothing waits.
    pub oldest: Option<Wall>,
}

/// The counters of one backend's delivery. Its threads add to them, the recorder reads them.
#[derive(Debug)]
pub struct BackendStats {
    name: Box<str>,
    queued_bytes: AtomicU64,
    /// Unix nanoseconds; [`NOTHING_WAITS`] if nothing does.
    oldest: AtomicI64,
    sent: AtomicU64,
    retried: AtomicU64,
    dropped: AtomicU64,
    left_out: AtomicU64,
    spool_failed: AtomicU64,
}

/// No time at which a batch can have been closed.
const NOTHING_WAITS: i64 = i64::MIN;

impl BackendStats {
    /// Those of the backend of this name, which its series, its thread and its spool file carry
    /// too: it must differ from those of the other backends.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            queued_bytes: AtomicU64::new(0),
            oldest: AtomicI64::new(NOTHING_WAITS),
            sent: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
            spool_failed: AtomicU64::new(0),
        }
    }

    /// The backend's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Records that the backend took.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Attempts to send a batch after the first one.
    pub fn retried(&self) -> u64 {
        self.retried.load(Ordering::Relaxed)
    }

    /// Records that will never be sent: the queue was full, or the backend refused them.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Records for which the backend has no place.
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    /// Batches that the disk did not take, and that wait in memory.
    pub fn spool_failed(&self) -> u64 {
        self.spool_failed.load(Ordering::Relaxed)
    }

    /// What waits.
    pub fn queued(&self) -> Queued {
        let oldest = self.oldest.load(Ordering::Relaxed);
        Queued {
            bytes: self.queued_bytes.load(Ordering::Relaxed),
            oldest: (oldest != NOTHING_WAITS).then(|| Wall::from_unix_nanos(oldest)),
        }
    }

    /// Say what waits now.
    pub fn set_queued(&self, queued: Queued) {
        self.queued_bytes.store(queued.bytes, Ordering::Relaxed);
        let oldest = queued.oldest.map_or(NOTHING_WAITS, Wall::as_unix_nanos);
        self.oldest.store(oldest, Ordering::Relaxed);
    }

    /// The backend took this many records.
    pub fn count_sent(&self, records: u64) {
        self.sent.fetch_add(records, Ordering::Relaxed);
    }

    /// A batch is sent again.
    pub fn count_retried(&self) {
        self.retried.fetch_add(1, Ordering::Relaxed);
    }

    /// This many records will never be sent.
    pub fn count_dropped(&self, records: u64) {
        self.dropped.fetch_add(records, Ordering::Relaxed);
    }

    /// The backend has no place for this many records.
    pub fn count_left_out(&self, records: u64) {
        self.left_out.fetch_add(records, Ordering::Relaxed);
    }

    /// The disk did not take this many batches.
    pub fn count_spool_failed(&self, batches: u64) {
        self.spool_failed.fetch_add(batches, Ordering::Relaxed);
    }

    /// Returns what waits, at the end of an interval.
    pub(super) fn backlog(&self, end: Wall) -> Backlog {
        let Queued { bytes, oldest } = self.queued();
        // Below 0 only where the clock was set back since.
        let age_ns = oldest.map_or(0, |oldest| end.since(oldest).max(0));
        Backlog { bytes, age_ns }
    }
}

/// What waits at the end of an interval.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backlog {
    /// Bytes of all bodies.
    pub(super) bytes: u64,
    /// Nanoseconds since the oldest batch was closed; 0 if nothing waits.
    pub(super) age_ns: i64,
}
