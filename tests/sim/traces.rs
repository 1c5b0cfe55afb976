//! Checks traces: every probe has one, its stamps are true, and every loss is attributed once.

use std::collections::{BTreeMap, BTreeSet};

use latency_monitor::proto::{
    Counters, Direction, FlowKind, OneWay, Outcome, Stamp, StampSource, Trace,
};

use crate::network::HostId;
use crate::truth::Truth;

/// What one flow has told of its probes.
#[derive(Debug, Default)]
pub(crate) struct FlowTraces {
    /// When each probe was sent that nothing is told of yet.
    open: BTreeMap<u64, u64>,
    received: u64,
    lost: u64,
    lost_forward: u64,
    lost_reverse: u64,
    /// Lost, and it is not known where.
    unplaced: BTreeSet<u64>,
    /// Where each loss was said to be.
    placed: Vec<(u64, Direction)>,
}

impl FlowTraces {
    pub(crate) fn handle_send(&mut self, number: u64, now_ns: u64) {
        self.open.insert(number, now_ns);
    }

    pub(crate) fn handle_unsent(&mut self, number: u64) {
        self.open.remove(&number);
    }

    /// A probe has ended. Gives when it was sent.
    pub(crate) fn handle_trace(
        &mut self,
        now_ns: u64,
        (host, truth): (HostId, &Truth),
        trace: &Trace,
    ) -> u64 {
        let sent_ns = self.open.remove(&trace.seq);
        let sent_ns = sent_ns.unwrap_or_else(|| panic!("a second trace: {trace:?}"));
        let Some(left) = trace.stamps[0] else {
            panic!("not known when it left: {trace:?}");
        };
        match trace.outcome {
            Outcome::Received => {
                self.received += 1;
                check_received(trace, left, now_ns - sent_ns, truth);
                assert_eq!(trace.lost_on, None, "{trace:?}");
            }
            Outcome::Lost => {
                self.lost += 1;
                assert_eq!(trace.stamps[1..], [None; 3], "{trace:?}");
                match trace.lost_on {
                    Some(direction) => self.place(trace.seq, direction),
                    None => assert!(self.unplaced.insert(trace.seq)),
                }
            }
        }
        if trace.kind == FlowKind::Udp && trace.stamps[2].is_some() {
            let by_kernel = trace.stamps.map(|stamp| {
                let stamp = stamp.filter(|stamp| stamp.source == StampSource::Kernel);
                stamp.map(|stamp| stamp.at.as_unix_nanos())
            });
            assert!(
                truth.has_stamps(host, trace.seq, by_kernel),
                "not what happened: {trace:?}"
            );
        }
        sent_ns
    }

    /// It is known now where a loss was.
    pub(crate) fn handle_placed(&mut self, number: u64, direction: Direction) {
        assert!(
            self.unplaced.remove(&number),
            "probe {number} was not lost, or is placed twice"
        );
        self.place(number, direction);
    }

    fn place(&mut self, number: u64, direction: Direction) {
        match direction {
            Direction::Forward => self.lost_forward += 1,
            Direction::Reverse => self.lost_reverse += 1,
        }
        self.placed.push((number, direction));
    }

    /// Everything that holds after every step.
    pub(crate) fn check(&self, label: &str, counters: &Counters) {
        assert_eq!(
            counters.sent,
            self.received + self.lost + counters.in_flight() + counters.settling,
            "{label}: sent, and told of"
        );
        assert_eq!(
            self.open.len() as u64,
            counters.in_flight() + counters.settling
        );
        assert_eq!(counters.lost, self.lost, "{label}: lost, and told of");
        assert_eq!(
            (counters.lost_forward, counters.lost_reverse),
            (self.lost_forward, self.lost_reverse),
            "{label}: lost forward and reverse, and told of"
        );
    }

    /// Where replies were never far apart, each single loss was where it was said to be.
    pub(crate) fn check_places(&self, host: HostId, truth: &Truth) {
        for (number, direction) in &self.placed {
            if let Some(has_reached) = truth.has_reached(host, *number) {
                let is_reverse = *direction == Direction::Reverse;
                assert_eq!(is_reverse, has_reached, "probe {number}");
            }
        }
    }
}

/// The stamps of this host are its own, and no further apart than the probe took.
fn check_received(trace: &Trace, left: Stamp, took_ns: u64, truth: &Truth) {
    let [_, Some(_), _, Some(back)] = trace.stamps else {
        panic!("a stamp is missing: {trace:?}");
    };
    let took_ns = i64::try_from(took_ns).expect("virtual time fits");
    let elapsed_ns = back.at.since(left.at);
    let most_ns = took_ns + truth.drift_ns(took_ns);
    assert!((-4..=most_ns).contains(&elapsed_ns), "{trace:?}: {took_ns}");
}

/// A responder on the text wire tells of each delay that it measures, and of nothing else.
pub(crate) fn check_remote(trace: &Trace, before: Option<&OneWay>) {
    let [Some(left), Some(received), None, None] = trace.stamps else {
        panic!("not what a responder knows: {trace:?}");
    };
    let before = before.expect("its delay is told first");
    assert_eq!(
        (trace.origin, trace.kind, trace.seq, trace.outcome),
        (before.origin, before.kind, before.seq, Outcome::Received)
    );
    assert_eq!(received.at.since(left.at), before.delay_ns);
}
