//! Outages: slots in a row of which nothing came back, because their probes were lost or could not leave.
//!
//! A loss is known a timeout later than the replies to the probes behind it, and a slot that could not leave
//! at once. So slots are judged in their order, up to the oldest probe in flight.

use std::collections::VecDeque;

use super::report::Reach;
use super::{Probe, State, Window};
use crate::proto::context::Context;
use crate::proto::life::LifeEvent;
use crate::proto::output::{Outage, Output};
use crate::proto::sample::{Direction, StampSource};
use crate::proto::time::{Mono, Wall};
use crate::proto::transmit::CloseReason;

/// Slots in a row that are an outage.
const OUTAGE_SLOTS: u32 = 3;

/// Where a probe cannot even leave, fewer are one after this: slots may be far apart.
const CUT_OFF_NS: u64 = 1_000_000_000;

/// Slots in a row without a reply.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// When the first probe left, or was to leave.
    start: Mono,
    start_wall: Wall,
    /// How often our wall clock had been set by then.
    clock_epoch: u32,
    /// When the last one did.
    last: Mono,
    slots: u32,
    /// Of these, those whose probes could not leave.
    unsent: u32,
    /// The first and the last probe lost.
    lost: Option<[u64; 2]>,
    is_told: bool,
}

impl Span {
    fn join(&mut self, later: &Self) {
        self.last = later.last;
        self.slots = self.slots.saturating_add(later.slots);
        self.unsent = self.unsent.saturating_add(later.unsent);
        self.is_told |= later.is_told;
        self.lost = match (self.lost, later.lost) {
            (Some([first, _]), Some([_, last])) => Some([first, last]),
            (one, other) => one.or(other),
        };
    }

    /// True if these slots are an outage, whether more follow or not. At first, and after a move, a connection
    /// may just be under way; `is_known`: the system has said that it is not.
    fn is_outage(&self, is_known: bool) -> bool {
        let is_failure = is_known || self.unsent < self.slots;
        let is_cut_off = self.unsent > 0 && self.last.since(self.start) >= CUT_OFF_NS;
        self.slots >= OUTAGE_SLOTS && is_failure || is_cut_off
    }
}

/// Slots whose probes never were.
#[derive(Debug)]
struct Gap {
    /// The number of the next probe. Earlier ones may be in flight.
    before: u64,
    span: Span,
}

/// What is known of a flow's outage.
#[derive(Debug, Default)]
pub(super) struct Silence {
    gaps: VecDeque<Gap>,
    /// The slots judged since the last reply.
    run: Option<Span>,
    /// Why probes cannot leave, as the system last said.
    trouble: Option<CloseReason>,
    /// The number of the next probe when it said so.
    trouble_before: u64,
    is_trouble_told: bool,
}

impl Silence {
    /// True if the next reply may end something.
    fn is_dark(&self) -> bool {
        self.run.is_some() || !self.gaps.is_empty() || self.trouble.is_some()
    }

    fn join(&mut self, span: &Span) {
        match &mut self.run {
            Some(run) => run.join(span),
            None => self.run = Some(*span),
        }
    }
}

impl Window {
    /// A slot came due without an address, a connection or room to send.
    pub(crate) fn skip(&mut self, context: &mut Context) {
        self.hold();
        let (now, before) = (context.now, self.next);
        let slot = Span {
            start: now.mono,
            start_wall: now.wall,
            clock_epoch: context.clock_epoch,
            last: now.mono,
            slots: 1,
            unsent: 1,
            lost: None,
            is_told: false,
        };
        match self.silence.gaps.back_mut() {
            Some(gap) if gap.before == before => gap.span.join(&slot),
            _ => self.silence.gaps.push_back(Gap { before, span: slot }),
        }
        self.judge_slots(context);
    }

    /// Judges the slots before the oldest probe in flight.
    pub(super) fn judge_slots(&mut self, context: &mut Context) {
        if !self.silence.is_dark() {
            // An answered slot ends nothing, and most slots are such.
            while self.state_of(self.oldest) == Some(State::Received) {
                self.oldest += 1;
            }
            if matches!(self.state_of(self.oldest), None | Some(State::InFlight)) {
                return;
            }
        }
        self.judge_dark_slots(context);
    }

    #[cold]
    fn judge_dark_slots(&mut self, context: &mut Context) {
        self.judge_in_order(false, context);
        if self.silence.run.is_some() || !self.silence.gaps.is_empty() {
            self.tell_if_due(context);
        }
    }

    /// Joins slots to runs in their order, and ends runs. `is_over`: what is in flight will never be known, and is
    /// passed over.
    fn judge_in_order(&mut self, is_over: bool, context: &mut Context) {
        loop {
            while let Some(gap) = self.silence.gaps.front()
                && gap.before <= self.oldest
            {
                self.silence.join(&gap.span.clone());
                self.silence.gaps.pop_front();
            }
            let Some(&probe) = self.get(self.oldest) else {
                break;
            };
            match probe.state {
                State::InFlight if is_over => {}
                State::InFlight => break,
                State::Received => self.end_outage(context),
                State::Lost | State::Late => self.join(&probe, Some([self.oldest; 2])),
                State::Unsent => self.join(&probe, None),
            }
            self.oldest += 1;
        }
    }

