//! The pending batches in their order. Pure: of each it knows where its body is, and no more.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::limits::BATCHES_QUEUED_MAX;
use crate::proto::{Mono, Wall};
use crate::publish::Batch;
use crate::record::Queued;

/// The place of the bytes of a batch.
#[derive(Clone, Debug)]
pub(super) enum Body {
    /// In memory only.
    Memory(Arc<Batch>),
    /// In the spool, under the entry's key.
    Spooled,
}

/// A pending batch.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The key; keys ascend in the order of sending.
    pub(super) key: u64,
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// When the batch was made, for the spool.
    pub(super) created: Wall,
    /// Since when this process has had it.
    pub(super) since: Mono,
    /// The number of attempts to send it.
    pub(super) attempts: u32,
    pub(super) body: Body,
}

/// The queue; see the [module](self).
pub(super) struct Queue {
    entries: VecDeque<Entry>,
    bytes: u64,
    bytes_max: u64,
    /// The transport has the oldest batch right now. Whether it arrives is not known.
    is_sending: bool,
}

impl Queue {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            bytes_max,
            is_sending: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn queued(&self) -> Queued {
        Queued {
            bytes: self.bytes,
            oldest: self.entries.front().map(|entry| entry.since),
        }
    }

    /// True if there is room for `bytes` more.
    fn has_room(&self, bytes: u64) -> bool {
        self.entries.len() < BATCHES_QUEUED_MAX
            && self.bytes.saturating_add(bytes) <= self.bytes_max
    }

    /// Moves the oldest batches into `dropped` until there is room for `bytes`. A batch that is
    /// being sent is passed over, since it may arrive. Returns false if there is no room even so.
    pub(super) fn make_room(&mut self, bytes: u64, dropped: &mut Vec<Entry>) -> bool {
        let sending = self.entries.front().filter(|_| self.is_sending);
        let held = sending.map_or(0, |entry| entry.bytes);
        if held.saturating_add(bytes) > self.bytes_max {
            return false;
        }
        while !self.has_room(bytes) {
            let Some(entry) = self.entries.remove(usize::from(self.is_sending)) else {
                return false;
            };
            self.bytes -= entry.bytes;
            dropped.push(entry);
        }
        true
    }

    /// Appends a batch.
    pub(super) fn push(&mut self, entry: Entry) {
        assert!(
            self.entries.back().is_none_or(|last| last.key < entry.key),
            "keys ascend"
        );
        self.bytes += entry.bytes;
        self.entries.push_back(entry);
    }

    /// Puts batches of an earlier run before those that wait, which are in memory only and get keys
    /// after theirs. Returns the key of the next batch. One that is being sent stays the first.
    pub(super) fn put_first(&mut self, found: Vec<Entry>) -> u64 {
        let mut next_key = found.last().map_or(0, |last| last.key + 1);
        for entry in &mut self.entries {
            entry.key = next_key;
            next_key += 1;
        }
        let first = usize::from(self.is_sending);
        for entry in found.into_iter().rev() {
            self.bytes += entry.bytes;
            self.entries.insert(first, entry);
        }
        next_key
    }

    /// Returns the oldest batch, to be sent now. It is not dropped until
    /// [`finished`](Self::finished) or [`kept`](Self::kept) is called.
    pub(super) fn begin(&mut self) -> Option<Entry> {
        let entry = self.entries.front_mut()?;
        entry.attempts = entry.attempts.saturating_add(1);
        self.is_sending = true;
        Some(entry.clone())
    }

    /// Removes the batch that was being sent, whether it was taken or refused.
    pub(super) fn finished(&mut self) -> Option<Entry> {
        self.is_sending = false;
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.bytes;
        Some(entry)
    }

    /// Notes that so many records of the batch that is being sent are taken or refused.
    pub(super) fn shrink(&mut self, records: u64) {
        if let Some(entry) = self.entries.front_mut() {
            entry.records = entry.records.saturating_sub(records);
        }
    }

    /// Keeps the batch that was being sent for another attempt.
    pub(super) fn kept(&mut self) {
        self.is_sending = false;
    }

    /// Returns all pending batches in order.
    pub(super) fn entries_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.iter_mut()
    }

    /// True once the queue is less than half full, so that the outage can be reported as over.
    pub(super) fn is_relieved(&self) -> bool {
        self.bytes <= self.bytes_max / 2 && self.entries.len() <= BATCHES_QUEUED_MAX / 2
    }
}
