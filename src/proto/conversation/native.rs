//! A flow's session on the native wire (STAMP, RFC 8762): requests, replies, and the replies whose
//! transmit stamps are still to come.
//!
//! The reflector knows T3 of a reply only after the reply has left, so one of its next three replies
//! carries it. Until then the reply is pending. If those three pass without the stamp, or the next
//! probe is lost, the sample uses the time that the reflector wrote into the reply, and says so.

use super::Scope;
use crate::proto::ends::Identity;
use crate::proto::follow_ups::{FollowUps, Pending};
use crate::proto::life::LifeEvent;
use crate::proto::peer::RoundTrip;
use crate::proto::remarks::Remarks;
use crate::proto::sample::{Stamp, StampSource};
use crate::proto::time::Wall;
use crate::proto::transmit::Arrival;
use crate::proto::window::{Departure, Measured, ReceiveReport, Reply, Window, low};
use crate::proto::wire::native::authenticated::Key;
use crate::proto::wire::native::{self, Reply as Packet, RequestFields};

/// Later replies that carry T3 of a reply.
const TOLD_BY: u32 = 3;

/// Pending replies at once: those whose T3 can still come, and one more.
const PENDING_MAX: usize = TOLD_BY as usize + 1;

/// How much shorter than the reflector's dwell T4 - T1 may be, besides what two clocks differ in
/// rate: the noise of four stamps.
const STAMP_NOISE_NS: i64 = 2_000;

/// A reply whose T3 has not come.
#[derive(Clone, Copy, Debug)]
pub(super) struct PendingReply {
    /// The probe's.
    pub(super) number: u64,
    /// The reply's own number.
    pub(super) reply: u32,
    /// T2.
    pub(super) received: Stamp,
    /// T3 as the reflector read it before it sent.
    pub(super) sent: Wall,
    pub(super) arrival: Arrival,
}

impl PendingReply {
    fn of(number: u64, packet: &Packet<'_>, arrival: Arrival) -> Self {
        let ours = packet.ours.as_ref();
        let source = ours.and_then(|ours| ours.received_source);
        Self {
            number,
            reply: packet.seq,
            received: Stamp {
                at: packet.received,
                source: source.unwrap_or(StampSource::User),
            },
            sent: packet.sent,
            arrival,
        }
    }

    /// Returns T3 for want of a better one.
    pub(super) const fn sent(&self) -> Stamp {
        Stamp::user(self.sent)
    }

    /// Returns the exchange, if the reply left at `sent`.
    fn round_trip(&self, sent: Stamp, departure: &Departure, window: &Window) -> RoundTrip {
        RoundTrip {
            origin: window.origin,
            kind: window.kind,
            number: self.number,
            flow: window.number,
            stamps: [departure.left, self.received, sent, self.arrival.best()],
            received: self.arrival.now.mono,
            took_ns: self.arrival.now.mono.since(departure.sent),
            is_comparable: departure.is_comparable,
        }
    }
}

/// What the probes of a session are known by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    ssid: u16,
    cookie: u32,
    /// The first probe under this session identifier.
    first: u64,
}

impl Names {
    /// Returns the probe that a reply answers, if it is one of this session's: a stranger does not know
    /// its identifiers, nor when the probe left to the nanosecond.
    pub(super) fn number_of(&self, window: &Window, packet: &Packet<'_>) -> Option<u64> {
        let ours = packet.ours.as_ref();
        let is_ours =
            packet.ssid == self.ssid && ours.is_none_or(|ours| ours.cookie == self.cookie);
        let number = window.widen(packet.sender_seq).filter(|_| is_ours)?;
        let is_sent = number >= self.first && window.has_sent(number, packet.sender_sent);
        (is_sent && window.is_native(number)).then_some(number)
    }
}

/// The sender's end of a STAMP session.
#[derive(Debug)]
pub(super) struct Native {
    pub(super) names: Names,
    /// The reflector's session, as its last reply said; 0 before that.
    session: u32,
    /// T1 of the last probes of which it is known.
    left: FollowUps<2>,
    /// The flow has gone to another address, whose peer these replies say nothing of.
    is_left: bool,
    pending: Pending<PendingReply, PENDING_MAX>,
}

