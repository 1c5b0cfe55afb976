//! Datagrams and streams, one call each.
//!
//! The process makes the stamps, so nothing may wait in a batch: what was read second would have come at
//! the time of the first.

use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};

use socket2::SockRef;

use crate::sys::sockets::{Socket, TcpStream, UdpSocket};
use crate::sys::words::{Incoming, Outgoing, Report, Stamps};

/// Sends datagrams.
#[derive(Debug)]
pub(crate) struct Outbox;

impl Outbox {
    pub(crate) fn new() -> Self {
        Self
    }

    /// Offers the system the first of the datagrams. Returns how many it has taken.
    pub(crate) fn send<'a>(
        &mut self,
        socket: &UdpSocket,
        mut datagrams: impl Iterator<Item = Outgoing<'a>>,
    ) -> io::Result<usize> {
        let Some(datagram) = datagrams.next() else {
            return Ok(0);
        };
        if datagram.ttl.is_some() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        if datagram.tos == 0 {
            return socket.send_to(datagram.payload, datagram.to).map(|_| 1);
        }
        // Hardly any datagram has a class, and it leaves without where the system knows none.
        set_class(socket, datagram.to, datagram.tos);
        let sent = socket.send_to(datagram.payload, datagram.to);
        set_class(socket, datagram.to, 0);
        sent.map(|_| 1)
    }
}

fn set_class(socket: &UdpSocket, to: SocketAddr, class: u8) {
    let socket = SockRef::from(socket);
    let _ = match to.ip().to_canonical() {
        IpAddr::V4(_) => socket.set_tos_v4(class.into()),
        #[cfg(any(
            target_os = "freebsd",
            target_os = "linux",
            target_os = "macos",
            target_os = "netbsd",
            target_os = "openbsd"
        ))]
        IpAddr::V6(_) => socket.set_tclass_v6(class.into()),
        #[allow(unreachable_patterns, reason = "where a system has classes of IPv6")]
        IpAddr::V6(_) => Ok(()),
    };
}

/// Receives a datagram, or a part of a stream.
#[derive(Debug)]
pub(crate) struct Inbox {
    payload: Box<[u8]>,
    length: usize,
    from: Option<SocketAddr>,
}

impl Inbox {
    /// Makes room for one message of `each` bytes, whatever is asked for.
    pub(crate) fn new(_: usize, each: usize) -> Self {
        Self {
            payload: vec![0; each].into(),
            length: 0,
            from: None,
        }
    }

    /// Takes a datagram that has come. Returns that it is one, and that there may be more. An empty queue is the error
    /// `WouldBlock`.
    pub(crate) fn receive(&mut self, socket: &UdpSocket, _: usize) -> io::Result<(usize, bool)> {
        let (length, from) = socket.recv_from(&mut self.payload)?;
        self.length = length;
        self.from = Some(from);
        Ok((1, true))
    }

    /// Takes nothing: there are no error queues.
    pub(crate) fn receive_errors(&mut self, _: &impl Socket, _: bool) -> io::Result<(usize, bool)> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Reads what a stream has. An empty payload is its end. If nothing has come the error is
    /// `WouldBlock`.
    pub(crate) fn receive_stream(&mut self, mut socket: &TcpStream) -> io::Result<Incoming<'_>> {
        self.length = socket.read(&mut self.payload)?;
        self.from = None;
        Ok(self.datagram(0))
    }

    /// Returns the datagram that was received.
    pub(crate) fn datagram(&self, _: usize) -> Incoming<'_> {
        Incoming {
            from: self.from,
            local: None,
            ttl: None,
            tos: None,
            dropped: None,
            stamps: Stamps::default(),
            payload: &self.payload[..self.length],
        }
    }

    /// Returns no stamp of a packet that has left.
    pub(crate) fn transmitted(&self, _: usize) -> Option<(u32, Stamps)> {
        None
    }

    /// Returns no ICMP error.
    pub(crate) fn reported(&self, _: usize) -> Option<Report> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Marks;
    use crate::sys::udp;

    #[test]
    fn a_datagram_comes_at_a_time_and_an_empty_queue_would_block() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let [here, there] =
            [(); 2].map(|()| udp::open(any, &Marks::default()).expect("a free port"));
        let to = there.local_addr().expect("it is bound");
        for (tos, text) in [(0, b"one"), (46 << 2, b"two")] {
            let datagrams = [b"---", text].map(|payload| Outgoing {
                to,
                from: None,
                tos,
                ttl: None,
                payload: &payload[..],
            });
            let mut outbox = Outbox::new();
            let sent = outbox.send(&here, datagrams.into_iter().skip(1));
            assert_eq!(sent.expect("loopback takes it"), 1);
            let class = SockRef::from(&here).tos_v4().expect("a class");
            assert_eq!(class, 0, "the next one has none");
        }
        let mut inbox = Inbox::new(32, 100);
        for text in [b"one", b"two"] {
            let came = inbox.receive(&there, usize::MAX);
            assert_eq!(came.expect("it is there"), (1, true));
            let incoming = inbox.datagram(0);
            assert_eq!(incoming.payload, text);
            assert_eq!(incoming.from, here.local_addr().ok());
        }
        let end = inbox.receive(&there, usize::MAX).expect_err("all was read");
        assert_eq!(end.kind(), io::ErrorKind::WouldBlock);
    }
}
