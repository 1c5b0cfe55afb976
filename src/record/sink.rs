//! One backend's side of the recorder: its ring, its windows and its intervals.
//!
//! When an interval ends, the sink copies nothing. It reads the counts and begins a new generation. Then it
//! hands over the windows of the generation before, one set of series after another: a bounded number in a
//! turn, and only while the ring has room. A series that gets a value meanwhile begins its next window beside
//! the old one. The next interval ends when all of this one is handed over, so a slow backend makes intervals
//! longer and loses none.

use std::sync::Arc;

use rtrb::RingBuffer;

use crate::limits::{
    PUBLISHED_PER_TURN_MAX, RING_RECORDS_MAX, RING_RECORDS_RESERVED, RING_WINDOWS,
    SERIES_SETS_ENDED_PER_TURN_MAX, WINDOWS_RETURNED_MAX,
};
use crate::proto::{
    ClockEstimate, Direction, FlowKind, Metric, Mono, Now, OneWay, Origin, Outcome, Sample, Seen,
    StampSource, Wall,
};
use crate::record::backend::BackendStats;
use crate::record::choice::Choice;
use crate::record::counts::{COUNTS, published, unattributed};
use crate::record::event::Event;
use crate::record::feed::Feed;
use crate::record::metrics::{CLOCK_GAUGES, DSCP, GAPS, HOPS, KINDS, WORST, read_gauges};
use crate::record::outlet::{Begin, Count, Outlet, Value, Windows};
use crate::record::paths::Worst;
use crate::record::pool::Pool;
use crate::record::process::{HostGauges, ProcessCounters};
use crate::record::quantity::{FLOW_DIRECTIONS, FlowDirection, QUANTITIES, Quantity};
use crate::record::records::Record;
use crate::record::self_metrics::{Gap, SelfMetrics, SelfSeries};
use crate::record::series::Tags;
use crate::record::series_table::{Found, SeriesSet};
use crate::record::variation::Ipdv;

/// Nanoseconds until the hand-over of an ended interval goes on.
const TURN_PAUSE_NS: u64 = 250_000;

/// Records handed over in a turn that is not late. They take some ten microseconds; then the probes that are
/// due go first.
const PUBLISHED_AT_ONCE: usize = 256;

/// Nanoseconds until the hand-over goes on after the ring was full: a stalled backend must not keep us awake.
const FULL_PAUSE_NS: u64 = 10_000_000;

// A set is handed over as a whole once the reserved room is there.
const _: () = assert!(
    QUANTITIES + KINDS * (COUNTS + 1 + WORST.len()) + CLOCK_GAUGES.len() + 1 + FLOW_DIRECTIONS
        <= RING_RECORDS_RESERVED
);

/// What a backend gets of the delays. Every mode has counts, gauges and `monitor.*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Each sample as it comes.
    Samples,
    /// One window per series and interval.
    Windows,
    /// Samples and windows.
    Both,
}

impl Mode {
    const fn has_samples(self) -> bool {
        matches!(self, Self::Samples | Self::Both)
    }

    const fn has_windows(self) -> bool {
        matches!(self, Self::Windows | Self::Both)
    }
}

/// What one backend gets, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkConfig {
    /// Samples, windows or both.
    pub mode: Mode,
    /// Which metrics. Nothing is kept of the others.
    pub choice: Choice,
    /// Nanoseconds of an interval; not 0.
    pub window_ns: u64,
    /// Publish, as samples, a lost probe and a one-way delay below 0 as a delay of 0, as the Python program did.
    pub compat_zero: bool,
    /// Records the ring holds, within [`RING_RECORDS_MAX`].
    pub ring_records: usize,
}

impl SinkConfig {
    /// Returns a configuration for all metrics with a ring that fits the mode, and without zeros for losses.
    pub const fn new(mode: Mode, window_ns: u64) -> Self {
        let ring_records = match mode {
            Mode::Samples | Mode::Both => RING_RECORDS_MAX,
            Mode::Windows => RING_WINDOWS,
        };
        Self {
            mode,
            choice: Choice::ALL,
            window_ns,
            compat_zero: false,
            ring_records,
        }
    }
}

