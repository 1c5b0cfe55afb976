//! The knowledge that a target's flows share about its host: its clock and its name.

use std::sync::Arc;

use crate::proto::context::Context;
use crate::proto::output::Output;
use crate::proto::peer_clock::{Exchange, PeerClock, Seen};
use crate::proto::sample::{
    ClockEstimate, Direction, FlowKind, Labels, Metric, OneWay, Origin, Outcome, Sample, Stamp,
};
use crate::proto::target::TargetSpec;
use crate::proto::time::Mono;
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
    /// The labels of the delays of the peer's packets, with the peer's name.
    reverse: Option<(Origin, Box<str>)>,
    /// True if the peer has said that name itself.
    is_named: bool,
    /// The name cannot change before this.
    rename_after: Mono,
}

impl Peer {
    pub(crate) fn new(own_name: Arc<str>, spec: &TargetSpec) -> Self {
        Self {
            own_name,
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
            (Some((_, known)), Some(name)) => {
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
        let labels = Arc::new(Labels::new(name, &self.own_name, &self.tags));
        self.reverse = Some((context.open_origin(labels), name.into()));
    }

    /// The target has another label and other tags.
    pub(crate) fn handle_labels(&mut self, label: &str, tags: &[Box<str>], context: &mut Context) {
        (self.label, self.tags) = (label.into(), tags.into());
        let Some((origin, name)) = &mut self.reverse else {
            return;
        };
        if !self.is_named {
            *name = label.into();
        }
        let labels = Arc::new(Labels::new(name, &self.own_name, &self.tags));
        context.relabel_origin(*origin, labels, None);
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
        let Some((origin, _)) = self.reverse else {
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
            seq: trip.number,
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
            seq: trip.number,
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
        self.end(context);
    }

    /// Ends the publication of the peer's packets.
    pub(crate) fn end(&mut self, context: &mut Context) {
        if let Some((origin, _)) = self.reverse.take() {
            context.close_origin(origin, None);
        }
    }
}

fn weaker(one: &Stamp, other: &Stamp) -> crate::proto::sample::StampSource {
    one.source.min(other.source)
}
