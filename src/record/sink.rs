//! One backend's side of the recorder: its ring, its windows and its clock.
//!
//! When an interval ends nothing is copied and little is done at once. The generation moves on and
//! the counts are read; the windows of the generation before are then handed over group by group,
//! a bounded number in a turn and only as the ring has room. A series that gets a value meanwhile
//! begins its next window beside the old one. The next interval ends no sooner than all of this one
//! is handed over, so a slow backend makes intervals longer and loses none of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rtrb::RingBuffer;

use crate::limits::{
    PUBLISHED_PER_TURN_MAX, RING_RECORDS_MAX, RING_RECORDS_RESERVED, WINDOWS_RETURNED_MAX,
};
use crate::proto::prober::SelfCounters;
use crate::proto::{Metric, Mono, Now, Outcome, Sample, StampSource, Wall};
use crate::record::directory::{ALL_KINDS, COUNTS, Counted, Group, KINDS, METRICS, count_names};
use crate::record::feed::Feed;
use crate::record::item::{Record, Series, Tags};
use crate::record::outlet::{Count, Outlet, Windows};
use crate::record::pool::Pool;
use crate::record::{HostGauges, Mode, SinkConfig};

/// Nanoseconds until the hand-over of an ended interval goes on.
const TURN_PAUSE_NS: u64 = 250_000;

/// Nanoseconds until it goes on when the ring was full: a stalled backend must not keep us awake.
const FULL_PAUSE_NS: u64 = 10_000_000;

// A group, or this process, is handed over whole once the reserved room is there.
const _: () = assert!(METRICS + KINDS * COUNTS <= RING_RECORDS_RESERVED);
const _: () = assert!(MONITOR_NAMES.len() + 3 <= RING_RECORDS_RESERVED);

/// The counts of this process, in the order of [`monitored`].
const MONITOR_NAMES: [&str; 8] = [
    "monitor.slots_missed",
    "monitor.samples_dropped",
    "monitor.responder.answered",
    "monitor.responder.corrupt",
    "monitor.responder.duplicate",
    "monitor.responder.reordered",
    "monitor.responder.refused",
    "monitor.responder.replies_dropped",
];

fn monitored(own: &SelfCounters, dropped: u64) -> Counted {
    [
        own.slots_missed,
        dropped,
        own.answered,
        own.corrupt,
        own.duplicate,
        own.reordered,
        own.refused,
        own.replies_dropped,
    ]
}

/// What a sink holds for one group.
#[derive(Debug, Default)]
struct Slot {
    delays: [Windows; METRICS],
    counts: [Count; KINDS],
}

impl Slot {
    fn is_published(&self, group: &Group) -> bool {
        self.delays.iter().all(Windows::is_empty)
            && self
                .counts
                .iter()
                .zip(&group.tallies)
                .all(|(count, tally)| count.due.is_none() && count.published == tally.totals)
    }
}

/// The interval that is being handed over.
#[derive(Clone, Copy, Debug)]
struct Handover {
    end: Wall,
    next_group: usize,
    host: HostGauges,
    resume: Mono,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Sink {
    config: SinkConfig,
    outlet: Outlet,
    dropped_later: Arc<AtomicU64>,
    began: Mono,
    next_end: Mono,
    handover: Option<Handover>,
    finishing: bool,
    ended_last: bool,
    slots: Vec<Slot>,
    lateness: Windows,
    monitor: Count,
    host: HostGauges,
}

impl Sink {
    /// A sink whose first interval begins now, and the other end of its ring.
    pub(super) fn new(config: SinkConfig, now: Now) -> (Self, Feed) {
        assert!(config.window_ns > 0, "an interval has a length");
        let records_max = config
            .ring_records
            .clamp(2 * RING_RECORDS_RESERVED, RING_RECORDS_MAX);
        let (ring, records) = RingBuffer::new(records_max);
        let (returns, returned) = RingBuffer::new(WINDOWS_RETURNED_MAX.min(records_max));
        let dropped_later = Arc::new(AtomicU64::new(0));
        let feed = Feed {
            records,
            returns,
            dropped: Arc::clone(&dropped_later),
        };
        let outlet = Outlet {
            ring,
            pool: Pool::new(returned),
            dropped: 0,
            generation: 0,
            start: now.wall,
        };
        let sink = Self {
            config,
            outlet,
            dropped_later,
            began: now.mono,
            next_end: now.mono.plus(config.window_ns),
            handover: None,
            finishing: false,
            ended_last: false,
            slots: Vec::new(),
            lateness: Windows::default(),
            monitor: Count::default(),
            host: HostGauges::default(),
        };
        (sink, feed)
    }

