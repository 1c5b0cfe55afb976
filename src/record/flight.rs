//! The flight recorder: the last raw probes of every flow, and what is taken out of them when a burst
//! was found or somebody asks.
//!
//! ```text
//! Output::Trace, LossPlaced -> ring of the flow -- burst + post + settle --> copy --> bounded channel -> writer
//! ```
//!
//! A ring is as long as its flow is fast: it begins with a few probes and doubles until it reaches back
//! far enough, or until a limit is met, and from then on a probe replaces the oldest. What is copied in one
//! turn is bounded, so that probes which are due go first; the writer's channel is never waited for.

mod probe;
mod ring;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

use crate::limits::{
    BURST_KEPT_NS, DUMPS_PENDING_MAX, FLIGHT_COPIES_PER_TURN_MAX, FLIGHT_PROBES_TOTAL_MAX,
    ORIGINS_MAX,
};
use crate::proto::{
    ClockEstimate, ClockState, Direction, FlowKind, Labels, Mono, Now, Origin, Output, Wall,
};
use crate::record::event::{Event, EventKind};
use crate::record::flight::ring::Ring;

pub use probe::Probe;

/// Until a writer that has no room is tried again, in nanoseconds.
const FULL_PAUSE_NS: u64 = 10_000_000;

/// Kinds of flow that have traces: UDP and TCP.
const KINDS: [FlowKind; 2] = [FlowKind::Udp, FlowKind::Tcp];

/// How much is kept, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlightConfig {
    /// Before a burst.
    pub pre_ns: u64,
    /// After a burst.
    pub post_ns: u64,
    /// Until every probe sent by then is decided: the longest timeout, within reason.
    pub settle_ns: u64,
}

impl FlightConfig {
    /// How far a ring must reach back when a burst of the longest kind is copied.
    const fn span_ns(&self) -> u64 {
        let margins = self.pre_ns.saturating_add(self.post_ns);
        margins
            .saturating_add(self.settle_ns)
            .saturating_add(BURST_KEPT_NS)
    }
}

/// The probes of one flow in one stretch of time.
#[derive(Clone, Debug)]
pub struct Dump {
    /// Whose flow.
    pub labels: Arc<Labels>,
    /// UDP or TCP.
    pub flow: FlowKind,
    /// The burst that it is about; `None` in a snapshot.
    pub event: Option<Arc<Event>>,
    /// From when on, by the clock that took T1; of a snapshot when the oldest probe left.
    pub from: Wall,
    /// Until when.
    pub to: Wall,
    /// Whether the ring still held all of it.
    pub is_complete: bool,
    /// What is known of the peer's clock.
    pub clock: Option<ClockEstimate>,
    /// What the kernel says of this host's clock.
    pub own_clock: ClockState,
    /// In the order of their numbers.
    pub probes: Vec<Probe>,
}

/// What the writer is told.
#[derive(Debug)]
pub enum Order {
    /// A file of its own.
    Burst(Box<Dump>),
    /// A part of the file of the snapshot that was asked for then.
    Part(Wall, Box<Dump>),
    /// The snapshot is whole.
    End(Wall),
}

#[derive(Debug, Default)]
struct Flight {
    labels: Option<Arc<Labels>>,
    clock: Option<ClockEstimate>,
    rings: [Option<Ring>; KINDS.len()],
}

/// A burst that waits until what comes after it is known.
#[derive(Debug)]
struct Pending {
    due: Option<Mono>,
    origin: Origin,
    kind: usize,
    event: Arc<Event>,
    from: Wall,
    to: Wall,
}

/// A snapshot that is being taken.
#[derive(Clone, Copy, Debug)]
struct Snapshot {
    asked: Wall,
    origin: usize,
    kind: usize,
}

/// A ring that is being copied.
#[derive(Debug)]
struct Copying {
    origin: usize,
    kind: usize,
    /// Of the snapshot that it is a part of.
    asked: Option<Wall>,
    dump: Box<Dump>,
    next: u64,
    end: u64,
}

