//! The self-metrics, `monitor.*`: what this process publishes of itself and of its backends.

use std::sync::Arc;

use crate::limits::RING_RECORDS_RESERVED;
use crate::proto::{Mono, Now, StampSource, Wall};
use crate::record::backend::{BackendStats, Backlog};
use crate::record::metrics::{
    BACKEND_COUNTS, BACKEND_GAUGES, GAPS, HOST_GAUGES, PROCESS_COUNTS, names, read_all, read_gauges,
};
use crate::record::outlet::{Begin, Count, Outlet, Value, Windows};
use crate::record::process::{HostGauges, ProcessCounters};
use crate::record::series::{Series, Tags};

// Each part is handed over whole once the reserved room is there.
const _: () = assert!(
    GAPS.len() + PROCESS_COUNTS.len() + HOST_GAUGES.len() <= RING_RECORDS_RESERVED
        && BACKEND_COUNTS.len() + BACKEND_GAUGES.len() <= RING_RECORDS_RESERVED
);

/// What this host adds to the time of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gap {
    /// From when a probe was due until it was handed to the kernel.
    Lateness,
    /// From there until it left.
    Send,
    /// From when a packet arrived until this process had it.
    Receive,
}

/// The tags and series that every sink publishes self-metrics under.
#[derive(Debug)]
pub(super) struct SelfSeries {
    name: Box<str>,
    pub(super) tags: Arc<Tags>,
    gaps: [Arc<Series>; GAPS.len()],
    backends: Vec<Monitored>,
}

/// A backend whose delivery is published.
#[derive(Debug)]
struct Monitored {
    stats: Arc<BackendStats>,
    tags: Arc<Tags>,
}

impl SelfSeries {
    /// The series of the host of this name, without backends.
    pub(super) fn new(name: &str) -> Self {
        let tags = Arc::new(Tags::Host(name.into()));
        let gaps = GAPS.each_ref().map(|metric| {
            let tags = Arc::clone(&tags);
            Arc::new(Series { metric, tags })
        });
        Self {
            name: name.into(),
            tags,
            gaps,
            backends: Vec::new(),
        }
    }

    /// Adds a backend.
    pub(super) fn add_backend(&mut self, stats: Arc<BackendStats>) {
        let tags = Arc::new(Tags::Backend {
            source: self.name.clone(),
            backend: stats.name().into(),
        });
        self.backends.push(Monitored { stats, tags });
    }

    /// Forgets a backend. Returns the place that it had.
    pub(super) fn remove_backend(&mut self, stats: &Arc<BackendStats>) -> Option<usize> {
        let is_it = |backend: &Monitored| Arc::ptr_eq(&backend.stats, stats);
        let place = self.backends.iter().position(is_it)?;
        self.backends.remove(place);
        Some(place)
    }
}

/// What a sink publishes of the delivery of one backend.
#[derive(Debug, Default)]
struct Delivery {
    count: Count<{ BACKEND_COUNTS.len() }>,
    backlog: Backlog,
}

/// What a sink publishes of this process and of its backends.
#[derive(Debug, Default)]
pub(super) struct SelfMetrics {
    gaps: [Windows; GAPS.len()],
    count: Count<{ PROCESS_COUNTS.len() }>,
    /// The host as it was read last, and what is due of the interval that ended.
    host: HostGauges,
    due: HostGauges,
    deliveries: Vec<Delivery>,
}

impl SelfMetrics {
    /// Takes one packet's gap.
    pub(super) fn record(&mut self, gap: Gap, series: &SelfSeries, ns: u64, outlet: &mut Outlet) {
        let begin = || Begin {
            series: Arc::clone(&series.gaps[gap as usize]),
            is_new: false,
        };
        let windows = &mut self.gaps[gap as usize];
        let value = Value {
            ns: i64::try_from(ns).unwrap_or(i64::MAX),
            // This process reads one end of a gap, at least.
            stamp: StampSource::User,
            // A gap is on one clock, and is none if that was set meanwhile.
            steps: 0,
            stepped: Mono::ZERO,
            is_over_least: false,
            is_remote: false,
        };
        outlet.record(windows, begin, value);
    }

    /// Ends the interval: reads the counters and gauges.
    pub(super) fn end_window(
        &mut self,
        process: &ProcessCounters,
        host: HostGauges,
        series: &SelfSeries,
        now: Now,
    ) {
        self.count.end_window(&read_all(PROCESS_COUNTS, process));
        self.due = HostGauges {
            cpu_ns: host
                .cpu_ns
                .map(|ns| ns.saturating_sub(self.host.cpu_ns.unwrap_or(0))),
            clock_steps: host.clock_steps.saturating_sub(self.host.clock_steps),
            ..host
        };
        self.host = HostGauges {
            // Where it was not known once, the next interval has both.
            cpu_ns: host.cpu_ns.or(self.host.cpu_ns),
            ..host
        };
        let backends = &series.backends;
        self.deliveries
            .resize_with(backends.len(), Delivery::default);
        for (delivery, Monitored { stats, .. }) in self.deliveries.iter_mut().zip(backends) {
            delivery.count.end_window(&read_all(BACKEND_COUNTS, stats));
            delivery.backlog = stats.backlog(now.mono);
        }
    }

    /// Takes the counts so far as published.
    pub(super) fn count_from_here(
        &mut self,
        process: &ProcessCounters,
        host: HostGauges,
        series: &SelfSeries,
    ) {
        self.count.published = read_all(PROCESS_COUNTS, process);
        self.host = host;
        self.deliveries
            .resize_with(series.backends.len(), Delivery::default);
        for (delivery, Monitored { stats, .. }) in self.deliveries.iter_mut().zip(&series.backends)
        {
            delivery.count.published = read_all(BACKEND_COUNTS, stats);
        }
    }

    /// The backend at this place is gone.
    pub(super) fn forget_backend(&mut self, place: usize) {
        if place < self.deliveries.len() {
            self.deliveries.remove(place);
        }
    }

    /// The number of parts in which [`hand_over`](Self::hand_over) publishes an interval.
    pub(super) fn parts(&self) -> usize {
        1 + self.deliveries.len()
    }

    /// Hands over a part of the interval that ended: this process, or with 1 and more a backend. Returns the
    /// number of records.
    pub(super) fn hand_over(
        &mut self,
        part: usize,
        series: &SelfSeries,
        end: Wall,
        outlet: &mut Outlet,
    ) -> usize {
        let Some(backend) = part.checked_sub(1) else {
            for windows in &mut self.gaps {
                outlet.hand_over(windows);
            }
            if let Some(due) = self.count.due.take() {
                outlet.push_counts(names(PROCESS_COUNTS).zip(due), &series.tags, end);
            }
            outlet.push_gauges(read_gauges(HOST_GAUGES, &self.due), &series.tags, end);
            return 0;
        };
        let (delivery, backend) = (
            self.deliveries.get_mut(backend),
            series.backends.get(backend),
        );
        let (Some(delivery), Some(Monitored { tags, .. })) = (delivery, backend) else {
            return 0;
        };
        // A backend that came after the interval's end has nothing due.
        let Some(due) = delivery.count.due.take() else {
            return 0;
        };
        let gauges = read_gauges(BACKEND_GAUGES, &delivery.backlog);
        outlet.push_gauges(gauges, tags, end)
            + outlet.push_counts(names(BACKEND_COUNTS).zip(due), tags, end)
    }
}
