//! Maps our fields to the columns of a table, and writes the rows of a batch.

use crate::limits::CLICKHOUSE_UNPACKED_BYTES_MAX;
use crate::publish::Payload;
use crate::publish::clickhouse::kind::{Cell, Class, Type};
use crate::publish::clickhouse::line::Line;
use crate::publish::clickhouse::{Columns, TABLES};
use crate::publish::text::gunzip;

/// A field of ours, and the column of our own tables that it fills.
pub(super) struct Field {
    /// The name of the column, unless it is renamed.
    pub(super) name: &'static str,
    /// The type, codec and default of the column.
    pub(super) definition: &'static str,
    /// A row is of no use without it.
    is_needed: bool,
    cell: Take,
}

type Take = for<'a> fn(&'a Line<'a>) -> Cell<'a>;

const WORD: &str = "LowCardinality(String)";
const NANOSECONDS: &str = "DateTime64(9, 'UTC') CODEC(DoubleDelta, ZSTD(1))";
const SIGNED: &str = "Int64 CODEC(T64, ZSTD(1))";
const UNSIGNED: &str = "UInt64 CODEC(T64, ZSTD(1))";
const SERIAL: &str = "UInt64 CODEC(DoubleDelta, ZSTD(1))";
const BUCKETS: &str = "Map(Int64, UInt64) CODEC(ZSTD(1))";

const METRIC: Field = field("MetricName", WORD, |line| Cell::Text(&line.metric.0)).needed();
const TAGS: Field = field(
    "Tags",
    "Map(LowCardinality(String), String) CODEC(ZSTD(1))",
    |line| Cell::Tags(&line.tags),
);
const SOURCE: Field = field("Source", WORD, |line| Cell::Text(line.tagged("source:")));
const TARGET: Field = field("Target", WORD, |line| Cell::Text(line.tagged("target:")));
const STAMP: Field = field("Stamp", WORD, |line| Cell::Text(&line.stamp.0));
const INSERTED: Field = field(
    INSERTED_AT,
    "DateTime DEFAULT now() CODEC(DoubleDelta, ZSTD(1))",
    |line| number(line.made),
);
const INSERTED_AT: &str = "InsertedAt";

const SAMPLES: &[Field] = &[
    METRIC,
    field("Timestamp", NANOSECONDS, |line| number(line.points[0].0)).needed(),
    field("MetricValue", SIGNED, |line| number(line.points[0].1)).needed(),
    TAGS,
    SOURCE,
    TARGET,
    STAMP,
    field("Seq", SERIAL, |line| number(line.seq)),
    field("Dwell", "Nullable(UInt32)", |line| {
        Cell::Number(line.dwell.map(i128::from))
    }),
    INSERTED,
];

const WINDOWS: &[Field] = &[
    METRIC,
    field("StartedAt", NANOSECONDS, |line| number(line.start)),
    field("EndedAt", NANOSECONDS, |line| number(line.end)).needed(),
    TAGS,
    SOURCE,
    TARGET,
    STAMP,
    field("Samples", UNSIGNED, |line| number(line.count)),
    field("Min", SIGNED, |line| number(line.min)),
    field("Mean", SIGNED, |line| number(line.mean)),
    field("Max", SIGNED, |line| number(line.max)),
    field("StdDev", UNSIGNED, |line| number(line.stddev)),
    field("P50", SIGNED, |line| number(line.p50)),
    field("P90", SIGNED, |line| number(line.p90)),
    field("P99", SIGNED, |line| number(line.p99)),
    field("P999", SIGNED, |line| number(line.p99_9)),
    field("P9999", SIGNED, |line| number(line.p99_99)),
    field("OutOfRange", UNSIGNED, |line| number(line.out_of_range)),
    field("Buckets", BUCKETS, |line| Cell::Buckets(&line.buckets)),
    INSERTED,
];

const EVENTS: &[Field] = &[
    field("Event", WORD, |line| Cell::Text(&line.event.0)).needed(),
    // Events that last have a start in place of a time.
    field("Timestamp", NANOSECONDS, |line| {
        number(line.at.unwrap_or(line.start))
    })
    .needed(),
    field("Clock", WORD, |line| Cell::Text(&line.clock.0)),
    field("Step", "Int64", |line| number(line.step)),
    field("Details", "String CODEC(ZSTD(1))", |line| {
        Cell::Text(line.json)
    }),
    TAGS.defined("Map(LowCardinality(String), String)"),
    SOURCE,
    TARGET,
    INSERTED.defined("DateTime DEFAULT now()"),
];

/// The fields of each table, by [`Payload::kind`].
pub(super) const FIELDS: [&[Field]; TABLES.len()] = [SAMPLES, WINDOWS, EVENTS];

