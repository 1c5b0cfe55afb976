//! One target as the core takes it: valid, with all defaults filled in.

use std::fmt;
use std::net::IpAddr;

/// The address or name of a target.
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

/// A target, and how to probe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetSpec {
    /// Its address or name.
    pub host: Host,
    /// Its name in tags: the label, or the host as written.
    pub label: Box<str>,
    /// Tags of everything published about it. Every probe carries them.
    pub tags: Box<[Box<str>]>,
    /// The port of the UDP flow, if it has one.
    pub udp_port: Option<u16>,
    /// The port of the persistent TCP flow, if it has one.
    pub tcp_port: Option<u16>,
    /// The port of the connect probes, if it has any.
    pub connect_port: Option<u16>,
    /// Nanoseconds between probes of one flow; at least 1,000.
    pub interval_ns: u64,
    /// Nanoseconds after which an unanswered probe is lost.
    pub timeout_ns: u64,
    /// Bytes that a probe is padded to; `None` sends only the header and the identifier.
    pub size: Option<usize>,
    /// Consecutive losses after which a flow reopens.
    pub max_lost: u32,
    /// True if round-trip times are published; otherwise only the peer publishes one-way delays.
    pub rtt: bool,
    /// The wire of its flows.
    pub protocol: Protocol,
    /// True if the estimated clock difference is subtracted from published one-way delays.
    pub owd_corrected: bool,
}

/// The wire that a flow speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Text with an offer, and native once the offer was taken.
    #[default]
    Auto,
    /// Only what the Python program speaks.
    Text,
    /// STAMP from the first packet.
    Native,
}
