//! The connect probes of a target: throw-away TCP connections, timed until they are established.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use crate::limits::CONNECTS_IN_FLIGHT_MAX;
use crate::proto::context::Context;
use crate::proto::flow::{Flow, Measured, Reply};
use crate::proto::owner::{FlowRef, Owner};
use crate::proto::sample::StampSource;
use crate::proto::time::Mono;
use crate::proto::transmit::{Arrival, CloseReason, SocketId, Transmit};

#[derive(Debug)]
pub(crate) struct ConnectFlow {
    pub(crate) flow: Flow,
    this: FlowRef,
    port: u16,
    max_lost: u32,
    remote: Option<SocketAddr>,
    /// Probes in flight and their sockets, oldest first.
    attempts: VecDeque<(u64, SocketId)>,
}

impl ConnectFlow {
    pub(crate) fn new(this: FlowRef, flow: Flow, port: u16, max_lost: u32) -> Self {
        Self {
            flow,
            this,
            port,
            max_lost,
            remote: None,
            attempts: VecDeque::new(),
        }
    }

    /// The target is at `address` now; attempts under way toward the old one end by themselves.
    pub(crate) fn handle_address(&mut self, address: IpAddr) {
        self.remote = Some(SocketAddr::new(address, self.port));
    }

    /// Begins the probe for the slot that was taken off the queue.
    pub(crate) fn poll_transmit(&mut self, slot: Mono, context: &mut Context) -> Option<Transmit> {
        let room = self.attempts.len() < CONNECTS_IN_FLIGHT_MAX;
        let Some(remote) = self.remote.filter(|_| room) else {
            self.flow.skip();
            return None;
        };
        let number = self.flow.send(slot, false, context);
        let socket = context.open_socket(Owner::Connect(self.this.slot, number));
        self.attempts.push_back((number, socket));
        Some(Transmit::OpenProbe { socket, remote })
    }

    /// The connection is established: the probe is done, and so is its socket.
    pub(crate) fn handle_connected(
        &mut self,
        number: u64,
        handshake_ns: Option<u64>,
        context: &mut Context,
    ) {
        if self.take(number, context)
            && let Reply::Received(departure) = self.flow.handle_reply(number, context)
        {
            let by_kernel = handshake_ns.and_then(|ns| i64::try_from(ns).ok());
            let delay = match by_kernel {
                Some(ns) => (ns, StampSource::Kernel),
                // From the call until it was seen to be there, with the host's delay in it.
                None => departure.elapsed(&Arrival::unstamped(context.now)),
            };
            self.flow
                .publish(context.now.wall, number, Measured::whole(delay), context);
        }
    }

    /// The connection failed. A host without descriptors has not probed anything.
    pub(crate) fn handle_closed(
        &mut self,
        number: u64,
        reason: CloseReason,
        context: &mut Context,
    ) {
        self.attempts.retain(|(attempt, _)| *attempt != number);
        if reason == CloseReason::Exhausted {
            self.flow.unsend(number);
        } else {
            self.flow.handle_failure(number, context);
        }
    }

    /// The expiry timer fired. True if the failures call for a look at the target's name.
    pub(crate) fn handle_expiry(&mut self, context: &mut Context) -> bool {
        let attempts = &mut self.attempts;
        self.flow.handle_expiry(context, |number, context| {
            take(attempts, number, context);
        });
        self.flow.consecutive_lost >= self.max_lost
    }

    fn take(&mut self, number: u64, context: &mut Context) -> bool {
        take(&mut self.attempts, number, context)
    }

    pub(crate) fn end(&mut self, context: &mut Context) {
        self.flow.cancel_timers(context);
        for (_, socket) in self.attempts.drain(..) {
            context.close_socket(socket);
        }
    }
}

/// Closes the socket of an attempt; false if there is none.
fn take(attempts: &mut VecDeque<(u64, SocketId)>, number: u64, context: &mut Context) -> bool {
    let Some(place) = attempts.iter().position(|(attempt, _)| *attempt == number) else {
        return false;
    };
    if let Some((_, socket)) = attempts.remove(place) {
        context.close_socket(socket);
    }
    true
}
