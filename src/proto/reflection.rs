//! One STAMP session as its reflector keeps it: the numbers of its replies, the transmit stamps that
//! later replies tell, and the requests whose own transmit stamps are still to come.

use crate::proto::context::Context;
use crate::proto::sample::{Stamp, StampSource};
use crate::proto::session::{Measured, Sender};
use crate::proto::transmit::Arrival;
use crate::proto::wire::native::{self, FollowUp, ReplyFields, Request};

/// Requests that tell T1 of a request.
const TOLD_BY: u32 = 2;

/// Requests that wait at once: those that can still be told of, and one more.
const WAITING_MAX: usize = TOLD_BY as usize + 1;

/// A request that was measured but for its T1.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    seq: u32,
    delay: Measured,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Reflection {
    /// A random number that tells this session from one before a restart.
    session: u32,
    /// Replies so far: the number of the next one.
    replies: u32,
    /// Different requests so far.
    received: u32,
    /// T3 of the last replies of which it is known, the newest first.
    left: [Option<FollowUp>; 3],
    waiting: [Option<Waiting>; WAITING_MAX],
}

impl Reflection {
    pub(crate) fn new(context: &mut Context) -> Self {
        Self {
            session: context.session_ids.session(),
            replies: 0,
            received: 0,
            left: [None; 3],
            waiting: [None; WAITING_MAX],
        }
    }

    /// A request came in. The delays that it completes are published; its own waits, unless this
    /// number was here before.
    pub(crate) fn handle_request(
        &mut self,
        arrival: Arrival,
        request: &Request<'_>,
        (sender, new): (&mut Sender, Option<u64>),
        context: &mut Context,
    ) {
        let ours = request.ours.as_ref();
        for told in ours.into_iter().flat_map(|ours| ours.follow_ups).flatten() {
            if let Some(mut waiting) = self.take(|waiting| waiting.seq == told.seq) {
                waiting.delay.left = told.stamp;
                sender.measure(waiting.delay, context);
            }
        }
        let is_past = |waiting: &Waiting| {
            request.seq.wrapping_sub(waiting.seq).cast_signed() >= TOLD_BY.cast_signed()
        };
        while let Some(waiting) = self.take(is_past) {
            sender.measure(waiting.delay, context);
        }
        let Some(number) = new else { return };
        self.received = self.received.wrapping_add(1);
        let delay = Measured {
            number,
            left: Stamp {
                at: request.sent,
                source: StampSource::User,
            },
            received: arrival.best(),
            correction_ns: ours.and_then(|ours| ours.offset_ns),
            is_alone: false,
        };
        let waiting = Waiting {
            seq: request.seq,
            delay,
        };
        match self.waiting.iter_mut().find(|waiting| waiting.is_none()) {
            Some(free) => *free = Some(waiting),
            // Those that can still be told of fit, so this one is older than they are.
            None => sender.measure(delay, context),
        }
    }

    /// Appends the answer to a request, of exactly its length. Gives the reply's number.
    pub(crate) fn answer(
        &mut self,
        arrival: Arrival,
        (bytes, seen): (&[u8], u64),
        name: &str,
        (error, out): (native::ErrorEstimate, &mut Vec<u8>),
    ) -> u32 {
        let seq = self.replies;
        self.replies = seq.wrapping_add(1);
        let fields = ReplyFields {
            seq,
            sent: arrival.now.wall,
            error,
            received: arrival.best(),
            follow_ups: self.left,
            session: self.session,
            received_count: self.received,
            seen,
            name,
        };
        native::encode_reply(out, bytes, &fields);
        seq
    }

    /// The kernel's stamp of a reply's departure has come: the next replies tell it.
    pub(crate) fn handle_left(&mut self, seq: u32, stamp: Stamp) {
        let [newest, second, _] = self.left;
        let is_newer = newest.is_none_or(|newest| seq.wrapping_sub(newest.seq).cast_signed() > 0);
        if is_newer {
            self.left = [Some(FollowUp { seq, stamp }), newest, second];
        }
    }

    /// The sender has gone: what waits takes what there is.
    pub(crate) fn settle_all(&mut self, sender: &mut Sender, context: &mut Context) {
        while let Some(waiting) = self.take(|_| true) {
            sender.measure(waiting.delay, context);
        }
    }

    /// Takes the oldest request that waits and is so.
    fn take(&mut self, is: impl Fn(&Waiting) -> bool) -> Option<Waiting> {
        let found = self
            .waiting
            .iter_mut()
            .filter(|waiting| waiting.as_ref().is_some_and(&is));
        found
            .min_by_key(|waiting| waiting.map(|waiting| waiting.delay.number))?
            .take()
    }
}
