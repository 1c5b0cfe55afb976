//! The probes since something began anew: how long none has been answered.

use crate::proto::time::Mono;

/// The probes of a flow from one number on. Earlier ones may still be in flight, on the way that the
/// flow has left, and say nothing of this one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Run {
    /// The number of its first probe.
    pub(super) first: u64,
    /// Losses in a row: of probes after the last one that was answered. Those of earlier ones may become known
    /// only later, all at once where the host was stalled, and are in no row.
    pub(super) lost: u32,
    /// One more than the highest number answered.
    after_answered: u64,
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
            self.after_answered = self.after_answered.max(number + 1);
        }
    }

    pub(super) fn note_loss(&mut self, number: u64) {
        if number >= self.first.max(self.after_answered) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_of_probes_before_an_answered_one_are_in_no_row() {
        let mut run = Run::new(10);
        run.note_reply(20);
        for number in [5, 11, 13, 15, 19] {
            run.note_loss(number);
        }
        assert_eq!(run.lost, 0);
        for number in [21, 22, 23] {
            run.note_loss(number);
        }
        assert_eq!(run.lost, 3);
        // It shows that the way works, late as it is.
        run.note_reply(12);
        assert_eq!(run.lost, 0);
        run.note_loss(24);
        assert_eq!(run.lost, 1);
    }
}
