//! A dump as lines of JSON: a header, then one line for each probe (`docs/design/dumps.md`).

use std::io::{self, Write};

use serde::{Serialize, Serializer};

use crate::proto::{Direction, Labels, Outcome, Wall};
use crate::publish::Encoder;
use crate::record::{Dump, Probe, Record};

/// The version of the format. It grows when a reader of the version before would misread a dump.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Header<'a> {
    dump: &'static str,
    version: u32,
    program: &'static str,
    host: &'a str,
    flow: &'static str,
    tags: Tags<'a>,
    unit: &'static str,
    from: i64,
    to: i64,
    complete: bool,
    probes: usize,
    /// The offset of the peer's clock from ours.
    clock: Option<Clock>,
    own_clock: Option<OwnClock>,
}

#[derive(Serialize)]
struct Clock {
    offset: i64,
    skew: i64,
    error: u64,
}

#[derive(Serialize)]
struct OwnClock {
    synchronised: bool,
    error: u64,
}

#[derive(Serialize)]
struct Line {
    seq: u64,
    outcome: &'static str,
    lost_on: Option<&'static str>,
    t1: Option<i64>,
    t2: Option<i64>,
    t3: Option<i64>,
    t4: Option<i64>,
    forward: Option<i64>,
    reverse: Option<i64>,
    rtt: Option<i64>,
    s1: Option<&'static str>,
    s2: Option<&'static str>,
    s3: Option<&'static str>,
    s4: Option<&'static str>,
}

struct Tags<'a>(&'a Labels);

impl Serialize for Tags<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|tag| tag.to_string()))
    }
}

impl Line {
    fn new(probe: &Probe) -> Self {
        let stamps = probe.stamps();
        let [t1, t2, t3, t4] = stamps.map(|stamp| stamp.map(|stamp| stamp.at));
        let [s1, s2, s3, s4] = stamps.map(|stamp| stamp.map(|stamp| stamp.source.as_str()));
        let less = |later: Option<Wall>, earlier: Option<Wall>| Some(later?.since(earlier?));
        let ns = |at: Option<Wall>| at.map(Wall::as_unix_nanos);
        let (there_and_back, dwell) = (less(t4, t1), less(t3, t2));
        Self {
            seq: probe.seq,
            outcome: match probe.outcome() {
                Outcome::Received => "received",
                Outcome::Lost => "lost",
            },
            lost_on: probe.lost_on().map(Direction::as_str),
            t1: ns(t1),
            t2: ns(t2),
            t3: ns(t3),
            t4: ns(t4),
            forward: less(t2, t1),
            reverse: less(t4, t3),
            rtt: there_and_back.map(|rtt| rtt.saturating_sub(dwell.unwrap_or(0))),
            s1,
            s2,
            s3,
            s4,
        }
    }
}

/// Writes dumps, and keeps its memory from one to the next.
pub(super) struct LineWriter {
    host: Box<str>,
    encoder: Encoder,
    line: Vec<u8>,
}

impl LineWriter {
    /// Makes a writer for dumps of this host.
    pub(super) fn new(host: &str) -> Self {
        Self {
            host: host.into(),
            encoder: Encoder::new(),
            line: Vec::new(),
        }
    }

    /// Writes the header of one flow's dump, then its probes.
    pub(super) fn write(&mut self, dump: &Dump, out: &mut impl Write) -> io::Result<()> {
        let header = Header {
            dump: if dump.event.is_some() {
                "burst"
            } else {
                "snapshot"
            },
            version: VERSION,
            program: concat!("latency-monitor ", env!("CARGO_PKG_VERSION")),
            host: &self.host,
            flow: dump.flow.as_str(),
            tags: Tags(&dump.labels),
            unit: "ns",
            from: dump.from.as_unix_nanos(),
            to: dump.to.as_unix_nanos(),
            complete: dump.is_complete,
            probes: dump.probes.len(),
            clock: dump.clock.map(|clock| Clock {
                offset: clock.offset_ns,
                skew: clock.skew_ppb,
                error: clock.error_ns,
            }),
            own_clock: dump.own_clock.map(|clock| OwnClock {
                synchronised: clock.is_synchronised,
                error: clock.error_ns,
            }),
        };
        self.line.clear();
        serde_json::to_writer(&mut self.line, &header)?;
        // The event, as backends publish it, replaces the closing brace.
        self.line.pop();
        self.line.extend_from_slice(b",\"event\":");
        match &dump.event {
            Some(event) => self
                .encoder
                .encode(&Record::Event(event.clone()), &mut self.line),
            None => self.line.extend_from_slice(b"null"),
        }
        self.line.extend_from_slice(b"}\n");
        out.write_all(&self.line)?;
        for probe in &dump.probes {
            self.line.clear();
            serde_json::to_writer(&mut self.line, &Line::new(probe))?;
            self.line.push(b'\n');
            out.write_all(&self.line)?;
        }
        Ok(())
    }
}
