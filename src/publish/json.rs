//! Writes records as JSON in the format of the Python program: one object, `", "` and `": "`
//! between its parts, new keys after the old ones.

use std::fmt;
use std::io::{self, Write};

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::ser::Formatter;

use crate::proto::{Direction, FlowKind, Hop, Label, Path, StampSource};
use crate::publish::hdr::HdrWriter;
use crate::publish::text::Displayed;
use crate::record::{
    Departure, Distribution, Divergence, Event, EventKind, Evidence, HostEvidence, Record, Suspect,
    Window,
};

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

/// What speaks against the hosts of an event.
#[derive(serde::Serialize)]
struct Hosts<'a> {
    local: &'a Host,
    peer: &'a Host,
}

/// What speaks against one of them. Times are in nanoseconds; what is not known is `null`.
#[derive(serde::Serialize)]
struct Host {
    kept_waiting: Option<u64>,
    steal: Option<u64>,
    receive_gap: Option<u64>,
    send_gap: Option<u64>,
    drops: Option<u64>,
}

impl From<&HostEvidence> for Host {
    fn from(known: &HostEvidence) -> Self {
        Self {
            kept_waiting: known.kept_waiting_ns,
            steal: known.steal_ns,
            receive_gap: known.receive_gap_ns,
            send_gap: known.send_gap_ns,
            drops: known.drops,
        }
    }
}

/// A hop of a path as an object.
struct HopJson<'a>(&'a Hop);

impl Serialize for HopJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(hop) = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("ttl", &hop.ttl)?;
        map.serialize_entry("address", &hop.address)?;
        map.serialize_entry("rtt", &hop.rtt_ns)?;
        map.serialize_entry("stamp", &hop.stamp.map(StampSource::as_str))?;
        map.serialize_entry("icmp", &hop.icmp.map(|icmp| icmp.to_string()))?;
        let labels: Vec<_> = hop.labels.iter().map(LabelJson).collect();
        map.serialize_entry("labels", &labels)?;
        map.end()
    }
}

/// An entry of a label stack as an object.
struct LabelJson<'a>(&'a Label);

impl Serialize for LabelJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(label) = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("label", &label.label)?;
        map.serialize_entry("tc", &label.traffic_class)?;
        map.serialize_entry("ttl", &label.ttl)?;
        map.end()
    }
}

/// Writes whom an event suspects, and why.
fn judged<M: SerializeMap>(
    map: &mut M,
    suspect: Option<Suspect>,
    evidence: &Evidence,
) -> Result<(), M::Error> {
    map.serialize_entry("suspect", &suspect.map(Suspect::as_str))?;
    let hosts = Hosts {
        local: &Host::from(&evidence.local),
        peer: &Host::from(&evidence.peer),
    };
    map.serialize_entry("evidence", &hosts)
}

/// Writes what both events of a path have.
fn path_entries<M: SerializeMap>(map: &mut M, path: &Path, event: &Event) -> Result<(), M::Error> {
    map.serialize_entry("flow", FlowKind::Udp.as_str())?;
    // One of several flows has its port beside its number.
    if event.flow.is_none_or(|flow| flow.tuple.is_none()) {
        map.serialize_entry("source_port", &path.source_port)?;
    }
    map.serialize_entry("start", &path.at.as_unix_nanos())?;
    map.serialize_entry("why", path.why.as_str())?;
    map.serialize_entry("reached", &path.is_reached)?;
    let hops: Vec<_> = path.hops.iter().map(HopJson).collect();
    map.serialize_entry("hops", &hops)
}

/// The quantiles of a window, by their names.
const QUANTILES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("p99.99", 0.9999),
];

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
        if has_buckets {
            return;
        }
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
        if let Record::Window(window) = record {
            let hdr = self.hdr.get_or_insert_with(|| Box::new(Hdr::new()));
            hdr.load(window, self.has_buckets);
        }
        Json(record, self)
            .serialize(&mut serde_json::Serializer::with_formatter(out, Spaced))
            .expect("keys are strings, and memory takes every write");
    }
}

