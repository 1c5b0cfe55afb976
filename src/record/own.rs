//! What this process says of itself: `monitor.*`.

use std::sync::Arc;

use crate::limits::RING_RECORDS_RESERVED;
use crate::proto::prober::SelfCounters;
use crate::proto::{StampSource, Wall};
use crate::record::outlet::{Count, Outlet, Windows};
use crate::record::series::{Series, Tags};

// What the process has to say is handed over whole once the reserved room is there.
const _: () = assert!(Gap::ALL.len() + COUNTS + GAUGES <= RING_RECORDS_RESERVED);

const COUNTS: usize = 11;
const GAUGES: usize = 5;

/// Records that a backend did not get, or gave up.
pub(crate) const SAMPLES_DROPPED: &str = "monitor.samples_dropped";

/// The counts, in the order of [`counted`].
const COUNT_NAMES: [&str; COUNTS] = [
    "monitor.slots_missed",
    SAMPLES_DROPPED,
    "monitor.dumps_dropped",
    "monitor.responder.answered",
    "monitor.responder.corrupt",
    "monitor.responder.duplicate",
    "monitor.responder.reordered",
    "monitor.responder.refused",
    "monitor.responder.replies_dropped",
    "monitor.stamps_missing.transmit",
    "monitor.stamps_missing.receive",
];

fn counted(own: &SelfCounters, [dropped, dumps_dropped]: [u64; 2]) -> [u64; COUNTS] {
    [
        own.slots_missed,
        dropped,
        dumps_dropped,
        own.answered,
        own.corrupt,
        own.duplicate,
        own.reordered,
        own.refused,
        own.replies_dropped,
        own.stamps_missing_transmit,
        own.stamps_missing_receive,
    ]
}

/// What the process takes of its host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostGauges {
    /// Nanoseconds of CPU since the process began; published as those of each interval.
    pub cpu_ns: u64,
    /// Bytes of memory resident now, if the system says.
    pub resident_bytes: Option<u64>,
    /// Times that the wall clock was set since the process began; published as those of each
    /// interval.
    pub clock_steps: u64,
    /// Whether something keeps the wall clock to UTC, as far as the kernel knows.
    pub is_synchronised: bool,
    /// The wall clock's largest error in nanoseconds, as far as the kernel knows.
    pub clock_error_ns: u64,
}

/// What the host makes of a packet's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gap {
    /// From when a probe was due until it was handed to the kernel.
    Lateness,
    /// From there until it left.
    Send,
    /// From when a packet came in until this process had it.
    Receive,
}

impl Gap {
    /// Every gap, in the order of their discriminants.
    pub(super) const ALL: [Self; 3] = [Self::Lateness, Self::Send, Self::Receive];

    const fn metric(self) -> &'static str {
        match self {
            Self::Lateness => "monitor.lateness",
            Self::Send => "monitor.send_gap",
            Self::Receive => "monitor.receive_gap",
        }
    }
}

/// The tags of this process, and the series of its gaps.
#[derive(Debug)]
pub(super) struct OwnSeries {
    pub(super) tags: Arc<Tags>,
    gaps: [Arc<Series>; Gap::ALL.len()],
}

impl OwnSeries {
    /// Those of the host of this name.
    pub(super) fn new(name: &str) -> Self {
        let tags = Arc::new(Tags::Host(name.into()));
        let gaps = Gap::ALL.map(|gap| {
            Arc::new(Series {
                metric: gap.metric(),
                tags: Arc::clone(&tags),
            })
        });
        Self { tags, gaps }
    }

    /// The series of a gap.
    pub(super) fn gap(&self, gap: Gap) -> &Arc<Series> {
        &self.gaps[gap as usize]
    }
}

/// A sink's part of it.
#[derive(Debug, Default)]
pub(super) struct Own {
    gaps: [Windows; Gap::ALL.len()],
    count: Count<COUNTS>,
    /// As last read, and of the interval that is being handed over.
    host: HostGauges,
    due: HostGauges,
}

impl Own {
    /// One packet's gap.
    pub(super) fn record(&mut self, gap: Gap, series: &Arc<Series>, ns: u64, outlet: &mut Outlet) {
        let value_ns = i64::try_from(ns).unwrap_or(i64::MAX);
        // One end of it, at least, is read by this process.
        outlet.record(
            &mut self.gaps[gap as usize],
            || (Arc::clone(series), false),
            value_ns,
            StampSource::User,
        );
    }

    /// The interval ends: read the counts and gauges.
    pub(super) fn end_window(&mut self, own: &SelfCounters, dropped: [u64; 2], host: HostGauges) {
        self.count.end_window(&counted(own, dropped));
        self.due = HostGauges {
            cpu_ns: host.cpu_ns.saturating_sub(self.host.cpu_ns),
            clock_steps: host.clock_steps.saturating_sub(self.host.clock_steps),
            ..host
        };
        self.host = host;
    }

    /// Hand over what there is of the interval that ended.
    pub(super) fn hand_over(&mut self, tags: &Arc<Tags>, end: Wall, outlet: &mut Outlet) {
        for windows in &mut self.gaps {
            outlet.hand_over(windows, end);
        }
        let names = COUNT_NAMES.into_iter().enumerate();
        if let Some(due) = self.count.due.take() {
            outlet.push_counts(names, &due, tags, end);
        }
        let HostGauges {
            cpu_ns,
            resident_bytes,
            clock_steps,
            is_synchronised,
            clock_error_ns,
        } = self.due;
        let gauges: [_; GAUGES] = [
            ("monitor.cpu", Some(cpu_ns)),
            ("monitor.resident", resident_bytes),
            ("monitor.clock_steps", Some(clock_steps)),
            (
                "monitor.clock.synchronised",
                Some(u64::from(is_synchronised)),
            ),
            ("monitor.clock.error", Some(clock_error_ns)),
        ];
        for (name, value) in gauges {
            let Some(value) = value else { continue };
            outlet.push_gauge(name, tags, end, i64::try_from(value).unwrap_or(i64::MAX));
        }
    }
}
