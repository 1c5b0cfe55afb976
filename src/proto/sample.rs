//! What leaves the core: samples, the labels they are published under, and the flows' counters.

use std::fmt;

use crate::proto::time::Wall;

/// What made the two stamps of a delay; of two different ones the weaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StampSource {
    /// This process, around the system call: the host's scheduling is part of the delay.
    User,
    /// The kernel, at the driver.
    Kernel,
    /// The network interface.
    Hw,
}

impl StampSource {
    /// The word that is published.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Kernel => "kernel",
            Self::Hw => "hw",
        }
    }
}

/// An instant of this host's wall clock, and what read it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The instant.
    pub at: Wall,
    /// What took it.
    pub source: StampSource,
}

impl Stamp {
    /// A reading of a process.
    pub const fn user(at: Wall) -> Self {
        let source = StampSource::User;
        Self { at, source }
    }
}

/// Which way a packet went, seen from the prober.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From the prober to the responder.
    Forward,
    /// From the responder to the prober.
    Reverse,
}

impl Direction {
    /// The word that is published.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Reverse => "reverse",
        }
    }
}

/// The delays that are measured; the name is the metric's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// Round-trip time over the UDP flow (RFC 2681).
    UdpRtt,
    /// One-way delay of a UDP packet received (RFC 7679), signed.
    UdpOwd,
    /// Round-trip time over the persistent TCP flow.
    TcpRtt,
    /// One-way delay of a message received on the persistent TCP flow, signed.
    TcpOwd,
    /// Time to establish a TCP connection.
    TcpLatency,
}

impl Metric {
    /// Every delay, in the order of their discriminants.
    pub const ALL: [Self; 5] = [
        Self::UdpRtt,
        Self::UdpOwd,
        Self::TcpRtt,
        Self::TcpOwd,
        Self::TcpLatency,
    ];
}

/// How a probe ended. Exactly one of these for every probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Its reply came within the timeout; the sample has a value.
    Received,
    /// No reply within the timeout (RFC 7680's threshold), or the connection ended first, or the
    /// connect failed. The sample has no value.
    Lost,
}

/// A number that a series' owner is known by, from [`Output::Opened`] to [`Output::Closed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(pub u32);

/// One probe's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Whose it is; gives the tags.
    pub origin: Origin,
    /// Which delay.
    pub metric: Metric,
    /// How the probe ended.
    pub outcome: Outcome,
    /// The delay in nanoseconds, signed for one-way delays; 0 and meaningless unless received.
    pub value_ns: i64,
    /// Unix time of the receive (of giving up, for a loss).
    pub at: Wall,
    /// The probe's number on its flow.
    pub seq: u64,
    /// What made its stamps.
    pub stamp: StampSource,
    /// The reflector's turn-around time in nanoseconds, if it was known and is not in the value.
    pub dwell_ns: Option<u32>,
    /// Whether the estimated difference of the two hosts' clocks has been taken out of the value.
    pub is_corrected: bool,
}

/// One packet's one-way delay, for what is computed from many of them (RFC 3393, RFC 5481).
/// Whether it is also published as a sample is another matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OneWay {
    /// Whose flow it is; gives the tags.
    pub origin: Origin,
    /// On UDP or TCP; never `Connect`.
    pub kind: FlowKind,
    /// Which way.
    pub direction: Direction,
    /// The probe's number on its flow.
    pub seq: u64,
    /// Arrival less departure in nanoseconds, on the two hosts' clocks.
    pub delay_ns: i64,
    /// Unix time at which it was received.
    pub at: Wall,
    /// What made the two stamps.
    pub stamp: StampSource,
}

/// All that is known of one probe once it has ended: what bursts are found in, and what a flight
/// recorder keeps. Those of one flow come in the order in which they ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Whose flow it is; gives the tags.
    pub origin: Origin,
    /// On UDP or TCP; never `Connect`.
    pub kind: FlowKind,
    /// The probe's number on its flow.
    pub seq: u64,
    /// T1 to T4, those that are known. A lost probe has T1 only; at a responder on the text wire, which
    /// is told neither how its replies fared nor of probes that did not come, a probe has T1 and T2.
    pub stamps: [Option<Stamp>; 4],
    /// How it ended.
    pub outcome: Outcome,
    /// Of a loss, the way on which it was lost, if that is known by now.
    pub lost_on: Option<Direction>,
}

/// What is known of a peer's clock. See `docs/design/clocks.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockEstimate {
    /// The peer's clock less ours, in nanoseconds.
    pub offset_ns: i64,
    /// How fast that grows, in parts per billion.
    pub skew_ppb: i64,
    /// The offset is wrong by no more than this, in nanoseconds: half the minimum round trip at
    /// least, since how that splits into its two ways cannot be seen.
    pub error_ns: u64,
}

