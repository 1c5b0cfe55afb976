//! Finds micro-bursts and changes of route in the probes of each flow, as they end. See
//! `docs/design/bursts.md`.
//!
//! Every probe costs the same, and nothing is allocated until something is found.

mod base;
mod direction;
mod noise;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use crate::limits::{BURSTS_UNDECIDED_MAX, INCIDENTS_RECENT, ORIGINS_MAX};
use crate::proto::{Direction, FlowKind, Origin, Outage, Outcome, Stamp, Trace, Wall};
use crate::record::event::{Burst, EventKind};
use crate::record::evidence::Evidence;
use direction::{DirectionDetector, Found, Passage, Rules, Span};

/// The longest time, in nanoseconds, that a burst waits until every probe in it has an outcome.
const UNDECIDED_NS: i64 = 10_000_000_000;

/// What counts as a burst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BurstRules {
    /// Nanoseconds of queueing delay at which one begins; `None`: found from each flow's noise.
    pub threshold_ns: Option<u64>,
    /// Nanoseconds that the queueing delay stays under half of that when one ends.
    pub quiet_ns: u64,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "findings are few, and none stays"
)]
pub(super) enum Finding {
    /// An event, to be published at once.
    Event(Origin, Wall, EventKind),
    /// A burst has begun on a flow of ours.
    Began(Origin, FlowKind),
    /// The threshold of a flow in one direction is this many nanoseconds now.
    Threshold(Origin, FlowKind, Direction, u64),
}

/// Looks for bursts in all flows.
#[derive(Debug)]
pub(super) struct Detector {
    rules: Rules,
    /// By origin: its UDP and its TCP flow, because remote senders of one name share an origin.
    flows: Vec<[Option<Box<Flow>>; 2]>,
    incidents: Incidents,
    found: VecDeque<Finding>,
}

/// The bursts and outages that began lately, to find those that belong together.
#[derive(Debug, Default)]
struct Incidents {
    recent: VecDeque<(Wall, i64, u64)>,
}

impl Incidents {
    /// Returns the incident of what began at `start` on a flow of this interval: the Unix time of the first of it.
    fn number(&mut self, start: Wall, interval_ns: i64) -> u64 {
        let same = self.recent.iter().rev().find(|(other, of_other, _)| {
            start.since(*other).saturating_abs() <= interval_ns.max(*of_other)
        });
        let number = match same {
            Some((_, _, number)) => *number,
            None => start.as_unix_nanos().cast_unsigned(),
        };
        if self.recent.len() == INCIDENTS_RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((start, interval_ns, number));
        number
    }
}

/// One flow.
#[derive(Debug, Default)]
struct Flow {
    directions: [DirectionDetector; 2],
    running: [Running; 2],
    /// Bursts that wait for outcomes, in the order of their ends.
    undecided: VecDeque<Undecided>,
    /// The last probe lost outside of all bursts.
    lost_alone: Option<u64>,
    /// The last probe received, and the shortest time between two that follow each other.
    latest: Option<(u64, Wall)>,
    interval_ns: i64,
    /// How long the last probe took there and back.
    lag_ns: i64,
}

/// What is known beside its span of the burst that runs.
#[derive(Clone, Copy, Debug, Default)]
struct Running {
    incident: u64,
    /// The number of its probes that are lost.
    lost: u32,
}

/// A burst that is over, of which not every probe has a known outcome.
#[derive(Clone, Copy, Debug)]
struct Undecided {
    direction: usize,
    span: Span,
    known: Running,
    decided: u64,
    /// Its end, as this host's clock is now.
    ended: Wall,
}

impl Undecided {
    const fn is_decided(&self) -> bool {
        self.decided >= self.span.seqs.len()
    }

    const fn covers(&self, seq: u64) -> bool {
        self.span.seqs.contains(seq)
    }
}

