//! Keeps an account of what a prober does, and compares the prober's own with it after every
//! step.

mod flows;
mod report;
mod settled;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use latency_monitor::limits::TUPLES_LEFT_MAX;
use latency_monitor::proto::{
    ClockEstimate, Counters, Direction, FlowKind, FlowNumber, Host, Labels, Metric, OneWay, Origin,
    Outcome, Output, Prober, Protocol, Sample, StampSource, TargetSpec,
};

use crate::bursts::Bursts;
use crate::life;
use crate::network::HostId;
use crate::spread::Spread;
use crate::strangers::is_honest;
use crate::traces::{FlowTraces, check_remote};
use crate::truth::Truth;

/// Datagrams that are remembered by their identity, to know a copy by.
const REMEMBERED: usize = 10_000;

/// What a prober has said of a peer's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) address: IpAddr,
    pub(crate) estimate: ClockEstimate,
    origin: Origin,
    /// When the probe was sent whose exchange it came with; `None` until that one's trace is told.
    pub(crate) began_ns: Option<u64>,
}

/// One flow, as seen from outside.
#[derive(Debug)]
struct FlowAccount {
    label: String,
    kind: FlowKind,
    /// Which of the target's flows of this kind.
    number: FlowNumber,
    address: Option<IpAddr>,
    protocol: Protocol,
    interval_ns: u64,
    timeout_ns: u64,
    /// Whether its samples are published at all.
    published: bool,
    added_ns: u64,
    first_due_ns: Option<u64>,
    /// Number of the next probe.
    next: u64,
    /// A reply may wait so long until it is read.
    reads_within_ns: u64,
    /// When each probe of which nothing is published yet was sent.
    in_flight: BTreeMap<u64, u64>,
    received: u64,
    lost: u64,
    delays: Spread,
    /// Samples whose stamps are all the kernel's, and those that had a dwell taken out.
    by_kernel: u64,
    without_dwell: u64,
    forward: Spread,
    reverse: Spread,
    /// One-way delays published of its probes.
    owd: Spread,
    /// Routers that they passed.
    hops: Option<u8>,
    paths: Vec<String>,
    counters: Counters,
    traces: FlowTraces,
    /// The counters when the network had settled.
    settled: Option<Counters>,
}

/// What one prober has done since it began.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that have nothing in common"
)]
pub(crate) struct Account {
    flows: BTreeMap<Origin, FlowAccount>,
    /// A reply may wait so long until it is read.
    reads_within_ns: u64,
    senders: BTreeMap<Origin, (Arc<Labels>, Spread)>,
    senders_opened: u64,
    /// Flows of those peers that are probed with several.
    senders_of: BTreeMap<Origin, u16>,
    /// What was published under labels that are gone, once `remembers`.
    past: Vec<(Arc<Labels>, Spread)>,
    pub(crate) remembers: bool,
    /// Targets that were added, until their flows show up.
    adding: Vec<(TargetSpec, u64)>,
    /// Slots and sends of flows that have been removed.
    closed_slots: u64,
    closed_sends: u64,
    /// A flow has ended of which it is not known when its slots were.
    is_schedule_unknown: bool,
    lateness: u64,
    /// The host has been stalled: sends are late and slots are missed, which is counted.
    pub(crate) was_frozen: bool,
    /// Something of ours was closed or moved in this step: what was in flight there is lost.
    pub(crate) closed_something: bool,
    /// A probe was lost before its timeout, which is right only with its socket.
    lost_early: Option<String>,
    /// The request that is being delivered: its identity, and its true one-way delay.
    pub(crate) request: Option<(u64, i64)>,
    /// Somebody speaks native: delays are published when their stamps are there.
    pub(crate) has_native: bool,
    pub(crate) claims: Vec<Claim>,
    claimed: u64,
    last_claim: Option<ClockEstimate>,
    clock_steps: u64,
    /// Flows that took a fresh 5-tuple for losses, and those of which that helped.
    pub(crate) reopened: u64,
    pub(crate) helped: u64,
    requests_seen: BTreeSet<u64>,
    /// The last delay of a packet of somebody else's, until its trace is told.
    one_way: Option<OneWay>,
    measured_remote: u64,
    traced_remote: u64,
    delays_of_request: Vec<i64>,
    /// What is found in the probes, if the scenario asks for it.
    pub(crate) bursts: Option<Bursts>,
    /// What happened to the flows, a line each, where the scenario asks for it.
    pub(crate) life: Option<String>,
}

