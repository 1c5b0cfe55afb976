//! One flow of a target: a schedule and a window of probes, carried by a socket, in a conversation.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use crate::limits::TUPLES_LEFT_MAX;
use crate::proto::carrier::{Carrier, Readiness};
use crate::proto::context::Context;
use crate::proto::conversation::{Answer, Conversation, Heard, Scope};
use crate::proto::ends::Ends;
use crate::proto::life::{CloseCause, LifeEvent};
use crate::proto::output::{Output, Reopened, Tuple};
use crate::proto::sample::{FlowKind, FlowNumber, Labels, Stamp, StampSource};
use crate::proto::schedule::{Phase, Schedule};
use crate::proto::target::{Address, Reopen, TargetSpec};
use crate::proto::time::Mono;
use crate::proto::tracer::{self, Tracked};
use crate::proto::transmit::{Arrival, CloseReason, FlowRef, SocketId, Transmit};
use crate::proto::view::{FlowView, Spoken};
use crate::proto::window::{Measured, Reply, Window};
use crate::proto::wire::native::authenticated::Key;

/// A flow without a socket counts as down no sooner than this, however short its timeout.
const DOWN_LEAST_NS: u64 = 1_000_000_000;

/// A 5-tuple that the flow has left. Its socket stays open until what is in flight has had its time.
#[derive(Debug)]
struct Left {
    socket: SocketId,
    remote: SocketAddr,
    conversation: Conversation,
    /// The numbers of its probes.
    probes: Range<u64>,
}

/// What tells a flow from the others of its target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) kind: FlowKind,
    pub(crate) number: FlowNumber,
    /// The peer's.
    pub(crate) port: u16,
    pub(crate) phase: Phase,
}

/// A fresh 5-tuple that was taken for losses.
#[derive(Clone, Copy, Debug)]
struct Reopening {
    since: Mono,
    old_port: Option<u16>,
    new_port: Option<u16>,
    lost: u32,
    /// A reply had come over the one before. Without any the peer is away, and each further try is no news.
    had_replies: bool,
}

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
    /// Losses are no reason for a fresh 5-tuple: the path of this one is to stay seen.
    keeps_ports: bool,
    /// The fresh 5-tuple that was taken for losses, until it is known whether it helps.
    reopening: Option<Reopening>,
    interval_ns: u64,
    timeout_ns: u64,
    /// The address in use has never answered, as another one has.
    is_trial: bool,
    /// Since when there is no lasting socket that works.
    down_since: Option<Mono>,
    /// 5-tuples to earlier addresses on which probes are in flight, the oldest first.
    left: Vec<Left>,
    /// An address from which probes were answered that were sent to the one in use.
    misaddressed: Option<SocketAddr>,
    /// What is known of its path.
    pub(crate) path: Tracked,
}

impl Flow {
    /// A flow to `port` of a target that has no address yet.
    pub(crate) fn new(
        this: FlowRef,
        way: Way,
        spec: &TargetSpec,
        labels: Arc<Labels>,
        context: &mut Context,
    ) -> Self {
        let Way {
            kind,
            number,
            port,
            phase,
        } = way;
        let is_stream = kind == FlowKind::Tcp;
        let has_words = kind != FlowKind::Connect;
        Self {
            window: Window::new(this, kind, number, spec, labels, context),
            schedule: Schedule::new(
                this,
                phase,
                number,
                spec.visit.and_then(|visit| visit.probes_max),
                context,
            ),
            carrier: Carrier::new(this, kind, number, spec),
            conversation: has_words.then(|| Conversation::new(spec, is_stream, context)),
            port,
            max_lost: spec.max_lost,
            keeps_ports: spec.reopen == Reopen::Never
                || !number.is_only()
                || spec.marks.source_ports.is_some(),
            reopening: None,
            interval_ns: spec.interval_ns,
            timeout_ns: spec.timeout_ns,
            is_trial: false,
            down_since: None,
            left: Vec::new(),
            misaddressed: None,
            path: Tracked::default(),
        }
    }

    /// Returns where its packets leave and go to now, if it is one of datagrams that has a socket.
    pub(crate) fn tuple(&self) -> Option<tracer::Tuple> {
        let subject = &self.window.subject;
        let socket = (self.carrier.standing()).filter(|_| self.window.kind == FlowKind::Udp)?;
        Some(tracer::Tuple {
            socket,
            source_port: subject.local?.port(),
            remote: subject.remote?,
        })
    }

