//! Micro-bursts, outages and changes of route, found in the probes of each flow as they end. See
//! `docs/design/bursts.md`.
//!
//! A probe costs the same whatever came before it, and nothing is allocated for one but when something
//! is found.

mod base;
mod lane;
mod noise;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use crate::limits::{BURSTS_UNDECIDED_MAX, INCIDENTS_RECENT, ORIGINS_MAX};
use crate::proto::{Direction, FlowKind, Origin, Outcome, Stamp, StampSource, Trace, Wall};
use crate::record::event::{Burst, EventKind};
use lane::{Found, Lane, Passage, Rules, Span};

/// Losses in a row that are an outage.
const OUTAGE_PROBES: u32 = 3;

/// Replies behind the last loss of an outage that end it: of the next probe one would have heard by then.
const OUTAGE_REPLIES: u32 = 8;

/// The longest time, in nanoseconds, that an event waits for its probes to be decided.
const UNDECIDED_NS: i64 = 10_000_000_000;

const DIRECTIONS: [Direction; 2] = [Direction::Forward, Direction::Reverse];

/// What counts as a burst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BurstRules {
    /// Nanoseconds of queueing delay at which one begins; `None`: found from each flow's noise.
    pub threshold_ns: Option<u64>,
    /// Nanoseconds that the queueing delay stays under half of that when one ends.
    pub quiet_ns: u64,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// To be told at once.
    Event(Origin, Wall, EventKind),
    /// The threshold of a flow in one direction is this many nanoseconds now.
    Threshold(Origin, FlowKind, Direction, u64),
}

/// Looks for bursts in all flows.
#[derive(Debug)]
pub(super) struct Detector {
    rules: Rules,
    /// By origin; of each its UDP and its TCP flow, since remote senders of one name share an origin.
    flows: Vec<[Option<Box<Flow>>; 2]>,
    incidents: Incidents,
    found: VecDeque<Finding>,
}

/// What began lately, to tell what belongs together.
#[derive(Debug, Default)]
struct Incidents {
    recent: VecDeque<(Wall, i64, u64)>,
}

impl Incidents {
    /// The number of what began then on a flow of this interval: the Unix time of the first of it.
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
    lanes: [Lane; 2],
    /// The incident of the burst that runs, and how many of its probes are lost.
    running: [(u64, u32); 2],
    /// Bursts of which not every probe is decided, in the order of their ends.
    undecided: VecDeque<Undecided>,
    outage: Option<Outage>,
    /// The last probe received, and the shortest time between two that follow each other.
    latest: Option<(u64, Wall)>,
    interval_ns: i64,
}

#[derive(Clone, Copy, Debug)]
struct Undecided {
    direction: usize,
    span: Span,
    incident: u64,
    decided: u64,
    lost: u32,
}

impl Undecided {
    const fn probes(&self) -> u64 {
        self.span.seqs.1 - self.span.seqs.0 + 1
    }

    fn covers(&self, seq: u64) -> bool {
        (self.span.seqs.0..=self.span.seqs.1).contains(&seq)
    }
}

/// Losses in a row.
#[derive(Clone, Copy, Debug)]
struct Outage {
    start: Wall,
    end: Wall,
    seqs: (u64, u64),
    /// Of those placed so far, how many each way.
    placed: [u32; 2],
    stamp: StampSource,
    replies: u32,
}

impl Detector {
    /// A detector that has seen nothing.
    pub(super) fn new(rules: BurstRules) -> Self {
        Self {
            rules: Rules {
                threshold_ns: rules.threshold_ns,
                quiet_ns: i64::try_from(rules.quiet_ns).unwrap_or(i64::MAX),
            },
            flows: Vec::new(),
            incidents: Incidents::default(),
            // A probe has two directions, and more than one thing is seldom found in one.
            found: VecDeque::with_capacity(8),
        }
    }

    /// The next of what was found.
    pub(super) fn poll(&mut self) -> Option<Finding> {
        self.found.pop_front()
    }

    /// A probe has ended.
    pub(super) fn handle_trace(&mut self, trace: &Trace) {
        if trace.origin.0 >= ORIGINS_MAX {
            return;
        }
        let index = trace.origin.0 as usize;
        if index >= self.flows.len() {
            self.flows.resize_with(index + 1, Default::default);
        }
        let flow = self.flows[index][slot(trace.kind)].get_or_insert_default();
        let mut teller = Teller {
            of: (trace.origin, trace.kind),
            incidents: &mut self.incidents,
            found: &mut self.found,
        };
        match trace.outcome {
            Outcome::Received => flow.handle_received(self.rules, trace, &mut teller),
            Outcome::Lost => flow.handle_lost(trace, &mut teller),
        }
    }

