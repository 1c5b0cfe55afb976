//! Makes payloads of records.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;

use crate::limits::OTLP_BATCH_BYTES;
use crate::proto::Wall;
use crate::publish::exponential::{Exponential, Scale};
use crate::publish::otlp::json::{
    Attribute, Body, Envelope, Kind, LogRecord, MetricJson, Nanos, Times, histogram_point,
    number_point, raw,
};
use crate::publish::otlp::totals::Totals;
use crate::publish::otlp::{LOGS, METRICS, NAME, OtlpSettings, Temporality, otlp_attributes};
use crate::publish::retry::nanos;
use crate::publish::{Encode, Payload, gzip};
use crate::record::{Distribution, Event, EventKind, Metric, MetricKind, Record, Tags, Window};

/// A series while it is gathered: its metric, what its points are, and the address of its tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    metric: &'static str,
    kind: Kind,
    tags: usize,
}

#[derive(Debug)]
struct Gathered {
    metric: &'static Metric,
    /// Held, so that no other tags get the address in the key.
    _tags: Arc<Tags>,
    attributes: Vec<Attribute>,
    points: Vec<Box<RawValue>>,
}

impl Gathered {
    fn new(metric: &'static Metric, tags: &Arc<Tags>) -> Self {
        Self {
            metric,
            _tags: Arc::clone(tags),
            attributes: Attribute::list(otlp_attributes(tags.iter())),
            points: Vec::new(),
        }
    }
}

/// The interval that the last count was of.
#[derive(Clone, Copy, Debug)]
struct Interval {
    start: Wall,
    end: Wall,
}

/// Gathers records as data points, and events as log records.
#[derive(Debug)]
pub struct OtlpEncoder {
    envelope: Envelope,
    temporality: Temporality,
    scale: Scale,
    max_buckets: usize,
    interval_ns: i64,
    interval: Interval,
    series: BTreeMap<Key, Gathered>,
    logs: Vec<Box<RawValue>>,
    totals: Totals,
    distribution: Distribution,
    /// About the bytes of the JSON.
    bytes: usize,
}

impl OtlpEncoder {
    /// Makes an encoder. `name` is that of this host, `interval` the time between counts, and `began` when the first
    /// interval begins.
    pub fn new(name: &str, settings: &OtlpSettings, interval: Duration, began: Wall) -> Self {
        Self {
            envelope: Envelope::new(settings.resource.of_host(name)),
            temporality: settings.temporality,
            scale: settings.scale,
            max_buckets: settings.max_buckets,
            interval_ns: i64::try_from(nanos(interval)).unwrap_or(i64::MAX),
            interval: Interval {
                start: began,
                end: began,
            },
            series: BTreeMap::new(),
            logs: Vec::new(),
            totals: Totals::new(settings.scale),
            distribution: Distribution::new(),
            bytes: 0,
        }
    }

    /// Returns when the interval began that ends at `end`: at the end of the one before.
    fn start_of(&mut self, end: Wall) -> Wall {
        let interval = &mut self.interval;
        if interval.end != end {
            // Where the clock was set back, the end of the one before means nothing.
            let start = if interval.end < end {
                interval.end
            } else {
                Wall::from_unix_nanos(end.as_unix_nanos().saturating_sub(self.interval_ns))
            };
            *interval = Interval { start, end };
            self.totals.begin_interval();
        }
        interval.start
    }

    fn put(
        &mut self,
        metric: &'static Metric,
        kind: Kind,
        tags: &Arc<Tags>,
        point: impl FnOnce(&[Attribute]) -> Box<RawValue>,
    ) {
        let key = Key {
            metric: metric.name,
            kind,
            tags: Arc::as_ptr(tags).addr(),
        };
        let gathered = self.series.entry(key);
        let gathered = gathered.or_insert_with(|| Gathered::new(metric, tags));
        let point = point(&gathered.attributes);
        self.bytes += point.get().len() + metric.help.len();
        gathered.points.push(point);
    }

    /// Adds a number that is no sum. `at` is its time.
    fn put_level(
        &mut self,
        metric: &'static Metric,
        kind: Kind,
        tags: &Arc<Tags>,
        at: Wall,
        number: i64,
    ) {
        let times = Times {
            start_time_unix_nano: None,
            time_unix_nano: Nanos(at.as_unix_nanos()),
        };
        self.put(metric, kind, tags, |attributes| {
            number_point(metric, attributes, times, number.into())
        });
    }

    /// Adds what an interval that ends at `at` has added to a count. Returns false if there is no room for its series.
    fn put_count(
        &mut self,
        metric: &'static Metric,
        tags: &Arc<Tags>,
        at: Wall,
        more: u64,
    ) -> bool {
        let mut start = self.start_of(at);
        let mut sum = i128::from(more);
        if self.temporality == Temporality::Cumulative {
            let key = (metric.name, otlp_attributes(tags.iter()));
            let Some(total) = self.totals.of(key, start) else {
                return false;
            };
            total.sum += sum;
            (start, sum) = (total.start, total.sum);
        }
        let times = from_to(start, at);
        self.put(metric, Kind::Sum, tags, |attributes| {
            number_point(metric, attributes, times, sum)
        });
        true
    }