/// Keeps the last probes of every flow, and gives what is around a burst to a writer.
#[derive(Debug)]
pub struct FlightRecorder {
    config: FlightConfig,
    flights: Vec<Flight>,
    /// Probes that rings may still grow by.
    room: usize,
    pending: VecDeque<Pending>,
    snapshot: Option<Snapshot>,
    copying: Option<Copying>,
    /// What the writer had no room for and must not lose.
    unsent: Option<Order>,
    resume: Mono,
    writer: SyncSender<Order>,
    finishing: bool,
    own_clock: ClockState,
    dropped: u64,
}

impl FlightRecorder {
    /// An empty recorder, and where its dumps go.
    pub fn new(config: FlightConfig, writer: SyncSender<Order>) -> Self {
        Self {
            config,
            flights: Vec::new(),
            room: FLIGHT_PROBES_TOTAL_MAX,
            pending: VecDeque::new(),
            snapshot: None,
            copying: None,
            unsent: None,
            resume: Mono::ZERO,
            writer,
            finishing: false,
            own_clock: ClockState::default(),
            dropped: 0,
        }
    }

    /// Dumps that were given up so far, because too many came at once or the writer had no room.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Take what is of interest out of one output of the core.
    pub fn handle_output(&mut self, output: &Output) {
        match output {
            Output::Trace(trace) => {
                let Some(kind) = place(trace.kind) else {
                    return;
                };
                let Some(flight) = self.flights.get_mut(trace.origin.0 as usize) else {
                    return;
                };
                if flight.labels.is_none() {
                    return;
                }
                let ring = flight.rings[kind].get_or_insert_default();
                ring.push(Probe::new(trace), self.config.span_ns(), &mut self.room);
            }
            Output::LossPlaced {
                origin,
                kind,
                seq,
                direction,
            } => self.handle_placed(*origin, *kind, *seq, *direction),
            Output::Opened { origin, labels } => self.open(*origin, labels),
            Output::Clock { origin, estimate } => {
                if let Some(flight) = self.flights.get_mut(origin.0 as usize) {
                    flight.clock = Some(*estimate);
                }
            }
            Output::Closed { origin, .. } => self.close(*origin),
            _ => {}
        }
    }

    fn handle_placed(&mut self, origin: Origin, kind: FlowKind, seq: u64, direction: Direction) {
        if let Some(kind) = place(kind)
            && let Some(flight) = self.flights.get_mut(origin.0 as usize)
            && let Some(ring) = &mut flight.rings[kind]
        {
            ring.place_loss(seq, direction);
        }
    }

    fn open(&mut self, origin: Origin, labels: &Arc<Labels>) {
        if origin.0 >= ORIGINS_MAX {
            return;
        }
        self.close(origin);
        let index = origin.0 as usize;
        if index >= self.flights.len() {
            self.flights.resize_with(index + 1, Flight::default);
        }
        self.flights[index].labels = Some(Arc::clone(labels));
    }

    /// A flow ends, and its ring with it. A burst that waits for more of it gets what there is.
    fn close(&mut self, origin: Origin) {
        let index = origin.0 as usize;
        if let Some(copying) = self.copying.take_if(|copying| copying.origin == index) {
            self.copy(copying, usize::MAX);
        }
        let mut pending = mem::take(&mut self.pending);
        pending.retain(|waiting| {
            if waiting.origin == origin
                && let Some(copying) = self.begin_burst(waiting)
            {
                self.copy(copying, usize::MAX);
            }
            waiting.origin != origin
        });
        self.pending = pending;
        if let Some(flight) = self.flights.get_mut(index) {
            for ring in flight.rings.iter().flatten() {
                self.room = (self.room + ring.capacity()).min(FLIGHT_PROBES_TOTAL_MAX);
            }
            *flight = Flight::default();
        }
    }

