//! The output of the core: samples, the labels they are published under, and flow counters.

use std::fmt;

use crate::proto::time::Wall;

/// What made the two stamps of a delay. If they differ, it is the weaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StampSource {
    /// This process, around the system call. The host's scheduling is part of the delay.
    User,
    /// The kernel, at the driver.
    Kernel,
    /// The network interface.
    Hw,
}

impl StampSource {
    /// Returns the published word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Kernel => "kernel",
            Self::Hw => "hw",
        }
    }
}

/// An instant of this host's wall clock, and the source of the reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The instant.
    pub at: Wall,
    /// What made the stamp.
    pub source: StampSource,
}

impl Stamp {
    /// Returns a reading of the process.
    pub const fn user(at: Wall) -> Self {
        let source = StampSource::User;
        Self { at, source }
    }
}

/// The direction of a packet, as the prober sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From the prober to the responder.
    Forward,
    /// From the responder to the prober.
    Reverse,
}

impl Direction {
    /// Both, in the order of their discriminants.
    pub const ALL: [Self; 2] = [Self::Forward, Self::Reverse];

    /// Returns the published word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Reverse => "reverse",
        }
    }
}

/// The measured delays; each name is the metric's.
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

    /// Returns the one-way delay over flows of a kind.
    pub(crate) const fn one_way(kind: FlowKind) -> Self {
        match kind {
            FlowKind::Tcp => Self::TcpOwd,
            FlowKind::Udp | FlowKind::Connect => Self::UdpOwd,
        }
    }
}

/// How a probe ended. Every probe has exactly one outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Its reply came within the timeout; the sample has a value.
    Received,
    /// No reply came within the timeout (RFC 7680's threshold), the connection ended first, or the
    /// connect failed. The sample has no value.
    Lost,
}

/// Identifies the owner of a series from [`Output::Opened`](crate::proto::Output::Opened) to
/// [`Output::Closed`](crate::proto::Output::Closed).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(pub u32);

/// The result of one probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The owner, which gives the tags.
    pub origin: Origin,
    /// Which delay.
    pub metric: Metric,
    /// How the probe ended.
    pub outcome: Outcome,
    /// The delay in nanoseconds, signed for one-way delays; 0 and meaningless unless received.
    pub value_ns: i64,
    /// Unix time of the receive; for a loss, of the decision.
    pub at: Wall,
    /// The probe's number on its flow.
    pub seq: u64,
    /// What made its stamps.
    pub stamp: StampSource,
    /// The reflector's dwell in nanoseconds, if it is known and not part of the value.
    pub dwell_ns: Option<u32>,
    /// True if the estimated clock difference of the two hosts is subtracted from the value.
    pub is_corrected: bool,
}

/// One packet's one-way delay, the input of delay variation (RFC 3393, RFC 5481). It may be
/// published as a sample or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OneWay {
    /// The owner of the flow, which gives the tags.
    pub origin: Origin,
    /// On UDP or TCP; never `Connect`.
    pub kind: FlowKind,
    /// The packet's direction.
    pub direction: Direction,
    /// The probe's number on its flow.
    pub seq: u64,
    /// Arrival less departure in nanoseconds, on the two hosts' clocks.
    pub delay_ns: i64,
    /// Unix time of the receive.
    pub at: Wall,
    /// What made the two stamps.
    pub stamp: StampSource,
}

/// All that is known of an ended probe, for the burst detector and the flight recorder. The traces
/// of one flow come in the order in which its probes ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The owner of the flow, which gives the tags.
    pub origin: Origin,
    /// On UDP or TCP; never `Connect`.
    pub kind: FlowKind,
    /// The probe's number on its flow.
    pub seq: u64,
    /// The known ones of T1 to T4. A lost probe has only T1. At a responder on the text wire a
    /// probe has T1 and T2: nothing tells it of its replies' fate or of lost probes.
    pub stamps: [Option<Stamp>; 4],
    /// How the probe ended.
    pub outcome: Outcome,
    /// The direction of a loss, if it is known by now.
    pub lost_on: Option<Direction>,
}

/// What is known of a peer's clock. See `docs/design/clocks.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockEstimate {
    /// The peer's clock less ours, in nanoseconds.
    pub offset_ns: i64,
    /// The growth of the offset, in parts per billion.
    pub skew_ppb: i64,
    /// The maximum error of the offset, in nanoseconds. It is at least half the minimum round trip,
    /// because the split between the directions is unknown.
    pub error_ns: u64,
}

/// The tags of all that one origin publishes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels {
    /// The sender of the packet.
    pub source: Box<str>,
    /// The receiver: a target's label or host, or this host's own name.
    pub target: Box<str>,
    /// The target's own tags, in its order.
    pub tags: Box<[Box<str>]>,
}

impl Labels {
    /// Returns labels from borrowed parts.
    pub fn new<S: AsRef<str>>(source: &str, target: &str, tags: &[S]) -> Self {
        Self {
            source: source.into(),
            target: target.into(),
            tags: tags.iter().map(|tag| tag.as_ref().into()).collect(),
        }
    }

