//! The window of a flow: its last probes with one outcome for each, and its counters.

mod departure;
mod loss;
mod outage;
mod report;
mod run;

use departure::STEP_LEAST_NS;
use outage::Silence;
use report::{Reach, Reported};
use run::Run;

pub(crate) use departure::{Departure, Measured, Reply};
pub(crate) use report::ReceiveReport;

use std::ops::Range;
use std::sync::Arc;

use crate::proto::context::Context;
use crate::proto::life::Subject;
use crate::proto::output::Output;
use crate::proto::owner::Timer;
use crate::proto::remarks::Remarks;
use crate::proto::sample::{
    Counters, Direction, FlowKind, FlowNumber, Labels, Metric, Origin, Outcome, Sample, Stamp,
    StampSource, Trace,
};
use crate::proto::target::TargetSpec;
use crate::proto::time::{Mono, Wall};
use crate::proto::tracer::Trip;
use crate::proto::transmit::{Arrival, FlowRef, StampKey, Wanted};
use crate::proto::view::Refused;
use crate::proto::wheel::TimerKey;

/// Minimum probes that a window remembers, to recognise late and duplicate replies of slow flows.
const WINDOW_PROBES_MIN: u64 = 16;

/// The state of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    InFlight,
    Received,
    Lost,
    /// Lost, but its reply came later.
    Late,
    /// The kernel did not take it: it was never on the wire.
    Unsent,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    /// When it was handed to the kernel.
    sent: Mono,
    /// The same time, as the packet carries it.
    sent_wall: Wall,
    /// When it left, by the best stamp so far.
    left: Stamp,
    /// How often our wall clock had been set by then.
    clock_epoch: u32,
    state: State,
    /// True on the native wire, whose reflector can report its receive.
    is_native: bool,
    reach: Reach,
}

