//! The flush thread's end of a sink: records come out, emptied windows go back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hdrhistogram::Histogram;
use rtrb::{Consumer, Producer, PushError};

use crate::record::records::Record;
use crate::record::window::Window;

/// What one backend is fed from. It never blocks, and never holds up the poll thread.
#[derive(Debug)]
pub struct Feed {
    pub(super) records: Consumer<Record>,
    pub(super) returns: Producer<Box<Window>>,
    /// Emptied windows that found no room on their way back.
    #[expect(clippy::vec_box, reason = "each goes on in the box that it came in")]
    pub(super) emptied: Vec<Box<Window>>,
    pub(crate) dropped: Arc<AtomicU64>,
    /// Empty, for a window whose values are to be moved from one into another.
    pub(super) spare: Option<Box<Histogram<u32>>>,
}

impl Feed {
    /// The next record, if there is one.
    pub fn poll(&mut self) -> Option<Record> {
        self.give_back();
        let mut record = self.records.pop().ok()?;
        if let Record::Window(window) = &mut record {
            window.settle(&mut self.spare);
        }
        Some(record)
    }

    /// Give a published record back, so that its memory is used again.
    pub fn recycle(&mut self, record: Record) {
        if let Record::Window(mut window) = record {
            window.clear();
            self.emptied.push(window);
            self.give_back();
        }
    }

    /// The poll thread takes a few at a time. Freed here, they would leave holes in its memory, and it
    /// would have to make new ones at its busiest moment.
    fn give_back(&mut self) {
        while let Some(window) = self.emptied.pop() {
            if let Err(PushError::Full(window)) = self.returns.push(window) {
                return self.emptied.push(window);
            }
        }
    }

    /// Count records that a backend gave up, in this backend's `monitor.samples_dropped`.
    pub fn count_dropped(&self, records: u64) {
        self.dropped.fetch_add(records, Ordering::Relaxed);
    }

    /// True once the recorder is gone; what it left can still be polled.
    pub fn is_ended(&self) -> bool {
        self.records.is_abandoned()
    }
}
