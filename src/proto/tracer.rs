//! Which flow's path is traced, what is sent for it, and what has answered.
//!
//! A trace sends one datagram after the other out of the flow's own socket, so of its own 5-tuple, with a TTL of 1,
//! then 2 and so on. The router where it is used up answers by ICMP. Nothing from the network is trusted: an answer
//! counts if it quotes a datagram of the trace, by a number that nobody else knows, as far as it quotes that. Many
//! routers quote the 8 bytes of the UDP header alone (RFC 792); such a one is taken for the datagram under way.
//!
//! Such a datagram is no probe. Where the flow's replies tell how many routers there are (the reflector returns the TTL
//! with which a probe came), none is sent that would reach the host: a probe has shown already that it is there.

mod extension;
#[cfg(test)]
mod tests;
mod tracked;
mod trip;

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use crate::limits::TRACES_WANTED_MAX;
use crate::proto::path::{Hop, HopAnswer, IcmpType, Label, Meaning, Path, PathOptions, Why};
use crate::proto::rng::{Identifiers, Role};
use crate::proto::sample::{Origin, Stamp};
use crate::proto::time::{Mono, Now};
use crate::proto::transmit::{Arrival, FlowRef, SocketId};
use crate::proto::wheel::TimerKey;
pub(crate) use tracked::Tracked;
pub(crate) use trip::Trip;
use trip::{returns, trip};

/// The beginning of each datagram of a trace. No request of any wire begins so, and none is as short.
const MAGIC: [u8; 4] = *b"hops";
/// Its bytes: with a random number behind that. A STAMP or TWAMP reflector answers none below 14 bytes.
const PAYLOAD_BYTES: usize = 12;

/// How long the answer to one datagram is awaited.
const TIMEOUT_NS: u64 = 1_000_000_000;
/// Datagrams of one TTL at most.
const TRIES_MAX: u32 = 3;
/// Hops in a row that are silent when a trace ends.
const SILENT_MAX: usize = 4;
/// ICMP errors that come so long after a datagram may still be about it.
const LATE_NS: u64 = 10_000_000_000;
/// A flow is traced once for the interval so long after it has opened.
const FIRST_NS: u64 = 10_000_000_000;
/// Where somebody asks for every flow's path, each is traced so long after it has opened: its first probe has told by
/// then how many routers there are, if the host answers probes.
const ASKED_NS: u64 = 1_000_000_000;
/// Events of one kind call for a trace of a flow this often at most.
const AGAIN_NS: u64 = 60_000_000_000;

/// True if a datagram is of somebody's trace. A reflector passes it over: it is no request.
pub(crate) fn is_of_trace(payload: &[u8]) -> bool {
    payload.is_empty() || payload.len() == PAYLOAD_BYTES && payload.starts_with(&MAGIC)
}

/// Where a flow's packets leave and go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tuple {
    pub(crate) socket: SocketId,
    pub(crate) source_port: u16,
    pub(crate) remote: SocketAddr,
}

/// What a trace needs to know of its flow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    pub(crate) flow: FlowRef,
    pub(crate) origin: Origin,
    pub(crate) tuple: Tuple,
    /// The routers before the host, if the flow's replies have told.
    pub(crate) routers: Option<u8>,
    /// The host speaks text, perhaps as the Python program does. That passes over an empty datagram, and writes an
    /// error to its log for any other one that it cannot read.
    pub(crate) is_quiet: bool,
    /// Replies to the flow's probes so far.
    pub(crate) replies: u64,
}

/// A datagram of a trace.
#[derive(Clone, Copy, Debug)]
struct Packet {
    ttl: u8,
    number: u64,
    sent: Now,
    /// How often our wall clock had been set by then.
    clock_epoch: u32,
    left: Option<Stamp>,
}

/// What has answered at one TTL.
#[derive(Clone, Debug)]
struct Answered {
    address: Option<IpAddr>,
    icmp: Option<IcmpType>,
    labels: Box<[Label]>,
    arrival: Arrival,
    clock_epoch: u32,
    /// The place of the datagram that was answered.
    packet: usize,
}

