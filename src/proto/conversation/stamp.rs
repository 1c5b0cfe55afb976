//! A flow's session with a reflector that is not ours: STAMP (RFC 8762) or TWAMP Light (RFC 5357).
//!
//! A reply is matched by the probe's number, and by its time byte by byte. What else it says is taken as far as it
//! goes: `docs/design/stamp.md` has what becomes of each field.

mod replies;

use replies::{Numbers, Replies};

use super::Scope;
use super::native::{PendingReply, settle};
use crate::proto::follow_ups::Pending;
use crate::proto::life::{LifeEvent, Misread};
use crate::proto::output::Output;
use crate::proto::sample::{Stamp as At, StampSource};
use crate::proto::steady::Steady;
use crate::proto::target::StampOptions;
use crate::proto::transmit::Arrival;
use crate::proto::window::{Reply, Window, low};
use crate::proto::wire::native::{PlainReply, PlainRequest, plain_time};
use crate::proto::wire::text;

/// Pending replies at once: the one whose T3 comes with the next reply, and one more.
const PENDING_MAX: usize = 2;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Stamp {
    options: StampOptions,
    /// The TTL that probes leave with.
    ttl: u8,
    /// Random, or 0 without one.
    ssid: u16,
    /// The first probe of this session, whose number on the wire is 0.
    first: u64,
    /// From this probe on numbers on the wire are one more.
    skips_at: u64,
    replies: Replies,
    hops: Steady,
    /// The flow has gone to another address, whose peer these replies say nothing of.
    is_left: bool,
    /// The reflector has told when an earlier reply left, so it will again.
    follows_up: bool,
    pending: Pending<PendingReply, PENDING_MAX>,
    /// Why replies could not be read, as far as that was told.
    told: Vec<Misread>,
}

impl Stamp {
    pub(super) fn new(options: StampOptions, ttl: Option<u8>) -> Self {
        Self {
            options,
            ttl: ttl.unwrap_or(u8::MAX),
            ssid: 0,
            first: 0,
            skips_at: u64::MAX,
            replies: Replies::default(),
            hops: Steady::default(),
            is_left: false,
            follows_up: false,
            pending: Pending::new(),
            told: Vec::new(),
        }
    }

    /// Begins a session with the next probe, on a fresh 5-tuple.
    pub(super) fn begin(&mut self, scope: &mut Scope<'_>) {
        if self.options.has_ssid {
            self.ssid = scope.context.flow_ids.ssid();
        }
        self.first = scope.window.next_number();
        self.skips_at = u64::MAX;
        self.replies = Replies::default();
        self.follows_up = false;
    }

    /// The flow goes to another address. Returns what is left to be heard from this one.
    pub(super) fn leave(&mut self) -> Self {
        let mut left = std::mem::replace(self, Self::new(self.options, Some(self.ttl)));
        left.is_left = true;
        self.told = std::mem::take(&mut left.told);
        left
    }

    /// Appends the request for probe `number`, which leaves now, padded to `size` bytes.
    pub(super) fn encode(
        &self,
        number: u64,
        size: Option<usize>,
        scope: &Scope<'_>,
        out: &mut Vec<u8>,
    ) {
        let request = PlainRequest {
            seq: self.seq(number),
            sent: scope.context.now.wall,
            error: scope.context.clock_error,
            ssid: self.ssid,
            is_ptp: self.options.is_ptp,
        };
        request.encode(out, size);
    }

    /// Returns a probe's number on the wire.
    fn seq(&self, number: u64) -> u32 {
        low(number - self.first).wrapping_add(u32::from(number >= self.skips_at))
    }

    /// Returns the probe with this number on the wire.
    fn number(&self, window: &Window, seq: u32) -> Option<u64> {
        [0, 1].into_iter().find_map(|skipped| {
            let low = low(self.first).wrapping_add(seq).wrapping_sub(skipped);
            let number = window.widen(low).filter(|number| *number >= self.first)?;
            (self.seq(number) == seq).then_some(number)
        })
    }

    /// Returns the probe that a packet answers, or why it answers none.
    fn read(&self, bytes: &[u8], window: &Window) -> Result<(u64, PlainReply), Misread> {
        if text::decode_datagram(bytes).is_ok() {
            return Err(Misread::Text);
        }
        let packet = PlainReply::decode(bytes).ok_or(Misread::Short(bytes.len()))?;
        let number = self
            .number(window, packet.sender_seq)
            .ok_or(Misread::Number)?;
        // One that is forgotten is only too late.
        let sent = window.sent_at(number).ok_or(Misread::Late)?;
        if packet.sender_sent != plain_time(sent, self.options.is_ptp) {
            return Err(Misread::Time);
        }
        // A reflector of RFC 5357 or RFC 8762 has zeros there.
        if ![0, self.ssid].contains(&packet.ssid) {
            return Err(Misread::Session);
        }
        Ok((number, packet))
    }

