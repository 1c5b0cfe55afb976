//! The flows of this host as JSON.

use serde::Serialize;

use crate::proto::{ClockEstimate, Counters, FlowKind, FlowView, Labels};
use crate::publish::{Exposition, Last};
use crate::record::Metric;

#[derive(Serialize)]
struct All<'a> {
    flows: Vec<Flow<'a>>,
}

/// One flow. Times are nanoseconds.
#[derive(Serialize)]
struct Flow<'a> {
    target: &'a str,
    tags: Vec<&'a str>,
    flow: &'static str,
    local: Option<String>,
    remote: Option<String>,
    wire: &'static str,
    authenticated: bool,
    down: bool,
    probes: Probes,
    clock: Option<Clock>,
    last: Windows,
}

#[derive(Serialize)]
struct Probes {
    sent: u64,
    received: u64,
    lost: u64,
    lost_forward: u64,
    lost_reverse: u64,
    unsent: u64,
}

impl From<&Counters> for Probes {
    fn from(counters: &Counters) -> Self {
        Self {
            sent: counters.sent,
            received: counters.received,
            lost: counters.lost,
            lost_forward: counters.lost_forward,
            lost_reverse: counters.lost_reverse,
            unsent: counters.unsent,
        }
    }
}

#[derive(Serialize)]
struct Clock {
    offset_ns: i64,
    error_ns: u64,
    skew_ppb: i64,
}

impl From<ClockEstimate> for Clock {
    fn from(estimate: ClockEstimate) -> Self {
        Self {
            offset_ns: estimate.offset_ns,
            error_ns: estimate.error_ns,
            skew_ppb: estimate.skew_ppb,
        }
    }
}

/// The last windows that the flow has given, by metric.
#[derive(Serialize)]
struct Windows {
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt: Option<Window>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<Window>,
}

#[derive(Serialize)]
struct Window {
    end_ns: i64,
    count: u64,
    min_ns: i64,
    p50_ns: i64,
    p99_ns: i64,
    max_ns: i64,
}

impl From<Last> for Window {
    fn from(last: Last) -> Self {
        Self {
            end_ns: last.end.as_unix_nanos(),
            count: last.count,
            min_ns: last.min_ns,
            p50_ns: last.p50_ns,
            p99_ns: last.p99_ns,
            max_ns: last.max_ns,
        }
    }
}

/// Returns the flows as an object with a list.
pub(super) fn json(flows: &[FlowView], exposition: &Exposition) -> Vec<u8> {
    let flows = flows.iter().map(|view| flow(view, exposition)).collect();
    serde_json::to_vec(&All { flows }).expect("names and numbers are JSON")
}

fn flow<'a>(view: &'a FlowView, exposition: &Exposition) -> Flow<'a> {
    let subject = &view.subject;
    let labels: &Labels = &subject.labels;
    let kind = subject.kind.unwrap_or(FlowKind::Udp);
    let last = exposition.last(Metric::of_answers(kind), labels);
    let last = last.map(Window::from);
    let (rtt, latency) = match kind {
        FlowKind::Udp | FlowKind::Tcp => (last, None),
        FlowKind::Connect => (None, last),
    };
    Flow {
        target: &labels.target,
        tags: labels.tags.iter().map(|tag| &**tag).collect(),
        flow: kind.as_str(),
        local: subject.local.map(|at| at.to_string()),
        remote: subject.remote.map(|at| at.to_string()),
        wire: view.spoken.as_str(),
        authenticated: view.is_authenticated,
        down: view.is_down,
        probes: Probes::from(&view.counters),
        clock: view.clock.map(Clock::from),
        last: Windows { rtt, latency },
    }
}
