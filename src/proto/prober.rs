//! The whole core behind one surface: targets in, events in, transmissions and results out.

mod pools;
#[cfg(test)]
mod tests;
mod traces;

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;

use slab::Slab;

use crate::limits::{FLOWS_TOTAL_MAX, TARGETS_MAX, TIMERS_PER_TURN_MAX};
use crate::proto::context::{Context, small};
use crate::proto::conversation::Answer;
use crate::proto::ends::Ends;
use crate::proto::flow::Flow;
use crate::proto::gate::{Gate, Prefix};
use crate::proto::key_ring::KeyRing;
use crate::proto::named::SenderSpec;
use crate::proto::output::Output;
use crate::proto::owner::{Owner, Timer};
use crate::proto::presence::Purpose;
use crate::proto::probed::Target;
use crate::proto::prober::pools::Pools;
use crate::proto::responder::{Reflector, Responder};
use crate::proto::rng::{Identifiers, Role};
pub use crate::proto::sample::SelfCounters;
use crate::proto::sample::{Counters, FlowKind, Origin, Stamp};
use crate::proto::strays::Strays;
use crate::proto::target::{Address, Host, TargetSpec};
use crate::proto::time::{Mono, Now};
use crate::proto::tracer::Tracer;
use crate::proto::transmit::{
    Arrival, CloseReason, FlowRef, Headers, ListenerId, SocketId, StampKey, TargetId, Transmit,
    Wanted,
};
use crate::proto::view::{FlowView, Refused};
use crate::proto::wire::native::ErrorEstimate;
use crate::proto::wire::native::authenticated::Key;

/// The bits of a traffic class that name it. The others are the network's, for congestion.
const DSCP: u8 = 0b1111_1100;

/// What a prober needs to know of its host.
#[derive(Clone, Debug)]
pub struct ProberConfig {
    /// This host's name in tags and replies.
    pub name: Box<str>,
    /// The ports that this host answers UDP requests on. Requests in text that come from one of them
    /// are another responder's replies, forged to start a loop, and go unanswered.
    pub udp_ports: Vec<u16>,
    /// Connections to accept at once, within [`ACCEPTED_MAX`](crate::limits::ACCEPTED_MAX).
    pub accepted_max: usize,
    /// Nanoseconds between two look-ups of a target's name.
    pub resolve_interval_ns: u64,
    /// Seeds every generator. The daemon takes it from the system's random source: who knows it can
    /// compute all identifiers.
    pub seed: [u8; 32],
    /// Whether requests on the native wire are answered, and offers of it taken.
    pub native: bool,
    /// The keys that requests may be authenticated with.
    pub keys: KeyRing,
}

/// What the kernel says of this host's wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockState {
    /// Something keeps it to UTC.
    pub is_synchronised: bool,
    /// Its largest error in nanoseconds, as far as the kernel knows.
    pub error_ns: u64,
}

/// The pure core. See the [module](crate::proto) for the order of calls.
#[derive(Debug)]
pub struct Prober {
    name: Arc<str>,
    resolve_interval_ns: u64,
    targets: Slab<Target>,
    targets_begun: u64,
    pools: Pools,
    /// Flows of all targets.
    flows_open: usize,
    responder: Responder,
    context: Context,
    strays: Strays,
    tracer: Tracer,
}

impl Prober {
    /// A prober without targets.
    pub fn new(config: ProberConfig) -> Self {
        let name: Arc<str> = config.name.into();
        let reflector = Reflector::new(name.clone(), config.native, config.keys);
        let mut gate_keys = Identifiers::new(config.seed, Role::Gate);
        let gate = Gate::open([gate_keys.key(), gate_keys.key()]);
        Self {
            responder: Responder::new(reflector, gate, config.udp_ports, config.accepted_max),
            name,
            resolve_interval_ns: config.resolve_interval_ns,
            targets: Slab::new(),
            targets_begun: 0,
            pools: Pools::default(),
            flows_open: 0,
            context: Context::new(config.seed),
            strays: Strays::default(),
            tracer: Tracer::new(config.seed),
        }
    }

    /// Begin to probe a target, or each address of its name as one. `None` past [`TARGETS_MAX`], or past
    /// [`FLOWS_TOTAL_MAX`] flows of all.
    pub fn add_target(&mut self, now: Now, spec: TargetSpec) -> Option<TargetId> {
        self.context.now = now;
        if spec.every_address && matches!(spec.host, Host::Name(_)) {
            return self.add_pool(spec);
        }
        let slot = self.begin(spec, None)?;
        Some(self.targets[slot].id)
    }

