//! UDP sockets: connected ones for flows, and listeners that answer from the address asked.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;

use mio::net::UdpSocket;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrStorage, recvmsg,
    sendmmsg, setsockopt, sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::limits::UDP_RECEIVE_BUFFER_BYTES;
use crate::sys::stamp::{Control, Stamps, stamps_in};

/// A non-blocking socket that sends to `remote` and hears only from it.
pub(crate) fn connect(remote: SocketAddr) -> io::Result<UdpSocket> {
    let socket = new_socket(remote)?;
    socket.connect(&remote.into())?;
    Ok(UdpSocket::from_std(socket.into()))
}

fn new_socket(family_of: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(family_of);
    Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))
}

/// Asks for room for requests that come while this process has no processor. Without the right to
/// go over the system's limit (`net.core.rmem_max`) it gets as much as that allows.
fn widen_receive_buffer(socket: &Socket) {
    if setsockopt(socket, sockopt::RcvBufForce, &UDP_RECEIVE_BUFFER_BYTES).is_err() {
        // The default is what is left, and works.
        let _ = setsockopt(socket, sockopt::RcvBuf, &UDP_RECEIVE_BUFFER_BYTES);
    }
}

/// A datagram that a listener has received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) length: usize,
    pub(crate) from: SocketAddr,
    /// Which of our addresses it came to.
    pub(crate) local: Option<IpAddr>,
    pub(crate) stamps: Stamps,
}

/// A bound UDP socket. One on a wildcard address learns from the system which of our addresses a
/// request came to and answers from that one: a connected peer hears from no other.
pub(crate) struct UdpListener {
    pub(crate) socket: UdpSocket,
    replies: MultiHeaders<SockaddrStorage>,
    is_v6: bool,
}

impl UdpListener {
    /// `only_v6` keeps a socket on `::` from taking IPv4 as well, for when another one does.
    pub(crate) fn bind(address: SocketAddr, only_v6: bool) -> io::Result<Self> {
        let socket = new_socket(address)?;
        if address.is_ipv6() {
            socket.set_only_v6(only_v6)?;
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        } else {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        }
        widen_receive_buffer(&socket);
        socket.bind(&address.into())?;
        // Replies carry one control message, of the listener's family; the buffer is of its exact
        // length because the kernel refuses room left over.
        let reply_control = if address.is_ipv6() {
            nix::cmsg_space!(libc::in6_pktinfo)
        } else {
            nix::cmsg_space!(libc::in_pktinfo)
        };
        Ok(Self {
            socket: UdpSocket::from_std(socket.into()),
            replies: MultiHeaders::preallocate(1, Some(reply_control)),
            is_v6: address.is_ipv6(),
        })
    }

    /// Reads one datagram.
    pub(crate) fn receive(&self, buffer: &mut [u8], control: &mut Control) -> io::Result<Request> {
        let mut slices = [IoSliceMut::new(buffer)];
        let message = recvmsg::<SockaddrStorage>(
            self.socket.as_raw_fd(),
            &mut slices,
            Some(control.bytes()),
            MsgFlags::empty(),
        )?;
        let from = message.address.as_ref().and_then(socket_addr);
        let Some(from) = from else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a sender without an address",
            ));
        };
        let mut request = Request {
            length: message.bytes,
            from,
            local: None,
            stamps: Stamps::default(),
        };
        for control in message.cmsgs()? {
            if let Some(stamps) = stamps_in(&control) {
                request.stamps = stamps;
            } else if let Some(local) = local_address(&control) {
                request.local = Some(local);
            }
        }
        Ok(request)
    }

    /// Sends a datagram to `to`, from our address `from` if it is given.
    pub(crate) fn send(
        &mut self,
        to: SocketAddr,
        from: Option<IpAddr>,
        payload: &[u8],
    ) -> io::Result<()> {
        let Some(from) = from else {
            return self.socket.send_to(payload, to).map(drop);
        };
        let (v4, v6);
        let control = if self.is_v6 {
            v6 = pktinfo_v6(from);
            ControlMessage::Ipv6PacketInfo(&v6)
        } else {
            v4 = pktinfo_v4(from);
            ControlMessage::Ipv4PacketInfo(&v4)
        };
        let slices = [[IoSlice::new(payload)]];
        let mut sent = sendmmsg(
            self.socket.as_raw_fd(),
            &mut self.replies,
            &slices,
            [Some(SockaddrStorage::from(to))],
            [control],
            MsgFlags::empty(),
        )?;
        if sent.next().is_some() {
            Ok(())
        } else {
            Err(Errno::EAGAIN.into())
        }
    }
}

impl fmt::Debug for UdpListener {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("UdpListener")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

fn socket_addr(storage: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = storage.as_sockaddr_in() {
        return Some(SocketAddr::V4(SocketAddrV4::from(*v4)));
    }
    storage
        .as_sockaddr_in6()
        .map(|v6| SocketAddr::V6(SocketAddrV6::from(*v6)))
}

/// The address to answer from. Of a packet to a broadcast or multicast address the system decides.
fn local_address(control: &ControlMessageOwned) -> Option<IpAddr> {
    let address = match control {
        // The specific destination is ours also when the packet was broadcast.
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            IpAddr::V4(Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr)))
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => IpAddr::V6(info.ipi6_addr.s6_addr.into()),
        _ => return None,
    };
    (!address.is_unspecified() && !address.is_multicast()).then_some(address)
}

fn pktinfo_v4(from: IpAddr) -> libc::in_pktinfo {
    let from = match from {
        IpAddr::V4(from) => from,
        IpAddr::V6(from) => from.to_ipv4_mapped().unwrap_or(Ipv4Addr::UNSPECIFIED),
    };
    libc::in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: libc::in_addr {
            s_addr: u32::from(from).to_be(),
        },
        ipi_addr: libc::in_addr { s_addr: 0 },
    }
}

fn pktinfo_v6(from: IpAddr) -> libc::in6_pktinfo {
    let from = match from {
        IpAddr::V4(from) => from.to_ipv6_mapped(),
        IpAddr::V6(from) => from,
    };
    libc::in6_pktinfo {
        ipi6_addr: libc::in6_addr {
            s6_addr: from.octets(),
        },
        ipi6_ifindex: 0,
    }
}
