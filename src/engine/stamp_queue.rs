//! The transmit stamp queue of a socket: stamps that the kernel owes us, by their numbers.

use std::collections::VecDeque;

use crate::sys::words::{Level, Numbers};

/// The packets that a socket has sent and whose stamps have not come. `K` is what a stamp is wanted
/// for.
///
/// Numbers wrap around. Of two numbers the later one is less than half of all numbers ahead.
#[derive(Debug)]
pub(super) struct StampQueue<K> {
    /// Who was last asked to stamp this socket's packets. `None` if nobody is.
    pub(super) level: Option<Level>,
    pub(super) numbers: Numbers,
    sent: VecDeque<Sent<K>>,
    /// Keys whose stamps can no longer come, or be told from another packet's.
    pub(super) given_up: Vec<K>,
    max: usize,
    /// A stamp is given up once one has come whose number is this much later.
    patience: u32,
    next: u32,
    /// Numbers from before the last renumbering, from and up to, whose stamps may still come.
    doubtful: Option<(u32, u32)>,
    /// Stamps since then that are of one packet for certain.
    certain: u32,
}

#[derive(Clone, Copy, Debug)]
struct Sent<K> {
    number: u32,
    key: Option<K>,
}

impl<K: Copy> StampQueue<K> {
    pub(super) fn new(level: Option<Level>, numbers: Numbers, max: usize, patience: u32) -> Self {
        Self {
            level,
            numbers,
            sent: VecDeque::new(),
            given_up: Vec::new(),
            max,
            patience,
            next: 0,
            doubtful: None,
            certain: 0,
        }
    }

    /// Makes a queue for a socket that is not stamped.
    pub(super) fn off() -> Self {
        Self::new(None, Numbers::Bytes, 0, 0)
    }

    /// True if the kernel owes no stamp, as far as we know.
    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// Returns the number that comes next: on a stream, how many bytes were written.
    pub(super) fn next(&self) -> u32 {
        self.next
    }

    /// Notes that the kernel has taken one datagram, or this many bytes.
    pub(super) fn handle_sent(&mut self, units: u32, mut key: Option<K>) {
        if units == 0 || self.level.is_none() {
            self.given_up.extend(key);
            return;
        }
        self.next = self.next.wrapping_add(units);
        let number = self.next.wrapping_sub(1);
        if self.is_doubtful(number) {
            self.given_up.extend(key.take());
        }
        if self.sent.len() >= self.max {
            let oldest = self.sent.pop_front();
            self.given_up.extend(oldest.and_then(|sent| sent.key));
        }
        self.sent.push_back(Sent { number, key });
    }

    /// Takes in the stamp with this number, and returns what it is wanted for. Gives up those that
    /// are missing by now: their packets were merged into this one, or were never stamped.
    pub(super) fn handle_number(&mut self, number: u32) -> Option<K> {
        if !is_before(number, self.next) {
            return None; // From before the last renumbering.
        }
        let place = self
            .sent
            .binary_search_by(|sent| {
                let ahead = sent.number.wrapping_sub(number).cast_signed();
                ahead.cmp(&0)
            })
            .ok();
        let found = place.and_then(|place| self.sent.remove(place));
        if found.is_some() && !self.is_doubtful(number) {
            // Stamps come in order, but for those that overtake.
            self.certain = self.certain.saturating_add(1);
            if self.certain > self.patience {
                self.doubtful = None;
            }
        }
        while let Some(front) = self.sent.front() {
            let behind = number.wrapping_sub(front.number).cast_signed();
            if behind <= 0 || behind.cast_unsigned() <= self.patience {
                break;
            }
            let front = self.sent.pop_front();
            self.given_up.extend(front.and_then(|sent| sent.key));
        }
        found.and_then(|sent| sent.key)
    }

    /// Begins the numbers at 0 again. With `None` no stamp comes from here on. Gives up all that
    /// are owed.
    pub(super) fn handle_renumbered(&mut self, level: Option<Level>) {
        self.level = level;
        if let Some(oldest) = self.sent.front().map(|sent| sent.number) {
            let (from, to) = self.doubtful.unwrap_or((oldest, self.next));
            let earlier = |one, other| if is_before(one, other) { one } else { other };
            let later = |one, other| if is_before(one, other) { other } else { one };
            self.doubtful = Some((earlier(oldest, from), later(to, self.next)));
        }
        let owed = self.sent.drain(..);
        self.given_up.extend(owed.filter_map(|sent| sent.key));
        self.next = 0;
        self.certain = 0;
    }

    /// True if two packets may have this number.
    fn is_doubtful(&self, number: u32) -> bool {
        let range = self.doubtful;
        range.is_some_and(|(from, to)| number.wrapping_sub(from) < to.wrapping_sub(from))
    }
}

