//! The flight recorder keeps the last probes of every flow, and dumps them when a burst is found or a user
//! asks.
//!
//! ```text
//! Output::Trace, LossPlaced -> ring of the flow -- burst + post + settle --> copy --> bounded channel -> writer
//! ```
//!
//! A ring is as long as its flow is fast. It begins with a few probes and doubles until it reaches back far
//! enough, or meets a limit. From then on each probe replaces the oldest. A turn copies a bounded number of
//! probes, so that probes which are due go first. Nothing here waits for the writer's channel.

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
    ClockEstimate, ClockState, FlowKind, Labels, Mono, Now, Origin, Output, Trace, Wall,
};
use crate::record::event::{Event, EventKind};
use crate::record::flight::probe::Epochs;
use crate::record::flight::ring::Ring;

pub use probe::Probe;

/// Nanoseconds until a writer without room is tried again.
const FULL_PAUSE_NS: u64 = 10_000_000;

/// UDP and TCP flows have traces.
const KINDS: usize = 2;

/// How much a dump holds, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlightConfig {
    /// Before a burst.
    pub pre_ns: u64,
    /// After a burst.
    pub post_ns: u64,
    /// Until every probe sent by then has its outcome: the longest timeout.
    pub settle_ns: u64,
}

impl FlightConfig {
    /// Returns how far a ring must reach back to hold the longest burst.
    const fn span_ns(&self) -> u64 {
        let margins = self.pre_ns.saturating_add(self.post_ns);
        margins
            .saturating_add(self.settle_ns)
            .saturating_add(BURST_KEPT_NS)
    }
}

/// The probes of one flow in one period.
#[derive(Clone, Debug)]
pub struct Dump {
    /// The labels of the flow.
    pub labels: Arc<Labels>,
    /// UDP or TCP.
    pub flow: FlowKind,
    /// The burst; `None` in a snapshot.
    pub event: Option<Arc<Event>>,
    /// The begin of the period, by the clock that took T1; in a snapshot when the oldest probe left.
    pub from: Wall,
    /// The end of the period.
    pub to: Wall,
    /// True if the ring still held all of the period.
    pub is_complete: bool,
    /// What is known of the peer's clock.
    pub clock: Option<ClockEstimate>,
    /// What the kernel says of this host's clock; `None` if it does not.
    pub own_clock: Option<ClockState>,
    /// The probes, in the order of their numbers.
    pub probes: Vec<Probe>,
}

/// An order to the writer.
#[derive(Debug)]
pub enum Order {
    /// Write a burst to a file of its own.
    Burst(Box<Dump>),
    /// Write a part of the snapshot that was asked for at this time.
    Part(Wall, Box<Dump>),
    /// End the file of that snapshot.
    End(Wall),
}

#[derive(Debug, Default)]
struct Flight {
    labels: Option<Arc<Labels>>,
    clock: Option<ClockEstimate>,
    rings: [Option<Ring>; KINDS],
}

/// A burst that waits until the probes after it have their outcomes.
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
    /// When the snapshot was asked for that it is a part of.
    asked: Option<Wall>,
    dump: Box<Dump>,
    next: u64,
    end: u64,
}

/// Keeps the last probes of every flow, and gives those around a burst to a writer.
#[derive(Debug)]
pub struct FlightRecorder {
    config: FlightConfig,
    /// How far a ring must reach back, in nanoseconds.
    span_ns: u64,
    flights: Vec<Flight>,
    /// The number of probes by which the rings may still grow.
    room: usize,
    pending: VecDeque<Pending>,
    snapshot: Option<Snapshot>,
    copying: Option<Copying>,
    /// An order for which the writer had no room, and which must not be lost.
    unsent: Option<Order>,
    resume: Mono,
    writer: SyncSender<Order>,
    finishing: bool,
    own_clock: Option<ClockState>,
    epochs: Epochs,
    dropped: u64,
}

impl FlightRecorder {
    /// Returns an empty recorder, whose dumps go to `writer`.
    pub fn new(config: FlightConfig, writer: SyncSender<Order>) -> Self {
        Self {
            config,
            span_ns: config.span_ns(),
            flights: Vec::new(),
            room: FLIGHT_PROBES_TOTAL_MAX,
            pending: VecDeque::new(),
            snapshot: None,
            copying: None,
            unsent: None,
            resume: Mono::ZERO,
            writer,
            finishing: false,
            own_clock: None,
            epochs: Epochs::default(),
            dropped: 0,
        }
    }

