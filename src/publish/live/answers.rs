//! What whoever begins to look is told, and what is told of the past.

use std::collections::BTreeMap;

use crate::limits::LIVE_PAST_CELLS_MAX;
use crate::proto::FlowKind;
use crate::publish::live::board::Board;
use crate::publish::live::heat::EDGES_NS;
use crate::publish::live::json::Object;
use crate::publish::live::pair::{Pair, key, parts};
use crate::publish::live::past::Interval;
use crate::publish::live::row::Row;

/// Reads a figure of a row.
pub(super) type ReadRow = fn(&Row) -> Option<i64>;

/// Figures of [`Board::past`], each with how it is read. They are what a list of all targets draws.
pub(super) const MAIN: [(&str, ReadRow); 6] = [
    ("sent", |row| count(row, 0)),
    ("lost", |row| count(row, 2)),
    ("rtt_p50_ns", |row| row.delays[0].map(|it| it.p50_ns)),
    ("rtt_p99_ns", |row| row.delays[0].map(|it| it.p99_ns)),
    ("forward_p99_ns", |row| row.delays[1].map(|it| it.p99_ns)),
    ("reverse_p99_ns", |row| row.delays[2].map(|it| it.p99_ns)),
];

fn count(row: &Row, place: usize) -> Option<i64> {
    row.counts[place].map(|count| i64::try_from(count).unwrap_or(i64::MAX))
}

impl Board {
    /// Returns the members of a snapshot.
    pub(super) fn snapshot(&self) -> Vec<u8> {
        let mut out = Object(Vec::new());
        out.member("source", &self.source);
        out.member("interval_ns", &self.interval_ns);
        out.member("heat_edges_ns", &EDGES_NS.as_slice());
        let pairs = || self.pairs.iter().map(|(number, pair)| (*number, pair));
        out.pairs("pairs", &pairs().collect::<Vec<_>>());
        let last = self.past.iter().next_back();
        out.member("end_ns", &last.map(|interval| interval.end_ns));
        let rows: Vec<(u64, Row)> = last.into_iter().flat_map(Interval::rows).collect();
        let rows: Vec<(u64, &Row)> = rows.iter().map(|(key, row)| (*key, row)).collect();
        out.rows(&rows);
        let has_clock = |pair: &Pair| pair.clock.iter().any(Option::is_some);
        let clocks: Vec<_> = pairs().filter(|(_, pair)| has_clock(pair)).collect();
        out.clocks(&clocks);
        out.member("host", &self.host);
        out.lines("events", self.events.iter().map(|line| &**line));
        out.lines("paths", self.paths.iter().map(|(.., line)| &**line));
        out.0
    }

    /// See [`Live::past_of`](super::Live::past_of).
    pub(super) fn past_of(&self, pair: u32, flow: &str) -> Option<Vec<u8>> {
        let kind = FlowKind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == flow)?;
        if !self.pairs.contains_key(&pair) {
            return None;
        }
        let mut out = Object(b"{".to_vec());
        out.member("pair", &pair);
        out.member("flow", &flow);
        let ends: Vec<i64> = self.past.iter().map(|interval| interval.end_ns).collect();
        out.member("end_ns", &ends);
        let rows = self
            .past
            .iter()
            .map(|interval| interval.row(key(pair, kind)));
        let rows: Vec<Option<Row>> = rows.collect();
        let rows: Vec<Option<&Row>> = rows.iter().map(Option::as_ref).collect();
        out.columns(&rows);
        out.0.push(b'}');
        Some(out.0)
    }

    /// See [`Live::past`](super::Live::past).
    pub(super) fn past(&self) -> Vec<u8> {
        // Every pair may have flows of two kinds.
        let intervals_max = LIVE_PAST_CELLS_MAX / (2 * self.pairs.len()).max(1);
        let all = self.past.iter().len();
        let intervals = || {
            self.past
                .iter()
                .skip(all.saturating_sub(intervals_max.max(1)))
        };
        let ends: Vec<i64> = intervals().map(|interval| interval.end_ns).collect();
        let mut series: BTreeMap<u64, Vec<[Option<i64>; MAIN.len()]>> = BTreeMap::new();
        for (place, interval) in intervals().enumerate() {
            for (key, row) in interval.rows() {
                if !self.pairs.contains_key(&parts(key).0) {
                    continue;
                }
                let cells = series.entry(key).or_default();
                cells.resize(place, [None; _]);
                cells.push(MAIN.map(|(_, read)| read(&row)));
            }
        }
        let mut out = Object(b"{".to_vec());
        out.member("end_ns", &ends);
        out.name("series");
        out.0.push(b'[');
        for (place, (key, mut cells)) in series.into_iter().enumerate() {
            if place > 0 {
                out.0.push(b',');
            }
            out.0.push(b'{');
            let (pair, kind) = parts(key);
            out.member("pair", &pair);
            out.member("flow", &kind.as_str());
            cells.resize(ends.len(), [None; _]);
            for (at, (name, _)) in MAIN.iter().enumerate() {
                out.column(name, cells.iter().map(|cell| cell[at]));
            }
            out.0.push(b'}');
        }
        out.0.extend_from_slice(b"]}");
        out.0
    }
}
