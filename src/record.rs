//! Turns the core's outputs into what backends publish.
//!
//! The poll thread owns the [`Recorder`]. Every output of the core goes through
//! [`Recorder::handle_output`]. Every backend has a sink here, with an interval and a single-producer ring
//! of its own. The backend's flush thread reads the other end of the ring, a [`Feed`]:
//!
//! ```text
//! Output -> Recorder -> sink (windows, counts) -> ring -> Feed -> flush thread -> Backend
//!                           ^                                         |
//!                           +-------- emptied windows, on a ring -----+
//! ```
//!
//! Nothing here waits, reads a clock, or allocates for a sample once its series has begun. A record that
//! finds no room in a ring is dropped and counted. [`Metric`] is the table of all that is published.

mod backend;
mod burst;
mod choice;
mod chunk;
mod counts;
mod distribution;
mod event;
mod evidence;
mod feed;
mod findings;
mod flight;
mod histogram;
mod judging;
mod marks;
mod metrics;
mod moments;
mod outlet;
mod paths;
mod pool;
mod process;
mod quantity;
mod records;
mod self_metrics;
mod series;
mod series_table;
mod sink;
mod sparse;
#[cfg(test)]
mod tests;
mod traces;
mod variation;
mod window;
mod witness;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;

use crate::proto::prober::SelfCounters;
use crate::proto::{
    ClockEstimate, ClockState, Counters, FlowKind, Mono, Now, OneWay, Origin, Outage, Output,
    Sample, Why,
};
use crate::record::burst::Detector;
use crate::record::judging::Found;
use crate::record::paths::Paths;
use crate::record::process::ProcessCounters;
use crate::record::quantity::FlowDirection;
use crate::record::self_metrics::{Gap, SelfSeries};
use crate::record::series_table::SeriesTable;
use crate::record::sink::Sink;
use crate::record::witness::Witness;

pub use backend::{BackendStats, Queued};
pub use burst::BurstRules;
pub use choice::{Choice, ChoiceError};
pub use distribution::Distribution;
pub use event::{Burst, ClockOwner, Departure, Divergence, Event, EventFlow, EventKind};
pub use evidence::{Evidence, HostEvidence, HostReading, Suspect};
pub use feed::Feed;
pub use flight::{Dump, FlightConfig, FlightRecorder, Order, Probe};
pub use histogram::{HISTOGRAM_DIGITS, HISTOGRAM_NS_MAX};
#[cfg(feature = "report")]
pub(crate) use histogram::{SignedHistogram, rank};
#[cfg(feature = "report")]
pub(crate) use metrics::OF_ITSELF;
pub(crate) use metrics::{DSCP, HTTP, LATENESS, PUSHGATEWAY, SAMPLES_DROPPED, SLOTS_MISSED};
pub use metrics::{Metric, MetricKind, TagSet, Unit};
pub use process::{ConfigRead, HostGauges};
pub use records::Record;
pub use series::{Series, Tags};
pub use sink::{Mode, SinkConfig};
pub(crate) use sparse::{Buckets, PLACE_MAX, SparseWindow, middle};
pub use window::Window;

/// A backend that comes while others run.
#[derive(Debug)]
pub struct Joining {
    /// What it gets.
    pub config: SinkConfig,
    /// Its counters.
    pub stats: Arc<BackendStats>,
    /// The counters of the one in whose place it comes. That one leaves at this moment and not before: what came in
    /// between would be told by neither.
    pub after: Option<Arc<BackendStats>>,
    /// Gets what its flush thread reads.
    pub reply: SyncSender<Feed>,
}

/// Sorts the core's outputs into series, windows and counts, and hands them to the flush threads.
#[derive(Debug)]
pub struct Recorder {
    began: Now,
    series: SeriesTable,
    paths: Paths,
    sinks: Vec<Sink>,
    /// Backends that begin when another one ends.
    joining: Vec<Joining>,
    self_series: SelfSeries,
    detector: Option<Detector>,
    witness: Witness,
    /// The system is asked of this host before an event is judged.
    is_host_watched: bool,
    /// Events that wait for that.
    unjudged: VecDeque<Found>,
    flight: Option<FlightRecorder>,
    /// Flows whose paths are to be traced, and why.
    traces: VecDeque<(Origin, Why)>,
    /// Dumps that the writer lost; the writer counts.
    dumps_lost: Arc<AtomicU64>,
}

