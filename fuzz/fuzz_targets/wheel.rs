//! The wheel against a sorted map: the same timers, at the same times, in the same order.

#![no_main]

use std::collections::BTreeMap;

use arbitrary::Arbitrary;
use latency_monitor::proto::Mono;
use latency_monitor::proto::wheel::{TimerKey, Wheel};
use libfuzzer_sys::fuzz_target;

/// Nanoseconds of every magnitude: so many low bits of a number.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Distance {
    bits: u8,
    ns: u64,
}

impl Distance {
    fn as_nanos(self) -> u64 {
        let unused = 64 - u32::from(self.bits) % 65;
        self.ns.checked_shl(unused).unwrap_or(0) >> unused.min(63)
    }
}

#[derive(Arbitrary, Debug)]
enum Step {
    /// Set a timer so far ahead.
    Insert(Distance),
    /// Set a timer that was due so long ago.
    InsertPast(Distance),
    /// Set another timer at the deadline of an earlier one.
    InsertEqual(u16),
    /// Take a timer off, which may be gone already.
    Cancel(u16),
    /// Let time pass, and take one timer.
    PopOne(Distance),
    /// Let time pass, and take all that is due.
    PopDue(Distance),
    /// Ask at an earlier time than the last one.
    PopBack(Distance),
    /// Go to the next deadline, take its timer and set it anew.
    Again(Distance),
    Next,
}

#[derive(Arbitrary, Debug)]
struct Plan {
    start: Distance,
    steps: Vec<Step>,
}

struct Pair {
    now: u64,
    wheel: Wheel<usize>,
    /// Deadline and number, which is the order of insertion.
    model: BTreeMap<(u64, usize), TimerKey>,
    /// By number; those that are gone too.
    timers: Vec<(u64, TimerKey)>,
}

impl Pair {
    fn run(&mut self, step: &Step) {
        match *step {
            Step::Insert(distance) => self.insert(self.now.saturating_add(distance.as_nanos())),
            Step::InsertPast(distance) => self.insert(self.now.saturating_sub(distance.as_nanos())),
            Step::InsertEqual(which) => {
                if let Some((deadline, _)) = self.pick(which).map(|number| self.timers[number]) {
                    self.insert(deadline);
                }
            }
            Step::Cancel(which) => self.cancel(which),
            Step::PopOne(distance) => {
                self.now = self.now.saturating_add(distance.as_nanos());
                self.pop(self.now);
            }
            Step::PopDue(distance) => {
                self.now = self.now.saturating_add(distance.as_nanos());
                while self.pop(self.now) {}
            }
            Step::PopBack(distance) => {
                self.pop(self.now.saturating_sub(distance.as_nanos()));
            }
            Step::Again(distance) => {
                if let Some(due) = self.next() {
                    self.now = self.now.max(due);
                    assert!(self.pop(due), "what is next is due at its deadline");
                    self.insert(due.saturating_add(distance.as_nanos()));
                }
            }
            Step::Next => {
                self.next();
            }
        }
        assert_eq!(self.wheel.len(), self.model.len());
        assert_eq!(self.wheel.is_empty(), self.model.is_empty());
    }

    fn pick(&self, which: u16) -> Option<usize> {
        usize::from(which).checked_rem(self.timers.len())
    }

    fn insert(&mut self, deadline: u64) {
        let number = self.timers.len();
        let key = self.wheel.insert(Mono::from_nanos(deadline), number);
        self.model.insert((deadline, number), key);
        self.timers.push((deadline, key));
    }

    fn cancel(&mut self, which: u16) {
        let Some(number) = self.pick(which) else {
            return;
        };
        let (deadline, key) = self.timers[number];
        let expected = self.model.remove(&(deadline, number)).map(|_| number);
        assert_eq!(self.wheel.cancel(key), expected);
        assert_eq!(self.wheel.cancel(key), None);
    }

    /// Takes the first timer that is due at `now` from both; whether there was one.
    fn pop(&mut self, now: u64) -> bool {
        let first = self.model.first_key_value().map(|(key, _)| *key);
        let due = first.filter(|(deadline, _)| *deadline <= now);
        if let Some(key) = due {
            self.model.remove(&key);
        }
        let expected = due.map(|(deadline, number)| (Mono::from_nanos(deadline), number));
        assert_eq!(self.wheel.pop(Mono::from_nanos(now)), expected);
        expected.is_some()
    }

    fn next(&mut self) -> Option<u64> {
        let first = self.model.first_key_value().map(|(key, _)| key.0);
        assert_eq!(self.wheel.next_deadline().map(Mono::as_nanos), first);
        first
    }
}

fuzz_target!(|plan: Plan| {
    let now = plan.start.as_nanos();
    let mut pair = Pair {
        now,
        wheel: Wheel::new(Mono::from_nanos(now)),
        model: BTreeMap::new(),
        timers: Vec::new(),
    };
    for step in &plan.steps {
        pair.run(step);
    }
    // Whatever is left comes out in order.
    while pair.pop(u64::MAX) {
        pair.next();
    }
    assert!(pair.wheel.is_empty());
});
