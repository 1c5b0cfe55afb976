//! What the core asks of an engine, and the names it gives to sockets.

use std::net::{IpAddr, SocketAddr};

use crate::proto::target::Host;

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

/// One thing for the engine to do now. Payloads are in the buffer that `poll_transmit` was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transmit {
    /// Open a UDP socket connected to `remote`. Answer with nothing, or `handle_closed`.
    OpenUdp {
        /// Its name from now on.
        socket: SocketId,
        /// The peer.
        remote: SocketAddr,
    },
    /// Begin a TCP connection that lasts. Answer with `handle_connected` or `handle_closed`.
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
    },
    /// Send the buffer as one datagram from a listener.
    Reply {
        /// The listener the request came in on.
        listener: ListenerId,
        /// Who asked.
        to: SocketAddr,
        /// The address of ours that was asked, to answer from; `None` lets the system choose.
        from: Option<IpAddr>,
    },
    /// Write the buffer to a stream, keeping what the kernel does not take until it does.
    Stream {
        /// A socket from `OpenTcp`, or an accepted one.
        socket: SocketId,
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
