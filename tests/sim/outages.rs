//! What a prober tells of outages, and of single probes, held against what the network did.

use std::collections::BTreeMap;
use std::sync::Arc;

use latency_monitor::proto::{
    Counters, FlowKind, Labels, LifeEvent, Metric, Now, Origin, Output, Prober, SocketId, Subject,
    TargetSpec,
};

use crate::slots::{Moment, Sent, Slots};

#[derive(Debug)]
struct Flow {
    labels: Arc<Labels>,
    kind: FlowKind,
    /// Which of several of its kind.
    number: Option<u16>,
    slots: Slots,
    /// As they were when it was looked at last, and what of them is known since.
    counters: Counters,
}

/// The slots of all flows of a prober.
#[derive(Debug, Default)]
pub(crate) struct Outages {
    /// What its targets ask for, by label.
    specs: BTreeMap<String, TargetSpec>,
    flows: BTreeMap<Origin, Flow>,
    /// Which flow has sent over a socket.
    senders: BTreeMap<SocketId, Origin>,
    at: Moment,
    /// The host was stalled: what it tells is late.
    was_frozen: bool,
    /// Replies may wait so long until they are read; `None`: they are read as they come.
    reads_within_ns: Option<u64>,
    /// Outages of flows that have ended.
    compared: u64,
}

impl Outages {
    pub(crate) fn new(reads_within_ns: Option<u64>) -> Self {
        Self {
            reads_within_ns,
            ..Self::default()
        }
    }

    pub(crate) fn add(&mut self, spec: TargetSpec) {
        self.specs.insert(spec.label.to_string(), spec);
    }

    /// A turn of the prober begins, by the wall clock of which it knows.
    pub(crate) fn begin_turn(&mut self, now: Now, was_frozen: bool) {
        self.at.now = now;
        self.was_frozen = was_frozen;
    }

    /// The next probe of a flow leaves.
    pub(crate) fn handle_send(&mut self, origin: Origin, sent: Sent) {
        let flow = self.flows.get_mut(&origin).expect("an open one");
        flow.slots.handle_send(self.at, sent);
        self.senders.insert(sent.socket, origin);
    }

    /// The kernel did not take the last probe.
    pub(crate) fn handle_refused(&mut self, socket: SocketId) {
        let flow = self.flow(socket).expect("the probe's");
        flow.slots.handle_refused();
        flow.counters.unsent += 1;
    }

    /// Slots that have come due are known; `has_room`: a connection stands, and its kernel takes bytes.
    pub(crate) fn handle_slots(&mut self, prober: &Prober, has_room: impl Fn(SocketId) -> bool) {
        for (origin, _, counters) in prober.flows() {
            let flow = self.flows.get_mut(&origin).expect("an open one");
            if counters.unsent > flow.counters.unsent {
                flow.slots.handle_skip(self.at, &has_room);
            }
            if counters.late > flow.counters.late {
                flow.slots.handle_late();
            }
            flow.counters = *counters;
        }
    }

    /// Replies come over a socket, to the probes that it knows by these numbers.
    pub(crate) fn handle_replies(&mut self, socket: SocketId, numbers: &[u64]) {
        let at = self.at;
        if let Some(flow) = self.flow(socket) {
            for number in numbers {
                flow.slots.handle_reply(at, socket, *number);
            }
        }
    }

    /// Replies come over a socket, and the network does not know to which probes.
    pub(crate) fn handle_unknown_replies(&mut self, socket: SocketId) {
        if let Some(flow) = self.flow(socket) {
            flow.slots.handle_unknown_replies(socket);
        }
    }

    /// A socket is closed: nothing comes over it any more.
    pub(crate) fn handle_closed(&mut self, socket: SocketId) {
        if let Some(flow) = self.flow(socket) {
            flow.slots.handle_closed(socket);
        }
        self.senders.remove(&socket);
    }

    fn flow(&mut self, socket: SocketId) -> Option<&mut Flow> {
        self.flows.get_mut(self.senders.get(&socket)?)
    }

    pub(crate) fn handle_output(&mut self, prober: &Prober, output: &Output) {
        let at = self.at;
        match output {
            Output::Opened { origin, labels } => self.open(*origin, labels, prober),
            Output::Relabelled(relabelled) => {
                if let Some(flow) = self.flows.get_mut(&relabelled.origin) {
                    flow.labels = relabelled.labels.clone();
                }
            }
            Output::Member(member) => {
                if let Some(flow) = self.flows.get_mut(&member.origin) {
                    flow.number = Some(member.number.number);
                }
            }
            Output::Trace(trace) => {
                if let Some(flow) = self.flows.get_mut(&trace.origin) {
                    flow.slots.handle_outcome(at, trace.seq, trace.outcome);
                }
            }
            // Connect probes have no trace.
            Output::Sample(sample) if sample.metric == Metric::TcpLatency => {
                let flow = self.flows.get_mut(&sample.origin).expect("an open one");
                flow.slots.handle_outcome(at, sample.seq, sample.outcome);
            }
            Output::ClockStep {
                origin: None,
                step_ns,
                ..
            } => {
                self.at.steps += 1;
                self.at.now.wall = self.at.now.wall.plus(*step_ns);
            }
            Output::Outage(outage) => {
                let flow = self.flows.get_mut(&outage.origin).expect("an open one");
                flow.slots.handle_told(*outage, at);
            }
            Output::Life(life) => {
                if let LifeEvent::Closed { .. } = life.event {
                    self.leave(&life.subject);
                }
            }
            Output::Closed { origin, .. } => {
                if let Some(flow) = self.flows.remove(origin) {
                    self.compared += flow.slots.finish(at, self.was_frozen);
                }
            }
            _ => {}
        }
    }

    fn open(&mut self, origin: Origin, labels: &Arc<Labels>, prober: &Prober) {
        let Some((_, kind, counters)) = prober.flows().find(|flow| flow.0 == origin) else {
            return;
        };
        let flow = Flow {
            labels: labels.clone(),
            kind,
            number: None,
            slots: Slots::new(
                labels,
                kind,
                &self.specs[&*labels.target],
                self.reads_within_ns,
            ),
            counters: *counters,
        };
        self.flows.insert(origin, flow);
    }

    /// A flow gives its 5-tuple up.
    fn leave(&mut self, subject: &Subject) {
        let mut flows = self.flows.values_mut();
        let is_it = |flow: &&mut Flow| {
            Arc::ptr_eq(&flow.labels, &subject.labels)
                && Some(flow.kind) == subject.kind
                && flow.number == subject.number
        };
        if let Some(flow) = flows.find(is_it) {
            flow.slots.leave();
        }
    }

    /// Probing has ended. Gives how many outages were compared.
    pub(crate) fn finish(&mut self) -> u64 {
        let flows = std::mem::take(&mut self.flows).into_values();
        let ended = flows.map(|flow| flow.slots.finish(self.at, self.was_frozen));
        self.compared + ended.sum::<u64>()
    }
}
