//! Writes records as JSON in the format of the Python program: one object, `", "` and `": "`
//! between its parts, new keys after the old ones.

use std::fmt;
use std::io::{self, Write};
use std::num::NonZeroU64;

use serde::{Serialize, Serializer};
use serde_json::ser::Formatter;

use crate::proto::{Direction, Wall};
use crate::publish::hdr::HdrWriter;
use crate::publish::text::Displayed;
use crate::record::{Distribution, EventKind, Record, Window};

/// `json.dumps` puts a space after each comma and colon.
#[derive(Debug)]
struct Spaced;

impl Spaced {
    fn separate<W: ?Sized + Write>(out: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }
}

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        Self::separate(out, first)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        Self::separate(out, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }
}

/// The tags of a record as a list of strings.
struct Tags<'a>(&'a Record);

impl Serialize for Tags<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.tags().map(Displayed))
    }
}

#[derive(Serialize)]
struct SampleJson<'a> {
    metric: &'static str,
    points: [(i64, i64); 1],
    tags: Tags<'a>,
    stamp: &'static str,
    seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dwell: Option<u32>,
}

#[derive(Serialize)]
struct ClockStepJson<'a> {
    event: &'static str,
    clock: &'static str,
    at: i64,
    step: i64,
    tags: Tags<'a>,
}

#[derive(Serialize)]
struct BurstJson<'a> {
    event: &'static str,
    flow: &'static str,
    direction: Option<&'static str>,
    start: i64,
    duration: u64,
    peak: u64,
    mean: u64,
    base: i64,
    probes: u32,
    lost: u32,
    tags: Tags<'a>,
    incident: u64,
    stamp: &'static str,
}

#[derive(Serialize)]
struct RouteChangeJson<'a> {
    event: &'static str,
    flow: &'static str,
    direction: &'static str,
    at: i64,
    old: i64,
    new: i64,
    tags: Tags<'a>,
}

#[derive(Serialize)]
struct NumberJson<'a, T> {
    metric: &'static str,
    points: [(i64, T); 1],
    tags: Tags<'a>,
}

impl<'a, T> NumberJson<'a, T> {
    fn new(metric: &'static str, at: Wall, value: T, tags: Tags<'a>) -> Self {
        Self {
            metric,
            points: [(at.as_unix_nanos(), value)],
            tags,
        }
    }
}

#[derive(Serialize)]
struct WindowJson<'a> {
    metric: &'static str,
    tags: Tags<'a>,
    start: i64,
    end: i64,
    count: u64,
    min: i64,
    mean: i64,
    max: i64,
    stddev: u64,
    p50: i64,
    p90: i64,
    p99: i64,
    #[serde(rename = "p99.9")]
    p99_9: i64,
    #[serde(rename = "p99.99")]
    p99_99: i64,
    stamp: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    hdr: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    hdr_negative: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    out_of_range: Option<NonZeroU64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    buckets: Option<Buckets<'a>>,
}

/// The histograms as pairs of the greatest value of a bucket and its count. Values from 0 up
/// ascend; those below zero come first and descend.
struct Buckets<'a>(&'a Distribution);

impl Serialize for Buckets<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let negative = self.0.negative().map(|histogram| (histogram, -1));
        let histograms = negative.into_iter().chain([(self.0.positive(), 1)]);
        serializer.collect_seq(histograms.flat_map(|(histogram, sign)| {
            histogram.iter_recorded().map(move |step| {
                let value = i64::try_from(step.value_iterated_to()).unwrap_or(i64::MAX);
                (sign * value, step.count_at_value())
            })
        }))
    }
}

/// What windows need to be written. It is kept from one window to the next.
struct Hdr {
    distribution: Distribution,
    writer: HdrWriter,
    positive: String,
    negative: String,
}

impl Hdr {
    fn new() -> Self {
        Self {
            distribution: Distribution::new(),
            writer: HdrWriter::new(),
            positive: String::new(),
            negative: String::new(),
        }
    }

    fn load(&mut self, window: &Window, has_buckets: bool) {
        self.distribution.load(window);
        if !has_buckets {
            self.write();
        }
    }

    fn write(&mut self) {
        self.positive.clear();
        self.writer
            .write(self.distribution.positive(), &mut self.positive);
        self.negative.clear();
        if let Some(histogram) = self.distribution.negative() {
            self.writer.write(histogram, &mut self.negative);
        }
    }
}

