//! A flow's conversation on the native wire: what it says in a request, what a reply tells it, and
//! the replies whose transmit stamps are still to come.
//!
//! T3 of a reply is known only after it has left, so it comes with one of the next three replies.
//! Until then the sample waits; when those have passed without it, or the next probe is lost, the
//! reflector's own reading is taken instead, and the sample says so.

use crate::proto::context::Context;
use crate::proto::flow::{Departure, Flow, Measured, Reply, Testimony};
use crate::proto::peer::{Peer, Stamps, Which};
use crate::proto::probed::Voice;
use crate::proto::sample::{Stamp, StampSource};
use crate::proto::time::{Mono, Wall};
use crate::proto::transmit::Arrival;
use crate::proto::udp::low;
use crate::proto::wire::native::{self, FollowUp, Reply as Packet, RequestFields};

/// Replies that tell T3 of a reply.
const TOLD_BY: u32 = 3;

/// Replies that wait at once: those that can still be told of, and one more.
const WAITING_MAX: usize = TOLD_BY as usize + 1;

/// How much shorter than the reflector's dwell T4 - T1 may be, besides what two clocks differ in
/// rate: the noise of four stamps.
const STAMP_NOISE_NS: i64 = 2_000;

/// A reply whose T3 is still to come.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    number: u64,
    /// The reply's own number.
    reply: u32,
    received: Stamp,
    /// As the reflector read it before it sent.
    sent: Stamp,
    arrival: Arrival,
}

/// A flow's end of a STAMP session.
#[derive(Debug)]
pub(crate) struct Exchange {
    ssid: u16,
    cookie: u32,
    /// The first probe under this session identifier.
    first: u64,
    /// The reflector's session, as its last reply said; 0 before that.
    session: u32,
    /// T1 of the last probes of which it is known, the newest first.
    left: [Option<FollowUp>; 2],
    waiting: [Option<Waiting>; WAITING_MAX],
}

impl Exchange {
    /// A session for probes from number `first` on, under an identifier that cannot be guessed.
    pub(crate) fn new(first: u64, context: &mut Context) -> Self {
        Self {
            ssid: context.flow_ids.ssid(),
            cookie: context.flow_ids.cookie(),
            first,
            session: 0,
            left: [None; 2],
            waiting: [None; WAITING_MAX],
        }
    }

    /// Appends the request for probe `number`, which leaves now.
    pub(crate) fn encode(
        &self,
        number: u64,
        voice: &Voice,
        (size, correction_ns): (Option<usize>, Option<i64>),
        context: &Context,
        out: &mut Vec<u8>,
    ) {
        let fields = RequestFields {
            seq: low(number),
            sent: context.now.wall,
            error: context.clock_error,
            ssid: self.ssid,
            cookie: self.cookie,
            session: self.session,
            follow_ups: self.left,
            offset_ns: correction_ns,
            source: &voice.name,
            tags: &voice.tags,
        };
        native::encode_request(out, &fields, size);
    }

    /// The kernel's stamp of a probe's departure has come: the reflector is told.
    pub(crate) fn handle_left(&mut self, number: u64, stamp: Stamp) {
        if number < self.first {
            return;
        }
        let seq = low(number);
        let [newest, _] = self.left;
        let is_newer = newest.is_none_or(|newest| seq.wrapping_sub(newest.seq).cast_signed() > 0);
        if is_newer {
            self.left = [Some(FollowUp { seq, stamp }), newest];
        }
    }

    /// The probe that a reply answers, if it is one of this session's: a stranger does not know its
    /// identifiers, nor when the probe left to the nanosecond.
    fn number_of(&self, flow: &Flow, packet: &Packet<'_>) -> Option<u64> {
        let is_ours = packet.ssid == self.ssid
            && packet
                .ours
                .as_ref()
                .is_none_or(|ours| ours.cookie == self.cookie);
        let number = flow.widen(packet.sender_seq).filter(|_| is_ours)?;
        (number >= self.first && flow.has_sent(number, packet.sender_sent)).then_some(number)
    }

    /// A packet came in that is no text. `None` if it is no reply to a probe of this session.
    pub(crate) fn handle_reply(
        &mut self,
        arrival: Arrival,
        bytes: &[u8],
        (flow, peer): (&mut Flow, &mut Peer),
        context: &mut Context,
    ) -> Option<Reply> {
        let packet = native::decode_reply(bytes).ok()?;
        let number = self.number_of(flow, &packet)?;
        let reply = flow.handle_reply(number, context);
        self.handle_testimony(number, &packet, flow, context);
        match reply {
            Reply::Received(_) => {
                self.handle_received(arrival, (number, &packet), (flow, peer), context);
            }
            Reply::Late | Reply::Duplicate => self.handle_told(&packet, flow, peer, context),
            Reply::Unknown => {}
        }
        Some(reply)
    }

