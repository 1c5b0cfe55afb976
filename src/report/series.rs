//! One series: its distribution, its heatmap, and the times that are known of it.

use std::collections::BTreeMap;

use crate::limits::REPORT_SPANS_MAX;
use crate::record::{OF_ITSELF, SignedHistogram, rank};

/// Columns of a heatmap. They become twice as wide whenever time passes the last one.
pub(super) const HEAT_COLUMNS: usize = 240;
/// Rows of a heatmap in a power of ten.
pub(super) const HEAT_ROWS_PER_DECADE: u32 = 10;
/// Rows: from 1 ns to 100 s.
pub(super) const HEAT_ROWS: usize = 110;
/// Nanoseconds of a column at first.
const HEAT_COLUMN_NS: i64 = 1_000_000;

/// A distribution of delays of both signs, with the bounds of the daemon's windows.
#[derive(Debug)]
pub(super) struct Delays {
    values: SignedHistogram<u64>,
    pub(super) least: i64,
    pub(super) most: i64,
}

impl Default for Delays {
    fn default() -> Self {
        Self {
            values: SignedHistogram::new(),
            least: i64::MAX,
            most: i64::MIN,
        }
    }
}

impl Delays {
    pub(super) fn add(&mut self, ns: i64, many: u64) {
        (self.least, self.most) = (self.least.min(ns), self.most.max(ns));
        self.values.record(ns, many);
    }

    pub(super) fn count(&self) -> u64 {
        self.values.len()
    }

    /// Returns the least value that the share `part` of all delays does not exceed, to three digits.
    pub(super) fn quantile(&self, part: f64) -> i64 {
        let value = self.values.at_rank(rank(part, self.count()));
        value.unwrap_or(0).clamp(self.least, self.most)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "for plots and ranks, of which nobody sees the 53rd bit"
)]
pub(super) fn as_f64(number: u64) -> f64 {
    number as f64
}

/// Converts a signed number likewise.
#[expect(
    clippy::cast_precision_loss,
    reason = "for plots, in which nobody sees the 53rd bit"
)]
pub(super) fn signed_f64(number: i64) -> f64 {
    number as f64
}

/// A heatmap: the number of delays by time and size.
#[derive(Debug, Default)]
pub(super) struct Heat {
    pub(super) start: Option<i64>,
    pub(super) column_ns: i64,
    pub(super) cells: Vec<[u32; HEAT_ROWS]>,
}

impl Heat {
    /// Returns the time after its last column with a delay; `None` if it has none.
    pub(super) fn end(&self) -> Option<i64> {
        let start = self.start?;
        let mut columns = self.cells.iter();
        let last = columns.rposition(|column| column.iter().any(|cell| *cell > 0))?;
        let columns = i64::try_from(last + 1).unwrap_or(i64::MAX);
        Some(start.saturating_add(columns.saturating_mul(self.column_ns)))
    }

    fn add(&mut self, at: i64, ns: i64, count: u32) {
        let start = *self.start.get_or_insert(at);
        if self.cells.is_empty() {
            (self.cells, self.column_ns) = (vec![[0; HEAT_ROWS]; HEAT_COLUMNS], HEAT_COLUMN_NS);
        }
        // After a clock was set back, delays stay in the first column.
        let since = at.saturating_sub(start).max(0);
        let columns = i64::try_from(HEAT_COLUMNS).unwrap_or(i64::MAX);
        while since / self.column_ns >= columns {
            for column in 0..HEAT_COLUMNS / 2 {
                let (left, right) = (self.cells[2 * column], self.cells[2 * column + 1]);
                for (row, cell) in self.cells[column].iter_mut().enumerate() {
                    *cell = left[row].saturating_add(right[row]);
                }
            }
            self.cells[HEAT_COLUMNS / 2..].fill([0; HEAT_ROWS]);
            self.column_ns = self.column_ns.saturating_mul(2);
        }
        let column = usize::try_from(since / self.column_ns).unwrap_or(0);
        let cell = &mut self.cells[column.min(HEAT_COLUMNS - 1)][row(ns)];
        *cell = cell.saturating_add(count);
    }
}