/// What a sink holds for one set of series.
#[derive(Debug, Default)]
struct Slot {
    delays: [Windows; QUANTITIES],
    /// The quantities whose windows the pool knows of, one bit each.
    known: u32,
    counts: [Count<COUNTS>; KINDS],
    /// What is known of the peer's clock, by this origin, in the interval that runs.
    clock: Option<(Origin, ClockEstimate)>,
    /// The same of the interval that is being handed over.
    clock_due: Option<ClockEstimate>,
    /// Routers on the way, if an interval has shown them.
    hops: Option<u8>,
    /// The code points that packets arrive with, by direction, if an interval has shown them.
    dscp: [Option<u8>; 2],
    /// The worst of several flows of each kind, if it is new.
    worst: [Option<Worst>; KINDS],
    /// The threshold of bursts in each direction, in nanoseconds, if it is new.
    thresholds: [Option<(Arc<Tags>, u64)>; FLOW_DIRECTIONS],
}

const _: () = assert!(QUANTITIES <= u32::BITS as usize);

impl Slot {
    /// Returns the windows of a quantity, and its series for when one begins.
    fn windows<'a>(
        &'a mut self,
        set: &'a mut SeriesSet,
        quantity: Quantity,
    ) -> (&'a mut Windows, impl FnOnce() -> Begin + 'a) {
        let (delays, known) = (&mut self.delays, &mut self.known);
        let begin = move || {
            let before = *known;
            *known |= 1 << quantity.index();
            Begin {
                series: Arc::clone(set.series(quantity)),
                is_new: *known != before,
            }
        };
        (&mut delays[quantity.index()], begin)
    }

    fn is_published(&self, set: &SeriesSet) -> bool {
        self.delays.iter().all(Windows::is_empty)
            && self.clock.is_none()
            && self.clock_due.is_none()
            && self.hops.is_none()
            && self.dscp == [None; 2]
            && self.worst.iter().all(Option::is_none)
            && self.thresholds.iter().all(Option::is_none)
            && self
                .counts
                .iter()
                .zip(&set.tallies)
                .all(|(count, tally)| count.due.is_none() && count.published == tally.totals)
    }

    /// Keeps the latest estimate of an origin; of two origins the one with the smaller error.
    fn estimate(&mut self, origin: Origin, estimate: ClockEstimate) {
        let is_better = self
            .clock
            .is_none_or(|(other, known)| other == origin || estimate.error_ns < known.error_ns);
        if is_better {
            self.clock = Some((origin, estimate));
        }
    }
}

/// The interval that is being handed over.
#[derive(Clone, Copy, Debug)]
struct Handover {
    end: Wall,
    next_set: usize,
    /// The next part of the self-metrics, after the sets.
    next_part: usize,
    resume: Mono,
}

/// See the [module](self).
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that have nothing in common"
)]
pub(super) struct Sink {
    config: SinkConfig,
    /// Whether each quantity is chosen, and each gap: asked with every packet.
    delays: [bool; QUANTITIES],
    gaps: [bool; GAPS.len()],
    outlet: Outlet,
    began: Mono,
    next_end: Mono,
    /// The number of sets whose counts are taken, while the interval ends.
    ended_sets: usize,
    /// True once all of them are.
    are_sets_ended: bool,
    handover: Option<Handover>,
    finishing: bool,
    /// Its backend goes: the interval that runs is its last one, and is handed over in turns like the others.
    leaving: bool,
    ended_last: bool,
    slots: Vec<Slot>,
    self_metrics: SelfMetrics,
}

impl Sink {
    /// Returns a sink whose first interval begins now, and the other end of its ring.
    pub(super) fn new(config: SinkConfig, stats: Arc<BackendStats>, now: Now) -> (Self, Feed) {
        assert!(config.window_ns > 0, "an interval has a length");
        let records_max = config
            .ring_records
            .clamp(2 * RING_RECORDS_RESERVED, RING_RECORDS_MAX);
        let (ring, records) = RingBuffer::new(records_max);
        let (returns, returned) = RingBuffer::new(WINDOWS_RETURNED_MAX.min(records_max));
        let feed = Feed {
            records,
            returns,
            emptied: Vec::new(),
            stats: Arc::clone(&stats),
            spare: None,
        };
        let choice = config.choice.clone();
        let mut delays = [false; QUANTITIES];
        for quantity in Quantity::all() {
            delays[quantity.index()] = choice.has(quantity.metric());
        }
        let gaps = GAPS.each_ref().map(|metric| choice.has(metric));
        let outlet = Outlet::new(ring, Pool::new(returned), stats, choice, now);
        let sink = Self {
            delays,
            gaps,
            outlet,
            began: now.mono,
            next_end: now.mono.plus(config.window_ns),
            config,
            ended_sets: 0,
            are_sets_ended: false,
            handover: None,
            finishing: false,
            leaving: false,
            ended_last: false,
            slots: Vec::new(),
            self_metrics: SelfMetrics::default(),
        };
        (sink, feed)
    }