    /// Begins to probe a target, at an address or where its host leads. Returns its place in the table.
    fn begin(&mut self, spec: TargetSpec, at: Option<Address>) -> Option<usize> {
        let flows = self.flows_open + usize::from(spec.flow_count());
        if self.targets.len() >= TARGETS_MAX || flows > FLOWS_TOTAL_MAX {
            return None;
        }
        self.flows_open = flows;
        let (id, slot) = (self.next_id(), self.targets.vacant_key());
        let (name, interval_ns) = (&self.name, self.resolve_interval_ns);
        let context = &mut self.context;
        let target = Target::new(small(slot), id, name, interval_ns, spec, at, context);
        Some(self.targets.insert(target))
    }

    fn next_id(&mut self) -> TargetId {
        self.targets_begun += 1;
        TargetId(self.targets_begun)
    }

    /// Stop probing a target; what is in flight is forgotten, neither received nor lost.
    /// False if there is no such target.
    pub fn remove_target(&mut self, target: TargetId) -> bool {
        let mut targets = self.targets.iter();
        let Some((slot, _)) = targets.find(|(_, it)| it.id == target) else {
            return self.remove_pool(target);
        };
        self.end(slot);
        true
    }

    /// Stops probing the target at a place of the table.
    fn end(&mut self, slot: usize) {
        let target = self.targets.remove(slot);
        self.flows_open -= target.flows.len();
        target.end(&mut self.context);
    }

    /// Authenticates the packets of a target that has a key with another one from here on. What is in flight is
    /// believed with the one before. False if there is no such target.
    pub fn set_key(&mut self, now: Now, target: TargetId, key: &Arc<Key>) -> bool {
        self.context.now = now;
        let found = self.targets.iter_mut().find(|(_, it)| it.id == target);
        let Some((_, target)) = found else {
            return self.set_key_of_pool(target, key);
        };
        target.handle_key(key, &mut self.context);
        true
    }

    /// Publishes what is measured of a target from here on under another label and other tags, which its probes carry.
    /// Its flows go on as they are. False if there is no such target.
    pub fn set_labels(
        &mut self,
        now: Now,
        target: TargetId,
        label: &str,
        tags: &[Box<str>],
    ) -> bool {
        self.context.now = now;
        let found = self.targets.iter_mut().find(|(_, it)| it.id == target);
        let Some((_, target)) = found else {
            return self.set_labels_of_pool(target, label, tags);
        };
        target.handle_labels(label, tags, &mut self.context);
        true
    }

    /// Answers requests with other keys from here on. A session or connection of a key that is no longer there
    /// is not answered any more.
    pub fn set_keys(&mut self, keys: KeyRing) {
        self.responder.set_keys(keys);
    }

    /// Time has come to `now`: run what is due, the earliest first. After a stall that may be more than is
    /// well done at once; then [`poll_timeout`](Self::poll_timeout) says that it is past time for the rest.
    pub fn handle_timeout(&mut self, now: Now) {
        self.context.now = now;
        let (presence, caught_up) = (&mut self.context.presence, self.context.caught_up);
        let held = presence.handle_turn(now).into_iter();
        let held = held.chain([presence.settle(now, caught_up)]).flatten();
        self.context.outputs.extend(held.map(Output::Held));
        self.expire();
        self.turn_pools();
        for _ in 0..TIMERS_PER_TURN_MAX {
            let Some((_, timer)) = self.context.wheel.pop(now.mono) else {
                return;
            };
            match timer {
                Timer::Due(due) => {
                    if let Some((flow, _)) = flow_of(&mut self.targets, due) {
                        flow.schedule.handle_due(&mut self.context);
                    }
                }
                Timer::Expire(flow) => self.watch(flow, Flow::handle_expiry),
                Timer::Reopen(flow) => self.watch(flow, Flow::handle_reopen),
                Timer::Resolve(slot) => {
                    if let Some(target) = self.targets.get_mut(slot as usize) {
                        target.handle_resolve_timer(&mut self.context);
                    }
                }
                Timer::ResolvePool(slot) => self.look_up_pool(slot),
                Timer::Trace => {
                    self.tracer.timer = None;
                    self.turn_traces();
                }
                Timer::Session(slot) => {
                    self.responder.handle_session_timer(slot, &mut self.context);
                }
                Timer::Accepted(slot) => {
                    self.responder
                        .handle_accepted_timer(slot, &mut self.context);
                }
            }
        }
    }

