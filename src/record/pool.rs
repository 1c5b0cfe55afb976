//! The memory of the windows, used again from interval to interval.
//!
//! Values are kept in chunks of one size, so that what one series gives back serves any other and
//! memory follows the samples. A window travels to the flush thread with its chunks and comes back
//! emptied over a ring; the recorder allocates only while there is more to hold than ever before.
//! What was idle through a whole interval is released little by little.

use std::fmt;
use std::sync::Arc;

use hdrhistogram::Histogram;
use rtrb::Consumer;

use crate::limits::{POOL_RELEASES_PER_TURN_MAX, POOL_RETURNS_PER_TAKE_MAX};
use crate::proto::Wall;
use crate::record::item::Series;
use crate::record::window::{Window, histogram};

/// Values of one chunk: with what else it holds it fills 256 bytes, which at one probe a second hold a
/// window of a minute.
pub(super) const CHUNK_VALUES: u32 = 59;

/// Some values of one window, and the way to those before them.
///
/// They are kept as distances from the first of them: at 100,000 probes a second it is their way to
/// memory that a poll thread waits for, and delays of one flow lie within seconds of each other, also
/// where hours between two clocks are in all of them.
#[derive(Clone)]
pub(super) struct Chunk {
    pub(super) older: Option<Box<Self>>,
    /// What the distances are from.
    pub(super) base: i64,
    /// How many values there are, once the next chunk has been begun.
    pub(super) count: u32,
    pub(super) distances: [i32; CHUNK_VALUES as usize],
}

const _: () = assert!(size_of::<Chunk>() <= 256, "four lines of the cache");

impl Chunk {
    /// The first `count` values.
    pub(super) fn values(&self, count: u32) -> impl Iterator<Item = i64> {
        let base = self.base;
        // A base is moved by as much as all its values, and saturates where they would.
        let value = move |distance: &i32| base.saturating_add(i64::from(*distance));
        self.distances.iter().take(count as usize).map(value)
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.values(self.count)).finish()
    }
}

/// Things not in use, and how few of them there were at the worst moment of this interval.
#[derive(Debug)]
struct Idle<T> {
    items: Vec<T>,
    fewest: usize,
    surplus: usize,
}

impl<T> Idle<T> {
    const fn new() -> Self {
        Self {
            items: Vec::new(),
            fewest: 0,
            surplus: 0,
        }
    }

    fn take(&mut self) -> Option<T> {
        let item = self.items.pop();
        self.fewest = self.fewest.min(self.items.len());
        item
    }

    /// What was there at the worst moment was not needed in the whole interval.
    fn end_window(&mut self) {
        self.surplus = self.fewest;
        self.fewest = self.items.len();
    }

    fn release_some(&mut self) {
        let count = self
            .surplus
            .min(POOL_RELEASES_PER_TURN_MAX)
            .min(self.items.len());
        self.surplus -= count;
        self.items.truncate(self.items.len() - count);
        self.fewest = self.fewest.min(self.items.len());
    }
}

/// What windows are made of. Chunks are kept as the chains in which they came back.
#[derive(Debug)]
pub(super) struct Pool {
    windows: Idle<Box<Window>>,
    chains: Idle<Box<Chunk>>,
    histograms: Idle<Box<Histogram<u32>>>,
    returns: Consumer<Box<Window>>,
}

impl Pool {
    pub(super) fn new(returns: Consumer<Box<Window>>) -> Self {
        Self {
            windows: Idle::new(),
            chains: Idle::new(),
            histograms: Idle::new(),
            returns,
        }
    }

    /// An empty window of a series, begun at `start`.
    pub(super) fn window(
        &mut self,
        series: &Arc<Series>,
        generation: u64,
        start: Wall,
    ) -> Box<Window> {
        if self.windows.items.is_empty() {
            self.take_back();
        }
        match self.windows.take() {
            Some(mut window) => {
                window.begin(Arc::clone(series), generation, start);
                window
            }
            None => Box::new(Window::new(Arc::clone(series), generation, start)),
        }
    }

    /// A chunk that follows `older`; its distances are of no meaning yet.
    pub(super) fn chunk(&mut self, older: Option<Box<Chunk>>, base: i64) -> Box<Chunk> {
        if self.chains.items.is_empty() {
            self.take_back();
        }
        let Some(mut chunk) = self.chains.take() else {
            return Box::new(Chunk {
                older,
                base,
                count: 0,
                distances: [0; CHUNK_VALUES as usize],
            });
        };
        if let Some(rest) = chunk.older.take() {
            self.chains.items.push(rest);
        }
        (chunk.older, chunk.base) = (older, base);
        chunk
    }

    /// An empty histogram.
    #[expect(
        clippy::unnecessary_box_returns,
        reason = "windows hold it in a box, to be small without one"
    )]
    pub(super) fn histogram(&mut self) -> Box<Histogram<u32>> {
        if self.histograms.items.is_empty() {
            self.take_back();
        }
        self.histograms
            .take()
            .unwrap_or_else(|| Box::new(histogram()))
    }

    /// Take what the flush thread has given back, a few at a time: each is a cache miss.
    pub(super) fn take_back(&mut self) {
        for _ in 0..POOL_RETURNS_PER_TAKE_MAX {
            let Ok(window) = self.returns.pop() else {
                return;
            };
            self.reclaim(window);
        }
    }

    /// Take a window that has been cleared apart.
    pub(super) fn reclaim(&mut self, mut window: Box<Window>) {
        let parts = window.dismantle();
        self.chains.items.extend(parts.chain);
        self.histograms
            .items
            .extend(parts.histograms.into_iter().flatten());
        self.windows.items.push(window);
    }

    pub(super) fn end_window(&mut self) {
        self.windows.end_window();
        self.chains.end_window();
        self.histograms.end_window();
    }

    /// Release a little of what the last interval did not need.
    pub(super) fn release_some(&mut self) {
        self.windows.release_some();
        self.chains.release_some();
        self.histograms.release_some();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_thing_is_released_after_a_whole_interval_without_need() {
        let mut idle = Idle {
            items: vec![1, 2, 3],
            fewest: 3,
            surplus: 0,
        };
        assert_eq!(idle.take(), Some(3));
        idle.items.push(3);
        idle.end_window();
        idle.release_some();
        assert_eq!(idle.items, [1], "two were never needed");
        idle.end_window();
        idle.release_some();
        assert!(idle.items.is_empty());
    }
}
