//! The sets of labels that have series, and how many have room: each with all of its series, or with none.

use std::collections::BTreeSet;

use crate::limits::{PUSHGATEWAY_SENDERS_MAX, TARGETS_MAX};
use crate::publish::prometheus::labels::Label;

/// Labels that tell series of one set apart.
const MARKS: [&str; 3] = ["direction", "owd", "event"];

/// What the series of one target, or of one sender, have in common.
pub(super) type Set = Vec<Label>;

/// Returns the set that labels belong to.
pub(super) fn set_of(labels: &[Label]) -> Set {
    let of_set = |(name, _): &&Label| !MARKS.contains(&name.as_str());
    labels.iter().filter(of_set).cloned().collect()
}

/// See the [module](self).
#[derive(Debug)]
pub(in crate::publish) struct Sets {
    /// This host as a target of others.
    own_name: Box<str>,
    own: BTreeSet<Set>,
    received: BTreeSet<Set>,
    own_max: usize,
    senders_max: usize,
}

impl Sets {
    /// No sets yet, of the host of this name.
    pub(in crate::publish) fn new(own_name: &str) -> Self {
        Self {
            own_name: own_name.into(),
            own: BTreeSet::new(),
            received: BTreeSet::new(),
            // Every target, as many that were removed lately, and the host itself with its backends.
            own_max: 2 * TARGETS_MAX,
            senders_max: PUSHGATEWAY_SENDERS_MAX,
        }
    }

    #[cfg(test)]
    pub(super) fn limited(own_name: &str, own_max: usize, senders_max: usize) -> Self {
        Self {
            own_max,
            senders_max,
            ..Self::new(own_name)
        }
    }

    /// Returns true if the set of these labels is there, or has room. Each target brings the set of its replies'
    /// sender, so senders that are no targets never take that room.
    pub(super) fn admit(&mut self, labels: &[Label]) -> bool {
        let set = set_of(labels);
        let is_received = set
            .iter()
            .any(|(name, value)| name == "target" && **value == *self.own_name);
        let received_max = self.senders_max + self.own.len();
        let (sets, max) = if is_received {
            (&mut self.received, received_max)
        } else {
            (&mut self.own, self.own_max)
        };
        sets.contains(&set) || (sets.len() < max && sets.insert(set))
    }

    /// Forgets all sets but these.
    pub(super) fn retain(&mut self, live: &BTreeSet<Set>) {
        self.own.retain(|set| live.contains(set));
        self.received.retain(|set| live.contains(set));
    }
}
