//! Makes payloads of records, small enough for the intake.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use crate::limits::{
    DATADOG_BATCH_BYTES, DATADOG_COMPRESSED_BYTES_MAX, DATADOG_EVENT_CHARS_MAX,
    DATADOG_JSON_BYTES_MAX,
};
use crate::proto::Wall;
use crate::publish::datadog::{EVENT, NAME, SERIES};
use crate::publish::text::{Displayed, per};
use crate::publish::{Encode, Payload, gzip};
use crate::record::{Distribution, Event, Metric, MetricKind, Mode, Record, Tags, Unit, Window};

/// About the bytes of a point in JSON.
const POINT_BYTES: usize = 48;

/// About the bytes of a series in JSON, without its tags and points.
const SERIES_BYTES: usize = 160;

/// Nanoseconds in the unit that times are published in.
const NS_PER_MS: f64 = 1e6;

/// The figure of a window that says how many values there were.
pub(super) const COUNT_SUFFIX: &str = ".count";

/// The figures of a window, behind the metric's name.
pub(super) const FIGURES: [&str; 7] = [
    "",
    ".avg",
    ".min",
    ".max",
    ".95percentile",
    ".99percentile",
    ".999percentile",
];

/// The types of series, by the numbers of the intake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Count = 1,
    Gauge = 3,
}

/// The identity of a series while it is gathered: its name, its suffix, and the address of its
/// tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    tags: usize,
    metric: &'static str,
    suffix: &'static str,
}

impl fmt::Display for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}{}", self.metric, self.suffix)
    }
}

#[derive(Clone, Copy, Debug, serde::Serialize)]
struct Point {
    #[serde(rename = "timestamp")]
    seconds: i64,
    value: f64,
    /// The number of records that it counts as. Of the series of a window one point counts as the
    /// record.
    #[serde(skip)]
    records: u64,
}

#[derive(Debug)]
struct Gathered {
    kind: Kind,
    unit: Option<&'static str>,
    /// Held, so that no other tags get the address in the key.
    tags: Arc<Tags>,
    points: Vec<Point>,
}

/// Gathers records as points of series, and events.
#[derive(Debug)]
pub struct DatadogEncoder {
    host: String,
    interval_s: u64,
    mode: Mode,
    series: BTreeMap<Key, Gathered>,
    events: Vec<Vec<u8>>,
    distribution: Distribution,
    /// About the bytes of the JSON.
    bytes: usize,
}

impl DatadogEncoder {
    /// Makes an encoder. `host` is the name of this host, `mode` the mode of the records to come,
    /// `interval` the time between counts.
    pub fn new(host: &str, mode: Mode, interval: Duration) -> Self {
        Self {
            host: host.to_owned(),
            // A rate is per second, over whole seconds.
            interval_s: (interval + Duration::from_millis(500)).as_secs().max(1),
            mode,
            series: BTreeMap::new(),
            events: Vec::new(),
            distribution: Distribution::new(),
            bytes: 0,
        }
    }

    /// Adds a value to the series of a metric, or to one of its window's figures, which `suffix`
    /// names. `number` has the unit of the metric, and counts as so many records.
    fn put(
        &mut self,
        metric: &'static Metric,
        suffix: &'static str,
        tags: &Arc<Tags>,
        at: Wall,
        number: i128,
        records: u64,
    ) {
        let is_count = metric.kind == MetricKind::Count || suffix == COUNT_SUFFIX;
        let (unit, divisor) = match metric.unit {
            _ if is_count => (None, 1.0),
            Unit::Nanoseconds => (Some("millisecond"), NS_PER_MS),
            Unit::Bytes => (Some("byte"), 1.0),
            Unit::PartsPerBillion | Unit::Number => (None, 1.0),
        };
        let key = Key {
            tags: Arc::as_ptr(tags).addr(),
            metric: metric.name,
            suffix,
        };
        let bytes = &mut self.bytes;
        let gathered = self.series.entry(key).or_insert_with(|| {
            *bytes += SERIES_BYTES + tags.iter().map(|tag| tag.value.len() + 12).sum::<usize>();
            Gathered {
                kind: if is_count { Kind::Count } else { Kind::Gauge },
                unit,
                tags: Arc::clone(tags),
                points: Vec::new(),
            }
        });
        gathered.points.push(Point {
            seconds: seconds(at),
            value: per(number, divisor),
            records,
        });
        *bytes += POINT_BYTES;
    }

    fn put_window(&mut self, window: &Window) {
        let mode = self.mode;
        self.distribution.load(window);
        let quantile = |quantile| i128::from(self.distribution.quantile(quantile));
        let times = [
            quantile(0.5),
            i128::from(window.mean()),
            i128::from(window.min()),
            i128::from(window.max()),
            quantile(0.95),
            quantile(0.99),
            quantile(0.999),
        ];
        let (series, at) = (Arc::clone(window.series()), window.end());
        let mut put = |suffix, number, records| {
            self.put(series.metric, suffix, &series.tags, at, number, records);
        };
        // With both, samples have the plain name.
        let names_taken = usize::from(mode == Mode::Both);
        for (suffix, ns) in FIGURES.into_iter().zip(times).skip(names_taken) {
            put(suffix, ns, 0);
        }
        put(COUNT_SUFFIX, i128::from(window.count()), 1);
    }