    /// Dumps as much as this says from here on.
    pub fn set_config(&mut self, config: FlightConfig) {
        (self.config, self.span_ns) = (config, config.span_ns());
    }

    /// Returns the number of dumps given up because too many came at once, or the writer had no room.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes traces, clocks and flows from one output of the core.
    pub fn handle_output(&mut self, output: &Output) {
        if let Output::Trace(trace) = output {
            self.keep(trace);
        } else {
            self.follow(output);
        }
    }

    fn keep(&mut self, trace: &Trace) {
        if let Some(flight) = self.flights.get_mut(trace.origin.0 as usize)
            && flight.labels.is_some()
            && let Some(ring) = flight.rings.get_mut(trace.kind as usize)
        {
            let epochs = &self.epochs;
            let probe = Probe::new(trace).in_epoch(epochs);
            let ring = ring.get_or_insert_default();
            ring.push(probe, self.span_ns, epochs, &mut self.room);
        }
    }

    /// Takes what comes less often than traces.
    #[inline(never)]
    fn follow(&mut self, output: &Output) {
        match output {
            Output::LossPlaced {
                origin,
                kind,
                seq,
                direction,
            } => {
                if let Some(flight) = self.flights.get_mut(origin.0 as usize)
                    && let Some(Some(ring)) = flight.rings.get_mut(*kind as usize)
                {
                    ring.place_loss(*seq, *direction);
                }
            }
            Output::Opened { origin, labels } => self.open(*origin, labels),
            Output::Relabelled(relabelled) => {
                let index = relabelled.origin.0 as usize;
                if let Some(flight) = self.flights.get_mut(index) {
                    flight.labels = Some(Arc::clone(&relabelled.labels));
                }
            }
            Output::Clock { origin, estimate } => {
                if let Some(flight) = self.flights.get_mut(origin.0 as usize) {
                    flight.clock = Some(*estimate);
                }
            }
            Output::ClockStep {
                origin: None,
                step_ns,
                ..
            } => self.step(*step_ns),
            Output::Closed { origin, .. } => self.close(*origin),
            _ => {}
        }
    }

