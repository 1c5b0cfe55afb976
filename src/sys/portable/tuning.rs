//! Options against the host's own delays: larger socket buffers, and none of the others.

use std::io;

use socket2::SockRef;

use super::unsupported;
use crate::sys::sockets::UdpSocket;
use crate::sys::words::Buffer;

/// Keeps the calling thread on one processor: it stays where the system puts it.
pub(crate) fn pin(_: usize) -> io::Result<()> {
    Err(unsupported())
}

/// Returns the processors that the calling thread may run on: not known.
pub(crate) fn processors() -> Vec<usize> {
    Vec::new()
}

/// Runs the calling thread in real time: it does not.
pub(crate) fn run_in_real_time(_: u8) -> io::Result<()> {
    Err(unsupported())
}

/// Locks the process into memory: it does not.
pub(crate) fn lock_memory() -> io::Result<()> {
    Err(unsupported())
}

/// Has receives poll the interface's queue: they do not.
pub(crate) fn busy_poll(_: &UdpSocket, _: u16) -> io::Result<()> {
    Err(unsupported())
}

/// Asks for a buffer of `bytes`, and returns the bytes that the system allows.
pub(crate) fn widen(socket: &UdpSocket, buffer: Buffer, bytes: usize) -> io::Result<usize> {
    let socket = SockRef::from(socket);
    let given = match buffer {
        Buffer::Receive => {
            // Some systems refuse what is too much, and others give what they allow.
            let _ = socket.set_recv_buffer_size(bytes);
            socket.recv_buffer_size()?
        }
        Buffer::Send => {
            let _ = socket.set_send_buffer_size(bytes);
            socket.send_buffer_size()?
        }
    };
    // Linux doubles what it is asked for, for its own book-keeping, and returns the double.
    Ok(if cfg!(any(target_os = "android", target_os = "linux")) {
        given / 2
    } else {
        given
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Marks;
    use crate::sys::udp;

    #[test]
    fn a_small_buffer_is_given_as_it_was_asked_for() {
        let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let socket = udp::open(any, &Marks::default()).expect("a free port");
        for buffer in [Buffer::Receive, Buffer::Send] {
            assert_eq!(widen(&socket, buffer, 65_536).expect("small"), 65_536);
        }
    }
}
