//! UDP sockets: those that flows share, and listeners that learn which address of ours was asked.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::sys::icmp;

/// The TTL and hop limit that datagrams leave with: what arrives says how many routers were between (RFC 5357, section
/// 4.1.2).
const TTL: u8 = 255;

/// Opens a non-blocking socket on a free port of the address `local`, whose own port is ignored.
/// The socket sends to anyone, hears from anyone, and queues ICMP errors about what it has sent.
pub(crate) fn open(local: SocketAddr) -> io::Result<UdpSocket> {
    let mut free = local;
    free.set_port(0);
    let socket = new_socket(free)?;
    if free.is_ipv6() {
        // A target may be an IPv4-mapped address.
        socket.set_only_v6(false)?;
    }
    socket.bind(&free.into())?;
    icmp::set(&socket, free.is_ipv6(), true)?;
    Ok(socket.into())
}

/// Opens a non-blocking socket on `address` that learns which of our addresses a request came to, for a
/// peer whose socket is connected hears from no other; and its TTL and traffic class. With `only_v6` a
/// socket on `::` leaves IPv4 to another one.
pub(crate) fn listen(address: SocketAddr, only_v6: bool) -> io::Result<UdpSocket> {
    let socket = new_socket(address)?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
        setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        socket.set_recv_hoplimit_v6(true)?;
        socket.set_recv_tclass_v6(true)?;
    } else {
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    }
    // Also one of IPv6, for the IPv4 that it hears.
    super::set_option(&socket, libc::IPPROTO_IP, libc::IP_RECVTTL, 1)?;
    super::set_option(&socket, libc::IPPROTO_IP, libc::IP_RECVTOS, 1)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn new_socket(family_of: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(family_of);
    let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    // Also one of IPv6, which may speak IPv4. A system without the option numbers its datagrams.
    keep_whole(&socket, true).ok();
    super::set_option(&socket, libc::IPPROTO_IP, libc::IP_TTL, TTL.into())?;
    if family_of.is_ipv6() {
        socket.set_unicast_hops_v6(TTL.into())?;
    }
    Ok(socket)
}

/// Has IPv4 datagrams leave whole (a socket is opened so), or in as many fragments as their path
/// wants. A whole datagram needs no identification (RFC 6864, section 4.1), which the kernel would
/// hash from both addresses each time. One that does not fit is then an error ([`is_too_long`]).
pub(crate) fn keep_whole(socket: &impl AsFd, is_whole: bool) -> io::Result<()> {
    let discovery = if is_whole {
        libc::IP_PMTUDISC_DO
    } else {
        libc::IP_PMTUDISC_WANT
    };
    super::set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, discovery)
}

/// True if a send has failed because the datagram is too long to leave whole, as far as the kernel
/// knows the path.
pub(crate) fn is_too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::EMSGSIZE as i32)
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

/// Asks the system for the route to `remote`. An error if there is none.
pub(crate) fn route(remote: SocketAddr) -> io::Result<Route> {
    let socket = new_socket(remote)?;
    socket.connect(&remote.into())?;
    let local = socket.local_addr()?.as_socket();
    let remote = socket.peer_addr()?.as_socket();
    local
        .zip(remote)
        .map(|(local, remote)| Route { local, remote })
        .ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}
