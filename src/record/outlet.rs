//! Turns values into records in a ring: windows of this interval and the one before, differences of counts.

use std::collections::VecDeque;
use std::sync::Arc;

use rtrb::Producer;

use crate::limits::{RING_RECORDS_RESERVED, WINDOW_CUTS_MAX};
use crate::proto::{Mono, Now, StampSource, Wall};
use crate::record::backend::BackendStats;
use crate::record::choice::Choice;
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

    /// Takes the window of the interval before the one that began with this generation.
    fn take_ended(&mut self, first: u64) -> Option<Box<Window>> {
        let ended = |window: &mut Box<Window>| window.generation() < first;
        self.ended.take().or_else(|| self.current.take_if(ended))
    }
}

/// The series of a window that begins.
#[derive(Debug)]
pub(super) struct Begin {
    pub(super) series: Arc<Series>,
    /// True if the pool does not know of the series yet.
    pub(super) is_new: bool,
}

/// A value for a window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value {
    pub(super) ns: i64,
    pub(super) stamp: StampSource,
    /// How often the clocks that are in it have been set: values from before and after a step share no window.
    pub(super) steps: u32,
    /// When that was noticed last. The value's own time may be one of before.
    pub(super) stepped: Mono,
    /// For a window of delays over the least.
    pub(super) is_over_least: bool,
    pub(super) is_remote: bool,
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
    pub(super) stats: Arc<BackendStats>,
    /// The metrics that go out.
    pub(super) choice: Choice,
    /// Records that went into the ring.
    pub(super) pushed: u64,
    /// Counts the intervals, and the parts of them between steps of this host's clock.
    generation: u64,
    /// The generation with which the interval that runs began.
    first: u64,
    /// When the generation that runs began.
    began: Now,
    /// The ends of the generations before it, as far as windows of them may be here.
    ends: VecDeque<Wall>,
}

impl Outlet {
    pub(super) fn new(
        ring: Producer<Record>,
        pool: Pool,
        stats: Arc<BackendStats>,
        choice: Choice,
        began: Now,
    ) -> Self {
        Self {
            ring,
            pool,
            stats,
            choice,
            pushed: 0,
            generation: 0,
            first: 0,
            began,
            ends: VecDeque::new(),
        }
    }

    /// Ends the interval, and returns its end.
    pub(super) fn end_interval(&mut self, now: Now) -> Wall {
        let end = self.end_generation(now);
        self.first = self.generation;
        self.pool.end_window();
        end
    }

    /// Notes that everything of the intervals before this one has been handed over.
    pub(super) fn forget_ended(&mut self) {
        let of_this = usize::try_from(self.generation - self.first).unwrap_or(usize::MAX);
        let before = self.ends.len().saturating_sub(of_this);
        self.ends.drain(..before);
    }

    /// Cuts the interval, because this host's clock was set. A clock that is set again and again cuts it a bounded
    /// number of times.
    pub(super) fn step(&mut self, now: Now) {
        if self.ends.len() < WINDOW_CUTS_MAX {
            self.end_generation(now);
        }
    }

    fn end_generation(&mut self, now: Now) -> Wall {
        let end = self.by_its_clock(now.mono);
        self.ends.push_back(end);
        self.generation += 1;
        self.began = now;
        end
    }

    /// Returns a time of the generation that runs as the wall clock would show it had nobody set or slewed it since
    /// that began: every length is the monotonic clock's.
    fn by_its_clock(&self, at: Mono) -> Wall {
        let since_ns = at.since(self.began.mono);
        let since_ns = i64::try_from(since_ns).unwrap_or(i64::MAX);
        self.began.wall.plus(since_ns)
    }

    /// Returns the end of a generation before the one that runs.
    fn end_of(&self, generation: u64) -> Wall {
        let back = usize::try_from(self.generation - generation).unwrap_or(usize::MAX);
        let place = self.ends.len().checked_sub(back);
        let end = place.and_then(|place| self.ends.get(place));
        end.copied().unwrap_or(self.began.wall)
    }

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
        if has_room {
            self.push(record);
        } else {
            self.stats.count_overrun(1);
        }
    }

    /// Pushes a record for which the caller has found room.
    pub(super) fn push(&mut self, record: Record) {
        match self.ring.push(record) {
            Ok(()) => self.pushed += 1,
            Err(_) => self.stats.count_overrun(1),
        }
    }

    /// Takes a value. A window that begins asks `begin` for its series.
    pub(super) fn record(
        &mut self,
        windows: &mut Windows,
        begin: impl FnOnce() -> Begin,
        value: Value,
    ) {
        if let Some(window) = &mut windows.current
            && window.generation() == self.generation
            && window.steps() == value.steps
        {
            window.record(value.ns, value.stamp, &mut self.pool);
        } else {
            self.record_first(windows, begin, value);
        }
    }

    /// Takes the value that a window begins with.
    #[cold]
    fn record_first(&mut self, windows: &mut Windows, begin: impl FnOnce() -> Begin, value: Value) {
        let mut start = self.began.wall;
        if let Some(window) = windows.current.take() {
            if window.generation() == self.generation {
                // The other end's clock was set: this window begins where the one before it ends.
                start = self.by_its_clock(value.stepped);
            }
            self.put_aside(windows, window, &value);
        }
        let pool = &mut self.pool;
        let mut window = begin_window(pool, begin(), self.generation, start);
        window.mark(value.steps, value.is_over_least);
        window.record(value.ns, value.stamp, pool);
        windows.current = Some(window);
    }

    /// Puts a window aside that `value` does not belong to. One of the interval before is handed over with it; one
    /// that a step has cut goes at once, or is dropped and counted.
    #[cold]
    fn put_aside(&mut self, windows: &mut Windows, mut window: Box<Window>, value: &Value) {
        if window.generation() < self.first {
            windows.ended = Some(window);
            return;
        }
        let end = if window.generation() == self.generation {
            self.by_its_clock(value.stepped)
        } else {
            self.end_of(window.generation())
        };
        window.set_end(end);
        self.push_sample(Record::Window(window), value.is_remote);
    }

    pub(super) fn hand_over(&mut self, windows: &mut Windows) -> usize {
        let Some(mut window) = windows.take_ended(self.first) else {
            return 0;
        };
        window.set_end(self.end_of(window.generation()));
        self.push(Record::Window(window));
        1
    }

    /// Pushes the chosen counts of an interval that ended. Returns how many there were.
    pub(super) fn push_counts(
        &mut self,
        counts: impl Iterator<Item = (&'static Metric, u64)>,
        tags: &Arc<Tags>,
        at: Wall,
    ) -> usize {
        let mut pushed = 0;
        for (metric, value) in counts {
            if !self.choice.has(metric) {
                continue;
            }
            pushed += 1;
            let tags = Arc::clone(tags);
            self.push(Record::Count {
                metric,
                tags,
                at,
                value,
            });
        }
        pushed
    }

    /// Pushes the chosen gauges, read when an interval ended. Returns how many there were.
    pub(super) fn push_gauges(
        &mut self,
        gauges: impl IntoIterator<Item = (&'static Metric, i64)>,
        tags: &Arc<Tags>,
        at: Wall,
    ) -> usize {
        let mut pushed = 0;
        for (metric, value) in gauges {
            if !self.choice.has(metric) {
                continue;
            }
            pushed += 1;
            let tags = Arc::clone(tags);
            self.push(Record::Gauge {
                metric,
                tags,
                at,
                value,
            });
        }
        pushed
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