impl Recorder {
    /// Returns a recorder for the host of this name; all intervals are counted from `now`.
    pub fn new(name: &str, now: Now) -> Self {
        Self {
            began: now,
            series: SeriesTable::default(),
            paths: Paths::default(),
            sinks: Vec::new(),
            joining: Vec::new(),
            self_series: SelfSeries::new(name),
            detector: None,
            witness: Witness::default(),
            is_host_watched: false,
            unjudged: VecDeque::new(),
            flight: None,
            traces: VecDeque::new(),
            dumps_lost: Arc::default(),
        }
    }

    /// Publishes to every sink, once an interval, how the delivery of a backend goes (`monitor.backend.*`).
    /// So another backend shows that this one is down.
    pub fn add_backend(&mut self, stats: Arc<BackendStats>) {
        self.self_series.add_backend(stats);
    }

    /// Adds a backend. Its flush thread gets the feed.
    pub fn add_sink(&mut self, config: SinkConfig) -> Feed {
        self.add_sink_of(config, Arc::new(BackendStats::new("")))
    }

    /// Adds a backend whose losses these counters get too.
    pub fn add_sink_of(&mut self, config: SinkConfig, stats: Arc<BackendStats>) -> Feed {
        let (sink, feed) = Sink::new(config, stats, self.began);
        self.sinks.push(sink);
        feed
    }

    /// Adds a backend while others run. One that comes after another has that one leave, and begins where its last
    /// interval ends, so that nothing is told twice or by neither. Any other begins `now`, and its caller has just
    /// taken the counters of all flows ([`Recorder::handle_counters`]).
    pub fn join(&mut self, joining: Joining, now: Now, own: &SelfCounters, host: HostGauges) {
        if let Some(before) = &joining.after {
            self.leave(before);
        }
        if self.is_awaited(&joining) {
            self.joining.push(joining);
        } else {
            self.take_in(joining, now, own, host);
        }
    }

    /// True if the one before it has not ended its last interval.
    fn is_awaited(&self, joining: &Joining) -> bool {
        let before = joining.after.as_ref();
        let is_before = |sink: &Sink| before.is_some_and(|before| sink.is_of(before));
        let mut sinks = self.sinks.iter();
        sinks.any(|sink| is_before(sink) && !sink.has_ended())
    }

    fn take_in(&mut self, joining: Joining, now: Now, own: &SelfCounters, host: HostGauges) {
        let Joining {
            config,
            stats,
            reply,
            ..
        } = joining;
        let (mut sink, feed) = Sink::new(config, Arc::clone(&stats), now);
        if reply.send(feed).is_err() {
            // Whoever asked has stopped waiting: there is nobody to gather for.
            return;
        }
        self.self_series.add_backend(stats);
        sink.end_as_if_begun(self.began.mono);
        let process = self.process(own);
        sink.count_from_here(self.series.sets(), &self.self_series, &process, host);
        self.sinks.push(sink);
    }

    /// Ends the interval of the backend with these counters, and hands it over. Then the backend is forgotten, and its
    /// feed is complete.
    pub fn leave(&mut self, stats: &Arc<BackendStats>) {
        let sink = self.sinks.iter_mut().find(|sink| sink.is_of(stats));
        sink.into_iter().for_each(Sink::leave);
    }

    /// Forgets the backends that have left.
    fn part(&mut self) {
        while let Some(place) = self.sinks.iter().position(Sink::has_left) {
            let sink = self.sinks.remove(place);
            sink.tell_offered();
            if let Some(place) = self.self_series.remove_backend(sink.stats()) {
                for sink in &mut self.sinks {
                    sink.forget_backend(place);
                }
            }
        }
    }

    /// What this process counts itself.
    fn process(&self, own: &SelfCounters) -> ProcessCounters {
        let dropped = self.flight.as_ref().map_or(0, FlightRecorder::dropped);
        ProcessCounters {
            core: *own,
            // Each sink has its own.
            samples_dropped: 0,
            dumps_dropped: self.dumps_lost.load(Ordering::Relaxed) + dropped,
        }
    }

