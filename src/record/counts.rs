//! How often things happened on a kind of flow, under the names that are published.

use crate::proto::{Counters, FlowKind};

/// Counts kept for one kind of flow.
pub(super) const COUNTS: usize = 13;

/// Kinds of flows.
pub(super) const KINDS: usize = 3;

/// The kinds in the order of their discriminants.
pub(super) const ALL_KINDS: [FlowKind; KINDS] = [FlowKind::Udp, FlowKind::Tcp, FlowKind::Connect];

/// The counters of a flow in the order of [`count_names`].
pub(super) type Counted = [u64; COUNTS];

const LOST: usize = 2;
const LOST_FORWARD: usize = 8;
const LOST_REVERSE: usize = 9;
/// Has no name: it says whether the direction of losses can be known.
const SENT_NATIVE: usize = 11;

/// A flow's counters as they are kept.
pub(super) fn counted(counters: &Counters) -> Counted {
    [
        counters.sent,
        counters.received,
        counters.lost,
        counters.late,
        counters.duplicate,
        counters.reordered,
        counters.corrupt,
        counters.unsent,
        counters.lost_forward,
        counters.lost_reverse,
        counters.retransmits,
        counters.sent_native,
        counters.unreachable,
    ]
}

/// What happened between two readings.
pub(super) fn difference<const N: usize>(later: &[u64; N], earlier: &[u64; N]) -> [u64; N] {
    std::array::from_fn(|at| later[at].saturating_sub(earlier[at]))
}

/// The metrics that a kind of flow publishes, in the order of [`Counted`]. The directions of losses
/// are among them once something was sent on the native wire: on the text wire nobody knows them.
pub(super) fn count_names(
    kind: FlowKind,
    totals: &Counted,
) -> impl Iterator<Item = (usize, &'static str)> {
    let knows_directions = totals[SENT_NATIVE] > 0;
    names(kind)
        .iter()
        .enumerate()
        .filter(move |(at, _)| knows_directions || ![LOST_FORWARD, LOST_REVERSE].contains(at))
        .filter_map(|(at, name)| Some((at, (*name)?)))
}

/// The gauge of a kind's losses of which it is not known in which direction they happened, and how
/// many there are: of all since the series began, so that what is learned of a loss in a later
/// interval is taken off again.
pub(super) fn unattributed(kind: FlowKind, totals: &Counted) -> Option<(&'static str, u64)> {
    let name = match kind {
        FlowKind::Udp => "udp.wan.lost.unattributed",
        FlowKind::Tcp => "tcp.wan.lost.unattributed",
        FlowKind::Connect => return None,
    };
    let attributed = totals[LOST_FORWARD].saturating_add(totals[LOST_REVERSE]);
    Some((name, totals[LOST].saturating_sub(attributed)))
}

const fn names(kind: FlowKind) -> &'static [Option<&'static str>; COUNTS] {
    match kind {
        FlowKind::Udp => &[
            Some("udp.wan.sent"),
            Some("udp.wan.received"),
            Some("udp.wan.lost"),
            Some("udp.wan.late"),
            Some("udp.wan.duplicate"),
            Some("udp.wan.reordered"),
            Some("udp.wan.corrupt"),
            Some("udp.wan.unsent"),
            Some("udp.wan.lost.forward"),
            Some("udp.wan.lost.reverse"),
            None,
            None,
            Some("udp.wan.unreachable"),
        ],
        FlowKind::Tcp => &[
            Some("tcp.wan.sent"),
            Some("tcp.wan.received"),
            Some("tcp.wan.lost"),
            Some("tcp.wan.late"),
            Some("tcp.wan.duplicate"),
            Some("tcp.wan.reordered"),
            Some("tcp.wan.corrupt"),
            Some("tcp.wan.unsent"),
            Some("tcp.wan.lost.forward"),
            Some("tcp.wan.lost.reverse"),
            Some("tcp.wan.retransmits"),
            None,
            None,
        ],
        FlowKind::Connect => &[
            Some("tcp.wan.latency.sent"),
            None,
            Some("tcp.wan.latency.failed"),
            None,
            None,
            None,
            None,
            Some("tcp.wan.latency.unsent"),
            None,
            None,
            None,
            None,
            None,
        ],
    }
}
