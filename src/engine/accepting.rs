//! Connections that come in. Both engines accept them by readiness, some in each turn.
//!
//! Most of them end soon, as connects are only timed. So those that have ended are closed before the next ones are
//! accepted, and whoever stood still for a moment holds no more of them at a time than it would else.

use std::io;

use mio::Interest;

use super::datagrams::watch::{Left, Source, register};
use super::datagrams::{Reader, Waits};
use super::failure::is_exhaustion;
use super::sockets::Sockets;
use crate::engine::{Core, EngineError};
use crate::limits::ACCEPTS_PER_TURN_MAX;
use crate::proto::{Mono, SocketId};
use crate::sys;
use crate::sys::sockets::TcpStream;

/// After the descriptors ran out, connections are accepted again this much later: no new edge
/// tells of those that are there already.
const ACCEPT_AGAIN_NS: u64 = 100_000_000;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Accepting {
    /// Until then no connection is accepted, for want of descriptors.
    again: Option<Mono>,
}

impl Accepting {
    /// Has the queue tell of the TCP listeners.
    pub(super) fn new<W: Waits>(
        reader: &Reader,
        sockets: &mut Sockets<W>,
    ) -> Result<Self, EngineError> {
        for (place, acceptor) in sockets.listeners.tcp.iter_mut().enumerate() {
            let (socket, source) = (&mut acceptor.socket, Source::Acceptor(place));
            register(reader.queue.registry(), socket, source, Interest::READABLE).map_err(
                |source| EngineError::Setup {
                    operation: "watch a listener",
                    source,
                },
            )?;
        }
        Ok(Self { again: None })
    }

    /// Returns when a wait until `deadline` is to end.
    pub(super) fn before(&self, deadline: Option<Mono>) -> Option<Mono> {
        deadline.into_iter().chain(self.again).min()
    }

    /// Looks at the listeners again that had to be left alone.
    pub(super) fn resume<W: Waits>(
        &mut self,
        now: Mono,
        reader: &mut Reader,
        sockets: &mut Sockets<W>,
    ) {
        if self.again.is_some_and(|again| now >= again) {
            self.again = None;
            for (place, acceptor) in sockets.listeners.tcp.iter_mut().enumerate() {
                reader.enqueue(acceptor.wait.readiness(), Source::Acceptor(place));
            }
        }
    }

    /// Accepts this turn's share of the connections at a listener. `watch` waits for what comes on each.
    pub(super) fn accept<W: Waits>(
        &mut self,
        core: &mut Core<'_>,
        sockets: &mut Sockets<W>,
        place: usize,
        mut watch: impl FnMut(&mut TcpStream, SocketId) -> io::Result<()>,
    ) -> Left {
        let mut left = Left::Unwatched;
        for _ in 0..ACCEPTS_PER_TURN_MAX {
            match sys::tcp::accept(&sockets.listeners.tcp[place].socket) {
                Ok(socket) => sockets.take_in(core, socket, &mut watch),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => left = Left::Nothing,
                Err(error) if is_exhaustion(&error) => {
                    let now = core.clock.mono();
                    sockets
                        .complaints
                        .complain(now, "accept a connection", &error);
                    self.again = Some(now.plus(ACCEPT_AGAIN_NS));
                    left = Left::Nothing;
                }
                // The connection was gone before it was accepted: the next one may be there.
                Err(_) => {}
            }
            if left == Left::Nothing {
                break;
            }
        }
        let wait = sockets.listeners.tcp[place].wait.readiness();
        wait.is_queued = left != Left::Nothing;
        left
    }
}
