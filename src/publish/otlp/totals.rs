//! What has added up since each series began, for receivers of cumulative data.

use std::collections::BTreeMap;

use crate::limits::OTLP_SERIES_MAX;
use crate::proto::Wall;
use crate::publish::exponential::{Exponential, Scale};

/// Intervals without a record after which a series may be forgotten.
const IDLE_INTERVALS: u64 = 10;

/// Series of which none is forgotten, however many are idle.
const KEPT: usize = 1_024;

/// A series: the metric's name and its attributes.
pub(super) type Key = (&'static str, BTreeMap<String, String>);

/// One series.
#[derive(Debug)]
pub(super) struct Total {
    /// When it began: the start of its first interval.
    pub(super) start: Wall,
    pub(super) sum: i128,
    pub(super) histogram: Exponential,
    /// The number of the interval of its last record.
    interval: u64,
}

/// All series.
#[derive(Debug)]
pub(super) struct Totals {
    scale: Scale,
    series: BTreeMap<Key, Total>,
    max: usize,
    interval: u64,
    /// How many had a record in the interval.
    touched: usize,
}

impl Totals {
    pub(super) const fn new(scale: Scale) -> Self {
        Self {
            scale,
            series: BTreeMap::new(),
            max: OTLP_SERIES_MAX,
            interval: 0,
            touched: 0,
        }
    }

    #[cfg(test)]
    pub(super) fn limited(scale: Scale, max: usize) -> Self {
        Self {
            max,
            ..Self::new(scale)
        }
    }

    /// A new interval begins. Once most series are idle, these are forgotten: targets come and go, and senders as well.
    /// One that comes again after that begins anew, and says so by its start time.
    pub(super) fn begin_interval(&mut self) {
        if self.series.len() > 2 * self.touched + KEPT {
            self.sweep();
        }
        self.interval += 1;
        self.touched = 0;
    }

    /// Returns the total of a series, which begins at `start` if it is new. `None` if there is no room for it.
    pub(super) fn of(&mut self, key: Key, start: Wall) -> Option<&mut Total> {
        if self.series.len() >= self.max && !self.series.contains_key(&key) {
            self.sweep();
            if self.series.len() >= self.max {
                return None;
            }
        }
        let interval = self.interval;
        let (scale, touched) = (self.scale, &mut self.touched);
        let total = self.series.entry(key).or_insert_with(|| {
            *touched += 1;
            Total {
                start,
                sum: 0,
                histogram: Exponential::new(scale),
                interval,
            }
        });
        if total.interval != interval {
            *touched += 1;
            total.interval = interval;
        }
        // A clock that was set back: nothing begins after it ends.
        total.start = total.start.min(start);
        Some(total)
    }

    fn sweep(&mut self) {
        let is_live = |total: &Total| total.interval + IDLE_INTERVALS >= self.interval;
        self.series.retain(|_, total| is_live(total));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Key {
        let attributes = BTreeMap::from([("target".to_owned(), number.to_string())]);
        ("udp.wan.sent", attributes)
    }

    fn wall(ns: i64) -> Wall {
        Wall::from_unix_nanos(ns)
    }

    fn add(totals: &mut Totals, number: usize, start: i64) -> Option<(Wall, i128)> {
        let total = totals.of(key(number), wall(start))?;
        total.sum += 1;
        Some((total.start, total.sum))
    }

    #[test]
    fn a_series_keeps_its_start_and_its_sum_however_long_it_is_idle() {
        let mut totals = Totals::new(Scale::DEFAULT);
        add(&mut totals, 1, 100);
        for _ in 0..1_000 {
            totals.begin_interval();
        }
        assert_eq!(add(&mut totals, 1, 900), Some((wall(100), 2)));
        // The clock was set back.
        assert_eq!(add(&mut totals, 1, 50), Some((wall(50), 3)));
    }

    #[test]
    fn series_that_came_and_went_are_forgotten() {
        let mut totals = Totals::new(Scale::DEFAULT);
        for number in 0..1_000_000_usize {
            if number.is_multiple_of(100) {
                totals.begin_interval();
                add(&mut totals, 0, 0);
            }
            add(&mut totals, number, 0);
        }
        assert!(totals.series.len() < 4 * KEPT, "{}", totals.series.len());
        // The one that always came has all.
        assert_eq!(add(&mut totals, 0, 0), Some((wall(0), 10_002)));
    }

    #[test]
    fn there_is_room_for_so_many_and_again_once_others_are_idle() {
        let mut totals = Totals::limited(Scale::DEFAULT, 2);
        assert!(add(&mut totals, 1, 0).is_some() && add(&mut totals, 2, 0).is_some());
        assert_eq!(add(&mut totals, 3, 0), None);
        assert!(add(&mut totals, 2, 0).is_some(), "it is there already");
        for _ in 0..=IDLE_INTERVALS {
            totals.begin_interval();
            add(&mut totals, 2, 0);
        }
        assert_eq!(add(&mut totals, 3, 7), Some((wall(7), 1)));
        assert_eq!(add(&mut totals, 1, 7), None);
    }
}