impl Probe {
    fn departure(&self, context: &Context) -> Departure {
        Departure {
            sent: self.sent,
            left: self.left,
            is_comparable: self.clock_epoch == context.clock_epoch,
        }
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Window {
    this: FlowRef,
    pub(crate) subject: Subject,
    pub(crate) origin: Origin,
    pub(crate) kind: FlowKind,
    /// Which of the target's flows of this kind.
    pub(crate) number: FlowNumber,
    /// The target's tags with the flow's own as they stand on the wire, if it has one.
    pub(crate) wire_tags: Option<Box<str>>,
    metric: Metric,
    /// True if samples are published; counters always are.
    is_published: bool,
    interval_ns: u64,
    timeout_ns: u64,
    expiry_timer: Option<TimerKey>,
    /// When a probe was put off that has had its time: what has come until then is read first.
    put_off: Option<Mono>,
    /// A ring, indexed by the probe's number modulo its length (a power of two).
    probes: Box<[Probe]>,
    /// The number of the next probe.
    next: u64,
    /// No probe before this one is in flight.
    oldest: u64,
    /// One more than the highest number answered: RFC 4737's `NextExp`, at the sender.
    next_expected: u64,
    pub(crate) counters: Counters,
    /// What the network said last of a probe that did not get there.
    pub(crate) refused: Option<Refused>,
    /// The receive reports of the reflector so far.
    reported: Option<Reported>,
    /// The probes of the 5-tuple in use.
    tuple: Run,
    /// Those to the address in use.
    address: Run,
    silence: Silence,
    /// The TTL that probes leave with over UDP.
    ttl: u8,
    /// Routers that probes of the 5-tuple in use pass, if replies have told.
    pub(crate) routers: Option<u8>,
    /// The round trip of the last probe received.
    last: Option<Measured>,
    /// Of a UDP flow whose packets are marked.
    pub(crate) remarks: Option<Remarks>,
}

impl Window {
    /// Returns an empty window with room for twice the probes of a timeout.
    pub(crate) fn new(
        this: FlowRef,
        kind: FlowKind,
        number: FlowNumber,
        spec: &TargetSpec,
        labels: Arc<Labels>,
        context: &mut Context,
    ) -> Self {
        let mut subject = Subject::new(labels.clone(), Some(kind));
        subject.number = (!number.is_only()).then_some(number.number);
        let (interval_ns, timeout_ns) = (spec.interval_ns, spec.timeout_ns);
        let in_flight_most = timeout_ns / interval_ns + 2;
        let capacity = (2 * in_flight_most)
            .max(WINDOW_PROBES_MIN)
            .next_power_of_two();
        let empty = Probe {
            sent: Mono::ZERO,
            sent_wall: Wall::default(),
            left: Stamp::user(Wall::default()),
            clock_epoch: 0,
            state: State::Unsent,
            is_native: false,
            reach: Reach::Unknown,
        };
        Self {
            this,
            origin: context.open_origin(labels),
            subject,
            kind,
            number,
            wire_tags: None,
            metric: match kind {
                FlowKind::Udp => Metric::UdpRtt,
                FlowKind::Tcp => Metric::TcpRtt,
                FlowKind::Connect => Metric::TcpLatency,
            },
            is_published: spec.rtt || kind == FlowKind::Connect,
            interval_ns,
            timeout_ns,
            expiry_timer: None,
            put_off: None,
            probes: vec![empty; usize::try_from(capacity).unwrap_or(usize::MAX)].into(),
            next: 0,
            oldest: 0,
            next_expected: 0,
            counters: Counters::default(),
            refused: None,
            reported: None,
            tuple: Run::default(),
            address: Run::default(),
            silence: Silence::default(),
            ttl: spec.marks.ttl.unwrap_or(u8::MAX),
            routers: None,
            last: None,
            remarks: spec
                .marks
                .dscp
                .filter(|_| kind == FlowKind::Udp)
                .map(Remarks::new),
        }
    }

    /// Counts a slot whose probe must not leave yet.
    pub(crate) fn hold(&mut self) {
        self.counters.unsent += 1;
    }

    /// Returns the flow.
    pub(crate) fn this(&self) -> FlowRef {
        self.this
    }

    /// A probe has arrived with this TTL.
    pub(crate) fn note_ttl(&mut self, ttl: u8) {
        self.routers = self.ttl.checked_sub(ttl);
    }

    /// Returns the round trip of the last probe received.
    pub(crate) fn last_trip(&self) -> Option<Trip> {
        let last = self.last?;
        let ns = u64::try_from(last.value_ns).ok()?;
        let stamp = last.stamp;
        Some(Trip { ns, stamp })
    }

    /// Returns the purpose of a probe's transmit stamp.
    pub(crate) fn stamp_key(&self, number: u64) -> StampKey {
        let flow = self.this;
        StampKey(Wanted::Probe { flow, number })
    }

    /// Returns the number of the next probe that `send` makes.
    pub(crate) fn next_number(&self) -> u64 {
        self.next
    }

    /// Records a probe that leaves now, for the slot due at `slot`. Returns its number.
    pub(crate) fn send(&mut self, slot: Mono, is_native: bool, context: &mut Context) -> u64 {
        let number = self.next;
        let index = self.index(number);
        if number >= self.probes.len() as u64 && self.probes[index].state == State::InFlight {
            // Impossible: the ring holds twice the probes of a timeout. If it happened, it is lost.
            self.lose(number - self.probes.len() as u64, context);
        }
        self.probes[index] = Probe {
            sent: context.now.mono,
            sent_wall: context.now.wall,
            left: Stamp::user(context.now.wall),
            clock_epoch: context.clock_epoch,
            state: State::InFlight,
            is_native,
            reach: Reach::Unknown,
        };
        self.next += 1;
        self.counters.sent += 1;
        self.counters.sent_native += u64::from(is_native);
        context
            .outputs
            .push_back(Output::Lateness(context.now.mono.since(slot)));
        if self.expiry_timer.is_none() && self.put_off.is_none() {
            let deadline = context.now.mono.plus(self.timeout_ns);
            self.expiry_timer = Some(context.wheel.insert(deadline, Timer::Expire(self.this)));
        }
        number
    }

    /// Withdraws the probe before this number, which the kernel did not take.
    pub(crate) fn unsend_before(&mut self, end: u64, context: &mut Context) {
        if let Some(number) = end.checked_sub(1) {
            self.unsend(number, context);
        }
    }

    /// Withdraws a probe that the kernel did not take: it was never on the wire.
    pub(crate) fn unsend(&mut self, number: u64, context: &mut Context) {
        if self.is_in_flight(number) {
            let index = self.index(number);
            self.probes[index].state = State::Unsent;
            self.counters.sent -= 1;
            self.counters.sent_native -= u64::from(self.probes[index].is_native);
            self.counters.unsent += 1;
            self.judge_slots(context);
        }
    }

    /// Takes the transmit stamp of a probe. False if the probe is forgotten.
    pub(crate) fn handle_left(&mut self, number: u64, stamp: Stamp, context: &mut Context) -> bool {
        let index = self.index(number);
        if !self.remembers(number) || self.probes[index].state == State::Unsent {
            return false;
        }
        let probe = &mut self.probes[index];
        let is_comparable = probe.clock_epoch == context.clock_epoch;
        let gap_ns = stamp.at.since(probe.sent_wall);
        if is_comparable && gap_ns < -STEP_LEAST_NS {
            // It left before it was sent: this is another packet's stamp.
            return false;
        }
        probe.left = stamp;
        let begun = probe.sent_wall;
        if let Some(gap_ns) = u64::try_from(gap_ns).ok().filter(|_| is_comparable) {
            context.note_departure(begun, gap_ns);
        }
        true
    }

    /// Returns when a probe left, as far as it is known by now.
    pub(crate) fn departure(&self, number: u64, context: &Context) -> Option<Departure> {
        self.get(number).map(|probe| probe.departure(context))
    }

    /// True if we sent a packet with this number and time.
    pub(crate) fn has_sent(&self, number: u64, at: Wall) -> bool {
        self.sent_at(number) == Some(at)
    }

    /// Returns the time that a packet of ours carried, if the probe is remembered.
    pub(crate) fn sent_at(&self, number: u64) -> Option<Wall> {
        self.get(number).map(|probe| probe.sent_wall)
    }

    /// Returns the instant before which an event has waited for the next probe and its timeout.
    pub(crate) fn waited_enough(&self, context: &Context) -> Mono {
        let wait_ns = self.timeout_ns.saturating_add(self.interval_ns);
        Mono::from_nanos(context.now.mono.as_nanos().saturating_sub(wait_ns))
    }

    /// True if a native probe timed out and nothing has arrived since it was sent.
    pub(crate) fn is_native_unheard(&self, number: u64) -> bool {
        self.get(number)
            .is_some_and(|probe| probe.is_native && !self.tuple.is_heard_since(probe.sent))
    }

    /// The same for the oldest probe in flight, at the slot of its timeout. Its timer fires a
    /// moment later, because it counts from the send. False while a reply may have come unread.
    pub(crate) fn is_unheard_at(&self, slot: Mono, caught_up: Mono) -> bool {
        let by = slot.plus(self.interval_ns / 16).min(caught_up);
        let oldest = self.oldest_in_flight();
        self.get(oldest)
            .is_some_and(|probe| by.since(probe.sent) >= self.timeout_ns)
            && self.is_native_unheard(oldest)
    }

    /// True if a probe is on the native wire.
    pub(crate) fn is_native(&self, number: u64) -> bool {
        self.get(number).is_some_and(|probe| probe.is_native)
    }

    /// Takes a reply to probe `number`, which arrived at `context.arrived`.
    pub(crate) fn handle_reply(&mut self, number: u64, context: &mut Context) -> Reply {
        for run in self.runs() {
            run.note_heard(number, context.now.mono);
        }
        let index = self.index(number);
        if !self.remembers(number) || self.probes[index].state == State::Unsent {
            // It is later than the ring is long, so whether it is the first is unknown. It does
            // show that the path works.
            self.counters.corrupt += 1;
            for run in self.runs() {
                run.note_reply(number);
            }
            return Reply::Unknown;
        }
        let took_ns = context.arrived.since(self.probes[index].sent);
        if self.probes[index].state == State::InFlight && took_ns >= self.timeout_ns {
            // The result is the same whether the timer or the reply is handled first.
            self.lose(number, context);
        }
        let reply = match self.probes[index].state {
            State::InFlight => {
                self.probes[index].state = State::Received;
                self.counters.received += 1;
                Reply::Received
            }
            State::Lost => {
                self.probes[index].state = State::Late;
                self.counters.late += 1;
                Reply::Late
            }
            State::Received | State::Late | State::Unsent => {
                self.counters.duplicate += 1;
                return Reply::Duplicate;
            }
        };
        for run in self.runs() {
            run.note_reply(number);
        }
        if number < self.tuple.first {
            // It took another path, so it is in no order with those after it.
        } else if number < self.next_expected {
            self.counters.reordered += 1;
        } else {
            self.next_expected = number + 1;
        }
        reply
    }

    /// Publishes the delay of a probe received at `at`.
    pub(crate) fn publish(
        &mut self,
        at: Wall,
        number: u64,
        delay: Measured,
        context: &mut Context,
    ) {
        self.last = Some(delay);
        self.publish_outcome(at, number, Outcome::Received, delay, context);
        self.judge_slots(context);
    }

    /// Ends a probe that failed for good: its connect was refused.
    pub(crate) fn handle_failure(&mut self, number: u64, context: &mut Context) {
        if self.is_in_flight(number) {
            self.lose(number, context);
        }
    }

    /// Declares the probes in flight for the timeout lost. Calls `on_lost` with each number, then
    /// arms the timer for the oldest probe left. Returns the last number lost. A probe whose reply may
    /// have come unread is put off until all is read that came by its timeout.
    pub(crate) fn handle_expiry(
        &mut self,
        context: &mut Context,
        mut on_lost: impl FnMut(u64, &mut Context),
    ) -> Option<u64> {
        self.expiry_timer = None;
        let put_off = self.put_off.take();
        let mut last_lost = None;
        loop {
            self.judge_slots(context);
            let number = self.oldest;
            let Some(oldest) = self.get(number) else {
                return last_lost;
            };
            let deadline = oldest.sent.plus(self.timeout_ns);
            if context.now.mono < deadline {
                let timer = Timer::Expire(self.this);
                self.expiry_timer = Some(context.wheel.insert(deadline, timer));
                return last_lost;
            }
            // The next ones may be lost with this one, if it calls for a fresh 5-tuple: so not only what
            // came by its timeout is read first, but all that has come until now.
            let now = context.now.mono;
            if context.caught_up < put_off.unwrap_or(now).max(deadline) {
                let awaited = put_off.filter(|at| context.caught_up < *at);
                self.put_off = Some(awaited.unwrap_or(now));
                context.expiring.push_back(self.this);
                return last_lost;
            }
            self.lose(number, context);
            on_lost(number, context);
            last_lost = Some(number);
        }
    }

    /// Declares those of these probes that are in flight lost, because their socket is gone.
    pub(crate) fn lose_in_flight(&mut self, probes: Range<u64>, context: &mut Context) {
        for number in probes.start.max(self.oldest)..probes.end {
            self.handle_failure(number, context);
        }
    }

    /// Returns the numbers of the probes on this 5-tuple so far.
    pub(crate) fn probes_of_tuple(&self) -> Range<u64> {
        self.tuple.first..self.next
    }

    /// True if a probe is in flight on this 5-tuple.
    pub(crate) fn has_in_flight(&self) -> bool {
        let first = self.tuple.first.max(self.oldest);
        (first..self.next).any(|number| self.is_in_flight(number))
    }

    /// Begins a fresh 5-tuple.
    pub(crate) fn begin(&mut self) {
        self.tuple = Run::new(self.next);
        self.routers = None;
    }

    /// Begins with another address.
    pub(crate) fn begin_address(&mut self) {
        self.begin();
        self.address = Run::new(self.next);
    }

    fn runs(&mut self) -> [&mut Run; 2] {
        [&mut self.tuple, &mut self.address]
    }

    /// True if a reply has come over this 5-tuple.
    pub(crate) fn has_replies(&self) -> bool {
        self.tuple.is_heard()
    }

    /// True if a reply has come from the address in use.
    pub(crate) fn is_answered(&self) -> bool {
        self.address.is_heard()
    }

    /// Returns the losses in a row on this 5-tuple.
    pub(crate) fn consecutive_lost(&self) -> u32 {
        self.tuple.lost
    }

    /// Returns the losses in a row at the address in use.
    pub(crate) fn lost_at_address(&self) -> u32 {
        self.address.lost
    }

    /// Returns the number below `next` with these low 32 bits, as an identifier carries them.
    pub(crate) fn widen(&self, low: u32) -> Option<u64> {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the low half is what is compared"
        )]
        let behind = (self.next as u32).wrapping_sub(low);
        // A distance of 0 would be the probe that has not left yet.
        if behind == 0 {
            None
        } else {
            self.next.checked_sub(u64::from(behind))
        }
    }

