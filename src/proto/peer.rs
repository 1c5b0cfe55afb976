//! The knowledge that a target's flows share about its host: its clock and its name.

use std::sync::Arc;

use crate::proto::context::Context;
use crate::proto::output::{Member, Output, PeerHeld};
use crate::proto::peer_clock::{Exchange, PeerClock, Seen};
use crate::proto::presence::HostTotals;
use crate::proto::sample::{
    ClockEstimate, Direction, FlowKind, FlowNumber, Labels, Metric, OneWay, Origin, Outcome,
    Sample, Stamp,
};
use crate::proto::target::TargetSpec;
use crate::proto::time::{Mono, Now};
use crate::proto::transmit::TargetId;
use crate::proto::wire::native::ErrorEstimate;

/// Nanoseconds from one name of a peer until another is believed. Names come from the network, and
/// a store keeps every series that it has ever seen.
const RENAME_AGAIN_NS: u64 = 600_000_000_000;

/// A probe and its reply, with all known facts about their four stamps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoundTrip {
    /// The flow's.
    pub(crate) origin: Origin,
    pub(crate) kind: FlowKind,
    /// The probe's.
    pub(crate) number: u64,
    /// Which of the target's flows.
    pub(crate) flow: FlowNumber,
    /// T1 to T4.
    pub(crate) stamps: [Stamp; 4],
    /// When the process saw the reply.
    pub(crate) received: Mono,
    /// Nanoseconds from the request's hand-over to the kernel until `received`. They include the
    /// time after T4, perhaps a stall of the process.
    pub(crate) took_ns: u64,
    /// True if T1 and T4 are of one clock: ours was not set between them.
    pub(crate) is_comparable: bool,
}

impl RoundTrip {
    /// T2 - T1.
    fn forward_ns(&self) -> i64 {
        self.stamps[1].at.since(self.stamps[0].at)
    }

    /// T4 - T3.
    fn reverse_ns(&self) -> i64 {
        self.stamps[3].at.since(self.stamps[2].at)
    }

    fn exchange(&self) -> Exchange {
        Exchange {
            at: self.received,
            forward_ns: self.forward_ns(),
            reverse_ns: self.reverse_ns(),
            took_ns: self.took_ns,
        }
    }
}

/// What a peer's host has said of itself last, and when.
#[derive(Clone, Copy, Debug)]
struct Told {
    at: Now,
    totals: HostTotals,
}

/// What the delays of the peer's packets are published under, with the peer's name.
#[derive(Debug)]
struct Reverse {
    name: Box<str>,
    /// One for all flows, or one for each number of a flow.
    origins: Vec<Origin>,
    /// What is published of all of them, if each has labels of its own.
    total: Option<Arc<Labels>>,
}

#[derive(Debug)]
pub(crate) struct Peer {
    own_name: Arc<str>,
    /// The peer's name until it gives one itself.
    label: Box<str>,
    tags: Box<[Box<str>]>,
    /// True if one-way delays are published without the clock difference.
    is_corrected: bool,
    interval_ns: u64,
    /// Made at the first exchange, because text flows do not need it.
    clock: Option<Box<PeerClock>>,
    estimate: Option<ClockEstimate>,
    /// How far off the peer says that its own stamps may be, in nanoseconds. Between two of ours the bound holds
    /// without it.
    stated_error_ns: u64,
    target: TargetId,
    /// Flows of a kind.
    flows: u16,
    /// The delays of each are published by themselves as well.
    is_apart: bool,
    /// What the delays of the peer's packets are published under.
    reverse: Option<Reverse>,
    /// True if the peer has said that name itself.
    is_named: bool,
    /// The name cannot change before this.
    rename_after: Mono,
    told: Option<Told>,
    /// Those of the target's flows, each of which has events that the peer's host may have caused.
    origins: Box<[Origin]>,
}