impl From<BurstRules> for Rules {
    fn from(rules: BurstRules) -> Self {
        Self {
            threshold_ns: rules.threshold_ns,
            quiet_ns: i64::try_from(rules.quiet_ns).unwrap_or(i64::MAX),
        }
    }
}

impl Detector {
    /// Returns a detector that has seen nothing.
    pub(super) fn new(rules: BurstRules) -> Self {
        Self {
            rules: Rules::from(rules),
            flows: Vec::new(),
            incidents: Incidents::default(),
            // A probe has two directions, and seldom shows more than one thing in each.
            found: VecDeque::with_capacity(8),
        }
    }

    /// Takes other rules. A burst that runs ends by them.
    pub(super) fn set_rules(&mut self, rules: BurstRules) {
        self.rules = Rules::from(rules);
    }

    /// Returns the next finding.
    pub(super) fn poll(&mut self) -> Option<Finding> {
        self.found.pop_front()
    }

    /// Takes a probe that has ended.
    pub(super) fn handle_trace(&mut self, trace: &Trace) {
        if trace.origin.0 >= ORIGINS_MAX {
            return;
        }
        let index = trace.origin.0 as usize;
        if index >= self.flows.len() {
            self.flows.resize_with(index + 1, Default::default);
        }
        let Some(flow) = self.flows[index].get_mut(trace.kind as usize) else {
            return;
        };
        let flow = flow.get_or_insert_default();
        let mut teller = Teller {
            origin: trace.origin,
            kind: trace.kind,
            incidents: &mut self.incidents,
            found: &mut self.found,
        };
        match trace.outcome {
            Outcome::Received => flow.handle_received(self.rules, trace, &mut teller),
            Outcome::Lost => flow.handle_lost(trace, &mut teller),
        }
    }

    /// Returns the incident of an outage; nothing if all its losses are part of bursts.
    pub(super) fn number(&mut self, outage: &Outage) -> Option<u64> {
        let flows = self.flows.get(outage.origin.0 as usize);
        let flow = flows.and_then(|flows| flows.get(outage.kind as usize));
        if let (Some(Some(flow)), Some([first, _])) = (flow, outage.lost)
            && flow.lost_alone.is_none_or(|alone| alone < first)
        {
            return None;
        }
        let interval_ns = i64::try_from(outage.interval_ns).unwrap_or(i64::MAX);
        Some(self.incidents.number(outage.start, interval_ns))
    }

    /// Returns how long the last probe of a flow took there and back, in nanoseconds; 0 if nothing is known of it.
    pub(super) fn lag_ns(&self, origin: Origin, kind: FlowKind) -> i64 {
        let flows = self.flows.get(origin.0 as usize);
        let flow = flows.and_then(|flows| flows.get(kind as usize));
        flow.and_then(Option::as_ref).map_or(0, |flow| flow.lag_ns)
    }

    /// Forgets the delays of these origins, because a clock that is part of them was set: this host's by `own_ns`, or
    /// another one.
    pub(super) fn step(&mut self, own_ns: i64, mut is_stepped: impl FnMut(Origin) -> bool) {
        if own_ns != 0 {
            self.incidents = Incidents::default();
        }
        for (number, flows) in (0..).zip(&mut self.flows) {
            if flows.iter().any(Option::is_some) && is_stepped(Origin(number)) {
                flows
                    .iter_mut()
                    .flatten()
                    .for_each(|flow| flow.step(own_ns));
            }
        }
    }

    /// Closes an origin, and publishes what is known of its last bursts.
    pub(super) fn close(&mut self, origin: Origin) {
        let Some(flows) = self.flows.get_mut(origin.0 as usize) else {
            return;
        };
        for (flow, kind) in flows.iter_mut().zip(FlowKind::ALL) {
            if let Some(mut flow) = flow.take() {
                flow.close(&mut Teller {
                    origin,
                    kind,
                    incidents: &mut self.incidents,
                    found: &mut self.found,
                });
            }
        }
    }

