//! The lines of JSON of a ping: of each probe or second, and the summary. Times are in nanoseconds.

use std::time::Duration;

use serde::Serialize;

use crate::config::Figure;
use crate::monitor::ping::figures::{Bursts, Counts, Figures, PeerClock, Values};
use crate::monitor::ping::histogram;
use crate::monitor::ping::probes::Probe;
use crate::monitor::ping::subject::Subject;

/// A line.
#[derive(Serialize)]
#[serde(tag = "line", rename_all = "lowercase")]
enum Line<'a> {
    Probe {
        seq: u64,
        at: i64,
        rtt: Option<i64>,
        forward: Option<i64>,
        reverse: Option<i64>,
        clock: Option<PeerClock>,
        stamp: &'static str,
    },
    Second {
        seconds: u64,
        #[serde(flatten)]
        figures: Shown,
    },
    Summary {
        host: &'a str,
        address: std::net::IpAddr,
        port: u16,
        flow: &'static str,
        wire: &'static str,
        owd: &'static str,
        ns: u64,
        #[serde(flatten)]
        figures: Shown,
        histogram: Vec<[u64; 3]>,
        #[serde(skip_serializing_if = "Option::is_none")]
        meaning: Option<&'a str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tried: Vec<Tried<'a>>,
    },
}

/// What else was tried.
#[derive(Serialize)]
pub(super) struct Tried<'a> {
    pub(super) what: &'a str,
    pub(super) command: &'a str,
    pub(super) answers: u64,
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    counts: Counts,
    rtt: Option<Delay>,
    forward: Option<Delay>,
    reverse: Option<Delay>,
    forward_pdv: Option<Delay>,
    reverse_pdv: Option<Delay>,
    forward_ipdv: Option<Delay>,
    reverse_ipdv: Option<Delay>,
    forward_bursts: Bursts,
    reverse_bursts: Bursts,
    lateness: Option<Delay>,
    clock: Option<PeerClock>,
    clock_error_max: Option<i64>,
}

#[derive(Serialize)]
struct Delay {
    count: u64,
    min: i64,
    mean: i64,
    p50: i64,
    p90: i64,
    p99: i64,
    #[serde(rename = "p99.9")]
    p999: i64,
    max: i64,
    stamp: Option<&'static str>,
}

impl Delay {
    fn of(values: &Values) -> Option<Self> {
        Self::read(values, Values::figure)
    }

    fn read(values: &Values, read: fn(&Values, Figure) -> Option<i64>) -> Option<Self> {
        let quantile = |quantile| read(values, Figure::Quantile(quantile));
        Some(Self {
            count: values.all.count(),
            min: read(values, Figure::Min)?,
            mean: read(values, Figure::Mean)?,
            p50: quantile(0.5)?,
            p90: quantile(0.9)?,
            p99: quantile(0.99)?,
            p999: quantile(0.999)?,
            max: read(values, Figure::Max)?,
            stamp: values.stamp.map(crate::proto::StampSource::as_str),
        })
    }
}

impl Shown {
    fn of(figures: &Figures) -> Self {
        Self {
            counts: figures.counts,
            rtt: Delay::of(&figures.round_trip),
            forward: Delay::of(&figures.forward),
            reverse: Delay::of(&figures.reverse),
            forward_pdv: Delay::read(&figures.forward, Values::figure_over_least),
            reverse_pdv: Delay::read(&figures.reverse, Values::figure_over_least),
            forward_bursts: figures.forward_bursts,
            reverse_bursts: figures.reverse_bursts,
            forward_ipdv: Delay::of(&figures.forward_variation),
            reverse_ipdv: Delay::of(&figures.reverse_variation),
            lateness: Delay::of(&figures.lateness),
            clock: figures.clock,
            clock_error_max: figures.clock_error_max,
        }
    }
}

fn line(line: &Line<'_>) -> String {
    let mut text = serde_json::to_string(line).expect("keys are strings, and numbers are JSON");
    text.push('\n');
    text
}

/// Returns the line of a probe that was answered.
pub(super) fn probe(probe: &Probe, clock: Option<PeerClock>) -> String {
    line(&Line::Probe {
        seq: probe.seq,
        at: probe.at,
        rtt: probe.round_trip,
        forward: probe.forward,
        reverse: probe.reverse,
        clock: clock.filter(|_| probe.forward.is_some()),
        stamp: probe.stamp.as_str(),
    })
}

/// Returns the line of a second.
pub(super) fn second(at: u64, figures: &Figures) -> String {
    line(&Line::Second {
        seconds: at,
        figures: Shown::of(figures),
    })
}

/// Returns the line of all of it, and what it means if nothing has answered.
pub(super) fn summary(
    subject: &Subject,
    took: Duration,
    figures: &Figures,
    silence: Option<(&str, Vec<Tried<'_>>)>,
) -> String {
    let (meaning, tried) = silence.map_or((None, Vec::new()), |(meaning, tried)| {
        (Some(meaning.trim_end()), tried)
    });
    let bins = histogram::bins(&figures.round_trip.all);
    line(&Line::Summary {
        host: &subject.host,
        address: subject.remote.ip(),
        port: subject.remote.port(),
        flow: subject.kind.as_str(),
        wire: subject.wire(figures),
        owd: if subject.is_raw { "raw" } else { "corrected" },
        ns: super::nanos(took),
        figures: Shown::of(figures),
        histogram: bins
            .iter()
            .map(|bin| [bin.from, bin.to, bin.count])
            .collect(),
        meaning,
        tried,
    })
}
