//! The figures as JSON: columns, because a thousand targets have each name once then.

use serde::{Serialize, Serializer};

use crate::proto::StampSource;
use crate::publish::live::heat::Heat;
use crate::publish::live::host::Host;
use crate::publish::live::pair::{CLOCKS, Pair, parts};
use crate::publish::live::row::{COUNTS, DELAYS, DIRECTIONS, Figures, HEATS, Row};

/// Reads one of a delay.
type ReadDelay = fn(&Figures) -> i64;

/// An interval that has ended.
pub(super) struct Update<'a> {
    pub(super) end_ns: i64,
    pub(super) rows: Vec<(u64, &'a Row)>,
    pub(super) clocks: Vec<(u32, &'a Pair)>,
    pub(super) host: &'a Host,
    pub(super) new: Vec<(u32, &'a Pair)>,
    pub(super) gone: &'a [u32],
}

/// A pair as an object.
#[derive(Serialize)]
struct PairJson<'a> {
    pair: u32,
    source: &'a str,
    target: &'a str,
    tags: &'a [Box<str>],
}

impl<'a> PairJson<'a> {
    fn new(number: u32, pair: &'a Pair) -> Self {
        Self {
            pair: number,
            source: &pair.labels.source,
            target: &pair.labels.target,
            tags: &pair.labels.tags,
        }
    }
}

/// A column of a heatmap: bins and their numbers by turns.
struct HeatJson<'a>(&'a Heat);

impl Serialize for HeatJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let pairs = self.0.iter();
        serializer.collect_seq(pairs.flat_map(|(bin, count)| [u64::from(*bin), *count]))
    }
}

/// Writes members of an object.
pub(super) struct Object(pub(super) Vec<u8>);

impl Object {
    pub(super) fn member(&mut self, name: &str, value: &impl Serialize) {
        self.name(name);
        self.value(value);
    }

    pub(super) fn name(&mut self, name: &str) {
        if !self.0.is_empty() && !self.0.ends_with(b"{") {
            self.0.push(b',');
        }
        self.value(&name);
        self.0.push(b':');
    }

    fn value(&mut self, value: &impl Serialize) {
        serde_json::to_writer(&mut self.0, value).expect("names and numbers are JSON");
    }

    /// Writes a member that is an object of the members that `fill` writes.
    fn object(&mut self, name: &str, fill: impl FnOnce(&mut Self)) {
        self.name(name);
        self.0.push(b'{');
        fill(self);
        self.0.push(b'}');
    }

    /// Writes a column, unless it has no value at all.
    pub(super) fn column<T: Serialize>(
        &mut self,
        name: &str,
        values: impl Iterator<Item = Option<T>>,
    ) {
        let values: Vec<Option<T>> = values.collect();
        if values.iter().any(Option::is_some) {
            self.member(name, &values);
        }
    }

    /// Writes a member that is a list of what is JSON already.
    pub(super) fn lines<'a>(&mut self, name: &str, lines: impl Iterator<Item = &'a [u8]>) {
        self.name(name);
        self.0.push(b'[');
        for (place, line) in lines.enumerate() {
            if place > 0 {
                self.0.push(b',');
            }
            self.0.extend_from_slice(line);
        }
        self.0.push(b']');
    }

    /// Writes the columns of rows; a row that is not there has no value in any of them.
    pub(super) fn columns(&mut self, rows: &[Option<&Row>]) {
        let each = || rows.iter().copied();
        for (place, name) in COUNTS.iter().enumerate() {
            self.column(name, each().map(|row| row?.counts[place]));
        }
        let figures: [(&str, ReadDelay); 4] = [
            ("count", |it| i64::try_from(it.count).unwrap_or(i64::MAX)),
            ("p50_ns", |it| it.p50_ns),
            ("p99_ns", |it| it.p99_ns),
            ("max_ns", |it| it.max_ns),
        ];
        for (place, name) in DELAYS.iter().enumerate() {
            for (what, read) in figures {
                let values = each().map(|row| row?.delays[place].as_ref().map(read));
                self.column(&format!("{name}_{what}"), values);
            }
        }
        for (place, (name, _)) in DIRECTIONS.iter().enumerate() {
            let values = each().map(|row| row?.leasts[place]);
            self.column(&format!("{name}_least_ns"), values);
        }
        for (place, name) in DELAYS.iter().enumerate().take(HEATS) {
            let heats = each().map(|row| row.map(|row| &row.heats[place]));
            let heats = heats.map(|heat| heat.filter(|heat| !heat.is_empty()).map(HeatJson));
            self.column(&format!("{name}_heat"), heats);
        }
        let stamps = each().map(|row| row?.stamp.map(StampSource::as_str));
        self.column("stamp", stamps);
    }

    pub(super) fn pairs(&mut self, name: &str, pairs: &[(u32, &Pair)]) {
        let pairs = pairs
            .iter()
            .map(|(number, pair)| PairJson::new(*number, pair));
        self.member(name, &pairs.collect::<Vec<_>>());
    }

    pub(super) fn rows(&mut self, rows: &[(u64, &Row)]) {
        self.object("rows", |out| {
            let keys = || rows.iter().map(|(key, _)| parts(*key));
            let pairs: Vec<u32> = keys().map(|(pair, _)| pair).collect();
            let flows: Vec<&str> = keys().map(|(_, kind)| kind.as_str()).collect();
            out.member("pair", &pairs);
            out.member("flow", &flows);
            let rows: Vec<_> = rows.iter().map(|(_, row)| Some(*row)).collect();
            out.columns(&rows);
        });
    }

    pub(super) fn clocks(&mut self, pairs: &[(u32, &Pair)]) {
        self.object("clocks", |out| {
            let numbers: Vec<u32> = pairs.iter().map(|(number, _)| *number).collect();
            out.member("pair", &numbers);
            for (place, name) in CLOCKS.iter().enumerate() {
                out.column(name, pairs.iter().map(|(_, pair)| pair.clock[place]));
            }
        });
    }
}

/// Returns an interval as an object.
pub(super) fn update(update: &Update<'_>) -> Vec<u8> {
    let mut out = Object(b"{".to_vec());
    out.member("end_ns", &update.end_ns);
    out.pairs("new", &update.new);
    out.member("gone", &update.gone);
    out.rows(&update.rows);
    out.clocks(&update.clocks);
    out.member("host", update.host);
    out.0.push(b'}');
    out.0
}
