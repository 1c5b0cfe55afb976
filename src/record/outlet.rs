//! Turns values into records in a ring: windows of this interval and the one before, differences of counts.

use std::sync::Arc;

use rtrb::Producer;

use crate::limits::RING_RECORDS_RESERVED;
use crate::proto::{OneWay, StampSource, Wall};
use crate::record::counts::difference;
use crate::record::metrics::Metric;
use crate::record::pool::Pool;
use crate::record::records::Record;
use crate::record::series::{Series, Tags};
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

    /// Puts a window of an interval before this one aside.
    fn end(&mut self, generation: u64) {
        let ended = |window: &mut Box<Window>| window.generation() != generation;
        if let Some(window) = self.current.take_if(ended) {
            self.ended = Some(window);
        }
    }

    fn take_ended(&mut self, generation: u64) -> Option<Box<Window>> {
        self.ended.take().or_else(|| {
            self.current
                .take_if(|window| window.generation() != generation)
        })
    }
}

/// The series of a window that begins.
#[derive(Debug)]
pub(super) struct Begin {
    pub(super) series: Arc<Series>,
    /// True if the pool does not know of the series yet.
    pub(super) is_new: bool,
}

/// A cumulative count as last published, and its difference in the interval being handed over.
#[derive(Debug)]
pub(super) struct Count<const N: usize> {
    pub(super) published: [u64; N],
    pub(super) due: Option<[u64; N]>,
}

impl<const N: usize> Default for Count<N> {
    fn default() -> Self {
        Self {
            published: [0; N],
            due: None,
        }
    }
}

impl<const N: usize> Count<N> {
    pub(super) fn end_window(&mut self, totals: &[u64; N]) {
        let mut due = difference(totals, &self.published);
        // Of an interval that was ending when the last one came.
        for (due, before) in due.iter_mut().zip(self.due.unwrap_or([0; N])) {
            *due += before;
        }
        self.due = Some(due);
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
    /// Pushes what comes with a packet, or drops and counts it. It never takes the room that is reserved for
    /// windows and counts. What comes of a remote sender, who may send as much as he likes, never takes the
    /// half that is reserved for our own flows.
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

    /// Pushes a record for which the caller has found room.
    pub(super) fn push(&mut self, record: Record) {
        if self.ring.push(record).is_err() {
            self.dropped += 1;
        }
    }

    /// Takes a value. A window that begins asks `begin` for its series.
    pub(super) fn record(
        &mut self,
        windows: &mut Windows,
        begin: impl FnOnce() -> Begin,
        value_ns: i64,
        stamp: StampSource,
    ) {
        windows.end(self.generation);
        let pool = &mut self.pool;
        windows
            .current
            .get_or_insert_with(|| begin_window(pool, begin(), self.generation, self.start))
            .record(value_ns, stamp, pool);
    }

    /// Takes a delay into a window of delays over the least. `steps` counts how often the clocks of its series
    /// were set: delays from before and after a step never share a window.
    pub(super) fn record_over_least(
        &mut self,
        windows: &mut Windows,
        begin: impl FnOnce() -> Begin,
        one_way: &OneWay,
        steps: u32,
        is_remote: bool,
    ) {
        let generation = self.generation;
        let mut start = self.start;
        if let Some(window) = windows
            .current
            .take_if(|window| window.generation() == generation && window.steps() != steps)
        {
            // Its end is when its last packet came in.
            self.push_sample(Record::Window(window), is_remote);
            start = one_way.at;
        }
        windows.end(generation);
        let pool = &mut self.pool;
        let window = windows.current.get_or_insert_with(|| {
            let mut window = begin_window(pool, begin(), generation, start);
            window.begin_over_least(steps);
            window
        });
        window.record(one_way.delay_ns, one_way.stamp, pool);
        window.set_end(one_way.at);
    }

    pub(super) fn hand_over(&mut self, windows: &mut Windows, end: Wall) -> usize {
        let Some(mut window) = windows.take_ended(self.generation) else {
            return 0;
        };
        window.set_end(end);
        self.push(Record::Window(window));
        1
    }

    /// Pushes counts of an interval that ended. Returns how many there were.
    pub(super) fn push_counts(
        &mut self,
        counts: impl Iterator<Item = (&'static Metric, u64)>,
        tags: &Arc<Tags>,
        at: Wall,
    ) -> usize {
        let push = |(metric, value)| {
            let tags = Arc::clone(tags);
            self.push(Record::Count {
                metric,
                tags,
                at,
                value,
            });
        };
        counts.map(push).count()
    }

    /// Pushes gauges, read when an interval ended. Returns how many there were.
    pub(super) fn push_gauges(
        &mut self,
        gauges: impl IntoIterator<Item = (&'static Metric, i64)>,
        tags: &Arc<Tags>,
        at: Wall,
    ) -> usize {
        let push = |(metric, value)| {
            let tags = Arc::clone(tags);
            self.push(Record::Gauge {
                metric,
                tags,
                at,
                value,
            });
        };
        gauges.into_iter().map(push).count()
    }
}

fn begin_window(
    pool: &mut Pool,
    Begin { series, is_new }: Begin,
    generation: u64,
    start: Wall,
) -> Box<Window> {
    if is_new {
        pool.add_series(&series);
    }
    pool.window(&series, generation, start)
}
