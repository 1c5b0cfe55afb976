//! One target as the core takes it: valid, with all defaults filled in.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;

use crate::proto::marks::Marks;
use crate::proto::wire::native::authenticated::Key;

/// The address or name of a target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// A literal address, never resolved. One with a zone is resolved as a name is.
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

/// An IP address, with the interface that leads to it if it is link-local.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The address itself.
    pub ip: IpAddr,
    /// The number of the interface (RFC 4007); 0 where the address says enough.
    pub scope: u32,
}

impl Address {
    /// Returns a port at the address.
    pub fn at(self, port: u16) -> SocketAddr {
        match self.ip {
            IpAddr::V4(_) => SocketAddr::new(self.ip, port),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, self.scope).into(),
        }
    }

    /// Returns why it is not where one host can be reached, as the end of a sentence that begins with it.
    pub fn fault(self) -> Option<&'static str> {
        let ip = self.ip.to_canonical();
        let is_link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        match ip {
            // The kernel takes both for this host itself.
            _ if ip.is_unspecified() => Some("is the address of no host"),
            _ if ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) => {
                Some("is the address of many hosts")
            }
            _ if is_link_local && self.scope == 0 => {
                Some("is link-local and lacks its interface, as in fe80::1%eth0")
            }
            _ => None,
        }
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        Self { ip, scope: 0 }
    }
}

impl From<SocketAddr> for Address {
    /// Takes the address without its port.
    fn from(at: SocketAddr) -> Self {
        let scope = match at {
            SocketAddr::V4(_) => 0,
            SocketAddr::V6(at) => at.scope_id(),
        };
        Self { ip: at.ip(), scope }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scope {
            0 => self.ip.fmt(out),
            scope => write!(out, "{}%{scope}", self.ip),
        }
    }
}

/// The family that addresses of a name must have to be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Either.
    #[default]
    Any,
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Returns the family of an address. One of IPv4 that is mapped into IPv6 is one of IPv4: packets to it are.
    pub fn of(ip: IpAddr) -> Self {
        if ip.to_canonical().is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }

    /// Returns the number of its version of IP; 0 for either.
    pub const fn number(self) -> u8 {
        match self {
            Self::Any => 0,
            Self::V4 => 4,
            Self::V6 => 6,
        }
    }

    /// True if an address may be used.
    pub fn has(self, ip: IpAddr) -> bool {
        self == Self::Any || self == Self::of(ip)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Any => "IPv4 or IPv6",
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// A target, and how to probe it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "keys that have nothing in common"
)]
pub struct TargetSpec {
    /// Its address or name.
    pub host: Host,
    /// The family of the addresses of its name that are used.
    pub family: Family,
    /// True if each address of its name is a target of its own, with the tag `address:<ip>`.
    pub every_address: bool,
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
    /// UDP flows, and as many TCP flows, each with a 5-tuple of its own; 1 to [`FLOWS_MAX`](crate::limits::FLOWS_MAX).
    pub flows: u16,
    /// True if each of several flows is published by itself as well, with the tag `flow:<n>`.
    pub per_flow: bool,
    /// When a flow may take a fresh 5-tuple for its losses.
    pub reopen: Reopen,
    /// True if round-trip times are published; otherwise only the peer publishes one-way delays.
    pub rtt: bool,
    /// The wire of its flows.
    pub protocol: Protocol,
    /// What matters with [`Protocol::Stamp`] only.
    pub stamp: StampOptions,
    /// True if the estimated clock difference is subtracted from published one-way delays.
    pub owd_corrected: bool,
    /// Somebody looks on, for some time: the one-way delays of its probes are published at this end too, although a
    /// peer of ours does it.
    pub visit: Option<Visit>,
    /// The key that both ends authenticate every packet with. With one, the wire is native from the first
    /// packet.
    pub key: Option<Arc<Key>>,
    /// What its packets are marked with, and where they leave from.
    pub marks: Arc<Marks>,
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
    /// STAMP as reflectors speak it that are not ours, on UDP alone.
    Stamp,
}

impl TargetSpec {
    /// Returns how many flows it has.
    pub fn flow_count(&self) -> u16 {
        let of = |port: Option<u16>, count| port.map_or(0, |_| count);
        of(self.udp_port, self.flows) + of(self.tcp_port, self.flows) + of(self.connect_port, 1)
    }
}

/// How long somebody looks on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Visit {
    /// Probes after which each flow sends no more, but still listens; at least 1. `None`: it never ends.
    pub probes_max: Option<u64>,
}

/// When a flow takes a fresh 5-tuple because its probes are lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reopen {
    /// After `max_lost` losses in a row, if the target has one flow and no source ports of its own. Others keep theirs:
    /// a dead path stays seen.
    #[default]
    Auto,
    /// Never.
    Never,
}

/// How a reflector that is not ours is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StampOptions {
    /// Times are in the PTP format, not in NTP's.
    pub is_ptp: bool,
    /// Packets have a session identifier (RFC 8972, section 3).
    pub has_ssid: bool,
    /// The reflector's time scale less UTC in nanoseconds: 37 s if it keeps TAI.
    pub utc_offset_ns: i64,
}
