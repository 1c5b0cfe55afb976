//! One flow of a target: a schedule and a window of probes, carried by a socket, in a conversation.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::proto::carrier::{Carrier, Readiness};
use crate::proto::context::Context;
use crate::proto::conversation::{Conversation, Scope};
use crate::proto::ends::Ends;
use crate::proto::life::{CloseCause, LifeEvent};
use crate::proto::sample::{FlowKind, Labels, Stamp, StampSource};
use crate::proto::schedule::Schedule;
use crate::proto::target::{Address, TargetSpec};
use crate::proto::transmit::{Arrival, CloseReason, FlowRef, SocketId, Transmit};
use crate::proto::window::{Measured, Reply, Window};

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) window: Window,
    pub(crate) schedule: Schedule,
    carrier: Carrier,
    /// Connect probes say nothing.
    conversation: Option<Conversation>,
    port: u16,
    /// Losses in a row after which the flow starts anew.
    max_lost: u32,
}

impl Flow {
    /// A flow to `port` of a target that has no address yet.
    pub(crate) fn new(
        this: FlowRef,
        kind: FlowKind,
        port: u16,
        spec: &TargetSpec,
        labels: Arc<Labels>,
        context: &mut Context,
    ) -> Self {
        let is_stream = kind == FlowKind::Tcp;
        let has_words = kind != FlowKind::Connect;
        Self {
            window: Window::new(this, kind, spec, labels, context),
            schedule: Schedule::new(this, spec.interval_ns, context),
            carrier: Carrier::new(this, kind, spec.timeout_ns),
            conversation: has_words.then(|| Conversation::new(spec.protocol, is_stream, context)),
            port,
            max_lost: spec.max_lost,
        }
    }

    /// The target is at `address` now: the flow moves there.
    pub(crate) fn handle_address(
        &mut self,
        address: Address,
        ends: &mut Ends,
        context: &mut Context,
    ) {
        let remote = address.at(self.port);
        self.carrier.move_to(remote);
        self.restart(CloseCause::Moved, ends, context);
        self.window.subject.remote = Some(remote);
    }

    /// Builds the probe of the slot that is queued.
    pub(crate) fn poll_transmit(
        &mut self,
        ends: &mut Ends,
        context: &mut Context,
        buffer: &mut Vec<u8>,
    ) -> Option<Transmit> {
        let slot = self.schedule.take_slot()?;
        let readiness = self.carrier.readiness(context);
        if readiness == Readiness::Stuck {
            self.window.skip();
            self.restart(CloseCause::PeerReadsNothing, ends, context);
            return None;
        }
        let (carrier, scope) = (
            &mut self.carrier,
            &mut scope(&mut self.window, ends, context),
        );
        let (mut may_send, mut is_native) = (readiness == Readiness::Ready, false);
        if let Some(conversation) = &mut self.conversation {
            conversation.handle_slot(slot, scope);
            may_send &= conversation.may_send(scope.window);
            is_native = conversation.is_native();
        }
        if !may_send {
            scope.window.skip();
            return None;
        }
        let number = scope.window.send(slot, is_native, scope.context);
        if let Some(conversation) = &mut self.conversation {
            conversation.encode(number, carrier.payload_max(), scope, buffer);
        }
        let key = scope.window.stamp_key(number);
        // A text probe carries the only time of its departure that its receiver learns.
        carrier.transmit(number, key, !is_native, scope.context)
    }

    /// The kernel's stamp of a probe's departure has come.
    pub(crate) fn handle_left(&mut self, number: u64, stamp: Stamp, context: &mut Context) {
        if self.window.handle_left(number, stamp, context)
            && let Some(conversation) = &mut self.conversation
        {
            conversation.handle_left(number, stamp, &self.window);
        }
    }

    /// The engine has a socket for this flow, bound to `local`.
    pub(crate) fn handle_opened(&mut self, local: SocketAddr, context: &mut Context) {
        if self.conversation.is_some() {
            self.window.subject.local = Some(local);
            context.tell(&self.window.subject, LifeEvent::Opened);
        }
    }

    /// The kernel did not take the last probe. True if that went on as losses would, and a fresh socket
    /// was taken for it: the old one's own address may be gone.
    pub(crate) fn handle_unsent(&mut self, ends: &mut Ends, context: &mut Context) -> bool {
        self.window.unsend_last();
        let refused = self.carrier.handle_unsent(self.max_lost, context);
        if let Some(refused) = refused {
            self.restart(CloseCause::Refused(refused), ends, context);
        }
        refused.is_some()
    }

    /// A connection of this flow is established; see `Prober::handle_connected`.
    pub(crate) fn handle_connected(
        &mut self,
        socket: SocketId,
        handshake_ns: Option<u64>,
        ends: &mut Ends,
        context: &mut Context,
    ) {
        if let Some(number) = self.carrier.take_attempt(socket, context) {
            self.handle_handshake(number, handshake_ns, context);
        } else if self.carrier.handle_connected(context) {
            self.begin(ends, context);
        }
    }

    /// Connect probe `number` has its connection.
    fn handle_handshake(&mut self, number: u64, by_kernel_ns: Option<u64>, context: &mut Context) {
        let Reply::Received(departure) = self.window.handle_reply(number, context) else {
            return;
        };
        let now = context.now;
        // Without the kernel's word: from the call until it was seen, with the host's delay in it.
        let mut delay = departure.elapsed(&Arrival::unstamped(now));
        if let Some(value_ns) = by_kernel_ns.and_then(|ns| i64::try_from(ns).ok()) {
            let stamp = StampSource::Kernel;
            delay = Measured {
                value_ns,
                stamp,
                ..delay
            };
        }
        self.window.publish(now.wall, number, delay, context);
    }