    /// Returns what a trace of its path needs to know, if there can be one now.
    pub(crate) fn traced(&self) -> Option<tracer::Subject> {
        let spoken = self.conversation.as_ref().map(Conversation::spoken);
        Some(tracer::Subject {
            flow: self.window.this(),
            origin: self.window.origin,
            tuple: self.tuple()?,
            routers: self.window.routers,
            is_quiet: spoken == Some(Spoken::Text) && self.window.is_answered(),
            replies: self.window.counters.received,
        })
    }

    /// The target is at `address` now: the flow moves there.
    pub(crate) fn handle_address(
        &mut self,
        address: Address,
        is_trial: bool,
        ends: &mut Ends,
        context: &mut Context,
    ) {
        let remote = address.at(self.port);
        self.carrier.move_to(remote);
        self.leave(CloseCause::Moved, ends, context);
        self.reopening = None;
        self.window.begin_address();
        self.is_trial = is_trial;
        self.misaddressed = None;
        self.down_since = None;
        self.open(ends, context);
        self.window.subject.remote = Some(remote);
    }

    /// The target has another key: the flow goes on with it, over a fresh 5-tuple.
    pub(crate) fn handle_key(&mut self, key: &Arc<Key>, ends: &mut Ends, context: &mut Context) {
        if self.conversation.is_none() {
            return;
        }
        // The ports that it is to have are taken while it still listens there.
        if self.carrier.keeps_ports() {
            self.close(CloseCause::NewKey, ends, context);
        } else {
            self.leave(CloseCause::NewKey, ends, context);
        }
        if let Some(conversation) = &mut self.conversation {
            conversation.set_key(key.clone());
        }
        if self.window.subject.remote.is_some() {
            self.open(ends, context);
        }
    }

    /// Gives the 5-tuple up for another one. What is in flight on it may still be answered.
    fn leave(&mut self, cause: CloseCause, ends: &mut Ends, context: &mut Context) {
        let had_replies = self.window.has_replies();
        let (Some(conversation), true) = (&mut self.conversation, self.carrier.is_up()) else {
            self.close(cause, ends, context);
            return;
        };
        conversation.settle(&mut scope(&mut self.window, ends, context));
        let probes = self.window.probes_of_tuple();
        let conversation = conversation.leave(probes.end, context);
        let socket = self.carrier.leave(context);
        if let Some((socket, remote)) = socket.zip(self.window.subject.remote) {
            self.left.push(Left {
                socket,
                remote,
                conversation,
                probes,
            });
        }
        if self.left.len() > TUPLES_LEFT_MAX {
            self.lose_left(0, ends, context);
        }
        self.close_left(ends, context);
        let event = LifeEvent::Closed { cause, had_replies };
        context.tell(&self.window.subject, event);
        self.window.subject.local = None;
    }

    /// Closes those of the left 5-tuples on which nothing is in flight any more.
    fn close_left(&mut self, ends: &mut Ends, context: &mut Context) {
        while let Some(left) = self.left.first()
            && left.probes.end <= self.window.oldest_in_flight()
        {
            self.lose_left(0, ends, context);
        }
    }

    /// Closes a left 5-tuple; what is in flight there is lost.
    fn lose_left(&mut self, place: usize, ends: &mut Ends, context: &mut Context) {
        let mut left = self.left.remove(place);
        left.conversation
            .settle(&mut scope(&mut self.window, ends, context));
        context.close_socket(left.socket);
        self.window.lose_in_flight(left.probes, context);
    }