impl Peer {
    pub(crate) fn new(own_name: Arc<str>, target: TargetId, spec: &TargetSpec) -> Self {
        Self {
            own_name,
            target,
            flows: spec.flows,
            is_apart: spec.per_flow && spec.flows > 1,
            label: spec.label.clone(),
            tags: spec.tags.clone(),
            is_corrected: spec.owd_corrected,
            interval_ns: spec.interval_ns,
            clock: None,
            estimate: None,
            stated_error_ns: 0,
            reverse: None,
            is_named: false,
            rename_after: Mono::ZERO,
            told: None,
            origins: Box::default(),
        }
    }

    /// Returns what is known of the peer's clock.
    pub(crate) fn estimate(&self) -> Option<ClockEstimate> {
        self.estimate
    }

    /// Returns the nanoseconds that the reflector subtracts from the delays that it publishes.
    pub(crate) fn correction_ns(&self) -> Option<i64> {
        let estimate = self.estimate.filter(|_| self.is_corrected)?;
        Some(estimate.offset_ns)
    }

    /// Takes the name that the peer gives itself; without one, our name for it stays.
    pub(crate) fn handle_name(&mut self, name: Option<&str>, context: &mut Context) {
        let is_known = match (&self.reverse, name) {
            (Some(Reverse { name: known, .. }), Some(name)) => {
                let is_same = **known == *name;
                self.is_named |= is_same;
                is_same || context.now.mono < self.rename_after
            }
            (Some(_), None) => true,
            (None, _) => false,
        };
        if is_known {
            return;
        }
        self.end(context);
        self.rename_after = context.now.mono.plus(RENAME_AGAIN_NS);
        self.is_named = name.is_some();
        let name = name.unwrap_or(&self.label);
        let name: Box<str> = name.into();
        let total = self.is_apart.then(|| self.labels(&name, None));
        if let Some(total) = &total {
            context.claim_own(total);
        }
        let last = if self.is_apart { self.flows } else { 1 };
        let origins = (1..=last).map(|number| {
            let flow = self.flow(number);
            let origin = context.open_origin(self.labels(&name, Some(flow)));
            self.join(origin, flow, total.as_ref(), context);
            origin
        });
        self.reverse = Some(Reverse {
            origins: origins.collect(),
            name,
            total,
        });
    }

    const fn flow(&self, number: u16) -> FlowNumber {
        let of = self.flows;
        FlowNumber { number, of }
    }

    /// Says whose delays are published of an origin, if there are several flows.
    fn join(
        &self,
        origin: Origin,
        number: FlowNumber,
        total: Option<&Arc<Labels>>,
        context: &mut Context,
    ) {
        if !number.is_only() {
            context.join_total(Member {
                origin,
                target: self.target,
                kind: None,
                number,
                total: total.cloned(),
            });
        }
    }

    /// The labels of the delays of the packets of a peer of this name, on one of several flows or on all.
    fn labels(&self, name: &str, flow: Option<FlowNumber>) -> Arc<Labels> {
        let mut labels = Labels::new(name, &self.own_name, &self.tags);
        if let Some(flow) = flow.filter(|_| self.is_apart) {
            labels.append(flow);
        }
        Arc::new(labels)
    }

    /// The target has these flows.
    pub(crate) fn set_origins(&mut self, origins: impl Iterator<Item = Origin>) {
        self.origins = origins.collect();
    }

    /// Takes what a reply says of the peer's host. Replies that have overtaken others say nothing new.
    pub(crate) fn handle_totals(&mut self, totals: Option<HostTotals>, context: &mut Context) {
        let (at, Some(totals)) = (context.now, totals) else {
            return;
        };
        let before = self.told.map_or(totals, |told| told.totals);
        let kept_us = totals.kept_us.wrapping_sub(before.kept_us);
        if kept_us.cast_signed() < 0 {
            return;
        }
        let told = self.told.replace(Told { at, totals });
        if told.is_some() && totals == before {
            return;
        }
        let steal_us = totals
            .steal_us
            .map(|now| now.wrapping_sub(before.steal_us.unwrap_or(now)));
        let since = told.map_or(at.mono, |told| told.at.mono);
        let ns = |us: u32| u64::from(us) * 1_000;
        self.tell_held(since, ns(kept_us), steal_us.map(ns), context);
    }

