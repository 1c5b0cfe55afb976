//! The flows of this host as JSON.

use std::sync::Arc;

use serde::Serialize;

use crate::proto::{ClockEstimate, Counters, FlowKind, FlowView, Labels};
use crate::publish::{Encoder, Exposition, Last};
use crate::record::{BackendStats, Event, Metric, Record};

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
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u16>,
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

/// A backend, and how its last try ended: `null` if there was none.
#[derive(Serialize)]
struct BackendJson<'a> {
    backend: &'a str,
    ok: Option<bool>,
}

/// What the listener of [`snapshot`] gets beside the figures.
#[derive(Serialize)]
struct Head<'a> {
    flows: Vec<Flow<'a>>,
    deliveries: Vec<BackendJson<'a>>,
    /// There is a past on the disk.
    history: bool,
}

/// Returns the flows as an object with a list.
pub(super) fn json(flows: &[FlowView], exposition: &Exposition) -> Vec<u8> {
    let flows = flows.iter().map(|view| flow(view, exposition)).collect();
    serde_json::to_vec(&All { flows }).expect("names and numbers are JSON")
}

/// Returns all that is known as an object: the flows, the backends, and what is shown live.
pub(super) fn snapshot(
    flows: &[FlowView],
    backends: &[Arc<BackendStats>],
    exposition: &Exposition,
) -> Vec<u8> {
    let deliveries = backends.iter().map(|stats| BackendJson {
        backend: stats.name(),
        ok: stats.last_try(),
    });
    let head = Head {
        flows: flows.iter().map(|view| flow(view, exposition)).collect(),
        deliveries: deliveries.collect(),
        history: exposition.live().has_kept(),
    };
    let mut json = serde_json::to_vec(&head).expect("names and numbers are JSON");
    // Both are objects, and neither is empty.
    json.pop();
    json.push(b',');
    json.extend_from_slice(&exposition.live().snapshot());
    json.push(b'}');
    json
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
        number: subject.number,
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

/// Returns the names of dumps, each with the event that it is of as `/api/v1/events` has it.
pub(super) fn dumps(dumps: Option<Vec<(String, Option<Arc<Event>>)>>) -> Vec<u8> {
    let Some(dumps) = dumps else {
        return b"{\"dumps\":null}".to_vec();
    };
    let mut out = b"{\"dumps\":[".to_vec();
    let mut encoder = Encoder::new();
    for (place, (name, event)) in dumps.into_iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"name\":");
        serde_json::to_writer(&mut out, &name).expect("a name is text");
        out.extend_from_slice(b",\"event\":");
        match event {
            Some(event) => encoder.encode(&Record::Event(event), &mut out),
            None => out.extend_from_slice(b"null"),
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    out
}
