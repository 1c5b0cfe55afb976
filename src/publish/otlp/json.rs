//! The messages of OTLP as its JSON encoding has them: 64-bit integers are strings, enumerations are numbers.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::publish::exponential::{Buckets, Exponential};
use crate::publish::otlp::Temporality;
use crate::publish::text::{Displayed, per};
use crate::record::{Metric, Unit};

/// `KeyValue`.
#[derive(Debug, Serialize)]
pub(super) struct Attribute {
    key: String,
    value: AnyValue,
}

/// `AnyValue`.
#[derive(Debug, Serialize)]
enum AnyValue {
    #[serde(rename = "stringValue")]
    Text(String),
    #[serde(rename = "boolValue")]
    Bool(bool),
    #[serde(rename = "intValue")]
    Int(String),
    #[serde(rename = "doubleValue")]
    Double(f64),
    #[serde(rename = "arrayValue")]
    Array { values: Vec<Self> },
    #[serde(rename = "kvlistValue")]
    Table { values: Vec<Attribute> },
}

impl Attribute {
    /// Makes the list of a table of strings.
    pub(super) fn list(table: BTreeMap<String, String>) -> Vec<Self> {
        let attribute = |(key, value)| Self {
            key,
            value: AnyValue::Text(value),
        };
        table.into_iter().map(attribute).collect()
    }

    /// Makes one of a JSON value. `null` is none.
    pub(super) fn of_json(key: &str, value: serde_json::Value) -> Option<Self> {
        let (key, value) = (key.to_owned(), AnyValue::of_json(value)?);
        Some(Self { key, value })
    }
}

impl AnyValue {
    fn of_json(value: serde_json::Value) -> Option<Self> {
        use serde_json::Value;
        Some(match value {
            Value::Null => return None,
            Value::Bool(value) => Self::Bool(value),
            Value::String(text) => Self::Text(text),
            Value::Number(number) => match number.as_i64() {
                Some(number) => Self::Int(number.to_string()),
                None => Self::Double(number.as_f64()?),
            },
            Value::Array(values) => Self::Array {
                values: values.into_iter().filter_map(Self::of_json).collect(),
            },
            Value::Object(entries) => Self::Table {
                values: entries
                    .into_iter()
                    .filter_map(|(key, value)| Attribute::of_json(&key, value))
                    .collect(),
            },
        })
    }
}

/// What all payloads have around their content.
#[derive(Debug)]
pub(super) struct Envelope {
    /// The resource, as JSON.
    resource: Box<RawValue>,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

impl Envelope {
    pub(super) fn new(resource: BTreeMap<String, String>) -> Self {
        #[derive(Serialize)]
        struct Resource {
            attributes: Vec<Attribute>,
        }
        let attributes = Attribute::list(resource);
        Self {
            resource: raw(&Resource { attributes }),
        }
    }

    /// Writes a payload. `of` is what it has: `Metrics` or `Logs`; `items` is the name of the list in its scope.
    pub(super) fn write(&self, of: &str, items: &str, list: &impl Serialize) -> Vec<u8> {
        let scope = Scope {
            name: "latency-monitor",
            version: env!("CARGO_PKG_VERSION"),
        };
        let scope = BTreeMap::from([("scope", raw(&scope)), (items, raw(list))]);
        let resource = BTreeMap::from([
            ("resource".to_owned(), self.resource.clone()),
            (format!("scope{of}"), raw(&[scope])),
        ]);
        let all = BTreeMap::from([(format!("resource{of}"), [resource])]);
        serde_json::to_vec(&all).expect("keys are strings, and every number is finite")
    }
}

/// Writes a part of a payload.
pub(super) fn raw(part: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(part).expect("keys are strings, and every number is finite")
}

/// `Metric`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MetricJson<'a> {
    pub(super) name: String,
    description: &'static str,
    unit: &'static str,
    #[serde(flatten)]
    data: Data<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
enum Data<'a> {
    ExponentialHistogram(Points<'a>),
    Sum(Points<'a>),
    Gauge(Points<'a>),
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Points<'a> {
    data_points: Vec<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aggregation_temporality: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_monotonic: Option<bool>,
}

/// What the data points of a metric are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Histogram,
    Sum,
    Gauge,
    /// A gauge of the metric's samples, under a name of its own.
    Samples,
}

impl<'a> MetricJson<'a> {
    pub(super) fn new(
        metric: &'static Metric,
        kind: Kind,
        temporality: Temporality,
        data_points: Vec<&'a RawValue>,
    ) -> Self {
        let mut name = metric.name.to_owned();
        if kind == Kind::Samples {
            name.push_str(".sample");
        }
        let aggregation_temporality = match (kind, temporality) {
            (Kind::Gauge | Kind::Samples, _) => None,
            (_, Temporality::Delta) => Some(1),
            (_, Temporality::Cumulative) => Some(2),
        };
        let points = Points {
            data_points,
            aggregation_temporality,
            is_monotonic: (kind == Kind::Sum).then_some(true),
        };
        Self {
            name,
            description: metric.help,
            unit: unit(metric),
            data: match kind {
                Kind::Histogram => Data::ExponentialHistogram(points),
                Kind::Sum => Data::Sum(points),
                Kind::Gauge | Kind::Samples => Data::Gauge(points),
            },
        }
    }
}

/// Returns the unit's code in UCUM. That of a plain number is an annotation: receivers take `1` for a ratio.
fn unit(metric: &Metric) -> &'static str {
    match metric.unit {
        Unit::Nanoseconds => "s",
        Unit::Bytes => "By",
        Unit::PartsPerBillion => "1",
        Unit::Number => "{count}",
    }
}

/// When a data point is of: Unix nanoseconds.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Times {
    /// A gauge has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) start_time_unix_nano: Option<Nanos>,
    pub(super) time_unix_nano: Nanos,
}

