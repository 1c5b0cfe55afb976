//! The totals since the process began, one entry a series, as Prometheus keeps them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use slab::Slab;

use crate::proto::{Direction, Wall};
use crate::publish::prometheus::histogram::{Histogram, Shape};
use crate::publish::prometheus::labels::{Label, labels};
use crate::publish::prometheus::sets::{Sets, set_of};
use crate::record::{
    Choice, Distribution, Event, EventKind, Metric, MetricKind, Mode, Record, SinkConfig, TagSet,
    Tags, Window,
};

/// Rounds after which a gauge without a new value is left out.
const GAUGE_ROUNDS: u64 = 2;

/// Rounds without a record after which a set of series makes room for a new one, if there is none.
const IDLE_ROUNDS: u64 = 10;

/// The type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Histogram,
    Counter,
    Gauge,
    /// A gauge of a burst that is over. It stays until the next burst.
    LastGauge,
}

impl Kind {
    /// Returns the kind of a metric's family.
    pub(super) const fn of(metric: &Metric) -> Self {
        match metric.kind {
            MetricKind::Delay | MetricKind::SignedDelay | MetricKind::Window => Self::Histogram,
            MetricKind::Count | MetricKind::Increment => Self::Counter,
            MetricKind::Gauge => Self::Gauge,
            MetricKind::LastEvent => Self::LastGauge,
        }
    }
}

/// The identity of a series. Keys of one family sort together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    kind: Kind,
    name: &'static str,
    pub(super) labels: Vec<Label>,
}

/// The state of one series.
#[derive(Debug)]
pub(super) enum Value {
    Histogram(Histogram),
    Counter(u64),
    Gauge(i64),
}

/// What a record does to its series.
enum Change<'a> {
    Sample(i64),
    Window(&'a Window),
    More(u64),
    Level(i64),
}

/// What a series had in an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Last {
    /// The end of the interval.
    pub end: Wall,
    /// The number of values.
    pub count: u64,
    /// The least value in nanoseconds.
    pub min_ns: i64,
    /// What half of the values do not exceed.
    pub p50_ns: i64,
    /// What 99 % of them do not exceed.
    pub p99_ns: i64,
    /// The greatest value.
    pub max_ns: i64,
}

/// One series.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) metric: &'static Metric,
    pub(super) value: Value,
    /// When it began to count: no later than its first record.
    pub(super) began: Wall,
    /// The last window, if it is kept.
    last: Option<Box<Last>>,
    /// The round of the last record.
    round: u64,
}

/// Series that were found by the address of their tags and their metric.
type Known = BTreeMap<(usize, &'static str), (Arc<Tags>, usize)>;

/// The outcome of adding a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::publish) enum Added {
    /// Its series has it.
    Yes,
    /// Prometheus has no use for it.
    Ignored,
    /// There is no room for another set of series.
    Refused,
}

/// All series.
#[derive(Debug)]
pub(in crate::publish) struct State {
    shape: Shape,
    takes_samples: bool,
    keeps_last: bool,
    choice: Choice,
    sets: Sets,
    index: BTreeMap<Key, usize>,
    entries: Slab<Entry>,
    known: Known,
    distribution: Distribution,
    round: u64,
    swept: u64,
    refused: u64,
    /// The end of the last round, and the latest time of a record since. The first round began with the state.
    round_began: Wall,
    latest: Wall,
}

impl State {
    /// Makes a state without series, `now`. `shape` is that of all histograms; `sink` says what the
    /// records to come are.
    pub(in crate::publish) fn new(shape: Shape, sets: Sets, sink: &SinkConfig, now: Wall) -> Self {
        Self {
            shape,
            // With both, each value must be counted once, and windows have all of them.
            takes_samples: sink.mode == Mode::Samples,
            keeps_last: false,
            choice: sink.choice.clone(),
            sets,
            index: BTreeMap::new(),
            entries: Slab::new(),
            known: BTreeMap::new(),
            distribution: Distribution::new(),
            round: GAUGE_ROUNDS,
            swept: 0,
            refused: 0,
            round_began: now,
            latest: now,
        }
    }

    /// Keeps figures of each series' last window.
    pub(super) fn keeping_last(self) -> Self {
        Self {
            keeps_last: true,
            ..self
        }
    }

    /// Returns the distribution of the window that was [added](Self::add) last.
    pub(super) const fn distribution(&self) -> &Distribution {
        &self.distribution
    }

    /// Returns the figures of the last window of a metric with these labels.
    pub(super) fn last(&self, metric: &'static Metric, labels: Vec<Label>) -> Option<Last> {
        let key = Key {
            kind: Kind::of(metric),
            name: metric.name,
            labels,
        };
        let entry = self.entries.get(*self.index.get(&key)?)?;
        entry.last.as_deref().copied()
    }

    /// Adds a record to its series.
    pub(in crate::publish) fn add(&mut self, record: &Record) -> Added {
        self.latest = self.latest.max(record.at());
        match record {
            Record::Sample { .. } if !self.takes_samples => Added::Ignored,
            Record::Sample {
                series, value_ns, ..
            } => self.update(series.metric, &series.tags, Change::Sample(*value_ns)),
            Record::Window(window) => {
                let series = window.series();
                self.update(series.metric, &series.tags, Change::Window(window))
            }
            Record::Count {
                metric,
                tags,
                value,
                ..
            } => self.update(metric, tags, Change::More(*value)),
            Record::Gauge {
                metric,
                tags,
                value,
                ..
            } => self.update(metric, tags, Change::Level(*value)),
            Record::Event(event) => self.add_event(event),
        }
    }