fn flow_label(labels: &Labels, kind: FlowKind) -> String {
    format!("{} -> {} {kind:?}", labels.source, labels.target).to_lowercase()
}

impl Account {
    pub(crate) fn new(reads_within_ns: Option<u64>) -> Self {
        Self {
            reads_within_ns: reads_within_ns.unwrap_or(0),
            ..Self::default()
        }
    }

    pub(crate) fn add(&mut self, spec: TargetSpec, now_ns: u64) {
        self.adding.push((spec, now_ns));
    }

    /// A probe was handed to the engine. Gives whose it is.
    pub(crate) fn handle_send(&mut self, now_ns: u64, prober: &Prober, lateness_ns: u64) -> Origin {
        let mut sender = None;
        for (origin, _, counters) in prober.flows() {
            let flow = self
                .flows
                .get(&origin)
                .expect("a flow is opened before it sends");
            let sent = flow.counters.sent;
            assert!(
                counters.sent == sent || counters.sent == sent + 1,
                "two probes in one"
            );
            if counters.sent > sent {
                assert!(
                    sender.replace(origin).is_none(),
                    "one probe counted on two flows"
                );
            }
        }
        let origin = sender.expect("a probe that left is counted");
        let flow = self.flows.get_mut(&origin).expect("known from above");
        flow.counters.sent += 1;
        if flow.published {
            flow.in_flight.insert(flow.next, now_ns);
        }
        if flow.kind != FlowKind::Connect {
            flow.traces.handle_send(flow.next, now_ns);
        }
        flow.next += 1;
        let due_ns = now_ns - lateness_ns;
        if !self.was_frozen {
            assert_eq!(lateness_ns, 0, "{}: late in virtual time", flow.label);
        }
        let since_added = (due_ns - flow.added_ns) % flow.interval_ns;
        let first_due_ns = *flow.first_due_ns.get_or_insert(flow.added_ns + since_added);
        assert_eq!(
            (due_ns - first_due_ns) % flow.interval_ns,
            0,
            "{}: off schedule",
            flow.label
        );
        self.lateness = self.lateness.max(lateness_ns);
        origin
    }

    /// The kernel refused the last probe of the flow that has one `unsent` more now.
    pub(crate) fn handle_unsent(&mut self, prober: &Prober) {
        for (origin, _, counters) in prober.flows() {
            let flow = self.flows.get_mut(&origin).expect("opened");
            if counters.sent < flow.counters.sent {
                flow.counters.sent -= 1;
                flow.in_flight.remove(&(flow.next - 1));
                flow.traces.handle_unsent(flow.next - 1);
            }
        }
    }

    /// The network has said that a probe to this address did not get there: one flow counts that, and
    /// it is one that goes there.
    pub(crate) fn handle_unreachable(&mut self, prober: &Prober, to: IpAddr) {
        let mut counted = 0;
        for (origin, kind, counters) in prober.flows() {
            let flow = self.flows.get_mut(&origin).expect("opened");
            if counters.unreachable > flow.counters.unreachable {
                assert_eq!(kind, FlowKind::Udp);
                assert!(flow.address.is_none_or(|address| address == to));
                flow.counters.unreachable += 1;
                counted += 1;
            }
        }
        assert_eq!(counted, 1, "an error of one probe to {to}");
    }

