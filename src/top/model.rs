//! What is known of a daemon: its rows, their last intervals, its events. It is made of what the daemon tells, and
//! draws, asks and waits for nothing.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;

use crate::limits::{
    TOP_COLUMNS_KEPT, TOP_EVENTS_KEPT, TOP_HOST_FIGURES_MAX, TOP_ROWS_MAX, TOP_TICKS_KEPT,
};
use crate::proto::FlowKind;
use crate::top::happened::Happened;
use crate::top::text::plain;
use crate::top::told::{
    self, Clocks, Columns, Ends, FIGURE_COUNT, Figure, Past, PastSeries, Snapshot, Update,
};

/// Whose a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) pair: u32,
    pub(super) flow: FlowKind,
}

impl Key {
    fn read(pair: u32, flow: &str) -> Option<Self> {
        let flow = FlowKind::ALL.into_iter().find(|kind| kind.as_str() == flow);
        flow.map(|flow| Self { pair, flow })
    }
}

/// A pair of hosts. All text is plain.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) source: String,
    pub(super) target: String,
    pub(super) tags: String,
    pub(super) clock: Option<PeerClock>,
}

/// What is known of a peer's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PeerClock {
    pub(super) offset_ns: Option<i64>,
    pub(super) error_ns: Option<i64>,
    pub(super) skew_ppb: Option<i64>,
}

/// What an interval is remembered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tick {
    pub(super) end_ns: i64,
    pub(super) rtt_p99_ns: Option<i64>,
    pub(super) counts: Counts,
    /// True if it was asked for afterwards: then it has no counts but what was lost.
    pub(super) is_past: bool,
}

/// How often what happened to probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) sent: i64,
    pub(super) lost: i64,
    pub(super) lost_forward: i64,
    pub(super) lost_reverse: i64,
    pub(super) unsent: i64,
}

impl Counts {
    fn add(&mut self, other: Self) {
        for (sum, count) in [
            (&mut self.sent, other.sent),
            (&mut self.lost, other.lost),
            (&mut self.lost_forward, other.lost_forward),
            (&mut self.lost_reverse, other.lost_reverse),
            (&mut self.unsent, other.unsent),
        ] {
            *sum = sum.saturating_add(count);
        }
    }

    /// Probes that did not come back or did not leave.
    pub(super) fn missing(&self) -> i64 {
        self.lost.saturating_add(self.unsent)
    }

    /// Probes that were due.
    pub(super) fn due(&self) -> i64 {
        self.sent.saturating_add(self.unsent)
    }
}

/// The figures of a pair's flows of a kind.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Those of the last interval.
    now: [Option<i64>; FIGURE_COUNT],
    pub(super) stamp: Option<String>,
    /// The last intervals, the oldest first.
    pub(super) ticks: VecDeque<Tick>,
}

impl Default for Row {
    fn default() -> Self {
        Self {
            now: [None; FIGURE_COUNT],
            stamp: None,
            ticks: VecDeque::new(),
        }
    }
}

impl Row {
    /// Returns a figure of the last interval.
    pub(super) fn get(&self, figure: Figure) -> Option<i64> {
        self.now.get(figure as usize).copied().flatten()
    }

    fn put(&mut self, end_ns: i64, now: &[Option<i64>; FIGURE_COUNT], stamp: Option<&str>) {
        self.now = *now;
        self.stamp = stamp.map(plain);
        let count = |figure| self.get(figure).unwrap_or(0);
        let tick = Tick {
            end_ns,
            rtt_p99_ns: self.get(Figure::RttP99),
            counts: Counts {
                sent: count(Figure::Sent),
                lost: count(Figure::Lost),
                lost_forward: count(Figure::LostForward),
                lost_reverse: count(Figure::LostReverse),
                unsent: count(Figure::Unsent),
            },
            is_past: false,
        };
        push(&mut self.ticks, tick, TOP_TICKS_KEPT);
    }