    /// Looks for bursts, outages and changes of route in every flow's probes, and publishes them to every sink. By
    /// other rules it goes on with what it knows of each flow.
    pub fn find_bursts(&mut self, rules: BurstRules) {
        match &mut self.detector {
            Some(detector) => detector.set_rules(rules),
            detector => *detector = Some(Detector::new(rules)),
        }
    }

    /// Dumps other margins around bursts from here on, if the last probes are kept. Rings reach as far back as they
    /// must once they have grown.
    pub fn set_margins(&mut self, config: FlightConfig) {
        if let Some(flight) = &mut self.flight {
            flight.set_config(config);
        }
    }

    /// Keeps the last probes of every flow, for dumps that go to `writer`. Returns the counter to which the
    /// writer adds the dumps that it loses.
    pub fn record_flights(
        &mut self,
        config: FlightConfig,
        writer: SyncSender<Order>,
    ) -> Arc<AtomicU64> {
        self.flight = Some(FlightRecorder::new(config, writer));
        Arc::clone(&self.dumps_lost)
    }

    /// Dumps the last probes of every flow, if they are kept.
    pub fn handle_snapshot(&mut self, now: Now) {
        if let Some(flight) = &mut self.flight {
            flight.handle_snapshot(now);
        }
    }

    /// Takes what the kernel says of this host's clock now, if it does, for dumps.
    pub fn handle_clock_state(&mut self, state: Option<ClockState>) {
        if let Some(flight) = &mut self.flight {
            flight.handle_clock_state(state);
        }
    }

    /// Takes one output of the core. Ignores samples of an origin that is not open.
    pub fn handle_output(&mut self, output: &Output) {
        match output {
            Output::Opened { origin, labels } => {
                self.keep(output);
                self.series.open(*origin, labels);
            }
            Output::Relabelled(relabelled) => {
                self.keep(output);
                self.series.relabel(relabelled);
            }
            Output::Member(member) => {
                self.series.join(member);
                self.paths.join(member);
            }
            Output::Tuple(tuple) => {
                self.paths.handle_tuple(tuple);
                self.publish_paths();
            }
            Output::Reopened(reopened) => self.handle_reopened(**reopened),
            Output::Sample(sample) => self.handle_sample(sample),
            Output::OneWay(one_way) => self.handle_one_way(one_way),
            Output::Trace(trace) => {
                self.keep(output);
                self.look_into(trace);
            }
            Output::Outage(outage) => {
                if outage.duration_ns.is_none() {
                    self.ask_trace(outage.origin, outage.kind, Why::Outage);
                }
                self.handle_outage(outage);
            }
            Output::Path(path) => self.handle_path(path),
            Output::LossPlaced {
                origin, direction, ..
            } => {
                self.keep(output);
                self.paths.place_loss(*origin, *direction);
            }
            Output::Life(_) => {}
            Output::Held(held) => self.witness.handle_held(held),
            Output::PeerHeld(held) => self.witness.handle_peer(held),
            Output::PeerMute(origin) => self.witness.forget_peer(*origin),
            Output::Wire {
                origin,
                kind,
                at,
                is_native,
            } => {
                let (flow, is_native) = (*kind, *is_native);
                self.publish_event(*origin, *at, EventKind::Wire { flow, is_native });
            }
            Output::Lateness(ns) => self.handle_gap(Gap::Lateness, *ns),
            Output::SendGap(ns) => {
                self.witness.note_departures();
                self.handle_gap(Gap::Send, *ns);
            }
            Output::ReceiveGap(ns) => {
                self.witness.note_arrivals();
                self.handle_gap(Gap::Receive, *ns);
            }
            Output::Clock { origin, estimate } => {
                self.keep(output);
                self.handle_clock(*origin, *estimate);
            }
            Output::Hops {
                origin,
                kind,
                at,
                hops,
                before,
            } => {
                self.handle_hops(*origin, *hops);
                if let Some(old) = *before {
                    let (flow, new) = (*kind, *hops);
                    self.publish_event(*origin, *at, EventKind::HopsChange { flow, old, new });
                }
            }
            Output::Dscp(seen) => self.handle_dscp(seen),
            Output::ClockStep {
                origin,
                at,
                step_ns,
            } => {
                self.keep(output);
                self.handle_clock_step(*origin, *at, *step_ns);
            }
            Output::Closed { origin, last } => {
                if let Some(detector) = &mut self.detector {
                    detector.close(*origin);
                    self.publish_found();
                }
                // The flow's tags are known until here.
                self.judge_all();
                self.witness.forget_peer(*origin);
                // Behind the burst that ends with the flow.
                self.keep(output);
                self.paths.leave(*origin);
                self.publish_paths();
                self.paths.close(*origin);
                self.series.close(*origin, last.as_deref());
            }
        }
    }

