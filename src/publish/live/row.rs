//! The figures of one pair's flows of one kind in one interval.

use crate::proto::StampSource;
use crate::publish::live::heat::{self, Heat};
use crate::record::{Distribution, Metric, Window};

/// Counts of a row, by their place. The names are those of the JSON.
pub(super) const COUNTS: [&str; 10] = [
    "sent",
    "received",
    "lost",
    "lost_forward",
    "lost_reverse",
    "late",
    "duplicate",
    "reordered",
    "corrupt",
    "unsent",
];

/// Delays of a row, by their place.
pub(super) const DELAYS: [&str; 4] = ["rtt", "forward", "reverse", "owd"];

/// The first delays have heatmaps. A raw one-way delay contains the difference of two clocks, which no bins fit.
pub(super) const HEATS: usize = 3;

/// The directions, each with its place among [`DELAYS`].
pub(super) const DIRECTIONS: [(&str, usize); 2] = [("forward", 1), ("reverse", 2)];

/// Where a metric's value goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Among [`COUNTS`].
    Count(usize),
    /// Among [`DELAYS`].
    Delay(usize),
}

/// Returns the place of a metric of a flow; `direction` is that of its tag. Most metrics have none.
pub(super) fn place(metric: &Metric, direction: Option<&str>) -> Option<Place> {
    let (_, name) = metric.name.split_once(".wan.")?;
    let name = match (name, direction) {
        ("latency", _) => "rtt",
        ("latency.sent", _) => "sent",
        ("latency.failed", _) => "lost",
        ("latency.unsent", _) => "unsent",
        ("lost.forward", _) => "lost_forward",
        ("lost.reverse", _) => "lost_reverse",
        ("pdv", Some(direction)) => direction,
        (name, _) => name,
    };
    let among = |names: &[&str]| names.iter().position(|one| *one == name);
    among(&COUNTS)
        .map(Place::Count)
        .or_else(|| among(&DELAYS).map(Place::Delay))
}

/// What an interval's window says of a delay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) count: u64,
    pub(super) p50_ns: i64,
    pub(super) p99_ns: i64,
    pub(super) max_ns: i64,
}

impl Figures {
    pub(super) fn of(window: &Window, distribution: &Distribution) -> Self {
        Self {
            count: window.count(),
            p50_ns: distribution.quantile(0.5),
            p99_ns: distribution.quantile(0.99),
            max_ns: window.max(),
        }
    }

    /// Adds those of a second window of the interval, which a step of a clock has cut. Quantiles are of the larger one.
    fn merge(&mut self, other: Self) {
        let (count, max_ns) = (
            self.count.saturating_add(other.count),
            self.max_ns.max(other.max_ns),
        );
        if other.count > self.count {
            *self = other;
        }
        (self.count, self.max_ns) = (count, max_ns);
    }
}

/// See the [module](self).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) counts: [Option<u64>; COUNTS.len()],
    pub(super) delays: [Option<Figures>; DELAYS.len()],
    pub(super) heats: [Heat; HEATS],
    /// The least one-way delay of each of [`DIRECTIONS`], as the two clocks have it: what the delays of that direction
    /// are over.
    pub(super) leasts: [Option<i64>; DIRECTIONS.len()],
    /// The weakest stamp source of the round trips.
    pub(super) stamp: Option<StampSource>,
}

impl Row {
    pub(super) fn add_count(&mut self, place: usize, value: u64) {
        if let Some(count) = self.counts.get_mut(place) {
            *count = Some(count.unwrap_or(0).saturating_add(value));
        }
    }

    pub(super) fn add_window(&mut self, place: usize, window: &Window, values: &Distribution) {
        let figures = Figures::of(window, values);
        match self.delays.get_mut(place) {
            Some(Some(before)) => before.merge(figures),
            Some(none) => *none = Some(figures),
            None => return,
        }
        if let Some(column) = self.heats.get_mut(place) {
            heat::merge(column, &heat::heat(values));
        }
        if let Some(at) = DIRECTIONS.iter().position(|(_, one)| *one == place) {
            // A second window of the interval is over another least: quantiles are of the larger one.
            let is_larger = self.delays[place].is_none_or(|all| 2 * window.count() >= all.count);
            if is_larger {
                self.leasts[at] = window.subtracted();
            }
        }
        if place == 0 {
            let stamp = window.stamp();
            self.stamp = Some(self.stamp.map_or(stamp, |before| before.min(stamp)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A metric that gets another name must get it here, too.
    #[test]
    fn every_place_is_filled_by_a_metric() {
        let mut found = std::collections::BTreeSet::new();
        for metric in Metric::all().filter(|metric| metric.flow.is_some()) {
            for direction in [None, Some("forward"), Some("reverse")] {
                match place(metric, direction) {
                    Some(Place::Count(place)) => found.insert(COUNTS[place]),
                    Some(Place::Delay(place)) => found.insert(DELAYS[place]),
                    None => false,
                };
            }
        }
        let all = COUNTS.into_iter().chain(DELAYS).collect();
        assert_eq!(found, all);
    }
}