    /// Returns the latest of these numbers whose distance from the first is `residue` modulo `modulus`,
    /// provided that no two of them in flight share a residue.
    pub(crate) fn by_residue(&self, of: Range<u64>, modulus: u64, residue: u64) -> Option<u64> {
        let (first, end) = (of.start, of.end.min(self.next));
        let last = end.checked_sub(1)?;
        let back = ((last.checked_sub(first)? % modulus) + modulus - residue) % modulus;
        let number = last.checked_sub(back).filter(|number| *number >= first)?;
        let oldest = self.oldest_in_flight().max(first);
        (end.saturating_sub(oldest) <= modulus).then_some(number)
    }

    /// Removes the timer from the wheel, because the flow ends.
    pub(crate) fn end(&mut self, context: &mut Context) {
        context.wheel.cancel(self.expiry_timer.take());
        if self.put_off.is_some() {
            context.expiring.retain(|flow| *flow != self.this);
        }
    }

    fn lose(&mut self, number: u64, context: &mut Context) {
        let index = self.index(number);
        self.probes[index].state = State::Lost;
        self.counters.lost += 1;
        for run in self.runs() {
            run.note_loss(number);
        }
        let lost_on = self.count_direction(index);
        let none = Measured {
            value_ns: 0,
            stamp: StampSource::User,
            dwell_ns: None,
        };
        self.publish_outcome(context.now.wall, number, Outcome::Lost, none, context);
        let departure = self.departure(number, context);
        let left = departure.map(|departure| departure.left_by(context.now));
        let stamps = [left, None, None, None];
        self.trace(number, stamps, Outcome::Lost, lost_on, context);
        self.judge_slots(context);
    }