    /// Returns the counts of the last `span_ns`, as far as they were seen.
    pub(super) fn counts(&self, span_ns: i64) -> Counts {
        let mut sum = Counts::default();
        let last = self.ticks.back().map_or(0, |tick| tick.end_ns);
        let is_recent = |tick: &&Tick| last.saturating_sub(tick.end_ns) < span_ns;
        let recent = self.ticks.iter().rev().take_while(is_recent);
        for tick in recent.filter(|tick| !tick.is_past) {
            sum.add(tick.counts);
        }
        sum
    }
}

/// An interval of the chosen row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) end_ns: i64,
    /// Bins of the delays of [`told::HEATS`].
    pub(super) heats: [Vec<told::Bin>; told::HEATS.len()],
    pub(super) lost: i64,
    pub(super) lost_forward: i64,
    pub(super) lost_reverse: i64,
}

impl Column {
    fn read(end_ns: i64, columns: &Columns<'_>, at: usize) -> Self {
        let row = columns.row(at);
        let count = |figure: Figure| row.get(figure as usize).copied().flatten().unwrap_or(0);
        Self {
            end_ns,
            heats: std::array::from_fn(|of| columns.heat(of, at)),
            lost: count(Figure::Lost),
            lost_forward: count(Figure::LostForward),
            lost_reverse: count(Figure::LostReverse),
        }
    }
}

/// How far back the row that is looked at more closely is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Back {
    /// The last intervals, as they come.
    #[default]
    Live,
    Hour,
    Day,
    Week,
}

impl Back {
    pub(super) const fn next(self) -> Self {
        match self {
            Self::Live => Self::Hour,
            Self::Hour => Self::Day,
            Self::Day => Self::Week,
            Self::Week => Self::Live,
        }
    }

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Hour => "last hour",
            Self::Day => "last 24 h",
            Self::Week => "last 7 d",
        }
    }

    /// Returns the seconds that the daemon is asked for; `None`: what it keeps in its memory.
    pub(super) const fn seconds(self) -> Option<u32> {
        match self {
            Self::Live => None,
            Self::Hour => Some(3_600),
            Self::Day => Some(86_400),
            Self::Week => Some(604_800),
        }
    }
}

/// The row that is looked at more closely.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    pub(super) key: Key,
    /// How far back, of what the daemon keeps on its disk.
    pub(super) back: Back,
    pub(super) columns: VecDeque<Column>,
}

/// How it stands with the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Link {
    /// Nothing has come yet.
    #[default]
    Connecting,
    /// It tells what happens.
    Live,
    /// It does not, and this is why.
    Lost(String),
}

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) link: Link,
    pub(super) source: String,
    pub(super) interval_ns: i64,
    pub(super) edges_ns: Vec<u64>,
    pub(super) end_ns: Option<i64>,
    pub(super) pairs: BTreeMap<u32, Pair>,
    pub(super) rows: BTreeMap<Key, Row>,
    /// Figures of the process, by name.
    pub(super) host: BTreeMap<String, Value>,
    /// The same of backends: the name of the backend, a space, that of the figure.
    pub(super) backends: BTreeMap<String, Value>,
    /// Backends whose last try failed.
    pub(super) failing: Vec<String>,
    /// The oldest first.
    pub(super) events: VecDeque<Happened>,
    pub(super) chosen: Option<Chosen>,
    /// The daemon keeps a past on its disk.
    pub(super) has_history: bool,
}

/// Why something that a daemon told is no use.
pub(super) type Unread = serde_json::Error;