    /// Adds the tag of a flow, unless there is no other one.
    pub(crate) fn append(&mut self, flow: FlowNumber) {
        if !flow.is_only() {
            let tags = self.tags.iter().cloned();
            self.tags = tags.chain([flow.tag()]).collect();
        }
    }

    /// Returns the published tags: `source:<name>`, `target:<label>`, then the target's own.
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

/// One tag: `key:value` with a key of ours, or the user's text as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag<'a> {
    /// `source` or `target` for our two tags.
    pub key: Option<&'static str>,
    /// The rest of the tag, or all of it.
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

/// The kind of prober or responder that an origin belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FlowKind {
    /// Probes over one UDP 5-tuple.
    Udp,
    /// Probes over one persistent TCP connection.
    Tcp,
    /// A series of TCP connections that are only timed.
    Connect,
}

impl FlowKind {
    /// Every kind, in the order of their discriminants.
    pub const ALL: [Self; 3] = [Self::Udp, Self::Tcp, Self::Connect];

    /// Returns the published word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Connect => "connect",
        }
    }
}

/// Which of the flows of one kind that a target has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowNumber {
    /// From 1.
    pub number: u16,
    /// How many there are.
    pub of: u16,
}

impl FlowNumber {
    /// The one flow of a kind.
    pub const ONLY: Self = Self { number: 1, of: 1 };

    /// True if there is no other one.
    pub const fn is_only(self) -> bool {
        self.of <= 1
    }

    /// Returns the number that a probe is published with: all flows of a target publish into one series, and no two
    /// of their probes have the same.
    pub const fn seq(self, number: u64) -> u64 {
        number * self.of as u64 + (self.number as u64 - 1)
    }

    /// Returns the tag of what is published of this flow alone.
    pub fn tag(self) -> Box<str> {
        format!("flow:{}", self.number).into()
    }
}

/// Counts of one flow since it began. `sent == received + lost + in flight` always holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Probes handed to the kernel.
    pub sent: u64,
    /// Replies within the timeout.
    pub received: u64,
    /// Probes without a reply within the timeout (RFC 7680), or failed connects.
    pub lost: u64,
    /// Of the lost, those whose reply came after the timeout.
    pub late: u64,
    /// Further replies to a probe already answered (RFC 5560's duplicates, at the sender).
    pub duplicate: u64,
    /// Replies received after the reply to a later probe (RFC 4737, section 3.3).
    pub reordered: u64,
    /// Replies that are unreadable, answer no probe of ours, or come so late (twice the timeout and
    /// more) that their probe is forgotten.
    pub corrupt: u64,
    /// Slots that came due without an address, a connection or room to send.
    pub unsent: u64,
    /// Of the lost, those known not to have reached the reflector.
    pub lost_forward: u64,
    /// Of the lost, those known to have reached it. The sum of both is below `lost` while, or
    /// where, the direction is unknown.
    pub lost_reverse: u64,
    /// Of the sent, those on the native wire. Without any, no direction of a loss is known.
    pub sent_native: u64,
    /// Of the received, those whose sample waits for the reflector's transmit stamp.
    pub settling: u64,
    /// Segments that TCP retransmitted on this flow's connections.
    pub retransmits: u64,
    /// ICMP messages that report a probe of this UDP flow as undeliverable. They are no outcome:
    /// such a probe is lost after its timeout without a reply, as any other.
    pub unreachable: u64,
    /// Answers to probes of this UDP flow from another address or port than was probed. They are no
    /// replies: such a probe is lost after its timeout, as any other.
    pub misaddressed: u64,
}

impl Counters {
    /// Returns the number of probes neither answered nor lost.
    pub fn in_flight(&self) -> u64 {
        self.sent - self.received - self.lost
    }
}

/// Counts that belong to no single flow of ours, from the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SelfCounters {
    /// Slots skipped because this host was late by a whole interval or more.
    pub slots_missed: u64,
    /// Requests answered.
    pub answered: u64,
    /// Requests that were unreadable.
    pub corrupt: u64,
    /// Requests received again (same sequence number): answered but not measured.
    pub duplicate: u64,
    /// Requests received after a later one.
    pub reordered: u64,
    /// Senders, connections or samples refused because a table was full, a name another one's, or a request
    /// under a key of an earlier session, and connections closed because they kept us waiting.
    pub refused: u64,
    /// Requests and connections from addresses that may not ask.
    pub denied: u64,
    /// Requests and connections of sources that asked too often.
    pub limited: u64,
    /// Packets that no key made which they had to be made with.
    pub unauthentic: u64,
    /// Replies not sent because the peer does not read, or because too many waited.
    pub replies_dropped: u64,
    /// Packets sent whose requested transmit stamp never came.
    pub stamps_missing_transmit: u64,
    /// Packets received without a stamp although the kernel stamps.
    pub stamps_missing_receive: u64,
    /// Packets that a UDP socket's buffer had no room for.
    pub receive_dropped: u64,
}
