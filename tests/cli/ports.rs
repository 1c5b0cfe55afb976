//! Ports that nobody answers on, and that nobody else gets meanwhile.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use socket2::{Domain, Socket, Type};

/// A UDP socket that hears only a port that nobody sends from. Who sends to it is told that nothing listens there.
pub(crate) struct Deaf(UdpSocket);

impl Deaf {
    pub(crate) fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.connect("127.0.0.1:9").expect("an address");
        Self(socket)
    }

    pub(crate) fn port(&self) -> String {
        let bound = self.0.local_addr().expect("it is bound");
        bound.port().to_string()
    }
}

/// A TCP socket that does not listen: a connection is refused.
pub(crate) struct Refusing(Socket);

impl Refusing {
    pub(crate) fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&any.into()).expect("a port");
        Self(socket)
    }

    pub(crate) fn port(&self) -> String {
        let bound = self.0.local_addr().expect("it is bound").as_socket();
        bound.expect("of IPv4").port().to_string()
    }
}
