//! The state as the text that Prometheus reads, by its own client's encoder.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::publish::pushgateway::labels::{Label, sanitised};
use crate::publish::pushgateway::series::{Key, Kind, State, Value, own_labels};
use crate::publish::units::{Unit, gauge_unit, per};

/// The type of the text, for whoever it is sent to.
pub(super) use prometheus_text::CONTENT_TYPE;

/// Writes the state; it is locked for that time, by the thread that also fills it.
#[derive(Debug)]
pub(super) struct Writer {
    registry: Registry,
    length: usize,
}

/// The state, as the registry reads it.
#[derive(Debug)]
struct Source {
    state: Arc<Mutex<State>>,
    failed: Arc<AtomicU64>,
    own: Vec<Label>,
}

impl Writer {
    /// `failed` is how often a push was in vain.
    pub(super) fn new(state: Arc<Mutex<State>>, failed: Arc<AtomicU64>, name: &str) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Source {
            state,
            failed,
            own: own_labels(name),
        }));
        Self {
            registry,
            length: 0,
        }
    }

    /// All series as they are now.
    pub(super) fn write(&mut self) -> String {
        let mut text = String::with_capacity(self.length + self.length / 8);
        prometheus_text::encode(&mut text, &self.registry)
            .expect("a string takes every write, and no value refuses to be written");
        self.length = text.len();
        text
    }
}

impl Collector for Source {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let state = self.state.lock();
        let series: Vec<(&Key, &Value)> = state.series().collect();
        let mut buckets = Vec::new();
        for family in series
            .chunk_by(|(one, _), (other, _)| (one.kind, one.metric) == (other.kind, other.metric))
        {
            let Some((key, _)) = family.first() else {
                continue;
            };
            let kind = match key.kind {
                Kind::Histogram => MetricType::Histogram,
                Kind::Counter => MetricType::Counter,
                Kind::Gauge | Kind::LastGauge => MetricType::Gauge,
            };
            let (name, help) = (name(key), help(key));
            let mut encoder = encoder.encode_descriptor(&name, &help, None, kind)?;
            for (key, value) in family {
                let mut encoder = encoder.encode_family(&key.labels)?;
                match value {
                    Value::Histogram(histogram) => {
                        histogram.fill(&mut buckets);
                        let (sum, count) = (histogram.sum_seconds(), histogram.count());
                        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
                    }
                    Value::Counter(count) if gauge_unit(key.metric) == Unit::Nanoseconds => {
                        let seconds = per(i128::from(*count), 1e9);
                        encoder.encode_counter::<NoLabelSet, _, f64>(&seconds, None)?;
                    }
                    Value::Counter(count) => {
                        encoder.encode_counter::<NoLabelSet, _, f64>(count, None)?;
                    }
                    Value::Gauge(value) => match gauge_unit(key.metric) {
                        Unit::Nanoseconds | Unit::PartsPerBillion => {
                            encoder.encode_gauge(&per(i128::from(*value), 1e9))?;
                        }
                        Unit::Bytes | Unit::Number => encoder.encode_gauge(value)?,
                    },
                }
            }
        }
        self.encode_own(&state, &mut encoder)
    }
}

impl Source {
    /// What this backend says of itself.
    fn encode_own(&self, state: &State, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let count = u64::try_from(state.len()).unwrap_or(u64::MAX);
        let help = "Series that are kept for the gateway";
        encoder
            .encode_descriptor("monitor_pushgateway_series", help, None, MetricType::Gauge)?
            .encode_family(&self.own)?
            .encode_gauge(&count)?;
        let failed = self.failed.load(Ordering::Relaxed);
        let counters = [
            (
                "monitor_pushgateway_refused",
                "Records that found no room among the series",
                state.refused(),
            ),
            (
                "monitor_pushgateway_pushes_failed",
                "Pushes that did not reach the gateway",
                failed,
            ),
        ];
        for (name, help, value) in counters {
            encoder
                .encode_descriptor(name, help, None, MetricType::Counter)?
                .encode_family(&self.own)?
                .encode_counter::<NoLabelSet, _, f64>(&value, None)?;
        }
        Ok(())
    }
}

/// The name in base units, but for the `_total` of a counter, which the encoder adds.
fn name(key: &Key) -> String {
    let mut name = sanitised(key.metric);
    let unit = match (key.kind, gauge_unit(key.metric)) {
        (Kind::Histogram, _) | (_, Unit::Nanoseconds) => "seconds",
        (_, Unit::PartsPerBillion) => "ratio",
        (_, Unit::Bytes) => "bytes",
        (_, Unit::Number) => return name,
    };
    if !name.ends_with(unit) {
        name.push('_');
        name.push_str(unit);
    }
    name
}

/// What a metric is, in a few words.
fn help(key: &Key) -> String {
    let metric = key.metric;
    let last = metric.rsplit('.').next().unwrap_or(metric);
    let what = match (key.kind, last) {
        (Kind::Histogram, "rtt") => "Round-trip time",
        (Kind::Histogram, "owd") => "One-way delay, signed",
        (Kind::Histogram, "latency") => "Time to establish a TCP connection",
        (Kind::Histogram, "ipdv") => "Difference of the delays of consecutive packets (RFC 3393)",
        (Kind::Histogram, "pdv") => "Delay over the least of its interval (RFC 5481)",
        (Kind::Histogram, _) => "Time",
        (Kind::Counter, _) => "Number since the start",
        (Kind::Gauge, _) => "Last reading",
        (Kind::LastGauge, _) => "Of the last burst",
    };
    format!("{what}: {metric}")
}
