//! The timer wheel: hierarchical, exact to the nanosecond, without allocation in steady state.
//!
//! Nine levels of 64 slots cover the whole range of a [`Mono`]. A slot of the lowest level is 2^14
//! ns (16 us) wide and sorted, so timers fire in the order of their deadlines. A slot of level *n*
//! is 64^*n* times as wide, and is spread over the lower levels when its time comes. A timer's
//! level is the highest base-64 digit of the tick in which its deadline differs from the time
//! reached. So every slot ahead is in the same turn of its level, and the first occupied slot of
//! the lowest occupied level holds the earliest timer.

use crate::proto::time::Mono;

const TICK_BITS: u32 = 14;
const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
/// 14 bits of nanoseconds within a tick and nine digits of six cover 64 bits.
const LEVELS: usize = 9;

/// Marks the end of a list.
const NIL: u32 = u32::MAX;

/// Identifies a timer for its cancellation. No later timer has the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerKey {
    index: u32,
    generation: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry<T> {
    /// `None` while the entry is on the free list.
    payload: Option<T>,
    deadline: Mono,
    /// The number of insertions so far. Timers of equal deadline fire in this order.
    order: u64,
    generation: u32,
    level: u8,
    slot: u8,
    previous: u32,
    next: u32,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    first: u32,
    last: u32,
}

/// Holds timers by deadline, each with a payload.
#[derive(Debug)]
pub struct Wheel<T> {
    /// No timer is due before this; slots are laid out from here.
    reached: Mono,
    levels: Box<[[Slot; SLOTS]; LEVELS]>,
    /// One bit for each slot that is not empty.
    occupied: [u64; LEVELS],
    entries: Vec<Entry<T>>,
    /// Unused entries, linked by `next`.
    free: u32,
    insertions: u64,
    len: usize,
    /// The earliest deadline, cached from its first search until it changes.
    earliest: Option<Mono>,
}

impl<T: Copy> Wheel<T> {
    /// Returns an empty wheel that has reached `now`.
    pub fn new(now: Mono) -> Self {
        let empty = Slot {
            first: NIL,
            last: NIL,
        };
        Self {
            reached: now,
            levels: Box::new([[empty; SLOTS]; LEVELS]),
            occupied: [0; LEVELS],
            entries: Vec::new(),
            free: NIL,
            insertions: 0,
            len: 0,
            earliest: None,
        }
    }

    /// Returns the number of timers that have neither fired nor been cancelled.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True without timers.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sets a timer. One whose deadline has passed fires at the next [`pop`](Self::pop).
    pub fn insert(&mut self, deadline: Mono, payload: T) -> TimerKey {
        self.insertions += 1;
        let index = self.take_entry(deadline, payload);
        self.place(index);
        self.len += 1;
        match &mut self.earliest {
            Some(earliest) => *earliest = deadline.min(*earliest),
            // With others in the wheel, the earliest of them is unknown now.
            None if self.len == 1 => self.earliest = Some(deadline),
            None => {}
        }
        TimerKey {
            index,
            generation: self.entries[index as usize].generation,
        }
    }

    /// Cancels a timer and returns its payload; `None` without one, or if it has already fired or been cancelled.
    pub fn cancel(&mut self, key: impl Into<Option<TimerKey>>) -> Option<T> {
        let key = key.into()?;
        let entry = self.entries.get(key.index as usize)?;
        if entry.generation != key.generation {
            return None;
        }
        entry.payload?;
        self.remove(key.index)
    }

    /// Removes the earliest timer whose deadline is not after `now`. Returns it with its deadline.
    /// Timers of equal deadline come in the order of insertion. None comes early.
    pub fn pop(&mut self, now: Mono) -> Option<(Mono, T)> {
        if self.earliest.is_some_and(|earliest| earliest > now) {
            self.reach(now);
            return None;
        }
        loop {
            let Some((level, slot)) = self.first_occupied() else {
                self.reach(now);
                return None;
            };
            if level == 0 {
                let first = self.levels[0][slot].first;
                let deadline = self.entries[first as usize].deadline;
                if deadline > now {
                    self.earliest = Some(deadline);
                    self.reach(now);
                    return None;
                }
                return self.remove(first).map(|payload| (deadline, payload));
            }
            let start = self.slot_start(level, slot);
            if start > now {
                self.reach(now);
                return None;
            }
            self.reached = self.reached.max(start);
            self.spread(level, slot);
        }
    }

