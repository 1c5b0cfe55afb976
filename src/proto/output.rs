//! What the core has to say.

use std::sync::Arc;

use crate::proto::life::Life;
use crate::proto::sample::{
    ClockEstimate, Counters, Direction, FlowKind, Labels, OneWay, Origin, Sample, StampSource,
    Trace,
};
use crate::proto::time::{Now, Wall};

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
