//! The memory of the windows, used again from interval to interval.
//!
//! All chunks have one size, so the chunks of one series serve any other, and memory follows the samples. A
//! window travels to the flush thread with its chunks, and comes back empty over a ring.
//!
//! At the end of an interval every series begins a window, while the one before may wait to be published. How
//! many wait depends on how busy the host is. So each series brings two windows: memory does not grow with the
//! worst moment so far, and nothing is allocated in it. What else was idle through a whole interval is released
//! little by little.

use std::sync::Arc;

use hdrhistogram::Histogram;
use rtrb::Consumer;

use crate::limits::{POOL_RELEASES_PER_TURN_MAX, POOL_RETURNS_PER_TAKE_MAX};
use crate::proto::Wall;
use crate::record::chunk::{Chunk, Supply};
use crate::record::histogram::histogram;
use crate::record::series::Series;
use crate::record::window::Window;

/// One that is filled, and one that is published: an interval ends when all of the one before is handed over.
const WINDOWS_PER_SERIES: usize = 2;

/// Things not in use, and how few there were at the busiest moment of this interval.
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

    /// Ends an interval: what was idle at its busiest moment is surplus.
    fn end_window(&mut self) {
        self.surplus = self.fewest;
        self.fewest = self.items.len();
    }

    /// Releases some of the surplus, but keeps `kept` things. Surplus among the kept ones goes to `trim`.
    fn release_some(&mut self, kept: usize, mut trim: impl FnMut(&mut T)) {
        let count = self.surplus.min(POOL_RELEASES_PER_TURN_MAX);
        let released = count.min(self.items.len().saturating_sub(kept));
        self.items.truncate(self.items.len() - released);
        self.surplus -= released;
        self.fewest = self.fewest.min(self.items.len());
        for _ in released..count {
            self.surplus -= 1;
            if let Some(item) = self.items.get_mut(self.surplus) {
                trim(item);
            }
        }
    }
}

/// The memory that windows are made of. Chunks stay in the chains in which they came back.
#[derive(Debug)]
pub(super) struct Pool {
    windows: Idle<Box<Window>>,
    chains: Idle<Box<Chunk>>,
    histograms: Idle<Box<Histogram<u32>>>,
    returns: Consumer<Box<Window>>,
    /// Series that have brought their windows.
    series: usize,
}

impl Pool {
    pub(super) fn new(returns: Consumer<Box<Window>>) -> Self {
        Self {
            windows: Idle::new(),
            chains: Idle::new(),
            histograms: Idle::new(),
            returns,
            series: 0,
        }
    }

    /// Adds the windows of a series that begins its first one.
    pub(super) fn add_series(&mut self, series: &Arc<Series>) {
        self.series += 1;
        for _ in 0..WINDOWS_PER_SERIES {
            let window = Window::new(Arc::clone(series), 0, Wall::default());
            self.windows.items.push(Box::new(window));
            self.chains.items.push(Box::new(Chunk::new(None, 0)));
        }
    }

    /// Forgets series that are gone.
    pub(super) fn remove_series(&mut self, count: usize) {
        self.series = self.series.saturating_sub(count);
    }

    /// Returns an empty window of a series, which begins at `start`.
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

    /// Takes back what the flush thread returned, a few at a time: each is a cache miss.
    pub(super) fn take_back(&mut self) {
        for _ in 0..POOL_RETURNS_PER_TAKE_MAX {
            let Ok(window) = self.returns.pop() else {
                return;
            };
            self.reclaim(window);
        }
    }

    /// Takes a cleared window apart.
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

    /// Releases a little of what the last interval did not need.
    pub(super) fn release_some(&mut self) {
        self.windows.release_some(self.series, |_| {});
        self.chains
            .release_some(self.series, |chunk| chunk.older = None);
        self.histograms.release_some(0, |_| {});
    }
}

