//! UDP sockets: those that flows share, and listeners that answer from the address asked.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use mio::net::UdpSocket;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

/// A non-blocking socket on a free port that sends to anyone of a family and hears from anyone: who
/// is who is for its owner to know.
pub(crate) fn open(is_v6: bool) -> io::Result<UdpSocket> {
    let any = if is_v6 {
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
    } else {
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
    };
    let socket = new_socket(any)?;
    if is_v6 {
        // A target may be an IPv4 address in IPv6's clothes.
        socket.set_only_v6(false)?;
    }
    socket.bind(&any.into())?;
    Ok(UdpSocket::from_std(socket.into()))
}

/// The address that packets to `remote` go to and come back from, which is not `remote` itself if
/// that is unspecified. An error if the host has no way there.
pub(crate) fn route(remote: SocketAddr) -> io::Result<SocketAddr> {
    let socket = new_socket(remote)?;
    socket.connect(&remote.into())?;
    let peer = socket.peer_addr()?;
    peer.as_socket()
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
    Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))
}
