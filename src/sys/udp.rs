//! UDP sockets: those that flows share, and listeners that answer from the address asked.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use mio::net::UdpSocket;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::sys::icmp;

/// A non-blocking socket on a free port of an address of ours (whose own port says nothing), that
/// sends to anyone and hears from anyone: who is who is for its owner to know. It is told of packets
/// that did not get there.
pub(crate) fn open(local: SocketAddr) -> io::Result<UdpSocket> {
    let mut free = local;
    free.set_port(0);
    let socket = new_socket(free)?;
    if free.is_ipv6() {
        // A target may be an IPv4 address in IPv6's clothes.
        socket.set_only_v6(false)?;
    }
    socket.bind(&free.into())?;
    icmp::set(&socket, free.is_ipv6(), true)?;
    Ok(UdpSocket::from_std(socket.into()))
}

/// Has datagrams of IPv4 leave in one piece only, or in as many as their path wants. A socket is opened for
/// one: such a datagram needs no number of its own (RFC 6864, section 4.1), which the kernel would make of
/// both its addresses each time. One that is too long is an error then ([`is_too_long`]).
pub(crate) fn keep_whole(socket: &impl AsFd, is_whole: bool) -> io::Result<()> {
    let way = if is_whole {
        libc::IP_PMTUDISC_DO
    } else {
        libc::IP_PMTUDISC_WANT
    };
    super::set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, way)
}

/// Whether a send has failed because the datagram is too long for one piece, as far as the kernel knows
/// the path.
pub(crate) fn is_too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::EMSGSIZE as i32)
}

/// The address of ours that packets to `remote` leave from, its port being of no meaning, and the one
/// that they go to and come back from, which is not `remote` itself if that is unspecified. An error
/// if the host has no way there.
pub(crate) fn route(remote: SocketAddr) -> io::Result<(SocketAddr, SocketAddr)> {
    let socket = new_socket(remote)?;
    socket.connect(&remote.into())?;
    let (local, peer) = (socket.local_addr()?, socket.peer_addr()?);
    local
        .as_socket()
        .zip(peer.as_socket())
        .ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

/// A bound UDP socket that learns from the system which of our addresses a request came to: a peer
/// that is connected hears from no other. `only_v6` keeps a socket on `::` from taking IPv4 as well,
/// for when another one does.
pub(crate) fn listen(address: SocketAddr, only_v6: bool) -> io::Result<UdpSocket> {
    let socket = new_socket(address)?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
        setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
    } else {
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    }
    socket.bind(&address.into())?;
    Ok(UdpSocket::from_std(socket.into()))
}

fn new_socket(family_of: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(family_of);
    let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    // Also one of IPv6, which may speak IPv4. A system without the option numbers its datagrams.
    keep_whole(&socket, true).ok();
    Ok(socket)
}