    pub(crate) fn handle_output(
        &mut self,
        now_ns: u64,
        world: (HostId, &Truth),
        prober: &Prober,
        output: Output,
    ) {
        if let Some(bursts) = &mut self.bursts {
            bursts.handle_output(&output);
        }
        match output {
            Output::Opened { origin, labels } => self.open(now_ns, origin, labels, prober),
            Output::Relabelled(relabelled) => self.relabel(
                relabelled.origin,
                relabelled.labels,
                relabelled.last.as_ref(),
            ),
            Output::Member(member) => self.join(&member),
            Output::Tuple(tuple) => {
                assert!(self.flows.contains_key(&tuple.origin), "{tuple:?}");
            }
            Output::Reopened(reopened) => self.handle_reopened(&reopened),
            Output::Sample(sample) => self.handle_sample(now_ns, world, &sample),
            Output::OneWay(delay) => self.handle_direction(world, &delay),
            Output::Trace(trace) => match self.flows.get_mut(&trace.origin) {
                Some(flow) => {
                    let sent_ns = flow.traces.handle_trace(now_ns, world, &trace);
                    let mut claims = self.claims.iter_mut();
                    if let Some(claim) = claims
                        .find(|claim| claim.origin == trace.origin && claim.began_ns.is_none())
                    {
                        claim.began_ns = Some(sent_ns);
                    }
                }
                None => {
                    check_remote(&trace, self.one_way.take().as_ref());
                    self.traced_remote += 1;
                }
            },
            Output::LossPlaced {
                origin,
                seq,
                direction,
                ..
            } => {
                let flow = self.flows.get_mut(&origin).expect("a flow of ours");
                flow.traces.handle_placed(seq, direction);
            }
            Output::Clock { origin, estimate } => self.handle_claim(origin, estimate),
            Output::ClockStep { origin, .. } => self.clock_steps += u64::from(origin.is_some()),
            Output::Hops { origin, hops, .. } => {
                self.flows.get_mut(&origin).expect("a flow of ours").hops = Some(hops);
            }
            Output::Path(path) => self.handle_path(&path),
            Output::SendGap(_)
            | Output::ReceiveGap(_)
            | Output::Outage(_)
            | Output::Held(_)
            | Output::PeerHeld(_)
            | Output::PeerMute(_)
            | Output::Dscp(_)
            | Output::Wire { .. } => {}
            Output::Life(life) => {
                if let Some(lines) = &mut self.life {
                    lines.push_str(&life::line(now_ns, &life));
                }
            }
            Output::Lateness(_) => panic!("lateness without a probe"),
            Output::Closed { origin, last } => self.close(now_ns, origin, last),
        }
    }

    fn open(&mut self, now_ns: u64, origin: Origin, labels: Arc<Labels>, prober: &Prober) {
        let mut flows = prober.flows();
        let Some((_, kind, _)) = flows.find(|flow| flow.0 == origin) else {
            self.senders_opened += 1;
            let replaced = self.senders.insert(origin, (labels, Spread::default()));
            assert!(replaced.is_none(), "an origin is opened twice");
            return;
        };
        let of_label = |(spec, _): &&(TargetSpec, u64)| spec.label == labels.target;
        let mut added = self.adding.iter().rev();
        let (spec, added_ns) = added.find(of_label).expect("it was added");
        // Addresses of a name come after it.
        let added_ns = if spec.every_address {
            now_ns
        } else {
            *added_ns
        };
        let flow = FlowAccount {
            label: flow_label(&labels, kind),
            kind,
            number: FlowNumber::ONLY,
            address: match spec.host {
                Host::Address(address) => Some(address),
                Host::Name(_) => None,
            },
            protocol: spec.protocol,
            interval_ns: spec.interval_ns,
            timeout_ns: spec.timeout_ns,
            published: spec.rtt || kind == FlowKind::Connect,
            added_ns,
            first_due_ns: None,
            next: 0,
            reads_within_ns: self.reads_within_ns,
            in_flight: BTreeMap::new(),
            received: 0,
            lost: 0,
            delays: Spread::default(),
            by_kernel: 0,
            without_dwell: 0,
            forward: Spread::default(),
            reverse: Spread::default(),
            owd: Spread::default(),
            hops: None,
            paths: Vec::new(),
            counters: Counters::default(),
            traces: FlowTraces::default(),
            settled: None,
        };
        assert!(
            self.flows.insert(origin, flow).is_none(),
            "an origin is opened twice"
        );
    }

