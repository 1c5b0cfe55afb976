//! How the probes of a flow travel: over which socket, and when that is made anew.
//!
//! Datagrams and messages go over one lasting socket, for as long as it works. Each connect probe is a
//! connection of its own, timed until it is established. A carrier opens and closes sockets and never reads
//! a byte of a packet: that is for the [conversation](super::conversation).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use crate::limits::{CONNECTS_IN_FLIGHT_MAX, UDP_PAYLOAD_V4_MAX, UDP_PAYLOAD_V6_MAX};
use crate::proto::backoff::Backoff;
use crate::proto::context::Context;
use crate::proto::marks::{Marks, SourcePorts};
use crate::proto::owner::{Owner, Timer};
use crate::proto::sample::{FlowKind, FlowNumber};
use crate::proto::target::TargetSpec;
use crate::proto::time::Mono;
use crate::proto::transmit::{FlowRef, SocketId, StampKey, Transmit};
use crate::proto::wheel::TimerKey;

/// The longest wait between two fresh UDP sockets toward a peer that stays silent.
const REOPEN_MOST_NS: u64 = 60_000_000_000;
/// The shortest, however short the timeout.
const REOPEN_FIRST_NS: u64 = 100_000_000;
/// The first wait after a socket or a connection has failed: short, since a restarted peer refuses or
/// accepts at once and a flow has to be back within its timeout.
const RETRY_FIRST_NS: u64 = 10_000_000;
/// The longest: a flow is back soon after its link, however long that was down.
const RETRY_MOST_NS: u64 = 1_000_000_000;
/// A connection attempt gets this long at least, for a SYN that has to be sent twice.
const CONNECT_LEAST_NS: u64 = 1_000_000_000;

/// Whether a probe can leave now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    Ready,
    /// No address, no connection or no room.
    Held,
    /// The peer has read nothing for a timeout, so the connection is to be given up.
    Stuck,
}

/// The lasting socket; connect probes have none.
#[derive(Clone, Copy, Debug)]
enum State {
    /// No address, or waiting for the timer to try again.
    Down,
    /// The timer is the flow's turn to connect.
    Waiting,
    /// The timer gives the attempt up.
    Connecting(SocketId),
    Up(SocketId),
}

/// A connect probe that is not established yet.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    /// The probe's.
    number: u64,
    socket: SocketId,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Carrier {
    this: FlowRef,
    kind: FlowKind,
    timeout_ns: u64,
    marks: Arc<Marks>,
    /// The places of its sockets among the source ports, in turn: one, and for connect probes all that the lasting
    /// connection to the same port leaves.
    places: Range<u32>,
    next_place: u32,
    remote: Option<SocketAddr>,
    state: State,
    timer: Option<TimerKey>,
    /// After a socket or a connection has failed.
    retry: Backoff,
    /// Between fresh UDP sockets toward a peer that stays silent.
    reopen: Backoff,
    /// No fresh UDP socket before this for losses.
    reopen_after: Mono,
    /// When the last one was opened.
    opened: Mono,
    /// Datagrams in a row that the kernel did not take.
    refused: u32,
    /// It did not take the last one.
    was_refused: bool,
    /// The kernel takes no more bytes of the stream for now.
    is_blocked: bool,
    /// Since when it has been so, as far as slots that came due have seen.
    blocked_since: Option<Mono>,
    /// Segments of this connection sent again, as the kernel counted them last.
    retransmits: u32,
    /// Connect probes under way, oldest first.
    attempts: VecDeque<Attempt>,
}

impl Carrier {
    pub(crate) fn new(
        this: FlowRef,
        kind: FlowKind,
        number: FlowNumber,
        spec: &TargetSpec,
    ) -> Self {
        let timeout_ns = spec.timeout_ns;
        let places = places(kind, number, spec);
        Self {
            this,
            kind,
            timeout_ns,
            marks: spec.marks.clone(),
            next_place: places.start,
            places,
            remote: None,
            state: State::Down,
            timer: None,
            retry: Backoff::new(RETRY_FIRST_NS, RETRY_MOST_NS.min(timeout_ns / 2)),
            reopen: Backoff::new(timeout_ns.max(REOPEN_FIRST_NS), REOPEN_MOST_NS),
            reopen_after: Mono::ZERO,
            opened: Mono::ZERO,
            refused: 0,
            was_refused: false,
            is_blocked: false,
            blocked_since: None,
            retransmits: 0,
            attempts: VecDeque::new(),
        }
    }

    /// Leads to `remote` from the next socket on; what has failed elsewhere does not count. Connect probes
    /// under way toward another address end by themselves.
    pub(crate) fn move_to(&mut self, remote: SocketAddr) {
        self.remote = Some(remote);
        self.retry.reset();
        self.reopen.reset();
    }

