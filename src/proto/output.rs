//! What the core has to say.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::proto::life::Life;
use crate::proto::marks::Dscp;
use crate::proto::path::Path;
use crate::proto::sample::{
    ClockEstimate, Counters, Direction, FlowKind, FlowNumber, Labels, OneWay, Origin, Sample,
    StampSource, Trace,
};
use crate::proto::time::{Now, Wall};
use crate::proto::transmit::TargetId;

/// Slots of a flow in a row of which nothing came back: their probes were lost, or could not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// The flow's.
    pub origin: Origin,
    /// Which of the flows.
    pub kind: FlowKind,
    /// When the first probe left, or was to leave, by our wall clock as it goes now.
    pub start: Wall,
    /// Nanoseconds from then to the last one, by the clock that never steps. `None`: it has just begun.
    pub duration_ns: Option<u64>,
    /// Nanoseconds between two slots.
    pub interval_ns: u64,
    /// Slots so far.
    pub slots: u32,
    /// The first and the last probe lost; `None` if none has left.
    pub lost: Option<[u64; 2]>,
    /// The way on which all were lost of which that is known.
    pub direction: Option<Direction>,
    /// The weakest source of the times at which they left.
    pub stamp: StampSource,
}

/// The code point that the packets of a flow arrive with, in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The flow's.
    pub origin: Origin,
    /// Which of the flows.
    pub kind: FlowKind,
    /// The direction of the packets.
    pub direction: Direction,
    /// When the reply arrived that shows it.
    pub at: Wall,
    /// What they leave with.
    pub sent: Dscp,
    /// What they arrive with: what three in a row have shown last.
    pub arrived: Dscp,
    /// It was another one until now; before the first packet it is the one that they leave with.
    pub has_changed: bool,
}

/// An origin is called otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relabelled {
    /// Its number, as before.
    pub origin: Origin,
    /// Its tags from here on.
    pub labels: Arc<Labels>,
    /// The flow and its totals so far, which belong to the labels before, if it is a flow of ours.
    pub last: Option<(FlowKind, Counters)>,
}

/// Something of this host's own held up the loop, or packets, for longer than usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// How that shows.
    pub by: HeldBy,
    /// When it ended.
    pub until: Wall,
    /// How long it took, in nanoseconds.
    pub ns: u64,
}

/// How it shows that this host was late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldBy {
    /// The process was kept from running. No time counts twice.
    Host,
    /// A received packet waited for the process.
    Arrival,
    /// A packet left late after its send call.
    Departure,
    /// The kernel stood still while the process was to run: no packet was stamped.
    Hypervisor,
}

/// What the host at the other end says of itself: something has changed between two of its replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerHeld {
    /// The flow's.
    pub origin: Origin,
    /// When the earlier reply arrived.
    pub from: Wall,
    /// When the later one did.
    pub until: Wall,
    /// How long its process was kept from running, in nanoseconds.
    pub kept_ns: u64,
    /// How long its processors were taken away; `None` if it does not know.
    pub steal_ns: Option<u64>,
}

/// A flow that is one of several of its kind, or what is published beside one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The flow's.
    pub origin: Origin,
    /// The target that has the flows.
    pub target: TargetId,
    /// On UDP or TCP; `None`: the peer's packets on such a flow, of both kinds.
    pub kind: Option<FlowKind>,
    /// Which of them.
    pub number: FlowNumber,
    /// Labels that it publishes under as well, with all others of the target.
    pub total: Option<Arc<Labels>>,
}

/// One of several flows has a 5-tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// The flow's.
    pub origin: Origin,
    /// Our end.
    pub local: SocketAddr,
    /// Where it leads.
    pub remote: SocketAddr,
}

