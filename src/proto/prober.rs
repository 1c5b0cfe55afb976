//! The whole core behind one surface: targets in, events in, transmissions and results out.

use std::net::{IpAddr, SocketAddr};

use crate::proto::sample::{Counters, FlowKind, Origin, Output};
use crate::proto::target::TargetSpec;
use crate::proto::time::{Mono, Now};
use crate::proto::transmit::{CloseReason, ListenerId, SocketId, TargetId, Transmit};

/// What a prober needs to know of its host.
#[derive(Clone, Debug)]
pub struct ProberConfig {
    /// This host's name in tags and replies.
    pub name: Box<str>,
    /// Seeds the identifiers that strangers must not guess, phases and backoff.
    pub seed: u64,
}

/// What the prober did that belongs to no single flow of ours; all counted from the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SelfCounters {
    /// Slots skipped because this host was late by a whole interval or more.
    pub slots_missed: u64,
    /// Requests answered.
    pub answered: u64,
    /// Requests that could not be read.
    pub corrupt: u64,
    /// Requests received again (same sequence number), answered but not measured.
    pub duplicate: u64,
    /// Requests received after a later one.
    pub reordered: u64,
    /// Senders or connections turned away because a table was full.
    pub refused: u64,
    /// Replies not sent because the peer does not read, or too many waited.
    pub replies_dropped: u64,
}

/// See the [module](crate::proto) for the order of calls.
#[derive(Debug)]
pub struct Prober {}

#[allow(unused_variables, reason = "skeleton")]
impl Prober {
    /// A prober without targets.
    pub fn new(config: ProberConfig) -> Self {
        todo!()
    }

    /// Begin to probe a target. Gives `None` past [`TARGETS_MAX`](crate::limits::TARGETS_MAX).
    pub fn add_target(&mut self, now: Now, spec: TargetSpec) -> Option<TargetId> {
        todo!()
    }

    /// Stop probing a target; what is in flight is forgotten, neither received nor lost.
    /// False if there is no such target.
    pub fn remove_target(&mut self, now: Now, target: TargetId) -> bool {
        todo!()
    }

    /// Stop sending probes, for shutdown. Replies to what is in flight still count.
    pub fn stop_probing(&mut self) {
        todo!()
    }

    /// Time has come to `now`: run what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        todo!()
    }

    /// A datagram came in on a flow's own socket.
    pub fn handle_datagram(&mut self, now: Now, socket: SocketId, payload: &[u8]) {
        todo!()
    }

    /// A datagram came in on a listener, at our address `local` if the system said.
    pub fn handle_request(
        &mut self,
        now: Now,
        listener: ListenerId,
        from: SocketAddr,
        local: Option<IpAddr>,
        payload: &[u8],
    ) {
        todo!()
    }

    /// A TCP connection came in. `None`: there is no room, close it.
    pub fn handle_accept(&mut self, now: Now, from: SocketAddr) -> Option<SocketId> {
        todo!()
    }

    /// A connection that was begun is there; `now` is when that was seen.
    pub fn handle_connected(&mut self, now: Now, socket: SocketId) {
        todo!()
    }

    /// Bytes came in on a stream, ours or accepted.
    pub fn handle_stream(&mut self, now: Now, socket: SocketId, bytes: &[u8]) {
        todo!()
    }

    /// A socket is gone, or never came to be; the engine has closed it.
    pub fn handle_closed(&mut self, now: Now, socket: SocketId, reason: CloseReason) {
        todo!()
    }

    /// A stream has bytes that the kernel does not take yet (`true`), or has them no longer.
    /// The core sends nothing on it meanwhile.
    pub fn handle_blocked(&mut self, socket: SocketId, blocked: bool) {
        todo!()
    }

    /// The kernel did not take the datagram that `poll_transmit` gave last for this socket:
    /// that probe was never sent.
    pub fn handle_unsent(&mut self, now: Now, socket: SocketId) {
        todo!()
    }

    /// A name was looked up. An empty list is a failure.
    pub fn handle_resolved(&mut self, now: Now, target: TargetId, addresses: &[IpAddr]) {
        todo!()
    }

    /// The next thing to do, with its payload in `buffer` (cleared first). `now` is read by the
    /// engine for this very transmission: it is the probe's first stamp.
    pub fn poll_transmit(&mut self, now: Now, buffer: &mut Vec<u8>) -> Option<Transmit> {
        todo!()
    }

    /// When `handle_timeout` must be called next.
    pub fn poll_timeout(&mut self) -> Option<Mono> {
        todo!()
    }

    /// The next result, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        todo!()
    }

    /// Every flow of ours, with its counters so far.
    pub fn flows(&self) -> impl Iterator<Item = (Origin, FlowKind, &Counters)> {
        std::iter::empty()
    }

    /// Counters that belong to no flow.
    pub fn self_counters(&self) -> &SelfCounters {
        todo!()
    }
}