    /// It has become known where a probe was lost.
    pub(super) fn handle_placed(
        &mut self,
        (origin, kind): (Origin, FlowKind),
        seq: u64,
        direction: Direction,
    ) {
        let flows = self.flows.get_mut(origin.0 as usize);
        let flow = flows.and_then(|flows| flows[slot(kind)].as_deref_mut());
        if let Some(outage) = flow.and_then(|flow| flow.outage.as_mut())
            && (outage.seqs.0..=outage.seqs.1).contains(&seq)
        {
            outage.placed[direction as usize] += 1;
        }
    }

    /// A clock was set that is in the delays of these origins.
    pub(super) fn step(&mut self, mut is_stepped: impl FnMut(Origin) -> bool) {
        for (number, flows) in (0..).zip(&mut self.flows) {
            if flows.iter().any(Option::is_some) && is_stepped(Origin(number)) {
                let lanes = flows.iter_mut().flatten().flat_map(|flow| &mut flow.lanes);
                lanes.for_each(Lane::step);
            }
        }
    }

    /// An origin ends; what is known of its last bursts is told.
    pub(super) fn close(&mut self, origin: Origin) {
        let Some(flows) = self.flows.get_mut(origin.0 as usize) else {
            return;
        };
        for (kind, flow) in [FlowKind::Udp, FlowKind::Tcp].into_iter().zip(flows) {
            if let Some(mut flow) = flow.take() {
                flow.close(&mut Teller {
                    of: (origin, kind),
                    incidents: &mut self.incidents,
                    found: &mut self.found,
                });
            }
        }
    }

    /// All origins end.
    pub(super) fn finish(&mut self) {
        for number in (0..).take(self.flows.len()) {
            self.close(Origin(number));
        }
    }
}

const fn slot(kind: FlowKind) -> usize {
    matches!(kind, FlowKind::Tcp) as usize
}

/// Where a flow tells what it has found.
struct Teller<'a> {
    of: (Origin, FlowKind),
    incidents: &'a mut Incidents,
    found: &'a mut VecDeque<Finding>,
}

impl Teller<'_> {
    fn tell(&mut self, at: Wall, kind: EventKind) {
        self.found.push_back(Finding::Event(self.of.0, at, kind));
    }

    fn tell_burst(&mut self, burst: &Undecided, is_remote: bool) {
        let span = &burst.span;
        let duration_ns = u64::try_from(span.end.since(span.start)).unwrap_or(0);
        let probes = if is_remote {
            span.received
        } else {
            u32::try_from(burst.probes()).unwrap_or(u32::MAX)
        };
        self.tell(
            span.start,
            EventKind::Burst(Burst {
                flow: self.of.1,
                direction: Some(DIRECTIONS[burst.direction]),
                duration_ns,
                peak_ns: span.peak_ns,
                mean_ns: span.sum_ns / u64::from(span.received),
                base_ns: span.base_ns,
                probes,
                lost: burst.lost,
                incident: burst.incident,
                stamp: span.stamp,
            }),
        );
    }

    fn tell_outage(&mut self, outage: &Outage, interval_ns: i64) {
        let probes = u32::try_from(outage.seqs.1 - outage.seqs.0 + 1).unwrap_or(u32::MAX);
        if probes < OUTAGE_PROBES {
            return;
        }
        let direction = match outage.placed {
            [forward, 0] if forward > 0 => Some(Direction::Forward),
            [0, reverse] if reverse > 0 => Some(Direction::Reverse),
            _ => None,
        };
        let incident = self.incidents.number(outage.start, interval_ns);
        self.tell(
            outage.start,
            EventKind::Burst(Burst {
                flow: self.of.1,
                direction,
                duration_ns: u64::try_from(outage.end.since(outage.start)).unwrap_or(0),
                peak_ns: 0,
                mean_ns: 0,
                base_ns: 0,
                probes,
                lost: probes,
                incident,
                stamp: outage.stamp,
            }),
        );
    }
}

impl Flow {
    fn handle_received(&mut self, rules: Rules, trace: &Trace, teller: &mut Teller<'_>) {
        let [Some(left), Some(received), sent, back] = trace.stamps else {
            return;
        };
        self.follow(trace.seq, left.at);
        self.decide(trace.seq, left.at, teller);
        // Whoever has no T4 is the receiver, and knows of no probe that did not come.
        let is_remote = back.is_none();
        self.handle_passage(rules, 0, trace.seq, (left, received), is_remote, teller);
        if let (Some(sent), Some(back)) = (sent, back) {
            self.handle_passage(rules, 1, trace.seq, (sent, back), false, teller);
        }
        if let Some(outage) = &mut self.outage {
            outage.replies += 1;
            if outage.replies >= OUTAGE_REPLIES {
                self.end_outage(teller);
            }
        }
    }

    fn follow(&mut self, seq: u64, left: Wall) {
        if let Some((before, at)) = self.latest
            && before + 1 == seq
        {
            let apart_ns = left.since(at).max(0);
            // Probes that leave late are closer to the next; a change of rate comes through in a while.
            self.interval_ns = match self.interval_ns {
                0 => apart_ns,
                known => known + (apart_ns - known) / 16,
            };
        }
        self.latest = Some((seq, left));
    }

