//! The addresses of a target, and which of them its flows use.
//!
//! A name may lead to several, of which some do not answer: a peer that listens on one family, say.
//!
//! 1. The answer's first address is used first. Its families take turns behind that.
//! 2. An address that was found silent is left for another one: for one on which more flows had
//!    worked, else for the one that has failed least often. Of equals one that has answered before
//!    goes before one that never did.
//! 3. An address on which some flows work is left only for one that was never tried or did better:
//!    a port that is filtered everywhere is no reason to go round.
//! 4. An address that works stays in use until it is [gone](crate::proto::absence) from the answers, so a name whose
//!    answer rotates moves nothing. One that does not is left at the first answer that lacks it.

use std::cmp::Reverse;

use crate::limits::RESOLVED_ADDRESSES_MAX;
use crate::proto::absence::Absences;
use crate::proto::families::in_turn;
use crate::proto::target::Address;
use crate::proto::time::Mono;

/// An address is used for so long at least, however soon it is found silent.
const STAY_LEAST_NS: u64 = 1_000_000_000;

/// An address, and how it did.
#[derive(Clone, Copy, Debug)]
struct Known {
    address: Address,
    /// It has answered a probe once.
    has_answered: bool,
    /// Times in a row that it was left without a flow that works.
    failures: u32,
    /// Flows that worked when it was left last; `None` before that.
    worked: Option<usize>,
    /// Answers in a row that have lacked it. Only the address in use is kept without an answer that has it.
    absent: u32,
}

impl Known {
    const fn new(address: Address) -> Self {
        Self {
            address,
            has_answered: false,
            failures: 0,
            worked: None,
            absent: 0,
        }
    }
}

/// How the flows do since they came to the address in use.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stay {
    /// One of them has had a reply.
    pub(crate) is_answered: bool,
    /// Flows that have had replies and are not silent now.
    pub(crate) working: usize,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    /// In the order in which they are tried; one in use that the answer lacks comes last.
    known: Vec<Known>,
    /// The place of the one in use.
    used: usize,
    /// Since when it is in use.
    since: Mono,
    absences: Absences,
}

impl Addresses {
    /// Returns the address in use; `None` before the first answer.
    pub(crate) fn current(&self) -> Option<Address> {
        self.known.get(self.used).map(|known| known.address)
    }

    /// True if the address in use has never answered, and another one has: it gets little time.
    pub(crate) fn is_trial(&self) -> bool {
        let has_answered = |known: &Known| known.has_answered && known.absent == 0;
        let is_used = self
            .known
            .get(self.used)
            .is_some_and(|known| known.has_answered);
        !is_used && self.known.iter().any(has_answered)
    }

    /// True if the address in use has not been in use before.
    pub(crate) fn is_first_use(&self) -> bool {
        let used = self.known.get(self.used);
        used.is_some_and(|known| known.worked.is_none())
    }

    /// Takes the answer to a look-up; an empty one changes nothing. Returns the address to move to, if the one
    /// in use is gone from the answers, or not in this one and does not work.
    pub(crate) fn take_answer(
        &mut self,
        answer: &[Address],
        stay: Stay,
        now: Mono,
    ) -> Option<Address> {
        if answer.is_empty() {
            return None;
        }
        let mut used = self.known.get(self.used).copied();
        if let Some(used) = &mut used {
            used.has_answered |= stay.is_answered;
            if answer.contains(&used.address) {
                self.absences
                    .handle_return(std::mem::take(&mut used.absent));
            } else {
                used.absent = used.absent.saturating_add(1);
            }
        }
        let remember = |address: Address| {
            let before = used.iter().chain(&self.known);
            let before = before.copied().find(|known| known.address == address);
            before.unwrap_or_else(|| Known::new(address))
        };
        let tried = in_turn(answer).take(RESOLVED_ADDRESSES_MAX);
        self.known = tried.map(remember).collect();
        let place = |is: &dyn Fn(&Known) -> bool| self.known.iter().position(is);
        if let Some(used) = used {
            if let Some(kept) = place(&|known| known.address == used.address) {
                self.used = kept;
                return None;
            }
            if stay.working > 0 && !self.absences.is_gone(used.absent) {
                self.used = self.known.len();
                self.known.push(used);
                return None;
            }
        }
        self.used = place(&|known| known.has_answered).unwrap_or(0);
        self.since = now;
        self.current()
    }

