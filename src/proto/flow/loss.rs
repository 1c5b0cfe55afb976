//! Which way a probe was lost: what the reflector's replies say about the requests before them.
//!
//! A reply on the native wire counts the different requests that its session has received, and names
//! those among the last 64. So of a probe that is lost it is known whether it had reached the
//! reflector; of a long gap without replies, how many had.

use super::{Flow, State};
use crate::proto::context::Context;
use crate::proto::sample::{Direction, FlowKind, Output};

/// Requests before its own that a reply names.
const NAMED: u64 = 64;

/// Whether a probe has reached the reflector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// No reply has said anything about it.
    Unknown,
    /// A later one reached it, and this one had not.
    Missing,
    Reached,
}

/// What the last reply said, of those in order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence {
    /// The reflector's session.
    session: u32,
    /// The session can say of no probe before this that it is missing.
    first: u64,
    /// The probe that the reply answered.
    highest: u64,
    /// Requests that had been received by then.
    received: u32,
    /// Bit i: the probe i + 1 before `highest` is known to have reached the reflector, which nothing changes
    /// any more.
    reached: u64,
}

impl Evidence {
    /// The same of the probes before `number`. To look at each of them again with every reply would
    /// drag a page of memory through the cache for every probe.
    fn reached_before(&self, number: u64) -> u64 {
        if let Some(ahead) = number.checked_sub(self.highest + 1) {
            let highest = shifted_left(1, ahead);
            return shifted_left(shifted_left(self.reached, 1), ahead) | highest;
        }
        let behind = u32::try_from(self.highest - number).unwrap_or(u32::MAX);
        self.reached.checked_shr(behind).unwrap_or(0)
    }

    /// A reply to `number` has named those that had reached it.
    fn learn(&mut self, number: u64, named: u64) {
        if let Some(behind) = self.highest.checked_sub(number) {
            let answered = if behind == 0 {
                0
            } else {
                shifted_left(1, behind - 1)
            };
            self.reached |= shifted_left(named, behind) | answered;
        } else {
            self.reached = self.reached_before(number) | named;
            self.highest = number;
        }
    }
}

fn shifted_left(bits: u64, places: u64) -> u64 {
    let places = u32::try_from(places).unwrap_or(u32::MAX);
    bits.checked_shl(places).unwrap_or(0)
}

/// What a reply says about what came in before its request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Testimony {
    /// The reflector's session.
    pub(crate) session: u32,
    /// Different requests received in it, this one included.
    pub(crate) received: u32,
    /// Bit i: the request i + 1 before this one is among them.
    pub(crate) seen: u64,
}

impl Flow {
    /// A native reply to probe `number` was heard. `first` is the first probe that was sent under
    /// the session's identifier.
    pub(crate) fn handle_testimony(
        &mut self,
        number: u64,
        first: u64,
        said: Testimony,
        context: &mut Context,
    ) {
        if !self.remembers(number) {
            return;
        }
        let index = self.index(number);
        let probe = &mut self.probes[index];
        if std::mem::replace(&mut probe.reach, Reach::Reached) == Reach::Unknown
            && probe.state == State::Late
        {
            // It was given up, and had reached the reflector.
            self.place_loss(number, context);
        }
        let (before, is_same) = match self.evidence {
            Some(before) if before.session == said.session => (before, true),
            // The reflector was restarted: this session knows nothing of what the other one received.
            Some(_) => (self.begin(number, said), false),
            None => (self.begin(first, said), false),
        };
        let mut later = 0;
        let mut newly = 0;
        let mut open = !before.reached_before(number);
        while open != 0 {
            let back = u64::from(open.trailing_zeros());
            open &= open - 1;
            let Some(named) = number.checked_sub(back + 1) else {
                break;
            };
            let has_reached = said.seen >> back & 1 == 1;
            if !self.remembers(named) || (named < before.first && !has_reached) {
                continue;
            }
            let is_new = self.judge(named, has_reached, context);
            later += u64::from(has_reached && named > before.highest);
            newly += u64::from(has_reached && is_new && named <= before.highest);
        }
        let is_ahead = number > before.highest;
        if is_same && is_ahead {
            let since = u64::from(said.received.wrapping_sub(before.received));
            let unnamed = since.saturating_sub(1 + later + newly);
            let numbers = before.highest + 1..number.saturating_sub(NAMED);
            self.judge_unnamed(numbers, unnamed, context);
        }
        let mut evidence = before;
        if !is_same {
            evidence.highest = number;
        }
        evidence.learn(number, said.seen);
        if said.received.wrapping_sub(before.received).cast_signed() > 0 {
            evidence.received = said.received;
        }
        self.evidence = Some(evidence);
    }