    /// The peer's program was started anew: since its last reply it was away, and its totals begin again.
    pub(crate) fn handle_restart(&mut self, context: &mut Context) {
        let Some(Told { at, totals }) = self.told.take() else {
            return;
        };
        let away_ns = context.now.mono.since(at.mono);
        self.tell_held(at.mono, away_ns, totals.steal_us.map(|_| 0), context);
    }

    fn tell_held(&self, since: Mono, kept_ns: u64, steal_ns: Option<u64>, context: &mut Context) {
        let Now { mono, wall } = context.now;
        let ago_ns = i64::try_from(mono.since(since)).unwrap_or(i64::MAX);
        for origin in &self.origins {
            context.outputs.push_back(Output::PeerHeld(PeerHeld {
                origin: *origin,
                from: wall.plus(-ago_ns),
                until: wall,
                kept_ns,
                steal_ns,
            }));
        }
    }

    /// The peer says nothing of its host any more, or is another one.
    pub(crate) fn forget_totals(&mut self, context: &mut Context) {
        if self.told.take().is_some() {
            let mute = self.origins.iter().map(|origin| Output::PeerMute(*origin));
            context.outputs.extend(mute);
        }
    }

    /// The target has another label and other tags.
    pub(crate) fn handle_labels(&mut self, label: &str, tags: &[Box<str>], context: &mut Context) {
        (self.label, self.tags) = (label.into(), tags.into());
        let Some(mut reverse) = self.reverse.take() else {
            return;
        };
        if !self.is_named {
            reverse.name = label.into();
        }
        if let Some(total) = &mut reverse.total {
            let before = std::mem::replace(total, self.labels(&reverse.name, None));
            context.claim_own(total);
            context.forget_own(Some(before));
        }
        for (number, origin) in (1..).zip(&reverse.origins) {
            let flow = self.flow(number);
            let labels = self.labels(&reverse.name, Some(flow));
            context.relabel_origin(*origin, labels, None);
            self.join(*origin, flow, reverse.total.as_ref(), context);
        }
        self.reverse = Some(reverse);
    }

    /// Publishes the one-way delays of an exchange with four known stamps, and updates the estimate
    /// of the peer's clock.
    pub(crate) fn handle_round_trip(&mut self, trip: &RoundTrip, context: &mut Context) {
        // An exchange that contradicts all before it has unknown clocks at its ends.
        let is_comparable = trip.is_comparable && self.learn(trip, context) != Seen::Suspicious;
        self.publish_reverse(trip, context);
        if !is_comparable {
            return;
        }
        let [left, received, sent, back] = &trip.stamps;
        let mut publish = |direction, from: &Stamp, to: &Stamp| {
            context.outputs.push_back(Output::OneWay(OneWay {
                origin: trip.origin,
                kind: trip.kind,
                direction,
                seq: trip.number,
                delay_ns: to.at.since(from.at),
                at: to.at,
                stamp: weaker(from, to),
            }));
        };
        publish(Direction::Forward, left, received);
        publish(Direction::Reverse, sent, back);
    }

    /// Takes what a peer that is not ours says of its clock. Without the S bit it says nothing.
    pub(crate) fn handle_stated_error(&mut self, error: ErrorEstimate) {
        let is_known = error.is_synchronised() && error.as_nanos() < u64::MAX;
        self.stated_error_ns = if is_known { error.as_nanos() } else { 0 };
    }

