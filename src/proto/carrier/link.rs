//! What the lasting carriers share: where they lead, and when to try again.

use std::net::SocketAddr;

use crate::proto::backoff::Backoff;
use crate::proto::context::Context;
use crate::proto::owner::Timer;
use crate::proto::time::Mono;
use crate::proto::transmit::{FlowRef, SocketId};
use crate::proto::wheel::TimerKey;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Link {
    pub(super) this: FlowRef,
    pub(super) remote: Option<SocketAddr>,
    pub(super) backoff: Backoff,
    timer: Option<TimerKey>,
}

impl Link {
    pub(super) fn new(this: FlowRef, backoff: Backoff) -> Self {
        Self {
            this,
            remote: None,
            backoff,
            timer: None,
        }
    }

    /// Leads to `remote` from the next opening on; what has failed elsewhere does not count.
    pub(super) fn move_to(&mut self, remote: SocketAddr) {
        self.remote = Some(remote);
        self.backoff.reset();
    }

    /// Arms the one timer anew.
    pub(super) fn arm(&mut self, at: Mono, context: &mut Context) {
        self.cancel(context);
        self.timer = Some(context.wheel.insert(at, Timer::Reopen(self.this)));
    }

    /// Returns when the backoff's next wait is over.
    pub(super) fn after_backoff(&mut self, context: &mut Context) -> Mono {
        context
            .now
            .mono
            .plus(self.backoff.wait(&mut context.jitter))
    }

    /// Opens again after the backoff's wait.
    pub(super) fn retry_later(&mut self, context: &mut Context) {
        let at = self.after_backoff(context);
        self.arm(at, context);
    }

    /// Closes the socket, if there is one, and returns whether there was. Nothing is awaited any more.
    pub(super) fn close(&mut self, socket: Option<SocketId>, context: &mut Context) -> bool {
        self.cancel(context);
        if let Some(socket) = socket {
            context.close_socket(socket);
        }
        socket.is_some()
    }

    /// Takes the timer off the wheel.
    pub(super) fn cancel(&mut self, context: &mut Context) {
        if let Some(timer) = self.timer.take() {
            context.wheel.cancel(timer);
        }
    }

    /// The timer fired.
    pub(super) fn handle_timer(&mut self) {
        self.timer = None;
    }
}
