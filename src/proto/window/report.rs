//! Receive reports: what the reflector's replies say about the requests before them.
//!
//! A reply on the native wire counts the different requests that its session has received, and names
//! those among the last 64.

/// Requests before its own that a reply names.
pub(super) const NAMED: u64 = 64;

/// Whether a probe has reached the reflector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// No reply has said anything about it.
    Unknown,
    /// A later one reached it, and this one had not.
    Missing,
    Reached,
}

/// What the receive reports have said so far; of those in order, the last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reported {
    /// The reflector's session.
    pub(super) session: u32,
    /// The session can say of no probe before this that it is missing.
    pub(super) first: u64,
    /// The probe that the reply answered.
    pub(super) highest: u64,
    /// Requests that had been received by then.
    pub(super) received: u32,
    /// Bit i: the probe i + 1 before `highest` is known to have reached the reflector, which nothing changes
    /// any more.
    pub(super) reached: u64,
}

impl Reported {
    /// Returns `reached` as of the probes before `number`. To look at each of them again with every reply
    /// would drag a page of memory through the cache for every probe.
    pub(super) fn reached_before(&self, number: u64) -> u64 {
        if let Some(ahead) = number.checked_sub(self.highest + 1) {
            let highest = shifted_left(1, ahead);
            return shifted_left(shifted_left(self.reached, 1), ahead) | highest;
        }
        let behind = u32::try_from(self.highest - number).unwrap_or(u32::MAX);
        self.reached.checked_shr(behind).unwrap_or(0)
    }

    /// A reply to `number` has named those that had reached it.
    pub(super) fn learn(&mut self, number: u64, named: u64) {
        if let Some(behind) = self.highest.checked_sub(number) {
            let answered = if behind == 0 {
                0
            } else {
                shifted_left(1, behind - 1)
            };
            self.reached |= shifted_left(named, behind) | answered;
        } else {
            self.reached = self.reached_before(number) | named;
            self.highest = number;
        }
    }
}

fn shifted_left(bits: u64, places: u64) -> u64 {
    let places = u32::try_from(places).unwrap_or(u32::MAX);
    bits.checked_shl(places).unwrap_or(0)
}

/// What a reply says about the requests before its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReceiveReport {
    /// The reflector's session.
    pub(crate) session: u32,
    /// Different requests received in it, this one included.
    pub(crate) received: u32,
    /// Bit i: the request i + 1 before this one is among them.
    pub(crate) seen: u64,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The bits say the same as a set of numbers would, whatever order replies come in.
        #[test]
        fn what_has_reached_is_remembered(
            replies in prop::collection::vec((-80_i64..90, any::<u64>()), 1..40),
            asked in -70_i64..140,
        ) {
            let mut reported = Reported { session: 1, first: 0, highest: 1_000, received: 1, reached: 0 };
            let mut reached = BTreeSet::from([1_000]);
            for (apart, named) in replies {
                let number = reported.highest.saturating_add_signed(apart);
                reported.learn(number, named);
                reached.insert(number);
                reached.extend((0..NAMED).filter(|bit| named >> bit & 1 == 1).map(|bit| number - 1 - bit));
                prop_assert!(reported.highest >= number);
            }
            let number = reported.highest.saturating_add_signed(asked);
            let bits = reported.reached_before(number);
            for bit in 0..NAMED {
                let named = number - 1 - bit;
                // Of those before the last 64 nothing is kept, and they are looked at again.
                let is_kept = named + NAMED >= reported.highest;
                let expected = is_kept && named <= reported.highest && reached.contains(&named);
                prop_assert_eq!(bits >> bit & 1 == 1, expected, "{} of {:?}", named, reported);
            }
        }
    }
}