    fn join(&mut self, probe: &Probe, lost: Option<[u64; 2]>) {
        self.silence.join(&Span {
            start: probe.sent,
            start_wall: probe.left.at,
            clock_epoch: probe.clock_epoch,
            last: probe.sent,
            slots: 1,
            unsent: u32::from(lost.is_none()),
            lost,
            is_told: false,
        });
    }

    /// The system has said why probes cannot leave.
    pub(crate) fn handle_trouble(&mut self, trouble: CloseReason, context: &mut Context) {
        self.silence.trouble = Some(trouble);
        self.silence.trouble_before = self.next;
        self.tell_if_due(context);
        let is_told = self.silence.run.is_some_and(|run| run.is_told);
        if is_told && !std::mem::replace(&mut self.silence.is_trouble_told, true) {
            context.tell(&self.subject, LifeEvent::Trouble(trouble));
        }
    }

    /// Returns why probes cannot leave, as the system last said, unless one has come through since.
    pub(crate) const fn trouble(&self) -> Option<CloseReason> {
        self.silence.trouble
    }

    /// True if the system has said why probes cannot leave, of a flow of which some had.
    const fn has_failed(&self) -> bool {
        self.next > 0 && self.silence.trouble.is_some()
    }

    /// Tells an outage that has begun.
    fn tell_if_due(&mut self, context: &mut Context) {
        let is_known = self.has_failed();
        let is_due = |span: &&mut Span| {
            let is_old = context.now.mono.since(span.start) >= CUT_OFF_NS;
            span.is_outage(is_known) || span.unsent > 0 && is_old
        };
        let Silence { gaps, run, .. } = &mut self.silence;
        let mut spans = run.iter().chain(gaps.iter().map(|gap| &gap.span));
        // With probes in flight between two spans, they may be one.
        if spans.any(|span| span.is_told) {
            return;
        }
        let newest = gaps.back_mut().map(|gap| &mut gap.span);
        if let Some(span) = run.iter_mut().chain(newest).find(is_due) {
            span.is_told = true;
            let span = *span;
            self.tell_begin(&span, context);
        }
    }

    fn tell_begin(&mut self, span: &Span, context: &mut Context) {
        let trouble = self.silence.trouble;
        self.silence.is_trouble_told = trouble.is_some();
        context.tell(&self.subject, LifeEvent::OutageBegan(trouble));
        self.tell_outage(span, None, context);
    }

    /// A slot was answered: ends the outage before it, if there was one.
    fn end_outage(&mut self, context: &mut Context) {
        if let Some(run) = self.silence.run.take() {
            let is_outage = run.is_told || run.is_outage(self.has_failed());
            // The reply may have come before the last loss was known.
            if is_outage && !run.is_told {
                self.tell_begin(&run, context);
            }
            if is_outage {
                let (ns, slots) = (run.last.since(run.start), run.slots);
                context.tell(&self.subject, LifeEvent::OutageEnded { ns, slots });
                self.tell_outage(&run, Some(ns), context);
            }
        }
        // What the system has said since this probe left is of later slots.
        if self.silence.trouble_before <= self.oldest {
            self.silence.trouble = None;
        }
    }

    /// No more slots come: an outage that lasts ends here.
    pub(crate) fn finish(&mut self, context: &mut Context) {
        self.judge_in_order(true, context);
        self.end_outage(context);
    }

    fn tell_outage(&self, span: &Span, duration_ns: Option<u64>, context: &mut Context) {
        let ago_ns = i64::try_from(context.now.mono.since(span.start)).unwrap_or(i64::MAX);
        let start = if span.clock_epoch == context.clock_epoch {
            span.start_wall
        } else {
            context.now.wall.plus(-ago_ns)
        };
        let [first, last] = span.lost.unwrap_or([1, 0]);
        let placed = |way| {
            let lost = (first..=last).filter_map(|number| self.get(number));
            lost.filter(|probe| probe.reach == way).count() > 0
        };
        let stamps = (first..=last).filter_map(|number| self.get(number));
        let stamp = stamps.map(|probe| probe.left.source).min();
        context.outputs.push_back(Output::Outage(Outage {
            origin: self.origin,
            kind: self.kind,
            start,
            duration_ns,
            interval_ns: self.interval_ns,
            slots: span.slots,
            lost: span.lost,
            direction: match (placed(Reach::Missing), placed(Reach::Reached)) {
                (true, false) => Some(Direction::Forward),
                (false, true) => Some(Direction::Reverse),
                _ => None,
            },
            stamp: stamp.unwrap_or(StampSource::User),
        }));
    }
}
