//! In which direction a probe was lost: of a probe that is lost, receive reports tell whether it had
//! reached the reflector; of a long gap without replies, how many had.

use super::report::{NAMED, Reach, ReceiveReport, Reported};
use super::{State, Window};
use crate::proto::context::Context;
use crate::proto::output::Output;
use crate::proto::sample::FlowKind;

/// Probes before a gap that are looked at, because requests may overtake each other.
const OVERTAKEN_MAX: usize = 64;

impl Window {
    /// A native reply to probe `number` was heard. `first` is the first probe that was sent under
    /// the session's identifier.
    pub(crate) fn handle_receive_report(
        &mut self,
        number: u64,
        first: u64,
        report: ReceiveReport,
        context: &mut Context,
    ) {
        if !self.note_reached(number, context) {
            return;
        }
        let (before, is_same) = match self.reported {
            Some(before) if before.session == report.session => (before, true),
            // The reflector was restarted: this session knows nothing of what the other one received.
            Some(_) => (self.first_report(number, report), false),
            None => (self.first_report(first, report), false),
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
            let has_reached = report.seen >> back & 1 == 1;
            if !self.remembers(named) || (named < before.first && !has_reached) {
                continue;
            }
            let is_new = self.judge(named, has_reached, context);
            later += u64::from(has_reached && named > before.highest);
            newly += u64::from(has_reached && is_new && named <= before.highest);
        }
        let is_ahead = number > before.highest;
        if is_same && is_ahead {
            let since = u64::from(report.received.wrapping_sub(before.received));
            let unnamed = since.saturating_sub(1 + later + newly);
            let numbers = before.highest + 1..number.saturating_sub(NAMED);
            self.judge_unnamed(numbers, unnamed, context);
        }
        let mut reported = before;
        if !is_same {
            reported.highest = number;
        }
        reported.learn(number, report.seen);
        if report.received.wrapping_sub(before.received).cast_signed() > 0 {
            reported.received = report.received;
        }
        self.reported = Some(reported);
    }

    /// Probe `number` was answered, so it had reached the reflector. False if it is forgotten.
    pub(crate) fn note_reached(&mut self, number: u64, context: &mut Context) -> bool {
        if !self.remembers(number) {
            return false;
        }
        let index = self.index(number);
        let probe = &mut self.probes[index];
        if std::mem::replace(&mut probe.reach, Reach::Reached) == Reach::Unknown
            && probe.state == State::Late
        {
            // It was given up, and had reached the reflector.
            self.place_loss(number, context);
        }
        true
    }

    /// A reflector has answered `reached` probes besides the one that this was learned from: of these numbers, and
    /// where they are fewer, of those before them that were thought not to have reached it. The others have not.
    pub(crate) fn judge_between(
        &mut self,
        numbers: std::ops::Range<u64>,
        reached: u64,
        context: &mut Context,
    ) {
        let mut over = reached.saturating_sub(numbers.end.saturating_sub(numbers.start));
        let earlier = self.oldest_in_flight()..numbers.start;
        for number in earlier.rev().take(usize::from(over > 0) * OVERTAKEN_MAX) {
            let is_missing = self
                .get(number)
                .is_some_and(|probe| probe.reach == Reach::Missing);
            if over > 0 && is_missing {
                over -= u64::from(self.judge(number, true, context));
            }
        }
        self.judge_unnamed(numbers, reached, context);
    }

    /// A reflector's next session, under another identifier, starts from nothing.
    pub(crate) fn forget_reports(&mut self) {
        self.reported = None;
    }

    fn first_report(&self, first: u64, report: ReceiveReport) -> Reported {
        Reported {
            session: report.session,
            first,
            highest: self.next,
            received: report.received,
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
        let Some(direction) = direction.filter(|_| self.kind != FlowKind::Connect) else {
            return;
        };
        context.outputs.push_back(Output::LossPlaced {
            origin: self.origin,
            kind: self.kind,
            seq: number,
            direction,
        });
    }
}