/// Writes records as JSON. It keeps its memory from record to record.
#[derive(Default)]
pub struct Encoder {
    hdr: Option<Box<Hdr>>,
    has_buckets: bool,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Encoder").finish_non_exhaustive()
    }
}

impl Encoder {
    /// Makes an encoder. The half of a mebibyte that windows need is allocated with the first
    /// window.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes an encoder that writes the histograms of windows as `buckets`, in place of `hdr`:
    /// for stores that do not read that format.
    pub(super) fn with_buckets() -> Self {
        Self {
            has_buckets: true,
            ..Self::default()
        }
    }

    /// Appends a record to `out`, as one line of UTF-8 without its end.
    pub fn encode(&mut self, record: &Record, out: &mut Vec<u8>) {
        let tags = Tags(record);
        match record {
            Record::Sample {
                series,
                at,
                value_ns,
                seq,
                stamp,
                dwell_ns,
            } => write(
                out,
                &SampleJson {
                    metric: series.metric.name,
                    points: [(at.as_unix_nanos(), *value_ns)],
                    tags,
                    stamp: stamp.as_str(),
                    seq: *seq,
                    dwell: *dwell_ns,
                },
            ),
            Record::Window(window) => self.encode_window(window, tags, out),
            Record::Count {
                metric, at, value, ..
            } => write(out, &NumberJson::new(metric.name, *at, *value, tags)),
            Record::Gauge {
                metric, at, value, ..
            } => write(out, &NumberJson::new(metric.name, *at, *value, tags)),
            Record::Event(event) => match event.kind {
                EventKind::ClockStep { clock, step_ns } => write(
                    out,
                    &ClockStepJson {
                        event: event.name(),
                        clock: clock.as_str(),
                        at: event.at.as_unix_nanos(),
                        step: step_ns,
                        tags,
                    },
                ),
                EventKind::Burst(burst) => write(
                    out,
                    &BurstJson {
                        event: event.name(),
                        flow: burst.flow.as_str(),
                        direction: burst.direction.map(Direction::as_str),
                        start: event.at.as_unix_nanos(),
                        duration: burst.duration_ns,
                        peak: burst.peak_ns,
                        mean: burst.mean_ns,
                        base: burst.base_ns,
                        probes: burst.probes,
                        lost: burst.lost,
                        tags,
                        incident: burst.incident,
                        stamp: burst.stamp.as_str(),
                    },
                ),
                EventKind::RouteChange {
                    flow,
                    direction,
                    old_ns,
                    new_ns,
                } => write(
                    out,
                    &RouteChangeJson {
                        event: event.name(),
                        flow: flow.as_str(),
                        direction: direction.as_str(),
                        at: event.at.as_unix_nanos(),
                        old: old_ns,
                        new: new_ns,
                        tags,
                    },
                ),
            },
        }
    }

    fn encode_window(&mut self, window: &Window, tags: Tags<'_>, out: &mut Vec<u8>) {
        let hdr = self.hdr.get_or_insert_with(|| Box::new(Hdr::new()));
        hdr.load(window, self.has_buckets);
        let quantile = |quantile| hdr.distribution.quantile(quantile);
        write(
            out,
            &WindowJson {
                metric: window.series().metric.name,
                tags,
                start: window.start().as_unix_nanos(),
                end: window.end().as_unix_nanos(),
                count: window.count(),
                min: window.min(),
                mean: window.mean(),
                max: window.max(),
                stddev: window.stddev(),
                p50: quantile(0.5),
                p90: quantile(0.9),
                p99: quantile(0.99),
                p99_9: quantile(0.999),
                p99_99: quantile(0.9999),
                stamp: window.stamp().as_str(),
                hdr: &hdr.positive,
                hdr_negative: &hdr.negative,
                out_of_range: NonZeroU64::new(window.out_of_range()),
                buckets: self.has_buckets.then_some(Buckets(&hdr.distribution)),
            },
        );
    }
}

fn write(out: &mut Vec<u8>, value: &impl Serialize) {
    value
        .serialize(&mut serde_json::Serializer::with_formatter(out, Spaced))
        .expect("keys are strings, and memory takes every write");
}

impl Record {
    /// Returns the record as JSON, as the `cli`, `log` and `zeromq` backends publish it. For many
    /// records an [`Encoder`] is cheaper.
    pub fn to_json(&self) -> String {
        let mut out = Vec::new();
        Encoder::new().encode(self, &mut out);
        String::from_utf8(out).expect("JSON is UTF-8")
    }
}