    /// Closes all origins.
    pub(super) fn finish(&mut self) {
        for number in (0..).take(self.flows.len()) {
            self.close(Origin(number));
        }
    }
}

/// Where a flow puts its findings.
struct Teller<'a> {
    origin: Origin,
    kind: FlowKind,
    incidents: &'a mut Incidents,
    found: &'a mut VecDeque<Finding>,
}

impl Teller<'_> {
    fn tell(&mut self, at: Wall, kind: EventKind) {
        self.found.push_back(Finding::Event(self.origin, at, kind));
    }

    fn tell_burst(&mut self, burst: &Undecided, is_remote: bool) {
        let probes = if is_remote {
            burst.span.received.into()
        } else {
            burst.span.seqs.len()
        };
        let direction = Some(Direction::ALL[burst.direction]);
        self.tell_span(&burst.span, direction, probes, burst.known);
    }

    fn tell_span(
        &mut self,
        span: &Span,
        direction: Option<Direction>,
        probes: u64,
        Running { incident, lost }: Running,
    ) {
        let burst = Burst {
            flow: self.kind,
            direction,
            duration_ns: u64::try_from(span.end.since(span.start)).unwrap_or(0),
            peak_ns: span.peak_ns,
            mean_ns: span.sum_ns / u64::from(span.received.max(1)),
            base_ns: span.base_ns,
            probes: saturated(probes),
            lost,
            incident,
            stamp: span.stamp,
            suspect: None,
            evidence: Evidence::default(),
        };
        self.tell(span.start, EventKind::Burst(burst));
    }
}

fn saturated(probes: u64) -> u32 {
    u32::try_from(probes).unwrap_or(u32::MAX)
}

impl Flow {
    fn handle_received(&mut self, rules: Rules, trace: &Trace, teller: &mut Teller<'_>) {
        let [Some(left), Some(received), sent, back] = trace.stamps else {
            return;
        };
        // Without T4 this host is the receiver, who does not know of lost probes, and whose clock took T2.
        let is_remote = back.is_none();
        let here = if is_remote { received.at } else { left.at };
        self.follow(trace.seq, here);
        self.decide(trace.seq, here, teller);
        // The clock of this host is at one end of a passage.
        let passage = |left: Stamp, received: Stamp, is_arrival: bool| Passage {
            at: if is_arrival { received.at } else { left.at },
            is_arrival,
            delay_ns: received.at.since(left.at),
            seq: trace.seq,
            stamp: left.source.min(received.source),
        };
        let forward = passage(left, received, is_remote);
        self.handle_passage(rules, 0, &forward, is_remote, teller);
        if let Some(back) = back {
            self.lag_ns = back.at.since(left.at);
        }
        if let (Some(sent), Some(back)) = (sent, back) {
            self.handle_passage(rules, 1, &passage(sent, back, true), false, teller);
        }
    }

    fn follow(&mut self, seq: u64, left: Wall) {
        if let Some((before, at)) = self.latest
            && before + 1 == seq
        {
            let apart_ns = left.since(at).max(0);
            // A mean over 16 probes smooths those that leave late, and follows a change of rate.
            self.interval_ns = match self.interval_ns {
                0 => apart_ns,
                known => known + (apart_ns - known) / 16,
            };
        }
        self.latest = Some((seq, left));
    }

    /// Publishes the bursts for which this probe was the last to wait for, or which have waited for too long.
    fn decide(&mut self, seq: u64, left: Wall, teller: &mut Teller<'_>) {
        if self.undecided.is_empty() {
            return;
        }
        for burst in &mut self.undecided {
            burst.decided += u64::from(burst.covers(seq));
        }
        self.tell_decided(|burst| left.since(burst.ended) > UNDECIDED_NS, teller);
    }

    fn tell_decided(&mut self, is_over: impl Fn(&Undecided) -> bool, teller: &mut Teller<'_>) {
        self.undecided.retain(|burst| {
            let is_told = burst.is_decided() || is_over(burst);
            if is_told {
                teller.tell_burst(burst, false);
            }
            !is_told
        });
    }

