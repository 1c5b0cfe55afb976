//! UDP sockets: those that flows share, and listeners.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

use super::marks;
use crate::proto::Marks;
use crate::sys::sockets::UdpSocket;
use crate::sys::words::{Route, source_for};

/// The TTL and hop limit that datagrams leave with: what arrives says how many routers were between (RFC 5357, section
/// 4.1.2).
const TTL: u32 = 255;

/// Opens a non-blocking socket on the address and port `local`, where 0 is any free port, whose packets have these
/// marks.
/// The socket sends to anyone, and hears from anyone.
pub(crate) fn open(local: SocketAddr, marks: &Marks) -> io::Result<UdpSocket> {
    let socket = new_socket(local)?;
    marks::set(&socket, local, marks)?;
    if local.is_ipv6() {
        // A target may be an IPv4-mapped address. Some systems have none.
        let _ = socket.set_only_v6(false);
    }
    socket.bind(&local.into())?;
    Ok(UdpSocket::from_std(socket.into()))
}

/// Opens a non-blocking socket on `address`. With `only_v6` a socket on `::` leaves IPv4 to another one.
pub(crate) fn listen(address: SocketAddr, only_v6: bool) -> io::Result<UdpSocket> {
    let socket = new_socket(address)?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    socket.bind(&address.into())?;
    Ok(UdpSocket::from_std(socket.into()))
}

pub(super) fn new_socket(family_of: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(family_of);
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if family_of.is_ipv6() {
        socket.set_unicast_hops_v6(TTL)?;
        // For the IPv4 that it may speak, where a socket can do both.
        let _ = socket.set_ttl_v4(TTL);
    } else {
        socket.set_ttl_v4(TTL)?;
    }
    Ok(socket)
}

/// False: datagrams leave in as many fragments as their path wants, as far as the system does that.
pub(crate) fn send_in_fragments(_: &UdpSocket, _: &io::Error) -> bool {
    false
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
