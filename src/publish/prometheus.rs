//! What Prometheus is told: totals since the process began, in its formats. The `pushgateway` backend pushes them, the
//! [exposition](Exposition) has them ready for who asks.

mod buckets;
mod exposition;
mod family;
mod histogram;
mod labels;
mod protobuf;
mod series;
mod sets;
#[cfg(test)]
mod tests;
mod text;

use crate::record::Record;

pub use exposition::{Exposition, Format};
pub(super) use family::Own;
pub(super) use histogram::Shape;
pub(crate) use labels::labels as prometheus_labels;
pub use series::Last;
pub(super) use series::{Added, State};
pub(super) use sets::Sets;
pub(super) use text::{CONTENT_TYPE, TextFormat, Writer};

/// Calls of [`Rounds::is_complete`] without a new record, after which an interval is complete: a tenth of a second.
/// With many series an interval comes in parts.
pub(super) const SETTLED_TURNS: u32 = 4;

/// Tells when all records of an interval have come.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// Turns until the last interval is taken as complete; 0: it was.
    turns_left: u32,
}

impl Rounds {
    /// Samples and events come at any time, all others at the end of an interval.
    pub(super) fn handle_record(&mut self, record: &Record) {
        if !matches!(record, Record::Sample { .. } | Record::Event(_)) {
            self.turns_left = SETTLED_TURNS;
        }
    }

    /// True once, when an interval is complete. It is asked whenever no record waits.
    pub(super) fn is_complete(&mut self) -> bool {
        let waited = self.turns_left > 0;
        self.turns_left = self.turns_left.saturating_sub(1);
        waited && self.turns_left == 0
    }
}