    /// Takes a sample.
    pub(super) fn record(&mut self, found: &mut Found<'_>, sample: &Sample) {
        let quantity = Quantity::of(sample);
        if !self.delays[quantity.index()] {
            return;
        }
        if sample.outcome == Outcome::Received {
            let (ns, stamp) = (sample.value_ns, sample.stamp);
            self.record_in_window(found, quantity, ns, stamp);
        }
        if self.config.mode.has_samples()
            && let Some(value_ns) = self.published_value(sample)
        {
            let is_owd = matches!(sample.metric, Metric::UdpOwd | Metric::TcpOwd);
            let record = Record::Sample {
                series: Arc::clone(found.set.series(quantity)),
                at: sample.at,
                value_ns,
                seq: sample.seq,
                stamp: sample.stamp,
                dwell_ns: sample.dwell_ns,
            };
            self.outlet.push_sample(record, is_owd && found.is_remote);
        }
    }

    /// Takes the difference between the delays of `later` and of the packet before it.
    pub(super) fn record_ipdv(
        &mut self,
        found: &mut Found<'_>,
        direction: FlowDirection,
        Ipdv { value_ns, stamp }: Ipdv,
        later: &OneWay,
    ) {
        let quantity = Quantity::Ipdv(direction);
        if !self.delays[quantity.index()] {
            return;
        }
        self.record_in_window(found, quantity, value_ns, stamp);
        if self.config.mode.has_samples() {
            let record = Record::Sample {
                series: Arc::clone(found.set.series(quantity)),
                at: later.at,
                value_ns,
                seq: found.number.seq(later.seq),
                stamp,
                dwell_ns: None,
            };
            self.outlet.push_sample(record, found.is_remote);
        }
    }

    /// Takes a packet's delay into the window of delays over the least, which every mode has.
    pub(super) fn record_pdv(
        &mut self,
        found: &mut Found<'_>,
        direction: FlowDirection,
        one_way: &OneWay,
    ) {
        let quantity = Quantity::Pdv(direction);
        if self.delays[quantity.index()] {
            self.record_value(found, quantity, one_way.delay_ns, one_way.stamp);
        }
    }

    fn record_in_window(
        &mut self,
        found: &mut Found<'_>,
        quantity: Quantity,
        ns: i64,
        stamp: StampSource,
    ) {
        if self.config.mode.has_windows() {
            self.record_value(found, quantity, ns, stamp);
        }
    }

    fn record_value(
        &mut self,
        found: &mut Found<'_>,
        quantity: Quantity,
        ns: i64,
        stamp: StampSource,
    ) {
        let value = Value {
            ns,
            stamp,
            steps: found.set.steps(quantity),
            stepped: found.set.stepped,
            is_over_least: matches!(quantity, Quantity::Pdv(_)),
            is_remote: found.is_remote,
        };
        let slot = slot(&mut self.slots, found.index);
        let (windows, begin) = slot.windows(found.set, quantity);
        self.outlet.record(windows, begin, value);
    }

    /// This host's clock was set: windows from before end here.
    pub(super) fn step(&mut self, now: Now) {
        self.outlet.step(now);
    }

    /// Takes what an origin knows of its peer's clock.
    pub(super) fn record_clock(&mut self, set: usize, origin: Origin, estimate: ClockEstimate) {
        slot(&mut self.slots, set).estimate(origin, estimate);
    }

    /// Takes how many routers a flow's probes pass.
    pub(super) fn record_hops(&mut self, set: usize, hops: u8) {
        slot(&mut self.slots, set).hops = Some(hops);
    }