/// A record as an object, with what its encoder has of its window.
struct Json<'a>(&'a Record, &'a Encoder);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tags = &Tags(self.0);
        let mut map = serializer.serialize_map(None)?;
        match self.0 {
            Record::Sample {
                series,
                at,
                value_ns,
                seq,
                stamp,
                dwell_ns,
            } => {
                map.serialize_entry("metric", series.metric.name)?;
                map.serialize_entry("points", &[(at.as_unix_nanos(), value_ns)])?;
                map.serialize_entry("tags", tags)?;
                map.serialize_entry("stamp", stamp.as_str())?;
                map.serialize_entry("seq", seq)?;
                if let Some(dwell_ns) = dwell_ns {
                    map.serialize_entry("dwell", dwell_ns)?;
                }
            }
            Record::Window(window) => self.window(&mut map, window)?,
            Record::Count {
                metric, at, value, ..
            } => {
                map.serialize_entry("metric", metric.name)?;
                map.serialize_entry("points", &[(at.as_unix_nanos(), value)])?;
                map.serialize_entry("tags", tags)?;
            }
            Record::Gauge {
                metric, at, value, ..
            } => {
                map.serialize_entry("metric", metric.name)?;
                map.serialize_entry("points", &[(at.as_unix_nanos(), value)])?;
                map.serialize_entry("tags", tags)?;
            }
            Record::Event(event) => self.event(&mut map, event)?,
        }
        map.end()
    }
}

