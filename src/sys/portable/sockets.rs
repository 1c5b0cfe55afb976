//! The sockets of an engine, which are mio's: it must see each call on them, to know when to tell of them
//! again.

use std::io;

use mio::event::Source;
use mio::{Interest, Registry, Token};

pub(crate) use mio::net::{TcpListener, TcpStream, UdpSocket};

/// A socket is told of again only once a call has found that it has nothing.
pub(crate) const SHORT_READS_DRAIN: bool = false;

/// A socket that can be watched.
pub(crate) trait Socket: Source {}

impl<S: Source> Socket for S {}

/// Has an event queue tell of a socket.
pub(crate) fn register(
    registry: &Registry,
    socket: &mut impl Socket,
    token: Token,
    interest: Interest,
) -> io::Result<()> {
    registry.register(socket, token, interest)
}

/// Changes what an event queue tells of a socket.
pub(crate) fn reregister(
    registry: &Registry,
    socket: &mut impl Socket,
    token: Token,
    interest: Interest,
) -> io::Result<()> {
    registry.reregister(socket, token, interest)
}

/// Has an event queue tell of a socket no more.
pub(crate) fn deregister(registry: &Registry, socket: &mut impl Socket) -> io::Result<()> {
    registry.deregister(socket)
}