    /// Takes which code point the packets of a flow arrive with.
    pub(super) fn record_dscp(&mut self, set: usize, seen: &Seen) {
        let place = match seen.direction {
            Direction::Forward => 0,
            Direction::Reverse => 1,
        };
        slot(&mut self.slots, set).dscp[place] = Some(seen.arrived.number());
    }

    /// Takes the worst of several flows.
    pub(super) fn record_worst(&mut self, set: usize, kind: FlowKind, worst: Worst) {
        slot(&mut self.slots, set).worst[kind as usize] = Some(worst);
    }

    /// Takes the queueing delay over which a flow has a burst.
    pub(super) fn record_threshold(
        &mut self,
        found: &mut Found<'_>,
        direction: FlowDirection,
        ns: u64,
    ) {
        let tags = Arc::clone(&found.set.series(Quantity::Pdv(direction)).tags);
        let known = &mut slot(&mut self.slots, found.index).thresholds[direction.index()];
        // Of several flows the highest of an interval.
        let before = known.as_ref().map_or(0, |(_, ns)| *ns);
        let ns = if found.number.is_only() {
            ns
        } else {
            ns.max(before)
        };
        *known = Some((tags, ns));
    }

    /// Publishes an event, in the room that is reserved.
    pub(super) fn publish(&mut self, event: &Arc<Event>) {
        if self.outlet.choice.has_event(event) {
            self.outlet.push(Record::Event(Arc::clone(event)));
        }
    }

    /// Publishes an event that was found in a flow's probes. Such events may be as many as samples.
    pub(super) fn publish_found(&mut self, event: &Arc<Event>, is_remote: bool) {
        if self.outlet.choice.has_event(event) {
            let record = Record::Event(Arc::clone(event));
            self.outlet.push_sample(record, is_remote);
        }
    }

    /// Takes what this host added to one packet's time.
    pub(super) fn record_gap(&mut self, gap: Gap, series: &SelfSeries, ns: u64) {
        if self.gaps[gap as usize] {
            self.self_metrics.record(gap, series, ns, &mut self.outlet);
        }
    }

    /// Returns the delay that is published. A loss has none, except for readers of the Python program's zeros.
    fn published_value(&self, sample: &Sample) -> Option<i64> {
        let is_signed = matches!(sample.metric, Metric::UdpOwd | Metric::TcpOwd);
        match (sample.outcome, self.config.compat_zero) {
            (Outcome::Received, true) if is_signed => Some(sample.value_ns.max(0)),
            (Outcome::Received, _) => Some(sample.value_ns),
            (Outcome::Lost, true) if !is_signed => Some(0),
            (Outcome::Lost, _) => None,
        }
    }

    /// Makes the interval that runs the last one.
    pub(super) fn finish(&mut self) {
        self.finishing = true;
        // Counts that were taken for an interval that was ending have grown since.
        self.ended_sets = 0;
    }

    /// Makes the interval that runs the last one, while those of other sinks go on.
    pub(super) fn leave(&mut self) {
        self.leaving = true;
    }

    /// True if it is the sink of these counters.
    pub(super) fn is_of(&self, stats: &Arc<BackendStats>) -> bool {
        Arc::ptr_eq(&self.outlet.stats, stats)
    }

    /// True once its last interval has ended: it takes nothing more.
    pub(super) fn has_ended(&self) -> bool {
        self.ended_last
    }

    /// Returns its backend's counters.
    pub(super) fn stats(&self) -> &Arc<BackendStats> {
        &self.outlet.stats
    }

    /// True if it leaves, and everything is handed over.
    pub(super) fn has_left(&self) -> bool {
        self.leaving && self.is_finished()
    }

    /// Ends its intervals where one that had begun then would end them: windows of several backends end together.
    pub(super) fn end_as_if_begun(&mut self, began: Mono) {
        let past = self.began.since(began) / self.config.window_ns + 1;
        self.next_end = began.plus(past.saturating_mul(self.config.window_ns));
        self.began = began;
    }

