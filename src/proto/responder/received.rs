//! The sequence numbers of a session's latest requests.

use crate::proto::responder::request::{Body, Number, Request};
use crate::proto::time::Wall;
use crate::proto::wire::text::SEQUENCES;

/// Sequence numbers below the highest in which a duplicate is recognised.
const WINDOW_PROBES: u64 = 1_024;
const WINDOW_WORDS: usize = 16;

/// The place of a request among those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The sender has begun anew.
    First,
    /// The highest so far.
    Next,
    /// Less than one received before it (RFC 4737).
    Reordered,
    /// Received before.
    Duplicate,
    /// Too far behind to be told from a duplicate.
    Stale,
}

/// The numbers received. For a text sender without identifiers they come from its sequence.
#[derive(Debug)]
pub(super) struct ReceiveWindow {
    pub(super) highest: u64,
    /// One bit a number, at the number modulo the window.
    seen: [u64; WINDOW_WORDS],
    /// The sender's time of the newest probe, to tell a duplicate from a wrapped sequence.
    newest_at: Wall,
    flow: FlowId,
    /// The number after one that did not fit in: the sender may have begun anew there.
    anew_at: Option<u64>,
}

/// What stays the same as long as a sender does not restart its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FlowId {
    cookie: Option<u32>,
    is_text: bool,
}

impl FlowId {
    fn of(request: &Request<'_>) -> Self {
        Self {
            cookie: request.cookie,
            is_text: matches!(request.body, Body::Text(_)),
        }
    }
}

impl ReceiveWindow {
    /// Returns the window of a flow that begins with this request.
    pub(super) fn starting_at(request: &Request<'_>) -> Self {
        let highest = match request.number {
            Number::Wire(seq) => u64::from(seq),
            Number::Low(number) => u64::from(number),
        };
        let mut window = Self {
            highest,
            seen: [0; WINDOW_WORDS],
            newest_at: request.sent,
            flow: FlowId::of(request),
            anew_at: None,
        };
        window.mark(highest);
        window
    }

    /// Adds a request. Returns its number and its place among those before it.
    ///
    /// A sender that is not `proven` may be somebody else who fakes its address. So a number far from
    /// the highest moves nothing until the number after it has come too. Nor does one of a proven sender whose
    /// time contradicts it: numbers come round, and somebody may have recorded it.
    pub(super) fn add(&mut self, request: &Request<'_>, is_proven: bool) -> (u64, Order) {
        if self.flow != FlowId::of(request) {
            return self.begin_anew(request);
        }
        let ahead = self.ahead(request);
        let Some(number) = self.highest.checked_add_signed(ahead) else {
            return (0, Order::Stale);
        };
        if self.is_odd(request, ahead, is_proven) {
            let is_first = number == 0 && request.sent > self.newest_at;
            if is_first || self.anew_at == Some(number) {
                return self.begin_anew(request);
            }
            self.anew_at = number.checked_add(1);
            return (number, Order::Stale);
        }
        if ahead > 0 {
            for skipped in (self.highest + 1..number).rev().take(WINDOW_WORDS * 64) {
                self.clear(skipped);
            }
            self.highest = number;
            self.newest_at = request.sent;
            self.mark(number);
            return (number, Order::Next);
        }
        if ahead.unsigned_abs() >= WINDOW_PROBES {
            return (number, Order::Stale);
        }
        if self.is_marked(number) {
            return (number, Order::Duplicate);
        }
        self.mark(number);
        (number, Order::Reordered)
    }

    fn begin_anew(&mut self, request: &Request<'_>) -> (u64, Order) {
        *self = Self::starting_at(request);
        (self.highest, Order::First)
    }

