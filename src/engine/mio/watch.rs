//! Which UDP sockets the event queue tells of.
//!
//! Of a busy one it does not: the kernel would wake the queue for every packet that is sent, stamped or
//! received, with two locks each time, though every turn of the loop looks at the socket anyhow. Once
//! hardly anything has come for some reads it is watched again.

use std::io;

use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};

/// Datagrams in one read that show a socket to be busy, and how few show that it is so no more.
const BUSY_DATAGRAMS: usize = 32;
const IDLE_DATAGRAMS: usize = 8;

/// Reads in a row that find no more until it is watched: some 50 us, in which the loop does not sleep. The
/// other end makes pauses of that length while it reads what it got, and would pay for each wake-up.
const IDLE_READS: u32 = 32;

/// What is left of a socket after a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Left {
    /// Nothing, and the event queue tells of what comes.
    Nothing,
    /// It is to be read again in this turn if there is room.
    More,
    /// It is to be read again in the next turn.
    Unwatched,
}

impl Left {
    /// Of a socket that is always watched.
    pub(in crate::engine) const fn of_watched(is_drained: bool) -> Self {
        if is_drained {
            Self::Nothing
        } else {
            Self::More
        }
    }
}

/// Whether the event queue tells of a socket. It does in the beginning.
#[derive(Debug, Default)]
pub(in crate::engine) struct Watch {
    is_off: bool,
    /// Reads in a row that have found hardly anything, while it does not.
    idle_reads: u32,
}

impl Watch {
    pub(in crate::engine) const fn is_off(&self) -> bool {
        self.is_off
    }

    /// The socket was read: so many datagrams, and whether there may be more; or why not.
    pub(in crate::engine) fn after(
        &mut self,
        read: &io::Result<(usize, bool)>,
        registry: &Registry,
        (socket, token): (&mut UdpSocket, Token),
    ) -> Left {
        let (count, has_more) = match read {
            Ok(read) => *read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (0, false),
            Err(_) => return Left::More,
        };
        if !self.is_off {
            self.is_off = count >= BUSY_DATAGRAMS && registry.deregister(socket).is_ok();
            self.idle_reads = 0;
        } else if has_more || count >= IDLE_DATAGRAMS {
            self.idle_reads = 0;
        } else if self.idle_reads < IDLE_READS {
            self.idle_reads += 1;
        } else {
            // What has come since it was read is told at once.
            let watched = registry.register(socket, token, Interest::READABLE);
            self.is_off = watched.is_err();
        }
        match (has_more, self.is_off) {
            (true, _) => Left::More,
            (false, true) => Left::Unwatched,
            (false, false) => Left::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::time::Duration;

    use mio::{Events, Poll};

    use super::*;

    /// How many events there are now; loopback delivers before the send returns.
    fn told(poll: &mut Poll) -> usize {
        let mut events = Events::with_capacity(8);
        poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        events.iter().count()
    }

    #[test]
    fn a_busy_socket_is_not_told_of_until_it_is_idle_and_nothing_is_missed() {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut socket = UdpSocket::bind(any).unwrap();
        let sender = UdpSocket::bind(any).unwrap();
        let to = socket.local_addr().unwrap();
        let send = || sender.send_to(&[0; 8], to).unwrap();
        let (mut poll, token) = (Poll::new().unwrap(), Token(7));
        let registry = poll.registry().try_clone().unwrap();
        registry
            .register(&mut socket, token, Interest::READABLE)
            .unwrap();
        let mut watch = Watch::default();
        let mut after =
            |watch: &mut Watch, read| watch.after(&read, &registry, (&mut socket, token));

        send();
        assert_eq!(told(&mut poll), 1);
        let few = Ok((BUSY_DATAGRAMS - 1, false));
        assert_eq!(after(&mut watch, few), Left::Nothing);
        assert!(!watch.is_off());

        let many = || Ok((BUSY_DATAGRAMS, false));
        assert_eq!(after(&mut watch, many()), Left::Unwatched);
        send();
        assert_eq!(told(&mut poll), 0);
        assert_eq!(after(&mut watch, many()), Left::Unwatched);
        assert_eq!(after(&mut watch, Ok((1, true))), Left::More);

        // A pause is waited for, and one datagram does not make it longer.
        let empty = || Err(io::ErrorKind::WouldBlock.into());
        let few = || Ok((IDLE_DATAGRAMS - 1, false));
        for _ in 0..IDLE_READS / 2 {
            assert_eq!(after(&mut watch, empty()), Left::Unwatched);
            assert_eq!(after(&mut watch, few()), Left::Unwatched);
        }
        // What has come meanwhile is told as soon as it is watched again.
        assert_eq!(told(&mut poll), 0);
        assert_eq!(after(&mut watch, empty()), Left::Nothing);
        assert!(!watch.is_off());
        assert_eq!(told(&mut poll), 1);
        send();
        assert_eq!(told(&mut poll), 1);

        // Where more comes again the pause is over.
        assert_eq!(after(&mut watch, many()), Left::Unwatched);
        for _ in 0..2 {
            for _ in 0..IDLE_READS {
                assert_eq!(after(&mut watch, empty()), Left::Unwatched);
            }
            let more = Ok((IDLE_DATAGRAMS, false));
            assert_eq!(after(&mut watch, more), Left::Unwatched);
        }
        assert_eq!(told(&mut poll), 0);
    }
}