    /// A reflector's next session, under another identifier, starts from nothing.
    pub(crate) fn forget_testimony(&mut self) {
        self.evidence = None;
    }

    fn begin(&self, first: u64, said: Testimony) -> Evidence {
        Evidence {
            session: said.session,
            first,
            highest: self.next,
            received: said.received,
            reached: 0,
        }
    }

    /// Probes that no reply has named, `reached` of which came in. Which ones cannot be known, and
    /// does not matter.
    fn judge_unnamed(
        &mut self,
        numbers: std::ops::Range<u64>,
        mut reached: u64,
        context: &mut Context,
    ) {
        let oldest = self.next.saturating_sub(self.probes.len() as u64);
        let numbers = numbers.start.max(oldest)..numbers.end;
        let answered = numbers
            .clone()
            .filter(|number| self.probes[self.index(*number)].reach == Reach::Reached)
            .count() as u64;
        reached = reached.saturating_sub(answered);
        for number in numbers {
            let probe = &self.probes[self.index(number)];
            if probe.is_native && probe.state != State::Unsent && probe.reach == Reach::Unknown {
                self.judge(number, reached > 0, context);
                reached = reached.saturating_sub(1);
            }
        }
    }

    /// What has become known of a probe. True if it was not known before that it has reached.
    fn judge(&mut self, number: u64, has_reached: bool, context: &mut Context) -> bool {
        let index = self.index(number);
        let probe = &mut self.probes[index];
        let before = probe.reach;
        if !probe.is_native {
            // The session is not asked about text.
            return false;
        }
        match (before, has_reached) {
            (Reach::Reached, _) | (Reach::Missing, false) => return false,
            (_, true) => probe.reach = Reach::Reached,
            (Reach::Unknown, false) => probe.reach = Reach::Missing,
        }
        // What came in only after it was given up was lost on its way there, and is counted already.
        if probe.state == State::Lost && before == Reach::Unknown {
            self.place_loss(number, context);
        }
        has_reached
    }

    /// It has become known where a loss happened, after it was told that it had.
    fn place_loss(&mut self, number: u64, context: &mut Context) {
        let direction = self.count_direction(self.index(number));
        let Some(direction) = direction.filter(|_| self.this.kind != FlowKind::Connect) else {
            return;
        };
        context.outputs.push_back(Output::LossPlaced {
            origin: self.origin,
            kind: self.this.kind,
            seq: number,
            direction,
        });
    }

    /// Counts a loss where it is known to have happened, and tells where that is.
    pub(super) fn count_direction(&mut self, index: usize) -> Option<Direction> {
        match self.probes[index].reach {
            Reach::Unknown => None,
            Reach::Missing => {
                self.counters.lost_forward += 1;
                Some(Direction::Forward)
            }
            Reach::Reached => {
                self.counters.lost_reverse += 1;
                Some(Direction::Reverse)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The bits say the same as a set of numbers would, whatever order replies come in.
        #[test]
        fn what_has_reached_is_remembered(
            replies in prop::collection::vec((-80_i64..90, any::<u64>()), 1..40),
            asked in -70_i64..140,
        ) {
            let mut evidence = Evidence { session: 1, first: 0, highest: 1_000, received: 1, reached: 0 };
            let mut reached = BTreeSet::from([1_000]);
            for (apart, named) in replies {
                let number = evidence.highest.saturating_add_signed(apart);
                evidence.learn(number, named);
                reached.insert(number);
                reached.extend((0..NAMED).filter(|bit| named >> bit & 1 == 1).map(|bit| number - 1 - bit));
                prop_assert!(evidence.highest >= number);
            }
            let number = evidence.highest.saturating_add_signed(asked);
            let bits = evidence.reached_before(number);
            for bit in 0..NAMED {
                let named = number - 1 - bit;
                // Of those before the last 64 nothing is kept, and they are looked at again.
                let is_kept = named + NAMED >= evidence.highest;
                let expected = is_kept && named <= evidence.highest && reached.contains(&named);
                prop_assert_eq!(bits >> bit & 1 == 1, expected, "{} of {:?}", named, evidence);
            }
        }
    }
}
