//! The words that both sides speak: what a socket takes, what it gives, and what is said of it.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;

use crate::proto::{IcmpType, Marks, Wall};

/// Who stamps packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timestamps {
    /// The interface where it can, else the kernel, else this process.
    #[default]
    Auto,
    /// The kernel, also where the interface could.
    Kernel,
    /// This process. The published delays then contain the host's own.
    User,
}

/// Who makes the stamps besides this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// The kernel.
    Software,
    /// The interface as well.
    Hardware,
}

/// What a socket counts to number its transmit stamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbers {
    Datagrams,
    Bytes,
}

/// The stamps of one packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamps {
    pub(crate) software: Option<Wall>,
    pub(crate) hardware: Option<Wall>,
}

/// One datagram to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) to: SocketAddr,
    /// Our address to send it from; `None` lets the system choose.
    pub(crate) from: Option<IpAddr>,
    /// Its traffic class.
    pub(crate) tos: u8,
    /// Its TTL or hop limit; `None`: the socket's.
    pub(crate) ttl: Option<u8>,
    pub(crate) payload: &'a [u8],
}

/// One datagram received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Incoming<'a> {
    /// `None` if the kernel gave no address.
    pub(crate) from: Option<SocketAddr>,
    /// The address of ours that it came to, on a socket that asks for that.
    pub(crate) local: Option<IpAddr>,
    /// Its TTL or hop limit, on a socket that asks for it.
    pub(crate) ttl: Option<u8>,
    /// Its traffic class, on a socket that asks for it.
    pub(crate) tos: Option<u8>,
    /// How many datagrams the socket's buffer had had no room for when this one came; it wraps. `None`: none so
    /// far, or the system does not count them.
    pub(crate) dropped: Option<u32>,
    pub(crate) stamps: Stamps,
    pub(crate) payload: &'a [u8],
}

/// An ICMP error about one datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// Where the datagram was sent.
    pub(crate) to: SocketAddr,
    /// Who says so: a router, the remote host, or this host if nobody on its link answers.
    pub(crate) by: Option<IpAddr>,
    pub(crate) trouble: Trouble,
    pub(crate) icmp: IcmpType,
    /// When it came.
    pub(crate) stamps: Stamps,
    /// What followed the UDP header of the datagram in it, if that was asked for.
    pub(crate) quote: Box<[u8]>,
    /// The place in the quote where the extension structure begins (RFC 4884); 0: it does not say.
    pub(crate) extension_at: usize,
}

/// Why a datagram did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    NoRoute,
    NoHost,
    NoPort,
    Prohibited,
    /// Too large for the path. The kernel notes what fits, and fragments the next one.
    TooLarge,
    /// It passed more routers than it may, most likely in a circle.
    Loops,
    Other,
}

impl fmt::Display for Trouble {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::NoRoute => "network unreachable: there is no route to it",
            Self::NoHost => "host unreachable: it does not answer on its own link",
            Self::NoPort => "port unreachable: nothing listens there",
            Self::Prohibited => "prohibited: a filter rejects it",
            Self::TooLarge => "too large for the path",
            Self::Loops => "its hops are used up: the path goes in a circle",
            Self::Other => "not delivered",
        })
    }
}

/// The two addresses of a way to a remote host, as the system routes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// The address of ours that packets leave from. Its port means nothing.
    pub(crate) local: SocketAddr,
    /// The address that packets go to and come back from. It differs from the one asked for if that
    /// is unspecified.
    pub(crate) remote: SocketAddr,
}

/// A buffer of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Buffer {
    Receive,
    Send,
}

/// What an interface can stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Abilities {
    /// It stamps something.
    pub(crate) stamps: bool,
    /// It stamps packets that it sends, and packets that it receives.
    pub(crate) both_directions: bool,
    /// It can stamp every packet that it receives, and not only those of PTP.
    pub(crate) all_received: bool,
    /// The number of its clock, `/dev/ptp<number>`.
    pub(crate) clock: Option<u32>,
}

