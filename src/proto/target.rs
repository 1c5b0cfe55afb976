//! One target as the core takes it: already valid, every default filled in.

use std::fmt;
use std::net::IpAddr;

/// Where a target is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// A literal address, never resolved.
    Address(IpAddr),
    /// A name, resolved off the loop.
    Name(Box<str>),
}

impl fmt::Display for Host {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(out),
            Self::Name(name) => out.write_str(name),
        }
    }
}

/// What to probe, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetSpec {
    /// Where it is.
    pub host: Host,
    /// What it is called in tags: the label, or the host as written.
    pub label: Box<str>,
    /// Tags of everything published about it, and sent along in every probe.
    pub tags: Box<[Box<str>]>,
    /// The port of the UDP flow, if there is one.
    pub udp_port: Option<u16>,
    /// The port of the persistent TCP flow, if there is one.
    pub tcp_port: Option<u16>,
    /// The port of the connect probes, if there are any.
    pub connect_port: Option<u16>,
    /// Nanoseconds between probes of one flow; at least 1,000.
    pub interval_ns: u64,
    /// Nanoseconds after which an unanswered probe is lost.
    pub timeout_ns: u64,
    /// Bytes to pad a probe to; `None` sends the header and the identifier alone.
    pub size: Option<usize>,
    /// Consecutive losses after which a flow starts anew.
    pub max_lost: u32,
    /// Whether round-trip times are published; without, only the other end's one-way delays are.
    pub rtt: bool,
    /// Which wire its flows speak.
    pub protocol: Protocol,
    /// Whether one-way delays are published without the estimated difference of the two clocks.
    pub owd_corrected: bool,
}

/// Which wire a flow speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Text with an offer, and native once the offer was taken.
    #[default]
    Auto,
    /// What the Python program speaks, and nothing else.
    Text,
    /// STAMP from the first packet on.
    Native,
}