    /// Returns the exact earliest deadline. The next call without a change between them is free.
    pub fn next_deadline(&mut self) -> Option<Mono> {
        if self.earliest.is_none() {
            let (level, slot) = self.first_occupied()?;
            // Only the lowest level's slots are sorted.
            let mut index = self.levels[level][slot].first;
            let mut earliest = self.entries[index as usize].deadline;
            while level > 0 && index != NIL {
                let entry = &self.entries[index as usize];
                earliest = earliest.min(entry.deadline);
                index = entry.next;
            }
            self.earliest = Some(earliest);
        }
        self.earliest
    }

    /// Advances to `now`, before which no timer is left. No slot changes its place, because a slot
    /// that contains `now` has been spread before.
    fn reach(&mut self, now: Mono) {
        // The earliest may be known to lie ahead although its slot has begun.
        while let Some((level, slot)) = self.first_occupied()
            && level > 0
            && self.slot_start(level, slot) <= now
        {
            self.reached = self.reached.max(self.slot_start(level, slot));
            self.spread(level, slot);
        }
        self.reached = self.reached.max(now);
    }

    fn first_occupied(&self) -> Option<(usize, usize)> {
        let level = self.occupied.iter().position(|slots| *slots != 0)?;
        Some((level, self.occupied[level].trailing_zeros() as usize))
    }

    /// Returns when the time of a slot ahead begins.
    fn slot_start(&self, level: usize, slot: usize) -> Mono {
        let shift = TICK_BITS + DIGIT_BITS * u32::try_from(level).expect("there are nine levels");
        // The slot is in the turn that the wheel has reached.
        let turn = self
            .reached
            .as_nanos()
            .checked_shr(shift + DIGIT_BITS)
            .unwrap_or(0);
        let turn_ns = turn.checked_shl(shift + DIGIT_BITS).unwrap_or(0);
        Mono::from_nanos(turn_ns | (slot as u64) << shift)
    }

    /// Moves all timers of a slot whose time has begun to lower levels.
    fn spread(&mut self, level: usize, slot: usize) {
        let mut index = self.levels[level][slot].first;
        self.levels[level][slot] = Slot {
            first: NIL,
            last: NIL,
        };
        self.occupied[level] &= !(1 << slot);
        while index != NIL {
            let next = self.entries[index as usize].next;
            self.place(index);
            index = next;
        }
    }

    /// Puts an entry into the slot of its deadline, counted from the time reached.
    fn place(&mut self, index: u32) {
        let deadline = self.entries[index as usize].deadline.max(self.reached);
        let tick = deadline.as_nanos() >> TICK_BITS;
        let differing = tick ^ (self.reached.as_nanos() >> TICK_BITS);
        let level = differing
            .checked_ilog2()
            .map_or(0, |highest| highest / DIGIT_BITS);
        let slot = (tick >> (level * DIGIT_BITS)) as usize % SLOTS;
        let level = level as usize;
        let after = if level == 0 {
            self.place_in_order(index, slot)
        } else {
            self.levels[level][slot].last
        };
        let entry = &mut self.entries[index as usize];
        entry.level = u8::try_from(level).expect("there are nine levels");
        entry.slot = u8::try_from(slot).expect("there are 64 slots");
        self.link(index, level, slot, after);
        self.occupied[level] |= 1 << slot;
    }

