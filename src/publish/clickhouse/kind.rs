//! The types of columns, and values as their bytes (`RowBinary`).

use crate::publish::clickhouse::line::Text;

/// The value of a cell.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cell<'a> {
    /// A number; nanoseconds if it is a time. `None` becomes NULL, or 0 where the column has
    /// none.
    Number(Option<i128>),
    Text(&'a str),
    Tags(&'a [Text<'a>]),
    /// Values and their counts.
    Buckets(&'a [(i64, u64)]),
}

/// The class of a field of ours, which decides the types that can hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Number,
    /// Unix nanoseconds.
    Time,
    Text,
    Tags,
    Buckets,
}

/// A type of a column that we can fill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Int { bytes: usize, is_signed: bool },
    Float32,
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
        let (is_signed, bits) = match text.strip_prefix('U') {
            Some(rest) => (false, rest.strip_prefix("Int")),
            None => (true, text.strip_prefix("Int")),
        };
        if let Some(bytes) = ["8", "16", "32", "64"]
            .iter()
            .position(|&b| bits == Some(b))
        {
            let bytes = 1 << bytes;
            return Some(Self::Int { bytes, is_signed });
        }
        match text {
            "Float32" => return Some(Self::Float32),
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
                // The types of our keys have no comma.
                let (key, value) = inner.split_once(',')?;
                let (key, value) = (Self::parse(key)?, Self::parse(value)?);
                Some(Self::Map(Box::new(key), Box::new(value)))
            }
            _ => None,
        }
    }

    /// Returns the class of what our own tables have in such a column.
    pub(super) fn class(&self) -> Class {
        match self {
            Self::Int { .. } | Self::Float32 | Self::Float64 => Class::Number,
            Self::DateTime | Self::DateTime64(_) => Class::Time,
            Self::String => Class::Text,
            Self::Nullable(inner) => inner.class(),
            Self::Map(key, _) if **key != Self::String => Class::Buckets,
            Self::Map(..) | Self::Array(_) => Class::Tags,
        }
    }

    /// True if such a column can hold fields of this class.
    pub(super) fn can_hold(&self, class: Class) -> bool {
        let is_int = matches!(self, Self::Int { .. });
        match (self, class) {
            (Self::Nullable(inner), Class::Number | Class::Time | Class::Text) => {
                inner.can_hold(class)
            }
            (Self::Float32 | Self::Float64, Class::Number)
            | (Self::DateTime | Self::DateTime64(_), Class::Time)
            | (Self::String, Class::Text) => true,
            (_, Class::Number) => is_int,
            // Nanoseconds since 1970 have 61 bits.
            (Self::Int { bytes, .. }, Class::Time) => *bytes == 8,
            (Self::Array(item), Class::Tags) => **item == Self::String,
            (Self::Map(key, value), Class::Tags) => {
                **key == Self::String && value.can_hold(Class::Text)
            }
            (Self::Map(key, value), Class::Buckets) => {
                key.can_hold(Class::Number) && value.can_hold(Class::Number)
            }
            _ => false,
        }
    }

    /// Appends a value of a class that the type [can hold](Self::can_hold). Returns false if it
    /// cannot hold this value; the caller then removes what was appended.
    #[expect(
        clippy::cast_precision_loss,
        reason = "who makes a column of floats wants them rounded"
    )]
    pub(super) fn write(&self, cell: Cell<'_>, out: &mut Vec<u8>) -> bool {
        match (self, cell) {
            (Self::Nullable(_), Cell::Number(None)) => {
                out.push(1);
                true
            }
            (Self::Nullable(inner), cell) => {
                out.push(0);
                inner.write(cell, out)
            }
            (Self::Int { bytes, is_signed }, Cell::Number(number)) => {
                write_int(number.unwrap_or(0), *bytes, *is_signed, out)
            }
            (Self::DateTime, Cell::Number(number)) => {
                let seconds = number.unwrap_or(0).div_euclid(1_000_000_000);
                write_int(seconds, 4, false, out)
            }
            (Self::DateTime64(digits), Cell::Number(number)) => {
                let unit = 10_i128.pow(9_u32.saturating_sub(*digits));
                write_int(number.unwrap_or(0).div_euclid(unit), 8, true, out)
            }
            (Self::Float32, Cell::Number(number)) => {
                out.extend_from_slice(&(number.unwrap_or(0) as f32).to_le_bytes());
                true
            }
            (Self::Float64, Cell::Number(number)) => {
                out.extend_from_slice(&(number.unwrap_or(0) as f64).to_le_bytes());
                true
            }
            (Self::String, Cell::Text(text)) => {
                write_string(text, out);
                true
            }
            (Self::Array(item), Cell::Tags(tags)) => {
                write_varint(tags.len(), out);
                tags.iter().all(|tag| item.write(Cell::Text(&tag.0), out))
            }
            (Self::Map(key, value), Cell::Tags(tags)) => {
                write_varint(tags.len(), out);
                tags.iter().all(|tag| {
                    let (name, of_it) = tag.0.split_once(':').unwrap_or((&tag.0, ""));
                    key.write(Cell::Text(name), out) && value.write(Cell::Text(of_it), out)
                })
            }
            (Self::Map(key, value), Cell::Buckets(buckets)) => {
                write_varint(buckets.len(), out);
                buckets.iter().all(|&(bucket, count)| {
                    let (bucket, count) = (Some(bucket.into()), Some(count.into()));
                    key.write(Cell::Number(bucket), out) && value.write(Cell::Number(count), out)
                })
            }
            _ => false,
        }
    }
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

/// Appends a length, as LEB128.
pub(super) fn write_varint(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}
