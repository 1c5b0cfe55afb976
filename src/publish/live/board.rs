//! The interval that is being filled, the pairs that have been seen, and what is kept of before.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::limits::{LIVE_EVENTS_KEPT, LIVE_PATHS_KEPT};
use crate::proto::{Labels, Wall};
use crate::publish::live::host::Host;
use crate::publish::live::json::{self, Update};
use crate::publish::live::pair::{Pair, key};
use crate::publish::live::past::{Interval, Past};
use crate::publish::live::row::{Place, Row, place};
use crate::record::{Distribution, Event, EventKind, Metric, Record, Tags};

/// Intervals without a record after which a pair is forgotten.
const IDLE_INTERVALS: u64 = 10;

/// The figures of an interval.
#[derive(Debug, Default)]
struct Filling {
    /// Its end; `None`: no record has come.
    end: Option<Wall>,
    rows: BTreeMap<u64, Row>,
    /// Pairs whose clocks it has told of.
    clocks: Vec<u32>,
    host: Host,
    new: Vec<u32>,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Board {
    pub(super) source: Box<str>,
    pub(super) interval_ns: u64,
    known: BTreeMap<Arc<Labels>, u32>,
    pub(super) pairs: BTreeMap<u32, Pair>,
    next_pair: u32,
    intervals: u64,
    filling: Filling,
    pub(super) host: Host,
    pub(super) past: Past,
    /// The last events as JSON, the oldest first.
    pub(super) events: VecDeque<Box<[u8]>>,
    /// The last paths, one of each flow, as JSON.
    pub(super) paths: VecDeque<(Arc<Tags>, u16, Box<[u8]>)>,
}

impl Board {
    pub(super) fn new(source: &str, interval_ns: u64) -> Self {
        Self {
            source: source.into(),
            interval_ns,
            known: BTreeMap::new(),
            pairs: BTreeMap::new(),
            next_pair: 0,
            intervals: 0,
            filling: Filling::default(),
            host: Host::default(),
            past: Past::default(),
            events: VecDeque::new(),
            paths: VecDeque::new(),
        }
    }

    /// Returns whose figures there are, by the numbers of pairs.
    pub(super) fn labels(&self) -> BTreeMap<u32, Arc<Labels>> {
        let pairs = self.pairs.iter();
        pairs
            .map(|(number, pair)| (*number, Arc::clone(&pair.labels)))
            .collect()
    }

    /// True if the interval that is being filled has another end. All records of one interval have the same.
    pub(super) fn is_of_another_interval(&self, record: &Record) -> bool {
        let is_other = |end: Wall| end != record.at();
        !matches!(record, Record::Event(_)) && self.filling.end.is_some_and(is_other)
    }

    /// Takes a record that is no event; of a window also its distribution.
    pub(super) fn add(&mut self, record: &Record, values: &Distribution) {
        let (metric, tags) = match record {
            Record::Window(window) => (window.series().metric, &window.series().tags),
            Record::Count { metric, tags, .. } | Record::Gauge { metric, tags, .. } => {
                (*metric, tags)
            }
            Record::Sample { .. } | Record::Event(_) => return,
        };
        self.filling.end = Some(record.at());
        match &**tags {
            Tags::Flow(labels) => self.add_to_pair(record, metric, labels, None, values),
            Tags::Marked(labels, tag) => {
                // A corrected one-way delay stands in place of a raw one; a target has one of them.
                let direction = (tag.key == Some("direction")).then_some(tag.value);
                self.add_to_pair(record, metric, labels, direction, values);
            }
            Tags::Host(_) => self.filling.host.add(None, record, metric, values),
            Tags::Backend { backend, .. } => {
                self.filling.host.add(Some(backend), record, metric, values);
            }
        }
    }