    /// Returns the entry that this one follows in a sorted slot. Searches from the end, because
    /// most timers are set later than those before them.
    fn place_in_order(&self, index: u32, slot: usize) -> u32 {
        let key = |entry: &Entry<T>| (entry.deadline, entry.order);
        let own = key(&self.entries[index as usize]);
        let mut after = self.levels[0][slot].last;
        while after != NIL && key(&self.entries[after as usize]) > own {
            after = self.entries[after as usize].previous;
        }
        after
    }

    fn link(&mut self, index: u32, level: usize, slot: usize, after: u32) {
        let list = &mut self.levels[level][slot];
        let before = if after == NIL {
            std::mem::replace(&mut list.first, index)
        } else {
            std::mem::replace(&mut self.entries[after as usize].next, index)
        };
        if before == NIL {
            list.last = index;
        } else {
            self.entries[before as usize].previous = index;
        }
        let entry = &mut self.entries[index as usize];
        (entry.previous, entry.next) = (after, before);
    }

    fn unlink(&mut self, index: u32) {
        let Entry {
            previous,
            next,
            level,
            slot,
            ..
        } = self.entries[index as usize];
        let (level, slot) = (usize::from(level), usize::from(slot));
        let list = &mut self.levels[level][slot];
        if previous == NIL {
            list.first = next;
        } else {
            self.entries[previous as usize].next = next;
        }
        if next == NIL {
            list.last = previous;
        } else {
            self.entries[next as usize].previous = previous;
        }
        if self.levels[level][slot].first == NIL {
            self.occupied[level] &= !(1 << slot);
        }
    }

    fn remove(&mut self, index: u32) -> Option<T> {
        self.unlink(index);
        let entry = &mut self.entries[index as usize];
        let payload = entry.payload.take();
        entry.generation = entry.generation.wrapping_add(1);
        entry.next = std::mem::replace(&mut self.free, index);
        if self.earliest == Some(entry.deadline) {
            self.earliest = None;
        }
        self.len -= 1;
        payload
    }

