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
use crate::publish::pushgateway::series::{Entry, Key, Kind, State, Value, own_labels};
use crate::publish::text::per;
use crate::record::{Metric, PUSHGATEWAY, Unit};

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
        let series: Vec<(&Key, &Entry)> = state.series().collect();
        let mut buckets = Vec::new();
        for family in series.chunk_by(|(_, one), (_, other)| one.metric.name == other.metric.name) {
            let Some(&(_, Entry { metric, .. })) = family.first() else {
                continue;
            };
            let (name, help, kind) = describe(metric);
            let mut encoder = encoder.encode_descriptor(&name, &help, None, kind)?;
            for (key, Entry { value, .. }) in family {
                let mut encoder = encoder.encode_family(&key.labels)?;
                match value {
                    Value::Histogram(histogram) => {
                        histogram.fill(&mut buckets);
                        let (sum, count) = (histogram.sum_seconds(), histogram.count());
                        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
                    }
                    Value::Counter(count) if metric.unit == Unit::Nanoseconds => {
                        let seconds = per(i128::from(*count), 1e9);
                        encoder.encode_counter::<NoLabelSet, _, f64>(&seconds, None)?;
                    }
                    Value::Counter(count) => {
                        encoder.encode_counter::<NoLabelSet, _, f64>(count, None)?;
                    }
                    Value::Gauge(value) => match metric.unit {
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
        let failed = self.failed.load(Ordering::Relaxed);
        for (metric, value) in PUSHGATEWAY.iter().zip([count, state.refused(), failed]) {
            if !state.has(metric) {
                continue;
            }
            let (name, help, kind) = describe(metric);
            let mut family = encoder.encode_descriptor(&name, &help, None, kind)?;
            let mut encoder = family.encode_family(&self.own)?;
            match kind {
                MetricType::Counter => {
                    encoder.encode_counter::<NoLabelSet, _, f64>(&value, None)?;
                }
                _ => encoder.encode_gauge(&value)?,
            }
        }
        Ok(())
    }
}

/// Returns a metric's name, help text and type. The name has base units, but not the `_total` of a counter, which the
/// encoder adds.
fn describe(metric: &Metric) -> (String, String, MetricType) {
    let kind = match Kind::of(metric) {
        Kind::Histogram => MetricType::Histogram,
        Kind::Counter => MetricType::Counter,
        Kind::Gauge | Kind::LastGauge => MetricType::Gauge,
    };
    let mut name = sanitised(metric.name);
    let unit = match metric.unit {
        Unit::Nanoseconds => "seconds",
        Unit::PartsPerBillion => "ratio",
        Unit::Bytes => "bytes",
        Unit::Number => "",
    };
    if !name.ends_with(unit) {
        name.push('_');
        name.push_str(unit);
    }
    let help = match metric.rfc {
        "" => metric.help.to_owned(),
        rfc => format!("{} ({rfc})", metric.help),
    };
    (name, help, kind)
}