    /// True if this answers a probe of the session.
    pub(super) fn is_answered_by(&self, bytes: &[u8], window: &Window) -> bool {
        self.read(bytes, window).is_ok()
    }

    /// A datagram came in. `None` if it is no reply to a probe of this session.
    pub(super) fn handle_packet(
        &mut self,
        arrival: &Arrival,
        bytes: &[u8],
        scope: &mut Scope<'_>,
    ) -> Option<Reply> {
        let (number, packet) = match self.read(bytes, scope.window) {
            Ok(found) => found,
            Err(misread) => {
                self.tell(misread, scope);
                return None;
            }
        };
        let reply = scope.window.handle_reply(number, scope.context);
        if reply == Reply::Unknown {
            return Some(reply);
        }
        if !self.is_left {
            self.learn(number, &packet, arrival, scope);
        }
        self.handle_follow_up(&packet, scope);
        if reply == Reply::Received {
            scope.window.counters.settling += 1;
            let offset_ns = -self.options.utc_offset_ns;
            let pending = PendingReply {
                number,
                reply: packet.seq,
                received: At {
                    at: packet.received.plus(offset_ns),
                    source: StampSource::User,
                },
                sent: packet.sent.plus(offset_ns),
                arrival: *arrival,
            };
            if !self.follows_up || !self.pending.push(number, pending) {
                self.settle(&pending, pending.sent(), scope);
            }
        }
        Some(reply)
    }

    /// Takes what a reply says of the reflector and of the way there.
    fn learn(
        &mut self,
        number: u64,
        packet: &PlainReply,
        arrival: &Arrival,
        scope: &mut Scope<'_>,
    ) {
        let Scope {
            window,
            ends,
            context,
        } = scope;
        ends.peer.handle_name(None, context);
        ends.peer.handle_stated_error(packet.error);
        let numbers = Numbers {
            probe: number,
            first: self.first,
            seq: self.seq(number),
            reply: packet.seq,
        };
        let told = self.replies.handle(numbers, window, context);
        if self.replies.wants_skip() && self.skips_at == u64::MAX {
            self.skips_at = window.next_number();
        }
        if let Some(event) = told {
            context.tell(&window.subject, event);
        }
        // One that arrives with more than it had was changed on the way.
        if let Some(hops) = packet.ttl.and_then(|ttl| self.ttl.checked_sub(ttl)) {
            let (at, origin) = (arrival.best().at, window.origin);
            let before = self.hops.add(hops, context.now.mono);
            let (hops, kind) = (self.hops.value(), window.kind);
            window.routers = Some(hops);
            context.outputs.push_back(Output::Hops {
                origin,
                kind,
                at,
                hops,
                before,
            });
        }
    }

    /// Settles the earlier reply whose departure this one tells, and those that nobody will tell of.
    fn handle_follow_up(&mut self, packet: &PlainReply, scope: &mut Scope<'_>) {
        if let Some(told) = packet.follow_up {
            self.follows_up = true;
            if let Some(pending) = self.pending.take(|pending| pending.reply == told.seq) {
                let stamp = At {
                    at: told.stamp.at.plus(-self.options.utc_offset_ns),
                    ..told.stamp
                };
                self.settle(&pending, stamp, scope);
            }
        }
        let is_past = |pending: &PendingReply| pending.reply != packet.seq;
        self.settle_where(is_past, scope);
    }

    /// Settles the pending replies that match with the T3 that they had.
    pub(super) fn settle_where(
        &mut self,
        is_over: impl Fn(&PendingReply) -> bool,
        scope: &mut Scope<'_>,
    ) {
        while let Some(pending) = self.pending.take(&is_over) {
            self.settle(&pending, pending.sent(), scope);
        }
    }

    fn settle(&self, pending: &PendingReply, sent: At, scope: &mut Scope<'_>) {
        // Nobody at the other end publishes the delay of what we send.
        if let Some(trip) = settle(pending, sent, self.is_left, scope)
            && !self.is_left
        {
            scope.ends.peer.publish_forward(&trip, scope.context);
        }
    }

    /// Tells once of each kind what is wrong with replies.
    fn tell(&mut self, misread: Misread, scope: &mut Scope<'_>) {
        let is_kind =
            |told: &Misread| std::mem::discriminant(told) == std::mem::discriminant(&misread);
        if misread != Misread::Late && !self.told.iter().any(is_kind) {
            self.told.push(misread);
            scope.tell(LifeEvent::Misread(misread));
        }
    }
}