    /// A datagram, or some bytes of a stream, came in. Returns how many messages were complete.
    pub(crate) fn handle_payload(
        &mut self,
        arrival: &Arrival,
        bytes: &[u8],
        ends: &mut Ends,
        context: &mut Context,
    ) -> usize {
        let conversation = self.conversation.as_mut();
        let Some(conversation) = conversation.filter(|_| self.carrier.is_up()) else {
            return 0;
        };
        let scope = &mut scope(&mut self.window, ends, context);
        let heard = conversation.handle_payload(arrival, bytes, scope);
        if heard.is_received || heard.is_late {
            self.carrier.handle_reply(heard.is_received);
        }
        if heard.is_unreadable {
            self.window.counters.corrupt += 1;
            self.close(CloseCause::Unreadable, ends, context);
            self.carrier.retry_later(context);
        }
        heard.messages
    }

    /// The kernel takes no more bytes for now, or does again.
    pub(crate) fn handle_blocked(&mut self, is_blocked: bool) {
        self.carrier.handle_blocked(is_blocked);
    }

    /// TCP has sent so many segments again on the connection that stands.
    pub(crate) fn handle_retransmits(&mut self, total: u32) {
        let more = self.carrier.handle_retransmits(total);
        self.window.counters.retransmits += u64::from(more);
    }

    /// The engine has no such socket any more.
    pub(crate) fn handle_closed(
        &mut self,
        socket: SocketId,
        reason: CloseReason,
        ends: &mut Ends,
        context: &mut Context,
    ) {
        match self.carrier.take_attempt(socket, context) {
            // A host without descriptors has not probed anything.
            Some(number) if reason == CloseReason::Exhausted => self.window.unsend(number),
            Some(number) => self.window.handle_failure(number, context),
            None => {
                self.close(CloseCause::Socket(reason), ends, context);
                self.carrier.retry_later(context);
            }
        }
    }

    /// The reopen timer fired. True if it gave an attempt up.
    pub(crate) fn handle_reopen(&mut self, ends: &mut Ends, context: &mut Context) -> bool {
        if self.carrier.handle_timer(context) {
            return false;
        }
        let was_attempt = self.carrier.is_connecting();
        self.restart(CloseCause::NotConnected, ends, context);
        was_attempt
    }

    /// The expiry timer fired. True if the losses call for a look at the target's name.
    pub(crate) fn handle_expiry(&mut self, ends: &mut Ends, context: &mut Context) -> bool {
        let carrier = &mut self.carrier;
        let last_lost = self.window.handle_expiry(context, |number, context| {
            carrier.handle_lost(number, context);
        });
        if let (Some(conversation), Some(number)) = (&mut self.conversation, last_lost) {
            conversation.handle_expired(number, &mut scope(&mut self.window, ends, context));
        }
        let lost = self.window.consecutive_lost;
        let is_silent = lost >= self.max_lost && self.carrier.may_reopen(context);
        // A fresh 5-tuple leaves behind a path, a firewall's state or a balancer's choice that has gone bad.
        if is_silent && self.carrier.is_up() {
            self.restart(CloseCause::Lost(lost), ends, context);
        }
        is_silent
    }

    /// Settles what is pending: our own clock is about to be another one, or the daemon ends.
    pub(crate) fn settle(&mut self, ends: &mut Ends, context: &mut Context) {
        if let Some(conversation) = &mut self.conversation {
            conversation.settle(&mut scope(&mut self.window, ends, context));
        }
    }

    /// Takes a fresh 5-tuple.
    fn restart(&mut self, cause: CloseCause, ends: &mut Ends, context: &mut Context) {
        self.close(cause, ends, context);
        if self.carrier.open(context) {
            self.begin(ends, context);
        }
    }

    /// Gives the 5-tuple up; what is in flight is lost.
    fn close(&mut self, cause: CloseCause, ends: &mut Ends, context: &mut Context) {
        self.settle(ends, context);
        let had_replies = self.carrier.is_up() && self.window.has_replies();
        if self.carrier.close(context) {
            self.window.lose_all(context);
            let event = LifeEvent::Closed { cause, had_replies };
            context.tell(&self.window.subject, event);
            self.window.subject.local = None;
        }
    }

    /// A fresh 5-tuple is there.
    fn begin(&mut self, ends: &mut Ends, context: &mut Context) {
        self.window.begin(context);
        if let Some(conversation) = &mut self.conversation {
            conversation.begin(&mut scope(&mut self.window, ends, context));
        }
    }

    /// Takes timers and sockets back: the flow ends.
    pub(crate) fn end(&mut self, context: &mut Context) {
        if self.carrier.is_up() {
            let (cause, had_replies) = (CloseCause::Removed, self.window.has_replies());
            let event = LifeEvent::Closed { cause, had_replies };
            context.tell(&self.window.subject, event);
        }
        self.schedule.end(context);
        self.window.end(context);
        self.carrier.end(context);
    }
}

const fn scope<'a>(
    window: &'a mut Window,
    ends: &'a mut Ends,
    context: &'a mut Context,
) -> Scope<'a> {
    Scope {
        window,
        ends,
        context,
    }
}
