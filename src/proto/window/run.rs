//! The probes since something began anew: how long none has been answered.

use crate::proto::time::Mono;

/// The probes of a flow from one number on. Earlier ones may still be in flight, on the way that the
/// flow has left, and say nothing of this one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Run {
    /// The number of its first probe.
    pub(super) first: u64,
    /// Losses since the last reply.
    pub(super) lost: u32,
    /// When the last reply that named one of its probes came.
    heard: Option<Mono>,
}

impl Run {
    /// Begins with probe `first`.
    pub(super) fn new(first: u64) -> Self {
        Self {
            first,
            ..Self::default()
        }
    }

    /// A reply has named this probe.
    pub(super) fn note_heard(&mut self, number: u64, now: Mono) {
        if number >= self.first {
            self.heard = Some(now);
        }
    }

    /// The way works: this probe was answered, be it late.
    pub(super) fn note_reply(&mut self, number: u64) {
        if number >= self.first {
            self.lost = 0;
        }
    }

    pub(super) fn note_loss(&mut self, number: u64) {
        if number >= self.first {
            self.lost = self.lost.saturating_add(1);
        }
    }

    pub(super) fn is_heard(&self) -> bool {
        self.heard.is_some()
    }

    pub(super) fn is_heard_since(&self, instant: Mono) -> bool {
        self.heard.is_some_and(|heard| heard >= instant)
    }
}