    fn handle_passage(
        &mut self,
        rules: Rules,
        direction: usize,
        passage: &Passage,
        is_remote: bool,
        teller: &mut Teller<'_>,
    ) {
        match self.directions[direction].handle(rules, passage) {
            None => {}
            Some(Found::Began(start)) => {
                let incident = teller.incidents.number(start, self.interval_ns);
                self.running[direction] = Running { incident, lost: 0 };
                if !is_remote {
                    (teller.found).push_back(Finding::Began(teller.origin, teller.kind));
                }
            }
            Some(Found::Ended(span)) => self.end_burst(direction, span, is_remote, teller),
            Some(Found::Route { old_ns, new_ns }) => teller.tell(
                passage.at,
                EventKind::RouteChange {
                    flow: teller.kind,
                    direction: Direction::ALL[direction],
                    old_ns,
                    new_ns,
                },
            ),
            Some(Found::Threshold(ns)) => {
                let (origin, kind) = (teller.origin, teller.kind);
                let found = Finding::Threshold(origin, kind, Direction::ALL[direction], ns);
                teller.found.push_back(found);
            }
        }
    }

    fn end_burst(
        &mut self,
        direction: usize,
        span: Span,
        is_remote: bool,
        teller: &mut Teller<'_>,
    ) {
        let known = std::mem::take(&mut self.running[direction]);
        let burst = Undecided {
            direction,
            span,
            known,
            decided: u64::from(span.received) + u64::from(span.skipped) + u64::from(known.lost),
            ended: span.end,
        };
        if is_remote || burst.is_decided() {
            teller.tell_burst(&burst, is_remote);
            return;
        }
        if self.undecided.len() == BURSTS_UNDECIDED_MAX
            && let Some(oldest) = self.undecided.pop_front()
        {
            teller.tell_burst(&oldest, false);
        }
        self.undecided.push_back(burst);
    }

    /// Forgets the delays, because a clock was set. What runs by this host's clock goes on by the clock as it is now,
    /// so its length stays the true one.
    fn step(&mut self, own_ns: i64) {
        self.directions.iter_mut().for_each(DirectionDetector::step);
        self.latest = None;
        for burst in &mut self.undecided {
            burst.ended = burst.ended.plus(own_ns);
        }
    }

    /// Takes a loss. Losses come in the order in which the probes were sent, a timeout later.
    fn handle_lost(&mut self, trace: &Trace, teller: &mut Teller<'_>) {
        let seq = trace.seq;
        if !self.lose_in_burst(seq, trace.lost_on) {
            self.lost_alone = Some(seq);
        }
        self.tell_decided(|burst| burst.span.seqs.last < seq, teller);
    }

    /// Counts a loss in the burst that it belongs to. False if there is none.
    fn lose_in_burst(&mut self, seq: u64, lost_on: Option<Direction>) -> bool {
        let is_there = |direction: usize| lost_on.is_none_or(|way| way as usize == direction);
        let mut undecided = self.undecided.iter_mut();
        if let Some(burst) = undecided.find(|burst| is_there(burst.direction) && burst.covers(seq))
        {
            burst.known.lost += 1;
            burst.decided += 1;
            return true;
        }
        for (direction, detector) in self.directions.iter().enumerate() {
            let active = detector.active();
            if is_there(direction) && active.is_some_and(|span| span.seqs.contains(seq)) {
                self.running[direction].lost += 1;
                return true;
            }
        }
        false
    }

    fn close(&mut self, teller: &mut Teller<'_>) {
        self.tell_decided(|_| true, teller);
        for direction in 0..Direction::ALL.len() {
            if let Some(span) = self.directions[direction].close() {
                let burst = Undecided {
                    direction,
                    span,
                    known: self.running[direction],
                    decided: 0,
                    ended: span.end,
                };
                teller.tell_burst(&burst, false);
            }
        }
    }
}