    /// True if a request that is so far ahead does not follow those before it: it leaves a window out, or
    /// was sent after the newest under a number before that one's. What is sent again later is neither.
    /// A `proven` sender may leave out what it likes.
    fn is_odd(&self, request: &Request<'_>, ahead: i64, is_proven: bool) -> bool {
        let is_far = ahead.unsigned_abs() >= WINDOW_PROBES;
        let is_later = request.sent > self.newest_at;
        match (is_proven, ahead > 0) {
            (false, true) => is_far,
            (false, false) => is_later,
            (true, true) => is_far && request.sent < self.newest_at,
            (true, false) => is_far && is_later,
        }
    }

    /// Returns how far the request's number is ahead of the highest; negative or 0 if it is not.
    fn ahead(&self, request: &Request<'_>) -> i64 {
        let seq = match request.number {
            Number::Wire(seq) => seq,
            Number::Low(number) => {
                #[expect(clippy::cast_possible_truncation, reason = "the low half is compared")]
                let highest = self.highest as u32;
                let nearest = i64::from(number.wrapping_sub(highest).cast_signed());
                let is_number = self.highest.checked_add_signed(nearest).is_some();
                // There is none before 0, so it is one after all.
                return if is_number {
                    nearest
                } else {
                    nearest + (1 << 32)
                };
            }
        };
        let modulus = i64::try_from(SEQUENCES).expect("the modulus is 101");
        let of_highest = i64::try_from(self.highest % SEQUENCES).expect("less than 101");
        let forward = (i64::from(seq) - of_highest).rem_euclid(modulus);
        let nearest = if forward > modulus / 2 {
            forward - modulus
        } else {
            forward
        };
        // Without an identifier, only the time tells 101 losses in a row from a duplicate.
        let wrapped = nearest <= 0 && request.sent > self.newest_at;
        if wrapped { nearest + modulus } else { nearest }
    }

    fn mark(&mut self, number: u64) {
        let (word, bit) = place(number);
        self.seen[word] |= bit;
    }

    fn clear(&mut self, number: u64) {
        let (word, bit) = place(number);
        self.seen[word] &= !bit;
    }

    fn is_marked(&self, number: u64) -> bool {
        let (word, bit) = place(number);
        self.seen[word] & bit != 0
    }

    /// Returns which of the 64 requests before this one arrived: bit i is the one i + 1 before.
    pub(super) fn seen_before(&self, number: u64) -> u64 {
        let oldest = (self.highest + 1).saturating_sub(WINDOW_PROBES);
        let known = match u32::try_from(number.saturating_sub(oldest)) {
            Ok(known) if known < 64 => !(u64::MAX << known),
            _ => u64::MAX,
        };
        // The 64 lie in two neighbouring words, the oldest lowest.
        let (word, bit) = place(number.wrapping_add(WINDOW_PROBES - 64));
        let shift = bit.trailing_zeros();
        let next = self.seen[(word + 1) % self.seen.len()];
        let ascending = self.seen[word] >> shift | next.checked_shl(64 - shift).unwrap_or(0);
        ascending.reverse_bits() & known
    }
}

fn place(number: u64) -> (usize, u64) {
    let index = usize::try_from(number % WINDOW_PROBES).expect("less than the window");
    (index / 64, 1 << (index % 64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Two words say what asking for each of the 64 numbers would.
        #[test]
        fn the_64_before_a_number_are_those_that_are_marked(
            seen in any::<[u64; WINDOW_WORDS]>(),
            highest in prop_oneof![0_u64..3_000, any::<u32>().prop_map(u64::from)],
            back in 0_u64..1_200,
        ) {
            let flow = FlowId { cookie: None, is_text: false };
            let window = ReceiveWindow { highest, seen, newest_at: Wall::default(), flow, anew_at: None };
            let number = highest.saturating_sub(back);
            let oldest = (highest + 1).saturating_sub(WINDOW_PROBES);
            let bits = window.seen_before(number);
            for bit in 0..64 {
                let before = number.checked_sub(bit + 1);
                let expected = before.is_some_and(|before| before >= oldest && window.is_marked(before));
                prop_assert_eq!(bits >> bit & 1 == 1, expected, "{} before {}", bit + 1, number);
            }
        }
    }
}