    fn add_to_pair(
        &mut self,
        record: &Record,
        metric: &'static Metric,
        labels: &Arc<Labels>,
        direction: Option<&str>,
        values: &Distribution,
    ) {
        let pair = self.pair(labels);
        let clock = Metric::of_clocks().position(|one| one.name == metric.name);
        if let (Some(place), Record::Gauge { value, .. }) = (clock, record) {
            if let Some(known) = self.pairs.get_mut(&pair) {
                known.clock[place] = Some(*value);
            }
            if self.filling.clocks.last() != Some(&pair) {
                self.filling.clocks.push(pair);
            }
            return;
        }
        let Some((place, kind)) = place(metric, direction).zip(metric.flow) else {
            return;
        };
        let row = self.filling.rows.entry(key(pair, kind)).or_default();
        match (record, place) {
            (Record::Window(window), Place::Delay(place)) => row.add_window(place, window, values),
            (Record::Count { value, .. }, Place::Count(place)) => row.add_count(place, *value),
            _ => {}
        }
    }

    /// Returns the number of a pair, and marks it as seen.
    fn pair(&mut self, labels: &Arc<Labels>) -> u32 {
        let number = match self.known.get(labels) {
            Some(number) => *number,
            None => {
                let number = self.next_pair;
                self.next_pair += 1;
                self.known.insert(Arc::clone(labels), number);
                let labels = Arc::clone(labels);
                let clock = [None; _];
                let seen = self.intervals;
                let pair = Pair {
                    labels,
                    clock,
                    seen,
                };
                self.pairs.insert(number, pair);
                self.filling.new.push(number);
                number
            }
        };
        if let Some(pair) = self.pairs.get_mut(&number) {
            pair.seen = self.intervals;
        }
        number
    }

    /// Keeps an event, which is a line of JSON.
    pub(super) fn add_event(&mut self, event: &Event, line: &[u8]) {
        if matches!(event.kind, EventKind::Path(_) | EventKind::PathChange(_)) {
            let number = event.flow.map_or(0, |flow| flow.number);
            let (tags, paths) = (&event.tags, &mut self.paths);
            paths.retain(|(other, flow, _)| *flow != number || other != tags);
            if paths.len() >= LIVE_PATHS_KEPT {
                paths.pop_front();
            }
            paths.push_back((Arc::clone(tags), number, line.into()));
        }
        if self.events.len() >= LIVE_EVENTS_KEPT {
            self.events.pop_front();
        }
        self.events.push_back(line.into());
    }

    /// Ends the interval, and returns its figures as JSON if they are wanted. `None` also if it has none.
    pub(super) fn end_interval(&mut self, is_wanted: bool) -> Option<Vec<u8>> {
        let Filling {
            end,
            rows,
            clocks,
            host,
            new,
        } = std::mem::take(&mut self.filling);
        let end_ns = end?.as_unix_nanos();
        self.intervals += 1;
        let gone = self.forget_idle();
        if !host.is_empty() {
            self.host = host;
        }
        let update = is_wanted.then(|| {
            let of_pair = |number: &u32| Some((*number, self.pairs.get(number)?));
            json::update(&Update {
                end_ns,
                rows: rows.iter().map(|(key, row)| (*key, row)).collect(),
                clocks: clocks.iter().filter_map(of_pair).collect(),
                host: &self.host,
                new: new.iter().filter_map(of_pair).collect(),
                gone: &gone,
            })
        });
        let rows = rows.iter().map(|(key, row)| (*key, row));
        self.past.push(Interval::pack(end_ns, rows));
        update
    }

    /// Forgets pairs of which nothing has come for long. Returns their numbers.
    fn forget_idle(&mut self) -> Vec<u32> {
        let intervals = self.intervals;
        let is_idle = |pair: &Pair| pair.seen + IDLE_INTERVALS < intervals;
        let idle: Vec<u32> = self
            .pairs
            .extract_if(.., |_, pair| is_idle(pair))
            .map(|(number, pair)| {
                self.known.remove(&pair.labels);
                number
            })
            .collect();
        idle
    }
}
