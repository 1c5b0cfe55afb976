//! What the native wire (STAMP, RFC 8762) adds to a session: the numbers of its replies, the transmit
//! stamps that later replies carry, and the requests whose own transmit stamps have not come.

use crate::proto::follow_ups::{FollowUps, Pending};
use crate::proto::responder::publication::Measured;
use crate::proto::sample::Stamp;
use crate::proto::transmit::Arrival;
use crate::proto::wire::native::{ErrorEstimate, ReplyFields, Request};

/// Later requests that carry T1 of a request.
const TOLD_BY: u32 = 2;

/// Pending requests at once: those whose T1 can still come, and one more.
const PENDING_MAX: usize = TOLD_BY as usize + 1;

/// A request that is measured but for its T1.
#[derive(Clone, Copy, Debug)]
struct PendingRequest {
    seq: u32,
    delay: Measured,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Reflection {
    /// A random number that tells this session from one before a restart.
    pub(super) session: u32,
    /// The number of the next reply: replies so far.
    next_seq: u32,
    /// Different requests so far.
    received: u32,
    /// T3 of the last replies.
    left: FollowUps<3>,
    pending: Pending<PendingRequest, PENDING_MAX>,
}

impl Reflection {
    pub(super) fn new(session: u32) -> Self {
        Self {
            session,
            next_seq: 0,
            received: 0,
            left: FollowUps::new(),
            pending: Pending::new(),
        }
    }

    /// A request came in. Gives the delays that are complete with it to `publish`; its own is pending,
    /// unless the request is a copy and has no `number` therefore, or is not `fresh` and may be one.
    pub(super) fn handle_request(
        &mut self,
        arrival: &Arrival,
        request: &Request<'_>,
        number: Option<u64>,
        is_fresh: bool,
        mut publish: impl FnMut(Measured),
    ) {
        let ours = request.ours.as_ref().filter(|_| is_fresh);
        // They stand the newest first, and are published in the order of the requests.
        let told = ours
            .into_iter()
            .flat_map(|ours| ours.follow_ups.into_iter().rev());
        for told in told.flatten() {
            if let Some(found) = self.pending.take(|pending| pending.seq == told.seq) {
                publish(Measured {
                    left: told.stamp,
                    ..found.delay
                });
            }
        }
        let is_past = |pending: &PendingRequest| {
            request.seq.wrapping_sub(pending.seq).cast_signed() >= TOLD_BY.cast_signed()
        };
        while let Some(past) = self.pending.take(is_past) {
            publish(past.delay);
        }
        let Some(number) = number else { return };
        self.received = self.received.wrapping_add(1);
        if !is_fresh {
            return;
        }
        let delay = Measured {
            number,
            left: Stamp::user(request.sent),
            received: arrival.best(),
            correction_ns: ours.and_then(|ours| ours.offset_ns),
            is_alone: ours.is_none(),
        };
        let seq = request.seq;
        // No later request of another's sender tells T1 better. Those of ours whose T1 can still come fit, so
        // without room this one is older than they are.
        if delay.is_alone || !self.pending.push(number, PendingRequest { seq, delay }) {
            publish(delay);
        }
    }

    /// Returns what the next reply says: it answers a request that came at `arrival`, before which
    /// those in `seen` came.
    pub(super) fn next_reply<'a>(
        &mut self,
        arrival: &Arrival,
        seen: u64,
        error: ErrorEstimate,
        name: &'a str,
    ) -> ReplyFields<'a> {
        let seq = self.next_seq;
        self.next_seq = seq.wrapping_add(1);
        ReplyFields {
            seq,
            sent: arrival.now.wall,
            error,
            received: arrival.best(),
            follow_ups: self.left.newest_first(),
            session: self.session,
            received_count: self.received,
            seen,
            name,
            headers: None,
            is_light: false,
            totals: None,
        }
    }

    /// The kernel's stamp of a reply's departure has come: the next replies carry it.
    pub(super) fn handle_left(&mut self, seq: u32, stamp: Stamp) {
        self.left.push(seq, stamp);
    }

    /// Gives all pending delays to `publish`, as they are: no more requests are to come.
    pub(super) fn settle(&mut self, mut publish: impl FnMut(Measured)) {
        while let Some(pending) = self.pending.take(|_| true) {
            publish(pending.delay);
        }
    }
}
