//! The table of metrics: every name that is published, and what it means.
//!
//! The recorder takes its series and counts from here, the backends take units and help texts, and
//! `docs/metrics.md` is written from it. A row of a count or a gauge also says which figure it reads. So a new
//! count is a row here, beside the field that is counted.

use crate::proto::{self, ClockEstimate, Counters, FlowKind};
use crate::record::backend::{BackendStats, Backlog};
use crate::record::process::{HostGauges, ProcessCounters};

/// What the values of a metric are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MetricKind {
    /// A delay of each probe: a sample, or a value of a window.
    Delay,
    /// The same, of two hosts' clocks: it may be negative.
    SignedDelay,
    /// A delay that is published as a window whatever the backend's mode is.
    Window,
    /// How often something happened in an interval.
    Count,
    /// A reading at the end of an interval.
    Gauge,
    /// A gauge of what an interval added: its sum over intervals has a meaning.
    Increment,
    /// A figure of the last event; only for stores that take no events.
    LastEvent,
}

/// The unit that values are recorded in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds.
    Nanoseconds,
    /// Bytes.
    Bytes,
    /// Parts per billion.
    PartsPerBillion,
    /// A plain number.
    Number,
}

/// The tags that a metric carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagSet {
    /// `source`, `target` and the target's own tags.
    Flow,
    /// Those of a flow, and `direction`.
    Direction,
    /// `source` alone.
    Host,
    /// `source` and `backend`.
    Backend,
    /// Those of the event, and `event`.
    Event,
}

/// One metric that is published. All of them are rows of this module's table.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Metric {
    /// The published name.
    pub name: &'static str,
    /// What its values are.
    pub kind: MetricKind,
    /// The unit of its values.
    pub unit: Unit,
    /// The tags that it carries.
    pub tags: TagSet,
    /// The kind of flow that it is about; `None` if it is about several or none.
    pub flow: Option<FlowKind>,
    /// What it is, in one line.
    pub help: &'static str,
    /// The RFC that defines it, with the section; empty if none does.
    pub rfc: &'static str,
}

impl Metric {
    /// Returns every metric, in the order of `docs/metrics.md`.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        let counts = FLOW_COUNTS.iter().flat_map(|row| &row.metrics).flatten();
        let delays = RTT.iter().chain(OWD).chain([CONNECT]);
        delays
            .chain(IPDV.iter().chain(PDV))
            .chain(counts)
            .chain(UNATTRIBUTED.iter().chain(BURST_THRESHOLD))
            .chain(WORST.into_iter().flatten())
            .chain(names(CLOCK_GAUGES))
            .chain([HOPS])
            .chain(DSCP)
            .chain(GAPS)
            .chain(names(PROCESS_COUNTS))
            .chain(names(HOST_GAUGES))
            .chain(names(BACKEND_COUNTS))
            .chain(names(BACKEND_GAUGES))
            .chain(Self::of_prometheus())
    }

    /// Returns those that only Prometheus gets, pushed or pulled: they are made where it is told.
    pub(crate) fn of_prometheus() -> impl Iterator<Item = &'static Self> {
        let bursts = BURSTS.into_iter().flatten();
        [EVENTS]
            .into_iter()
            .chain(bursts)
            .chain(PUSHGATEWAY)
            .chain(HTTP)
    }

    /// Returns what a flow of ours measures of probes that are answered: round trips, or times of connects.
    pub fn of_answers(flow: FlowKind) -> &'static Self {
        let [udp, tcp] = RTT;
        match flow {
            FlowKind::Udp => udp,
            FlowKind::Tcp => tcp,
            FlowKind::Connect => CONNECT,
        }
    }

    /// Returns what is known of a peer's clock: its offset, its skew, and the bound on the offset's error.
    pub fn of_clocks() -> impl Iterator<Item = &'static Self> {
        names(CLOCK_GAUGES)
    }

    /// Returns the metric of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::all().find(|metric| metric.name == name)
    }

    /// A metric without a name and a help text, for others that are like it.
    const fn new(kind: MetricKind, unit: Unit, tags: TagSet) -> Self {
        Self {
            name: "",
            kind,
            unit,
            tags,
            flow: None,
            help: "",
            rfc: "",
        }
    }
}

