//! Makes an [`Interval`] of the records of one.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::history::cell::{Cell, Gauge};
use crate::history::column::Column;
use crate::history::names::Subject;
use crate::limits::HISTORY_CELLS_MAX;
use crate::proto::Labels;
use crate::proto::sample::Tag;
use crate::record::{Metric, MetricKind, Record, SparseWindow, Tags};

/// The values of one subject.
pub(super) type Row = BTreeMap<Column, Cell>;

/// All values of an interval, by subject.
#[derive(Debug, Default)]
pub(crate) struct Interval {
    /// When it began and ended, in Unix nanoseconds.
    pub(crate) span: [i64; 2],
    pub(super) rows: Vec<(Subject, Row)>,
    /// Records that are in it.
    pub(crate) records: u64,
}

/// Whose values a row has, until they are written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Whom {
    Flow(Arc<Labels>),
    /// By its tags as they are published.
    Other(Vec<Box<str>>),
}

impl Whom {
    fn of(tags: &Tags) -> (Self, Option<Tag<'static>>) {
        match tags {
            Tags::Flow(labels) => (Self::Flow(Arc::clone(labels)), None),
            Tags::Marked(labels, tag) => (Self::Flow(Arc::clone(labels)), Some(*tag)),
            Tags::Host(_) | Tags::Backend { .. } => (Self::Other(published(tags.iter())), None),
        }
    }

    fn subject(self) -> Subject {
        match self {
            Self::Flow(labels) => published(labels.iter()).into(),
            Self::Other(tags) => tags.into(),
        }
    }
}

fn published<'a>(tags: impl Iterator<Item = Tag<'a>>) -> Vec<Box<str>> {
    tags.map(|tag| tag.to_string().into()).collect()
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Gather {
    interval_ns: i64,
    rows: BTreeMap<Whom, Row>,
    /// The span of the records; `None`: there is none.
    span: Option<[i64; 2]>,
    cells: usize,
    records: u64,
}

impl Gather {
    /// One of intervals of this length in nanoseconds.
    pub(crate) fn new(interval_ns: u64) -> Self {
        Self {
            interval_ns: i64::try_from(interval_ns).unwrap_or(i64::MAX),
            rows: BTreeMap::new(),
            span: None,
            cells: 0,
            records: 0,
        }
    }

    /// True if a record is of a later interval than those that are here, or of one before a step of the clock.
    pub(crate) fn is_of_another(&self, record: &Record) -> bool {
        let end = record.at().as_unix_nanos();
        let far = self.interval_ns / 2;
        let is_far = |[_, before]: [i64; 2]| end.abs_diff(before) > far.unsigned_abs();
        self.span.is_some_and(is_far)
    }

    /// Takes a window, a count or a gauge. False if there are too many series.
    pub(crate) fn add(&mut self, record: &Record) -> bool {
        let end = record.at().as_unix_nanos();
        let (metric, tags, cell, start) = match record {
            Record::Window(window) if window.count() > 0 => {
                let (series, cell) = (window.series(), SparseWindow::of(window));
                (
                    series.metric,
                    &series.tags,
                    Cell::Window(cell),
                    window.start().as_unix_nanos(),
                )
            }
            Record::Count {
                metric,
                tags,
                value,
                ..
            } => (
                *metric,
                tags,
                Cell::Count(*value),
                end.saturating_sub(self.interval_ns),
            ),
            Record::Gauge {
                metric,
                tags,
                value,
                ..
            } => (
                *metric,
                tags,
                reading(metric, *value),
                end.saturating_sub(self.interval_ns),
            ),
            _ => return true,
        };
        let [first, last] = self.span.get_or_insert([start, end]);
        (*first, *last) = ((*first).min(start), (*last).max(end));
        self.records += 1;
        if cell == Cell::Count(0) {
            // Most counts of most intervals: one that is not there is none.
            return true;
        }
        let (whom, tag) = Whom::of(tags);
        let row = self.rows.entry(whom).or_default();
        match row.get_mut(&Column::new(metric, tag)) {
            Some(before) => before.merge(cell),
            None if self.cells >= HISTORY_CELLS_MAX => return false,
            None => {
                self.cells += 1;
                row.insert(Column::new(metric, tag), cell);
            }
        }
        true
    }

    /// Returns what came since the last call; `None`: nothing did.
    pub(crate) fn take(&mut self) -> Option<Interval> {
        let span = self.span.take()?;
        self.cells = 0;
        let rows = std::mem::take(&mut self.rows).into_iter();
        let rows = rows.map(|(whom, row)| (whom.subject(), row)).collect();
        let records = std::mem::take(&mut self.records);
        Some(Interval {
            span,
            rows,
            records,
        })
    }
}

fn reading(metric: &Metric, value: i64) -> Cell {
    match metric.kind {
        // What an interval added: the sum of several has a meaning.
        MetricKind::Increment => Cell::Count(value.max(0).unsigned_abs()),
        _ => Cell::Gauge(Gauge {
            last: value,
            min: value,
            max: value,
        }),
    }
}
