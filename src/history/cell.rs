//! One series in one interval: a window, a count or a gauge, and its bytes.
//!
//! A window's bytes hold what its histogram has, and of each exact figure only how far it is from what the histogram
//! says: the least value lies in the first bucket, and the sum is the sum of the buckets' middles and a little.

use crate::history::bytes::{Bytes, put, put_signed};
use crate::proto::StampSource;
use crate::record::{Buckets, PLACE_MAX, SparseWindow, middle};

/// Sources of stamps, by the number in the lowest bits of a window's first byte.
const STAMPS: [StampSource; 3] = [StampSource::User, StampSource::Kernel, StampSource::Hw];

/// Bits of a window's first byte, over its stamp: it has values below zero, and values out of range.
const HAS_NEGATIVE: u8 = 1 << 2;
const HAS_OUTSIDE: u8 = 1 << 3;

/// What the cells of a column are: the first byte of each.
const WINDOW: u8 = 0x10;
const COUNT: u8 = 0x20;
const GAUGE: u8 = 0x30;
const KIND: u8 = 0xf0;

/// Readings of a gauge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gauge {
    pub(crate) last: i64,
    pub(crate) min: i64,
    pub(crate) max: i64,
}

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    /// Delays.
    Window(SparseWindow),
    /// How often something happened; of a gauge that is the sum of its intervals, their sum.
    Count(u64),
    /// Readings.
    Gauge(Gauge),
}

impl Cell {
    /// Adds what comes after it. A cell of another kind, which one column never has, takes its place.
    pub(super) fn merge(&mut self, later: Self) {
        match (self, later) {
            (Self::Window(window), Self::Window(later)) => window.merge(&later),
            (Self::Count(count), Self::Count(later)) => *count = count.saturating_add(later),
            (Self::Gauge(gauge), Self::Gauge(later)) => {
                gauge.last = later.last;
                (gauge.min, gauge.max) = (gauge.min.min(later.min), gauge.max.max(later.max));
            }
            (cell, later) => *cell = later,
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Window(window) => write_window(window, out),
            Self::Count(count) => {
                out.push(COUNT);
                put(*count, out);
            }
            Self::Gauge(gauge) => {
                out.push(GAUGE);
                put_signed(gauge.last, out);
                for other in [gauge.min, gauge.max] {
                    put_signed(other.wrapping_sub(gauge.last), out);
                }
            }
        }
    }

    /// Reads a cell; `None` if it is none.
    pub(super) fn read(bytes: &mut Bytes<'_>) -> Option<Self> {
        let first = bytes.byte()?;
        match first & KIND {
            WINDOW => read_window(first, bytes).map(Self::Window),
            COUNT => bytes.number().map(Self::Count),
            GAUGE => {
                let last = bytes.signed()?;
                let mut other = || bytes.signed().map(|from| last.wrapping_add(from));
                let (min, max) = (other()?, other()?);
                Some(Self::Gauge(Gauge { last, min, max }))
            }
            _ => None,
        }
    }
}

/// What the histogram says of the least value, the greatest, and the sum.
fn expected(positive: &Buckets, negative: &Buckets) -> [i64; 3] {
    let value = |place: u32| i64::try_from(middle(place)).unwrap_or(i64::MAX);
    let first = |buckets: &Buckets| buckets.first().map(|(place, _)| value(*place));
    let last = |buckets: &Buckets| buckets.last().map(|(place, _)| value(*place));
    let least = last(negative)
        .map(|value| -value)
        .or_else(|| first(positive));
    let greatest = last(positive).or_else(|| first(negative).map(|value| -value));
    let sum = |buckets: &Buckets| {
        buckets.iter().fold(0_i64, |sum, (place, count)| {
            sum.wrapping_add(value(*place).wrapping_mul(count.cast_signed()))
        })
    };
    let sum = sum(positive).wrapping_sub(sum(negative));
    [least.unwrap_or(0), greatest.unwrap_or(0), sum]
}

fn write_window(window: &SparseWindow, out: &mut Vec<u8>) {
    let stamp = STAMPS.iter().position(|stamp| *stamp == window.stamp);
    let mut first = WINDOW | u8::try_from(stamp.unwrap_or(0)).unwrap_or(0);
    let has_outside = window.below > 0 || window.above > 0;
    first |= if has_outside { HAS_OUTSIDE } else { 0 };
    first |= if window.negative.is_empty() {
        0
    } else {
        HAS_NEGATIVE
    };
    out.push(first);
    write_buckets(&window.positive, out);
    if !window.negative.is_empty() {
        write_buckets(&window.negative, out);
    }
    if has_outside {
        put(window.below, out);
        put(window.above, out);
    }
    let [min, max, sum] = expected(&window.positive, &window.negative);
    put_signed(window.min.wrapping_sub(min), out);
    put_signed(window.max.wrapping_sub(max), out);
    // In two halves: the upper one is zero unless clocks are centuries apart.
    let rest = window.sum.wrapping_sub(sum.into());
    let low = low_half(rest);
    put_signed(low, out);
    put_signed(low_half((rest - i128::from(low)) >> 64), out);
}

/// The lower 64 bits.
const fn low_half(number: i128) -> i64 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the upper half follows behind it"
    )]
    let low = number as i64;
    low
}

fn read_window(first: u8, bytes: &mut Bytes<'_>) -> Option<SparseWindow> {
    let stamp = *STAMPS.get(usize::from(first & 3))?;
    let positive = read_buckets(bytes)?;
    let negative = match first & HAS_NEGATIVE {
        0 => Buckets::new(),
        _ => read_buckets(bytes)?,
    };
    let (below, above) = match first & HAS_OUTSIDE {
        0 => (0, 0),
        _ => (bytes.number()?, bytes.number()?),
    };
    let [min, max, sum] = expected(&positive, &negative);
    let min = min.wrapping_add(bytes.signed()?);
    let max = max.wrapping_add(bytes.signed()?);
    let (low, high) = (bytes.signed()?, bytes.signed()?);
    let rest = (i128::from(high) << 64).wrapping_add(low.into());
    // Its bytes are right and somebody else's: no figure may contradict another one.
    (min <= max).then_some(SparseWindow {
        sum: rest.wrapping_add(sum.into()),
        min,
        max,
        below,
        above,
        stamp,
        positive,
        negative,
    })
}

/// Each bucket is its distance from the one before, doubled; odd if more than one value is in it, whose number less two
/// then follows.
fn write_buckets(buckets: &Buckets, out: &mut Vec<u8>) {
    put(buckets.len() as u64, out);
    let mut before = 0;
    for (place, count) in buckets {
        let distance = u64::from(place - before) << 1;
        before = *place;
        match count.checked_sub(2) {
            None => put(distance, out),
            Some(more) => {
                put(distance | 1, out);
                put(more, out);
            }
        }
    }
}

fn read_buckets(bytes: &mut Bytes<'_>) -> Option<Buckets> {
    // Each has a byte at least, so a wrong number takes no memory.
    let count = bytes.size().filter(|count| *count <= bytes.0.len())?;
    let mut buckets = Buckets::with_capacity(count);
    let mut place = 0_u64;
    for number in 0..count {
        let head = bytes.number()?;
        // All but the first one lie behind the one before.
        if number > 0 && head >> 1 == 0 {
            return None;
        }
        place = place.checked_add(head >> 1)?;
        let at = u32::try_from(place).ok().filter(|at| *at <= PLACE_MAX)?;
        let values = match head & 1 {
            0 => 1,
            _ => bytes.number()?.checked_add(2)?,
        };
        buckets.push((at, values));
    }
    Some(buckets)
}
