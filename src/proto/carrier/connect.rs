//! Throw-away TCP connections, each of them one probe, timed until they are established.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::{Carrier, Readiness};
use crate::limits::CONNECTS_IN_FLIGHT_MAX;
use crate::proto::context::Context;
use crate::proto::owner::Owner;
use crate::proto::transmit::{FlowRef, SocketId, StampKey, Transmit};

/// A connection that is not established yet.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    /// The probe's.
    number: u64,
    socket: SocketId,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Connect {
    this: FlowRef,
    remote: Option<SocketAddr>,
    /// Oldest first.
    attempts: VecDeque<Attempt>,
}

impl Connect {
    pub(crate) fn new(this: FlowRef) -> Self {
        Self {
            this,
            remote: None,
            attempts: VecDeque::new(),
        }
    }

    /// Removes an attempt and closes its socket. Returns the probe's number.
    fn take(&mut self, is_over: impl Fn(&Attempt) -> bool, context: &mut Context) -> Option<u64> {
        let place = self.attempts.iter().position(is_over)?;
        let Attempt { number, socket } = self.attempts.remove(place)?;
        context.close_socket(socket);
        Some(number)
    }
}

impl Carrier for Connect {
    /// Attempts under way toward another address end by themselves.
    fn move_to(&mut self, remote: SocketAddr) {
        self.remote = Some(remote);
    }

    fn take_attempt(&mut self, socket: SocketId, context: &mut Context) -> Option<u64> {
        self.take(|attempt| attempt.socket == socket, context)
    }

    fn handle_lost(&mut self, number: u64, context: &mut Context) {
        self.take(|attempt| attempt.number == number, context);
    }

    fn readiness(&mut self, _: &Context) -> Readiness {
        if self.remote.is_some() && self.attempts.len() < CONNECTS_IN_FLIGHT_MAX {
            Readiness::Ready
        } else {
            Readiness::Held
        }
    }

    /// Begins the connection that is probe `number`.
    fn transmit(
        &mut self,
        number: u64,
        _: StampKey,
        _: bool,
        context: &mut Context,
    ) -> Option<Transmit> {
        let remote = self.remote?;
        let socket = context.open_socket(Owner::Flow(self.this));
        self.attempts.push_back(Attempt { number, socket });
        Some(Transmit::OpenProbe { socket, remote })
    }

    fn end(&mut self, context: &mut Context) {
        while self.take(|_| true, context).is_some() {}
    }
}