    /// Keeps what dumps show. Most outputs are of no use to them and do not come here.
    fn keep(&mut self, output: &Output) {
        if let Some(flight) = &mut self.flight {
            flight.handle_output(output);
        }
    }

    fn handle_sample(&mut self, sample: &Sample) {
        let sinks = &mut self.sinks;
        self.series.for_each(sample.origin, |mut found| {
            for sink in sinks.iter_mut() {
                sink.record(&mut found, sample);
            }
        });
    }

    fn handle_one_way(&mut self, one_way: &OneWay) {
        let Some(direction) = FlowDirection::new(one_way.kind, one_way.direction) else {
            return;
        };
        let ipdv = self.series.follow(direction, one_way);
        let sinks = &mut self.sinks;
        self.series.for_each(one_way.origin, |mut found| {
            for sink in sinks.iter_mut() {
                if let Some(ipdv) = ipdv {
                    sink.record_ipdv(&mut found, direction, ipdv, one_way);
                }
                sink.record_pdv(&mut found, direction, one_way);
            }
        });
    }

    fn handle_clock(&mut self, origin: Origin, estimate: ClockEstimate) {
        let sinks = &mut self.sinks;
        self.series.for_each(origin, |found| {
            for sink in sinks.iter_mut() {
                sink.record_clock(found.index, origin, estimate);
            }
        });
    }

    fn handle_hops(&mut self, origin: Origin, hops: u8) {
        let sinks = &mut self.sinks;
        self.series.for_each(origin, |found| {
            for sink in sinks.iter_mut() {
                sink.record_hops(found.index, hops);
            }
        });
    }

    fn handle_gap(&mut self, gap: Gap, ns: u64) {
        for sink in &mut self.sinks {
            sink.record_gap(gap, &self.self_series, ns);
        }
    }

    fn handle_clock_step(&mut self, origin: Option<Origin>, at: Now, step_ns: i64) {
        let (clock, tags) = match origin {
            None => (ClockOwner::Local, Arc::clone(&self.self_series.tags)),
            Some(origin) => match self.series.find(origin) {
                Some(found) => (ClockOwner::Peer, Arc::clone(&found.set.tags)),
                None => return,
            },
        };
        self.series.step(origin, at.mono);
        self.paths.step(if origin.is_none() { step_ns } else { 0 });
        if origin.is_none() {
            self.judge_all();
            self.witness.step(step_ns);
        }
        if let Some(detector) = &mut self.detector {
            let series = &self.series;
            let stepped = origin.map(|origin| series.whole_of(origin));
            let own_ns = if origin.is_none() { step_ns } else { 0 };
            detector.step(own_ns, |other| {
                stepped.is_none_or(|set| series.whole_of(other) == set)
            });
        }
        let event = Arc::new(Event {
            at: at.wall,
            kind: EventKind::ClockStep { clock, step_ns },
            tags,
            flow: None,
        });
        for sink in &mut self.sinks {
            if origin.is_none() {
                sink.step(at);
            }
            sink.publish(&event);
        }
    }

    /// Publishes an outage, unless bursts have shown it already.
    fn handle_outage(&mut self, outage: &Outage) {
        let incident = match &mut self.detector {
            Some(detector) => detector.number(outage),
            None => Some(outage.start.as_unix_nanos().cast_unsigned()),
        };
        let Some(incident) = incident else { return };
        let kind = match outage.duration_ns {
            None => EventKind::OutageBegan { flow: outage.kind },
            Some(duration_ns) => EventKind::Burst(Burst {
                flow: outage.kind,
                direction: outage.direction,
                duration_ns,
                peak_ns: 0,
                mean_ns: 0,
                base_ns: 0,
                probes: outage.slots,
                lost: outage.slots,
                incident,
                stamp: outage.stamp,
                suspect: None,
                evidence: Evidence::default(),
            }),
        };
        self.publish_event(outage.origin, outage.start, kind);
    }

