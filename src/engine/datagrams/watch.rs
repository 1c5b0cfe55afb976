//! Which descriptors the event queue tells of, and by which tokens.
//!
//! Of a busy UDP socket it does not tell: the kernel would wake the queue for every packet that is
//! sent, stamped or received, with two locks each time, though every turn of the loop reads the
//! socket anyhow. Once hardly anything has come for some reads, the socket is watched again.

use std::io;

use mio::{Interest, Registry, Token};

use super::lazy::Late;
use crate::sys::sockets::{self, Socket, UdpSocket};

/// Datagrams in one read that show a socket to be busy, and how few show that it no longer is.
const BUSY_DATAGRAMS: usize = 32;
const IDLE_DATAGRAMS: usize = 8;

/// Reads in a row that find no more until a socket is watched again: some 50 us, in which the loop
/// does not sleep. The other end pauses that long while it reads what it got, and would pay for
/// each wake-up.
const IDLE_READS: u32 = 32;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Source {
    Waker,
    /// The queue of our flows' sockets.
    Replies,
    /// A UDP listener, by its place.
    Listener(usize),
    /// A TCP listener, by its place.
    Acceptor(usize),
    /// A shared UDP socket, by its place.
    Shared(usize),
    /// A stream, by the index that the core gave it.
    Stream(usize),
}

/// Kinds of sources in a token, whose lowest bits they are.
const KINDS: usize = 8;

impl Source {
    pub(in crate::engine) const fn token(self) -> Token {
        let (kind, place) = match self {
            Self::Waker => (0, 0),
            Self::Replies => (1, 0),
            Self::Listener(place) => (2, place),
            Self::Acceptor(place) => (3, place),
            Self::Shared(place) => (4, place),
            Self::Stream(index) => (5, index),
        };
        Token(place * KINDS + kind)
    }

    pub(in crate::engine) const fn of(Token(token): Token) -> Self {
        let place = token / KINDS;
        match token % KINDS {
            0 => Self::Waker,
            1 => Self::Replies,
            2 => Self::Listener(place),
            3 => Self::Acceptor(place),
            4 => Self::Shared(place),
            _ => Self::Stream(place),
        }
    }
}

/// Has the event queue tell of a socket.
pub(in crate::engine) fn register(
    registry: &Registry,
    socket: &mut impl Socket,
    source: Source,
    interest: Interest,
) -> io::Result<()> {
    sockets::register(registry, socket, source.token(), interest)
}

/// How this engine waits for a socket.
#[derive(Debug, Default)]
pub(in crate::engine) struct Readiness {
    /// It stands in the queue of what is to be read.
    pub(in crate::engine) is_queued: bool,
    /// A stream's peer will send no more: it is read to the end, also after a short read.
    pub(in crate::engine) is_ending: bool,
    pub(in crate::engine) watch: Watch,
    pub(in crate::engine) late: Late,
}

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
    /// For a socket that is always watched.
    pub(in crate::engine) const fn of_watched(is_drained: bool) -> Self {
        if is_drained {
            Self::Nothing
        } else {
            Self::More
        }
    }
}

/// Whether the event queue tells of a UDP socket. It does in the beginning.
#[derive(Debug, Default)]
pub(in crate::engine) struct Watch {
    is_off: bool,
    /// Reads in a row that have found hardly anything, while it is off.
    idle_reads: u32,
}

impl Watch {
    pub(in crate::engine) const fn is_off(&self) -> bool {
        self.is_off
    }

    /// Has the event queue tell of the socket again, if it does not.
    pub(in crate::engine) fn resume(
        &mut self,
        registry: &Registry,
        socket: &mut UdpSocket,
        source: Source,
    ) {
        if self.is_off {
            self.is_off = register(registry, socket, source, Interest::READABLE).is_err();
        }
    }

    /// Judges a read, which gave how many datagrams came and whether there may be more. Changes by
    /// that whether the event queue tells of the socket.
    pub(in crate::engine) fn after(
        &mut self,
        read: &io::Result<(usize, bool)>,
        registry: &Registry,
        socket: &mut UdpSocket,
        source: Source,
    ) -> Left {
        let (count, has_more) = match read {
            Ok(read) => *read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (0, false),
            Err(_) => return Left::More,
        };
        if !self.is_off {
            self.is_off = count >= BUSY_DATAGRAMS && sockets::deregister(registry, socket).is_ok();
            self.idle_reads = 0;
        } else if has_more || count >= IDLE_DATAGRAMS {
            self.idle_reads = 0;
        } else if self.idle_reads < IDLE_READS {
            self.idle_reads += 1;
        } else {
            // What has come since the read is told at once.
            self.resume(registry, socket, source);
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
    use crate::proto::Marks;
    use std::net::{Ipv4Addr, SocketAddr};
    use std::time::Duration;

    use mio::{Events, Poll};

    use super::*;
    use crate::sys;

    /// How many events there are now; loopback delivers before the send returns.
    fn told(poll: &mut Poll) -> usize {
        let mut events = Events::with_capacity(8);
        poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        events.iter().count()
    }

    #[test]
    fn a_token_names_its_source() {
        let places = [0, 1, 77].into_iter();
        let sockets = places.flat_map(|place| {
            [
                Source::Listener(place),
                Source::Acceptor(place),
                Source::Shared(place),
                Source::Stream(place),
            ]
        });
        for source in sockets.chain([Source::Waker, Source::Replies]) {
            assert_eq!(Source::of(source.token()), source);
        }
    }

    #[test]
    fn a_busy_socket_is_not_told_of_until_it_is_idle_and_nothing_is_missed() {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut socket = sys::udp::open(any, &Marks::default()).unwrap();
        let sender = sys::udp::open(any, &Marks::default()).unwrap();
        let to = socket.local_addr().unwrap();
        let send = || sender.send_to(&[0; 8], to).unwrap();
        let (mut poll, source) = (Poll::new().unwrap(), Source::Shared(7));
        let registry = poll.registry().try_clone().unwrap();
        register(&registry, &mut socket, source, Interest::READABLE).unwrap();
        let mut watch = Watch::default();
        let mut after =
            |watch: &mut Watch, read| watch.after(&read, &registry, &mut socket, source);

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