    /// Begins to open the lasting socket. True if it is usable at once. A stream connects when it is this
    /// flow's turn, which it is at once unless many others wait for theirs.
    pub(crate) fn open(&mut self, context: &mut Context) -> bool {
        let Some(remote) = self.remote.filter(|_| self.kind != FlowKind::Connect) else {
            return false;
        };
        if self.kind == FlowKind::Udp {
            self.opened = context.now.mono;
            self.reopen_after = self.opened.plus(self.reopen.wait(&mut context.jitter));
            let (socket, open) = self.socket(remote, context);
            context.actions.push_back(open);
            self.state = State::Up(socket);
            return true;
        }
        let turn = context.take_turn();
        if turn > context.now.mono {
            self.state = State::Waiting;
            self.arm(turn, context);
        } else {
            self.connect(remote, context);
        }
        false
    }

    fn connect(&mut self, remote: SocketAddr, context: &mut Context) {
        let (socket, open) = self.socket(remote, context);
        context.actions.push_back(open);
        self.state = State::Connecting(socket);
        let patience_ns = self.timeout_ns.max(CONNECT_LEAST_NS);
        self.arm(context.now.mono.plus(patience_ns), context);
    }

    /// Returns a name for a fresh socket, and what opens it.
    fn socket(&mut self, remote: SocketAddr, context: &mut Context) -> (SocketId, Transmit) {
        let socket = context.open_socket(Owner::Flow(self.this));
        let place = self.next_place;
        self.next_place = Some(place + 1)
            .filter(|next| self.places.contains(next))
            .unwrap_or(self.places.start);
        let open = Transmit::Open {
            socket,
            remote,
            kind: self.kind,
            marks: self.marks.clone(),
            place,
        };
        (socket, open)
    }

    /// Closes the lasting socket, if there is one, and returns whether there was. Nothing is awaited any more.
    pub(crate) fn close(&mut self, context: &mut Context) -> bool {
        context.wheel.cancel(self.timer.take());
        match std::mem::replace(&mut self.state, State::Down) {
            State::Down | State::Waiting => false,
            State::Connecting(socket) | State::Up(socket) => {
                context.close_socket(socket);
                true
            }
        }
    }

    /// Gives the lasting socket away, if it is up.
    pub(crate) fn leave(&mut self, context: &mut Context) -> Option<SocketId> {
        let State::Up(socket) = self.state else {
            return None;
        };
        context.wheel.cancel(self.timer.take());
        self.state = State::Down;
        Some(socket)
    }

    /// Opens again after the backoff's next wait.
    pub(crate) fn retry_later(&mut self, context: &mut Context) {
        let wait_ns = self.retry.wait(&mut context.jitter);
        self.arm(context.now.mono.plus(wait_ns), context);
    }

    /// Arms the one timer anew.
    fn arm(&mut self, at: Mono, context: &mut Context) {
        context.wheel.cancel(self.timer.take());
        self.timer = Some(context.wheel.insert(at, Timer::Reopen(self.this)));
    }

    /// The timer fired. True if it was a turn to connect, which is taken.
    pub(crate) fn handle_timer(&mut self, context: &mut Context) -> bool {
        self.timer = None;
        let turn = self.remote.filter(|_| matches!(self.state, State::Waiting));
        if let Some(remote) = turn {
            self.connect(remote, context);
        }
        turn.is_some()
    }

    /// A lasting connection is established. False if none was awaited.
    pub(crate) fn handle_connected(&mut self, context: &mut Context) -> bool {
        let State::Connecting(socket) = self.state else {
            return false;
        };
        context.wheel.cancel(self.timer.take());
        self.state = State::Up(socket);
        self.handle_blocked(false);
        self.retransmits = 0;
        true
    }

    /// A reply to a probe has come: the path works. A fresh UDP socket would lose replies that are late but
    /// do come, so those do not count there.
    pub(crate) fn handle_reply(&mut self, is_in_time: bool) {
        self.retry.reset();
        if is_in_time {
            self.reopen.reset();
        }
    }

    /// The kernel takes no more bytes for now, or does again.
    pub(crate) fn handle_blocked(&mut self, is_blocked: bool) {
        self.is_blocked = is_blocked;
        self.blocked_since = None;
    }

    /// The kernel has sent so many segments again. Returns by how many that has grown.
    pub(crate) fn handle_retransmits(&mut self, total: u32) -> u32 {
        let before = std::mem::replace(&mut self.retransmits, total);
        total.saturating_sub(before)
    }

    /// The kernel did not take the last datagram. Returns how many it has refused in a row once that calls
    /// for a fresh socket: the address that this one is bound to may be gone.
    pub(crate) fn handle_unsent(&mut self, refused_max: u32, context: &Context) -> Option<u32> {
        self.was_refused = true;
        self.refused = self.refused.saturating_add(1);
        let is_time = context.now.mono.since(self.opened) >= RETRY_MOST_NS;
        let is_over = self.refused >= refused_max && is_time;
        is_over.then(|| std::mem::take(&mut self.refused))
    }

