//! What timers and sockets belong to.

use crate::proto::transmit::FlowRef;

/// What a timer is for. Whoever ends takes its timers off the wheel, so none is ever stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// The next slot of a flow.
    Due(FlowRef),
    /// The oldest probe in flight has had its time.
    Expire(FlowRef),
    /// Opens the flow's socket anew, or gives up the attempt under way.
    Reopen(FlowRef),
    /// Resolves the name of the target at this place again.
    Resolve(u32),
    /// Resolves the name of the pool at this place again.
    ResolvePool(u32),
    /// Has traces of paths go on.
    Trace,
    /// Checks whether a UDP sender is still there.
    Session(u32),
    /// Checks whether an accepted connection is still good for anything.
    Accepted(u32),
}

/// Who a socket belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A flow of ours.
    Flow(FlowRef),
    /// The accepted connection at this place.
    Accepted(u32),
}