    /// Returns the place of the left 5-tuple that has this socket.
    fn left_at(&self, socket: SocketId) -> Option<usize> {
        self.left.iter().position(|left| left.socket == socket)
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
            self.window.skip(context);
            self.restart(CloseCause::PeerReadsNothing, ends, context);
            return None;
        }
        let (carrier, scope) = (
            &mut self.carrier,
            &mut scope(&mut self.window, ends, context),
        );
        let (mut may_send, mut is_native) = (true, false);
        if let Some(conversation) = &mut self.conversation {
            conversation.handle_slot(slot, scope);
            may_send = conversation.may_send(scope.window);
            is_native = conversation.is_native();
        }
        if readiness == Readiness::Held {
            scope.window.skip(scope.context);
            return None;
        }
        if !may_send {
            scope.window.hold();
            return None;
        }
        let number = scope.window.send(slot, is_native, scope.context);
        self.schedule.count_sent(scope.context);
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
            if let Some(reopening) = &mut self.reopening {
                let port = local.port();
                reopening.new_port.get_or_insert(port);
            }
            if let Some(remote) = self.window.subject.remote
                && !self.window.number.is_only()
            {
                let origin = self.window.origin;
                let tuple = Tuple {
                    origin,
                    local,
                    remote,
                };
                context.outputs.push_back(Output::Tuple(Box::new(tuple)));
            }
        }
    }

    /// The kernel did not take the last probe. True if that went on as losses would, and a fresh socket
    /// was taken for it: the old one's own address may be gone.
    pub(crate) fn handle_unsent(
        &mut self,
        socket: SocketId,
        reason: CloseReason,
        ends: &mut Ends,
        context: &mut Context,
    ) -> bool {
        if let Some(place) = self.left_at(socket) {
            let end = self.left[place].probes.end;
            self.window.unsend_before(end, context);
            return false;
        }
        let next = self.window.next_number();
        self.window.unsend_before(next, context);
        self.window.handle_trouble(reason, context);
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
            self.down_since = None;
            self.begin(ends, context);
        }
    }

    /// Connect probe `number` has its connection.
    fn handle_handshake(&mut self, number: u64, by_kernel_ns: Option<u64>, context: &mut Context) {
        let now = context.now;
        let departure = self.window.departure(number, context);
        // The connection was there when the kernel says, however late that is seen.
        let by_kernel = departure.zip(by_kernel_ns);
        let established = by_kernel.map(|(departure, ns)| departure.sent.plus(ns));
        context.arrived = established.map_or(now.mono, |at| at.min(now.mono));
        if self.window.handle_reply(number, context) != Reply::Received {
            return;
        }
        let Some(departure) = departure else {
            return;
        };
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
        socket: SocketId,
        arrival: &Arrival,
        bytes: &[u8],
        ends: &mut Ends,
        context: &mut Context,
    ) -> Heard {
        if let Some(place) = self.left_at(socket) {
            let scope = &mut scope(&mut self.window, ends, context);
            let conversation = &mut self.left[place].conversation;
            let heard = conversation.handle_payload(arrival, bytes, scope);
            if heard.is_unreadable {
                self.window.counters.corrupt += 1;
                self.lose_left(place, ends, context);
            }
            return heard;
        }
        let conversation = self.conversation.as_mut();
        let Some(conversation) = conversation.filter(|_| self.carrier.is_up()) else {
            return Heard::default();
        };
        let scope = &mut scope(&mut self.window, ends, context);
        let heard = conversation.handle_payload(arrival, bytes, scope);
        if heard.is_received || heard.is_late {
            self.carrier.handle_reply(heard.is_received);
            self.down_since = None;
        }
        if heard.is_received {
            self.end_reopening(true, context);
        }
        if heard.is_unreadable {
            self.window.counters.corrupt += 1;
            self.close(CloseCause::Unreadable, ends, context);
            self.carrier.retry_later(context);
        }
        heard
    }

    /// A datagram has come from an address that is not probed over the socket that it came to. Returns
    /// whether it answers a probe of this flow. That probe is lost unless a reply comes.
    pub(crate) fn takes_stray(
        &mut self,
        from: SocketAddr,
        answer: &Answer<'_>,
        context: &mut Context,
    ) -> bool {
        let left = self.left.iter().map(|left| &left.conversation);
        let mut conversations = left.chain(&self.conversation);
        // Streams have a peer that cannot be mistaken.
        let is_mine = self.window.kind == FlowKind::Udp
            && conversations.any(|one| one.is_answered_by(answer, &self.window));
        if is_mine {
            self.window.counters.misaddressed += 1;
            if self.misaddressed.replace(from).is_none() {
                let event = LifeEvent::AnsweredFrom { from };
                context.tell(&self.window.subject, event);
            }
        }
        is_mine
    }

    /// Returns the address that is probed over a socket of the flow.
    pub(crate) fn remote_of(&self, socket: SocketId) -> Option<SocketAddr> {
        match self.left_at(socket) {
            Some(place) => Some(self.left[place].remote),
            None => self.window.subject.remote,
        }
    }

    /// The kernel takes no more bytes for now, or does again.
    pub(crate) fn handle_blocked(&mut self, socket: SocketId, is_blocked: bool) {
        if self.left_at(socket).is_none() {
            self.carrier.handle_blocked(is_blocked);
        }
    }

    /// TCP has sent so many segments again on the connection that stands.
    pub(crate) fn handle_retransmits(&mut self, socket: SocketId, total: u32) {
        if self.left_at(socket).is_some() {
            return;
        }
        let more = self.carrier.handle_retransmits(total);
        self.window.counters.retransmits += u64::from(more);
    }

    /// The engine has no such socket any more. True if the flow has failed.
    pub(crate) fn handle_closed(
        &mut self,
        socket: SocketId,
        reason: CloseReason,
        ends: &mut Ends,
        context: &mut Context,
    ) -> bool {
        if let Some(place) = self.left_at(socket) {
            self.lose_left(place, ends, context);
            return false;
        }
        match self.carrier.take_attempt(socket, context) {
            // A host without descriptors or ports has not probed anything.
            Some(number) if reason.is_want() => self.window.unsend(number, context),
            Some(number) => self.window.handle_failure(number, context),
            None => {
                self.down_since.get_or_insert(context.now.mono);
                self.close(CloseCause::Socket(reason), ends, context);
                self.carrier.retry_later(context);
            }
        }
        self.window.handle_trouble(reason, context);
        true
    }

    /// The reopen timer fired. True if it gave an attempt up.
    pub(crate) fn handle_reopen(&mut self, ends: &mut Ends, context: &mut Context) -> bool {
        if self.carrier.handle_timer(context) {
            return false;
        }
        let was_attempt = self.carrier.is_connecting();
        self.restart(CloseCause::NotConnected, ends, context);
        was_attempt || self.is_down(context.now.mono)
    }

    /// The expiry timer fired. True if the losses call for a look at the target's name.
    pub(crate) fn handle_expiry(&mut self, ends: &mut Ends, context: &mut Context) -> bool {
        let carrier = &mut self.carrier;
        let last_lost = self.window.handle_expiry(context, |number, context| {
            carrier.handle_lost(number, context);
        });
        if let (Some(conversation), Some(number)) = (&mut self.conversation, last_lost)
            && self.window.probes_of_tuple().contains(&number)
        {
            conversation.handle_expired(number, &mut scope(&mut self.window, ends, context));
        }
        self.close_left(ends, context);
        if self.reopening.is_some() && self.window.consecutive_lost() >= self.max_lost {
            self.end_reopening(false, context);
        }
        self.is_silent(context) || self.is_down(context.now.mono)
    }

    /// True if the losses call for a fresh 5-tuple.
    fn is_silent(&self, context: &Context) -> bool {
        self.window.consecutive_lost() >= self.max_lost && self.carrier.may_reopen(context)
    }

    /// Takes a fresh 5-tuple if the losses call for one. It leaves behind a path, a firewall's state or a
    /// balancer's choice that has gone bad.
    ///
    /// A flow that keeps its ports takes none: its path stays seen. A TCP connection is given up all the same while
    /// `is_alone`, which is while no flow of the target works: the peer may have lost it.
    pub(crate) fn reopen_if_silent(
        &mut self,
        is_alone: bool,
        ends: &mut Ends,
        context: &mut Context,
    ) {
        let may_reopen = !self.keeps_ports || is_alone && self.window.kind == FlowKind::Tcp;
        if may_reopen && self.is_silent(context) && self.carrier.is_up() {
            let lost = self.window.consecutive_lost();
            self.end_reopening(false, context);
            self.reopening = Some(Reopening {
                since: context.now.mono,
                old_port: self.window.subject.local.map(|local| local.port()),
                new_port: None,
                lost,
                had_replies: self.window.has_replies(),
            });
            self.restart(CloseCause::Lost(lost), ends, context);
        }
    }

    /// It is known whether the fresh 5-tuple helps that was taken for losses.
    fn end_reopening(&mut self, helped: bool, context: &mut Context) {
        let Some(reopening) = self.reopening.take() else {
            return;
        };
        if !helped && !reopening.had_replies {
            return;
        }
        let ago_ns = i64::try_from(context.now.mono.since(reopening.since)).unwrap_or(i64::MAX);
        let reopened = Reopened {
            origin: self.window.origin,
            kind: self.window.kind,
            at: context.now.wall.plus(-ago_ns),
            ports: [reopening.old_port, reopening.new_port],
            lost: reopening.lost,
            helped,
        };
        let output = Output::Reopened(Box::new(reopened));
        context.outputs.push_back(output);
    }

    /// What is to be seen of it.
    pub(crate) fn view(&self, ends: &Ends, now: Mono) -> FlowView {
        let conversation = self.conversation.as_ref();
        FlowView {
            subject: self.window.subject.clone(),
            spoken: conversation.map_or(Spoken::Nothing, Conversation::spoken),
            is_authenticated: conversation.is_some_and(Conversation::is_authenticated),
            is_down: self.is_down(now),
            counters: self.window.counters,
            clock: ends.peer.estimate(),
            refused: self.window.refused,
            trouble: self.window.trouble(),
        }
    }

    /// True if nothing comes from the address in use: `max_lost` probes were lost in a row, or there was no
    /// socket for a timeout, and for as long as those probes take if there has been one. On trial one loss
    /// is enough.
    pub(crate) fn is_down(&self, now: Mono) -> bool {
        let is_answered = self.window.is_answered();
        let lost_max = if self.is_trial && !is_answered {
            1
        } else {
            self.max_lost
        };
        let mut patience_ns = self.timeout_ns.max(DOWN_LEAST_NS);
        if is_answered {
            patience_ns = patience_ns.max(u64::from(lost_max).saturating_mul(self.interval_ns));
        }
        let is_cut_off = |since: Mono| now.since(since) >= patience_ns;
        self.window.lost_at_address() >= lost_max || self.down_since.is_some_and(is_cut_off)
    }

    /// True if replies have come from the address in use, and do.
    pub(crate) fn works(&self, now: Mono) -> bool {
        self.window.is_answered() && !self.is_down(now)
    }

    /// True if nothing is known yet of the address in use: no probe to it has had its time.
    pub(crate) fn is_undecided(&self, now: Mono) -> bool {
        let has_news = self.window.is_answered() || self.window.lost_at_address() > 0;
        !has_news && !self.is_down(now)
    }

    /// Settles what is pending: our own clock is about to be another one, or the daemon ends.
    pub(crate) fn settle(&mut self, ends: &mut Ends, context: &mut Context) {
        let left = self.left.iter_mut().map(|left| &mut left.conversation);
        for conversation in left.chain(&mut self.conversation) {
            conversation.settle(&mut scope(&mut self.window, ends, context));
        }
    }

    /// Takes a fresh 5-tuple.
    fn restart(&mut self, cause: CloseCause, ends: &mut Ends, context: &mut Context) {
        self.close(cause, ends, context);
        self.open(ends, context);
    }

    fn open(&mut self, ends: &mut Ends, context: &mut Context) {
        if self.carrier.open(context) {
            self.begin(ends, context);
        } else if self.conversation.is_some() {
            self.down_since.get_or_insert(context.now.mono);
        }
    }

    /// Gives the 5-tuple up; what is in flight on it is lost.
    fn close(&mut self, cause: CloseCause, ends: &mut Ends, context: &mut Context) {
        self.settle(ends, context);
        let had_replies = self.carrier.is_up() && self.window.has_replies();
        if self.carrier.close(context) {
            let probes = self.window.probes_of_tuple();
            self.window.lose_in_flight(probes, context);
            let was_open = self.window.subject.local.is_some();
            // While this host cannot send, nobody wants to hear of each try.
            if was_open || !matches!(cause, CloseCause::Socket(reason) if reason.is_local()) {
                let event = LifeEvent::Closed { cause, had_replies };
                context.tell(&self.window.subject, event);
            }
            self.window.subject.local = None;
        }
    }

    /// A fresh 5-tuple is there.
    fn begin(&mut self, ends: &mut Ends, context: &mut Context) {
        self.window.begin();
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
        for left in self.left.drain(..) {
            context.close_socket(left.socket);
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