    /// A probe is received: bursts it was in may wait for no other, or have waited for long enough.
    fn decide(&mut self, seq: u64, left: Wall, teller: &mut Teller<'_>) {
        if self.undecided.is_empty() {
            return;
        }
        for burst in &mut self.undecided {
            burst.decided += u64::from(burst.covers(seq));
        }
        self.tell_decided(|burst| left.since(burst.span.end) > UNDECIDED_NS, teller);
    }

    fn tell_decided(&mut self, is_over: impl Fn(&Undecided) -> bool, teller: &mut Teller<'_>) {
        self.undecided.retain(|burst| {
            let is_told = burst.decided >= burst.probes() || is_over(burst);
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
        seq: u64,
        (left, received): (Stamp, Stamp),
        is_remote: bool,
        teller: &mut Teller<'_>,
    ) {
        // The clock of this host is at one end of it.
        let is_arrival = is_remote || direction == 1;
        let passage = Passage {
            at: if is_arrival { received.at } else { left.at },
            is_arrival,
            delay_ns: received.at.since(left.at),
            seq,
            stamp: left.source.min(received.source),
        };
        match self.lanes[direction].handle(rules, &passage) {
            None => {}
            Some(Found::Began(start)) => {
                let incident = teller.incidents.number(start, self.interval_ns);
                self.running[direction] = (incident, 0);
            }
            Some(Found::Ended(span)) => self.end_burst(direction, span, is_remote, teller),
            Some(Found::Route { old_ns, new_ns }) => teller.tell(
                passage.at,
                EventKind::RouteChange {
                    flow: teller.of.1,
                    direction: DIRECTIONS[direction],
                    old_ns,
                    new_ns,
                },
            ),
            Some(Found::Threshold(ns)) => {
                let (origin, kind) = teller.of;
                let found = Finding::Threshold(origin, kind, DIRECTIONS[direction], ns);
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
        let (incident, lost) = std::mem::take(&mut self.running[direction]);
        let burst = Undecided {
            direction,
            span,
            incident,
            decided: u64::from(span.received) + u64::from(span.skipped) + u64::from(lost),
            lost,
        };
        if is_remote || burst.decided >= burst.probes() {
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

    /// Losses are told in the order in which the probes were sent, a timeout later.
    fn handle_lost(&mut self, trace: &Trace, teller: &mut Teller<'_>) {
        let seq = trace.seq;
        if !self.lose_in_burst(seq, trace.lost_on) {
            self.lose_alone(trace, teller);
        }
        self.tell_decided(|burst| burst.span.seqs.1 < seq, teller);
    }

    /// Counts a loss in the burst that it was in. False if there was none.
    fn lose_in_burst(&mut self, seq: u64, lost_on: Option<Direction>) -> bool {
        let is_there = |direction: usize| lost_on.is_none_or(|way| way as usize == direction);
        let mut undecided = self.undecided.iter_mut();
        if let Some(burst) = undecided.find(|burst| is_there(burst.direction) && burst.covers(seq))
        {
            burst.lost += 1;
            burst.decided += 1;
            return true;
        }
        for (direction, lane) in self.lanes.iter().enumerate() {
            if is_there(direction)
                && lane
                    .active()
                    .is_some_and(|span| (span.seqs.0..=span.seqs.1).contains(&seq))
            {
                self.running[direction].1 += 1;
                return true;
            }
        }
        false
    }

    fn lose_alone(&mut self, trace: &Trace, teller: &mut Teller<'_>) {
        let Some(left) = trace.stamps[0] else { return };
        if self
            .outage
            .is_some_and(|outage| outage.seqs.1 + 1 != trace.seq)
        {
            self.end_outage(teller);
        }
        let outage = self.outage.get_or_insert(Outage {
            start: left.at,
            end: left.at,
            seqs: (trace.seq, trace.seq),
            placed: [0, 0],
            stamp: left.source,
            replies: 0,
        });
        outage.end = left.at;
        outage.seqs.1 = trace.seq;
        outage.stamp = outage.stamp.min(left.source);
        outage.replies = 0;
        if let Some(direction) = trace.lost_on {
            outage.placed[direction as usize] += 1;
        }
    }

    fn end_outage(&mut self, teller: &mut Teller<'_>) {
        if let Some(outage) = self.outage.take() {
            teller.tell_outage(&outage, self.interval_ns);
        }
    }

    fn close(&mut self, teller: &mut Teller<'_>) {
        self.tell_decided(|_| true, teller);
        self.end_outage(teller);
        for direction in 0..DIRECTIONS.len() {
            if let Some(span) = self.lanes[direction].close() {
                let (incident, lost) = self.running[direction];
                let burst = Undecided {
                    direction,
                    span,
                    incident,
                    decided: 0,
                    lost,
                };
                teller.tell_burst(&burst, false);
            }
        }
    }
}