    /// A flow is silent on the address in use. Returns the address to move to, if another one is to
    /// be tried now.
    pub(crate) fn next(&mut self, stay: Stay, now: Mono) -> Option<Address> {
        if now.since(self.since) < STAY_LEAST_NS {
            return None;
        }
        let count = self.known.len();
        let behind = (1..count).map(|ahead| (self.used + ahead) % count);
        let behind = behind.filter(|place| self.known[*place].absent == 0);
        let is_better = |place: &usize| {
            let worked = self.known[*place].worked;
            stay.working == 0 || worked.is_none_or(|worked| worked > stay.working)
        };
        let next = behind.filter(is_better).min_by_key(|place| {
            let Known {
                has_answered,
                failures,
                worked,
                ..
            } = self.known[*place];
            (Reverse(worked.unwrap_or(0)), failures, !has_answered)
        })?;
        let left = &mut self.known[self.used];
        left.has_answered |= stay.is_answered;
        left.worked = Some(stay.working);
        left.failures = match (stay.working, stay.is_answered) {
            (0, false) => left.failures.saturating_add(1),
            (0, true) => 1,
            _ => 0,
        };
        self.used = next;
        self.since = now;
        self.current()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const SILENT: Stay = Stay {
        is_answered: false,
        working: 0,
    };

    fn ip(last: u8) -> Address {
        IpAddr::from([192, 0, 2, last]).into()
    }

    fn at(seconds: u64) -> Mono {
        Mono::from_nanos(seconds * 1_000_000_000)
    }

    fn working(working: usize) -> Stay {
        Stay {
            is_answered: working > 0,
            working,
        }
    }

    fn answered(answer: &[u8]) -> Addresses {
        let mut addresses = Addresses::default();
        let answer: Vec<Address> = answer.iter().copied().map(ip).collect();
        let first = addresses.take_answer(&answer, SILENT, at(0));
        assert_eq!(first, Some(answer[0]));
        addresses
    }

    /// The addresses used in turn from second 10 on, with what `stay` says of each.
    fn tour(addresses: &mut Addresses, moves: u64, stay: impl Fn(Address) -> Stay) -> Vec<Address> {
        let mut tour = Vec::new();
        for second in 10..10 + moves {
            let current = addresses.current().expect("there is one");
            tour.extend(addresses.next(stay(current), at(second)));
        }
        tour
    }

    #[test]
    fn silent_addresses_are_tried_in_turn_for_ever() {
        let mut addresses = answered(&[1, 2, 3]);
        let tour = tour(&mut addresses, 7, |_| SILENT);
        assert_eq!(tour, [2, 3, 1, 2, 3, 1, 2].map(ip));
    }

    #[test]
    fn one_address_is_never_left() {
        let mut addresses = answered(&[1]);
        assert_eq!(addresses.next(SILENT, at(100)), None);
        assert!(!addresses.is_trial());
    }

    #[test]
    fn nothing_is_left_within_a_second() {
        let mut addresses = answered(&[1, 2]);
        assert_eq!(addresses.next(SILENT, Mono::from_nanos(999_999_999)), None);
        assert_eq!(addresses.next(SILENT, at(1)), Some(ip(2)));
        assert_eq!(addresses.next(SILENT, at(1)), None);
        assert_eq!(addresses.next(SILENT, at(2)), Some(ip(1)));
    }

    #[test]
    fn one_that_has_answered_goes_before_those_that_never_did() {
        let mut addresses = answered(&[1, 2, 3]);
        // The second one works until it falls silent; the first one has failed as often.
        assert_eq!(addresses.next(SILENT, at(10)), Some(ip(2)));
        let silent_now = Stay {
            is_answered: true,
            working: 0,
        };
        assert_eq!(addresses.next(silent_now, at(20)), Some(ip(3)));
        assert!(addresses.is_trial());
        assert_eq!(addresses.next(SILENT, at(22)), Some(ip(2)));
        assert!(!addresses.is_trial());
        let next = tour(&mut addresses, 3, |_| SILENT);
        assert!(next.is_empty(), "too soon: {next:?}");
        // Then each in its turn again.
        let mut all: Vec<Address> = (0..3)
            .filter_map(|turn| addresses.next(SILENT, at(100 + turn)))
            .collect();
        all.sort();
        assert_eq!(all, [1, 2, 3].map(ip));
    }

    #[test]
    fn a_port_that_is_filtered_everywhere_is_no_reason_to_go_round() {
        let mut addresses = answered(&[1, 2]);
        let tour = tour(&mut addresses, 100, |_| working(1));
        assert_eq!(tour, [ip(2)]);
    }

    #[test]
    fn the_address_where_more_flows_work_is_found() {
        let best = |address| working(if address == ip(2) { 2 } else { 1 });
        let mut addresses = answered(&[1, 2, 3]);
        // One flow fails on each, say: the third one is tried, too, and was no better.
        assert_eq!(tour(&mut addresses, 100, best), [2, 3, 2].map(ip));
        // Where nothing works any more it is the first to be tried again.
        let mut addresses = answered(&[1, 2, 3]);
        assert_eq!(addresses.next(working(1), at(10)), Some(ip(2)));
        assert_eq!(addresses.next(SILENT, at(20)), Some(ip(1)));
    }

    #[test]
    fn an_address_is_kept_while_the_answer_has_it() {
        let mut addresses = answered(&[1, 2]);
        assert_eq!(addresses.take_answer(&[ip(2), ip(1)], SILENT, at(5)), None);
        assert_eq!(addresses.current(), Some(ip(1)));
        assert_eq!(addresses.next(SILENT, at(10)), Some(ip(2)));
        assert_eq!(addresses.take_answer(&[ip(2)], working(1), at(20)), None);
        // Without it, one that has answered goes before the answer's first.
        assert_eq!(
            addresses.take_answer(&[ip(1), ip(2)], working(1), at(30)),
            None
        );
        assert_eq!(addresses.next(SILENT, at(40)), Some(ip(1)));
        let moved = addresses.take_answer(&[ip(3), ip(2)], SILENT, at(50));
        assert_eq!(moved, Some(ip(2)));
    }

    #[test]
    fn an_address_that_works_is_kept_until_three_answers_lack_it() {
        let mut addresses = answered(&[1]);
        for second in 1..3 {
            assert_eq!(
                addresses.take_answer(&[ip(2)], working(1), at(second)),
                None
            );
            assert_eq!(addresses.current(), Some(ip(1)));
        }
        let moved = addresses.take_answer(&[ip(2)], working(1), at(3));
        assert_eq!(moved, Some(ip(2)));
        // One that does not work is left at once, and for what the answer has.
        let mut addresses = answered(&[1]);
        assert_eq!(addresses.take_answer(&[ip(2)], working(1), at(1)), None);
        assert_eq!(addresses.next(SILENT, at(2)), Some(ip(2)));
        let mut addresses = answered(&[1]);
        assert_eq!(addresses.take_answer(&[ip(2)], working(1), at(1)), None);
        assert_eq!(addresses.take_answer(&[ip(2)], SILENT, at(2)), Some(ip(2)));
    }

    #[test]
    fn a_name_that_rotates_moves_nothing_while_the_address_in_use_works() {
        let mut addresses = answered(&[1]);
        for second in 1..=1_000 {
            let answer = [ip(if second % 2 == 0 { 1 } else { 2 })];
            assert_eq!(addresses.take_answer(&answer, working(1), at(second)), None);
        }
        // It has come back after one answer that lacked it: four in a row must.
        for second in 1_001..1_004 {
            assert_eq!(
                addresses.take_answer(&[ip(2)], working(1), at(second)),
                None
            );
        }
        let moved = addresses.take_answer(&[ip(2)], working(1), at(1_004));
        assert_eq!(moved, Some(ip(2)));
    }

    #[test]
    fn the_second_address_that_is_tried_is_of_the_other_family() {
        let answer = ["2001:db8::1", "2001:db8::2", "192.0.2.1"];
        let answer = answer.map(|text| text.parse::<IpAddr>().expect("an address").into());
        let mut addresses = Addresses::default();
        let first = addresses.take_answer(&answer, SILENT, at(0));
        assert_eq!(first, Some(answer[0]));
        let tour = tour(&mut addresses, 3, |_| SILENT);
        assert_eq!(tour, [answer[2], answer[1], answer[0]]);
    }

    #[test]
    fn no_answer_is_too_long() {
        let long: Vec<Address> = (0..=u8::MAX).map(ip).collect();
        let mut addresses = Addresses::default();
        addresses.take_answer(&long, SILENT, at(0));
        assert_eq!(addresses.known.len(), RESOLVED_ADDRESSES_MAX);
    }
}