    /// Removes the attempt of a connect probe, which is over. Returns the probe's number.
    pub(crate) fn take_attempt(&mut self, socket: SocketId, context: &mut Context) -> Option<u64> {
        self.take(|attempt| attempt.socket == socket, context)
    }

    /// Probe `number` has had its time.
    pub(crate) fn handle_lost(&mut self, number: u64, context: &mut Context) {
        self.take(|attempt| attempt.number == number, context);
    }

    /// Removes an attempt and closes its socket. Returns the probe's number.
    fn take(&mut self, is_over: impl Fn(&Attempt) -> bool, context: &mut Context) -> Option<u64> {
        let place = self.attempts.iter().position(is_over)?;
        let Attempt { number, socket } = self.attempts.remove(place)?;
        context.close_socket(socket);
        Some(number)
    }

    /// True if its ports are given: every socket is to have the same.
    pub(crate) fn keeps_ports(&self) -> bool {
        self.marks.source_ports.is_some()
    }

    /// Returns the lasting socket while it stands.
    pub(crate) fn standing(&self) -> Option<SocketId> {
        match self.state {
            State::Up(socket) => Some(socket),
            State::Down | State::Waiting | State::Connecting(_) => None,
        }
    }

    /// True while the lasting socket stands.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// True while a lasting connection is being made.
    pub(crate) fn is_connecting(&self) -> bool {
        matches!(self.state, State::Connecting(_))
    }

    /// True unless it is too soon to give the socket up for its losses: what is in flight is not given up
    /// lightly, and no sooner than a timeout after the last time.
    pub(crate) fn may_reopen(&self, context: &Context) -> bool {
        context.now.mono >= self.reopen_after
    }

    /// Whether a probe can leave now. A peer that reads nothing has the flow held, and TCP itself would wait
    /// for a quarter of an hour.
    pub(crate) fn readiness(&mut self, context: &Context) -> Readiness {
        let has_room = match self.kind {
            FlowKind::Connect => {
                self.remote.is_some() && self.attempts.len() < CONNECTS_IN_FLIGHT_MAX
            }
            FlowKind::Udp | FlowKind::Tcp => self.is_up(),
        };
        if !has_room {
            return Readiness::Held;
        }
        if !self.is_blocked {
            return Readiness::Ready;
        }
        let now = context.now.mono;
        let since = *self.blocked_since.get_or_insert(now);
        if now.since(since) >= self.timeout_ns {
            Readiness::Stuck
        } else {
            Readiness::Held
        }
    }

    /// Bytes that a probe can have at most.
    pub(crate) fn payload_max(&self) -> usize {
        match self.remote {
            _ if self.kind != FlowKind::Udp => usize::MAX,
            Some(remote) if remote.is_ipv6() => UDP_PAYLOAD_V6_MAX,
            _ => UDP_PAYLOAD_V4_MAX,
        }
    }

    /// Sends probe `number`, which is in the buffer, unless it is a connection to begin; `at_once`: alone.
    pub(crate) fn transmit(
        &mut self,
        number: u64,
        key: StampKey,
        at_once: bool,
        context: &mut Context,
    ) -> Option<Transmit> {
        let key = Some(key);
        match (self.kind, self.state) {
            (FlowKind::Udp, State::Up(socket)) => {
                if !std::mem::take(&mut self.was_refused) {
                    self.refused = 0;
                }
                Some(Transmit::Datagram {
                    socket,
                    key,
                    at_once,
                })
            }
            (FlowKind::Tcp, State::Up(socket)) => Some(Transmit::Stream {
                socket,
                key,
                at_once,
            }),
            (FlowKind::Connect, _) => {
                let (socket, open) = self.socket(self.remote?, context);
                self.attempts.push_back(Attempt { number, socket });
                Some(open)
            }
            _ => None,
        }
    }

    /// Closes every socket: the flow ends.
    pub(crate) fn end(&mut self, context: &mut Context) {
        self.close(context);
        while self.take(|_| true, context).is_some() {}
    }
}

/// Returns the places that the sockets of a flow have among the source ports. Connections to one port cannot share any.
fn places(kind: FlowKind, number: FlowNumber, spec: &TargetSpec) -> Range<u32> {
    let own = u32::from(number.number.saturating_sub(1));
    let count = spec.marks.source_ports.map_or(1, SourcePorts::count);
    match kind {
        FlowKind::Udp | FlowKind::Tcp => own..own + 1,
        FlowKind::Connect if spec.tcp_port == spec.connect_port => {
            u32::from(spec.flows).min(count - 1)..count
        }
        FlowKind::Connect => 0..count,
    }
}