/// A Unix time in nanoseconds, which the protocol has no sign for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nanos(pub(super) i64);

impl Serialize for Nanos {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.max(0))
    }
}

/// `NumberDataPoint`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NumberPoint<'a> {
    attributes: &'a [Attribute],
    #[serde(flatten)]
    times: Times,
    #[serde(skip_serializing_if = "Option::is_none")]
    as_int: Option<Displayed<i128>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    as_double: Option<f64>,
}

/// Writes a data point of a number in the metric's unit.
pub(super) fn number_point(
    metric: &Metric,
    attributes: &[Attribute],
    times: Times,
    number: i128,
) -> Box<RawValue> {
    let (as_int, as_double) = match metric.unit {
        Unit::Nanoseconds | Unit::PartsPerBillion => (None, Some(per(number, 1e9))),
        Unit::Bytes | Unit::Number => (Some(Displayed(number.min(i64::MAX.into()))), None),
    };
    raw(&NumberPoint {
        attributes,
        times,
        as_int,
        as_double,
    })
}

/// `ExponentialHistogramDataPoint`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HistogramPoint<'a> {
    attributes: &'a [Attribute],
    #[serde(flatten)]
    times: Times,
    count: Displayed<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sum: Option<f64>,
    scale: i8,
    zero_count: Displayed<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    positive: Option<Side>,
    #[serde(skip_serializing_if = "Option::is_none")]
    negative: Option<Side>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<f64>,
}

/// `Buckets`: all from the first to the last one, also empty ones.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Side {
    offset: i32,
    bucket_counts: Vec<Displayed<u64>>,
}

impl Side {
    fn of(buckets: &Buckets) -> Option<Self> {
        let (&first, &last) = (buckets.first_key_value()?.0, buckets.last_key_value()?.0);
        let count = |index| Displayed(buckets.get(&index).copied().unwrap_or(0));
        Some(Self {
            offset: first,
            bucket_counts: (first..=last).map(count).collect(),
        })
    }
}

/// Writes a data point of a histogram. The protocol has a sum only where no value is negative.
pub(super) fn histogram_point(
    attributes: &[Attribute],
    times: Times,
    histogram: &Exponential,
) -> Box<RawValue> {
    let seconds = |ns| per(ns, 1e9);
    let range = histogram.range_ns();
    raw(&HistogramPoint {
        attributes,
        times,
        count: Displayed(histogram.count()),
        sum: histogram
            .negative()
            .is_empty()
            .then(|| seconds(histogram.sum_ns())),
        scale: histogram.scale().number(),
        zero_count: Displayed(histogram.zero()),
        positive: Side::of(histogram.positive()),
        negative: Side::of(histogram.negative()),
        min: range.map(|(min, _)| seconds(min.into())),
        max: range.map(|(_, max)| seconds(max.into())),
    })
}

/// `LogRecord`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogRecord<'a> {
    pub(super) time_unix_nano: Nanos,
    pub(super) observed_time_unix_nano: Nanos,
    pub(super) severity_number: u8,
    pub(super) severity_text: &'static str,
    pub(super) event_name: &'static str,
    pub(super) body: Body<'a>,
    pub(super) attributes: Vec<Attribute>,
}

/// `AnyValue`, of a text.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Body<'a> {
    pub(super) string_value: &'a str,
}