    /// Begins to count from here: what has happened before is no news to it.
    pub(super) fn count_from_here(
        &mut self,
        sets: &[Option<SeriesSet>],
        series: &SelfSeries,
        process: &ProcessCounters,
        host: HostGauges,
    ) {
        self.slots.resize_with(sets.len(), Slot::default);
        for (slot, set) in self.slots.iter_mut().zip(sets) {
            let Some(set) = set else { continue };
            for (count, tally) in slot.counts.iter_mut().zip(&set.tallies) {
                count.published = tally.totals;
            }
        }
        self.self_metrics.count_from_here(process, host, series);
    }

    /// The backend at this place of the self-metrics is gone.
    pub(super) fn forget_backend(&mut self, place: usize) {
        self.self_metrics.forget_backend(place);
    }

    /// Says how many records went into the ring, and whether no more do.
    pub(super) fn tell_offered(&self) {
        let stats = &self.outlet.stats;
        stats.set_offered(self.outlet.pushed, self.is_finished());
    }

    /// True once the last interval is handed over, or nobody takes it any more.
    pub(super) fn is_finished(&self) -> bool {
        self.outlet.ring.is_abandoned() || (self.ended_last && self.handover.is_none())
    }

    /// True if the interval ends now.
    pub(super) fn is_due(&self, now: Now) -> bool {
        let is_last = self.finishing || self.leaving;
        self.handover.is_none() && !self.ended_last && (is_last || now.mono >= self.next_end)
    }

    /// Returns when there is something to do.
    pub(super) fn poll_timeout(&self) -> Option<Mono> {
        match self.handover {
            Some(handover) => Some(handover.resume),
            None if self.ended_last => None,
            None if self.leaving => Some(self.began),
            None => Some(self.next_end),
        }
    }

    /// Takes the counts of some sets, because the interval ends. True once those of all are taken.
    pub(super) fn end_sets(&mut self, sets: &[Option<SeriesSet>]) -> bool {
        if sets.len() > self.slots.len() {
            self.slots.resize_with(sets.len(), Slot::default);
        }
        let turn_max = if self.finishing {
            usize::MAX
        } else {
            SERIES_SETS_ENDED_PER_TURN_MAX
        };
        let both = self.slots.iter_mut().zip(sets);
        for (slot, set) in both.skip(self.ended_sets).take(turn_max) {
            self.ended_sets += 1;
            let Some(set) = set else { continue };
            slot.clock_due = slot.clock.take().map(|(_, estimate)| estimate);
            for (count, tally) in slot.counts.iter_mut().zip(&set.tallies) {
                if tally.flows > 0 || count.published != tally.totals {
                    count.end_window(&tally.totals);
                }
            }
        }
        self.are_sets_ended = self.ended_sets >= sets.len();
        self.are_sets_ended
    }

    /// Ends the interval if the counts of all sets are taken, and begins to hand it over.
    pub(super) fn end_window(
        &mut self,
        now: Now,
        series: &SelfSeries,
        process: ProcessCounters,
        host: HostGauges,
    ) {
        if !std::mem::take(&mut self.are_sets_ended) {
            return;
        }
        self.ended_sets = 0;
        let process = ProcessCounters {
            samples_dropped: self.outlet.stats.samples_dropped(),
            ..process
        };
        self.self_metrics.end_window(&process, host, series, now);
        self.handover = Some(Handover {
            end: self.outlet.end_interval(now),
            next_set: 0,
            next_part: 0,
            resume: now.mono,
        });
        // Ends stay multiples of the interval since the start, however late this one is.
        let past = now.mono.since(self.began) / self.config.window_ns + 1;
        self.next_end = self.began.plus(past.saturating_mul(self.config.window_ns));
        self.ended_last = self.finishing || self.leaving;
    }

