//! The sockets of an engine, which are the standard library's, and having them watched.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

pub(crate) use std::net::{TcpListener, TcpStream, UdpSocket};

/// After a read that did not fill its room a stream has no more, as epoll(7) has it.
pub(crate) const SHORT_READS_DRAIN: bool = true;

/// A socket that can be watched.
pub(crate) trait Socket: AsFd + AsRawFd {}

impl<S: AsFd + AsRawFd> Socket for S {}

/// Has an event queue tell of a socket.
pub(crate) fn register(
    registry: &Registry,
    socket: &mut impl Socket,
    token: Token,
    interest: Interest,
) -> io::Result<()> {
    registry.register(&mut SourceFd(&socket.as_raw_fd()), token, interest)
}

/// Changes what an event queue tells of a socket.
pub(crate) fn reregister(
    registry: &Registry,
    socket: &mut impl Socket,
    token: Token,
    interest: Interest,
) -> io::Result<()> {
    registry.reregister(&mut SourceFd(&socket.as_raw_fd()), token, interest)
}

/// Has an event queue tell of a socket no more.
pub(crate) fn deregister(registry: &Registry, socket: &mut impl Socket) -> io::Result<()> {
    registry.deregister(&mut SourceFd(&socket.as_raw_fd()))
}