impl Json<'_> {
    fn window<M: SerializeMap>(&self, map: &mut M, window: &Window) -> Result<(), M::Error> {
        let Self(record, encoder) = self;
        let hdr = encoder.hdr.as_ref().expect("its histograms are loaded");
        map.serialize_entry("metric", window.series().metric.name)?;
        map.serialize_entry("tags", &Tags(record))?;
        map.serialize_entry("start", &window.start().as_unix_nanos())?;
        map.serialize_entry("end", &window.end().as_unix_nanos())?;
        map.serialize_entry("count", &window.count())?;
        map.serialize_entry("min", &window.min())?;
        map.serialize_entry("mean", &window.mean())?;
        map.serialize_entry("max", &window.max())?;
        map.serialize_entry("stddev", &window.stddev())?;
        for (name, quantile) in QUANTILES {
            map.serialize_entry(name, &hdr.distribution.quantile(quantile))?;
        }
        map.serialize_entry("stamp", window.stamp().as_str())?;
        for (name, text) in [("hdr", &hdr.positive), ("hdr_negative", &hdr.negative)] {
            if !text.is_empty() {
                map.serialize_entry(name, text)?;
            }
        }
        if window.out_of_range() > 0 {
            map.serialize_entry("out_of_range", &window.out_of_range())?;
        }
        if encoder.has_buckets {
            map.serialize_entry("buckets", &Buckets(&hdr.distribution))?;
        }
        Ok(())
    }

    fn remarked<M: SerializeMap>(&self, map: &mut M, event: &Event) -> Result<(), M::Error> {
        let EventKind::Remarked {
            flow,
            direction,
            sent,
            arrived,
        } = event.kind
        else {
            return Ok(());
        };
        map.serialize_entry("flow", flow.as_str())?;
        map.serialize_entry("direction", direction.as_str())?;
        map.serialize_entry("at", &event.at.as_unix_nanos())?;
        map.serialize_entry("sent", &format_args!("{sent}"))?;
        map.serialize_entry("arrived", &format_args!("{arrived}"))?;
        map.serialize_entry("tags", &Tags(self.0))
    }

    /// Writes what tells of paths.
    fn path_event<M: SerializeMap>(&self, map: &mut M, event: &Event) -> Result<(), M::Error> {
        let (at, tags) = (event.at.as_unix_nanos(), &Tags(self.0));
        match event.kind {
            EventKind::Reopened {
                flow,
                old_port,
                new_port,
                lost,
                helped,
            } => {
                map.serialize_entry("flow", flow.as_str())?;
                map.serialize_entry("at", &at)?;
                map.serialize_entry("old_port", &old_port)?;
                map.serialize_entry("new_port", &new_port)?;
                map.serialize_entry("lost", &lost)?;
                map.serialize_entry("helped", &helped)?;
                map.serialize_entry("tags", tags)
            }
            EventKind::PathDivergence(departure) => {
                let Departure { what, .. } = departure;
                map.serialize_entry("flow", departure.flow.as_str())?;
                map.serialize_entry("direction", &departure.direction.map(Direction::as_str))?;
                map.serialize_entry("what", what.as_str())?;
                map.serialize_entry("start", &at)?;
                map.serialize_entry("duration", &departure.duration_ns)?;
                for (key, value) in [("value", departure.value), ("others", departure.others)] {
                    match what {
                        Divergence::Loss => map.serialize_entry(key, &share(value))?,
                        Divergence::Delay => map.serialize_entry(key, &value)?,
                    }
                }
                map.serialize_entry("lost", &departure.lost)?;
                map.serialize_entry("noticed", &departure.noticed_ns)?;
                map.serialize_entry("tags", tags)?;
                judged(map, departure.suspect, &departure.evidence)
            }
            _ => Ok(()),
        }
    }

    fn event<M: SerializeMap>(&self, map: &mut M, event: &Event) -> Result<(), M::Error> {
        let (at, tags) = (event.at.as_unix_nanos(), &Tags(self.0));
        map.serialize_entry("event", event.name())?;
        match event.kind {
            EventKind::ClockStep { clock, step_ns } => {
                map.serialize_entry("clock", clock.as_str())?;
                map.serialize_entry("at", &at)?;
                map.serialize_entry("step", &step_ns)?;
                map.serialize_entry("tags", tags)
            }
            EventKind::Burst(burst) => {
                map.serialize_entry("flow", burst.flow.as_str())?;
                map.serialize_entry("direction", &burst.direction.map(Direction::as_str))?;
                map.serialize_entry("start", &at)?;
                map.serialize_entry("duration", &burst.duration_ns)?;
                map.serialize_entry("peak", &burst.peak_ns)?;
                map.serialize_entry("mean", &burst.mean_ns)?;
                map.serialize_entry("base", &burst.base_ns)?;
                map.serialize_entry("probes", &burst.probes)?;
                map.serialize_entry("lost", &burst.lost)?;
                map.serialize_entry("tags", tags)?;
                map.serialize_entry("incident", &burst.incident)?;
                map.serialize_entry("stamp", burst.stamp.as_str())?;
                judged(map, burst.suspect, &burst.evidence)
            }
            EventKind::OutageBegan { flow } => {
                map.serialize_entry("flow", flow.as_str())?;
                map.serialize_entry("start", &at)?;
                map.serialize_entry("tags", tags)
            }
            EventKind::Wire { flow, is_native } => {
                map.serialize_entry("flow", flow.as_str())?;
                map.serialize_entry("at", &at)?;
                map.serialize_entry("wire", if is_native { "native" } else { "text" })?;
                map.serialize_entry("tags", tags)
            }
            EventKind::HopsChange { flow, old, new } => {
                map.serialize_entry("flow", flow.as_str())?;
                map.serialize_entry("at", &at)?;
                map.serialize_entry("old", &old)?;
                map.serialize_entry("new", &new)?;
                map.serialize_entry("tags", tags)
            }
            EventKind::Reopened { .. } | EventKind::PathDivergence(_) => {
                self.path_event(map, event)
            }
            EventKind::Path(ref path) => {
                path_entries(map, path, event)?;
                map.serialize_entry("tags", tags)
            }
            EventKind::PathChange(ref path) => {
                path_entries(map, path, event)?;
                map.serialize_entry("old", &path.before)?;
                map.serialize_entry("tags", tags)
            }
            EventKind::Remarked { .. } => self.remarked(map, event),
            EventKind::RouteChange {
                flow,
                direction,
                old_ns,
                new_ns,
            } => {
                map.serialize_entry("flow", flow.as_str())?;
                map.serialize_entry("direction", direction.as_str())?;
                map.serialize_entry("at", &at)?;
                map.serialize_entry("old", &old_ns)?;
                map.serialize_entry("new", &new_ns)?;
                map.serialize_entry("tags", tags)
            }
        }?;
        let Some(flow) = event.flow else {
            return Ok(());
        };
        map.serialize_entry("flow_number", &flow.number)?;
        if let Some([local, remote]) = flow.tuple {
            map.serialize_entry("source", &local.ip())?;
            map.serialize_entry("source_port", &local.port())?;
            map.serialize_entry("destination", &remote.ip())?;
            map.serialize_entry("destination_port", &remote.port())?;
        }
        Ok(())
    }
}

/// Returns a share that is given in millionths.
#[expect(clippy::cast_precision_loss, reason = "a million at most")]
fn share(millionths: i64) -> f64 {
    millionths as f64 / 1e6
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
