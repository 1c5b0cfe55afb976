//! The state in Prometheus' protobuf format, the only one that carries native histograms: messages `MetricFamily` of
//! `io/prometheus/client/metrics.proto` (`prometheus/client_model`), each with its length before it.

use prost::Message;

use crate::proto::Wall;
use crate::publish::exponential::{Buckets, Exponential};
use crate::publish::prometheus::family::{Described, Own, describe, in_base_unit};
use crate::publish::prometheus::histogram;
use crate::publish::prometheus::labels::Label;
use crate::publish::prometheus::series::{Entry, Key, Kind, State, Value};
use crate::record;

/// The type of the format, for whoever it is sent to.
pub(super) const CONTENT_TYPE: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// The names are those of the format, the numbers those of its fields.
#[derive(Clone, PartialEq, Message)]
pub(super) struct MetricFamily {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) help: String,
    #[prost(enumeration = "MetricType", tag = "3")]
    pub(super) r#type: i32,
    #[prost(message, repeated, tag = "4")]
    pub(super) metric: Vec<Metric>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
enum MetricType {
    Counter = 0,
    Gauge = 1,
    Histogram = 4,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Metric {
    #[prost(message, repeated, tag = "1")]
    pub(super) label: Vec<LabelPair>,
    #[prost(message, optional, tag = "2")]
    pub(super) gauge: Option<Gauge>,
    #[prost(message, optional, tag = "3")]
    pub(super) counter: Option<Counter>,
    #[prost(message, optional, tag = "7")]
    pub(super) histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LabelPair {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Gauge {
    #[prost(double, tag = "1")]
    pub(super) value: f64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Counter {
    #[prost(double, tag = "1")]
    pub(super) value: f64,
    #[prost(message, optional, tag = "3")]
    pub(super) created_timestamp: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Histogram {
    #[prost(uint64, tag = "1")]
    pub(super) sample_count: u64,
    #[prost(double, tag = "2")]
    pub(super) sample_sum: f64,
    #[prost(message, repeated, tag = "3")]
    pub(super) bucket: Vec<Bucket>,
    #[prost(sint32, tag = "5")]
    pub(super) schema: i32,
    #[prost(double, tag = "6")]
    pub(super) zero_threshold: f64,
    #[prost(uint64, tag = "7")]
    pub(super) zero_count: u64,
    #[prost(message, repeated, tag = "9")]
    pub(super) negative_span: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "10")]
    pub(super) negative_delta: Vec<i64>,
    #[prost(message, repeated, tag = "12")]
    pub(super) positive_span: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "13")]
    pub(super) positive_delta: Vec<i64>,
    #[prost(message, optional, tag = "15")]
    pub(super) created_timestamp: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Bucket {
    #[prost(uint64, tag = "1")]
    pub(super) cumulative_count: u64,
    #[prost(double, tag = "2")]
    pub(super) upper_bound: f64,
}

/// Buckets in a row that are not empty.
#[derive(Clone, PartialEq, Message)]
pub(super) struct BucketSpan {
    /// Of the first span the index of its first bucket, of others the empty buckets since the last one.
    #[prost(sint32, tag = "1")]
    pub(super) offset: i32,
    #[prost(uint32, tag = "2")]
    pub(super) length: u32,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

impl From<Wall> for Timestamp {
    fn from(at: Wall) -> Self {
        let ns = at.as_unix_nanos();
        Self {
            seconds: ns.div_euclid(1_000_000_000),
            nanos: i32::try_from(ns.rem_euclid(1_000_000_000)).unwrap_or_default(),
        }
    }
}

/// Returns the state, and what its owner says of itself.
pub(super) fn encode(state: &State, own: &Own) -> Vec<u8> {
    let mut out = Vec::new();
    let series: Vec<(&Key, &Entry)> = state.series().collect();
    for of_one in series.chunk_by(|(_, one), (_, other)| one.metric.name == other.metric.name) {
        let Some((_, Entry { metric, .. })) = of_one.first() else {
            continue;
        };
        let metrics = of_one
            .iter()
            .map(|(key, entry)| message(&key.labels, entry));
        append(&mut out, metric, metrics.collect());
    }
    for (metric, value) in own.read(state) {
        let value = in_base_unit(metric, i128::from(value)).unwrap_or_else(|| float(value));
        let mut message = labelled(own.labels());
        match Kind::of(metric) {
            Kind::Counter => {
                message.counter = Some(Counter {
                    value,
                    created_timestamp: None,
                });
            }
            _ => message.gauge = Some(Gauge { value }),
        }
        append(&mut out, metric, vec![message]);
    }
    out
}

/// The width of the bucket of zeros: less than a nanosecond. Of a histogram without values it says that it is native.
const ZERO_SECONDS: f64 = 1e-10;

fn append(out: &mut Vec<u8>, metric: &record::Metric, messages: Vec<Metric>) {
    let Described {
        mut name,
        help,
        kind,
    } = describe(metric);
    let r#type = match kind {
        Kind::Histogram => MetricType::Histogram,
        Kind::Counter => {
            name.push_str("_total");
            MetricType::Counter
        }
        Kind::Gauge | Kind::LastGauge => MetricType::Gauge,
    };
    let family = MetricFamily {
        name,
        help,
        r#type: r#type.into(),
        metric: messages,
    };
    family
        .encode_length_delimited(out)
        .expect("a vector takes every write");
}

fn labelled(labels: &[Label]) -> Metric {
    let pair = |(name, value): &Label| LabelPair {
        name: name.clone(),
        value: value.clone(),
    };
    Metric {
        label: labels.iter().map(pair).collect(),
        ..Metric::default()
    }
}

fn message(labels: &[Label], entry: &Entry) -> Metric {
    let mut message = labelled(labels);
    let metric = entry.metric;
    match &entry.value {
        Value::Counter(count) => {
            let value = in_base_unit(metric, i128::from(*count)).unwrap_or_else(|| float(*count));
            message.counter = Some(Counter {
                value,
                created_timestamp: Some(entry.began.into()),
            });
        }
        Value::Gauge(value) => {
            let value = in_base_unit(metric, i128::from(*value)).unwrap_or_else(|| whole(*value));
            message.gauge = Some(Gauge { value });
        }
        Value::Histogram(histogram) => {
            message.histogram = Some(histogram_message(histogram, entry.began));
        }
    }
    message
}

fn histogram_message(histogram: &histogram::Histogram, began: Wall) -> Histogram {
    let mut message = Histogram {
        sample_count: histogram.count(),
        sample_sum: histogram.sum_seconds(),
        created_timestamp: Some(began.into()),
        ..Histogram::default()
    };
    // Who reads this format has no use for classic buckets beside native ones, and they are most of it.
    if histogram.native().is_none() {
        let (mut counts, mut cumulative_count) = (Vec::new(), 0);
        histogram.fill(&mut counts);
        message.bucket.extend(counts.iter().map(|(bound, count)| {
            cumulative_count += count;
            Bucket {
                cumulative_count,
                upper_bound: *bound,
            }
        }));
    }
    if let Some(native) = histogram.native() {
        put_native(&mut message, native);
    }
    message
}

fn put_native(message: &mut Histogram, native: &Exponential) {
    message.schema = native.scale().number().into();
    message.zero_threshold = ZERO_SECONDS;
    message.zero_count = native.zero();
    (message.negative_span, message.negative_delta) = spans(native.negative());
    (message.positive_span, message.positive_delta) = spans(native.positive());
}

/// Returns the buckets as spans, and each count as its difference from the one before.
fn spans(buckets: &Buckets) -> (Vec<BucketSpan>, Vec<i64>) {
    let (mut spans, mut deltas) = (Vec::<BucketSpan>::new(), Vec::new());
    // Prometheus counts a bucket by its upper bound.
    let (mut next, mut before) = (0, 0);
    for (index, count) in buckets.iter().map(|(index, count)| (index + 1, *count)) {
        match spans.last_mut() {
            Some(span) if index == next => span.length += 1,
            _ => spans.push(BucketSpan {
                offset: index - next,
                length: 1,
            }),
        }
        next = index + 1;
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        deltas.push(count - before);
        before = count;
    }
    (spans, deltas)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the format has floats, and 2^53 of anything takes millennia"
)]
fn float(value: u64) -> f64 {
    value as f64
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the format has floats, and levels are far below 2^53"
)]
fn whole(value: i64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_deltas_are_as_prometheus_counts_them() {
        let buckets = Buckets::from([(-3, 5), (-2, 2), (0, 7), (9, 7)]);
        let (spans, deltas) = spans(&buckets);
        let spans: Vec<_> = spans
            .iter()
            .map(|span| (span.offset, span.length))
            .collect();
        assert_eq!(spans, [(-2, 2), (1, 1), (8, 1)]);
        assert_eq!(deltas, [5, -3, 5, 0]);
        assert_eq!(super::spans(&Buckets::new()), (Vec::new(), Vec::new()));
    }
}