impl Supply for Pool {
    fn chunk(&mut self, older: Option<Box<Chunk>>, base: i64) -> Box<Chunk> {
        if self.chains.items.is_empty() {
            self.take_back();
        }
        let Some(mut chunk) = self.chains.take() else {
            return Box::new(Chunk::new(older, base));
        };
        if let Some(rest) = chunk.older.take() {
            self.chains.items.push(rest);
        }
        (chunk.older, chunk.base) = (older, base);
        chunk
    }

    fn histogram(&mut self) -> Box<Histogram<u32>> {
        if self.histograms.items.is_empty() {
            self.take_back();
        }
        self.histograms
            .take()
            .unwrap_or_else(|| Box::new(histogram()))
    }
}

#[cfg(test)]
mod tests {
    use rtrb::{Producer, RingBuffer};

    use super::*;
    use crate::proto::StampSource;
    use crate::record::metrics::PDV;
    use crate::record::series::Tags;

    #[test]
    fn an_idle_thing_is_released_after_a_whole_interval_without_need() {
        let mut idle = Idle {
            items: vec![1, 2, 3],
            fewest: 3,
            surplus: 0,
        };
        assert_eq!(idle.take(), Some(3));
        idle.items.push(3);
        let trim = |_: &mut i32| panic!("none is kept");
        idle.end_window();
        idle.release_some(0, trim);
        assert_eq!(idle.items, [1], "two were never needed");
        idle.end_window();
        idle.release_some(0, trim);
        assert!(idle.items.is_empty());
    }

    #[test]
    fn those_to_be_kept_are_trimmed_instead_if_they_were_not_needed() {
        let mut idle = Idle {
            items: vec![10, 20, 30, 40, 50],
            fewest: 5,
            surplus: 0,
        };
        idle.end_window();
        assert_eq!(idle.take(), Some(50));
        idle.release_some(3, |item| *item += 1);
        assert_eq!(idle.items, [11, 21, 31], "one was released");
        assert_eq!(idle.fewest, 3);
        assert_eq!(idle.surplus, 0);
    }

    fn pool_of(series: &Arc<Series>, count: usize) -> (Pool, Producer<Box<Window>>) {
        let (returns, returned) = RingBuffer::new(64);
        let mut pool = Pool::new(returned);
        (0..count).for_each(|_| pool.add_series(series));
        (pool, returns)
    }

    fn series() -> Arc<Series> {
        Arc::new(Series {
            metric: &PDV[0],
            tags: Arc::new(Tags::Host("a".into())),
        })
    }

    /// What intervals need is the same, whether the windows of one come back before the next one begins
    /// or all of them wait.
    #[test]
    fn two_windows_of_every_series_are_kept_until_it_is_gone() {
        const SERIES: usize = 10;
        let series = series();
        let (mut pool, mut returns) = pool_of(&series, SERIES);
        let mut waiting: Vec<Box<Window>> = Vec::new();
        for interval in 0..20 {
            // Every other interval's windows come back only once those of the next have begun.
            if interval % 2 == 0 {
                waiting.drain(..).for_each(|one| returns.push(one).unwrap());
                pool.take_back();
            }
            let begin = |_| {
                let mut window = pool.window(&series, interval, Wall::default());
                window.record(1, StampSource::Kernel, &mut pool);
                window
            };
            waiting.extend((0..SERIES).map(begin));
            pool.end_window();
            (0..4).for_each(|_| pool.release_some());
            let windows = waiting.len() + pool.windows.items.len() + pool.returns.slots();
            assert_eq!(windows, 2 * SERIES, "in interval {interval}");
        }
        pool.remove_series(SERIES);
        for window in waiting {
            returns.push(window).unwrap();
        }
        for _ in 0..4 {
            pool.take_back();
            pool.end_window();
            pool.release_some();
        }
        assert!(pool.windows.items.is_empty());
        assert!(pool.chains.items.is_empty());
    }
}
