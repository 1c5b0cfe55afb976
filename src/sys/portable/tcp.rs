//! TCP sockets: listeners, lasting connections, connect probes.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::marks;
use crate::proto::Marks;
use crate::sys::host::is_under_way;
use crate::sys::sockets::{TcpListener, TcpStream};
use crate::sys::words::Handshake;

/// Connections that are not yet accepted. The system caps this.
const BACKLOG: i32 = 4_096;

/// Opens a non-blocking listener whose port can be taken again at once after a restart.
pub(crate) fn listen(address: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let socket = new_socket(address)?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    // Windows would give the port to others as well, and needs it not to give it to us again.
    socket.set_reuse_address(cfg!(unix))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Accepts a connection, non-blocking. `WouldBlock` if none is there.
pub(crate) fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    listener.accept().map(|(connection, _)| connection)
}

/// Does nothing: which code point a connection's SYN came with is not known.
pub(crate) fn reflect_class(_: &TcpStream) -> io::Result<()> {
    Ok(())
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
    Ok(TcpStream::from_std(socket.into()))
}

/// Opens the same for a connection that is only timed. Closing it resets the connection, so that it takes
/// no place among those in `TIME_WAIT`.
pub(crate) fn open_probe(remote: SocketAddr, marks: &Marks, port: u16) -> io::Result<TcpStream> {
    let socket = marked(remote, marks, port)?;
    socket.set_linger(Some(Duration::ZERO))?;
    Ok(TcpStream::from_std(socket.into()))
}

fn marked(remote: SocketAddr, marks: &Marks, port: u16) -> io::Result<Socket> {
    let socket = new_socket(remote)?;
    marks::set(&socket, remote, marks)?;
    marks::bind_connection(&socket, remote, marks, port)?;
    Ok(socket)
}

fn new_socket(family_of: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(family_of);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Begins a connection. True if it is established already.
pub(crate) fn connect(socket: &TcpStream, remote: SocketAddr) -> io::Result<bool> {
    match SockRef::from(socket).connect(&remote.into()) {
        Ok(()) => Ok(true),
        Err(error) if is_under_way(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns what became of a connection that was begun. How long its handshake took is not known.
pub(crate) fn handshake(connection: &TcpStream) -> Handshake {
    match connection.take_error() {
        Ok(None) => {}
        Ok(Some(error)) | Err(error) => {
            return Handshake::Failed {
                code: error.raw_os_error(),
            };
        }
    }
    match connection.peer_addr() {
        Ok(_) => Handshake::Done { ns: None },
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Handshake::Underway,
        Err(error) => Handshake::Failed {
            code: error.raw_os_error(),
        },
    }
}

/// Returns how many segments were sent again: not known.
pub(crate) fn retransmits(_: &TcpStream) -> Option<u32> {
    None
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::thread::yield_now;

    use super::*;

    /// Asks until it is known.
    fn end_of(connection: &TcpStream) -> Handshake {
        loop {
            match handshake(connection) {
                Handshake::Underway => yield_now(),
                known => return known,
            }
        }
    }

    #[test]
    fn a_connection_is_established_or_refused() {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = listen(any, false).expect("a free port");
        let bound = listener.local_addr().expect("it is bound");
        let there = open(bound, &Marks::default(), 0).expect("there is a socket");
        connect(&there, bound).expect("it is begun");
        assert_eq!(end_of(&there), Handshake::Done { ns: None });
        drop(listener);
        // Loopback may refuse at once.
        let nowhere = open_probe(bound, &Marks::default(), 0).expect("there is a socket");
        let refused = match connect(&nowhere, bound) {
            Ok(_) => match end_of(&nowhere) {
                Handshake::Failed { code: Some(code) } => io::Error::from_raw_os_error(code),
                other => panic!("{other:?}"),
            },
            Err(error) => error,
        };
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}