    /// Returns when to call [`Recorder::handle_timeout`] next: at the end of an interval, and soon again
    /// while one is handed over.
    pub fn poll_timeout(&self) -> Option<Mono> {
        let flight = self.flight.as_ref().and_then(FlightRecorder::poll_timeout);
        let sinks = self.sinks.iter().filter_map(Sink::poll_timeout);
        sinks.chain(flight).min()
    }

    /// True if an interval is over: its counters must be read now.
    pub fn is_due(&self, now: Now) -> bool {
        self.sinks.iter().any(|sink| sink.is_due(now))
    }

    /// Takes the counters of some flows as they stand now. With many flows the caller does so for a bounded
    /// number in a turn, until [`Recorder::handle_timeout`] ends the interval.
    pub fn handle_counters<'a>(
        &mut self,
        flows: impl IntoIterator<Item = (Origin, FlowKind, &'a Counters)>,
    ) {
        for (origin, kind, counters) in flows {
            self.series.count(origin, kind, counters);
        }
    }

    /// Ends the intervals that are over, and hands over a bounded part of them.
    ///
    /// `flows` are the flows whose counters were not taken before, `own` are the core's other counters. These
    /// and `host` are read only if an interval ends. With many series that takes several turns
    /// ([`Recorder::is_due`]). An interval that ends late is longer.
    pub fn handle_timeout<'a>(
        &mut self,
        now: Now,
        flows: impl IntoIterator<Item = (Origin, FlowKind, &'a Counters)>,
        own: &SelfCounters,
        host: impl FnOnce() -> HostGauges,
    ) {
        if let Some(flight) = &mut self.flight {
            flight.handle_timeout(now);
        }
        if self.is_due(now) {
            self.handle_counters(flows);
            self.end_windows(now, own, host);
        }
        let mut any_complete = false;
        for sink in &mut self.sinks {
            any_complete |= sink.hand_over(now, self.series.sets(), &self.self_series);
        }
        if any_complete {
            self.part();
            self.free_deserted();
        }
    }

    /// Ends the intervals that are over, as far as that goes in one turn.
    fn end_windows(&mut self, now: Now, own: &SelfCounters, host: impl FnOnce() -> HostGauges) {
        let sets = self.series.sets();
        let mut any_counted = false;
        for sink in self.sinks.iter_mut().filter(|sink| sink.is_due(now)) {
            any_counted |= sink.end_sets(sets);
        }
        if !any_counted {
            return;
        }
        let host = host();
        let process = self.process(own);
        for sink in self.sinks.iter_mut().filter(|sink| sink.is_due(now)) {
            sink.end_window(now, &self.self_series, process, host);
        }
        let (awaited, ready) = std::mem::take(&mut self.joining)
            .into_iter()
            .partition(|joining| self.is_awaited(joining));
        self.joining = awaited;
        for joining in ready {
            self.take_in(joining, now, own, host);
        }
    }

    fn free_deserted(&mut self) {
        let sinks = &mut self.sinks;
        self.series.free_deserted(|index, set| {
            let is_published = sinks.iter().all(|sink| sink.is_published(index, set));
            if is_published {
                for sink in sinks.iter_mut() {
                    sink.forget(index);
                }
            }
            is_published
        });
    }

    /// Ends all intervals for good. The caller gives the flush threads time to make room and calls it again,
    /// until it returns true: then everything is in the rings, or nobody reads them.
    pub fn finish<'a>(
        &mut self,
        now: Now,
        flows: impl IntoIterator<Item = (Origin, FlowKind, &'a Counters)>,
        own: &SelfCounters,
        host: impl FnOnce() -> HostGauges,
    ) -> bool {
        if let Some(detector) = &mut self.detector {
            detector.finish();
            self.publish_found();
        }
        self.judge_all();
        self.paths.finish();
        self.publish_paths();
        for sink in &mut self.sinks {
            sink.finish();
        }
        let are_dumped = self.flight.as_mut().is_none_or(|flight| flight.finish(now));
        self.handle_timeout(now, flows, own, host);
        for sink in &self.sinks {
            sink.tell_offered();
        }
        are_dumped && self.sinks.iter().all(Sink::is_finished)
    }
}