    fn put_event(&mut self, record: &Record, event: &Event) {
        let text: String = record
            .to_json()
            .chars()
            .take(DATADOG_EVENT_CHARS_MAX)
            .collect();
        let tags: Vec<String> = event.tags.iter().map(|tag| tag.to_string()).collect();
        let entries: [(&str, serde_json::Value); 7] = [
            ("title", format!("latency-monitor: {}", event.name()).into()),
            ("text", text.into()),
            ("tags", tags.into()),
            ("host", self.host.as_str().into()),
            ("date_happened", seconds(event.at).into()),
            ("aggregation_key", event.name().into()),
            ("alert_type", "warning".into()),
        ];
        let mut body = Vec::new();
        serde_json::Serializer::new(&mut body)
            .collect_map(entries)
            .expect("keys are strings, and memory takes every write");
        self.bytes += body.len();
        self.events.push(body);
    }

    /// Writes parts of series as one payload, or as more if one would be too large.
    fn pack(&self, parts: &[Part<'_>], out: &mut Vec<Payload>) {
        let records = parts.iter().flat_map(Part::points).map(|p| p.records).sum();
        let json = serde_json::to_vec(&PayloadJson {
            series: parts.iter().map(|part| SeriesJson(part, self)).collect(),
        })
        .expect("keys are strings, and every number is finite");
        if json.len() <= DATADOG_JSON_BYTES_MAX {
            let body = gzip(&json);
            if body.len() <= DATADOG_COMPRESSED_BYTES_MAX {
                let kind = SERIES;
                out.push(Payload {
                    kind,
                    body,
                    records,
                });
                return;
            }
        }
        match parts {
            [] => {}
            [one] => {
                let Range { start, end } = one.range.clone();
                let middle = usize::midpoint(start, end);
                // Tags are far shorter than a payload, so a single point always fits.
                assert!(middle > start, "a point that is larger than a payload");
                for range in [start..middle, middle..end] {
                    self.pack(&[Part { range, ..*one }], out);
                }
            }
            many => {
                let (front, back) = many.split_at(many.len() / 2);
                self.pack(front, out);
                self.pack(back, out);
            }
        }
    }
}

impl Encode for DatadogEncoder {
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
            } => self.put(series.metric, "", &series.tags, *at, (*value_ns).into(), 1),
            Record::Window(window) => self.put_window(window),
            Record::Count {
                metric,
                tags,
                at,
                value,
            } => self.put(metric, "", tags, *at, (*value).into(), 1),
            Record::Gauge {
                metric,
                tags,
                at,
                value,
            } => self.put(metric, "", tags, *at, (*value).into(), 1),
            Record::Event(event) => self.put_event(record, event),
        }
        true
    }

    fn is_full(&self) -> bool {
        self.bytes >= DATADOG_BATCH_BYTES
    }

    fn take(&mut self, out: &mut Vec<Payload>) {
        let parts: Vec<Part<'_>> = self
            .series
            .iter()
            .map(|(key, gathered)| Part {
                key,
                gathered,
                range: 0..gathered.points.len(),
            })
            .collect();
        if !parts.is_empty() {
            self.pack(&parts, out);
        }
        self.series.clear();
        self.bytes = 0;
        let events = self.events.drain(..).map(|body| Payload {
            kind: EVENT,
            body,
            records: 1,
        });
        out.extend(events);
    }
}

/// A range of the points of a series.
#[derive(Clone, Debug)]
struct Part<'a> {
    key: &'a Key,
    gathered: &'a Gathered,
    range: Range<usize>,
}

impl Part<'_> {
    fn points(&self) -> &[Point] {
        &self.gathered.points[self.range.clone()]
    }
}

fn seconds(at: Wall) -> i64 {
    at.as_unix_nanos().div_euclid(1_000_000_000)
}

#[derive(serde::Serialize)]
struct PayloadJson<'a> {
    series: Vec<SeriesJson<'a>>,
}

struct SeriesJson<'a>(&'a Part<'a>, &'a DatadogEncoder);

impl Serialize for SeriesJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(part, encoder) = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("metric", &Displayed(part.key))?;
        map.serialize_entry("type", &(part.gathered.kind as u8))?;
        map.serialize_entry("points", part.points())?;
        let host = BTreeMap::from([("name", encoder.host.as_str()), ("type", "host")]);
        map.serialize_entry("resources", &[host])?;
        map.serialize_entry("tags", &TagsJson(&part.gathered.tags))?;
        if let Some(unit) = part.gathered.unit {
            map.serialize_entry("unit", unit)?;
        }
        if part.gathered.kind == Kind::Count {
            map.serialize_entry("interval", &encoder.interval_s)?;
        }
        map.end()
    }
}

struct TagsJson<'a>(&'a Tags);

impl Serialize for TagsJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Displayed))
    }
}