impl Native {
    /// Begins a session for probes from the next one on, under an identifier that cannot be guessed.
    /// `cookie` is the flow's, on text too: so its reflector knows both for one sender's.
    pub(super) fn new(cookie: u32, key: Option<&Key>, scope: &mut Scope<'_>) -> Self {
        let ssid = scope.context.flow_ids.ssid();
        Self {
            names: Names {
                ssid: key.map_or(ssid, |key| key.ssid(ssid)),
                cookie,
                first: scope.window.next_number(),
            },
            session: 0,
            left: FollowUps::new(),
            is_left: false,
            pending: Pending::new(),
        }
    }

    /// The flow goes to another address.
    pub(super) fn leave(&mut self) {
        self.is_left = true;
    }

    /// Appends the request for probe `number`, which leaves now, padded to `size` bytes.
    pub(super) fn encode(
        &self,
        number: u64,
        size: Option<usize>,
        scope: &Scope<'_>,
        out: &mut Vec<u8>,
    ) {
        let Identity { name, tags, .. } = &scope.ends.identity;
        let tags = scope.window.wire_tags.as_ref().unwrap_or(tags);
        let fields = RequestFields {
            seq: low(number),
            sent: scope.context.now.wall,
            error: scope.context.clock_error,
            ssid: self.names.ssid,
            cookie: self.names.cookie,
            session: self.session,
            follow_ups: self.left.newest_first(),
            offset_ns: scope.ends.peer.correction_ns(),
            source: name,
            tags,
            dscp: scope.window.remarks.as_ref().map(Remarks::sent),
        };
        native::encode_request(out, &fields, size);
    }

    /// The kernel's stamp of a probe's departure has come: the next requests carry it.
    pub(super) fn handle_left(&mut self, number: u64, stamp: Stamp) {
        if number >= self.names.first {
            self.left.push(low(number), stamp);
        }
    }

    /// A packet came in that is no text. `None` if it is no reply to a probe of this session.
    pub(super) fn handle_packet(
        &mut self,
        arrival: &Arrival,
        bytes: &[u8],
        scope: &mut Scope<'_>,
    ) -> Option<Reply> {
        let decoded = native::decode_reply(bytes);
        let packet = decoded.as_ref().ok()?;
        let number = self.names.number_of(scope.window, packet)?;
        let reply = scope.window.handle_reply(number, scope.context);
        let session = packet.ours.as_ref().map(|ours| ours.session);
        if reply == Reply::Received && !self.is_left {
            scope.window.note_ttl(packet.ttl);
        }
        if reply == Reply::Duplicate && session.is_some_and(|session| session != self.session) {
            // Somebody has recorded it, before the reflector was restarted perhaps. It is no news of another session.
            return Some(reply);
        }
        if let Some(ours) = packet.ours.as_ref().filter(|_| !self.is_left) {
            let report = ReceiveReport {
                session: ours.session,
                received: ours.received,
                seen: ours.seen,
            };
            let (window, context) = (&mut *scope.window, &mut *scope.context);
            window.handle_receive_report(number, self.names.first, report, context);
        }
        let pending = PendingReply::of(number, packet, *arrival);
        if reply == Reply::Received
            && !self.is_left
            && scope.ends.peer.awaits_estimate(scope.context.now.mono)
            && let Some(departure) = scope.window.departure(number, scope.context)
        {
            // Before the follow-ups, which bring the estimate.
            let round_trip = pending.round_trip(pending.sent(), &departure, scope.window);
            scope.ends.peer.handle_unsettled(&round_trip);
        }
        if reply == Reply::Received
            && !self.is_left
            && let Some(class) = packet.class
        {
            let Scope {
                window, context, ..
            } = scope;
            if let Some(remarks) = &mut window.remarks {
                remarks.handle_reply(class, arrival, window.origin, window.kind, context);
            }
        }
        if reply != Reply::Unknown {
            self.handle_follow_ups(packet, scope);
        }
        if let Some(ours) = packet.ours.as_ref().filter(|_| !self.is_left) {
            let peer = &mut scope.ends.peer;
            peer.handle_totals(ours.totals, scope.context);
        }
        if reply == Reply::Received {
            scope.window.counters.settling += 1;
            // Nothing better is to be expected of a reflector that has no stamps of the kernel's.
            let is_final = pending.received.source == StampSource::User;
            // Those whose T3 can still come fit, so one without room is older than they are.
            if is_final || !self.pending.push(number, pending) {
                self.settle(&pending, pending.sent(), scope);
            }
        }
        Some(reply)
    }