    /// Counts an event, and keeps the figures of the last burst. They stay, as a counter does.
    fn add_event(&mut self, event: &Event) -> Added {
        let (mut direction, mut numbers) = ("", [1; 5]);
        if let EventKind::Burst(burst) = event.kind {
            direction = burst.direction.map_or("unknown", Direction::as_str);
            let gauge = |ns: u64| i64::try_from(ns).unwrap_or(i64::MAX);
            let start_ns = event.at.as_unix_nanos();
            // The first two count events and bursts, and add one.
            numbers = [
                1,
                1,
                start_ns,
                gauge(burst.duration_ns),
                gauge(burst.peak_ns),
            ];
        }
        for (metric, number) in event.metrics().zip(numbers) {
            if !self.choice.has(metric) {
                continue;
            }
            let (name, value) = match metric.tags {
                TagSet::Event => ("event", event.name()),
                _ => ("direction", direction),
            };
            let mut labels = labels(event.tags.iter());
            labels.push((name.to_owned(), value.to_owned()));
            let Some(place) = self.place(metric, labels) else {
                return self.refuse();
            };
            self.apply(place, Change::Level(number));
        }
        Added::Yes
    }

    /// Changes a series. A level that a counter gets is added to it.
    fn apply(&mut self, place: usize, change: Change<'_>) {
        let entry = &mut self.entries[place];
        entry.round = self.round;
        match (&mut entry.value, change) {
            (Value::Histogram(histogram), Change::Sample(value_ns)) => histogram.record(value_ns),
            (Value::Histogram(histogram), Change::Window(window)) => {
                self.distribution.load(window);
                histogram.merge(window, &self.distribution);
                if self.keeps_last {
                    let quantile = |share| self.distribution.quantile(share);
                    let last = Last {
                        end: window.end(),
                        count: window.count(),
                        min_ns: window.min(),
                        p50_ns: quantile(0.5),
                        p99_ns: quantile(0.99),
                        max_ns: window.max(),
                    };
                    entry.last = Some(Box::new(last));
                }
            }
            (Value::Counter(count), Change::More(more)) => *count = count.saturating_add(more),
            (Value::Counter(count), Change::Level(more)) => {
                *count = count.saturating_add(u64::try_from(more).unwrap_or(0));
            }
            (Value::Gauge(value), Change::Level(level)) => *value = level,
            _ => {}
        }
    }

    /// Finds or makes a series, and changes it.
    fn update(&mut self, metric: &'static Metric, tags: &Arc<Tags>, change: Change<'_>) -> Added {
        let key = (Arc::as_ptr(tags).addr(), metric.name);
        let place = match self.known.get(&key) {
            Some(&(_, place)) => place,
            None => {
                let Some(place) = self.place(metric, labels(tags.iter())) else {
                    return self.refuse();
                };
                // Every new flow has new tags, of the same content.
                if self.known.len() > 2 * self.index.len() {
                    self.known.clear();
                }
                // Held here, so that no other tags get this address.
                self.known.insert(key, (Arc::clone(tags), place));
                place
            }
        };
        self.apply(place, change);
        Added::Yes
    }

    fn refuse(&mut self) -> Added {
        self.refused += 1;
        Added::Refused
    }

    /// Returns the entry of a series; makes it if its set has room.
    fn place(&mut self, metric: &'static Metric, labels: Vec<Label>) -> Option<usize> {
        let key = Key {
            kind: Kind::of(metric),
            name: metric.name,
            labels,
        };
        if let Some(&place) = self.index.get(&key) {
            return Some(place);
        }
        let has_room =
            self.sets.admit(&key.labels) || (self.sweep() && self.sets.admit(&key.labels));
        if !has_room {
            return None;
        }
        let value = match key.kind {
            Kind::Histogram => Value::Histogram(self.shape.histogram(metric)),
            Kind::Counter => Value::Counter(0),
            Kind::Gauge | Kind::LastGauge => Value::Gauge(0),
        };
        let place = self.entries.insert(Entry {
            metric,
            value,
            began: self.round_began,
            last: None,
            round: self.round,
        });
        self.index.insert(key, place);
        Some(place)
    }

    /// Removes idle sets, at most once a round. Returns false if that was done in this round.
    fn sweep(&mut self) -> bool {
        if self.swept == self.round {
            return false;
        }
        self.swept = self.round;
        let entries = &mut self.entries;
        let is_live = |place: usize| entries[place].round + IDLE_ROUNDS >= self.round;
        let live = self.index.iter().filter(|&(_, &place)| is_live(place));
        let live: BTreeSet<_> = live.map(|(key, _)| set_of(&key.labels)).collect();
        self.index.retain(|key, &mut place| {
            let keep = live.contains(&set_of(&key.labels));
            if !keep {
                entries.remove(place);
            }
            keep
        });
        self.sets.retain(&live);
        self.known.clear();
        true
    }

    /// Ends a round: all series were written.
    pub(in crate::publish) fn end_round(&mut self) {
        self.round += 1;
        self.round_began = self.latest;
    }

    /// The number of series.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// The number of records that found no room.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    /// Returns the series to write, families together, without gauges that have no new value.
    pub(super) fn series(&self) -> impl Iterator<Item = (&Key, &Entry)> {
        self.index.iter().filter_map(|(key, &place)| {
            let entry = &self.entries[place];
            let is_told = key.kind != Kind::Gauge || entry.round + GAUGE_ROUNDS >= self.round;
            is_told.then_some((key, entry))
        })
    }

    /// True if a metric of the backend's own is chosen.
    pub(super) fn has(&self, metric: &Metric) -> bool {
        self.choice.has(metric)
    }
}