    /// The engine's wait has ended at `now`, and was to end at `deadline` at the latest. To be told before
    /// anything that came meanwhile.
    pub fn handle_woken(&mut self, now: Now, deadline: Mono) {
        let held = self.context.presence.handle_woken(now, deadline);
        let held = held.into_iter().flatten();
        self.context.outputs.extend(held.map(Output::Held));
    }

    /// True if the loop was late, and it is to be known whether others had its processor.
    pub fn awaits_queued(&self) -> bool {
        self.context.presence.is_late()
    }

    /// The loop's thread has waited so many nanoseconds in all for a processor that others had. To be told from time
    /// to time, and when it is [awaited](Self::awaits_queued).
    pub fn handle_queued(&mut self, total_ns: u64) {
        self.context.presence.handle_queued(total_ns);
    }

    /// Everything that had arrived by `until` was given to the core. An engine that reads late says so each
    /// time that it has read; without it what is due is taken for what has come. No probe is called lost
    /// before what came by its timeout is read.
    pub fn handle_caught_up(&mut self, until: Mono) {
        self.context.caught_up = until;
    }

    /// True if a probe has had its time and waits for the engine to read what has come.
    pub fn awaits_arrivals(&self) -> bool {
        !self.context.expiring.is_empty()
    }

    /// Calls those probes lost that had been put off until everything was read.
    fn expire(&mut self) {
        for _ in 0..self.context.expiring.len() {
            // One that is put off again goes behind those that are left.
            if let Some(flow) = self.context.expiring.pop_front() {
                self.watch(flow, Flow::handle_expiry);
            }
        }
    }

    /// A datagram came in on a flow's own socket.
    pub fn handle_datagram(&mut self, arrival: Arrival, socket: SocketId, payload: &[u8]) {
        self.context.note_arrival(&arrival, Purpose::Reply);
        let Some((flow, ends, context)) = self.flow_at(socket) else {
            return;
        };
        let heard = flow.handle_payload(socket, &arrival, payload, ends, context);
        if heard.messages > 0 {
            return;
        }
        let from = flow.remote_of(socket);
        if self.is_echo(arrival, socket, payload) {
            return;
        }
        // The host at that address may have answered a probe to another one of its own.
        if !from.is_some_and(|from| self.is_misaddressed(from, payload))
            && let Some((flow, ..)) = self.flow_at(socket)
        {
            flow.window.counters.corrupt += 1;
        }
    }

    /// A datagram came in on a socket of our flows, from an address that none of them on it probes. If it
    /// answers a probe, that is counted and told. It is no reply to it: only the address that was probed
    /// can give one.
    pub fn handle_stray(&mut self, now: Now, from: SocketAddr, payload: &[u8]) {
        self.context.now = now;
        self.is_misaddressed(from, payload);
    }

    /// Looks for the flow whose probe is answered from an address that it does not probe, and returns
    /// whether there is one. Anyone can send us such packets, so the search is bounded.
    fn is_misaddressed(&mut self, from: SocketAddr, payload: &[u8]) -> bool {
        let Some(answer) = Answer::decode(payload) else {
            return false;
        };
        if !self
            .strays
            .may_look(self.targets.len(), self.context.now.mono)
        {
            return false;
        }
        let context = &mut self.context;
        let mut flows = self
            .targets
            .iter_mut()
            .flat_map(|(_, target)| &mut target.flows);
        flows.any(|flow| flow.takes_stray(from, &answer, context))
    }

    /// A datagram came in on a listener. Its reply has its DSCP.
    pub fn handle_request(
        &mut self,
        arrival: Arrival,
        listener: ListenerId,
        headers: &Headers,
        payload: &[u8],
    ) {
        self.context.note_arrival(&arrival, Purpose::Request);
        let transmit = |key| Transmit::Reply {
            listener,
            to: headers.from,
            from: headers.to,
            tos: headers.tos.unwrap_or(0) & DSCP,
            key,
        };
        self.responder
            .handle_datagram(&arrival, headers, transmit, payload, &mut self.context);
    }