/// A flow has taken a fresh 5-tuple after losses, and it is known whether that helped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reopened {
    /// The flow's.
    pub origin: Origin,
    /// On UDP or TCP.
    pub kind: FlowKind,
    /// When it did, by our wall clock as it goes now.
    pub at: Wall,
    /// Our port before and after, as far as the engine has told them.
    pub ports: [Option<u16>; 2],
    /// Probes lost in a row before.
    pub lost: u32,
    /// A probe was answered over the fresh one, before as many were lost there.
    pub helped: bool,
}

/// What the core has to say, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Samples of this origin follow, under these labels.
    Opened {
        /// Its number until `Closed`.
        origin: Origin,
        /// Its tags.
        labels: Arc<Labels>,
    },
    /// This origin is one of several flows, or its total has other labels from here on.
    Member(Box<Member>),
    /// One of several flows has another 5-tuple.
    Tuple(Box<Tuple>),
    /// A flow took a fresh 5-tuple a while ago.
    Reopened(Box<Reopened>),
    /// Samples of this origin that follow have other labels. Everything else about it goes on.
    Relabelled(Box<Relabelled>),
    /// One probe's result.
    Sample(Sample),
    /// One packet's one-way delay, toward its variation.
    OneWay(OneWay),
    /// One probe has ended.
    Trace(Trace),
    /// It has become known on which way a probe was lost, whose [`Output::Trace`] did not say.
    LossPlaced {
        /// The flow's.
        origin: Origin,
        /// On UDP or TCP.
        kind: FlowKind,
        /// The probe's number on its flow.
        seq: u64,
        /// The way on which it was lost.
        direction: Direction,
    },
    /// A flow is cut off, or is so no longer.
    Outage(Outage),
    /// How long after its due time a probe was handed to the kernel, in nanoseconds.
    Lateness(u64),
    /// How long after the send call was begun the packet left, by the kernel's stamp, in nanoseconds.
    SendGap(u64),
    /// How long after the kernel's stamp a received packet reached this process, in nanoseconds.
    ReceiveGap(u64),
    /// This host was late by more than is usual.
    Held(Held),
    /// The host at the other end was. The first one says no more than that it tells.
    PeerHeld(PeerHeld),
    /// The host at the other end of this origin says nothing of itself any more, or is another one.
    PeerMute(Origin),
    /// A better estimate of the peer's clock; about once a second while samples come in.
    Clock {
        /// The flow's.
        origin: Origin,
        /// What is known now.
        estimate: ClockEstimate,
    },
    /// How many routers a probe has passed on its way there.
    Hops {
        /// The flow's.
        origin: Origin,
        /// Which of the flows.
        kind: FlowKind,
        /// When the reply arrived.
        at: Wall,
        /// Their number.
        hops: u8,
        /// The number until now, if it has changed.
        before: Option<u8>,
    },
    /// The hops of a flow's path were learnt.
    Path(Box<Path>),
    /// Which code point a packet has arrived with.
    Dscp(Seen),
    /// A wall clock was set.
    ClockStep {
        /// The flow whose peer's clock it is; `None`: this host's own.
        origin: Option<Origin>,
        /// When that was noticed, with this host's wall clock as it is now.
        at: Now,
        /// By how much, in nanoseconds; positive: forward.
        step_ns: i64,
    },
    /// A flow that spoke native goes back to text, or is native again.
    Wire {
        /// The flow's.
        origin: Origin,
        /// On UDP or TCP.
        kind: FlowKind,
        /// When, by our wall clock.
        at: Wall,
        /// The next probe speaks native.
        is_native: bool,
    },
    /// Something happened to a flow, or to a target.
    Life(Box<Life>),
    /// No more samples of this origin; its number may be used again after this. Flows of our own
    /// leave their last counters.
    Closed {
        /// The number that ends here.
        origin: Origin,
        /// The flow and its totals, if the origin was a flow of ours and not a remote sender.
        last: Option<Box<(FlowKind, Counters)>>,
    },
}

// A probe has ten of these, and each is moved several times. The compiler moves up to 128 bytes in place, and
// calls `memcpy` for more. What is rare and large is boxed.
const _: () = assert!(size_of::<Output>() <= 96);