    fn take_entry(&mut self, deadline: Mono, payload: T) -> u32 {
        let entry = Entry {
            payload: Some(payload),
            deadline,
            order: self.insertions,
            generation: 0,
            level: 0,
            slot: 0,
            previous: NIL,
            next: NIL,
        };
        if self.free == NIL {
            self.entries.push(entry);
            return u32::try_from(self.entries.len() - 1).expect("far fewer than 2^32 timers");
        }
        let index = self.free;
        let place = &mut self.entries[index as usize];
        self.free = place.next;
        *place = Entry {
            generation: place.generation,
            ..entry
        };
        index
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn at(ns: u64) -> Mono {
        Mono::from_nanos(ns)
    }

    #[test]
    fn fires_in_order_and_never_early() {
        let mut wheel = Wheel::new(Mono::ZERO);
        for ns in [5_000_000, 1, 70_000_000_000, 5_000_000, 16_384, 16_383] {
            wheel.insert(at(ns), ns);
        }
        assert_eq!(wheel.next_deadline(), Some(at(1)));
        assert_eq!(wheel.pop(at(0)), None);
        assert_eq!(wheel.pop(at(16_383)), Some((at(1), 1)));
        assert_eq!(wheel.pop(at(16_383)), Some((at(16_383), 16_383)));
        assert_eq!(wheel.pop(at(16_383)), None);
        assert_eq!(wheel.next_deadline(), Some(at(16_384)));
        assert_eq!(wheel.pop(at(u64::MAX)), Some((at(16_384), 16_384)));
        assert_eq!(wheel.pop(at(4_999_999)), None);
        assert_eq!(wheel.pop(at(5_000_000)), Some((at(5_000_000), 5_000_000)));
        assert_eq!(wheel.pop(at(5_000_000)), Some((at(5_000_000), 5_000_000)));
        assert_eq!(wheel.pop(at(69_999_999_999)), None);
        assert_eq!(
            wheel.pop(at(70_000_000_000)),
            Some((at(70_000_000_000), 70_000_000_000))
        );
        assert!(wheel.is_empty());
        assert_eq!(wheel.next_deadline(), None);
    }

    #[test]
    fn a_key_is_good_for_one_timer() {
        let mut wheel = Wheel::new(Mono::ZERO);
        let first = wheel.insert(at(10), 'a');
        assert_eq!(wheel.cancel(first), Some('a'));
        assert_eq!(wheel.cancel(first), None);
        let second = wheel.insert(at(10), 'b');
        assert_eq!(wheel.cancel(first), None, "the same place, another timer");
        assert_eq!(wheel.pop(at(10)), Some((at(10), 'b')));
        assert_eq!(wheel.cancel(second), None);
    }

    #[test]
    fn uses_its_memory_again() {
        let mut wheel = Wheel::new(Mono::ZERO);
        for number in 0..300_u64 {
            wheel.insert(at(number * 3_333), number);
        }
        for _ in 0..1_000_000 {
            let due = wheel.next_deadline().expect("timers are put back");
            let (_, payload) = wheel.pop(due).expect("it is due");
            wheel.insert(due.plus(1_000_000), payload);
        }
        assert_eq!(wheel.entries.len(), 300);
    }

    #[test]
    fn reaches_the_end_of_time() {
        let mut wheel = Wheel::new(Mono::ZERO);
        wheel.insert(at(u64::MAX), 'z');
        wheel.insert(at(u64::MAX - 1), 'y');
        assert_eq!(wheel.pop(at(u64::MAX - 2)), None);
        assert_eq!(wheel.pop(at(u64::MAX)), Some((at(u64::MAX - 1), 'y')));
        assert_eq!(wheel.pop(at(u64::MAX)), Some((at(u64::MAX), 'z')));
        wheel.insert(at(0), 'a');
        assert_eq!(
            wheel.pop(at(0)),
            Some((at(0), 'a')),
            "time does not go back, timers still fire"
        );
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64),
        Cancel(usize),
        Pop(u64),
        Next,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        // Distances of every magnitude, from within a tick to years.
        let distance = (0_u32..58, any::<u64>()).prop_map(|(bits, ns)| ns & ((1 << bits) - 1));
        let step = prop_oneof![
            4 => distance.clone().prop_map(Step::Insert),
            1 => any::<usize>().prop_map(Step::Cancel),
            4 => distance.prop_map(Step::Pop),
            1 => Just(Step::Next),
        ];
        prop::collection::vec(step, 0..300)
    }

    proptest! {
        #[test]
        fn agrees_with_a_sorted_map(steps in steps(), start in any::<u32>()) {
            let mut now = u64::from(start);
            let mut wheel = Wheel::new(at(now));
            let mut model: BTreeMap<(u64, usize), TimerKey> = BTreeMap::new();
            let mut keys = Vec::new();
            for step in steps {
                match step {
                    Step::Insert(distance) => {
                        // Some in the past.
                        let deadline = (now + distance).saturating_sub(1_000);
                        let key = wheel.insert(at(deadline), keys.len());
                        model.insert((deadline, keys.len()), key);
                        keys.push((deadline, key));
                    }
                    Step::Cancel(which) if !keys.is_empty() => {
                        let number = which % keys.len();
                        let (deadline, key) = keys[number];
                        let there = model.remove(&(deadline, number)).is_some();
                        prop_assert_eq!(wheel.cancel(key).is_some(), there);
                    }
                    Step::Cancel(_) => {}
                    Step::Pop(distance) => {
                        now += distance;
                        while let Some((deadline, number)) = wheel.pop(at(now)) {
                            let first = model.pop_first().map(|(key, _)| key);
                            prop_assert_eq!(first, Some((deadline.as_nanos(), number)));
                            prop_assert!(deadline.as_nanos() <= now);
                        }
                        let left = model.first_key_value().map(|(key, _)| key.0);
                        prop_assert!(left.is_none_or(|deadline| deadline > now));
                    }
                    Step::Next => {
                        let first = model.first_key_value().map(|(key, _)| at(key.0));
                        prop_assert_eq!(wheel.next_deadline(), first);
                    }
                }
                prop_assert_eq!(wheel.len(), model.len());
            }
        }
    }
}