    /// An origin goes on under other labels: its counters stay what they are.
    fn relabel(
        &mut self,
        origin: Origin,
        labels: Arc<Labels>,
        last: Option<&(FlowKind, Counters)>,
    ) {
        let Some((kind, counters)) = last else {
            let sender = self.senders.get_mut(&origin).expect("it is open");
            let before = std::mem::replace(sender, (labels, Spread::default()));
            self.past.push(before);
            return;
        };
        let flow = self.flows.get_mut(&origin).expect("it is open");
        assert_eq!(flow.kind, *kind);
        assert_eq!(counters.sent, flow.counters.sent, "{}: so far", flow.label);
        flow.label = flow_label(&labels, *kind);
    }

    fn close(&mut self, now_ns: u64, origin: Origin, last: Option<Box<(FlowKind, Counters)>>) {
        let Some((_, counters)) = last.map(|last| *last) else {
            self.senders_of.remove(&origin);
            let sender = self.senders.remove(&origin);
            let sender = sender.expect("closed once, after it was opened");
            if self.remembers {
                self.past.push(sender);
            }
            return;
        };
        let flow = self
            .flows
            .remove(&origin)
            .expect("closed once, after it was opened");
        assert_eq!(
            counters.sent, flow.counters.sent,
            "{}: its last counters",
            flow.label
        );
        if flow.first_due_ns.is_some() {
            self.closed_slots += flow.slots(now_ns);
            self.closed_sends += counters.sent + counters.unsent;
        } else {
            // It never sent, so when its slots were is not known, nor how many it missed.
            self.is_schedule_unknown |= self.was_frozen;
        }
    }

    fn handle_sample(&mut self, now_ns: u64, world: (HostId, &Truth), sample: &Sample) {
        let Some(flow) = self.flows.get_mut(&sample.origin) else {
            return self.handle_one_way(world, sample);
        };
        let seq = sample.seq / u64::from(flow.number.of);
        assert_eq!(flow.number.seq(seq), sample.seq, "{}: {seq}", flow.label);
        let sample = &Sample { seq, ..*sample };
        if sample.metric == Metric::UdpOwd {
            // Only we publish what a reflector that is not ours measures.
            assert_eq!(flow.protocol, Protocol::Stamp, "{sample:?}");
            let (host, truth) = world;
            let is_so = truth.has_forward(host, sample.seq, sample.value_ns);
            assert!(is_so, "{}: {sample:?}", flow.label);
            flow.owd.add(sample.value_ns);
            return;
        }
        let label = &flow.label;
        let sent_ns = flow.in_flight.remove(&sample.seq);
        let sent_ns = sent_ns.unwrap_or_else(|| panic!("{label}: a second outcome: {sample:?}"));
        let took_ns = now_ns - sent_ns;
        match sample.outcome {
            Outcome::Received => {
                flow.received += 1;
                flow.check_delay(world, sample, took_ns, self.was_frozen);
                flow.delays.add(sample.value_ns);
                flow.by_kernel += u64::from(sample.stamp == StampSource::Kernel);
                flow.without_dwell += u64::from(sample.dwell_ns.is_some());
            }
            Outcome::Lost => {
                flow.lost += 1;
                if took_ns < flow.timeout_ns && flow.kind != FlowKind::Connect {
                    self.lost_early = Some(format!("{label}: given up after {took_ns} ns"));
                }
            }
        }
    }

    /// A one-way delay of a request that has just come in, or of a packet whose stamps are all there now.
    fn handle_one_way(&mut self, (host, truth): (HostId, &Truth), sample: &Sample) {
        let (labels, delays) = self
            .senders
            .get_mut(&sample.origin)
            .expect("an open origin");
        assert_eq!(sample.outcome, Outcome::Received);
        delays.add(sample.value_ns);
        let is_honest = is_honest(labels, sample.value_ns);
        if sample.metric != Metric::UdpOwd || sample.is_corrected || !is_honest {
            return;
        }
        if sample.stamp == StampSource::Kernel {
            let of = self
                .senders_of
                .get(&sample.origin)
                .map_or(1, |of| (*of).into());
            let (number, ns) = (sample.seq / of, sample.value_ns);
            assert!(
                truth.has_one_way(host, number, ns),
                "{labels:?}: {sample:?}"
            );
        } else if self.request.is_some() {
            self.delays_of_request.push(sample.value_ns);
        }
    }