    /// Takes from any reply of this session who its reflector is, and when earlier replies left.
    fn handle_follow_ups(&mut self, packet: &Packet<'_>, scope: &mut Scope<'_>) {
        let Some(ours) = &packet.ours else {
            return;
        };
        if self.session != ours.session {
            self.settle_where(|_| true, scope);
            if self.session != 0 {
                scope.tell(LifeEvent::PeerRestarted);
                scope.ends.peer.handle_restart(scope.context);
            }
            self.session = ours.session;
        }
        if !self.is_left {
            scope.ends.peer.handle_name(ours.name, scope.context);
        }
        // The oldest first, so that samples come out in order.
        let [second, third] = &ours.older;
        for told in [third, second, &packet.follow_up] {
            let Some(told) = told else { continue };
            if let Some(pending) = self.pending.take(|pending| pending.reply == told.seq) {
                self.settle(&pending, told.stamp, scope);
            }
        }
        let is_past = |pending: &PendingReply| {
            packet.seq.wrapping_sub(pending.reply).cast_signed() >= TOLD_BY.cast_signed()
        };
        self.settle_where(is_past, scope);
    }

    /// Settles the pending replies that match, the oldest first, with the T3 that the replies had.
    pub(super) fn settle_where(
        &mut self,
        is_over: impl Fn(&PendingReply) -> bool,
        scope: &mut Scope<'_>,
    ) {
        while let Some(pending) = self.pending.take(&is_over) {
            self.settle(&pending, pending.sent(), scope);
        }
    }

    fn settle(&self, pending: &PendingReply, sent: Stamp, scope: &mut Scope<'_>) {
        let trip = settle(pending, sent, self.is_left, scope);
        if let Some(trip) = trip.filter(|_| scope.ends.publishes_forward && !self.is_left) {
            scope.ends.peer.publish_forward(&trip, scope.context);
        }
    }
}

/// Publishes a probe whose four stamps are as good as they will be; `sent` is T3. Replies from an address that the flow
/// has left say nothing of the peer. Returns the exchange, unless the probe is forgotten.
pub(super) fn settle(
    pending: &PendingReply,
    sent: Stamp,
    is_left: bool,
    scope: &mut Scope<'_>,
) -> Option<RoundTrip> {
    let Scope {
        window,
        ends,
        context,
    } = scope;
    let PendingReply {
        number,
        received,
        arrival,
        ..
    } = *pending;
    window.counters.settling -= 1;
    let departure = window.departure(number, context)?;
    let delay = without_dwell(departure.elapsed(&arrival), received, sent);
    window.publish(arrival.best().at, number, delay, context);
    let round_trip = pending.round_trip(sent, &departure, window);
    if !is_left {
        ends.peer.handle_round_trip(&round_trip, context);
    }
    // Behind the word that the peer's clock was set, if these stamps have shown it.
    let at_peer = [Some(received), Some(sent)];
    window.trace_received(number, &departure, at_peer, &arrival, context);
    Some(round_trip)
}

/// Subtracts T3 - T2 from T4 - T1, where that can be: a reflector whose clock was set in between has no
/// dwell to tell, and then nothing is subtracted.
fn without_dwell(elapsed: Measured, received: Stamp, sent: Stamp) -> Measured {
    let dwell_ns = sent.at.since(received.at);
    // Two clocks' rates may differ by 500 ppm.
    let most_ns = elapsed
        .value_ns
        .saturating_add(elapsed.value_ns / 2_000)
        .saturating_add(STAMP_NOISE_NS);
    match u32::try_from(dwell_ns) {
        Ok(told) if dwell_ns <= most_ns => Measured {
            value_ns: elapsed.value_ns - dwell_ns,
            stamp: elapsed.stamp.min(received.source).min(sent.source),
            dwell_ns: Some(told),
        },
        _ => elapsed,
    }
}