/// A metric, and the figure that it publishes.
#[derive(Debug)]
pub(super) struct Reading<S, V> {
    pub(super) metric: Metric,
    pub(super) read: fn(&S) -> V,
}

/// Returns the metrics of a table.
pub(super) fn names<S, V>(
    table: &'static [Reading<S, V>],
) -> impl Iterator<Item = &'static Metric> {
    table.iter().map(|row| &row.metric)
}

/// Reads every counter of a table, which has `N` of them.
pub(super) fn read_all<S, const N: usize>(table: &[Reading<S, u64>], from: &S) -> [u64; N] {
    std::array::from_fn(|row| table.get(row).map_or(0, |row| (row.read)(from)))
}

/// Reads the gauges of a table that have a value.
pub(super) fn read_gauges<S>(
    table: &'static [Reading<S, Option<i64>>],
    from: &S,
) -> impl Iterator<Item = (&'static Metric, i64)> {
    table
        .iter()
        .filter_map(|row| Some((&row.metric, (row.read)(from)?)))
}

/// A counter of flows, and what each kind of flow publishes it as.
#[derive(Debug)]
pub(super) struct FlowCount {
    pub(super) read: fn(&Counters) -> u64,
    /// By [`FlowKind`], in the order of its discriminants.
    pub(super) metrics: [Option<Metric>; KINDS],
}

/// Kinds of flows.
pub(super) const KINDS: usize = FlowKind::ALL.len();

impl FlowCount {
    /// Adds what a kind of flow publishes; a metric without a name is not published.
    const fn of(mut self, kind: FlowKind, metric: Metric) -> Self {
        if !metric.name.is_empty() {
            let flow = Some(kind);
            self.metrics[kind as usize] = Some(Metric { flow, ..metric });
        }
        self
    }
}

/// A metric: what it is like, its name, its help text, and what else differs.
macro_rules! metric {
    ($like:expr, $name:expr, $help:literal $(, $field:ident: $value:expr)*) => {
        Metric { name: $name, help: $help, $($field: $value,)* ..$like }
    };
}

