//! TCP sockets: listeners, lasting connections, connect probes, and the kernel's figures of a
//! connection.

#![expect(unsafe_code, reason = "TCP_INFO and accept4 have no safe binding")]

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{SockFlag, accept4};
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that are not yet accepted. The system caps this at `net.core.somaxconn`.
const BACKLOG: i32 = 4_096;

/// Opens a non-blocking listener whose port can be taken again at once after a restart.
pub(crate) fn listen(address: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let socket = new_socket(address)?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    socket.set_reuse_address(true)?;
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

/// Begins a lasting connection. True if it is established already, as on loopback.
pub(crate) fn connect(remote: SocketAddr) -> io::Result<(TcpStream, bool)> {
    let socket = new_socket(remote)?;
    // A request must not wait for the acknowledgement of the one before.
    socket.set_tcp_nodelay(true)?;
    begin(socket, remote)
}

/// Begins a connection that is only timed. Closing it resets it, so that it takes no place among
/// the connections in `TIME_WAIT`. True if it is established already.
pub(crate) fn connect_probe(remote: SocketAddr) -> io::Result<(TcpStream, bool)> {
    let socket = new_socket(remote)?;
    socket.set_linger(Some(Duration::ZERO))?;
    begin(socket, remote)
}

fn new_socket(family_of: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(family_of);
    Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))
}

fn begin(socket: Socket, remote: SocketAddr) -> io::Result<(TcpStream, bool)> {
    let established = match socket.connect(&remote.into()) {
        Ok(()) => true,
        Err(error) if error.raw_os_error() == Some(Errno::EINPROGRESS as i32) => false,
        Err(error) => return Err(error),
    };
    Ok((socket.into(), established))
}

/// Returns the duration of a fresh connection's handshake by the kernel's own count. `None` if a
/// segment of it was sent again: the duration is not known then.
pub(crate) fn handshake_ns(connection: &impl AsRawFd) -> Option<u64> {
    let info = info(connection)?;
    let is_known = info.tcpi_total_retrans == 0 && info.tcpi_rtt != 0;
    is_known.then(|| u64::from(info.tcpi_rtt) * 1_000)
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
