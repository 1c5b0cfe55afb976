//! The words for the path of a flow: its hops, what they have answered, and why it was traced.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::proto::sample::{Origin, StampSource};
use crate::proto::time::Wall;

/// Why a path was traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// It was time again.
    Interval,
    /// A micro-burst has begun.
    Burst,
    /// The flow is cut off.
    Outage,
    /// The flow does otherwise than the target's other flows.
    Divergence,
    /// The flow has taken a fresh 5-tuple.
    Reopen,
    /// Somebody has asked for it.
    Asked,
}

impl Why {
    /// What can be chosen: the events.
    pub const EVENTS: [Self; 4] = [Self::Burst, Self::Outage, Self::Divergence, Self::Reopen];

    /// Returns the word that is configured and published.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Interval => "interval",
            Self::Burst => "burst",
            Self::Outage => "outage",
            Self::Divergence => "divergence",
            Self::Reopen => "reopen",
            Self::Asked => "asked",
        }
    }
}

/// When paths are traced, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathOptions {
    /// The events that call for it. With [`Why::Asked`] each flow is traced once, and not for the interval.
    pub on: Vec<Why>,
    /// Nanoseconds between two traces of a flow without an event; 0: never.
    pub interval_ns: u64,
    /// The greatest TTL that is sent.
    pub hops_max: u8,
    /// Nanoseconds between two packets, whatever flows they are of.
    pub spacing_ns: u64,
    /// Traces under way at once.
    pub at_once: usize,
}

impl PathOptions {
    /// Returns options by which nothing is traced.
    pub const fn never() -> Self {
        Self {
            on: Vec::new(),
            interval_ns: 0,
            hops_max: 30,
            spacing_ns: 200_000_000,
            at_once: 1,
        }
    }
}

/// The type and code of an ICMP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IcmpType {
    /// It is of `ICMPv6` (RFC 4443), not of ICMP (RFC 792).
    pub is_v6: bool,
    /// The type.
    pub kind: u8,
    /// The code.
    pub code: u8,
}

/// What such a message means to a datagram that was to learn a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Its TTL was used up at the hop.
    Passed,
    /// It has come to a host where nothing listens.
    Port,
    /// It goes no further.
    Unreachable,
    /// Something else.
    Other,
}

impl IcmpType {
    pub(crate) const fn meaning(self) -> Meaning {
        match (self.is_v6, self.kind, self.code) {
            (false, 11, 0) | (true, 3, 0) => Meaning::Passed,
            (false, 3, 3) | (true, 1, 4) => Meaning::Port,
            (false, 3, 4) => Meaning::Other,
            (false, 3, _) | (true, 1, _) => Meaning::Unreachable,
            _ => Meaning::Other,
        }
    }
}

impl fmt::Display for IcmpType {
    /// Writes the RFC's words, or the numbers where those are rare.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match (self.is_v6, self.kind, self.code) {
            (false, 11, 0) | (true, 3, 0) => "time exceeded",
            (false, 3, 0) | (true, 1, 0) => "network unreachable",
            (false, 3, 1) | (true, 1, 3) => "host unreachable",
            (false, 3, 2) => "protocol unreachable",
            (false, 3, 3) | (true, 1, 4) => "port unreachable",
            (false, 3, 9 | 10 | 13) | (true, 1, 1 | 5 | 6) => "prohibited",
            (_, kind, code) => return write!(out, "type {kind} code {code}"),
        })
    }
}

/// An ICMP error that may answer a datagram which was to learn a hop.
#[derive(Clone, Copy, Debug)]
pub struct HopAnswer<'a> {
    /// Who says so.
    pub by: Option<IpAddr>,
    /// What it says.
    pub icmp: IcmpType,
    /// What it quotes behind the UDP header, and what follows that.
    pub quote: &'a [u8],
    /// Where in `quote` the extension structure begins (RFC 4884); 0: the message does not say.
    pub extension_at: usize,
}

/// An entry of an MPLS label stack (RFC 3032, RFC 4950).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// The label, 20 bits.
    pub label: u32,
    /// The traffic class, 3 bits (RFC 5462).
    pub traffic_class: u8,
    /// The TTL with which it arrived at the hop.
    pub ttl: u8,
}

/// One hop of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Its distance: the TTL that is used up there.
    pub ttl: u8,
    /// Who has answered; `None`: nobody.
    pub address: Option<IpAddr>,
    /// The round trip to it in nanoseconds.
    pub rtt_ns: Option<u64>,
    /// What made the stamps of the round trip; the weaker of both.
    pub stamp: Option<StampSource>,
    /// What it has answered; `None` for a hop that is silent, and for a host that answers probes.
    pub icmp: Option<IcmpType>,
    /// The label stack with which the datagram came there, the outermost first.
    pub labels: Box<[Label]>,
}

/// The path of a flow, as far as it was learnt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The flow's.
    pub origin: Origin,
    /// When its first packet left, by our wall clock.
    pub at: Wall,
    /// Why it was traced.
    pub why: Why,
    /// The flow's own port.
    pub source_port: u16,
    /// Where it leads.
    pub remote: SocketAddr,
    /// The hops by their TTL, from 1 on, up to the last that has answered.
    pub hops: Box<[Hop]>,
    /// The host has answered: a packet of the trace, or a probe since the trace began.
    pub is_reached: bool,
    /// The addresses of the hops before, if they were others: with `None` where nobody had answered.
    pub before: Option<Box<[Option<IpAddr>]>>,
}