impl Model {
    /// Begins anew with all that a daemon knows.
    pub(super) fn begin(&mut self, json: &[u8]) -> Result<(), Unread> {
        let told: Snapshot<'_> = serde_json::from_slice(json)?;
        *self = Self {
            link: Link::Live,
            source: plain(&told.source),
            interval_ns: i64::try_from(told.interval_ns).unwrap_or(i64::MAX).max(1),
            edges_ns: told.heat_edges_ns,
            end_ns: told.end_ns,
            has_history: told.history,
            ..Self::default()
        };
        let failing = told.deliveries.iter().filter(|one| one.ok == Some(false));
        self.failing = failing.map(|one| plain(&one.backend)).collect();
        self.add_pairs(&told.pairs);
        self.add_rows(told.end_ns.unwrap_or(0), &told.rows)?;
        self.add_clocks(&told.clocks);
        self.add_host(told.host);
        for event in &told.events {
            self.add_event(event);
        }
        Ok(())
    }

    /// Takes the figures of an interval that has ended.
    pub(super) fn update(&mut self, json: &[u8]) -> Result<(), Unread> {
        let told: Update<'_> = serde_json::from_slice(json)?;
        self.end_ns = Some(told.end_ns);
        self.add_pairs(&told.new);
        for pair in &told.gone {
            self.pairs.remove(pair);
            self.rows.retain(|key, _| key.pair != *pair);
        }
        self.add_rows(told.end_ns, &told.rows)?;
        self.add_clocks(&told.clocks);
        self.add_host(told.host);
        Ok(())
    }

    /// Takes an event.
    pub(super) fn event(&mut self, json: &[u8]) -> Result<(), Unread> {
        self.add_event(&serde_json::from_slice(json)?);
        Ok(())
    }

    /// Takes the main figures of all rows in the past.
    pub(super) fn add_past(&mut self, json: &[u8]) -> Result<(), Unread> {
        let past: Past<'_> = serde_json::from_slice(json)?;
        for series in past.series {
            let series: PastSeries = serde_json::from_str(series.get())?;
            let Some(row) =
                Key::read(series.pair, &series.flow).and_then(|key| self.rows.get_mut(&key))
            else {
                continue;
            };
            let first = row.ticks.front().map_or(i64::MAX, |tick| tick.end_ns);
            let figure = |column: &Vec<Option<i64>>, at| column.get(at).copied().flatten();
            for (at, end_ns) in past.end_ns.iter().enumerate().rev() {
                if *end_ns >= first {
                    continue;
                }
                if row.ticks.len() >= TOP_TICKS_KEPT {
                    break;
                }
                row.ticks.push_front(Tick {
                    end_ns: *end_ns,
                    rtt_p99_ns: figure(&series.rtt_p99_ns, at),
                    counts: Counts {
                        lost: figure(&series.lost, at).unwrap_or(0),
                        ..Counts::default()
                    },
                    is_past: true,
                });
            }
        }
        Ok(())
    }

    /// Looks at a row more closely from now on.
    pub(super) fn choose(&mut self, key: Key, back: Back) {
        let columns = VecDeque::new();
        self.chosen = Some(Chosen { key, back, columns });
    }

    /// Takes what is kept of a row's past. It is nothing if another row, or another time, was chosen meanwhile.
    pub(super) fn add_past_of(&mut self, key: Key, back: Back, json: &[u8]) -> Result<(), Unread> {
        let is_it = |chosen: &&mut Chosen| chosen.key == key && chosen.back == back;
        let Some(chosen) = self.chosen.as_mut().filter(is_it) else {
            return Ok(());
        };
        if back != Back::Live {
            // The disk has all of it.
            chosen.columns.clear();
        }
        let ends: Ends = serde_json::from_slice(json)?;
        let columns: Columns<'_> = serde_json::from_slice(json)?;
        let first = chosen.columns.front().map_or(i64::MAX, |one| one.end_ns);
        for (at, end_ns) in ends.end_ns.iter().enumerate().rev() {
            if *end_ns >= first {
                continue;
            }
            if chosen.columns.len() >= TOP_COLUMNS_KEPT {
                break;
            }
            let column = Column::read(*end_ns, &columns, at);
            chosen.columns.push_front(column);
        }
        Ok(())
    }