/// What a process that locks itself in may still do with a path, and with everything below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Right {
    /// Read files.
    Read,
    /// Read files, and list folders.
    List,
    /// Make files, write them, and cut them.
    Create,
    /// Read, write, make, rename and remove files.
    Write,
    /// Make and remove Unix sockets.
    Socket,
}

/// A path that stays open to a process that locks itself in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Allowed {
    pub(crate) path: PathBuf,
    pub(crate) right: Right,
}

/// A privilege that a process that locks itself in may go on to need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Privilege {
    /// Ports below 1024.
    LowPorts,
    /// Buffers and options of sockets beyond what everyone may have.
    Network,
    /// Sockets that are bound to an interface anew.
    Interfaces,
    /// Memory that is never paged out.
    LockMemory,
    /// Real time.
    Schedule,
    /// Files that are another user's, and not open to this one: to read them.
    ReadAll,
    /// The same to write them.
    WriteAll,
}

impl Privilege {
    /// Returns the name of the capability.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::LowPorts => "CAP_NET_BIND_SERVICE",
            Self::Network => "CAP_NET_ADMIN",
            Self::Interfaces => "CAP_NET_RAW",
            Self::LockMemory => "CAP_IPC_LOCK",
            Self::Schedule => "CAP_SYS_NICE",
            Self::ReadAll => "CAP_DAC_READ_SEARCH",
            Self::WriteAll => "CAP_DAC_OVERRIDE",
        }
    }
}

/// What the error of a socket call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The peer refuses, or has ended the connection.
    Reset,
    /// This host has run out of something that it may have again later, or a socket has no room now.
    Exhausted,
    NoRoute,
    NetworkDown,
    Denied,
    /// This host does not have the address.
    NoAddress,
    /// This host does not have the family of the address at all.
    NoFamily,
    Other,
}

/// Returns the source address of the marks as a socket toward `to` is bound to it, without a port.
pub(crate) fn source_for(to: SocketAddr, marks: &Marks) -> Result<Option<SocketAddr>, MarkError> {
    Ok(Some(match (marks.source, to) {
        (None, _) => return Ok(None),
        (Some(source @ IpAddr::V4(_)), SocketAddr::V4(_)) => SocketAddr::new(source, 0),
        // An IPv4-mapped peer.
        (Some(IpAddr::V4(source)), SocketAddr::V6(to)) if to.ip().to_ipv4_mapped().is_some() => {
            SocketAddr::new(source.to_ipv6_mapped().into(), 0)
        }
        (Some(IpAddr::V6(source)), SocketAddr::V6(to)) if to.ip().to_ipv4_mapped().is_none() => {
            let is_local = source.is_unicast_link_local();
            let scope = if is_local { to.scope_id() } else { 0 };
            SocketAddrV6::new(source, 0, 0, scope).into()
        }
        _ => return Err(MarkError::OtherFamily),
    }))
}

/// Why a socket cannot have the marks of a flow, where the system's own error would not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MarkError {
    #[error("there is no such interface")]
    NoInterface,
    #[error("none of the source ports is free")]
    NoPort,
    #[error("the source address is not of the peer's family")]
    OtherFamily,
    #[error("this system does not have it")]
    Unsupported,
}

impl From<MarkError> for io::Error {
    fn from(error: MarkError) -> Self {
        Self::other(error)
    }
}

impl MarkError {
    /// Returns what an error is about, if it is one of these.
    pub(crate) fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

/// What became of a connection that was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handshake {
    Underway,
    /// It is established. The handshake took `ns` by the kernel's own count; `None` if a segment of it
    /// was sent again, since the duration is not known then.
    Done {
        ns: Option<u64>,
    },
    /// It will never be. The socket has the error, unless it was taken off it to know that: then this is
    /// the system's number of it.
    Failed {
        code: Option<i32>,
    },
}