    /// This host's clock was set: what is to be dumped is dumped by the clock as it is now.
    fn step(&mut self, step_ns: i64) {
        self.epochs.step(step_ns);
        let copying = self.copying.iter_mut().map(|copying| &mut *copying.dump);
        let copying = copying.filter(|dump| dump.event.is_some());
        let copying = copying.map(|dump| (&mut dump.from, &mut dump.to));
        let pending = self.pending.iter_mut();
        for (from, to) in pending
            .map(|one| (&mut one.from, &mut one.to))
            .chain(copying)
        {
            (*from, *to) = (from.plus(step_ns), to.plus(step_ns));
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

    /// Closes a flow and its ring. A burst that waits for more probes of it gets those there are.
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

    /// Takes an event of a flow. If it is a burst, the probes around it are dumped once those after it have their
    /// outcomes.
    pub fn handle_event(&mut self, event: &Arc<Event>, origin: Origin) {
        let EventKind::Burst(burst) = event.kind else {
            return;
        };
        if burst.flow as usize >= KINDS {
            return;
        }
        if self.pending.len() >= DUMPS_PENDING_MAX {
            self.dropped += 1;
            return;
        }
        let after = burst.duration_ns.saturating_add(self.config.post_ns);
        self.pending.push_back(Pending {
            due: None,
            origin,
            kind: burst.flow as usize,
            from: event.at.plus(signed(self.config.pre_ns).saturating_neg()),
            to: event.at.plus(signed(after)),
            event: Arc::clone(event),
        });
    }

    /// Begins a snapshot of every flow. While one is under way, it does nothing.
    pub fn handle_snapshot(&mut self, now: Now) {
        self.snapshot.get_or_insert(Snapshot {
            asked: now.wall,
            origin: 0,
            kind: 0,
        });
    }

    /// Returns when to call [`handle_timeout`](Self::handle_timeout) next.
    pub fn poll_timeout(&self) -> Option<Mono> {
        if self.unsent.is_some() || self.copying.is_some() || self.snapshot.is_some() {
            return Some(self.resume);
        }
        let dues = self.pending.iter();
        dues.map(|pending| pending.due.unwrap_or(Mono::ZERO)).min()
    }

    /// Takes what the kernel says of this host's clock now, if it does.
    pub fn handle_clock_state(&mut self, state: Option<ClockState>) {
        self.own_clock = state;
    }

    /// Copies a bounded part of what is due, and hands over what is copied.
    pub fn handle_timeout(&mut self, now: Now) {
        for pending in &mut self.pending {
            let settled = pending.to.plus(signed(self.config.settle_ns));
            // The wait is on a clock that does not step, and bounded, because `to` is on one that does.
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
        let pause_ns = self.unsent.as_ref().map_or(0, |_| FULL_PAUSE_NS);
        self.resume = now.mono.plus(pause_ns);
    }

    /// Dumps at once what waits, because nothing follows. True when nothing is left to hand over.
    pub fn finish(&mut self, now: Now) -> bool {
        self.finishing = true;
        self.handle_timeout(now);
        self.poll_timeout().is_none()
    }

    /// Begins the next thing to copy.
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

    /// Begins the dump of a burst; `None` if the flow is gone.
    fn begin_burst(
        &self,
        Pending {
            origin,
            kind,
            from,
            to,
            event,
            ..
        }: &Pending,
    ) -> Option<Copying> {
        let mut copying = self.begin_copying(origin.0 as usize, *kind, Some(*from), *to)?;
        copying.dump.event = Some(Arc::clone(event));
        Some(copying)
    }

    /// Begins the next flow of the snapshot that is being taken.
    fn begin_part(&mut self) -> Option<Copying> {
        let mut snapshot = self.snapshot?;
        while snapshot.origin < self.flights.len() {
            let (origin, kind) = (snapshot.origin, snapshot.kind);
            snapshot.kind += 1;
            if snapshot.kind == KINDS {
                (snapshot.origin, snapshot.kind) = (origin + 1, 0);
            }
            if let Some(mut copying) = self.begin_copying(origin, kind, None, snapshot.asked) {
                copying.asked = Some(snapshot.asked);
                self.snapshot = Some(snapshot);
                return Some(copying);
            }
        }
        self.snapshot = None;
        self.send(Order::End(snapshot.asked));
        None
    }

    /// Begins to copy a ring, or all of it if `from` is `None`. Returns `None` if there is no such ring.
    fn begin_copying(
        &self,
        origin: usize,
        kind: usize,
        from: Option<Wall>,
        to: Wall,
    ) -> Option<Copying> {
        let flight = self.flights.get(origin)?;
        let (labels, ring) = (flight.labels.as_ref()?, flight.rings.get(kind)?.as_ref()?);
        let dump = Dump {
            labels: Arc::clone(labels),
            flow: FlowKind::ALL[kind],
            event: None,
            from: from.unwrap_or_else(|| ring.begin()),
            to,
            is_complete: from.is_none_or(|from| ring.reaches_back_to(from, &self.epochs)),
            clock: flight.clock,
            own_clock: self.own_clock,
            probes: Vec::new(),
        };
        Some(Copying {
            origin,
            kind,
            asked: None,
            dump: Box::new(dump),
            next: ring.oldest(),
            end: ring.end(),
        })
    }

    /// Copies up to `budget` probes, and hands the dump over after the last one. Returns how many it looked at.
    fn copy(&mut self, mut copying: Copying, budget: usize) -> usize {
        let mut seen = 0;
        if let Some(flight) = self.flights.get(copying.origin)
            && let Some(ring) = &flight.rings[copying.kind]
        {
            let dump = &mut copying.dump;
            // Probes replaced since the last turn are gone.
            copying.next = copying.next.max(ring.oldest());
            let range = dump.event.as_ref().map(|_| (dump.from, dump.to));
            while copying.next < copying.end && seen < budget {
                if let Some(probe) = ring.get(copying.next)
                    && range.is_none_or(|(from, to)| probe.is_within(from, to, &self.epochs))
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
        // A ring has probes in the order in which they ended: lost ones come late.
        dump.probes.sort_by_key(|probe| probe.seq);
        self.send(match copying.asked {
            None => Order::Burst(dump),
            Some(asked) => Order::Part(asked, dump),
        });
        // Even an empty dump costs something, so that a turn ends.
        seen.max(1).min(budget)
    }

    /// Hands an order over; false if it has to wait. The dump of a burst without room is dropped, because others
    /// follow. A part of a snapshot, and every dump at the end, waits.
    fn send(&mut self, order: Order) -> bool {
        match self.writer.try_send(order) {
            Ok(()) => return true,
            Err(TrySendError::Full(order))
                if self.finishing || !matches!(order, Order::Burst(_)) =>
            {
                // Only one can wait: the one before it is lost.
                self.dropped += u64::from(self.unsent.replace(order).is_some());
            }
            Err(_) => self.dropped += 1,
        }
        false
    }
}

fn signed(ns: u64) -> i64 {
    i64::try_from(ns).unwrap_or(i64::MAX)
}