    /// Lets only those ask this host whose address is in one of the prefixes, everyone if there are none,
    /// and so many requests a second of each IPv4 address and each /64 of IPv6. A connection that comes in
    /// is one request.
    pub fn restrict_requests(&mut self, allow: &[Prefix], rate: u32) {
        self.responder.gate.restrict(allow, rate);
    }

    /// Publishes senders that say no name under those that they have here, and believes those that have a key
    /// here only with that. It is to be in the [`KeyRing`] as well.
    pub fn name_senders(&mut self, now: Now, senders: &[SenderSpec]) {
        self.context.now = now;
        self.responder.name_senders(senders, &mut self.context);
    }

    /// True if a TCP connection from this address may come in; false: close it.
    pub fn admits(&mut self, now: Now, from: IpAddr) -> bool {
        self.context.now = now;
        self.responder.admits(from, &mut self.context)
    }

    /// A TCP connection came in. `None`: there is no room, close it.
    pub fn handle_accept(&mut self, now: Now) -> Option<SocketId> {
        self.context.now = now;
        self.responder.handle_accept(&mut self.context)
    }

    /// A connection that was begun is there; `now` is when that was seen, and `handshake_ns` how long
    /// the kernel says its handshake took, if it was not sent twice.
    pub fn handle_connected(&mut self, now: Now, socket: SocketId, handshake_ns: Option<u64>) {
        self.context.now = now;
        if let Some((flow, ends, context)) = self.flow_at(socket) {
            flow.handle_connected(socket, handshake_ns, ends, context);
        }
    }

    /// The socket of a flow is open, bound to `local`. Told once for each lasting socket, for people; and only a flow
    /// of which that is known has the hops of its path learnt.
    pub fn handle_opened(&mut self, socket: SocketId, local: SocketAddr) {
        let Some(Owner::Flow(this)) = self.context.owner(socket) else {
            return;
        };
        if let Some((flow, _)) = flow_of(&mut self.targets, this) {
            flow.handle_opened(local, &mut self.context);
            if flow.tuple().is_some() {
                let now = self.context.now.mono;
                self.tracer.handle_opened(this, &mut flow.path, now);
                self.turn_traces();
            }
        }
    }

    /// Bytes came in on a stream, ours or accepted. Gives how many messages were complete.
    pub fn handle_stream(&mut self, arrival: Arrival, socket: SocketId, bytes: &[u8]) -> usize {
        let context = &mut self.context;
        let owner = context.owner(socket);
        let purpose = match owner {
            Some(Owner::Accepted(_)) => Purpose::Request,
            _ => Purpose::Reply,
        };
        context.note_arrival(&arrival, purpose);
        match owner {
            Some(Owner::Flow(flow)) => {
                flow_of(&mut self.targets, flow).map_or(0, |(flow, ends)| {
                    flow.handle_payload(socket, &arrival, bytes, ends, context)
                        .messages
                })
            }
            Some(Owner::Accepted(slot)) => {
                self.responder.handle_stream(&arrival, slot, bytes, context)
            }
            None => 0,
        }
    }

    /// A socket is gone, or never came to be; the engine has closed it.
    pub fn handle_closed(&mut self, now: Now, socket: SocketId, reason: CloseReason) {
        self.context.now = now;
        let owner = self.context.owner(socket);
        self.context.forget_socket(socket);
        match owner {
            Some(Owner::Flow(flow)) => self.watch(flow, |flow, ends, context| {
                flow.handle_closed(socket, reason, ends, context)
            }),
            Some(Owner::Accepted(slot)) => self.responder.handle_closed(slot, &mut self.context),
            None => {}
        }
    }

    /// A stream has bytes that the kernel does not take yet (`true`), or has them no longer.
    /// The core sends nothing on it meanwhile.
    pub fn handle_blocked(&mut self, socket: SocketId, blocked: bool) {
        match self.context.owner(socket) {
            Some(Owner::Flow(flow)) => {
                if let Some((flow, _)) = flow_of(&mut self.targets, flow) {
                    flow.handle_blocked(socket, blocked);
                }
            }
            Some(Owner::Accepted(slot)) => self.responder.handle_blocked(slot, blocked),
            None => {}
        }
    }