    /// Counts a loss in its direction, if known, and returns that direction.
    fn count_direction(&mut self, index: usize) -> Option<Direction> {
        let direction = match self.probes[index].reach {
            Reach::Unknown => return None,
            Reach::Missing => Direction::Forward,
            Reach::Reached => Direction::Reverse,
        };
        match direction {
            Direction::Forward => self.counters.lost_forward += 1,
            Direction::Reverse => self.counters.lost_reverse += 1,
        }
        Some(direction)
    }

    /// Publishes the trace of a probe that was received; `at_peer` is T2 and T3 as far as the wire
    /// has them. T1 and T4 are of one clock: the process's, if it was set between them.
    pub(crate) fn trace_received(
        &self,
        number: u64,
        departure: &Departure,
        at_peer: [Option<Stamp>; 2],
        arrival: &Arrival,
        context: &mut Context,
    ) {
        let left = departure.left_by(arrival.now);
        // If the clock was set since, a stamp of the reply may be from before that: the reply may
        // have waited in the kernel.
        let back = if departure.is_comparable {
            arrival.best()
        } else {
            Arrival::unstamped(arrival.now).best()
        };
        let [received, sent] = at_peer;
        let stamps = [Some(left), received, sent, Some(back)];
        self.trace(number, stamps, Outcome::Received, None, context);
    }

