//! The UDP flow of a target: one connected socket, so one 5-tuple, for as long as it works.

use std::net::{IpAddr, SocketAddr};

use crate::limits::{UDP_PAYLOAD_V4_MAX, UDP_PAYLOAD_V6_MAX};
use crate::proto::backoff::Backoff;
use crate::proto::flow::{Flow, Reply};
use crate::proto::prober::Voice;
use crate::proto::shared::{FlowRef, Owner, Shared, Timer};
use crate::proto::time::{Mono, Now};
use crate::proto::transmit::{Arrival, SocketId, Transmit};
use crate::proto::wheel::TimerKey;
use crate::proto::wire::text::{self, Identifier, SEQUENCES};

/// The longest wait between two fresh sockets toward a peer that stays silent.
const REOPEN_MOST_NS: u64 = 60_000_000_000;
/// The shortest, however short the timeout.
const REOPEN_FIRST_NS: u64 = 100_000_000;

#[derive(Debug)]
pub(crate) struct UdpFlow {
    pub(crate) flow: Flow,
    this: FlowRef,
    port: u16,
    max_lost: u32,
    remote: Option<SocketAddr>,
    socket: Option<SocketId>,
    /// The first probe on this socket: the text sequence starts at 0 with it.
    first: u64,
    cookie: u32,
    backoff: Backoff,
    reopen_timer: Option<TimerKey>,
    /// No fresh socket before this.
    reopen_after: Mono,
    /// Probes in a row that the kernel did not take.
    refused: u32,
    /// It did not take the last one.
    was_refused: bool,
}

impl UdpFlow {
    pub(crate) fn new(
        shared: &mut Shared,
        this: FlowRef,
        flow: Flow,
        port: u16,
        (max_lost, timeout_ns): (u32, u64),
    ) -> Self {
        Self {
            flow,
            this,
            port,
            max_lost,
            remote: None,
            socket: None,
            first: 0,
            cookie: shared.rng.next_u32(),
            backoff: Backoff::new(timeout_ns.max(REOPEN_FIRST_NS), REOPEN_MOST_NS),
            reopen_timer: None,
            reopen_after: Mono::ZERO,
            refused: 0,
            was_refused: false,
        }
    }

    /// The target is at `address` now: the flow moves there.
    pub(crate) fn handle_address(&mut self, now: Now, address: IpAddr, shared: &mut Shared) {
        self.remote = Some(SocketAddr::new(address, self.port));
        self.backoff.reset();
        self.reopen(now, shared);
    }

    /// The engine has no socket for us any more.
    pub(crate) fn handle_closed(&mut self, now: Now, shared: &mut Shared) {
        self.socket = None;
        self.flow.lose_all(now, shared);
        self.schedule_reopen(now, shared);
    }

    /// The reopen timer fired.
    pub(crate) fn handle_reopen(&mut self, now: Now, shared: &mut Shared) {
        self.reopen_timer = None;
        self.reopen(now, shared);
    }

    /// Builds the probe for the slot that was taken off the queue.
    pub(crate) fn poll_transmit(
        &mut self,
        now: Now,
        slot: Mono,
        voice: &Voice,
        shared: &mut Shared,
        buffer: &mut Vec<u8>,
    ) -> Option<Transmit> {
        let (Some(socket), Some(remote)) = (self.socket, self.remote) else {
            self.flow.skip();
            return None;
        };
        let payload_most = if remote.is_ipv4() {
            UDP_PAYLOAD_V4_MAX
        } else {
            UDP_PAYLOAD_V6_MAX
        };
        if !std::mem::take(&mut self.was_refused) {
            self.refused = 0;
        }
        let number = self.flow.send(now, slot, shared);
        let identifier = Identifier::new(self.cookie, low(number));
        let size = voice.size.map(|size| size.min(payload_most));
        let seq = wire_seq(number, self.first);
        text::encode_request(
            buffer,
            seq,
            &voice.name,
            now.wall,
            &voice.tags,
            Some(identifier),
            size,
        );
        Some(Transmit::Datagram { socket, key: None })
    }

