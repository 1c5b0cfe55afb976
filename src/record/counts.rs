//! How often things happened on the flows of one kind: totals, differences, and what is published of them.

use crate::proto::{Counters, FlowKind};
use crate::record::metrics::{FLOW_COUNTS, Metric, UNATTRIBUTED};

/// Counters that are kept for one kind of flow.
pub(super) const COUNTS: usize = FLOW_COUNTS.len();

/// The counters of a flow, in the order of [`FLOW_COUNTS`].
pub(super) type Counted = [u64; COUNTS];

// Places of those from which others follow.
const LOST: usize = 2;
const LOST_FORWARD: usize = 8;
const LOST_REVERSE: usize = 9;
const SENT_NATIVE: usize = 11;

/// Reads a flow's counters.
pub(super) fn counted(counters: &Counters) -> Counted {
    std::array::from_fn(|place| (FLOW_COUNTS[place].read)(counters))
}

/// Returns what happened between two readings.
pub(super) fn difference<const N: usize>(later: &[u64; N], earlier: &[u64; N]) -> [u64; N] {
    std::array::from_fn(|at| later[at].saturating_sub(earlier[at]))
}

/// Returns what a kind of flow publishes of an interval. The directions of losses are among it once something was
/// sent on the native wire: on the text wire nobody knows them.
pub(super) fn published(
    kind: FlowKind,
    totals: &Counted,
    due: Counted,
) -> impl Iterator<Item = (&'static Metric, u64)> {
    let knows_directions = totals[SENT_NATIVE] > 0;
    let counts = FLOW_COUNTS.iter().zip(due).enumerate();
    counts
        .filter(move |(place, _)| knows_directions || ![LOST_FORWARD, LOST_REVERSE].contains(place))
        .filter_map(move |(_, (row, value))| Some((row.metrics[kind as usize].as_ref()?, value)))
}

/// Returns the number of losses without a direction, of all since the series began: a loss that gets its direction
/// in a later interval is taken off again. Connects have no directions.
pub(super) fn unattributed(kind: FlowKind, totals: &Counted) -> Option<(&'static Metric, i64)> {
    let metric = UNATTRIBUTED.get(kind as usize)?;
    let attributed = totals[LOST_FORWARD].saturating_add(totals[LOST_REVERSE]);
    let losses = totals[LOST].saturating_sub(attributed);
    Some((metric, i64::try_from(losses).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_with_a_meaning_of_their_own_are_in_their_places() {
        let counted = counted(&Counters {
            lost: 1,
            lost_forward: 2,
            lost_reverse: 3,
            sent_native: 4,
            ..Counters::default()
        });
        let places = [LOST, LOST_FORWARD, LOST_REVERSE, SENT_NATIVE];
        assert_eq!(places.map(|place| counted[place]), [1, 2, 3, 4]);
    }
}
