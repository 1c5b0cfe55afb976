//! Datagrams over one 5-tuple, for as long as it works.

use std::net::SocketAddr;

use super::link::Link;
use super::{Carrier, Readiness};
use crate::limits::{UDP_PAYLOAD_V4_MAX, UDP_PAYLOAD_V6_MAX};
use crate::proto::backoff::Backoff;
use crate::proto::context::Context;
use crate::proto::owner::Owner;
use crate::proto::time::Mono;
use crate::proto::transmit::{FlowRef, SocketId, StampKey, Transmit};

/// The longest wait between two fresh sockets toward a peer that stays silent.
const REOPEN_MOST_NS: u64 = 60_000_000_000;
/// The shortest, however short the timeout.
const REOPEN_FIRST_NS: u64 = 100_000_000;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Datagram {
    link: Link,
    socket: Option<SocketId>,
    /// No fresh socket before this.
    reopen_after: Mono,
    /// Probes in a row that the kernel did not take.
    refused: u32,
    /// It did not take the last one.
    was_refused: bool,
}

impl Datagram {
    pub(crate) fn new(this: FlowRef, timeout_ns: u64) -> Self {
        let backoff = Backoff::new(timeout_ns.max(REOPEN_FIRST_NS), REOPEN_MOST_NS);
        Self {
            link: Link::new(this, backoff),
            socket: None,
            reopen_after: Mono::ZERO,
            refused: 0,
            was_refused: false,
        }
    }
}

impl Carrier for Datagram {
    fn move_to(&mut self, remote: SocketAddr) {
        self.link.move_to(remote);
    }

    fn open(&mut self, context: &mut Context) -> bool {
        let Some(remote) = self.link.remote else {
            return false;
        };
        self.reopen_after = self.link.after_backoff(context);
        let socket = context.open_socket(Owner::Flow(self.link.this));
        self.socket = Some(socket);
        let open = Transmit::OpenUdp { socket, remote };
        context.actions.push_back(open);
        true
    }

    fn close(&mut self, context: &mut Context) -> bool {
        self.link.close(self.socket.take(), context)
    }

    fn retry_later(&mut self, context: &mut Context) {
        self.link.retry_later(context);
    }

    fn handle_timer(&mut self, _: &mut Context) -> bool {
        self.link.handle_timer();
        false
    }

    fn handle_reply(&mut self, is_in_time: bool) {
        // A fresh socket would lose replies that are late but do come.
        if is_in_time {
            self.link.backoff.reset();
        }
    }

    fn handle_unsent(&mut self, refused_max: u32, context: &Context) -> Option<u32> {
        self.was_refused = true;
        self.refused = self.refused.saturating_add(1);
        let is_over = self.refused >= refused_max && self.may_reopen(context);
        is_over.then(|| std::mem::take(&mut self.refused))
    }

    fn is_up(&self) -> bool {
        self.socket.is_some()
    }

    /// What is in flight is not given up lightly: no sooner than a timeout after the last time.
    fn may_reopen(&self, context: &Context) -> bool {
        context.now.mono >= self.reopen_after
    }

    fn readiness(&mut self, _: &Context) -> Readiness {
        match self.socket {
            Some(_) => Readiness::Ready,
            None => Readiness::Held,
        }
    }

    fn payload_max(&self) -> usize {
        match self.link.remote {
            Some(remote) if remote.is_ipv6() => UDP_PAYLOAD_V6_MAX,
            _ => UDP_PAYLOAD_V4_MAX,
        }
    }

    fn transmit(
        &mut self,
        _: u64,
        key: StampKey,
        at_once: bool,
        _: &mut Context,
    ) -> Option<Transmit> {
        if !std::mem::take(&mut self.was_refused) {
            self.refused = 0;
        }
        let (socket, key) = (self.socket?, Some(key));
        Some(Transmit::Datagram {
            socket,
            key,
            at_once,
        })
    }
}
