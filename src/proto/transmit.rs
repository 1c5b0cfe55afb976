//! What the core asks of an engine, and the names it gives to sockets.

use std::net::{IpAddr, SocketAddr};

use crate::proto::sample::Stamp;
use crate::proto::target::Host;
use crate::proto::time::Now;

/// A socket that the core asked for, or accepted; the engine's key for it.
///
/// The index is small and used again; the generation tells an old event from a new socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId {
    /// Dense, so that an engine can index a table with it.
    pub index: u32,
    /// Distinguishes the users of one index.
    pub generation: u32,
}

/// A listening UDP socket: its place in the list of addresses listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(pub u32);

/// A target, from its addition to its removal. Never used again within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId(pub u64);

/// One flow of one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlowRef {
    /// Place in the table of targets.
    pub(crate) slot: u32,
    /// Place among the target's flows.
    pub(crate) index: u16,
    /// Tells the target from a later one at the same place.
    pub(crate) target: TargetId,
}

/// What the transmit stamp of a packet is wanted for. The engine keeps it until the stamp comes, and
/// hands it back with that ([`Prober::handle_stamp`](crate::proto::Prober::handle_stamp)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StampKey(pub(crate) Wanted);

/// What a key stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// T1 of a probe.
    Probe { flow: FlowRef, number: u64 },
    /// T3 of a reply to a datagram: the session's place, its identity, the reply's number.
    Reply { slot: u32, birth: u64, seq: u32 },
    /// T3 of a reply on an accepted connection.
    StreamReply { socket: SocketId, seq: u32 },
}

/// When something was received: as this process saw it, and as the kernel stamped it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When the process saw it.
    pub now: Now,
    /// When the kernel or the interface did, if that is known.
    pub stamp: Option<Stamp>,
}

impl Arrival {
    /// Without a stamp.
    pub const fn unstamped(now: Now) -> Self {
        Self { now, stamp: None }
    }

    /// The best stamp there is: the process's own at worst.
    pub fn best(&self) -> Stamp {
        self.stamp.unwrap_or_else(|| Stamp::user(self.now.wall))
    }
}

/// One thing for the engine to do now. Payloads are in the buffer that `poll_transmit` was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transmit {
    /// Make a fresh 5-tuple for datagrams to and from `remote`. Answer with `handle_opened`, or
    /// `handle_closed`.
    OpenUdp {
        /// Its name from now on.
        socket: SocketId,
        /// The peer.
        remote: SocketAddr,
    },
    /// Begin a TCP connection that lasts. Answer with `handle_connected` and `handle_opened`, or
    /// `handle_closed`.
    OpenTcp {
        /// Its name from now on.
        socket: SocketId,
        /// The peer.
        remote: SocketAddr,
    },
    /// Begin a TCP connection that is only timed: whenever it closes, it leaves no `TIME_WAIT`
    /// behind. Answer with `handle_connected` or `handle_closed`.
    OpenProbe {
        /// Its name from now on.
        socket: SocketId,
        /// The peer.
        remote: SocketAddr,
    },
    /// Send the buffer as one datagram on a flow's own socket.
    Datagram {
        /// A socket from `OpenUdp`.
        socket: SocketId,
        /// What its transmit stamp is wanted for.
        key: Option<StampKey>,
        /// Its receiver knows no other time of its departure than the one in it, so it must not wait
        /// for others to leave with.
        at_once: bool,
    },
    /// Send the buffer as one datagram from a listener. Without a key it must leave at once, too.
    Reply {
        /// The listener the request came in on.
        listener: ListenerId,
        /// Who asked.
        to: SocketAddr,
        /// The address of ours that was asked, to answer from; `None` lets the system choose.
        from: Option<IpAddr>,
        /// What its transmit stamp is wanted for.
        key: Option<StampKey>,
    },
    /// Write the buffer to a stream, keeping what the kernel does not take until it does.
    Stream {
        /// A socket from `OpenTcp`, or an accepted one.
        socket: SocketId,
        /// What the transmit stamp of its last byte is wanted for.
        key: Option<StampKey>,
    },
    /// Close a socket. Its index may be used again by the next transmit.
    Close {
        /// The socket; unknown ones are ignored.
        socket: SocketId,
    },
    /// Resolve a name, off the loop. Answer with `handle_resolved`.
    Resolve {
        /// Whose name it is.
        target: TargetId,
        /// The name.
        host: Host,
    },
}

/// Why a socket is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseReason {
    /// The peer ended the stream in order.
    Finished,
    /// The peer, or something on the way, refused or reset it.
    Reset,
    /// It could not be opened: no route, no permission, no address.
    Unreachable,
    /// This host has no descriptor or memory left for it.
    Exhausted,
    /// Any other failure of the socket.
    Failed,
}
