//! What the core asks of an engine, and the names of sockets.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::proto::marks::Marks;
use crate::proto::sample::{FlowKind, Stamp};
use crate::proto::target::Host;
use crate::proto::time::{Mono, Now};

/// The engine's key for a socket that the core asked for or accepted.
///
/// The index is small and reused. The generation tells an old event from a new socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId {
    /// A dense index for an engine's table.
    pub index: u32,
    /// Distinguishes the users of one index.
    pub generation: u32,
}

/// A listening UDP socket: its place in the list of listen addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(pub u32);

/// A target from its addition to its removal. A process never reuses the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId(pub u64);

/// One flow of one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FlowRef {
    /// Place in the table of targets.
    pub(crate) slot: u32,
    /// Place among the target's flows.
    pub(crate) index: u16,
    /// Tells the target from a later one at the same place.
    pub(crate) target: TargetId,
}

/// Names the purpose of a packet's transmit stamp. The engine keeps it until the stamp comes, and
/// returns both ([`Prober::handle_stamp`](crate::proto::Prober::handle_stamp)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StampKey(pub(crate) Wanted);

/// The purposes of a transmit stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// T1 of a probe.
    Probe { flow: FlowRef, number: u64 },
    /// The departure of a datagram of a trace, by its place.
    Hop { trace: u32, packet: u32 },
    /// T3 of the reply of this number, of the session at this place.
    Reply { place: Place, seq: u32 },
}

/// The place of a remote sender's session: what its requests come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the table of those that send datagrams.
    Datagrams {
        slot: u32,
        /// Tells the session from a later one at the same place.
        birth: u64,
    },
    /// An accepted connection.
    Connection(SocketId),
}

/// What the headers of a request said that came as a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// Who sent it.
    pub from: SocketAddr,
    /// Our address that it came to, if the system said.
    pub to: Option<IpAddr>,
    /// Our port that it came to.
    pub port: u16,
    /// Its TTL or hop limit as it arrived, if the system said.
    pub ttl: Option<u8>,
    /// Its traffic class, if the system said: DSCP in the upper six bits, ECN in the others.
    pub tos: Option<u8>,
}

impl Headers {
    /// Returns those of a request of which no more is known than its addresses.
    pub const fn new(from: SocketAddr, to: Option<IpAddr>, port: u16) -> Self {
        Self {
            from,
            to,
            port,
            ttl: None,
            tos: None,
        }
    }
}

/// When a packet arrived, by this process's clock and by the kernel's stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When the process saw it.
    pub now: Now,
    /// When the kernel or the interface saw it, if known.
    pub stamp: Option<Stamp>,
    /// Its traffic class, on a socket of a flow that is marked with one, if the system said.
    pub tos: Option<u8>,
}

impl Arrival {
    /// Returns an arrival without a stamp.
    pub const fn unstamped(now: Now) -> Self {
        Self {
            now,
            stamp: None,
            tos: None,
        }
    }

    /// Returns the same for one of several messages read at once: the stamp is of the last of them.
    pub(crate) fn of_last(&self, is_last: bool) -> Self {
        let stamp = self.stamp.filter(|_| is_last);
        Self { stamp, ..*self }
    }

    /// Returns when it arrived by the monotonic clock: as long before the process saw it as the stamp says.
    pub(crate) fn mono(&self) -> Mono {
        let ago_ns = self.stamp.map_or(0, |stamp| self.now.wall.since(stamp.at));
        let ago_ns = u64::try_from(ago_ns).unwrap_or(0);
        Mono::from_nanos(self.now.mono.as_nanos().saturating_sub(ago_ns))
    }

    /// Returns the best stamp, at worst the process's own.
    pub fn best(&self) -> Stamp {
        self.stamp.unwrap_or_else(|| Stamp::user(self.now.wall))
    }
}

/// One action for the engine. Payloads are in the buffer passed to `poll_transmit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transmit {
    /// Open a socket to `remote`. Answer with `handle_connected`, and for a lasting socket with
    /// `handle_opened`; or with `handle_closed`.
    Open {
        /// Its key from now on.
        socket: SocketId,
        /// The peer.
        remote: SocketAddr,
        /// A fresh 5-tuple for datagrams to and from `remote`; a TCP connection to hold; or one that is
        /// only timed, and closing it leaves no `TIME_WAIT` behind.
        kind: FlowKind,
        /// What each of its packets is marked with, the first included, and where they leave from.
        marks: Arc<Marks>,
        /// Where it begins to look for a free one among the source ports of `marks`, if there are any.
        place: u32,
    },
    /// Send the buffer as one datagram on a flow's own socket.
    Datagram {
        /// A socket that was opened for datagrams.
        socket: SocketId,
        /// The purpose of its transmit stamp.
        key: Option<StampKey>,
        /// True if the packet must leave at once, not in a batch: the receiver knows its departure
        /// only from the time inside it.
        at_once: bool,
    },
    /// Send the buffer, which may be empty, as one datagram on a flow's own socket with this TTL, at once: it is to
    /// learn a hop of the flow's path, and is no probe.
    Hop {
        /// A socket that was opened for datagrams.
        socket: SocketId,
        /// Its TTL or hop limit.
        ttl: u8,
        /// The purpose of its transmit stamp.
        key: Option<StampKey>,
    },
    /// Send the buffer as one datagram from a listener, at once if it has no key.
    Reply {
        /// The listener that received the request.
        listener: ListenerId,
        /// The sender of the request.
        to: SocketAddr,
        /// Our address that received it, to answer from; `None` lets the system choose.
        from: Option<IpAddr>,
        /// The traffic class to send it with.
        tos: u8,
        /// The purpose of its transmit stamp.
        key: Option<StampKey>,
    },
    /// Write the buffer to a stream. Keep the bytes that the kernel does not take yet.
    Stream {
        /// A connection that was opened to hold, or an accepted one.
        socket: SocketId,
        /// The purpose of the transmit stamp of its last byte.
        key: Option<StampKey>,
        /// True if nothing is to come before it, and it is to wait for no other: the receiver knows its
        /// departure only from the time inside it.
        at_once: bool,
    },
    /// Close a socket. The next transmit may reuse its index.
    Close {
        /// The socket; an unknown one is ignored.
        socket: SocketId,
    },
    /// Resolve a name, off the loop. Answer with `handle_resolved`.
    Resolve {
        /// The target with this name.
        target: TargetId,
        /// The name.
        host: Host,
    },
}

/// Why a socket closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseReason {
    /// The peer ended the stream in order.
    Finished,
    /// The peer, or a host on the path, refused or reset it.
    Reset,
    /// This host has no route to the peer, or nobody answers on the peer's link.
    NoRoute,
    /// The interface that leads to the peer is down.
    NetworkDown,
    /// A filter or a missing right of this host forbids it.
    Denied,
    /// This host has no address of that family, or not the one that it was bound to.
    NoAddress,
    /// This host has no descriptor or memory for it.
    Exhausted,
    /// This host has no such interface as the marks name.
    NoInterface,
    /// None of the source ports of the marks is free.
    NoPort,
    /// The source address of the marks is of the other family than the peer's.
    OtherFamily,
    /// This system cannot mark packets so.
    Unsupported,
    /// Any other failure of the socket.
    Failed,
}

impl CloseReason {
    /// True if it is this host that cannot send.
    pub(crate) const fn is_local(self) -> bool {
        !matches!(self, Self::Finished | Self::Reset | Self::Failed)
    }

    /// True if a connection was not even tried, for want of something that this host may have again later.
    pub(crate) const fn is_want(self) -> bool {
        matches!(self, Self::Exhausted | Self::NoPort)
    }
}
