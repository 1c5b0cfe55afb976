//! How the delivery of a backend goes. The delivery counts; every sink publishes it as `monitor.backend.*`.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use crate::proto::Mono;

/// What waits to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queued {
    /// Bytes of all bodies.
    pub bytes: u64,
    /// Since when this process has had the oldest batch; `None`: nothing waits.
    pub oldest: Option<Mono>,
}

/// In place of how a try ended.
const NOTHING_TRIED: u8 = u8::MAX;

/// No time since when a batch can wait.
const NOTHING_WAITS: u64 = u64::MAX;

/// Makes the type with a counter for each row: how it is read, and how it is added to.
macro_rules! backend_stats {
    ($($(#[$doc:meta])* $name:ident, $count:ident;)*) => {
        /// The counters of one backend's delivery. Its threads add to them, the recorder reads them.
        #[derive(Debug)]
        pub struct BackendStats {
            name: Box<str>,
            queued_bytes: AtomicU64,
            /// Nanoseconds of [`Mono`]; [`NOTHING_WAITS`] if nothing does.
            oldest: AtomicU64,
            /// Records that went into the ring in all, known once the recorder ends.
            offered: AtomicU64,
            /// No more go into the ring.
            is_complete: AtomicBool,
            /// Those of them that the backend has published or given up.
            taken: AtomicU64,
            last_try: AtomicU8,
            $($name: AtomicU64,)*
        }

        impl BackendStats {
            /// Returns the counters of the backend of this name. Its series, its thread and its spool file carry
            /// the name too, so it must differ from those of the other backends.
            pub fn new(name: &str) -> Self {
                Self {
                    name: name.into(),
                    queued_bytes: AtomicU64::new(0),
                    oldest: AtomicU64::new(NOTHING_WAITS),
                    offered: AtomicU64::new(0),
                    is_complete: AtomicBool::new(false),
                    taken: AtomicU64::new(0),
                    last_try: AtomicU8::new(NOTHING_TRIED),
                    $($name: AtomicU64::new(0),)*
                }
            }

            $(
                $(#[$doc])*
                pub fn $name(&self) -> u64 {
                    self.$name.load(Ordering::Relaxed)
                }

                /// Adds to the number of:
                $(#[$doc])*
                pub fn $count(&self, more: u64) {
                    self.$name.fetch_add(more, Ordering::Relaxed);
                }
            )*
        }
    };
}

backend_stats! {
    /// Records that the backend took.
    sent, count_sent;
    /// Attempts to send a batch after the first one.
    retried, count_retried;
    /// Records that are never sent: the queue was full, or the backend refused them.
    dropped, count_dropped;
    /// Records for which the backend has no place.
    left_out, count_left_out;
    /// Batches that the disk did not take, and that wait in memory.
    spool_failed, count_spool_failed;
    /// Spools that could not be read and were set aside.
    spool_damaged, count_spool_damaged;
    /// Records that found no room in the backend's ring: its thread takes them too slowly.
    overrun, count_overrun;
    /// Records that the backend's thread gave up, for example since a write failed.
    gave_up, count_gave_up;
}

impl BackendStats {
    /// Returns the backend's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the number of records that the backend did not get from its ring, or gave up.
    pub fn samples_dropped(&self) -> u64 {
        self.overrun() + self.gave_up()
    }

    /// Says how many records went into the ring in all, and whether no more do.
    pub(super) fn set_offered(&self, records: u64, is_complete: bool) {
        self.offered.store(records, Ordering::Relaxed);
        self.is_complete.store(is_complete, Ordering::Release);
    }

    /// True once the last record went into the ring.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete.load(Ordering::Acquire)
    }

    /// Says how many records of the ring the backend is done with.
    pub(crate) fn set_taken(&self, records: u64) {
        self.taken.store(records, Ordering::Relaxed);
    }

    /// Says how the last try to publish something ended; `None`: there was none.
    pub(crate) fn set_last_try(&self, is_ok: Option<bool>) {
        let state = is_ok.map_or(NOTHING_TRIED, u8::from);
        self.last_try.store(state, Ordering::Relaxed);
    }

    /// Returns how the last try to publish something ended.
    pub fn last_try(&self) -> Option<bool> {
        match self.last_try.load(Ordering::Relaxed) {
            NOTHING_TRIED => None,
            is_ok => Some(is_ok > 0),
        }
    }

    /// Returns the number of records that the backend still has to take, once the recorder has ended.
    pub fn untaken(&self) -> u64 {
        let offered = self.offered.load(Ordering::Relaxed);
        offered.saturating_sub(self.taken.load(Ordering::Relaxed))
    }

    /// Returns what waits.
    pub fn queued(&self) -> Queued {
        let oldest = self.oldest.load(Ordering::Relaxed);
        Queued {
            bytes: self.queued_bytes.load(Ordering::Relaxed),
            oldest: (oldest != NOTHING_WAITS).then(|| Mono::from_nanos(oldest)),
        }
    }

    /// Says what waits now.
    pub fn set_queued(&self, queued: Queued) {
        self.queued_bytes.store(queued.bytes, Ordering::Relaxed);
        let oldest = queued.oldest.map_or(NOTHING_WAITS, Mono::as_nanos);
        self.oldest.store(oldest, Ordering::Relaxed);
    }

    /// Returns what waits, at the end of an interval.
    pub(super) fn backlog(&self, end: Mono) -> Backlog {
        let Queued { bytes, oldest } = self.queued();
        let age_ns = oldest.map_or(0, |oldest| end.since(oldest));
        Backlog { bytes, age_ns }
    }
}

/// What waits at the end of an interval.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backlog {
    /// Bytes of all bodies.
    pub(super) bytes: u64,
    /// Nanoseconds for which the oldest batch has waited; 0 if nothing waits.
    pub(super) age_ns: u64,
}
