//! The state as text, in Prometheus' own format and in that of `OpenMetrics`, by the encoder of its client.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::publish::prometheus::family::{Described, Own, describe, in_base_unit};
use crate::publish::prometheus::series::{Entry, Key, Kind, State, Value};
use crate::record::Metric;

/// The type of the text in Prometheus' own format, for whoever it is sent to.
pub(in crate::publish) use prometheus_text::CONTENT_TYPE;

/// A format of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::publish) enum TextFormat {
    Prometheus,
    OpenMetrics,
}

/// Writes the state, which is locked for that time.
#[derive(Debug)]
pub(in crate::publish) struct Writer {
    registry: Registry,
    length: usize,
}

/// The state, as the registry reads it.
#[derive(Debug)]
struct Source {
    state: Arc<Mutex<State>>,
    own: Own,
}

impl Writer {
    pub(in crate::publish) fn new(state: Arc<Mutex<State>>, own: Own) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Source { state, own }));
        Self {
            registry,
            length: 0,
        }
    }

    /// All series as they are now.
    pub(in crate::publish) fn write(&mut self, format: TextFormat) -> String {
        let mut text = String::with_capacity(self.length + self.length / 8);
        match format {
            TextFormat::Prometheus => prometheus_text::encode(&mut text, &self.registry),
            TextFormat::OpenMetrics => text::encode(&mut text, &self.registry),
        }
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
            let Described { name, help, kind } = describe(metric);
            let mut encoder = encoder.encode_descriptor(&name, &help, None, kind.into())?;
            for (key, Entry { value, .. }) in family {
                let mut encoder = encoder.encode_family(&key.labels)?;
                match value {
                    Value::Histogram(histogram) => {
                        histogram.fill(&mut buckets);
                        let (sum, count) = (histogram.sum_seconds(), histogram.count());
                        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
                    }
                    Value::Counter(count) => encode_count(&mut encoder, metric, *count)?,
                    Value::Gauge(value) => match in_base_unit(metric, i128::from(*value)) {
                        Some(value) => encoder.encode_gauge(&value)?,
                        None => encoder.encode_gauge(value)?,
                    },
                }
            }
        }
        self.encode_own(&state, &mut encoder)
    }
}

impl Source {
    /// What its owner says of itself.
    fn encode_own(&self, state: &State, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (metric, value) in self.own.read(state) {
            let Described { name, help, kind } = describe(metric);
            let mut family = encoder.encode_descriptor(&name, &help, None, kind.into())?;
            let mut encoder = family.encode_family(self.own.labels())?;
            match kind {
                Kind::Counter => encode_count(&mut encoder, metric, value)?,
                _ => encoder.encode_gauge(&value)?,
            }
        }
        Ok(())
    }
}

fn encode_count(encoder: &mut MetricEncoder<'_>, metric: &Metric, count: u64) -> fmt::Result {
    match in_base_unit(metric, i128::from(count)) {
        Some(value) => encoder.encode_counter::<NoLabelSet, _, f64>(&value, None),
        None => encoder.encode_counter::<NoLabelSet, _, f64>(&count, None),
    }
}

impl From<Kind> for MetricType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Histogram => Self::Histogram,
            Kind::Counter => Self::Counter,
            Kind::Gauge | Kind::LastGauge => Self::Gauge,
        }
    }
}