/// What a trace does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Send,
    WaitUntil(Mono),
    End,
}

/// One trace under way.
#[derive(Debug)]
struct Trace {
    subject: Subject,
    why: Why,
    serial: u32,
    /// The last TTL that is sent, and what it may become.
    limit: u8,
    hops_max: u8,
    ttl: u8,
    tries: u32,
    packets: Vec<Packet>,
    /// By TTL, from 1 on.
    hops: Vec<Option<Answered>>,
    /// The TTL at which a host or a router has said that this is the end, and whether it was the host.
    end: Option<(u8, bool)>,
}

impl Trace {
    fn new(mut subject: Subject, why: Why, serial: u32, hops_max: u8) -> Self {
        // None at all may also mean that the reflector does not know the TTL. One datagram shows it.
        let routers = subject.routers.map_or(hops_max, |routers| routers.max(1));
        if why == Why::Asked {
            // Whoever asks has the flow for this alone: all of its replies say that the host is there.
            subject.replies = 0;
        }
        Self {
            subject,
            why,
            serial,
            limit: routers.min(hops_max),
            hops_max,
            ttl: 1,
            tries: 0,
            packets: Vec::new(),
            hops: Vec::new(),
            end: None,
        }
    }

    fn hop(&self, ttl: u8) -> Option<&Answered> {
        self.hops.get(usize::from(ttl).checked_sub(1)?)?.as_ref()
    }

    /// Hops in a row before the TTL in use that have not answered.
    fn silent(&self) -> usize {
        let before = (1..self.ttl).rev();
        before.take_while(|ttl| self.hop(*ttl).is_none()).count()
    }

    /// True if the flow's replies have told that there is no router.
    fn is_next_door(&self) -> bool {
        self.subject.routers == Some(0) && self.limit == 1
    }

    fn step(&mut self, now: Mono) -> Step {
        let tries_max = if self.is_next_door() { 1 } else { TRIES_MAX };
        loop {
            if self.end.is_some() {
                return Step::End;
            }
            if self.hop(self.ttl).is_none() {
                let last = self.packets.last().filter(|_| self.tries > 0);
                let until = last.map(|packet| packet.sent.mono.plus(TIMEOUT_NS));
                match until {
                    Some(until) if until > now => return Step::WaitUntil(until),
                    _ if self.tries < tries_max => return Step::Send,
                    _ => {}
                }
            }
            self.tries = 0;
            if self.ttl >= self.limit {
                return Step::End;
            }
            self.ttl += 1;
            if self.silent() >= SILENT_MAX {
                return Step::End;
            }
        }
    }

    /// Returns the datagram that a message quotes. One that quotes nothing is about that under way.
    fn quoted(&self, quote: &[u8], meaning: Meaning, now: Mono) -> Option<usize> {
        if quote.is_empty() || self.subject.is_quiet {
            let place = self.packets.len().checked_sub(1)?;
            let packet = &self.packets[place];
            let is_under_way = now.since(packet.sent.mono) < TIMEOUT_NS;
            // That of a probe says nothing of routers: its TTL lasts to the host. So it is of no probe.
            let is_it = quote.is_empty() && meaning == Meaning::Passed;
            return (is_it && is_under_way).then_some(place);
        }
        // The latest, where the quote ends before the number does.
        let is_it = |packet: &Packet| payload(packet.number).starts_with(quote);
        self.packets.iter().rposition(is_it)
    }

    /// Takes an answer to the datagram at `place`.
    fn handle_answer(&mut self, place: usize, answered: Answered, meaning: Option<Meaning>) {
        let ttl = self.packets[place].ttl;
        let index = usize::from(ttl).saturating_sub(1);
        if index >= self.hops.len() {
            self.hops.resize(index + 1, None);
        }
        if self.hops[index].is_some() {
            return;
        }
        let host = self.subject.tuple.remote.ip().to_canonical();
        let is_host = answered.address == Some(host);
        match meaning {
            Some(Meaning::Passed) if self.is_next_door() => {
                // There is a router after all, so the reflector does not know.
                self.subject.routers = None;
                self.limit = self.hops_max;
            }
            Some(Meaning::Passed) => {}
            Some(Meaning::Port) | None => self.end = Some((ttl, true)),
            Some(_) => self.end = Some((ttl, is_host)),
        }
        self.hops[index] = Some(answered);
    }