    /// Hands over some of the interval that ended. True if that was the last of it.
    pub(super) fn hand_over(
        &mut self,
        now: Now,
        sets: &[Option<SeriesSet>],
        series: &SelfSeries,
    ) -> bool {
        let Some(mut handover) = self.handover else {
            return false;
        };
        self.outlet.pool.take_back();
        self.outlet.pool.release_some();
        let is_abandoned = self.outlet.ring.is_abandoned();
        let turn_max = if self.finishing {
            usize::MAX
        } else {
            // Turns that come late have more to do, or the interval would never be handed over.
            let turns = 1 + now.mono.since(handover.resume) / TURN_PAUSE_NS;
            let turns = usize::try_from(turns).unwrap_or(usize::MAX);
            turns
                .saturating_mul(PUBLISHED_AT_ONCE)
                .min(PUBLISHED_PER_TURN_MAX)
        };
        // Without samples, events have the rest of the ring to themselves. Those of remote senders fill at
        // most a half of it.
        let room = if self.config.mode.has_samples() {
            RING_RECORDS_RESERVED
        } else {
            RING_RECORDS_RESERVED.max(self.outlet.ring.buffer().capacity() / 8 * 5)
        };
        let mut pushed = 0;
        while pushed < turn_max && (is_abandoned || self.outlet.ring.slots() >= room) {
            if handover.next_set < self.slots.len() {
                let set = sets.get(handover.next_set).and_then(Option::as_ref);
                pushed += 1 + self.hand_over_set(handover.next_set, set, handover.end);
                handover.next_set += 1;
                continue;
            }
            let (part, end) = (handover.next_part, handover.end);
            let outlet = &mut self.outlet;
            pushed += 1 + self.self_metrics.hand_over(part, series, end, outlet);
            handover.next_part += 1;
            // A backend may have gone meanwhile.
            if handover.next_part >= self.self_metrics.parts() {
                self.handover = None;
                self.outlet.forget_ended();
                return true;
            }
        }
        handover.resume = now.mono.plus(if pushed < turn_max {
            FULL_PAUSE_NS
        } else {
            TURN_PAUSE_NS
        });
        self.handover = Some(handover);
        false
    }

    fn hand_over_set(&mut self, index: usize, set: Option<&SeriesSet>, end: Wall) -> usize {
        let Some(set) = set else { return 0 };
        let (slot, outlet) = (&mut self.slots[index], &mut self.outlet);
        let mut pushed = 0;
        for windows in &mut slot.delays {
            pushed += outlet.hand_over(windows);
        }
        for (count, kind) in slot.counts.iter_mut().zip(FlowKind::ALL) {
            let Some(due) = count.due.take() else {
                continue;
            };
            let (tags, totals) = (&set.tags, &count.published);
            pushed += outlet.push_counts(published(kind, totals, due), tags, end)
                + outlet.push_gauges(unattributed(kind, totals), tags, end);
        }
        if let Some(clock) = slot.clock_due.take() {
            pushed += outlet.push_gauges(read_gauges(CLOCK_GAUGES, &clock), &set.tags, end);
        }
        if let Some(hops) = slot.hops.take() {
            pushed += outlet.push_gauges([(HOPS, i64::from(hops))], &set.tags, end);
        }
        for (metric, number) in DSCP.iter().zip(&mut slot.dscp) {
            if let Some(number) = number.take() {
                pushed += outlet.push_gauges([(metric, i64::from(number))], &set.tags, end);
            }
        }
        for (worst, kind) in slot.worst.iter_mut().zip(FlowKind::ALL) {
            if let Some(worst) = worst.take() {
                pushed += outlet.push_gauges(worst.gauges(kind), &set.tags, end);
            }
        }
        for (direction, threshold) in FlowDirection::all().zip(&mut slot.thresholds) {
            if let Some((tags, ns)) = threshold.take() {
                let ns = i64::try_from(ns).unwrap_or(i64::MAX);
                pushed += outlet.push_gauges([(direction.threshold_metric(), ns)], &tags, end);
            }
        }
        pushed
    }

    /// True if nothing of a set is left to hand over.
    pub(super) fn is_published(&self, index: usize, set: &SeriesSet) -> bool {
        match self.slots.get(index) {
            Some(slot) => slot.is_published(set),
            None => Slot::default().is_published(set),
        }
    }

    /// Forgets a set that is gone: another may take its place.
    pub(super) fn forget(&mut self, index: usize) {
        if let Some(slot) = self.slots.get_mut(index) {
            self.outlet
                .pool
                .remove_series(slot.known.count_ones() as usize);
            *slot = Slot::default();
        }
    }
}

/// Returns what a sink holds for the set with this index.
fn slot(slots: &mut Vec<Slot>, set: usize) -> &mut Slot {
    if set >= slots.len() {
        slots.resize_with(set + 1, Slot::default);
    }
    &mut slots[set]
}
