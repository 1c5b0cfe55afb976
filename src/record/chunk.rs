//! What windows are made of: chunks of values and histograms, and who supplies them.

use std::fmt;

use hdrhistogram::Histogram;

/// Values of one chunk. With its other fields a chunk fills 256 bytes, and at one probe a second it holds
/// a window of a minute.
pub(super) const CHUNK_VALUES: u32 = 59;

/// Supplies a window with memory while it grows.
pub(super) trait Supply {
    /// Returns a chunk that follows `older`. Its distances have no meaning yet.
    fn chunk(&mut self, older: Option<Box<Chunk>>, base: i64) -> Box<Chunk>;

    /// Returns an empty histogram.
    #[expect(
        clippy::unnecessary_box_returns,
        reason = "a window holds it in a box, to be small without one"
    )]
    fn histogram(&mut self) -> Box<Histogram<u32>>;
}

/// Some values of one window, and the chunk with those before them.
///
/// A chunk holds distances from its first value, in 32 bits: at 100,000 probes a second the poll thread
/// waits for memory. The delays of one flow lie within seconds of each other, even if two clocks are hours
/// apart.
#[derive(Clone)]
pub(super) struct Chunk {
    pub(super) older: Option<Box<Self>>,
    /// The value that the distances are from.
    pub(super) base: i64,
    /// The number of values, set when the next chunk begins.
    pub(super) count: u32,
    pub(super) distances: [i32; CHUNK_VALUES as usize],
}

const _: () = assert!(size_of::<Chunk>() <= 256, "four lines of the cache");

impl Chunk {
    pub(super) const fn new(older: Option<Box<Self>>, base: i64) -> Self {
        Self {
            older,
            base,
            count: 0,
            distances: [0; CHUNK_VALUES as usize],
        }
    }

    /// The first `count` values.
    pub(super) fn values(&self, count: u32) -> impl Iterator<Item = i64> {
        let base = self.base;
        // `Window::settle` lowers the base, which may saturate; then the values do too.
        let value = move |distance: &i32| base.saturating_add(i64::from(*distance));
        self.distances.iter().take(count as usize).map(value)
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.values(self.count)).finish()
    }
}