    /// Returns what was learnt.
    fn finish(self, seen: &Seen) -> Path {
        let (tuple, last) = (self.subject.tuple, seen.last);
        let is_answered = seen.replies > self.subject.replies;
        let at = self.packets.first().map(|packet| packet.sent.wall);
        let mut hops: Vec<Hop> = (1..)
            .zip(&self.hops)
            .map(|(ttl, answered)| hop(ttl, answered.as_ref(), &self.packets))
            .collect();
        // The place of the host is known if the replies said the same all the time.
        let is_same = self.subject.routers == seen.routers && self.end.is_none();
        let placed = self.subject.routers.filter(|_| is_same);
        let is_reached = match self.end {
            Some((ttl, is_host)) => {
                hops.truncate(ttl.into());
                is_host
            }
            None => is_answered,
        };
        match placed.filter(|routers| is_answered && *routers < u8::MAX) {
            Some(routers) => {
                hops.truncate(routers.into());
                let silent = usize::from(routers) - hops.len();
                let first = u8::try_from(hops.len())
                    .unwrap_or(u8::MAX)
                    .saturating_add(1);
                hops.extend((first..).take(silent).map(|ttl| hop(ttl, None, &[])));
                hops.push(Hop {
                    ttl: routers + 1,
                    address: Some(tuple.remote.ip().to_canonical()),
                    rtt_ns: last.map(|trip| trip.ns),
                    stamp: last.map(|trip| trip.stamp),
                    icmp: None,
                    labels: Box::default(),
                });
            }
            None => {
                let answered = hops.iter().rposition(|hop| hop.address.is_some());
                hops.truncate(answered.map_or(0, |last| last + 1));
            }
        }
        Path {
            origin: self.subject.origin,
            at: at.unwrap_or_default(),
            why: self.why,
            source_port: tuple.source_port,
            remote: tuple.remote,
            hops: hops.into(),
            is_reached,
            before: None,
        }
    }
}

/// What the probes of a flow have shown by the end of its trace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// Replies so far.
    pub(crate) replies: u64,
    /// Routers, if replies have told.
    pub(crate) routers: Option<u8>,
    /// The round trip of the last one.
    pub(crate) last: Option<Trip>,
}

fn hop(ttl: u8, answered: Option<&Answered>, packets: &[Packet]) -> Hop {
    let packet = answered.and_then(|answered| packets.get(answered.packet));
    let trip = answered
        .zip(packet)
        .map(|(answered, packet)| trip(packet, answered));
    Hop {
        ttl,
        address: answered.and_then(|answered| answered.address),
        rtt_ns: trip.map(|trip| trip.ns),
        stamp: trip.map(|trip| trip.stamp),
        icmp: answered.and_then(|answered| answered.icmp),
        labels: answered
            .map(|answered| answered.labels.clone())
            .unwrap_or_default(),
    }
}

fn payload(number: u64) -> [u8; PAYLOAD_BYTES] {
    let mut payload = [0; PAYLOAD_BYTES];
    payload[..MAGIC.len()].copy_from_slice(&MAGIC);
    payload[MAGIC.len()..].copy_from_slice(&number.to_be_bytes());
    payload
}

/// What an ICMP error, or a datagram, was to the traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It answers a datagram of a trace, now or before.
    Answer,
    /// It is about something else.
    Other,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Tracer {
    pub(crate) options: PathOptions,
    numbers: Identifiers,
    /// Flows that wait, the oldest wish first.
    wanted: VecDeque<(FlowRef, Why)>,
    /// When flows are to be traced for the interval.
    scheduled: BTreeSet<(Mono, FlowRef)>,
    traces: Vec<Trace>,
    serials: u32,
    /// Nothing is sent before.
    send_at: Mono,
    /// When the last datagram has left.
    sent: Option<Mono>,
    pub(crate) timer: Option<TimerKey>,
}