fn is_before(one: u32, other: u32) -> bool {
    one.wrapping_sub(other).cast_signed() < 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(max: usize, patience: u32) -> StampQueue<u64> {
        StampQueue::new(Some(Level::Software), Numbers::Datagrams, max, patience)
    }

    #[test]
    fn datagrams_are_numbered_from_zero() {
        let mut queue = queue(8, 0);
        queue.handle_sent(1, Some(10));
        queue.handle_sent(1, None);
        queue.handle_sent(1, Some(12));
        assert_eq!(queue.handle_number(0), Some(10));
        assert_eq!(queue.handle_number(1), None);
        assert!(!queue.is_empty());
        assert_eq!(queue.handle_number(2), Some(12));
        assert!(queue.is_empty());
        assert_eq!(queue.handle_number(2), None, "once");
        assert!(queue.given_up.is_empty());
    }

    #[test]
    fn bytes_count_to_the_last_of_a_write_and_wrap() {
        let mut queue = queue(8, 0);
        queue.handle_sent(u32::MAX - 9, Some(1));
        assert_eq!(queue.handle_number(u32::MAX - 10), Some(1));
        queue.handle_sent(100, Some(2));
        queue.handle_sent(100, Some(3));
        assert_eq!(queue.handle_number(89), Some(2));
        assert_eq!(queue.handle_number(u32::MAX - 10), None, "sent again");
        assert_eq!(queue.handle_number(189), Some(3));
        assert!(queue.given_up.is_empty());
    }

    #[test]
    fn what_was_merged_is_given_up() {
        let mut queue = queue(8, 0);
        queue.handle_sent(50, Some(1));
        queue.handle_sent(50, Some(2));
        queue.handle_sent(50, Some(3));
        assert_eq!(queue.handle_number(99), Some(2));
        assert_eq!(queue.given_up, [1]);
        assert_eq!(queue.handle_number(149), Some(3));
    }

    #[test]
    fn a_listener_waits_for_those_that_were_overtaken() {
        let mut queue = queue(100, 2);
        for key in 0..6 {
            queue.handle_sent(1, Some(key));
        }
        assert_eq!(queue.handle_number(2), Some(2));
        assert_eq!(queue.handle_number(0), Some(0));
        assert!(queue.given_up.is_empty());
        assert_eq!(queue.handle_number(4), Some(4));
        assert_eq!(queue.given_up, [1]);
    }

    #[test]
    fn stamps_that_never_come_make_room() {
        let mut queue = queue(2, 0);
        for key in 0..4 {
            queue.handle_sent(1, Some(key));
        }
        assert_eq!(queue.given_up, [0, 1]);
    }

    #[test]
    fn numbers_of_before_are_not_mistaken_for_new_ones() {
        let mut queue = queue(8, 0);
        for key in 0..3 {
            queue.handle_sent(1, Some(key));
        }
        assert_eq!(queue.handle_number(0), Some(0));
        queue.handle_renumbered(Some(Level::Software));
        assert_eq!(queue.given_up, [1, 2]);
        assert_eq!(queue.handle_number(1), None);
        // Whether the stamp of number 1 or 2 is the old packet's or the new one's cannot be told.
        for key in 10..14 {
            queue.handle_sent(1, Some(key));
        }
        assert_eq!(queue.given_up, [1, 2, 11, 12]);
        assert_eq!(queue.handle_number(2), None);
        assert_eq!(queue.given_up, [1, 2, 11, 12, 10]);
        assert_eq!(queue.handle_number(3), Some(13));
        assert!(queue.doubtful.is_none());
    }

    #[test]
    fn doubt_ends_with_the_first_stamp_that_is_certain() {
        let mut queue = queue(8, 0);
        for key in 0..1_000 {
            queue.handle_sent(1, Some(key));
        }
        queue.given_up.clear();
        queue.handle_renumbered(Some(Level::Software));
        queue.handle_sent(1, Some(2_000));
        assert_eq!(queue.handle_number(0), Some(2_000));
        queue.handle_sent(1, Some(2_001));
        queue.handle_renumbered(Some(Level::Software));
        queue.given_up.clear();
        queue.handle_sent(1, Some(2_002));
        assert_eq!(queue.handle_number(0), Some(2_002));
        for key in 0..1_000 {
            queue.handle_sent(1, Some(key));
            assert_eq!(
                queue.handle_number(u32::try_from(key).unwrap() + 1),
                Some(key)
            );
        }
        assert!(queue.given_up.is_empty());
    }

    #[test]
    fn a_socket_that_is_not_stamped_keeps_nothing() {
        let mut queue = queue(8, 0);
        queue.level = None;
        queue.handle_sent(1, Some(1));
        assert!(queue.is_empty());
        assert_eq!(queue.given_up, [1]);
    }
}
