//! What happens once, and is told at once.

use std::sync::Arc;

use crate::proto::Wall;
use crate::proto::sample::Tag;
use crate::record::item::Tags;

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
        }
    }

    /// The number that says how much of it: nanoseconds of a step.
    pub const fn value(&self) -> i64 {
        match self.kind {
            EventKind::ClockStep { step_ns, .. } => step_ns,
        }
    }

    /// The tags, `source` first.
    pub fn tags(&self) -> impl Iterator<Item = Tag<'_>> {
        self.tags.iter()
    }
}
