//! One TCP connection, held while it works, made anew when it does not.

use std::net::SocketAddr;

use super::link::Link;
use super::{Carrier, Readiness};
use crate::proto::backoff::Backoff;
use crate::proto::context::Context;
use crate::proto::owner::Owner;
use crate::proto::time::Mono;
use crate::proto::transmit::{FlowRef, SocketId, StampKey, Transmit};

/// The first wait before a new connection: short, since a restarted peer refuses or accepts at
/// once and a flow has to be back within its timeout.
const RETRY_FIRST_NS: u64 = 10_000_000;
/// A connection attempt gets this long at least, for a SYN that has to be sent twice.
const CONNECT_LEAST_NS: u64 = 1_000_000_000;

#[derive(Debug)]
enum State {
    /// No address, or waiting for the timer to try again.
    Down,
    /// The timer is the flow's turn to connect.
    Waiting,
    /// The timer gives the attempt up.
    Connecting(SocketId),
    Up(SocketId),
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Stream {
    link: Link,
    timeout_ns: u64,
    state: State,
    /// The kernel takes no more bytes for now.
    is_blocked: bool,
    /// Since when it has been so, as far as slots that came due have seen.
    blocked_since: Option<Mono>,
    /// Segments of this connection sent again, as the kernel counted them last.
    retransmits: u32,
}

impl Stream {
    pub(crate) fn new(this: FlowRef, timeout_ns: u64) -> Self {
        Self {
            link: Link::new(this, Backoff::new(RETRY_FIRST_NS, timeout_ns / 2)),
            timeout_ns,
            state: State::Down,
            is_blocked: false,
            blocked_since: None,
            retransmits: 0,
        }
    }

    fn connect(&mut self, context: &mut Context) {
        let Some(remote) = self.link.remote else {
            return;
        };
        let socket = context.open_socket(Owner::Flow(self.link.this));
        let open = Transmit::OpenTcp { socket, remote };
        context.actions.push_back(open);
        self.state = State::Connecting(socket);
        let patience_ns = self.timeout_ns.max(CONNECT_LEAST_NS);
        self.link.arm(context.now.mono.plus(patience_ns), context);
    }
}

impl Carrier for Stream {
    fn move_to(&mut self, remote: SocketAddr) {
        self.link.move_to(remote);
    }

    /// Connects when it is this flow's turn, which it is at once unless many others wait for theirs.
    fn open(&mut self, context: &mut Context) -> bool {
        self.link.cancel(context);
        let turn = context.take_turn();
        if turn > context.now.mono {
            self.state = State::Waiting;
            self.link.arm(turn, context);
        } else {
            self.connect(context);
        }
        false
    }

    fn close(&mut self, context: &mut Context) -> bool {
        let socket = match std::mem::replace(&mut self.state, State::Down) {
            State::Down | State::Waiting => None,
            State::Connecting(socket) | State::Up(socket) => Some(socket),
        };
        self.link.close(socket, context)
    }

    fn retry_later(&mut self, context: &mut Context) {
        self.link.retry_later(context);
    }

    fn handle_timer(&mut self, context: &mut Context) -> bool {
        self.link.handle_timer();
        let is_turn = matches!(self.state, State::Waiting);
        if is_turn {
            self.connect(context);
        }
        is_turn
    }

    fn handle_connected(&mut self, context: &mut Context) -> bool {
        let State::Connecting(socket) = self.state else {
            return false;
        };
        self.link.cancel(context);
        self.state = State::Up(socket);
        self.handle_blocked(false);
        self.retransmits = 0;
        true
    }

    fn handle_reply(&mut self, _is_in_time: bool) {
        self.link.backoff.reset();
    }

    fn handle_blocked(&mut self, is_blocked: bool) {
        self.is_blocked = is_blocked;
        self.blocked_since = None;
    }

    fn handle_retransmits(&mut self, total: u32) -> u32 {
        let before = std::mem::replace(&mut self.retransmits, total);
        total.saturating_sub(before)
    }

    fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    fn is_connecting(&self) -> bool {
        matches!(self.state, State::Connecting(_))
    }

    /// A peer that reads nothing has the flow held, and TCP itself would wait for a quarter of an hour.
    fn readiness(&mut self, context: &Context) -> Readiness {
        if !self.is_up() {
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

    fn transmit(&mut self, _: u64, key: StampKey, _: bool, _: &mut Context) -> Option<Transmit> {
        let State::Up(socket) = self.state else {
            return None;
        };
        let key = Some(key);
        Some(Transmit::Stream { socket, key })
    }
}
