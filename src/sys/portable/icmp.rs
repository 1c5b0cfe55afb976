//! ICMP errors are not asked for, and so do nothing to a socket.

use std::io;

use crate::sys::sockets::UdpSocket;

/// Nobody tells where a datagram with a small TTL has ended.
pub(crate) const TELL_HOPS: bool = false;

/// Changes nothing.
pub(crate) fn set(_: &UdpSocket, _: bool, _: bool) -> io::Result<()> {
    Ok(())
}

/// False: no socket has to go without ICMP errors because of a full queue.
pub(crate) fn is_full_queue(_: &io::Error) -> bool {
    false
}

/// False: no call fails because of an ICMP error about another datagram.
pub(crate) fn may_be_of_another(_: &io::Error) -> bool {
    false
}