    fn handle_direction(&mut self, (host, truth): (HostId, &Truth), delay: &OneWay) {
        let Some(flow) = self.flows.get_mut(&delay.origin) else {
            self.measured_remote += 1;
            self.one_way = Some(*delay);
            return;
        };
        let (number, ns) = (delay.seq, delay.delay_ns);
        if delay.kind == FlowKind::Udp && delay.stamp == StampSource::Kernel {
            let is_so = match delay.direction {
                Direction::Forward => truth.has_forward(host, number, ns),
                Direction::Reverse => truth.has_one_way(host, number, ns),
            };
            assert!(is_so, "{}: {delay:?}", flow.label);
        }
        match delay.direction {
            Direction::Forward => flow.forward.add(ns),
            Direction::Reverse => flow.reverse.add(ns),
        }
    }

    fn handle_claim(&mut self, origin: Origin, estimate: ClockEstimate) {
        self.claimed += 1;
        self.last_claim = Some(estimate);
        let flow = &self.flows[&origin];
        if let Some(address) = flow.address {
            self.claims.push(Claim {
                address,
                estimate,
                origin,
                began_ns: None,
            });
        }
    }

    /// Everything that holds after every step.
    pub(crate) fn check(&mut self, now_ns: u64, prober: &Prober) {
        if let Some((id, true_ns)) = self.request.take() {
            // The first delay of a sender is published with its second, before it; on the native wire
            // those of earlier ones may be.
            let delays = &self.delays_of_request;
            if !self.has_native {
                assert!(delays.len() <= 2, "more samples than requests");
                assert!(
                    delays.last().is_none_or(|ns| *ns == true_ns),
                    "{delays:?}, truly {true_ns}"
                );
                let is_copy = !delays.is_empty() && self.requests_seen.contains(&id);
                assert!(!is_copy, "a copy is measured");
            }
            self.requests_seen.insert(id);
            if self.requests_seen.len() > REMEMBERED {
                self.requests_seen.pop_first();
            }
        }
        self.delays_of_request.clear();
        let lost_early = self.lost_early.take().filter(|_| !self.closed_something);
        assert_eq!(lost_early, None, "and nothing was closed");
        self.closed_something = false;
        let own = prober.self_counters();
        let (mut slots, mut sends) = (self.closed_slots, self.closed_sends);
        let mut open = 0;
        for (origin, _, counters) in prober.flows() {
            let flow = self.flows.get_mut(&origin).expect("opened");
            open += 1;
            flow.check(now_ns, counters, self.was_frozen);
            if flow.kind != FlowKind::Connect {
                flow.traces.check(&flow.label, counters);
            }
            flow.counters = *counters;
            slots += flow.slots(now_ns);
            sends += counters.sent + counters.unsent;
        }
        assert_eq!(open, self.flows.len(), "flows end with a last word");
        assert_eq!(self.measured_remote, self.traced_remote);
        let flows = &self.flows;
        let known = flows.values().all(|flow| flow.first_due_ns.is_some());
        if known && !self.is_schedule_unknown {
            assert_eq!(
                slots,
                sends + own.slots_missed,
                "every slot is sent, unsent or missed"
            );
        }
        assert!(
            self.was_frozen || own.slots_missed == 0,
            "slots missed in virtual time"
        );
    }

    /// At the end every probe that was received is published.
    pub(crate) fn check_nothing_waits(&self, prober: &Prober) {
        for (origin, _, counters) in prober.flows() {
            let flow = &self.flows[&origin];
            assert_eq!(counters.settling, 0, "{}: still waits", flow.label);
            assert!(
                !flow.published || counters.received == flow.received,
                "{}: received and published",
                flow.label
            );
        }
    }

    /// At the end of a quiet time: the losses of all UDP flows, forward and reverse.
    pub(crate) fn check_losses(&self, (host, truth): (HostId, &Truth), truly: (u64, u64)) {
        let udp = self
            .flows
            .values()
            .filter(|flow| flow.kind == FlowKind::Udp);
        let counted = udp.fold((0, 0, 0), |(forward, reverse, all), flow| {
            let c = flow.counters;
            (
                forward + c.lost_forward,
                reverse + c.lost_reverse,
                all + c.lost,
            )
        });
        assert_eq!(
            (counted.0, counted.1),
            truly,
            "lost forward and reverse, {counted:?}"
        );
        assert_eq!(counted.0 + counted.1, counted.2, "all losses");
        for flow in self.flows.values() {
            flow.traces.check_places(host, truth);
        }
    }
}

