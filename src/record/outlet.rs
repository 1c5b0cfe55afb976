//! How values become records in a ring: windows and the one before, counts and their differences.

use std::sync::Arc;

use rtrb::Producer;

use crate::limits::RING_RECORDS_RESERVED;
use crate::proto::{StampSource, Wall};
use crate::record::directory::{COUNTS, Counted, difference};
use crate::record::item::{Record, Series, Tags};
use crate::record::pool::Pool;
use crate::record::window::Window;

/// A window being filled, and the one before it while that waits to be handed over.
#[derive(Debug, Default)]
pub(super) struct Windows {
    current: Option<Box<Window>>,
    ended: Option<Box<Window>>,
}

impl Windows {
    pub(super) fn is_empty(&self) -> bool {
        self.current.is_none() && self.ended.is_none()
    }

    pub(super) fn take_ended(&mut self, generation: u64) -> Option<Box<Window>> {
        self.ended.take().or_else(|| {
            self.current
                .take_if(|window| window.generation() != generation)
        })
    }
}

/// A cumulative count as last published, and its difference in the interval being handed over.
#[derive(Debug, Default)]
pub(super) struct Count {
    pub(super) published: Counted,
    pub(super) due: Option<Counted>,
}

impl Count {
    pub(super) fn end_window(&mut self, totals: &Counted) {
        self.due = Some(difference(totals, &self.published));
        self.published = *totals;
    }
}

/// Where a sink's records go out: its ring, the memory of its windows, the interval that runs.
#[derive(Debug)]
pub(super) struct Outlet {
    pub(super) ring: Producer<Record>,
    pub(super) pool: Pool,
    pub(super) dropped: u64,
    pub(super) generation: u64,
    pub(super) start: Wall,
}

impl Outlet {
    /// Push a sample, unless that would take the room kept for windows and counts, or one of a remote
    /// sender the half that is kept for our own: others may send as much as they like.
    pub(super) fn push_sample(&mut self, record: Record, is_remote: bool) {
        let reserved = if is_remote {
            RING_RECORDS_RESERVED.max(self.ring.buffer().capacity() / 2)
        } else {
            RING_RECORDS_RESERVED
        };
        let has_room = self.ring.cached_slots() > reserved || self.ring.slots() > reserved;
        if !has_room || self.ring.push(record).is_err() {
            self.dropped += 1;
        }
    }

    /// Push what room was found for before.
    pub(super) fn push(&mut self, record: Record) {
        if self.ring.push(record).is_err() {
            self.dropped += 1;
        }
    }

    pub(super) fn record(
        &mut self,
        windows: &mut Windows,
        series: &Arc<Series>,
        value_ns: i64,
        stamp: StampSource,
    ) {
        if let Some(window) = windows
            .current
            .take_if(|window| window.generation() != self.generation)
        {
            windows.ended = Some(window);
        }
        let pool = &mut self.pool;
        windows
            .current
            .get_or_insert_with(|| pool.window(series, self.generation, self.start))
            .record(value_ns, stamp, pool);
    }

    pub(super) fn hand_over(&mut self, windows: &mut Windows, end: Wall) -> usize {
        let Some(mut window) = windows.take_ended(self.generation) else {
            return 0;
        };
        window.set_end(end);
        self.push(Record::Window(window));
        1
    }

    pub(super) fn hand_over_counts(
        &mut self,
        count: &mut Count,
        names: &[Option<&'static str>; COUNTS],
        tags: &Arc<Tags>,
        at: Wall,
    ) -> usize {
        let Some(due) = count.due.take() else {
            return 0;
        };
        let mut pushed = 0;
        for (name, value) in names.iter().zip(due) {
            if let &Some(name) = name {
                let tags = Arc::clone(tags);
                self.push(Record::Count {
                    name,
                    tags,
                    at,
                    value,
                });
                pushed += 1;
            }
        }
        pushed
    }
}
