//! The noise: how much the queueing delay of a flow varies in quiet times.

/// Bins for each doubling, as a power of two. A bin is 9 to 12 % wide.
const FINE_BITS: u32 = 3;
const FINE: usize = 1 << FINE_BITS;

/// The first bin has delays under 16 ns, the last those over a minute.
const LOW_BITS: u32 = 4;
const BINS: usize = 33 * FINE;

/// Packets after which the old ones count half.
const PACKETS_MAX: u32 = 400_000;

/// Packets before there is a threshold.
const PACKETS_LEAST: u32 = 64;

/// The share of packets over the threshold. At 1 ms, two in a row exceed it by chance once in twelve hours.
const TAIL_PPM: u64 = 150;

/// The threshold is at least this many times the 99th percentile. Half of it must be well over that, or no burst
/// would end.
const TIMES_SPREAD: u64 = 3;

/// The same before so many packets have shown a tail.
const TIMES_SPREAD_EARLY: u64 = 5;
const EARLY_PACKETS: u32 = 15_000;

/// The least threshold in nanoseconds: stamps do not resolve less.
const FLOOR_NS: u64 = 5_000;

/// This many packets far out in a row are no noise, whatever its distribution.
const RUN: usize = 3;

/// See the [module](self).
#[derive(Clone, Debug)]
pub(super) struct Noise {
    bins: [u32; BINS],
    packets: u32,
    /// A packet over this is far out.
    far_ns: u64,
    /// Packets far out that may be noise; all `RUN` of them are none.
    held: [u64; RUN],
    run: usize,
}

impl Default for Noise {
    fn default() -> Self {
        Self {
            bins: [0; BINS],
            packets: 0,
            far_ns: u64::MAX,
            held: [0; RUN],
            run: 0,
        }
    }
}

impl Noise {
    /// Takes a packet of a quiet time.
    pub(super) fn take(&mut self, over_ns: u64) {
        if over_ns > self.far_ns {
            if self.run < RUN {
                self.held[self.run] = over_ns;
                self.run += 1;
            }
            return;
        }
        if self.run > 0 {
            let run = std::mem::take(&mut self.run);
            if run < RUN {
                for held_ns in self.held.into_iter().take(run) {
                    self.count(held_ns);
                }
            }
        }
        self.count(over_ns);
    }

    /// Discards the last packets: their time was not quiet.
    pub(super) const fn discard(&mut self) {
        self.run = 0;
    }

    fn count(&mut self, over_ns: u64) {
        self.bins[bin(over_ns)] += 1;
        self.packets += 1;
        if self.packets >= PACKETS_MAX {
            for count in &mut self.bins {
                *count /= 2;
            }
            self.packets = self.bins.iter().sum();
        }
    }

    /// Returns the delay that this many packets in a million exceed.
    fn quantile(&self, over_ppm: u64) -> u64 {
        let most = u64::from(self.packets) * over_ppm / 1_000_000;
        let mut above = 0;
        for (index, &count) in self.bins.iter().enumerate().rev() {
            above += u64::from(count);
            if above > most {
                return upper(index);
            }
        }
        0
    }

    /// Returns the threshold; `None` while too few packets are known.
    pub(super) fn threshold(&mut self) -> Option<u64> {
        if self.packets < PACKETS_LEAST {
            return None;
        }
        let (half, most) = (self.quantile(500_000), self.quantile(100_000));
        self.far_ns = half + 4 * (most - half);
        let times = if self.packets < EARLY_PACKETS {
            TIMES_SPREAD_EARLY
        } else {
            TIMES_SPREAD
        };
        let least = FLOOR_NS.max(times * self.quantile(10_000));
        Some(least.max(self.quantile(TAIL_PPM)))
    }

    /// Returns the 99th percentile.
    pub(super) fn spread(&self) -> u64 {
        self.quantile(10_000).max(FLOOR_NS)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a bin's number is small")]
fn bin(ns: u64) -> usize {
    let ns = ns.max(1 << LOW_BITS);
    let doubling = ns.ilog2();
    let fine = (ns >> (doubling - FINE_BITS)) as usize % FINE;
    ((doubling - LOW_BITS) as usize * FINE + fine).min(BINS - 1)
}

#[expect(clippy::cast_possible_truncation, reason = "a bin's number is small")]
fn upper(index: usize) -> u64 {
    let doubling = (index / FINE) as u32 + LOW_BITS;
    ((FINE + index % FINE + 1) as u64) << (doubling - FINE_BITS)
}