    /// The kernel did not take the last probe. If that goes on as losses would, the socket's own
    /// address may be gone, which only a fresh one gets over. True if it is time for one.
    pub(crate) fn handle_unsent(&mut self, now: Now, shared: &mut Shared) -> bool {
        self.flow.unsend_last();
        self.was_refused = true;
        self.refused = self.refused.saturating_add(1);
        let over = self.refused >= self.max_lost && now.mono >= self.reopen_after;
        if over {
            self.refused = 0;
            self.reopen(now, shared);
        }
        over
    }

    /// A datagram came in on our socket. True if it shows that the peer is there.
    pub(crate) fn handle_datagram(
        &mut self,
        arrival: Arrival,
        payload: &[u8],
        shared: &mut Shared,
    ) {
        let now = arrival.now;
        let Ok(message) = text::decode_datagram(payload) else {
            self.flow.counters.corrupt += 1;
            return;
        };
        match match_reply(&self.flow, self.cookie, self.first, &message) {
            Some(number) => {
                if let Reply::Received(_) = self.flow.handle_reply(now, number, shared) {
                    self.backoff.reset();
                }
            }
            None => self.flow.counters.corrupt += 1,
        }
    }

    /// The expiry timer fired. True if the losses call for a fresh start.
    pub(crate) fn handle_expiry(&mut self, now: Now, shared: &mut Shared) -> bool {
        self.flow.handle_expiry(now, shared, |_, _| ());
        self.restart_if_silent(now, shared)
    }

    /// After `max_lost` losses in a row a fresh socket takes a fresh 5-tuple: a path, a firewall's
    /// state or a balancer's choice that has gone bad is left behind. What is in flight is not
    /// given up lightly, so no sooner than a timeout after the last time.
    fn restart_if_silent(&mut self, now: Now, shared: &mut Shared) -> bool {
        let silent = self.flow.consecutive_lost >= self.max_lost && now.mono >= self.reopen_after;
        if silent && self.socket.is_some() {
            self.reopen(now, shared);
        }
        silent
    }

    fn reopen(&mut self, now: Now, shared: &mut Shared) {
        if let Some(timer) = self.reopen_timer.take() {
            shared.wheel.cancel(timer);
        }
        if let Some(socket) = self.socket.take() {
            shared.close_socket(socket);
            self.flow.lose_all(now, shared);
        }
        let Some(remote) = self.remote else { return };
        self.flow.consecutive_lost = 0;
        self.first = self.flow.next_number();
        self.reopen_after = now.mono.plus(self.backoff.wait(&mut shared.rng));
        let socket = shared.open_socket(Owner::Udp(self.this.slot));
        self.socket = Some(socket);
        shared
            .actions
            .push_back(Transmit::OpenUdp { socket, remote });
    }

    fn schedule_reopen(&mut self, now: Now, shared: &mut Shared) {
        if self.reopen_timer.is_none() {
            let at = now.mono.plus(self.backoff.wait(&mut shared.rng));
            self.reopen_timer = Some(shared.wheel.insert(at, Timer::Reopen(self.this)));
        }
    }

    pub(crate) fn end(&mut self, shared: &mut Shared) {
        self.flow.cancel_timers(shared);
        if let Some(timer) = self.reopen_timer.take() {
            shared.wheel.cancel(timer);
        }
        if let Some(socket) = self.socket.take() {
            shared.close_socket(socket);
        }
    }
}

/// The probe that a text reply answers: by the identifier in its padding if that came back, else
/// by the sequence number, while that says which.
pub(crate) fn match_reply(
    flow: &Flow,
    cookie: u32,
    first: u64,
    message: &text::Message<'_>,
) -> Option<u64> {
    let seq = message.header.seq;
    let number = match message.identifier {
        Some(identifier) if identifier.cookie == cookie => flow.widen(identifier.number)?,
        Some(_) => return None,
        None => flow.by_residue(first, SEQUENCES, u64::from(seq))?,
    };
    (number >= first && wire_seq(number, first) == seq).then_some(number)
}

/// The text wire's sequence number, 0 to 100, of a probe on a socket whose first was `first`.
pub(crate) fn wire_seq(number: u64, first: u64) -> u8 {
    u8::try_from((number - first) % SEQUENCES).expect("the modulus is 101")
}

/// The low half of a number, as identifiers carry it.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the receiver widens it again"
)]
pub(crate) fn low(number: u64) -> u32 {
    number as u32
}
