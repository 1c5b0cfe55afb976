//! UDP sockets: those that flows share, and listeners that learn which address of ours was asked.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use super::marks;
use crate::proto::Marks;
use crate::sys::icmp;
use crate::sys::sockets::UdpSocket;
use crate::sys::words::{Route, source_for};

/// The TTL and hop limit that datagrams leave with: what arrives says how many routers were between (RFC 5357, section
/// 4.1.2).
const TTL: u8 = 255;

/// Opens a non-blocking socket on the address and port `local`, where 0 is any free port, whose packets have these
/// marks.
/// The socket sends to anyone, hears from anyone, and queues ICMP errors about what it has sent.
pub(crate) fn open(local: SocketAddr, marks: &Marks) -> io::Result<UdpSocket> {
    let socket = new_socket(local)?;
    marks::set(&socket, local, marks)?;
    if local.is_ipv6() {
        // A target may be an IPv4-mapped address.
        socket.set_only_v6(false)?;
    }
    if marks.dscp.is_some() {
        ask_class(&socket, local.is_ipv6())?;
    }
    socket.bind(&local.into())?;
    icmp::set(&socket, local.is_ipv6(), true)?;
    icmp::ask_extensions(&socket, local.is_ipv6());
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
    } else {
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    }
    // Also one of IPv6, for the IPv4 that it hears.
    super::set_option(&socket, libc::IPPROTO_IP, libc::IP_RECVTTL, 1)?;
    ask_class(&socket, address.is_ipv6())?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Has a socket tell the traffic class of what it receives; one of IPv6 also of the IPv4 that it hears.
fn ask_class(socket: &Socket, is_v6: bool) -> io::Result<()> {
    if is_v6 {
        socket.set_recv_tclass_v6(true)?;
    }
    super::set_option(socket, libc::IPPROTO_IP, libc::IP_RECVTOS, 1)
}

pub(super) fn new_socket(family_of: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(family_of);
    let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    // Also one of IPv6, which may speak IPv4. A system without the option numbers its datagrams.
    keep_whole(&socket, true).ok();
    // A system without it counts nothing.
    super::set_option(&socket, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1).ok();
    super::set_option(&socket, libc::IPPROTO_IP, libc::IP_TTL, TTL.into())?;
    if family_of.is_ipv6() {
        socket.set_unicast_hops_v6(TTL.into())?;
    }
    Ok(socket)
}

/// Has IPv4 datagrams leave whole (a socket is opened so), or in as many fragments as their path
/// wants. A whole datagram needs no identification (RFC 6864, section 4.1), which the kernel would
/// hash from both addresses each time. One that does not fit is then an error.
fn keep_whole(socket: &impl AsFd, is_whole: bool) -> io::Result<()> {
    let discovery = if is_whole {
        libc::IP_PMTUDISC_DO
    } else {
        libc::IP_PMTUDISC_WANT
    };
    super::set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, discovery)
}

/// Has datagrams leave in fragments from here on, if a send has failed because the datagram is too
/// long to leave whole, as far as the kernel knows the path. True if so: it is to be sent again.
pub(crate) fn send_in_fragments(socket: &UdpSocket, error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::EMSGSIZE as i32) && keep_whole(socket, false).is_ok()
}

/// Asks the system for the route to `remote` that packets with these marks take. An error if there is none.
pub(crate) fn route(remote: SocketAddr, marks: &Marks) -> io::Result<Route> {
    let socket = new_socket(remote)?;
    marks::set(&socket, remote, marks)?;
    if let Some(source) = source_for(remote, marks)? {
        socket.bind(&source.into())?;
    }
    socket.connect(&remote.into())?;
    let local = socket.local_addr()?.as_socket();
    let remote = socket.peer_addr()?.as_socket();
    local
        .zip(remote)
        .map(|(local, remote)| Route { local, remote })
        .ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}