/// Metrics that UDP and TCP flows have. A row: what it is like, the two names, the help text, and what else differs.
macro_rules! udp_tcp {
    ($($(#[$doc:meta])* $table:ident: $like:expr, $udp:literal, $tcp:literal, $help:literal
        $(, $field:ident: $value:expr)*;)*) => {
        $($(#[$doc])*
        pub(crate) const $table: &[Metric; 2] = &[
            metric!($like, $udp, $help, flow: Some(FlowKind::Udp) $(, $field: $value)*),
            metric!($like, $tcp, $help, flow: Some(FlowKind::Tcp) $(, $field: $value)*),
        ];)*
    };
}

/// A table of readings. A row: the name, the figure, the help text, and what else differs from `$like`.
macro_rules! readings {
    ($(#[$doc:meta])* $table:ident: $source:ty => $value:ty, $like:expr, |$from:ident|
        $($name:expr, $read:expr, $help:literal $(, $field:ident: $with:expr)*;)*) => {
        $(#[$doc])*
        pub(super) const $table: &[Reading<$source, $value>] = &[$(Reading {
            metric: metric!($like, $name, $help $(, $field: $with)*),
            read: |$from| $read,
        }),*];
    };
}

/// The table of flows' counters. A row: the field, the names of UDP and of TCP flows, the help text, the RFC; and
/// behind a bar the name and the help text of connects.
macro_rules! flow_counts {
    ($($field:ident: $udp:literal, $tcp:literal, $help:literal $(, $rfc:literal)?
        $(| $connect:literal, $connect_help:literal)?;)*) => {
        /// The counters of a flow.
        pub(super) const FLOW_COUNTS: &[FlowCount] = &[$(
            FlowCount { read: |flow| flow.$field, metrics: [None; KINDS] }
                .of(FlowKind::Udp, metric!(COUNT, $udp, $help $(, rfc: $rfc)?))
                .of(FlowKind::Tcp, metric!(COUNT, $tcp, $help $(, rfc: $rfc)?))
                $(.of(FlowKind::Connect, metric!(COUNT, $connect, $connect_help)))?
        ),*];
    };
}

const DELAY: Metric = Metric::new(MetricKind::Delay, Unit::Nanoseconds, TagSet::Flow);
const VARIATION: Metric = Metric::new(MetricKind::Delay, Unit::Nanoseconds, TagSet::Direction);
const COUNT: Metric = Metric::new(MetricKind::Count, Unit::Number, TagSet::Flow);
const GAUGE: Metric = Metric::new(MetricKind::Gauge, Unit::Nanoseconds, TagSet::Flow);
const HOST_WINDOW: Metric = Metric::new(MetricKind::Window, Unit::Nanoseconds, TagSet::Host);
const HOST_COUNT: Metric = Metric::new(MetricKind::Count, Unit::Number, TagSet::Host);
const HOST_GAUGE: Metric = Metric::new(MetricKind::Gauge, Unit::Number, TagSet::Host);
const BACKEND_COUNT: Metric = Metric::new(MetricKind::Count, Unit::Number, TagSet::Backend);
const BACKEND_GAUGE: Metric = Metric::new(MetricKind::Gauge, Unit::Number, TagSet::Backend);

udp_tcp! {
    /// The round-trip times.
    RTT: DELAY, "udp.wan.rtt", "tcp.wan.rtt",
        "Round-trip time, less the reflector's dwell where that is known", rfc: "RFC 2681";
    /// The one-way delays.
    OWD: DELAY, "udp.wan.owd", "tcp.wan.owd",
        "One-way delay of a packet received; it contains the difference of the two clocks",
        kind: MetricKind::SignedDelay, rfc: "RFC 7679";
    /// The variation from packet to packet.
    IPDV: VARIATION, "udp.wan.ipdv", "tcp.wan.ipdv",
        "Absolute difference between the one-way delays of two consecutive packets", rfc: "RFC 3393";
    /// The variation over the least delay.
    PDV: VARIATION, "udp.wan.pdv", "tcp.wan.pdv", "One-way delay over the least one of the window",
        kind: MetricKind::Window, rfc: "RFC 5481, section 4.2";
    /// The losses without a direction.
    UNATTRIBUTED: GAUGE, "udp.wan.lost.unattributed", "tcp.wan.lost.unattributed",
        "Losses since the series began whose direction is not known", unit: Unit::Number;
    /// The threshold of bursts.
    BURST_THRESHOLD: VARIATION, "udp.wan.burst.threshold", "tcp.wan.burst.threshold",
        "Queueing delay over which a flow has a burst", kind: MetricKind::Gauge;
    /// The worst of several flows.
    WORST_LOSS: GAUGE, "udp.wan.worst.loss", "tcp.wan.worst.loss",
        "Of several flows, the highest share of probes that one has lost in the last seconds",
        unit: Unit::PartsPerBillion;
    WORST_LOSS_FLOW: GAUGE, "udp.wan.worst.loss_flow", "tcp.wan.worst.loss_flow",
        "The number of the flow that has lost so many", unit: Unit::Number;
    WORST_RTT: GAUGE, "udp.wan.worst.rtt", "tcp.wan.worst.rtt",
        "Of several flows, the highest 99th percentile of round-trip times in the last seconds";
    WORST_RTT_FLOW: GAUGE, "udp.wan.worst.rtt_flow", "tcp.wan.worst.rtt_flow",
        "The number of the flow that took so long", unit: Unit::Number;
    BURST_COUNT: VARIATION, "udp.wan.burst", "tcp.wan.burst", "Bursts",
        kind: MetricKind::Count, unit: Unit::Number;
    BURST_START: VARIATION, "udp.wan.burst.start", "tcp.wan.burst.start",
        "Unix time at which the last burst began", kind: MetricKind::LastEvent;
    BURST_DURATION: VARIATION, "udp.wan.burst.duration", "tcp.wan.burst.duration",
        "Duration of the last burst", kind: MetricKind::LastEvent;
    BURST_PEAK: VARIATION, "udp.wan.burst.peak", "tcp.wan.burst.peak",
        "Longest queueing delay of the last burst", kind: MetricKind::LastEvent;
}

/// Bursts, for stores that take no events: how many, then start, duration and peak of the last one.
pub(crate) const BURSTS: [&[Metric; 2]; 4] = [BURST_COUNT, BURST_START, BURST_DURATION, BURST_PEAK];

/// The worst of several flows: its loss, its round trips, each with the number of the flow.
pub(crate) const WORST: [&[Metric; 2]; 4] =
    [WORST_LOSS, WORST_LOSS_FLOW, WORST_RTT, WORST_RTT_FLOW];

const CONNECT: &Metric = &metric!(
    DELAY,
    "tcp.wan.latency",
    "Time to establish a TCP connection, as the kernel measured the handshake",
    flow: Some(FlowKind::Connect)
);

/// Returns what a delay of the core is published as.
pub(super) const fn delay(of: proto::Metric) -> &'static Metric {
    match of {
        proto::Metric::UdpRtt => &RTT[0],
        proto::Metric::UdpOwd => &OWD[0],
        proto::Metric::TcpRtt => &RTT[1],
        proto::Metric::TcpOwd => &OWD[1],
        proto::Metric::TcpLatency => CONNECT,
    }
}

flow_counts! {
    sent: "udp.wan.sent", "tcp.wan.sent", "Probes sent"
        | "tcp.wan.latency.sent", "TCP connections begun";
    received: "udp.wan.received", "tcp.wan.received", "Replies received within the timeout";
    lost: "udp.wan.lost", "tcp.wan.lost", "Probes without a reply within the timeout", "RFC 7680"
        | "tcp.wan.latency.failed", "TCP connections that failed, or were not established within the timeout";
    late: "udp.wan.late", "tcp.wan.late", "Of the lost probes, those whose reply came after the timeout";
    duplicate: "udp.wan.duplicate", "tcp.wan.duplicate",
        "Further replies to a probe that was answered before", "RFC 5560";
    reordered: "udp.wan.reordered", "tcp.wan.reordered",
        "Replies received after the reply to a later probe", "RFC 4737, section 3.3";
    corrupt: "udp.wan.corrupt", "tcp.wan.corrupt",
        "Replies that cannot be read, or that came later than twice the timeout";
    unsent: "udp.wan.unsent", "tcp.wan.unsent",
        "Probes not sent for want of an address, a connection or room"
        | "tcp.wan.latency.unsent", "TCP connections not begun for want of an address or room";
    lost_forward: "udp.wan.lost.forward", "tcp.wan.lost.forward",
        "Of the lost probes, those that did not reach the reflector; native flows only", "RFC 7680";
    lost_reverse: "udp.wan.lost.reverse", "tcp.wan.lost.reverse",
        "Of the lost probes, those whose reply did not come back; native flows only", "RFC 7680";
    retransmits: "", "tcp.wan.retransmits",
        "Segments that TCP sent again; a probe in one of them took longer than the path";
    sent_native: "udp.wan.sent.native", "tcp.wan.sent.native",
        "Of the probes sent, those on the native wire; the others were text";
    unreachable: "udp.wan.unreachable", "",
        "ICMP errors received for probes; such a probe is lost at its timeout";
    misaddressed: "udp.wan.misaddressed", "",
        "Answers to probes from another address or port than was probed; such a probe is lost";
}

readings! {
    /// What is known of a peer's clock.
    CLOCK_GAUGES: ClockEstimate => Option<i64>, GAUGE, |clock|
    "clock.offset", Some(clock.offset_ns), "The peer's clock less this host's";
    "clock.skew", Some(clock.skew_ppb), "Rate at which clock.offset grows",
        unit: Unit::PartsPerBillion;
    "clock.error", Some(signed(clock.error_ns)),
        "Bound on the error of clock.offset, at least half of a round-trip time";
}

/// How many routers probes pass.
pub(super) const HOPS: &Metric = &metric!(
    GAUGE,
    "udp.wan.hops",
    "Routers that probes pass on their way to a STAMP reflector that returns the TTL",
    unit: Unit::Number,
    flow: Some(FlowKind::Udp),
    rfc: "RFC 5357, section 4.2.1"
);

/// The code points that packets arrive with, by direction.
pub(crate) const DSCP: &[Metric; 2] = &[
    metric!(
        GAUGE,
        "udp.wan.dscp.forward",
        "Code point that probes of a target with `dscp` arrive with at the other end, as a number",
        unit: Unit::Number,
        flow: Some(FlowKind::Udp),
        rfc: "RFC 8972, section 4.4"
    ),
    metric!(
        GAUGE,
        "udp.wan.dscp.reverse",
        "Code point that replies to a target with `dscp` arrive with, as a number",
        unit: Unit::Number,
        flow: Some(FlowKind::Udp),
        rfc: "RFC 2474, section 3"
    ),
];

/// How late this host is with its own probes.
pub(crate) const LATENESS: &str = "monitor.lateness";
/// Probes that it did not send for that. Each interval has this count, behind all of its flows.
pub(crate) const SLOTS_MISSED: &str = "monitor.slots_missed";

/// What this host adds to a packet's time, in the order of `Gap`.
pub(super) const GAPS: &[Metric; 3] = &[
    metric!(
        HOST_WINDOW,
        LATENESS,
        "Time from when a probe was due until it was handed to the kernel"
    ),
    metric!(
        HOST_WINDOW,
        "monitor.send_gap",
        "Time from when a probe was handed to the kernel until it left"
    ),
    metric!(
        HOST_WINDOW,
        "monitor.receive_gap",
        "Time from when a packet arrived until the process had it"
    ),
];

/// How the names of what a daemon says of itself and its host begin.
#[cfg(feature = "report")]
pub(crate) const OF_ITSELF: &str = "monitor.";

/// Records that a backend did not get, or gave up.
pub(crate) const SAMPLES_DROPPED: &str = "monitor.samples_dropped";

readings! {
    /// What this process counts.
    PROCESS_COUNTS: ProcessCounters => u64, HOST_COUNT, |process|
    SLOTS_MISSED, process.core.slots_missed,
        "Probes not sent because this host was late by an interval or more";
    SAMPLES_DROPPED, process.samples_dropped,
        "Records that this backend did not get, or gave up";
    "monitor.dumps_dropped", process.dumps_dropped, "Dumps that were not written";
    "monitor.responder.answered", process.core.answered, "Requests answered";
    "monitor.responder.corrupt", process.core.corrupt, "Requests that cannot be read";
    "monitor.responder.duplicate", process.core.duplicate,
        "Requests received again, answered and not measured", rfc: "RFC 5560";
    "monitor.responder.reordered", process.core.reordered,
        "Requests received after a later one", rfc: "RFC 4737, section 3.3";
    "monitor.responder.refused", process.core.refused,
        "Sessions, connections and samples of others refused: no room, another one's name, an old session";
    "monitor.responder.denied", process.core.denied,
        "Requests and connections from addresses that are not in `allow`";
    "monitor.responder.limited", process.core.limited,
        "Requests and connections of sources over `rate_limit`";
    "monitor.responder.unauthentic", process.core.unauthentic,
        "Packets that should have been authenticated with a key and were not";
    "monitor.responder.replies_dropped", process.core.replies_dropped,
        "Replies not sent because the peer does not read, or too many waited";
    "monitor.stamps_missing.transmit", process.core.stamps_missing_transmit,
        "Packets sent whose transmit stamp never came";
    "monitor.stamps_missing.receive", process.core.stamps_missing_receive,
        "Packets received without a stamp although the kernel stamps";
    "monitor.receive_dropped", process.core.receive_dropped,
        "Packets that a UDP socket's buffer had no room for";
}

readings! {
    /// What is read of this host.
    HOST_GAUGES: HostGauges => Option<i64>, HOST_GAUGE, |host|
    "monitor.cpu", host.cpu_ns.map(signed), "Processor time that this process used",
        kind: MetricKind::Increment, unit: Unit::Nanoseconds;
    "monitor.resident", host.resident_bytes.map(signed), "Resident memory of this process",
        unit: Unit::Bytes;
    "monitor.clock_steps", Some(signed(host.clock_steps)), "How often this host's wall clock was set",
        kind: MetricKind::Increment;
    "monitor.clock.synchronised", host.clock.map(|clock| i64::from(clock.is_synchronised)),
        "1 if something keeps this host's clock to UTC, else 0";
    "monitor.clock.error", host.clock.map(|clock| signed(clock.error_ns)),
        "The kernel's bound on the error of this host's clock", unit: Unit::Nanoseconds;
    "monitor.config.reload_ok", host.config.map(|config| i64::from(config.is_ok)),
        "1 if the configuration was read the last time, 0 if it had a mistake and the one before holds";
    "monitor.config.reloaded_at", host.config.map(|config| config.at.as_unix_nanos() / 1_000_000_000),
        "When the configuration was read that holds, in Unix seconds";
}

readings! {
    /// What the delivery of a backend counts.
    BACKEND_COUNTS: BackendStats => u64, BACKEND_COUNT, |stats|
    "monitor.backend.sent", stats.sent(), "Records that the backend took";
    "monitor.backend.retried", stats.retried(), "Attempts to send a batch after the first one";
    "monitor.backend.dropped", stats.dropped(),
        "Records never sent, because the queue was full or the backend refused them";
    "monitor.backend.left_out", stats.left_out(), "Records for which the backend has no place";
    "monitor.backend.spool_failed", stats.spool_failed(),
        "Batches that the disk did not take, and that wait in memory";
    "monitor.backend.spool_damaged", stats.spool_damaged(),
        "Spools that could not be read and were set aside";
    "monitor.backend.samples_dropped", stats.samples_dropped(),
        "Records that the backend did not take in time, or could not write";
}

readings! {
    /// What waits for a backend.
    BACKEND_GAUGES: Backlog => Option<i64>, BACKEND_GAUGE, |backlog|
    "monitor.backend.queued_bytes", Some(signed(backlog.bytes)), "Bytes that wait to be sent",
        unit: Unit::Bytes;
    "monitor.backend.oldest", Some(signed(backlog.age_ns)),
        "For how long this process has had the oldest batch that waits to be sent, 0 if none does", unit: Unit::Nanoseconds;
}

/// The events of each kind, for stores that take no events.
pub(crate) const EVENTS: &Metric =
    &metric!(HOST_COUNT, "monitor.events", "Events of each kind", tags: TagSet::Event);

/// What the pushgateway backend says of itself: series, refused records, failed pushes.
pub(crate) const PUSHGATEWAY: &[Metric; 3] = &[
    metric!(
        HOST_GAUGE,
        "monitor.pushgateway.series",
        "Series that are kept for the gateway"
    ),
    metric!(
        HOST_COUNT,
        "monitor.pushgateway.refused",
        "Records that found no room among the series"
    ),
    metric!(
        HOST_COUNT,
        "monitor.pushgateway.pushes_failed",
        "Pushes that did not reach the gateway"
    ),
];

/// What the HTTP face says of itself: series, refused records, answers with all of them.
pub(crate) const HTTP: &[Metric; 3] = &[
    metric!(
        HOST_GAUGE,
        "monitor.http.series",
        "Series that are kept for whoever scrapes"
    ),
    metric!(
        HOST_COUNT,
        "monitor.http.refused",
        "Records that found no room among the series"
    ),
    metric!(
        HOST_COUNT,
        "monitor.http.scrapes",
        "Requests for the metrics that were answered"
    ),
];

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
