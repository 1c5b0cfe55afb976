//! The [`Event`]: what happens once, and is published at once.

use std::sync::Arc;

use crate::proto::{Direction, FlowKind, StampSource, Wall};
use crate::record::metrics::{BURSTS, EVENTS, Metric};
use crate::record::series::Tags;

/// Something that happened. It goes to every backend that chose it as soon as it is known, in every mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it happened, or began.
    pub at: Wall,
    /// What happened.
    pub kind: EventKind,
    /// The tags of the flow, or of this host.
    pub tags: Arc<Tags>,
}

/// The kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// A wall clock was set.
    ClockStep {
        /// Whose clock it is.
        clock: ClockOwner,
        /// How far it was set, in nanoseconds; above 0: forward.
        step_ns: i64,
    },
    /// A micro-burst; or an outage, if no probe in it was received.
    Burst(Burst),
    /// An outage has begun. Its own event follows when it is over.
    OutageBegan {
        /// The kind of flow that is cut off.
        flow: FlowKind,
    },
    /// A flow that spoke native goes back to text, or is native again.
    Wire {
        /// The kind of flow.
        flow: FlowKind,
        /// What it speaks from now on: native, or text.
        is_native: bool,
    },
    /// Probes of a flow pass another number of routers on their way there.
    HopsChange {
        /// The kind of flow that it was seen on.
        flow: FlowKind,
        /// How many there were.
        old: u8,
        /// How many there are.
        new: u8,
    },
    /// The least one-way delay of a flow has moved, and has stayed there.
    RouteChange {
        /// The kind of flow that it was seen on.
        flow: FlowKind,
        /// The direction of the packets.
        direction: Direction,
        /// The least delay before, in nanoseconds; signed, because it contains the difference of the two clocks.
        old_ns: i64,
        /// The least delay now, likewise.
        new_ns: i64,
    },
}

/// A queue that built up on a flow's path and drained again, in one direction; see
/// `docs/design/bursts.md`. It began at the event's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
    /// The kind of flow that it was seen on.
    pub flow: FlowKind,
    /// The direction of the packets; `None` for losses whose direction is not known.
    pub direction: Option<Direction>,
    /// Nanoseconds from its start to its end.
    pub duration_ns: u64,
    /// The longest queueing delay in nanoseconds, over `base_ns`.
    pub peak_ns: u64,
    /// The mean queueing delay of the probes received in it, in nanoseconds.
    pub mean_ns: u64,
    /// The running minimum of the one-way delay, in nanoseconds, which `peak_ns` and `mean_ns` are over. It is
    /// signed, because it contains the difference of the two clocks.
    pub base_ns: i64,
    /// The number of probes sent in it.
    pub probes: u32,
    /// How many of them were lost.
    pub lost: u32,
    /// The number of the incident: the Unix time in nanoseconds of its first burst. Bursts that began within an
    /// interval of each other share it.
    pub incident: u64,
    /// The weakest stamp source of its delays. With `User`, a pause of a host can look like a queue.
    pub stamp: StampSource,
}

impl Burst {
    /// True if no probe came through.
    pub const fn is_outage(&self) -> bool {
        self.lost == self.probes
    }
}

/// Whose clock it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockOwner {
    /// This host's.
    Local,
    /// The other end's.
    Peer,
}

impl ClockOwner {
    /// Returns the word that is published.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Peer => "peer",
        }
    }
}

impl Event {
    /// The names of all kinds.
    pub const NAMES: [&str; 7] = [
        "clock_step",
        "burst",
        "outage",
        "outage_begin",
        "hops_change",
        "route_change",
        "wire",
    ];

    /// Returns the name of its kind, as it is published.
    pub const fn name(&self) -> &'static str {
        match self.kind {
            EventKind::ClockStep { .. } => "clock_step",
            EventKind::Burst(burst) if burst.is_outage() => "outage",
            EventKind::Burst(_) => "burst",
            EventKind::OutageBegan { .. } => "outage_begin",
            EventKind::HopsChange { .. } => "hops_change",
            EventKind::RouteChange { .. } => "route_change",
            EventKind::Wire { .. } => "wire",
        }
    }

    /// Returns the metrics that it counts in where a store takes no events: of all of them, and of bursts.
    pub(crate) fn metrics(&self) -> impl Iterator<Item = &'static Metric> {
        let flow = match self.kind {
            EventKind::Burst(burst) if !burst.is_outage() => Some(burst.flow),
            _ => None,
        };
        let bursts = BURSTS.into_iter().flatten();
        [EVENTS]
            .into_iter()
            .chain(bursts.filter(move |metric| flow.is_some() && metric.flow == flow))
    }

    /// Returns its size in nanoseconds: that of a step, a burst's peak, an outage's duration, or the difference
    /// that a route makes. That of hops is a number.
    pub fn value(&self) -> i64 {
        match self.kind {
            EventKind::ClockStep { step_ns, .. } => step_ns,
            EventKind::Burst(burst) => {
                let ns = if burst.is_outage() {
                    burst.duration_ns
                } else {
                    burst.peak_ns
                };
                i64::try_from(ns).unwrap_or(i64::MAX)
            }
            EventKind::OutageBegan { .. } | EventKind::Wire { .. } => 0,
            EventKind::HopsChange { old, new, .. } => i64::from(new) - i64::from(old),
            EventKind::RouteChange { old_ns, new_ns, .. } => new_ns.saturating_sub(old_ns),
        }
    }
}
