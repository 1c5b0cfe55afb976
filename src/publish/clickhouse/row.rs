//! Columns as the server describes them, and values as their bytes (`RowBinary`).

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::Value;

/// What we have for each table: our column's name, and where its value is in the JSON.
const FIELDS: [&[(&str, &str)]; 3] = [
    &[
        ("MetricName", "metric"),
        ("Timestamp", "/points/0/0"),
        ("MetricValue", "/points/0/1"),
        ("Tags", "tags"),
        ("Source", "source:"),
        ("Target", "target:"),
        ("Stamp", "stamp"),
        ("Seq", "seq"),
        ("Dwell", "dwell"),
        ("InsertedAt", "now"),
    ],
    &[
        ("MetricName", "metric"),
        ("StartedAt", "start"),
        ("EndedAt", "end"),
        ("Tags", "tags"),
        ("Source", "source:"),
        ("Target", "target:"),
        ("Stamp", "stamp"),
        ("Samples", "count"),
        ("Min", "min"),
        ("Mean", "mean"),
        ("Max", "max"),
        ("StdDev", "stddev"),
        ("OutOfRange", "out_of_range"),
        ("Buckets", "buckets"),
        ("InsertedAt", "now"),
    ],
    &[
        ("Event", "event"),
        ("Timestamp", "at"),
        ("Clock", "clock"),
        ("Step", "step"),
        ("Tags", "tags"),
        ("Source", "source:"),
        ("Target", "target:"),
        ("InsertedAt", "now"),
    ],
];

/// A type, as far as we fill such columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Int { bytes: usize, is_signed: bool },
    Float64,
    DateTime,
    DateTime64(u32),
    String,
    Nullable(Box<Self>),
    Map(Box<Self>, Box<Self>),
    Array(Box<Self>),
}

impl Type {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let int = |bytes, is_signed| Some(Self::Int { bytes, is_signed });
        match text {
            "UInt8" => return int(1, false),
            "UInt16" => return int(2, false),
            "UInt32" => return int(4, false),
            "UInt64" => return int(8, false),
            "Int32" => return int(4, true),
            "Int64" => return int(8, true),
            "Float64" => return Some(Self::Float64),
            "String" => return Some(Self::String),
            "DateTime" => return Some(Self::DateTime),
            _ => {}
        }
        let (outer, inner) = text.strip_suffix(')')?.split_once('(')?;
        match outer {
            "LowCardinality" => Self::parse(inner),
            "Nullable" => Some(Self::Nullable(Box::new(Self::parse(inner)?))),
            "Array" => Some(Self::Array(Box::new(Self::parse(inner)?))),
            "DateTime" => Some(Self::DateTime),
            "DateTime64" => {
                let digits = inner.split(',').next()?.trim().parse().ok()?;
                (digits <= 9).then_some(Self::DateTime64(digits))
            }
            "Map" => {
                // No key has a comma in its type.
                let (key, value) = inner.split_once(',')?;
                let (key, value) = (Self::parse(key)?, Self::parse(value)?);
                Some(Self::Map(Box::new(key), Box::new(value)))
            }
            _ => None,
        }
    }

    /// Appends a value; false if such a column cannot hold it.
    pub(super) fn write(&self, value: &Value, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Nullable(inner) => {
                out.push(u8::from(value.is_null()));
                value.is_null() || inner.write(value, out)
            }
            Self::Int { bytes, is_signed } => write_int(int(value), *bytes, *is_signed, out),
            Self::DateTime => write_int(int(value).div_euclid(1_000_000_000), 4, false, out),
            Self::DateTime64(digits) => {
                let unit = 10_i128.pow(9_u32.saturating_sub(*digits));
                write_int(int(value).div_euclid(unit), 8, true, out)
            }
            Self::Float64 => {
                let number = value.as_f64().unwrap_or_default();
                out.extend_from_slice(&number.to_le_bytes());
                true
            }
            Self::String => {
                match value {
                    Value::String(text) => write_string(text, out),
                    Value::Null => write_string("", out),
                    other => write_string(&other.to_string(), out),
                }
                true
            }
            Self::Array(inner) => {
                let items = value.as_array().map_or(&[][..], Vec::as_slice);
                write_varint(items.len(), out);
                items.iter().all(|item| inner.write(item, out))
            }
            Self::Map(key, inner) => {
                let items = value.as_array().map_or(&[][..], Vec::as_slice);
                write_varint(items.len(), out);
                items.iter().all(|item| {
                    let (name, of_it) = pair(item);
                    key.write(&name, out) && inner.write(&of_it, out)
                })
            }
        }
    }
}

/// A tag, split at its first colon, or a bucket.
fn pair(item: &Value) -> (Value, Value) {
    match item {
        Value::String(tag) => {
            let (key, value) = tag.split_once(':').unwrap_or((tag, ""));
            (key.into(), value.into())
        }
        other => (other[0].clone(), other[1].clone()),
    }
}

fn int(value: &Value) -> i128 {
    let signed = value.as_i64().map(i128::from);
    signed
        .or_else(|| value.as_u64().map(i128::from))
        .unwrap_or(0)
}

fn write_int(number: i128, bytes: usize, is_signed: bool, out: &mut Vec<u8>) -> bool {
    let bits = 8 * bytes - usize::from(is_signed);
    let least = if is_signed { -(1_i128 << bits) } else { 0 };
    if number < least || number >= 1_i128 << bits {
        return false;
    }
    out.extend_from_slice(&number.to_le_bytes()[..bytes]);
    true
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    write_varint(text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

/// LEB128, as all lengths are.
pub(super) fn write_varint(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// A column that we fill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    kind: Type,
    field: &'static str,
}

impl Column {
    /// Appends a record's value; false if the column cannot hold it.
    pub(super) fn write(&self, record: &Value, out: &mut Vec<u8>) -> bool {
        let value = match self.field {
            "now" => now(),
            field if field.starts_with('/') => {
                record.pointer(field).cloned().unwrap_or(Value::Null)
            }
            field if field.ends_with(':') => tag(record, field),
            field => record[field].clone(),
        };
        self.kind.write(&value, out)
    }
}

fn tag(record: &Value, prefix: &str) -> Value {
    let tags = record["tags"].as_array().map_or(&[][..], Vec::as_slice);
    let mut texts = tags.iter().filter_map(Value::as_str);
    texts
        .find_map(|tag| tag.strip_prefix(prefix))
        .unwrap_or_default()
        .into()
}

/// When rows are made; no measurement.
fn now() -> Value {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX).into()
}

/// The columns of a description that we fill: those that have a name of ours, renamed or not, a type
/// that we write, and no value that the server makes.
pub(super) fn parse_columns(
    description: &str,
    kind: usize,
    renamed: &BTreeMap<String, String>,
) -> Vec<Column> {
    let fields = FIELDS.get(kind).copied().unwrap_or_default();
    let parse = |line: &str| {
        let mut parts = line.split('\t');
        let name = parts.next()?;
        let kind = Type::parse(&parts.next()?.replace("\\'", "'"))?;
        let default = parts.next().unwrap_or_default();
        let (ours, field) = fields
            .iter()
            .find(|(ours, _)| renamed.get(*ours).map_or(*ours, String::as_str) == name)?;
        let is_made = matches!(default, "MATERIALIZED" | "ALIAS" | "EPHEMERAL")
            || (!default.is_empty() && *ours == "InsertedAt");
        (!is_made).then(|| Column {
            name: name.to_owned(),
            kind,
            field,
        })
    };
    description.lines().filter_map(parse).collect()
}
