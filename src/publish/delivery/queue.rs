//! Which batches wait, in their order. Pure: it knows of each where its body is, and no more.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::limits::BATCHES_QUEUED_MAX;
use crate::proto::Wall;
use crate::publish::Batch;
use crate::record::Queued;

/// Where a batch's bytes are.
#[derive(Clone, Debug)]
pub(super) enum Body {
    /// Here, and nowhere else.
    Memory(Arc<Batch>),
    /// In the spool, under the entry's key.
    Spooled,
}

/// A batch that waits.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Ascending; the order of sending.
    pub(super) key: u64,
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) created: Wall,
    /// How often it was sent.
    pub(super) attempts: u32,
    pub(super) body: Body,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Queue {
    entries: VecDeque<Entry>,
    bytes: u64,
    bytes_max: u64,
    /// The oldest one is with the transport right now: whether it arrives is not known.
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
            oldest: self.entries.front().map(|entry| entry.created),
        }
    }

    /// Whether so much more finds room.
    fn has_room(&self, bytes: u64) -> bool {
        self.entries.len() < BATCHES_QUEUED_MAX
            && self.bytes.saturating_add(bytes) <= self.bytes_max
    }

    /// Drops the oldest ones until there is room for `bytes`, into `dropped`. One that is being sent
    /// is passed over, for it may arrive. False if there is no room even so.
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

    /// Takes a batch in, behind all others.
    pub(super) fn push(&mut self, entry: Entry) {
        assert!(
            self.entries.back().is_none_or(|last| last.key < entry.key),
            "keys ascend"
        );
        self.bytes += entry.bytes;
        self.entries.push_back(entry);
    }

    /// The oldest one, which is sent now: until [`finished`](Self::finished) or [`kept`](Self::kept) it is
    /// not dropped.
    pub(super) fn begin(&mut self) -> Option<Entry> {
        let entry = self.entries.front_mut()?;
        entry.attempts = entry.attempts.saturating_add(1);
        self.is_sending = true;
        Some(entry.clone())
    }

    /// The one that was being sent is done with, however that came.
    pub(super) fn finished(&mut self) -> Option<Entry> {
        self.is_sending = false;
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.bytes;
        Some(entry)
    }

    /// The one that was being sent waits on.
    pub(super) fn kept(&mut self) {
        self.is_sending = false;
    }

    /// Everything that waits, in order.
    pub(super) fn entries_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.iter_mut()
    }

    /// Whether it is so empty that what was wrong may be called over.
    pub(super) fn is_relieved(&self) -> bool {
        self.bytes <= self.bytes_max / 2 && self.entries.len() <= BATCHES_QUEUED_MAX / 2
    }
}
