//! The past that the daemon keeps on its disk, in the columns of what is shown live.
//!
//! Intervals are put together until a screen has room for them. Windows merge exactly, so a column of an hour has the
//! quantiles of all that was measured in it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::history::{Cell, Column, Reader, Span};
use crate::limits::{HISTORY_INTERVALS_SHOWN_MAX, LIVE_PAST_CELLS_MAX};
use crate::proto::{FlowKind, Labels};
use crate::publish::live::answers::MAIN;
use crate::publish::live::heat;
use crate::publish::live::json::Object;
use crate::publish::live::row::{COUNTS, Figures, Place, Row, place};
use crate::record::{Metric, SparseWindow};

/// Lengths of columns in seconds.
const COLUMNS_S: [i64; 17] = [
    1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 21_600, 86_400,
];

/// What is asked of the past: the time in Unix nanoseconds, and how many columns there may be.
#[derive(Clone, Copy, Debug)]
pub struct PastRange {
    /// When it begins.
    pub from_ns: i64,
    /// When it ends.
    pub to_ns: i64,
    /// The columns.
    pub columns: i64,
}

impl PastRange {
    /// Returns the nanoseconds of a column.
    fn column_ns(self) -> i64 {
        let length_ns = self.to_ns.saturating_sub(self.from_ns);
        let least_ns = length_ns / self.columns.max(1);
        let lengths = COLUMNS_S.into_iter().map(|seconds| seconds * 1_000_000_000);
        let days = || (least_ns / 86_400_000_000_000 + 1) * 86_400_000_000_000;
        lengths
            .into_iter()
            .find(|ns| *ns >= least_ns)
            .unwrap_or_else(days)
    }

    fn span(self, intervals_max: i64) -> Span {
        Span {
            from_ns: self.from_ns,
            to_ns: self.to_ns,
            intervals_max,
        }
    }
}

/// The values of one pair's flows of a kind in a column, by the place of their figure.
#[derive(Debug, Default)]
struct Sum {
    end_ns: i64,
    counts: [Option<u64>; COUNTS.len()],
    delays: BTreeMap<usize, SparseWindow>,
}

impl Sum {
    fn add(&mut self, place: Place, cell: Cell) {
        match (place, cell) {
            (Place::Count(place), Cell::Count(count)) => {
                let sum = self.counts[place].unwrap_or(0);
                self.counts[place] = Some(sum.saturating_add(count));
            }
            (Place::Delay(place), Cell::Window(window)) => match self.delays.get_mut(&place) {
                Some(sum) => sum.merge(&window),
                None => drop(self.delays.insert(place, window)),
            },
            _ => {}
        }
    }

    fn row(&self) -> Row {
        let mut row = Row {
            counts: self.counts,
            ..Row::default()
        };
        // A count that was zero is not kept.
        if row.counts[0].is_some() {
            row.counts
                .iter_mut()
                .for_each(|count| *count = Some(count.unwrap_or(0)));
        }
        for (place, window) in &self.delays {
            row.delays[*place] = Some(Figures {
                count: window.count(),
                p50_ns: window.quantile(0.5),
                p99_ns: window.quantile(0.99),
                max_ns: window.max,
            });
            if let Some(column) = row.heats.get_mut(*place) {
                *column = heat::of_kept(window);
            }
            if *place == 0 {
                row.stamp = Some(window.stamp);
            }
        }
        row
    }
}

/// Returns the figure that a column of the history is, and the kind of flow.
fn figure(column: &Column) -> Option<(Place, FlowKind)> {
    let metric = Metric::named(&column.metric)?;
    place(metric, column.direction()).zip(metric.flow)
}

fn published(labels: &Labels) -> Vec<Box<str>> {
    labels.iter().map(|tag| tag.to_string().into()).collect()
}