    /// The receiver of a packet publishes its one-way delay, so we publish those of replies.
    fn publish_reverse(&self, trip: &RoundTrip, context: &mut Context) {
        let Some(reverse) = &self.reverse else {
            return;
        };
        let apart = reverse.origins.get(usize::from(trip.flow.number - 1));
        let Some(&origin) = apart.or_else(|| reverse.origins.first()) else {
            return;
        };
        let correction_ns = self.correction_ns();
        let value_ns = trip.reverse_ns();
        context.outputs.push_back(Output::Sample(Sample {
            origin,
            metric: Metric::one_way(trip.kind),
            outcome: Outcome::Received,
            value_ns: value_ns.saturating_add(correction_ns.unwrap_or(0)),
            at: trip.stamps[3].at,
            seq: trip.flow.seq(trip.number),
            stamp: weaker(&trip.stamps[2], &trip.stamps[3]),
            dwell_ns: None,
            is_corrected: correction_ns.is_some(),
        }));
    }

    /// Publishes the one-way delay of the probe itself, under the flow's labels: a peer that is not ours does not.
    pub(crate) fn publish_forward(&self, trip: &RoundTrip, context: &mut Context) {
        let correction_ns = self.correction_ns();
        let value_ns = trip.forward_ns();
        context.outputs.push_back(Output::Sample(Sample {
            origin: trip.origin,
            metric: Metric::one_way(trip.kind),
            outcome: Outcome::Received,
            value_ns: value_ns.saturating_sub(correction_ns.unwrap_or(0)),
            // By our clock: the peer's may be anywhere.
            at: trip.stamps[3].at,
            seq: trip.flow.seq(trip.number),
            stamp: weaker(&trip.stamps[0], &trip.stamps[1]),
            dwell_ns: None,
            is_corrected: correction_ns.is_some(),
        }));
    }

    /// True if the next exchange may bring an estimate.
    pub(crate) fn awaits_estimate(&self, now: Mono) -> bool {
        self.clock.as_ref().is_some_and(|clock| clock.is_time(now))
    }

    /// Takes a reply whose T3 is still to come. It bounds the peer's clock as it is now, where the
    /// exchange that settles next is an interval old.
    pub(crate) fn handle_unsettled(&mut self, trip: &RoundTrip) {
        if let Some(clock) = self.clock.as_mut().filter(|_| trip.is_comparable) {
            clock.handle_unsettled(trip.exchange());
        }
    }

    fn learn(&mut self, trip: &RoundTrip, context: &mut Context) -> Seen {
        let (now, origin) = (context.now, trip.origin);
        let exchange = trip.exchange();
        let clock = self
            .clock
            .get_or_insert_with(|| Box::new(PeerClock::new(self.interval_ns)));
        let seen = clock.handle_exchange(exchange);
        match seen {
            Seen::Estimating => {}
            Seen::Suspicious => self.estimate = None,
            Seen::Stepped(step_ns) => {
                self.estimate = None;
                context.outputs.push_back(Output::ClockStep {
                    origin: Some(origin),
                    at: now,
                    step_ns,
                });
            }
        }
        if clock.is_due(now.mono) {
            self.estimate = clock.estimate(now.mono);
            if let Some(estimate) = &mut self.estimate {
                estimate.error_ns = estimate.error_ns.saturating_add(self.stated_error_ns);
            }
            if let Some(estimate) = self.estimate {
                context
                    .outputs
                    .push_back(Output::Clock { origin, estimate });
            }
        }
        seen
    }

    /// Discards what was learned with our clock before it was set.
    pub(crate) fn handle_clock_step(&mut self, context: &Context) {
        if let Some(clock) = &mut self.clock {
            clock.restart(context.now.mono);
        }
        self.estimate = None;
    }

    /// Starts anew with another peer, because the target has moved.
    pub(crate) fn handle_move(&mut self, context: &mut Context) {
        self.handle_clock_step(context);
        self.forget_totals(context);
        self.end(context);
    }

    /// Ends the publication of the peer's packets.
    pub(crate) fn end(&mut self, context: &mut Context) {
        let Some(reverse) = self.reverse.take() else {
            return;
        };
        for origin in reverse.origins {
            context.close_origin(origin, None);
        }
        context.forget_own(reverse.total);
    }
}

fn weaker(one: &Stamp, other: &Stamp) -> crate::proto::sample::StampSource {
    one.source.min(other.source)
}