    /// The kernel did not take the datagram that `poll_transmit` gave last for this socket:
    /// that probe was never sent. An engine may have gone on with other sockets meanwhile.
    pub fn handle_unsent(&mut self, now: Now, socket: SocketId, reason: CloseReason) {
        self.context.now = now;
        if let Some(Owner::Flow(flow)) = self.context.owner(socket) {
            self.watch(flow, |flow, ends, context| {
                flow.handle_unsent(socket, reason, ends, context)
            });
        }
    }

    /// The network says (ICMP) that a datagram of this socket did not get there. Anyone who guesses the
    /// addresses and ports can say so, so it is counted and changes nothing (RFC 5927): the probe may
    /// still be answered, and is lost at its timeout if it is not.
    pub fn handle_unreachable(&mut self, socket: SocketId, said: Refused) {
        if let Some((flow, ..)) = self.flow_at(socket) {
            flow.window.counters.unreachable += 1;
            flow.window.refused = Some(said);
        }
    }

    /// The transmit stamp of a packet has come.
    pub fn handle_stamp(&mut self, key: StampKey, stamp: Stamp) {
        match key.0 {
            Wanted::Probe { flow, number } => {
                if let Some((flow, _)) = flow_of(&mut self.targets, flow) {
                    flow.handle_left(number, stamp, &mut self.context);
                }
            }
            Wanted::Reply { place, seq } => {
                self.responder.handle_left(place, seq, stamp, &self.context);
            }
            Wanted::Hop { trace, packet } => self.tracer.handle_left(trace, packet, stamp),
        }
    }

    /// A transmit stamp that was wanted will not come: the packet was merged with another one, or the
    /// engine has waited long enough.
    pub fn handle_stamp_missing(&mut self, _: StampKey) {
        self.context.counters.stamps_missing_transmit += 1;
    }

    /// A packet came without a stamp although the kernel stamps, or with one that cannot be.
    pub fn handle_unstamped(&mut self) {
        self.context.counters.stamps_missing_receive += 1;
    }

    /// The buffers of UDP sockets had no room for so many datagrams more.
    pub fn handle_overflow(&mut self, count: u32) {
        self.context.counters.receive_dropped += u64::from(count);
    }

    /// TCP has sent so many segments again on this connection since it began.
    pub fn handle_retransmits(&mut self, socket: SocketId, total: u32) {
        if let Some((flow, ..)) = self.flow_at(socket) {
            flow.handle_retransmits(socket, total);
        }
    }

    /// This host's wall clock was set, by so many nanoseconds. Stamps from before and after are of
    /// two clocks from here on.
    pub fn handle_clock_step(&mut self, now: Now, step_ns: i64) {
        self.context.now = now;
        let context = &mut self.context;
        for (_, target) in &mut self.targets {
            target.handle_clock_step(context);
        }
        context.clock_epoch = context.clock_epoch.wrapping_add(1);
        context.outputs.push_back(Output::ClockStep {
            origin: None,
            at: now,
            step_ns,
        });
    }

    /// What the kernel says of the wall clock now, if it does; sent along with every packet.
    pub fn handle_clock_state(&mut self, state: Option<ClockState>) {
        // The wire has no word for an error that is not known: it is the largest there.
        self.context.clock_error = match state {
            Some(known) => ErrorEstimate::from_nanos(known.is_synchronised, known.error_ns),
            None => ErrorEstimate::from_nanos(false, u64::MAX),
        };
    }

    /// Probing ends: samples that wait for a transmit stamp are given out with what there is.
    pub fn handle_end(&mut self) {
        for (_, target) in &mut self.targets {
            target.finish(&mut self.context);
        }
        self.responder.settle(&mut self.context);
    }

    /// The kernel did not take a reply.
    pub fn handle_reply_unsent(&mut self) {
        self.context.counters.replies_dropped += 1;
    }

    /// A name was looked up. An empty list is a failure.
    pub fn handle_resolved(&mut self, now: Now, target: TargetId, addresses: &[Address]) {
        self.context.now = now;
        let found = self.targets.iter_mut().find(|(_, it)| it.id == target);
        match found {
            Some((_, target)) => target.handle_resolved(addresses, &mut self.context),
            None => self.handle_pool_resolved(target, addresses),
        }
    }

    /// The next thing to do, with its payload in `buffer` (cleared first). `now` is read by the
    /// engine for this very transmission: it is the probe's first stamp.
    pub fn poll_transmit(&mut self, now: Now, buffer: &mut Vec<u8>) -> Option<Transmit> {
        self.context.now = now;
        buffer.clear();
        // A turn asks until there is nothing more, so many calls end here.
        if self.context.is_idle() {
            return None;
        }
        self.next_transmit(buffer)
    }