const fn field(name: &'static str, definition: &'static str, cell: Take) -> Field {
    Field {
        name,
        definition,
        is_needed: false,
        cell,
    }
}

fn number<'a>(number: impl Into<i128>) -> Cell<'a> {
    Cell::Number(Some(number.into()))
}

impl Field {
    const fn needed(self) -> Self {
        Self {
            is_needed: true,
            ..self
        }
    }

    const fn defined(self, definition: &'static str) -> Self {
        Self { definition, ..self }
    }

    /// The class of the values, which the column of our own table tells.
    fn class(&self) -> Class {
        let kind = self.definition.split(" CODEC").next().unwrap_or_default();
        let kind = kind.split(" DEFAULT").next().unwrap_or_default();
        Type::parse(kind).expect("a type that we can fill").class()
    }
}

/// A column that we fill.
struct Column {
    name: String,
    kind: Type,
    cell: Take,
}

/// The columns of a table that we fill.
pub struct Table {
    columns: Vec<Column>,
    /// Why columns of our names are not filled.
    pub(super) odd: Vec<String>,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_list().entries(self.names()).finish()
    }
}

impl Table {
    /// Parses the answer to `DESCRIBE TABLE`, as tab-separated text. A column is filled if it has
    /// one of our names, a type that can hold our values, and no value that the server makes.
    /// `renamed` leads from our names to those of the table. The error names the column that is
    /// missing or has a wrong type, and what would be right.
    pub fn parse(description: &str, kind: u8, renamed: &Columns) -> Result<Self, String> {
        let fields = FIELDS.get(usize::from(kind)).copied().unwrap_or_default();
        let mut table = Self {
            columns: Vec::new(),
            odd: Vec::new(),
        };
        for field in fields {
            let given = renamed.renamed(field.name);
            let name = given.unwrap_or(field.name);
            let mut lines = description.lines().map(|line| line.split('\t'));
            let found = lines.find_map(|mut parts| {
                (unescaped(parts.next()?) == name)
                    .then(|| (unescaped(parts.next().unwrap_or_default()), parts.next()))
            });
            let Some((kind, default)) = found else {
                if field.is_needed || given.is_some_and(|given| given != field.name) {
                    let whose = given.map_or(String::new(), |_| format!(" for our {}", field.name));
                    return Err(format!("has no column {name}{whose}"));
                }
                continue;
            };
            let default = default.unwrap_or_default();
            if field.name == INSERTED_AT && !default.is_empty() {
                continue;
            }
            let is_made = matches!(default, "MATERIALIZED" | "ALIAS" | "EPHEMERAL");
            let class = field.class();
            let parsed = Type::parse(&kind).filter(|kind| kind.can_hold(class) && !is_made);
            match parsed {
                Some(kind) => table.columns.push(Column {
                    name: name.to_owned(),
                    kind,
                    cell: field.cell,
                }),
                None if is_made && !field.is_needed => {}
                None => {
                    let type_of_it = if is_made { default } else { &kind };
                    let right = right_types(class);
                    let fault =
                        format!("has a column {name} that is {type_of_it}, and not {right}");
                    if field.is_needed {
                        return Err(fault);
                    }
                    table.odd.push(fault);
                }
            }
        }
        Ok(table)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| &*column.name)
    }

    /// Appends the records of a batch as rows; `made` is the Unix time in nanoseconds. Returns
    /// the number of records that are left out since a column cannot hold their value, such as a
    /// negative delay in an unsigned one.
    pub fn write_rows(
        &self,
        payload: &Payload,
        made: i64,
        out: &mut Vec<u8>,
    ) -> Result<u64, String> {
        let lines = gunzip(&payload.body, CLICKHOUSE_UNPACKED_BYTES_MAX)
            .map_err(|error| format!("a batch that cannot be unpacked: {error}"))?;
        let mut left_out = 0;
        for line in lines.lines() {
            let line = Line::parse(line, made)
                .map_err(|error| format!("a batch that cannot be read: {error}"))?;
            let begin = out.len();
            let mut columns = self.columns.iter();
            if !columns.all(|column| column.kind.write((column.cell)(&line), out)) {
                out.truncate(begin);
                left_out += 1;
            }
        }
        Ok(left_out)
    }
}

const fn right_types(class: Class) -> &'static str {
    match class {
        Class::Number => "a number such as Int64",
        Class::Time => "DateTime64(9), Int64 or UInt64",
        Class::Text => "String",
        Class::Tags => "Map(String, String) or Array(String)",
        Class::Buckets => "Map(Int64, UInt64)",
    }
}

/// Removes the escapes of tab-separated text. Names and types have only quotes and backslashes to
/// escape.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => out.extend(letters.next()),
            _ => out.push(letter),
        }
    }
    out
}