    /// One sample of the group with this index.
    pub(super) fn record(&mut self, group: usize, series: &Arc<Series>, sample: &Sample) {
        let received = sample.outcome == Outcome::Received;
        if received && self.config.mode.has_windows() {
            if group >= self.slots.len() {
                self.slots.resize_with(group + 1, Slot::default);
            }
            let windows = &mut self.slots[group].delays[sample.metric as usize];
            self.outlet
                .record(windows, series, sample.value_ns, sample.stamp);
        }
        if self.config.mode.has_samples()
            && let Some(value_ns) = self.published_value(sample)
        {
            let is_remote = matches!(sample.metric, Metric::UdpOwd | Metric::TcpOwd);
            let record = Record::Sample {
                series: Arc::clone(series),
                at: sample.at,
                value_ns,
                seq: sample.seq,
                stamp: sample.stamp,
            };
            self.outlet.push_sample(record, is_remote);
        }
    }

    /// A loss has no delay, except for those who still read the old program's zeros.
    fn published_value(&self, sample: &Sample) -> Option<i64> {
        let is_signed = matches!(sample.metric, Metric::UdpOwd | Metric::TcpOwd);
        match (sample.outcome, self.config.compat_zero) {
            (Outcome::Received, true) if is_signed => Some(sample.value_ns.max(0)),
            (Outcome::Received, _) => Some(sample.value_ns),
            (Outcome::Lost, true) if !is_signed => Some(0),
            (Outcome::Lost, _) => None,
        }
    }

    /// How late a probe was sent.
    pub(super) fn record_lateness(&mut self, series: &Arc<Series>, lateness_ns: u64) {
        let value_ns = i64::try_from(lateness_ns).unwrap_or(i64::MAX);
        // Both ends of it are read by this process.
        self.outlet
            .record(&mut self.lateness, series, value_ns, StampSource::User);
    }

    /// No interval follows the one that now runs.
    pub(super) fn finish(&mut self) {
        self.finishing = true;
    }

    /// True once the last interval is handed over, or nobody takes it any more.
    pub(super) fn is_finished(&self) -> bool {
        self.outlet.ring.is_abandoned() || (self.ended_last && self.handover.is_none())
    }

    /// True if the interval ends now.
    pub(super) fn is_due(&self, now: Now) -> bool {
        self.handover.is_none() && !self.ended_last && (self.finishing || now.mono >= self.next_end)
    }

    /// When there is something to do.
    pub(super) fn poll_timeout(&self) -> Option<Mono> {
        match self.handover {
            Some(handover) => Some(handover.resume),
            None if self.ended_last => None,
            None => Some(self.next_end),
        }
    }