impl FlowAccount {
    /// Slots that have come due by now.
    fn slots(&self, now_ns: u64) -> u64 {
        match self.first_due_ns {
            Some(first) if first <= now_ns => (now_ns - first) / self.interval_ns + 1,
            _ => 0,
        }
    }

    /// A delay is what the network did, or, without stamps of the kernel's, what the host made of it.
    fn check_delay(
        &self,
        (host, truth): (HostId, &Truth),
        sample: &Sample,
        took_ns: u64,
        was_frozen: bool,
    ) {
        // What came in time is received then, however late it is read.
        let was_stalled = was_frozen && self.reads_within_ns > 0;
        let label = &self.label;
        let value_ns = sample.value_ns;
        if sample.dwell_ns.is_some()
            && sample.stamp == StampSource::Kernel
            && self.kind == FlowKind::Udp
        {
            assert!(
                truth.has_round_trip(host, sample.seq, value_ns),
                "{label}: not what happened: {sample:?}"
            );
            return;
        }
        if self.protocol == Protocol::Text || self.kind == FlowKind::Connect {
            assert!(
                took_ns < self.timeout_ns + self.reads_within_ns || was_stalled,
                "{label}: received after its timeout"
            );
        }
        let is_exact = self.protocol == Protocol::Text && sample.stamp == StampSource::User
            || self.kind == FlowKind::Connect;
        if is_exact {
            assert_eq!(
                value_ns,
                signed(took_ns),
                "{label}: not what the clock says"
            );
        } else {
            let most_ns = signed(took_ns) + truth.drift_ns(signed(took_ns));
            let is_between = (-most_ns / 1_000 - 4..=most_ns).contains(&value_ns);
            assert!(is_between, "{label}: {sample:?} within {took_ns} ns");
        }
    }

    fn check(&self, now_ns: u64, counters: &Counters, was_frozen: bool) {
        let label = &self.label;
        assert_eq!(
            counters.sent, self.counters.sent,
            "{label}: counted as sent"
        );
        assert_eq!(
            counters.unreachable, self.counters.unreachable,
            "{label}: counted as unreachable"
        );
        if self.published {
            assert_eq!(
                counters.received,
                self.received + counters.settling,
                "{label}: received and published"
            );
            assert_eq!(counters.lost, self.lost, "{label}: lost and published");
            let in_flight = self.in_flight.len() as u64;
            assert_eq!(
                counters.sent + counters.settling,
                counters.received + counters.lost + in_flight,
                "{label}"
            );
        }
        assert!(
            counters.received + counters.lost <= counters.sent,
            "{label}: {counters:?}"
        );
        assert!(counters.late <= counters.lost, "{label}: {counters:?}");
        assert!(
            counters.lost_forward + counters.lost_reverse <= counters.lost,
            "{label}: {counters:?}"
        );
        let tuples = 1 + TUPLES_LEFT_MAX as u64;
        assert!(counters.settling <= 4 * tuples, "{label}: {counters:?}");
        assert!(
            counters.in_flight() <= (self.timeout_ns + self.reads_within_ns) / self.interval_ns + 2,
            "{label}: more in flight than fit into the timeout"
        );
        if let Some((number, sent_ns)) = self.in_flight.first_key_value()
            && self.published
            && !was_frozen
        {
            let waits_ns = now_ns - sent_ns;
            let most_ns = if counters.settling > 0 {
                2 * (self.timeout_ns + self.interval_ns)
            } else {
                self.timeout_ns
            };
            assert!(
                waits_ns <= most_ns + self.reads_within_ns,
                "{label}: probe {number} waits {waits_ns} ns"
            );
        }
    }
}

fn signed(ns: u64) -> i64 {
    i64::try_from(ns).expect("virtual delays fit")
}
