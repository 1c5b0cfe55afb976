//! The connect probes of a target: throw-away TCP connections, timed until they are established.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use crate::limits::CONNECTS_IN_FLIGHT_MAX;
use crate::proto::flow::{Flow, Measured, Reply};
use crate::proto::sample::StampSource;
use crate::proto::shared::{FlowRef, Owner, Shared};
use crate::proto::time::{Mono, Now};
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
    pub(crate) fn poll_transmit(
        &mut self,
        now: Now,
        slot: Mono,
        shared: &mut Shared,
    ) -> Option<Transmit> {
        let room = self.attempts.len() < CONNECTS_IN_FLIGHT_MAX;
        let Some(remote) = self.remote.filter(|_| room) else {
            self.flow.skip();
            return None;
        };
        let number = self.flow.send(now, slot, false, shared);
        let socket = shared.open_socket(Owner::Connect(self.this.slot, number));
        self.attempts.push_back((number, socket));
        Some(Transmit::OpenProbe { socket, remote })
    }

    /// The connection is established: the probe is done, and so is its socket.
    pub(crate) fn handle_connected(
        &mut self,
        now: Now,
        number: u64,
        handshake_ns: Option<u64>,
        shared: &mut Shared,
    ) {
        if self.take(number, shared)
            && let Reply::Received(departure) = self.flow.handle_reply(now, number, shared)
        {
            let by_kernel = handshake_ns.and_then(|ns| i64::try_from(ns).ok());
            let delay = match by_kernel {
                Some(ns) => (ns, StampSource::Kernel),
                // From the call until it was seen to be there, with the host's delay in it.
                None => departure.elapsed(&Arrival::unstamped(now)),
            };
            self.flow
                .publish(now.wall, number, Measured::whole(delay), shared);
        }
    }

    /// The connection failed. A host without descriptors has not probed anything.
    pub(crate) fn handle_closed(
        &mut self,
        now: Now,
        number: u64,
        reason: CloseReason,
        shared: &mut Shared,
    ) {
        self.attempts.retain(|(attempt, _)| *attempt != number);
        if reason == CloseReason::Exhausted {
            self.flow.unsend(number);
        } else {
            self.flow.handle_failure(now, number, shared);
        }
    }

    /// The expiry timer fired. True if the failures call for a look at the target's name.
    pub(crate) fn handle_expiry(&mut self, now: Now, shared: &mut Shared) -> bool {
        let attempts = &mut self.attempts;
        self.flow.handle_expiry(now, shared, |number, shared| {
            take(attempts, number, shared);
        });
        self.flow.consecutive_lost >= self.max_lost
    }

    fn take(&mut self, number: u64, shared: &mut Shared) -> bool {
        take(&mut self.attempts, number, shared)
    }

    pub(crate) fn end(&mut self, shared: &mut Shared) {
        self.flow.cancel_timers(shared);
        for (_, socket) in self.attempts.drain(..) {
            shared.close_socket(socket);
        }
    }
}

/// Closes the socket of an attempt; false if there is none.
fn take(attempts: &mut VecDeque<(u64, SocketId)>, number: u64, shared: &mut Shared) -> bool {
    let Some(place) = attempts.iter().position(|(attempt, _)| *attempt == number) else {
        return false;
    };
    if let Some((_, socket)) = attempts.remove(place) {
        shared.close_socket(socket);
    }
    true
}