    fn trace(
        &self,
        seq: u64,
        stamps: [Option<Stamp>; 4],
        outcome: Outcome,
        lost_on: Option<Direction>,
        context: &mut Context,
    ) {
        if self.kind == FlowKind::Connect {
            return;
        }
        context.outputs.push_back(Output::Trace(Trace {
            origin: self.origin,
            kind: self.kind,
            seq,
            stamps,
            outcome,
            lost_on,
        }));
    }

    fn publish_outcome(
        &self,
        at: Wall,
        number: u64,
        outcome: Outcome,
        delay: Measured,
        context: &mut Context,
    ) {
        if self.is_published {
            context.outputs.push_back(Output::Sample(Sample {
                origin: self.origin,
                metric: self.metric,
                outcome,
                value_ns: delay.value_ns,
                at,
                seq: self.number.seq(number),
                stamp: delay.stamp,
                dwell_ns: delay.dwell_ns,
                is_corrected: false,
            }));
        }
    }

    fn remembers(&self, number: u64) -> bool {
        number < self.next && self.next - number <= self.probes.len() as u64
    }

    /// Returns a probe, if it is remembered.
    fn get(&self, number: u64) -> Option<&Probe> {
        self.remembers(number)
            .then(|| &self.probes[self.index(number)])
    }

    fn state_of(&self, number: u64) -> Option<State> {
        self.get(number).map(|probe| probe.state)
    }

    fn is_in_flight(&self, number: u64) -> bool {
        self.state_of(number) == Some(State::InFlight)
    }

    /// Returns the number of the oldest probe in flight; without one, that of the next probe.
    pub(crate) fn oldest_in_flight(&self) -> u64 {
        (self.oldest..self.next)
            .find(|number| self.probes[self.index(*number)].state == State::InFlight)
            .unwrap_or(self.next)
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "masked to the ring's length, a usize"
    )]
    fn index(&self, number: u64) -> usize {
        number as usize & (self.probes.len() - 1)
    }
}

/// Returns the low half of a probe's number, as packets carry it. [`Window::widen`] restores it.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the receiver widens it again"
)]
pub(crate) fn low(number: u64) -> u32 {
    number as u32
}