    /// Something happened on a flow. If that is a burst, what is around it is dumped once the probes
    /// after it are decided.
    pub fn handle_event(&mut self, event: &Arc<Event>, origin: Origin) {
        let EventKind::Burst(burst) = event.kind else {
            return;
        };
        let Some(kind) = place(burst.flow) else {
            return;
        };
        if self.pending.len() >= DUMPS_PENDING_MAX {
            self.dropped += 1;
            return;
        }
        let after = burst.duration_ns.saturating_add(self.config.post_ns);
        self.pending.push_back(Pending {
            due: None,
            origin,
            kind,
            from: event.at.plus(signed(self.config.pre_ns).saturating_neg()),
            to: event.at.plus(signed(after)),
            event: Arc::clone(event),
        });
    }

    /// Somebody wants to see every flow as it is now. One who asks again while that is under way gets
    /// nothing more.
    pub fn handle_snapshot(&mut self, now: Now) {
        self.snapshot.get_or_insert(Snapshot {
            asked: now.wall,
            origin: 0,
            kind: 0,
        });
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called next.
    pub fn poll_timeout(&self) -> Option<Mono> {
        if self.unsent.is_some() || self.copying.is_some() || self.snapshot.is_some() {
            return Some(self.resume);
        }
        let dues = self.pending.iter();
        dues.map(|pending| pending.due.unwrap_or(Mono::ZERO)).min()
    }

    /// What the kernel says of this host's clock now.
    pub fn handle_clock_state(&mut self, state: ClockState) {
        self.own_clock = state;
    }

    /// Copy a bounded part of what is due and hand over what is copied.
    pub fn handle_timeout(&mut self, now: Now) {
        for pending in &mut self.pending {
            let settled = pending.to.plus(signed(self.config.settle_ns));
            // Counted on a clock that does not step, and never for longer than it can take.
            pending.due.get_or_insert_with(|| {
                let longest = self.config.post_ns.saturating_add(self.config.settle_ns);
                let wait = u64::try_from(settled.since(now.wall)).unwrap_or(0);
                now.mono.plus(wait.min(longest))
            });
        }
        if let Some(order) = self.unsent.take()
            && !self.send(order)
        {
            self.resume = now.mono.plus(FULL_PAUSE_NS);
            return;
        }
        let mut budget = FLIGHT_COPIES_PER_TURN_MAX;
        while budget > 0 && self.unsent.is_none() {
            let Some(copying) = self.copying.take().or_else(|| self.begin(now)) else {
                break;
            };
            budget -= self.copy(copying, budget);
        }
        self.resume = if self.unsent.is_some() {
            now.mono.plus(FULL_PAUSE_NS)
        } else {
            now.mono
        };
    }

    /// Nothing comes after this: dump at once what waits. True when nothing is left to hand over.
    pub fn finish(&mut self, now: Now) -> bool {
        self.finishing = true;
        self.handle_timeout(now);
        self.poll_timeout().is_none()
    }

    /// The next thing to copy.
    fn begin(&mut self, now: Now) -> Option<Copying> {
        let finishing = self.finishing;
        let is_due =
            |pending: &Pending| finishing || pending.due.is_some_and(|due| due <= now.mono);
        while let Some(at) = self.pending.iter().position(is_due) {
            let pending = self.pending.remove(at)?;
            if let Some(copying) = self.begin_burst(&pending) {
                return Some(copying);
            }
        }
        self.begin_part()
    }

    /// `None` if the flow is gone, and its dump with it.
    fn begin_burst(&mut self, pending: &Pending) -> Option<Copying> {
        let flight = self.flights.get(pending.origin.0 as usize)?;
        let (labels, ring) = (
            flight.labels.as_ref()?,
            flight.rings[pending.kind].as_ref()?,
        );
        let dump = Dump {
            labels: Arc::clone(labels),
            flow: KINDS[pending.kind],
            event: Some(Arc::clone(&pending.event)),
            from: pending.from,
            to: pending.to,
            is_complete: ring.reaches_back_to(pending.from),
            clock: flight.clock,
            own_clock: self.own_clock,
            probes: Vec::new(),
        };
        Some(Copying {
            origin: pending.origin.0 as usize,
            kind: pending.kind,
            asked: None,
            dump: Box::new(dump),
            next: ring.oldest(),
            end: ring.end(),
        })
    }

    /// The next flow of the snapshot that is being taken.
    fn begin_part(&mut self) -> Option<Copying> {
        let mut snapshot = self.snapshot?;
        while snapshot.origin < self.flights.len() {
            let (origin, kind) = (snapshot.origin, snapshot.kind);
            snapshot.kind += 1;
            if snapshot.kind == KINDS.len() {
                (snapshot.origin, snapshot.kind) = (origin + 1, 0);
            }
            let flight = &self.flights[origin];
            if let (Some(labels), Some(ring)) = (&flight.labels, &flight.rings[kind]) {
                self.snapshot = Some(snapshot);
                let dump = Dump {
                    labels: Arc::clone(labels),
                    flow: KINDS[kind],
                    event: None,
                    from: ring.begin(),
                    to: snapshot.asked,
                    is_complete: true,
                    clock: flight.clock,
                    own_clock: self.own_clock,
                    probes: Vec::new(),
                };
                return Some(Copying {
                    origin,
                    kind,
                    asked: Some(snapshot.asked),
                    dump: Box::new(dump),
                    next: ring.oldest(),
                    end: ring.end(),
                });
            }
        }
        self.snapshot = None;
        self.send(Order::End(snapshot.asked));
        None
    }

    /// Copy up to `budget` probes, and hand the dump over if those were the last. Gives how many were
    /// looked at.
    fn copy(&mut self, mut copying: Copying, budget: usize) -> usize {
        let ring = self
            .flights
            .get(copying.origin)
            .and_then(|flight| flight.rings[copying.kind].as_ref());
        let mut seen = 0;
        if let Some(ring) = ring {
            let dump = &mut copying.dump;
            // What was overwritten since the last turn is gone.
            copying.next = copying.next.max(ring.oldest());
            let range = dump.event.as_ref().map(|_| (dump.from, dump.to));
            while copying.next < copying.end && seen < budget {
                if let Some(probe) = ring.get(copying.next)
                    && range.is_none_or(|(from, to)| probe.is_within(from, to))
                {
                    dump.probes.push(*probe);
                }
                copying.next += 1;
                seen += 1;
            }
            if copying.next < copying.end {
                self.copying = Some(copying);
                return seen;
            }
        }
        let mut dump = copying.dump;
        // Probes are recorded as they end; those that were lost among them late.
        dump.probes.sort_by_key(|probe| probe.seq);
        self.send(match copying.asked {
            None => Order::Burst(dump),
            Some(asked) => Order::Part(asked, dump),
        });
        // Even an empty one costs something, so that a turn ends.
        seen.max(1).min(budget)
    }

    /// Hand over; false if it has to wait. A burst's dump that finds no room is dropped, since others
    /// follow; one of the end, and a part of a snapshot, wait.
    fn send(&mut self, order: Order) -> bool {
        match self.writer.try_send(order) {
            Ok(()) => return true,
            Err(TrySendError::Full(order))
                if self.finishing || !matches!(order, Order::Burst(_)) =>
            {
                // Of two, the one that waits longer is the loss.
                self.dropped += u64::from(self.unsent.replace(order).is_some());
            }
            Err(_) => self.dropped += 1,
        }
        false
    }
}

const fn place(kind: FlowKind) -> Option<usize> {
    match kind {
        FlowKind::Udp => Some(0),
        FlowKind::Tcp => Some(1),
        FlowKind::Connect => None,
    }
}

fn signed(ns: u64) -> i64 {
    i64::try_from(ns).unwrap_or(i64::MAX)
}
