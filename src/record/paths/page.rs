//! Some seconds of one flow, for the gauges of the worst: losses, and round trips in coarse buckets.

/// Buckets of a power of two. A 99th percentile is off by a sixteenth at most.
const PER_OCTAVE: u64 = 8;
/// From a microsecond to over an hour.
const BUCKETS: usize = 256;
const FINEST_NS: u64 = 1_000;

/// See the [module](self).
#[derive(Clone, Debug)]
pub(super) struct Page {
    pub(super) probes: u32,
    pub(super) lost: u32,
    round_trips: u32,
    buckets: [u32; BUCKETS],
}

impl Page {
    pub(super) const fn new() -> Self {
        Self {
            probes: 0,
            lost: 0,
            round_trips: 0,
            buckets: [0; BUCKETS],
        }
    }

    pub(super) fn push(&mut self, round_trip_ns: u64) {
        self.round_trips += 1;
        self.buckets[bucket(round_trip_ns)] += 1;
    }

    /// Returns the lost probes in parts per billion.
    pub(super) fn loss_ppb(&self) -> Option<u64> {
        let probes = u64::from(self.probes);
        (u64::from(self.lost) * 1_000_000_000).checked_div(probes)
    }

    /// Returns the 99th percentile of the round trips in nanoseconds.
    pub(super) fn p99_ns(&self) -> Option<u64> {
        let rank = (u64::from(self.round_trips) * 99).div_ceil(100);
        let mut seen = 0;
        let at = self.buckets.iter().position(|count| {
            seen += u64::from(*count);
            seen >= rank
        });
        at.filter(|_| self.round_trips > 0).map(middle)
    }
}

fn bucket(ns: u64) -> usize {
    let units = (ns / FINEST_NS).max(1);
    let octave = u64::from(units.ilog2());
    let part = ((units << 3) >> octave) - PER_OCTAVE;
    usize::try_from(octave * PER_OCTAVE + part).map_or(BUCKETS - 1, |at| at.min(BUCKETS - 1))
}

/// Returns the middle of a bucket in nanoseconds.
fn middle(bucket: usize) -> u64 {
    let (octave, part) = (bucket as u64 / PER_OCTAVE, bucket as u64 % PER_OCTAVE);
    (((2 * (PER_OCTAVE + part) + 1) << octave) * FINEST_NS) / (2 * PER_OCTAVE)
}
