//! The [`Feed`]: the flush thread's end of a sink. Records come out, empty windows go back.

use std::sync::Arc;

use hdrhistogram::Histogram;
use rtrb::{Consumer, Producer, PushError};

use crate::record::backend::BackendStats;
use crate::record::records::Record;
use crate::record::window::Window;

/// The source of one backend's records. It never blocks, and never holds up the poll thread.
#[derive(Debug)]
pub struct Feed {
    pub(super) records: Consumer<Record>,
    pub(super) returns: Producer<Box<Window>>,
    /// Empty windows that found no room on their way back.
    #[expect(clippy::vec_box, reason = "each goes on in the box that it came in")]
    pub(super) emptied: Vec<Box<Window>>,
    pub(super) stats: Arc<BackendStats>,
    /// An empty histogram, for a window over the least that moves its values into another.
    pub(super) spare: Option<Box<Histogram<u32>>>,
}

impl Feed {
    /// Returns the next record, if there is one.
    pub fn poll(&mut self) -> Option<Record> {
        self.give_back();
        let mut record = self.records.pop().ok()?;
        if let Record::Window(window) = &mut record {
            window.settle(&mut self.spare);
        }
        Some(record)
    }

    /// Gives a published record back, so that its memory is used again.
    pub fn recycle(&mut self, record: Record) {
        if let Record::Window(mut window) = record {
            window.clear();
            self.emptied.push(window);
            self.give_back();
        }
    }

    /// Returns empty windows to the poll thread, which takes a few at a time. If they were freed here, it would
    /// have to allocate new ones at its busiest moment.
    fn give_back(&mut self) {
        while let Some(window) = self.emptied.pop() {
            if let Err(PushError::Full(window)) = self.returns.push(window) {
                return self.emptied.push(window);
            }
        }
    }

    /// Counts records that a backend gave up, in this backend's `monitor.samples_dropped`.
    pub fn count_dropped(&self, records: u64) {
        self.stats.count_gave_up(records);
    }

    /// Returns the counters of the backend.
    pub fn stats(&self) -> &Arc<BackendStats> {
        &self.stats
    }

    /// True once no more records come; those that are there can still be polled.
    pub fn is_complete(&self) -> bool {
        self.stats.is_complete() || self.is_ended()
    }

    /// True once the recorder is gone; what it left can still be polled.
    pub fn is_ended(&self) -> bool {
        self.records.is_abandoned()
    }
}