    #[inline(never)]
    fn next_transmit(&mut self, buffer: &mut Vec<u8>) -> Option<Transmit> {
        if let Some(reply) = self.context.poll_reply(buffer) {
            return Some(reply);
        }
        if let Some(action) = self.context.actions.pop_front() {
            return Some(action);
        }
        while let Some(due) = self.context.due.pop_front() {
            let Some((flow, ends)) = flow_of(&mut self.targets, due) else {
                continue;
            };
            let transmit = flow.poll_transmit(ends, &mut self.context, buffer);
            if transmit.is_some() {
                return transmit;
            }
        }
        if std::mem::take(&mut self.context.is_hop_due) {
            return self.poll_hop(buffer);
        }
        None
    }

    /// When `handle_timeout` must be called next.
    pub fn poll_timeout(&mut self) -> Option<Mono> {
        if self.awaits_arrivals() || self.pools.are_due() {
            return Some(self.context.now.mono);
        }
        self.context.wheel.next_deadline()
    }

    /// The next result, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.context.outputs.pop_front()
    }

    /// All results, in order, where they lie: a probe has several, and each is larger than a cache line.
    pub fn drain_outputs(&mut self, mut handle: impl FnMut(&Output)) {
        let outputs = &mut self.context.outputs;
        for output in &*outputs {
            handle(output);
        }
        // The next ones come to lie where these were, in the cache still.
        outputs.clear();
    }

    /// Every flow of ours, with its counters so far.
    pub fn flows(&self) -> impl Iterator<Item = (Origin, FlowKind, &Counters)> {
        self.flows_at(0..self.places())
    }

    /// The same of the targets at these places of the table, for whoever cannot take all at once.
    pub fn flows_at(
        &self,
        places: Range<usize>,
    ) -> impl Iterator<Item = (Origin, FlowKind, &Counters)> {
        let targets = places.filter_map(|place| self.targets.get(place));
        targets
            .flat_map(|target| &target.flows)
            .map(|Flow { window, .. }| (window.origin, window.kind, &window.counters))
    }

    /// What is to be seen of the flows of the targets at these places of the table.
    pub fn views_at(&self, now: Now, places: Range<usize>) -> impl Iterator<Item = FlowView> {
        let targets = places.filter_map(|place| self.targets.get(place));
        targets.flat_map(move |target| {
            let views = target.flows.iter();
            views.map(move |flow| flow.view(&target.ends, now.mono))
        })
    }

    /// Places of the table of targets up to the last one that is taken.
    pub fn places(&self) -> usize {
        self.targets
            .iter()
            .next_back()
            .map_or(0, |(last, _)| last + 1)
    }

    /// Counters that belong to no flow.
    pub fn self_counters(&self) -> &SelfCounters {
        &self.context.counters
    }

    /// Returns the flow that a socket belongs to, and what its methods take.
    fn flow_at(&mut self, socket: SocketId) -> Option<(&mut Flow, &mut Ends, &mut Context)> {
        let Owner::Flow(flow) = self.context.owner(socket)? else {
            return None;
        };
        let (flow, ends) = flow_of(&mut self.targets, flow)?;
        Some((flow, ends, &mut self.context))
    }

    /// Has a flow handle an event. If it says that it has failed, its target's name may point elsewhere.
    fn watch(
        &mut self,
        flow: FlowRef,
        handle: impl FnOnce(&mut Flow, &mut Ends, &mut Context) -> bool,
    ) {
        let context = &mut self.context;
        if let Some(target) = self.targets.get_mut(flow.slot as usize)
            && let Some(found) = target.flows.get_mut(usize::from(flow.index))
            && handle(found, &mut target.ends, context)
        {
            target.handle_failure(flow.index, context);
        }
    }
}

/// Returns a flow with the ends of its target, unless the target is gone.
fn flow_of(targets: &mut Slab<Target>, flow: FlowRef) -> Option<(&mut Flow, &mut Ends)> {
    let target = targets.get_mut(flow.slot as usize)?;
    if target.id != flow.target {
        return None;
    }
    let found = target.flows.get_mut(usize::from(flow.index))?;
    Some((found, &mut target.ends))
}