    /// Adds a window. Returns false if there is no room for its series.
    fn put_window(&mut self, window: &Window) -> bool {
        let series = Arc::clone(window.series());
        // The start of a window is its own, and the interval is noted all the same.
        self.start_of(window.end());
        self.distribution.load(window);
        let mut histogram = Exponential::of_window(self.scale, window, &self.distribution);
        histogram.fit(self.max_buckets);
        let mut start = window.start();
        if self.temporality == Temporality::Cumulative {
            let key = (series.metric.name, otlp_attributes(series.tags.iter()));
            let Some(total) = self.totals.of(key, start) else {
                return false;
            };
            total.histogram.merge(&histogram);
            total.histogram.fit(self.max_buckets);
            start = total.start;
            histogram.clone_from(&total.histogram);
        }
        let times = from_to(start, window.end());
        self.put(series.metric, Kind::Histogram, &series.tags, |attributes| {
            histogram_point(attributes, times, &histogram)
        });
        true
    }

    fn put_event(&mut self, record: &Record, event: &Event) {
        let text = record.to_json();
        let mut tags = otlp_attributes(event.tags.iter());
        let mut attributes = Vec::new();
        if let Ok(serde_json::Value::Object(fields)) = serde_json::from_str(&text) {
            // The tags are attributes each for itself.
            for (name, value) in fields.into_iter().filter(|(name, _)| name != "tags") {
                if let Some(tag) = tags.remove(&name) {
                    tags.insert(format!("tag_{name}"), tag);
                }
                attributes.extend(Attribute::of_json(&name, value));
            }
        }
        attributes.extend(Attribute::list(tags));
        let (severity_number, severity_text) = match event.kind {
            EventKind::Burst(_)
            | EventKind::OutageBegan { .. }
            | EventKind::PathDivergence(_)
            | EventKind::ClockStep { .. } => (13, "WARN"),
            _ => (9, "INFO"),
        };
        let at = Nanos(event.at.as_unix_nanos());
        let log = raw(&LogRecord {
            time_unix_nano: at,
            observed_time_unix_nano: at,
            severity_number,
            severity_text,
            event_name: event.name(),
            body: Body {
                string_value: &text,
            },
            attributes,
        });
        self.bytes += log.get().len();
        self.logs.push(log);
    }
}

fn from_to(start: Wall, end: Wall) -> Times {
    Times {
        start_time_unix_nano: Some(Nanos(start.min(end).as_unix_nanos())),
        time_unix_nano: Nanos(end.as_unix_nanos()),
    }
}

impl Encode for OtlpEncoder {
    fn name(&self) -> &'static str {
        NAME
    }

    fn add(&mut self, record: &Record) -> bool {
        match record {
            Record::Sample {
                series,
                at,
                value_ns,
                ..
            } => self.put_level(series.metric, Kind::Samples, &series.tags, *at, *value_ns),
            Record::Window(window) => return self.put_window(window),
            Record::Count {
                metric,
                tags,
                at,
                value,
            } => return self.put_count(metric, tags, *at, *value),
            Record::Gauge {
                metric,
                tags,
                at,
                value,
            } if metric.kind == MetricKind::Increment => {
                let more = u64::try_from(*value).unwrap_or(0);
                return self.put_count(metric, tags, *at, more);
            }
            Record::Gauge {
                metric,
                tags,
                at,
                value,
            } => self.put_level(metric, Kind::Gauge, tags, *at, *value),
            Record::Event(event) => self.put_event(record, event),
        }
        true
    }

    fn is_full(&self) -> bool {
        self.bytes >= OTLP_BATCH_BYTES
    }

    fn take(&mut self, out: &mut Vec<Payload>) {
        let series = std::mem::take(&mut self.series);
        let all: Vec<(&Key, &Gathered)> = series.iter().collect();
        let mut records = 0;
        let metrics: Vec<MetricJson<'_>> = all
            .chunk_by(|(one, _), (other, _)| (one.metric, one.kind) == (other.metric, other.kind))
            .filter_map(|family| {
                let (key, Gathered { metric, .. }) = family.first()?;
                let points = family.iter().flat_map(|(_, gathered)| &gathered.points);
                let points: Vec<&RawValue> = points.map(|point| &**point).collect();
                records += points.len() as u64;
                Some(MetricJson::new(metric, key.kind, self.temporality, points))
            })
            .collect();
        if !metrics.is_empty() {
            out.push(Payload {
                kind: METRICS,
                body: gzip(&self.envelope.write("Metrics", "metrics", &metrics)),
                records,
            });
        }
        if !self.logs.is_empty() {
            out.push(Payload {
                kind: LOGS,
                body: gzip(&self.envelope.write("Logs", "logRecords", &self.logs)),
                records: self.logs.len() as u64,
            });
        }
        self.logs.clear();
        self.bytes = 0;
    }
}