    /// Returns the events of a row's flows.
    pub(super) fn events_of(&self, key: Key) -> impl DoubleEndedIterator<Item = &Happened> {
        let pair = self.pairs.get(&key.pair);
        self.events.iter().filter(move |event| {
            pair.is_some_and(|pair| pair.source == event.source && pair.target == event.target)
                && event.flow == key.flow.as_str()
        })
    }

    fn add_pairs(&mut self, pairs: &[told::Pair]) {
        for told in pairs {
            if self.pairs.len() >= TOP_ROWS_MAX {
                return;
            }
            let tags: Vec<String> = told.tags.iter().map(|tag| plain(tag)).collect();
            let pair = Pair {
                source: plain(&told.source),
                target: plain(&told.target),
                tags: tags.join(" "),
                clock: None,
            };
            self.pairs.insert(told.pair, pair);
        }
    }

    fn add_rows(&mut self, end_ns: i64, columns: &Columns<'_>) -> Result<(), Unread> {
        for (at, (pair, flow)) in columns.keys()?.into_iter().enumerate() {
            let Some(key) = Key::read(pair, &flow) else {
                continue;
            };
            if !self.rows.contains_key(&key) && self.rows.len() >= TOP_ROWS_MAX {
                continue;
            }
            let row = self.rows.entry(key).or_default();
            row.put(end_ns, &columns.row(at), columns.stamp(at));
            let is_it = |chosen: &&mut Chosen| chosen.key == key && chosen.back == Back::Live;
            if let Some(chosen) = self.chosen.as_mut().filter(is_it) {
                let column = Column::read(end_ns, columns, at);
                push(&mut chosen.columns, column, TOP_COLUMNS_KEPT);
            }
        }
        // Nothing has come of the others.
        for row in self.rows.values_mut() {
            if row.ticks.back().is_some_and(|tick| tick.end_ns != end_ns) {
                row.put(end_ns, &[None; FIGURE_COUNT], None);
            }
        }
        Ok(())
    }

    fn add_clocks(&mut self, clocks: &Clocks) {
        let figure = |column: &Vec<Option<i64>>, at| column.get(at).copied().flatten();
        for (at, pair) in clocks.pair.iter().enumerate() {
            if let Some(pair) = self.pairs.get_mut(pair) {
                pair.clock = Some(PeerClock {
                    offset_ns: figure(&clocks.offset_ns, at),
                    error_ns: figure(&clocks.error_ns, at),
                    skew_ppb: figure(&clocks.skew_ppb, at),
                });
            }
        }
    }

    fn add_host(&mut self, host: BTreeMap<String, Value>) {
        if host.is_empty() {
            return;
        }
        self.host.clear();
        self.backends.clear();
        for (name, value) in host.into_iter().take(TOP_HOST_FIGURES_MAX) {
            match value {
                // The members of a delay are `count` and so on; this one has a member for each backend.
                Value::Object(backends) if name == "backends" => {
                    for (backend, figures) in backends {
                        let figures = figures.as_object().into_iter().flatten();
                        for (figure, value) in figures {
                            if self.backends.len() >= TOP_HOST_FIGURES_MAX {
                                break;
                            }
                            let name = format!("{} {}", plain(&backend), plain(figure));
                            self.backends.insert(name, value.clone());
                        }
                    }
                }
                value => drop(self.host.insert(plain(&name), value)),
            }
        }
    }

    fn add_event(&mut self, event: &Value) {
        if let Some(event) = Happened::read(event) {
            push(&mut self.events, event, TOP_EVENTS_KEPT);
        }
    }
}

/// Appends to a queue, which loses its oldest for that where it is full.
fn push<T>(queue: &mut VecDeque<T>, item: T, most: usize) {
    while queue.len() >= most {
        queue.pop_front();
    }
    queue.push_back(item);
}
