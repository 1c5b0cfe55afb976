//! The tiers: how long an interval is in each, how long its files are, and which share of the disk it has.

use std::time::Duration;

use crate::limits::{HISTORY_FINE_DAYS, HISTORY_MINUTE_DAYS};

/// A second in nanoseconds.
const SECOND_NS: i64 = 1_000_000_000;
const MINUTE_NS: i64 = 60 * SECOND_NS;
const HOUR_NS: i64 = 60 * MINUTE_NS;
const DAY_NS: i64 = 24 * HOUR_NS;

/// A kind of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tier {
    /// Intervals as they are recorded.
    Fine,
    /// Those of a minute each, made of the fine ones.
    Minute,
    /// Those of an hour each, made of minutes.
    Hour,
    /// Events, as lines of JSON.
    Events,
}

impl Tier {
    pub(crate) const ALL: [Self; 4] = [Self::Fine, Self::Minute, Self::Hour, Self::Events];

    /// The tiers of intervals, the finest first.
    pub(crate) const INTERVALS: [Self; 3] = [Self::Fine, Self::Minute, Self::Hour];

    /// What the names of its files begin with.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Events => "events",
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// Returns the tier that its intervals are rolled up to.
    pub(super) const fn coarser(self) -> Option<Self> {
        match self {
            Self::Fine => Some(Self::Minute),
            Self::Minute => Some(Self::Hour),
            Self::Hour | Self::Events => None,
        }
    }

    /// Returns the length of an interval in nanoseconds; `fine_ns` is that of the finest.
    pub(super) const fn interval_ns(self, fine_ns: i64) -> i64 {
        match self {
            Self::Fine | Self::Events => fine_ns,
            Self::Minute => MINUTE_NS,
            Self::Hour => HOUR_NS,
        }
    }

    /// Returns how much time a file has. Whole files are dropped, so this is how exactly a limit is kept.
    pub(super) const fn segment_ns(self) -> i64 {
        match self {
            Self::Fine => HOUR_NS,
            Self::Minute => 6 * HOUR_NS,
            Self::Hour => 7 * DAY_NS,
            Self::Events => DAY_NS,
        }
    }

    /// Returns how long its files are kept, if `keep_ns` is how long anything is.
    pub(super) fn keep_ns(self, keep_ns: i64) -> i64 {
        match self {
            Self::Fine => keep_ns.min(HISTORY_FINE_DAYS * DAY_NS),
            Self::Minute => keep_ns.min(HISTORY_MINUTE_DAYS * DAY_NS),
            Self::Hour | Self::Events => keep_ns,
        }
    }

    /// Its share of all bytes, in sixteenths. Where there is room, a tier takes more.
    pub(super) const fn share(self) -> u64 {
        match self {
            Self::Fine => 5,
            Self::Minute => 7,
            Self::Hour => 3,
            Self::Events => 1,
        }
    }
}

/// Bytes of a window by the number of its values, as `tests/size.rs` measures them: of a probe a second in ten seconds,
/// in a minute and in an hour.
const WINDOW_BYTES: [(f64, f64); 4] = [(1.0, 10.0), (10.0, 16.0), (60.0, 49.0), (3_600.0, 1_030.0)];

/// Bytes of a target in an interval besides its windows: counts, gauges, its place in the index.
const TARGET_BYTES: f64 = 30.0;

/// What a target makes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Its series of delays.
    pub(crate) windows: usize,
    /// The time from one probe to the next in nanoseconds.
    pub(crate) interval_ns: u64,
}

/// Returns about how many bytes the history of these targets has, if nothing is dropped for its size.
pub(crate) fn estimate(
    loads: impl Iterator<Item = Load>,
    interval: Duration,
    keep: Duration,
) -> u64 {
    let keep_ns = i64::try_from(keep.as_nanos()).unwrap_or(i64::MAX);
    let fine_ns = i64::try_from(interval.as_nanos()).unwrap_or(i64::MAX);
    let mut bytes = 0.0;
    for load in loads {
        for tier in Tier::INTERVALS {
            let interval_ns = float(tier.interval_ns(fine_ns).unsigned_abs()).max(1.0);
            let intervals = float(tier.keep_ns(keep_ns).unsigned_abs()) / interval_ns;
            let values = interval_ns / float(load.interval_ns).max(1.0);
            let windows = float(load.windows as u64) * window_bytes(values);
            bytes += intervals * (windows + TARGET_BYTES);
        }
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it saturates"
    )]
    let bytes = bytes as u64;
    bytes
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
const fn float(number: u64) -> f64 {
    number as f64
}

/// Between the measured numbers, and beyond them, bytes grow as a power of the number of values.
fn window_bytes(values: f64) -> f64 {
    let last = WINDOW_BYTES.len() - 2;
    let place = WINDOW_BYTES
        .iter()
        .skip(1)
        .position(|(known, _)| values <= *known);
    let place = place.unwrap_or(last).min(last);
    let [(from, least), (to, most)] = [WINDOW_BYTES[place], WINDOW_BYTES[place + 1]];
    let part = (values.max(1.0) / from).ln() / (to / from).ln();
    least * (most / least).powf(part)
}
