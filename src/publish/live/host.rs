//! What this process says of itself and of its backends in one interval, by the names of the metrics.

use std::collections::BTreeMap;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::publish::live::row::Figures;
use crate::record::{Distribution, Metric, Record};

/// One figure.
#[derive(Debug)]
enum Value {
    Number(i64),
    Delay(Figures),
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let figures = match self {
            Self::Number(number) => return serializer.serialize_i64(*number),
            Self::Delay(figures) => figures,
        };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("count", &figures.count)?;
        map.serialize_entry("p50_ns", &figures.p50_ns)?;
        map.serialize_entry("p99_ns", &figures.p99_ns)?;
        map.serialize_entry("max_ns", &figures.max_ns)?;
        map.end()
    }
}

type Values = BTreeMap<&'static str, Value>;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Host {
    own: Values,
    backends: BTreeMap<Box<str>, Values>,
}

impl Host {
    /// Takes what a record says of this process, or of one of its backends.
    pub(super) fn add(
        &mut self,
        backend: Option<&str>,
        record: &Record,
        metric: &'static Metric,
        values: &Distribution,
    ) {
        let value = match record {
            Record::Window(window) => Value::Delay(Figures::of(window, values)),
            Record::Count { value, .. } => Value::Number(i64::try_from(*value).unwrap_or(i64::MAX)),
            Record::Gauge { value, .. } => Value::Number(*value),
            Record::Sample { .. } | Record::Event(_) => return,
        };
        let place = match backend {
            None => &mut self.own,
            Some(name) => self.backends.entry(name.into()).or_default(),
        };
        place.insert(metric.name, value);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.own.is_empty() && self.backends.is_empty()
    }
}

impl Serialize for Host {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in &self.own {
            map.serialize_entry(name, value)?;
        }
        map.serialize_entry("backends", &self.backends)?;
        map.end()
    }
}
