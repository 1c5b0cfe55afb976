//! What timers, sockets and transmit stamps belong to.

use crate::proto::sample::FlowKind;
use crate::proto::transmit::{StampKey, TargetId, Wanted};

/// One flow of one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlowRef {
    /// Place in the table of targets.
    pub(crate) slot: u32,
    /// Tells the target from a later one at the same place.
    pub(crate) target: TargetId,
    pub(crate) kind: FlowKind,
}

impl FlowRef {
    /// What the transmit stamp of a probe is wanted for.
    pub(crate) fn stamp_key(self, number: u64) -> StampKey {
        StampKey(Wanted::Probe {
            slot: self.slot,
            target: self.target,
            kind: self.kind,
            number,
        })
    }
}

/// What a timer is for. Whoever ends takes its timers off the wheel, so none is ever stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// The next slot of a flow.
    Due(FlowRef),
    /// The oldest probe in flight has had its time.
    Expire(FlowRef),
    /// Open the flow's socket anew, or give up the attempt under way.
    Reopen(FlowRef),
    /// Resolve the target's name again.
    Resolve(u32),
    /// Look whether a UDP sender is still there.
    Session(u32),
    /// Look whether an accepted connection is still good for anything.
    Accepted(u32),
}

/// Who a socket belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Udp(u32),
    Tcp(u32),
    /// The connect probe of this number.
    Connect(u32, u64),
    Accepted(u32),
}
