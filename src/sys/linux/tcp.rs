//! TCP sockets: listeners, lasting connections, connect probes, and the kernel's figures of a
//! connection.

#![expect(
    unsafe_code,
    reason = "TCP_INFO, TCP_SAVED_SYN and accept4 have no safe binding"
)]

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{SockFlag, accept4};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::{marks, set_option};
use crate::proto::{Dscp, Marks};
use crate::sys::host::is_under_way;
use crate::sys::sockets::{TcpListener, TcpStream};
use crate::sys::words::Handshake;

/// Connections that are not yet accepted. The system caps this at `net.core.somaxconn`.
const BACKLOG: i32 = 4_096;

/// Opens a non-blocking listener whose port can be taken again at once after a restart.
pub(crate) fn listen(address: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let socket = new_socket(address)?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    socket.set_reuse_address(true)?;
    // For `reflect_class`; a system without it reflects none.
    set_option(&socket, libc::IPPROTO_TCP, libc::TCP_SAVE_SYN, 1).ok();
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepts a connection, non-blocking. `WouldBlock` if none is there.
pub(crate) fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let connection = accept4(listener.as_raw_fd(), flags)?;
    // SAFETY: the descriptor was just opened, and nobody else has it.
    Ok(unsafe { TcpStream::from_raw_fd(connection) })
}

/// Has an accepted connection answer with the code point that its SYN came with, on a listener of ours. The SYN-ACK has
/// left by then.
pub(crate) fn reflect_class(connection: &TcpStream) -> io::Result<()> {
    // The SYN's headers, without options of IPv6.
    let mut syn = [0_u8; 128];
    let mut length = libc::socklen_t::try_from(syn.len()).unwrap_or(0);
    // SAFETY: the option fills in no more than `length` bytes of the array.
    let result = unsafe {
        libc::getsockopt(
            connection.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_SAVED_SYN,
            syn.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    Errno::result(result)?;
    let syn = &syn[..syn.len().min(length as usize)];
    let (class, level, name) = match syn {
        [first, class, ..] if first >> 4 == 4 => (*class, libc::IPPROTO_IP, libc::IP_TOS),
        [first, second, ..] if first >> 4 == 6 => {
            let class = first << 4 | second >> 4;
            (class, libc::IPPROTO_IPV6, libc::IPV6_TCLASS)
        }
        _ => return Ok(()),
    };
    match Dscp::of_class(class).class() {
        0 => Ok(()),
        class => set_option(connection, level, name, class.into()),
    }
}

/// Opens a socket for a lasting connection to `remote`, whose packets have these marks, from `port` of ours, where 0 is
/// any. To have a given port again at once, closing it resets the connection.
pub(crate) fn open(remote: SocketAddr, marks: &Marks, port: u16) -> io::Result<TcpStream> {
    let socket = marked(remote, marks, port)?;
    if port != 0 {
        socket.set_linger(Some(Duration::ZERO))?;
    }
    // A request must not wait for the acknowledgement of the one before.
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}

/// Opens the same for a connection that is only timed. Closing it resets the connection, so that it takes
/// no place among those in `TIME_WAIT`.
pub(crate) fn open_probe(remote: SocketAddr, marks: &Marks, port: u16) -> io::Result<TcpStream> {
    let socket = marked(remote, marks, port)?;
    socket.set_linger(Some(Duration::ZERO))?;
    Ok(socket.into())
}

fn marked(remote: SocketAddr, marks: &Marks, port: u16) -> io::Result<Socket> {
    let socket = new_socket(remote)?;
    marks::set(&socket, remote, marks)?;
    marks::bind_connection(&socket, remote, marks, port)?;
    Ok(socket)
}

fn new_socket(family_of: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(family_of);
    Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))
}

/// Begins a connection. True if it is established already, as on loopback.
pub(crate) fn connect(socket: &TcpStream, remote: SocketAddr) -> io::Result<bool> {
    match SockRef::from(socket).connect(&remote.into()) {
        Ok(()) => Ok(true),
        Err(error) if is_under_way(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns how far the handshake of a connection is.
pub(crate) fn handshake(connection: &impl AsRawFd) -> Handshake {
    // `TCP_ESTABLISHED` and its neighbours of `include/net/tcp_states.h`.
    const ESTABLISHED: u8 = 1;
    const SYN_SENT: u8 = 2;
    const SYN_RECEIVED: u8 = 3;
    const CLOSE_WAIT: u8 = 8;
    let Some(info) = info(connection) else {
        return Handshake::Failed { code: None };
    };
    match info.tcpi_state {
        ESTABLISHED | CLOSE_WAIT => {
            let is_known = info.tcpi_total_retrans == 0 && info.tcpi_rtt != 0;
            let ns = is_known.then(|| u64::from(info.tcpi_rtt) * 1_000);
            Handshake::Done { ns }
        }
        SYN_SENT | SYN_RECEIVED => Handshake::Underway,
        _ => Handshake::Failed { code: None },
    }
}

/// Returns how many segments were sent again since the connection began.
pub(crate) fn retransmits(connection: &impl AsRawFd) -> Option<u32> {
    info(connection).map(|info| info.tcpi_total_retrans)
}

fn info(connection: &impl AsRawFd) -> Option<libc::tcp_info> {
    // SAFETY: `tcp_info` is plain data, for which zeros are a value; older kernels leave its end
    // so.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = libc::socklen_t::try_from(size_of_val(&info)).ok()?;
    // SAFETY: the option fills in no more than `length` bytes of the structure.
    let result = unsafe {
        libc::getsockopt(
            connection.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    (result == 0).then_some(info)
}

#[cfg(test)]
mod tests {
    use std::thread::yield_now;

    use super::*;

    #[test]
    fn an_accepted_connection_answers_with_the_class_of_its_syn() {
        for (address, dscp) in [
            ("127.0.0.1:0", Some(46)),
            ("127.0.0.1:0", None),
            ("[::1]:0", Some(34)),
            ("[::1]:0", None),
        ] {
            let Ok(listener) = listen(address.parse().expect("an address"), false) else {
                continue; // This host has no IPv6.
            };
            let to = listener.local_addr().expect("it is bound");
            let marks = Marks {
                dscp: dscp.and_then(Dscp::new),
                ..Marks::default()
            };
            let socket = open(to, &marks, 0).expect("there is a socket");
            connect(&socket, to).expect("it is begun");
            let accepted = loop {
                match accept(&listener) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => yield_now(),
                    accepted => break accepted.expect("somebody connects"),
                }
            };
            reflect_class(&accepted).expect("the SYN was kept");
            let (level, name) = match to {
                SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TOS),
                SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
            };
            let class = super::super::option(&accepted, level, name).expect("a class");
            assert_eq!(class >> 2, i32::from(dscp.unwrap_or(0)), "{address}");
        }
    }
}
