//! What happens once, and is told at once.

use std::sync::Arc;

use crate::proto::sample::Tag;
use crate::proto::{Direction, FlowKind, StampSource, Wall};
use crate::record::series::Tags;

/// Something that happened. It goes to every backend as soon as it is known, whatever the mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Wall,
    /// What.
    pub kind: EventKind,
    /// Where: a flow's tags, or this host's.
    pub tags: Arc<Tags>,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// A wall clock was set.
    ClockStep {
        /// Whose.
        clock: ClockOwner,
        /// By how many nanoseconds; positive: forward.
        step_ns: i64,
    },
    /// A micro-burst, or with no probe received in it an outage.
    Burst(Burst),
    /// The least one-way delay of a flow has moved, and stayed where it is now.
    RouteChange {
        /// On which of the target's flows it was seen.
        flow: FlowKind,
        /// Which way the packets went.
        direction: Direction,
        /// The least delay before, in nanoseconds; signed, with the difference of the two clocks in it.
        old_ns: i64,
        /// The same now.
        new_ns: i64,
    },
}

/// A queue that built up on a flow's path and drained again, in one direction; see
/// `docs/design/bursts.md`. It began at the event's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
    /// On which of the target's flows it was seen.
    pub flow: FlowKind,
    /// Which way the packets went; `None` for losses of which that cannot be told.
    pub direction: Option<Direction>,
    /// Nanoseconds from its start to its end.
    pub duration_ns: u64,
    /// The longest queueing delay in nanoseconds, over `base_ns`.
    pub peak_ns: u64,
    /// The mean queueing delay of the probes received in it, in nanoseconds.
    pub mean_ns: u64,
    /// The running minimum of the one-way delay that both are over, in nanoseconds; signed, since it contains
    /// the difference of the two clocks.
    pub base_ns: i64,
    /// Probes sent in it.
    pub probes: u32,
    /// Those of them that were lost.
    pub lost: u32,
    /// The same number on all bursts that began within an interval of each other: the Unix time in nanoseconds of
    /// the first of them.
    pub incident: u64,
    /// The weakest of what made its delays: with `User`, a pause of a host can look like a queue.
    pub stamp: StampSource,
}

impl Burst {
    /// Whether no probe came through.
    pub const fn is_outage(&self) -> bool {
        self.lost == self.probes
    }
}

/// Whose clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockOwner {
    /// This host's.
    Local,
    /// The other end's.
    Peer,
}

impl ClockOwner {
    /// The word that is published.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Peer => "peer",
        }
    }
}

impl Event {
    /// What kind of event it is, as it is published.
    pub const fn name(&self) -> &'static str {
        match self.kind {
            EventKind::ClockStep { .. } => "clock_step",
            EventKind::Burst(burst) if burst.is_outage() => "outage",
            EventKind::Burst(_) => "burst",
            EventKind::RouteChange { .. } => "route_change",
        }
    }

    /// The number that says how much of it: nanoseconds of a step, of a burst's peak, of an outage's duration, of
    /// what a route is longer.
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
            EventKind::RouteChange { old_ns, new_ns, .. } => new_ns.saturating_sub(old_ns),
        }
    }

    /// The tags, `source` first.
    pub fn tags(&self) -> impl Iterator<Item = Tag<'_>> {
        self.tags.iter()
    }
}
