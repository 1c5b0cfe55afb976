//! TCP sockets: listeners, lasting connections, probes that leave no trace, and what the kernel
//! knows of a connection.

#![expect(unsafe_code, reason = "TCP_INFO has no safe binding")]

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use nix::errno::Errno;
use nix::libc;
use socket2::{Domain, Protocol, Socket, Type};

/// Connections waiting to be accepted; the system caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4_096;

/// A listener whose port can be taken again at once after a restart.
pub(crate) fn listen(address: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let socket = new_socket(address)?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Begins a lasting connection. True if it is established already, as on loopback.
pub(crate) fn connect(remote: SocketAddr) -> io::Result<(TcpStream, bool)> {
    let socket = new_socket(remote)?;
    // A probe waits for nothing: least of all for the acknowledgement of the one before.
    socket.set_tcp_nodelay(true)?;
    begin(socket, remote)
}

/// Begins a connection that is only timed. Closing it resets it, at whatever point it is, so that
/// it takes no place among the connections in `TIME_WAIT`.
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
    Ok((TcpStream::from_std(socket.into()), established))
}

/// How long the kernel says that the handshake of a fresh connection took; `None` if it was sent
/// more than once, when that is not known.
pub(crate) fn handshake_ns(connection: &impl AsRawFd) -> Option<u64> {
    let info = info(connection)?;
    let is_known = info.tcpi_total_retrans == 0 && info.tcpi_rtt != 0;
    is_known.then(|| u64::from(info.tcpi_rtt) * 1_000)
}

/// Segments sent again since the connection began.
pub(crate) fn retransmits(connection: &impl AsRawFd) -> Option<u32> {
    info(connection).map(|info| info.tcpi_total_retrans)
}

fn info(connection: &impl AsRawFd) -> Option<libc::tcp_info> {
    // SAFETY: `tcp_info` is plain data, for which zeros are a value; older kernels leave its end so.
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
