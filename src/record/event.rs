//! The [`Event`]: what happens once, and is published at once.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::proto::{Direction, Dscp, FlowKind, Path, StampSource, Wall};
use crate::record::evidence::{Evidence, Suspect};
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
    /// Which of several flows to one target it is about.
    pub flow: Option<EventFlow>,
}

/// One of several flows to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventFlow {
    /// From 1.
    pub number: u16,
    /// Our end and the peer's, once there is a socket.
    pub tuple: Option<[SocketAddr; 2]>,
}

/// The kinds of events.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// A flow has taken a fresh source port after losses.
    Reopened {
        /// The kind of flow.
        flow: FlowKind,
        /// The source port before, if it is known.
        old_port: Option<u16>,
        /// The fresh one.
        new_port: Option<u16>,
        /// Probes that were lost in a row.
        lost: u32,
        /// Replies came over the fresh one: the path before was bad, or the peer was away.
        helped: bool,
    },
    /// The hops of a UDP flow's path were learnt.
    Path(Arc<Path>),
    /// They are others than before.
    PathChange(Arc<Path>),
    /// The packets of a flow arrive with another code point than until now, in one direction. If it is the one that
    /// they leave with, that is over.
    Remarked {
        /// The kind of flow that it was seen on.
        flow: FlowKind,
        /// The direction of the packets.
        direction: Direction,
        /// What they leave with.
        sent: Dscp,
        /// What they arrive with.
        arrived: Dscp,
    },
    /// One of several flows loses more, or takes longer, than the others, for longer than chance explains; or it did
    /// so, and does no longer. It began at the event's time.
    PathDivergence(Departure),
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
    /// Who has most likely caused it; `None` if nothing tells.
    pub suspect: Option<Suspect>,
    /// What speaks against the hosts.
    pub evidence: Evidence,
}

impl Burst {
    /// True if no probe came through.
    pub const fn is_outage(&self) -> bool {
        self.lost == self.probes
    }
}

/// One of several flows departs from the others; see `docs/paths.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    /// The kind of flow.
    pub flow: FlowKind,
    /// The direction of the packets; `None` for losses whose direction is not known.
    pub direction: Option<Direction>,
    /// In what it departs.
    pub what: Divergence,
    /// The flow's loss in millionths, or its median delay in nanoseconds over the fastest flow's.
    pub value: i64,
    /// The same of the others.
    pub others: i64,
    /// How many probes the flow has lost in it, if it departs in losses.
    pub lost: Option<u64>,
    /// Nanoseconds from its start until it was noticed.
    pub noticed_ns: u64,
    /// Nanoseconds until it was over; `None`: it has just begun.
    pub duration_ns: Option<u64>,
    /// Who has most likely caused it, as far as was known when it was noticed; `None` if nothing tells.
    pub suspect: Option<Suspect>,
    /// What spoke against the hosts from its start until it was noticed.
    pub evidence: Evidence,
}

/// In what one of several flows departs from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Divergence {
    /// Lost probes.
    Loss,
    /// One-way delay.
    Delay,
}

impl Divergence {
    /// Returns the word that is published.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Delay => "delay",
        }
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
    pub const NAMES: [&str; 12] = [
        "clock_step",
        "burst",
        "outage",
        "outage_begin",
        "hops_change",
        "remarked",
        "route_change",
        "wire",
        "reopened",
        "path",
        "path_change",
        "path_divergence",
    ];

    /// Returns the name of its kind, as it is published.
    pub const fn name(&self) -> &'static str {
        match self.kind {
            EventKind::ClockStep { .. } => "clock_step",
            EventKind::Burst(burst) if burst.is_outage() => "outage",
            EventKind::Burst(_) => "burst",
            EventKind::OutageBegan { .. } => "outage_begin",
            EventKind::HopsChange { .. } => "hops_change",
            EventKind::Remarked { .. } => "remarked",
            EventKind::RouteChange { .. } => "route_change",
            EventKind::Wire { .. } => "wire",
            EventKind::Reopened { .. } => "reopened",
            EventKind::Path(_) => "path",
            EventKind::PathChange(_) => "path_change",
            EventKind::PathDivergence(_) => "path_divergence",
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
    /// that a route makes. That of hops is a number, so is that of a path: of its hops, and that of code points the one
    /// that arrives.
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
            EventKind::OutageBegan { .. } | EventKind::Wire { .. } | EventKind::Reopened { .. } => {
                0
            }
            EventKind::PathDivergence(departure) => match departure.what {
                Divergence::Loss => 0,
                Divergence::Delay => departure.value.saturating_sub(departure.others),
            },
            EventKind::HopsChange { old, new, .. } => i64::from(new) - i64::from(old),
            EventKind::Path(ref path) | EventKind::PathChange(ref path) => {
                i64::try_from(path.hops.len()).unwrap_or(i64::MAX)
            }
            EventKind::Remarked { arrived, .. } => arrived.number().into(),
            EventKind::RouteChange { old_ns, new_ns, .. } => new_ns.saturating_sub(old_ns),
        }
    }
}