/// Returns every figure of one pair's flows of a kind, as [`Live::past_of`](super::Live::past_of) does.
pub(super) fn past_of(
    reader: &Reader,
    asked: PastRange,
    number: u32,
    labels: &Arc<Labels>,
    kind: FlowKind,
) -> io::Result<Vec<u8>> {
    let (tags, column_ns) = (published(labels), asked.column_ns());
    let mut sums: BTreeMap<i64, Sum> = BTreeMap::new();
    let span = asked.span(HISTORY_INTERVALS_SHOWN_MAX);
    let unread = reader.read(span, &|other| *other == *tags, &mut |part| {
        let sum = sums.entry(part.span[0].div_euclid(column_ns)).or_default();
        sum.end_ns = sum.end_ns.max(part.span[1]);
        for (column, cell) in part.row {
            if let Some((place, _)) = figure(column).filter(|(_, of)| *of == kind) {
                sum.add(place, cell);
            }
        }
    })?;
    let mut out = Object(b"{".to_vec());
    out.member("pair", &number);
    out.member("flow", &kind.as_str());
    out.member("interval_ns", &column_ns);
    out.member(
        "end_ns",
        &sums.values().map(|sum| sum.end_ns).collect::<Vec<_>>(),
    );
    let rows: Vec<Row> = sums.values().map(Sum::row).collect();
    out.columns(&rows.iter().map(Some).collect::<Vec<_>>());
    out.member("unread", &unread);
    out.0.push(b'}');
    Ok(out.0)
}

/// Returns the main figures of all pairs, as [`Live::past`](super::Live::past) does.
pub(super) fn past(
    reader: &Reader,
    asked: PastRange,
    pairs: &BTreeMap<u32, Arc<Labels>>,
) -> io::Result<Vec<u8>> {
    let cells_max = i64::try_from(LIVE_PAST_CELLS_MAX).unwrap_or(i64::MAX);
    // Every pair may have flows of two kinds.
    let pairs_there = i64::try_from(2 * pairs.len()).unwrap_or(i64::MAX).max(1);
    let columns = asked.columns.min(cells_max / pairs_there).max(1);
    let asked = PastRange { columns, ..asked };
    let column_ns = asked.column_ns();
    let known = pairs
        .iter()
        .map(|(number, labels)| (published(labels), *number));
    let known: BTreeMap<Vec<Box<str>>, u32> = known.collect();
    let mut ends: BTreeMap<i64, i64> = BTreeMap::new();
    let mut series: BTreeMap<(u32, FlowKind), BTreeMap<i64, Sum>> = BTreeMap::new();
    let span = asked.span(asked.columns);
    let unread = reader.read(span, &|tags| known.contains_key(tags), &mut |part| {
        let Some(number) = known.get(&**part.tags) else {
            return;
        };
        let at = part.span[0].div_euclid(column_ns);
        let end = ends.entry(at).or_default();
        *end = (*end).max(part.span[1]);
        for (column, cell) in part.row {
            if let Some((place, kind)) = figure(column) {
                let sums = series.entry((*number, kind)).or_default();
                sums.entry(at).or_default().add(place, cell);
            }
        }
    })?;
    let mut out = Object(b"{".to_vec());
    out.member("interval_ns", &column_ns);
    out.member("end_ns", &ends.values().collect::<Vec<_>>());
    out.name("series");
    out.0.push(b'[');
    for (place, ((pair, kind), sums)) in series.iter().enumerate() {
        if place > 0 {
            out.0.push(b',');
        }
        out.0.push(b'{');
        out.member("pair", pair);
        out.member("flow", &kind.as_str());
        let rows: Vec<Option<Row>> = ends.keys().map(|at| sums.get(at).map(Sum::row)).collect();
        for (name, read) in MAIN {
            out.column(name, rows.iter().map(|row| read(row.as_ref()?)));
        }
        out.0.push(b'}');
    }
    out.0.push(b']');
    out.member("unread", &unread);
    out.0.push(b'}');
    Ok(out.0)
}
