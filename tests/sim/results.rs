//! What became of every probe of a host, and what it measured of others' packets, to compare runs by.

use std::collections::BTreeMap;

use latency_monitor::proto::{
    Counters, Direction, FlowKind, Metric, Origin, Outcome, Output, Prober, StampSource,
};

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    Delay(Metric),
    OneWay(FlowKind, Direction),
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Measured {
    pub(crate) outcome: Outcome,
    pub(crate) value_ns: i64,
    pub(crate) stamp: StampSource,
}

#[derive(Debug, Default)]
pub(crate) struct Results {
    /// Under which labels an origin publishes.
    labels: BTreeMap<Origin, String>,
    /// By labels and the probe's number.
    pub(crate) measured: BTreeMap<(String, What, u64), Vec<Measured>>,
    /// The numbers of packets over UDP, in the order in which their one-way delays were measured.
    pub(crate) order: BTreeMap<Origin, Vec<u64>>,
    /// The counters of every flow at the end.
    pub(crate) counters: BTreeMap<(String, FlowKind), Counters>,
    /// How often a flow took a fresh 5-tuple for losses.
    pub(crate) reopened: usize,
}

impl Results {
    pub(crate) fn handle_output(&mut self, output: &Output) {
        match output {
            Output::Opened { origin, labels } => {
                let tags: Vec<String> = labels.iter().map(|tag| tag.to_string()).collect();
                self.labels.insert(*origin, tags.join(","));
            }
            Output::Reopened(_) => self.reopened += 1,
            // A delay less the clocks' difference depends on when that was estimated.
            Output::Sample(sample) if !sample.is_corrected => {
                let measured = Measured {
                    outcome: sample.outcome,
                    value_ns: sample.value_ns,
                    stamp: sample.stamp,
                };
                if sample.metric == Metric::UdpOwd {
                    let order = self.order.entry(sample.origin);
                    order.or_default().push(sample.seq);
                }
                self.note(
                    sample.origin,
                    What::Delay(sample.metric),
                    sample.seq,
                    measured,
                );
            }
            Output::OneWay(delay) => {
                let measured = Measured {
                    outcome: Outcome::Received,
                    value_ns: delay.delay_ns,
                    stamp: delay.stamp,
                };
                let what = What::OneWay(delay.kind, delay.direction);
                self.note(delay.origin, what, delay.seq, measured);
            }
            _ => {}
        }
    }

    fn note(&mut self, origin: Origin, what: What, seq: u64, measured: Measured) {
        let key = (self.labels[&origin].clone(), what, seq);
        self.measured.entry(key).or_default().push(measured);
    }

    /// Probing has ended.
    pub(crate) fn finish(&mut self, prober: &Prober) {
        for (origin, kind, counters) in prober.flows() {
            let key = (self.labels[&origin].clone(), kind);
            self.counters.insert(key, *counters);
        }
    }
}