/// What a turn of the traces has found.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// Traces that have ended, to be finished with their flows.
    ended: Vec<Trace>,
    /// When something is to be done next.
    pub(crate) wake: Option<Mono>,
}

impl Turn {
    /// Returns the flows whose traces have ended.
    pub(crate) fn ended(&mut self) -> impl Iterator<Item = Ended> {
        self.ended.drain(..).map(Ended)
    }
}

/// A trace that has ended.
#[derive(Debug)]
pub(crate) struct Ended(Trace);

impl Ended {
    pub(crate) fn flow(&self) -> FlowRef {
        self.0.subject.flow
    }

    /// Returns what was learnt of the path, told from what was known before.
    pub(crate) fn finish(self, tracked: &mut Tracked, seen: &Seen) -> Path {
        let mut path = self.0.finish(seen);
        path.before = tracked.learn(&path);
        path
    }
}

impl Tracer {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self {
            options: PathOptions::never(),
            numbers: Identifiers::new(seed, Role::Traces),
            wanted: VecDeque::new(),
            scheduled: BTreeSet::new(),
            traces: Vec::new(),
            serials: 0,
            send_at: Mono::ZERO,
            sent: None,
            timer: None,
        }
    }

    /// Forgets which flows are to be traced and when. What is under way goes on.
    pub(crate) fn set_options(&mut self, options: PathOptions) {
        self.options = options;
        self.scheduled.clear();
        self.wanted.clear();
    }

    /// True while ICMP errors may tell a hop.
    pub(crate) fn awaits_answers(&self, now: Mono) -> bool {
        !self.traces.is_empty() || self.sent.is_some_and(|sent| now.since(sent) < LATE_NS)
    }

    /// A flow has opened, which is traced for the interval from here on.
    pub(crate) fn handle_opened(&mut self, flow: FlowRef, tracked: &mut Tracked, now: Mono) {
        if tracked.next.is_some() {
            return;
        }
        if self.is_asked() {
            self.schedule(flow, tracked, now.plus(ASKED_NS));
        } else if self.options.interval_ns > 0 {
            self.schedule(
                flow,
                tracked,
                now.plus(FIRST_NS.min(self.options.interval_ns)),
            );
        }
    }

    /// True if the path of every flow is asked for, once.
    fn is_asked(&self) -> bool {
        self.options.on.contains(&Why::Asked)
    }

    /// Forgets when a flow is to be traced, since the options have changed.
    pub(crate) fn forget(tracked: &mut Tracked) {
        tracked.next = None;
    }

    fn schedule(&mut self, flow: FlowRef, tracked: &mut Tracked, at: Mono) {
        tracked.next = Some(at);
        self.scheduled.insert((at, flow));
    }

    /// Wishes for a flow to be traced because of an event. Returns whether it waits now.
    pub(crate) fn want(
        &mut self,
        flow: FlowRef,
        why: Why,
        tracked: &mut Tracked,
        now: Mono,
    ) -> bool {
        if !self.has_room_for(flow) {
            return false;
        }
        if why != Why::Asked {
            let place = Why::EVENTS.iter().position(|event| *event == why);
            let Some(place) = place.filter(|_| self.options.on.contains(&why)) else {
                return false;
            };
            if tracked.called[place].is_some_and(|called| now.since(called) < AGAIN_NS) {
                return false;
            }
            tracked.called[place] = Some(now);
        }
        self.wanted.push_back((flow, why));
        true
    }

    /// True if an event of this kind is one to trace for.
    pub(crate) fn is_for(&self, why: Why) -> bool {
        self.wanted.len() < TRACES_WANTED_MAX && self.options.on.contains(&why)
    }

    fn has_room_for(&self, flow: FlowRef) -> bool {
        let mut waiting = self.wanted.iter();
        let mut under_way = self.traces.iter();
        self.wanted.len() < TRACES_WANTED_MAX
            && !waiting.any(|(other, _)| *other == flow)
            && !under_way.any(|trace| trace.subject.flow == flow)
    }

    /// Returns the next flow to trace, if there is a place for it. Those that an event calls for go first.
    pub(crate) fn next_wanted(&mut self, now: Mono) -> Option<(FlowRef, Why)> {
        if self.traces.len() >= self.options.at_once {
            return None;
        }
        if let Some(wanted) = self.wanted.pop_front() {
            return Some(wanted);
        }
        let (at, flow) = *self.scheduled.first()?;
        if at > now {
            return None;
        }
        self.scheduled.pop_first();
        let why = if self.is_asked() {
            Why::Asked
        } else {
            Why::Interval
        };
        Some((flow, why))
    }

    /// Begins a trace; without a `subject` the flow cannot send now.
    pub(crate) fn begin(
        &mut self,
        flow: FlowRef,
        why: Why,
        subject: Option<Subject>,
        tracked: &mut Tracked,
        now: Mono,
    ) {
        if why == Why::Interval && self.options.interval_ns > 0 {
            self.schedule(flow, tracked, now.plus(self.options.interval_ns));
        }
        let is_under_way = self.traces.iter().any(|trace| trace.subject.flow == flow);
        if let Some(subject) = subject.filter(|_| !is_under_way) {
            self.serials = self.serials.wrapping_add(1);
            let trace = Trace::new(subject, why, self.serials, self.options.hops_max);
            self.traces.push(trace);
        }
    }

    /// Time has come to `now`.
    pub(crate) fn turn(&mut self, now: Mono) -> Turn {
        let mut turn = Turn::default();
        let mut wake = |at: Mono| turn.wake = Some(turn.wake.map_or(at, |wake| wake.min(at)));
        let mut kept = Vec::with_capacity(self.traces.len());
        for mut trace in self.traces.drain(..) {
            match trace.step(now) {
                Step::End => {
                    turn.ended.push(trace);
                    continue;
                }
                Step::WaitUntil(at) => wake(at),
                // What is due already goes with this turn.
                Step::Send if self.send_at > now => wake(self.send_at),
                Step::Send => {}
            }
            kept.push(trace);
        }
        self.traces = kept;
        let has_place = self.traces.len() < self.options.at_once;
        if let Some((at, _)) = self.scheduled.first().filter(|_| has_place) {
            wake(*at);
        }
        turn
    }

    /// True if a flow waits that a trace can begin for.
    pub(crate) fn has_next(&self, now: Mono) -> bool {
        let is_due = self.scheduled.first().is_some_and(|(at, _)| *at <= now);
        self.traces.len() < self.options.at_once && (is_due || !self.wanted.is_empty())
    }

    /// True if a datagram is to be sent now.
    pub(crate) fn is_due(&mut self, now: Mono) -> bool {
        now >= self.send_at
            && self
                .traces
                .iter_mut()
                .any(|trace| trace.step(now) == Step::Send)
    }

    /// Returns the flow and the 5-tuple of the datagram that is to be sent now.
    pub(crate) fn next_due(&mut self, now: Mono) -> Option<(FlowRef, Tuple)> {
        if now < self.send_at {
            return None;
        }
        let place = (self.traces.iter_mut()).position(|trace| trace.step(now) == Step::Send)?;
        // It goes behind the others, so that all have their turn.
        let trace = self.traces.remove(place);
        let subject = trace.subject;
        self.traces.push(trace);
        Some((subject.flow, subject.tuple))
    }

    /// Gives up the trace that [`next_due`](Self::next_due) has named: its 5-tuple is no more. The path of the next one
    /// is still wanted.
    pub(crate) fn give_up(&mut self) {
        if let Some(trace) = self.traces.pop() {
            self.wanted.push_back((trace.subject.flow, trace.why));
        }
    }

    /// Builds the datagram of the trace that [`next_due`](Self::next_due) has named. Returns the trace, the place of
    /// the datagram in it, and its TTL.
    pub(crate) fn send(
        &mut self,
        now: Now,
        clock_epoch: u32,
        tracked: &mut Tracked,
        buffer: &mut Vec<u8>,
    ) -> Option<(u32, u32, u8)> {
        let number = self.numbers.key();
        let trace = self.traces.last_mut()?;
        if !trace.subject.is_quiet {
            buffer.extend_from_slice(&payload(number));
        }
        let place = u32::try_from(trace.packets.len()).ok()?;
        trace.packets.push(Packet {
            ttl: trace.ttl,
            number,
            sent: now,
            clock_epoch,
            left: None,
        });
        trace.tries += 1;
        self.send_at = now.mono.plus(self.options.spacing_ns);
        self.sent = Some(now.mono);
        tracked.sent = Some(now.mono);
        Some((trace.serial, place, trace.ttl))
    }

    /// The kernel did not take the last datagram for this socket. The next one may have its time.
    pub(crate) fn handle_unsent(&mut self, socket: SocketId) {
        let mut traces = self.traces.iter_mut();
        let trace = traces.find(|trace| trace.subject.tuple.socket == socket);
        if let Some(trace) = trace
            && trace
                .packets
                .last()
                .is_some_and(|last| last.ttl == trace.ttl)
        {
            trace.packets.pop();
        }
    }

    /// The transmit stamp of a datagram has come.
    pub(crate) fn handle_left(&mut self, serial: u32, place: u32, stamp: Stamp) {
        let trace = self.traces.iter_mut().find(|trace| trace.serial == serial);
        let packet = trace.and_then(|trace| trace.packets.get_mut(place as usize));
        if let Some(packet) = packet {
            packet.left = Some(stamp);
        }
    }

    /// An ICMP error has come about a datagram that has left from `socket`, on which the flow that `tracked` is of
    /// sends.
    pub(crate) fn handle_icmp(
        &mut self,
        arrival: Arrival,
        clock_epoch: u32,
        socket: SocketId,
        answer: &HopAnswer<'_>,
        tracked: &Tracked,
    ) -> Taken {
        let (quote, meaning) = (extension::quoted(answer), answer.icmp.meaning());
        let now = arrival.now.mono;
        let mut traces = self.traces.iter_mut();
        let trace = traces.find(|trace| trace.subject.tuple.socket == socket);
        if let Some(trace) = trace
            && meaning != Meaning::Other
            && let Some(packet) = trace.quoted(quote, meaning, now)
        {
            let answered = Answered {
                address: answer.by.map(|by| by.to_canonical()),
                icmp: Some(answer.icmp),
                labels: extension::labels(answer),
                arrival,
                clock_epoch,
                packet,
            };
            trace.handle_answer(packet, answered, Some(meaning));
            return Taken::Answer;
        }
        // One that comes late is about no probe either.
        let is_recent = tracked.sent.is_some_and(|sent| now.since(sent) < LATE_NS);
        let quotes_ours = quote.len() >= MAGIC.len() && quote.starts_with(&MAGIC);
        let quotes_none = quote.is_empty() && meaning == Meaning::Passed;
        if is_recent && (quotes_ours || quotes_none) {
            Taken::Answer
        } else {
            Taken::Other
        }
    }

    /// A datagram has come to `socket` that is no reply to a probe: perhaps a service there returns what it gets.
    pub(crate) fn handle_echo(
        &mut self,
        arrival: Arrival,
        clock_epoch: u32,
        socket: SocketId,
        payload_seen: &[u8],
    ) -> Taken {
        let mut traces = self.traces.iter_mut();
        let trace = traces.find(|trace| trace.subject.tuple.socket == socket);
        let Some(trace) = trace.filter(|trace| !trace.subject.is_quiet) else {
            return Taken::Other;
        };
        let is_it = |packet: &Packet| returns(payload_seen, &payload(packet.number));
        let Some(packet) = trace.packets.iter().position(is_it) else {
            return Taken::Other;
        };
        let answered = Answered {
            address: Some(trace.subject.tuple.remote.ip().to_canonical()),
            icmp: None,
            labels: Box::default(),
            arrival,
            clock_epoch,
            packet,
        };
        trace.handle_answer(packet, answered, None);
        Taken::Answer
    }
}