    /// A reply to probe `number` is the first one, in time. Takes what it tells of others, and publishes
    /// its own delays as soon as they are known.
    fn handle_received(
        &mut self,
        arrival: Arrival,
        (number, packet): (u64, &Packet<'_>),
        (flow, peer): (&mut Flow, &mut Peer),
        context: &mut Context,
    ) {
        self.handle_told(packet, flow, peer, context);
        let source = packet.ours.as_ref().and_then(|ours| ours.received_source);
        let received = Stamp {
            at: packet.received,
            source: source.unwrap_or(StampSource::User),
        };
        let waiting = Waiting {
            number,
            reply: packet.seq,
            received,
            sent: user(packet.sent),
            arrival,
        };
        flow.counters.settling += 1;
        if received.source == StampSource::User {
            // Nothing better is to be expected of this reflector.
            return settle(waiting, waiting.sent, flow, peer, context);
        }
        if let Some(free) = self.waiting.iter_mut().find(|waiting| waiting.is_none()) {
            *free = Some(waiting);
        } else {
            // Those that can still be told of fit, so this one is older than they are.
            settle(waiting, waiting.sent, flow, peer, context);
        }
    }

    /// What any reply of this session tells: which requests came in, and when earlier replies left.
    fn handle_told(
        &mut self,
        packet: &Packet<'_>,
        flow: &mut Flow,
        peer: &mut Peer,
        context: &mut Context,
    ) {
        let Some(ours) = &packet.ours else {
            return;
        };
        if self.session != ours.session {
            self.settle_all(flow, peer, context);
            self.session = ours.session;
        }
        peer.handle_name(ours.name, context);
        // The oldest first, so that samples come out in order.
        let [second, third] = ours.older;
        let told = [third, second, packet.follow_up].into_iter().flatten();
        for follow_up in told {
            let found = self.take(|waiting| waiting.reply == follow_up.seq);
            if let Some(waiting) = found {
                settle(waiting, follow_up.stamp, flow, peer, context);
            }
        }
        let is_past = |waiting: &Waiting| {
            packet.seq.wrapping_sub(waiting.reply).cast_signed() >= TOLD_BY.cast_signed()
        };
        while let Some(waiting) = self.take(is_past) {
            settle(waiting, waiting.sent, flow, peer, context);
        }
    }

    /// What a reply to probe `number` says about those before it.
    fn handle_testimony(
        &self,
        number: u64,
        packet: &Packet<'_>,
        flow: &mut Flow,
        context: &mut Context,
    ) {
        if let Some(ours) = &packet.ours {
            let said = Testimony {
                session: ours.session,
                received: ours.received,
                seen: ours.seen,
            };
            flow.handle_testimony(number, self.first, said, context);
        }
    }

    /// Nobody may come to tell of what was received before this: the flow cannot send, say.
    pub(crate) fn handle_aged(
        &mut self,
        before: Mono,
        flow: &mut Flow,
        peer: &mut Peer,
        context: &mut Context,
    ) {
        while let Some(waiting) = self.take(|waiting| waiting.arrival.now.mono < before) {
            settle(waiting, waiting.sent, flow, peer, context);
        }
    }

    /// Probes up to this one have had their time: a reply that was to tell of an earlier one has
    /// not come.
    pub(crate) fn handle_expired(
        &mut self,
        number: u64,
        flow: &mut Flow,
        peer: &mut Peer,
        context: &mut Context,
    ) {
        while let Some(waiting) = self.take(|waiting| waiting.number < number) {
            settle(waiting, waiting.sent, flow, peer, context);
        }
    }

    /// No more replies are to come: what waits takes what there is.
    pub(crate) fn settle_all(&mut self, flow: &mut Flow, peer: &mut Peer, context: &mut Context) {
        while let Some(waiting) = self.take(|_| true) {
            settle(waiting, waiting.sent, flow, peer, context);
        }
    }

    /// Takes the oldest reply that waits and is so.
    fn take(&mut self, is: impl Fn(&Waiting) -> bool) -> Option<Waiting> {
        let found = self
            .waiting
            .iter_mut()
            .filter(|waiting| waiting.as_ref().is_some_and(&is));
        found
            .min_by_key(|waiting| waiting.map(|waiting| waiting.number))?
            .take()
    }
}

/// All four stamps are as good as they will be.
fn settle(waiting: Waiting, sent: Stamp, flow: &mut Flow, peer: &mut Peer, context: &mut Context) {
    let Waiting {
        number,
        received,
        arrival,
        ..
    } = waiting;
    flow.counters.settling -= 1;
    let Some(departure) = flow.departure(number, context) else {
        return;
    };
    let elapsed = departure.elapsed(&arrival);
    let delay = without_dwell(elapsed, received, sent);
    flow.publish(arrival.best().at, number, delay, context);
    let Departure {
        left,
        is_comparable,
        ..
    } = departure;
    let stamps = Stamps {
        t: [left, received, sent, arrival.best()],
        received: arrival.now.mono,
        took_ns: arrival.now.mono.since(departure.sent),
        is_comparable,
    };
    let kind = flow.kind();
    let which = Which {
        kind,
        origin: flow.origin,
        number,
    };
    peer.handle_stamps(which, &stamps, context);
    // Behind the word that the peer's clock was set, if these stamps have shown it.
    let at_peer = (received, Some(sent));
    flow.trace_received(number, &departure, at_peer, &arrival, context);
}

/// T4 - T1 less T3 - T2, where that can be: a reflector whose clock was set in between has no dwell to
/// tell, and then nothing is subtracted.
fn without_dwell(
    (elapsed_ns, source): (i64, StampSource),
    received: Stamp,
    sent: Stamp,
) -> Measured {
    let dwell_ns = sent.at.since(received.at);
    // Two clocks' rates may differ by 500 ppm.
    let most_ns = elapsed_ns
        .saturating_add(elapsed_ns / 2_000)
        .saturating_add(STAMP_NOISE_NS);
    match u32::try_from(dwell_ns) {
        Ok(told) if dwell_ns <= most_ns => Measured {
            value_ns: elapsed_ns - dwell_ns,
            stamp: source.min(received.source).min(sent.source),
            dwell_ns: Some(told),
        },
        _ => Measured::whole((elapsed_ns, source)),
    }
}

fn user(at: Wall) -> Stamp {
    Stamp {
        at,
        source: StampSource::User,
    }
}