/// Returns the row of a delay. Delays of 1 ns and less are in the lowest.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and the number of rows"
)]
fn row(ns: i64) -> usize {
    let height = signed_f64(ns.max(1)).log10() * f64::from(HEAT_ROWS_PER_DECADE);
    (height as usize).min(HEAT_ROWS - 1)
}

/// Where a series stands in a report: the network's before the daemon's own, both directions of a link together, and
/// what several hosts saw of a direction beside each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) is_own: bool,
    /// The two ends, in the order of their names.
    pub(super) link: [String; 2],
    /// Who sent and who received what was measured; `None` of a round trip.
    pub(super) direction: Option<[String; 2]>,
    pub(super) metric: String,
    pub(super) tags: String,
    /// The host that measured it, as an index of the report's hosts.
    pub(super) host: usize,
}

impl Place {
    /// Finds the place by what the metric and the tags say.
    pub(super) fn new(metric: &str, tags: &[String], host: usize) -> Self {
        let tag = |key| tags.iter().find_map(|tag| tag.strip_prefix(key));
        let source = tag("source:").unwrap_or_default().to_owned();
        let target = tag("target:").unwrap_or_default().to_owned();
        let is_own = metric.starts_with(OF_ITSELF);
        let direction = if is_own {
            None
        } else if metric.rsplit('.').next() == Some("owd") || tag("direction:") == Some("forward") {
            Some([source.clone(), target.clone()])
        } else if tag("direction:") == Some("reverse") {
            Some([target.clone(), source.clone()])
        } else {
            None
        };
        let mut link = [source, target];
        link.sort();
        Self {
            is_own,
            link,
            direction,
            metric: metric.to_owned(),
            tags: tags.join(" "),
            host,
        }
    }
}

/// One metric of one target, as one host saw it.
#[derive(Debug, Default)]
pub(super) struct Series {
    pub(super) place: Place,
    pub(super) delays: Delays,
    pub(super) heat: Heat,
    pub(super) stamps: BTreeMap<String, u64>,
    sampled: Spans,
    windowed: Spans,
}

impl Series {
    /// Begins one without a delay.
    pub(super) fn new(place: Place) -> Self {
        Self {
            place,
            ..Self::default()
        }
    }

    /// Adds delays that a window or a sample has between two times, unless they are known already. With
    /// `mode = "both"` a window's values are there as samples too, and finer.
    pub(super) fn add(
        &mut self,
        [start, end]: [i64; 2],
        is_window: bool,
        stamp: String,
        values: &[(i64, u64)],
    ) {
        let (known, these) = if is_window {
            (&self.sampled, &mut self.windowed)
        } else {
            (&self.windowed, &mut self.sampled)
        };
        if known.overlaps(start, end) {
            return;
        }
        these.add(start, end);
        count(&mut self.stamps, stamp);
        for &(ns, many) in values {
            self.delays.add(ns, many);
            let many = u32::try_from(many).unwrap_or(u32::MAX);
            self.heat.add(start.midpoint(end), ns, many);
        }
    }
}

/// Times that are known already, as spans from the first to the last.
#[derive(Debug, Default)]
struct Spans(BTreeMap<i64, i64>);

/// Nanoseconds between two samples with no other one, up to which there is one span.
const SPAN_GAP_NS: i64 = 1_000_000_000;

impl Spans {
    fn overlaps(&self, from: i64, to: i64) -> bool {
        let before = self.0.range(..=to).next_back();
        before.is_some_and(|(_, &end)| end >= from)
    }

    /// Adds a span, and joins it with those near to it.
    fn add(&mut self, mut from: i64, mut to: i64) {
        let reach = to.saturating_add(SPAN_GAP_NS);
        while let Some((&start, &end)) = self.0.range(..=reach).next_back() {
            let is_near = end >= from.saturating_sub(SPAN_GAP_NS);
            // With too many spans, the time between two is taken for known.
            if !is_near && self.0.len() < REPORT_SPANS_MAX {
                break;
            }
            self.0.remove(&start);
            (from, to) = (from.min(start), to.max(end));
        }
        self.0.insert(from, to);
    }
}

/// Counts a stamp source.
pub(super) fn count(stamps: &mut BTreeMap<String, u64>, stamp: String) {
    // The daemon has three sources; a file may have any word.
    if stamps.len() < 8 || stamps.contains_key(&stamp) {
        *stamps.entry(stamp).or_default() += 1;
    }
}