    /// End the interval: read the counts, and begin to hand it over.
    pub(super) fn end_window(
        &mut self,
        now: Now,
        groups: &[Option<Group>],
        own: &SelfCounters,
        host: HostGauges,
    ) {
        if groups.len() > self.slots.len() {
            self.slots.resize_with(groups.len(), Slot::default);
        }
        for (slot, group) in self.slots.iter_mut().zip(groups) {
            let Some(group) = group else { continue };
            for (count, tally) in slot.counts.iter_mut().zip(&group.tallies) {
                if tally.flows > 0 || count.published != tally.totals {
                    count.end_window(&tally.totals);
                }
            }
        }
        let dropped = self.outlet.dropped + self.dropped_later.load(Ordering::Relaxed);
        self.monitor.end_window(&monitored(own, dropped));
        let since_last = HostGauges {
            cpu_ns: host.cpu_ns.saturating_sub(self.host.cpu_ns),
            clock_steps: host.clock_steps.saturating_sub(self.host.clock_steps),
            ..host
        };
        self.host = host;
        self.handover = Some(Handover {
            end: now.wall,
            next_group: 0,
            host: since_last,
            resume: now.mono,
        });
        self.outlet.generation += 1;
        self.outlet.start = now.wall;
        self.outlet.pool.end_window();
        // Ends stay multiples of the interval since the start, however late this one is.
        let past = now.mono.since(self.began) / self.config.window_ns + 1;
        self.next_end = self.began.plus(past.saturating_mul(self.config.window_ns));
        self.ended_last = self.finishing;
    }

    /// Hand over some of the interval that ended. True when that was the last of it.
    pub(super) fn hand_over(
        &mut self,
        now: Now,
        groups: &[Option<Group>],
        own_tags: &Arc<Tags>,
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
            PUBLISHED_PER_TURN_MAX
        };
        let mut pushed = 0;
        while pushed < turn_max
            && (is_abandoned || self.outlet.ring.slots() >= RING_RECORDS_RESERVED)
        {
            if handover.next_group == self.slots.len() {
                self.hand_over_monitor(&handover, own_tags);
                self.handover = None;
                return true;
            }
            let group = groups.get(handover.next_group).and_then(Option::as_ref);
            pushed += 1 + self.hand_over_group(handover.next_group, group, handover.end);
            handover.next_group += 1;
        }
        handover.resume = now.mono.plus(if pushed < turn_max {
            FULL_PAUSE_NS
        } else {
            TURN_PAUSE_NS
        });
        self.handover = Some(handover);
        false
    }

    fn hand_over_group(&mut self, index: usize, group: Option<&Group>, end: Wall) -> usize {
        let Some(group) = group else { return 0 };
        let slot = &mut self.slots[index];
        let mut pushed = 0;
        for windows in &mut slot.delays {
            pushed += self.outlet.hand_over(windows, end);
        }
        for (count, kind) in slot.counts.iter_mut().zip(ALL_KINDS) {
            pushed += self
                .outlet
                .hand_over_counts(count, &count_names(kind), &group.tags, end);
        }
        pushed
    }

    fn hand_over_monitor(&mut self, handover: &Handover, tags: &Arc<Tags>) {
        self.outlet.hand_over(&mut self.lateness, handover.end);
        self.outlet.hand_over_counts(
            &mut self.monitor,
            &MONITOR_NAMES.map(Some),
            tags,
            handover.end,
        );
        for (name, value) in [
            ("monitor.cpu", Some(handover.host.cpu_ns)),
            ("monitor.resident", handover.host.resident_bytes),
            ("monitor.clock_steps", Some(handover.host.clock_steps)),
        ] {
            let Some(value) = value else { continue };
            self.outlet.push(Record::Gauge {
                name,
                tags: Arc::clone(tags),
                at: handover.end,
                value: i64::try_from(value).unwrap_or(i64::MAX),
            });
        }
    }

    /// True if nothing of a group is left to hand over.
    pub(super) fn is_published(&self, index: usize, group: &Group) -> bool {
        match self.slots.get(index) {
            Some(slot) => slot.is_published(group),
            None => Slot::default().is_published(group),
        }
    }

    /// A group is gone: its place may serve another.
    pub(super) fn forget(&mut self, index: usize) {
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = Slot::default();
        }
    }
}

impl Mode {
    const fn has_samples(self) -> bool {
        matches!(self, Self::Samples | Self::Both)
    }

    const fn has_windows(self) -> bool {
        matches!(self, Self::Windows | Self::Both)
    }
}