/// The tags of everything one origin publishes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels {
    /// Who sent the packet.
    pub source: Box<str>,
    /// Who received it: a target's label or host, or this host's own name.
    pub target: Box<str>,
    /// The target's own tags, in its order.
    pub tags: Box<[Box<str>]>,
}

impl Labels {
    /// Labels from borrowed parts.
    pub fn new<S: AsRef<str>>(source: &str, target: &str, tags: &[S]) -> Self {
        Self {
            source: source.into(),
            target: target.into(),
            tags: tags.iter().map(|tag| tag.as_ref().into()).collect(),
        }
    }

    /// The tags as published: `source:<name>`, `target:<label>`, then the target's own.
    pub fn iter(&self) -> impl Iterator<Item = Tag<'_>> {
        [
            Tag {
                key: Some("source"),
                value: &self.source,
            },
            Tag {
                key: Some("target"),
                value: &self.target,
            },
        ]
        .into_iter()
        .chain(self.tags.iter().map(|tag| Tag {
            key: None,
            value: tag,
        }))
    }
}

/// One tag, written `key:value` when it has a key of ours and as it stands when it is the user's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag<'a> {
    /// `source` or `target`, for the two that we make.
    pub key: Option<&'static str>,
    /// The rest, or the whole.
    pub value: &'a str,
}

impl fmt::Display for Tag<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key {
            Some(key) => write!(out, "{key}:{}", self.value),
            None => out.write_str(self.value),
        }
    }
}

/// Which prober or responder an origin belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FlowKind {
    /// Probes over one UDP 5-tuple.
    Udp,
    /// Probes over one persistent TCP connection.
    Tcp,
    /// A series of throw-away TCP connections.
    Connect,
}

impl FlowKind {
    /// The word that is published.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Connect => "connect",
        }
    }
}

/// What happened on one flow since it began. `sent == received + lost + in flight`, always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Probes handed to the kernel.
    pub sent: u64,
    /// Replies within the timeout.
    pub received: u64,
    /// Probes without a reply within the timeout (RFC 7680), or failed connects.
    pub lost: u64,
    /// Of the lost, those whose reply came after all.
    pub late: u64,
    /// Further replies to a probe already answered (RFC 5560's duplicates, at the sender).
    pub duplicate: u64,
    /// Replies received after the reply to a later probe (RFC 4737, section 3.3).
    pub reordered: u64,
    /// Replies that could not be read, that answer no probe of ours, or that came so late (twice the
    /// timeout and more) that their probe is forgotten.
    pub corrupt: u64,
    /// Slots that came due while there was no address, connection or room to send.
    pub unsent: u64,
    /// Of the lost, those that are known not to have reached the reflector.
    pub lost_forward: u64,
    /// Of the lost, those that are known to have reached it. The sum of both falls short of `lost`
    /// while, or where, it cannot be told.
    pub lost_reverse: u64,
    /// Of the sent, those on the native wire: without any, nothing can be told about directions.
    pub sent_native: u64,
    /// Of the received, those whose sample waits for the reflector's transmit stamp.
    pub settling: u64,
    /// Segments that TCP has sent again on this flow's connections.
    pub retransmits: u64,
    /// Messages of the network (ICMP) that a probe of this UDP flow did not get there. No outcome: such
    /// a probe is lost when its timeout has passed without a reply, as any other.
    pub unreachable: u64,
}

impl Counters {
    /// Probes neither answered nor given up.
    pub fn in_flight(&self) -> u64 {
        self.sent - self.received - self.lost
    }
}

/// What the prober did that belongs to no single flow of ours; all counted from the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SelfCounters {
    /// Slots skipped because this host was late by a whole interval or more.
    pub slots_missed: u64,
    /// Requests answered.
    pub answered: u64,
    /// Requests that could not be read.
    pub corrupt: u64,
    /// Requests received again (same sequence number), answered but not measured.
    pub duplicate: u64,
    /// Requests received after a later one.
    pub reordered: u64,
    /// Senders, connections or samples turned away because a table was full, and connections
    /// closed because they kept us waiting.
    pub refused: u64,
    /// Replies not sent because the peer does not read, or too many waited.
    pub replies_dropped: u64,
    /// Packets sent whose transmit stamp was wanted and never came.
    pub stamps_missing_transmit: u64,
    /// Packets received without a stamp although the kernel stamps.
    pub stamps_missing_receive: u64,
}
