//! The clocks of this host. Nothing else reads a clock.
//!
//! Time is read from the processor's time-stamp counter through quanta, which costs some twenty
//! nanoseconds and never steps. Unix time is that counter plus an anchor: a pair of readings of
//! both clocks. The anchor is renewed several times a second. So one read serves for both clocks,
//! and Unix time follows the system's clock to within a microsecond.
#![expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads clocks"
)]

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::proto::time::{Mono, Now, Wall};

/// The age at which the anchor is renewed. The counter's rate is calibrated to some parts per
/// million, so the error stays well under a microsecond in between.
const ANCHOR_EVERY_NS: u64 = 100_000_000;

/// Readings for an anchor, of which the quickest is taken.
const READINGS: usize = 5;

/// An anchor that is this far from where the last one pointed is a step of the system's clock.
/// Slewing moves it by 50 us at most between two anchors.
const STEP_LEAST_NS: u64 = 1_000_000;

/// Both clocks of this host. The thread that owns it may renew the anchor whenever it doubts it.
#[derive(Debug)]
pub struct Clock {
    counter: quanta::Clock,
    start: u64,
    anchor: Cell<Now>,
    steps: Cell<Steps>,
}

/// The steps of the system's clock that were noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// How many.
    pub count: u64,
    /// The size of the last one, in nanoseconds; positive: forward.
    pub last_ns: i64,
    /// A time before this, on the clock as it is now, may have been read before the last step.
    since: Wall,
}

impl Clock {
    /// Returns a clock. The monotonic clocks of a process have one zero, when its first one is made,
    /// so that threads can compare them. That one calibrates the counter, which takes up to 200 ms.
    pub fn new() -> Self {
        static START: OnceLock<u64> = OnceLock::new();
        let counter = quanta::Clock::new();
        let start = *START.get_or_init(|| counter.raw());
        let clock = Self {
            counter,
            start,
            anchor: Cell::default(),
            steps: Cell::new(Steps {
                count: 0,
                last_ns: 0,
                since: Wall::from_unix_nanos(i64::MIN),
            }),
        };
        clock.anchor.set(clock.read_anchor());
        clock
    }

    /// Returns the time since the clock was made.
    pub fn mono(&self) -> Mono {
        Mono::from_nanos(self.counter.delta_as_nanos(self.start, self.counter.raw()))
    }

    /// Returns both clocks from one reading of the counter.
    pub fn now(&self) -> Now {
        let mono = self.mono();
        Now {
            mono,
            wall: self.wall_at(mono),
        }
    }

    /// Returns when [`refresh`](Self::refresh) is due.
    pub fn refresh_due(&self) -> Mono {
        self.anchor.get().mono.plus(ANCHOR_EVERY_NS)
    }

    /// Renews the anchor if that is due. Returns the size of the step in nanoseconds if the
    /// system's clock was set since the last anchor.
    pub fn refresh(&self, now: Mono) -> Option<i64> {
        if now < self.refresh_due() {
            return None;
        }
        self.renew()
    }

    /// Renews the anchor if it is in doubt: `at`, just read on the system's clock, is far from
    /// `now`, just read here. Returns the size of the step in nanoseconds if the system's clock was
    /// set.
    pub fn check(&self, now: Wall, at: Wall) -> Option<i64> {
        let apart_ns = at.since(now).unsigned_abs();
        (apart_ns >= STEP_LEAST_NS).then(|| self.renew()).flatten()
    }

    /// True if `at` can have been read on the system's clock as it is `now`: it is neither in the
    /// future nor from before the clock was set.
    pub fn can_have_said(&self, now: Wall, at: Wall) -> bool {
        let ahead_ns = at.since(now);
        at >= self.steps.get().since && ahead_ns < STEP_LEAST_NS.cast_signed()
    }

    /// Returns the steps of the system's clock.
    pub fn steps(&self) -> Steps {
        self.steps.get()
    }

    /// Moves the anchor, as if the system's clock had been set by as much the other way.
    #[cfg(test)]
    pub(crate) fn mislead(&self, by_ns: i64) {
        let anchor = self.read_anchor();
        self.anchor.set(Now {
            wall: anchor.wall.plus(by_ns),
            ..anchor
        });
    }

    fn renew(&self) -> Option<i64> {
        let anchor = self.read_anchor();
        let moved_ns = anchor.wall.since(self.wall_at(anchor.mono));
        let last = self.anchor.replace(anchor);
        let has_stepped = moved_ns.unsigned_abs() >= STEP_LEAST_NS;
        if has_stepped {
            let between_ns = i64::try_from(anchor.mono.since(last.mono)).unwrap_or(i64::MAX);
            self.steps.set(Steps {
                count: self.steps.get().count + 1,
                last_ns: moved_ns,
                since: anchor.wall.plus(-between_ns),
            });
        }
        has_stepped.then_some(moved_ns)
    }

    fn wall_at(&self, mono: Mono) -> Wall {
        let anchor = self.anchor.get();
        let since = mono.as_nanos().cast_signed() - anchor.mono.as_nanos().cast_signed();
        anchor.wall.plus(since)
    }

    /// Takes a few readings of Unix time between two readings of the counter, and returns the
    /// quickest.
    fn read_anchor(&self) -> Now {
        (0..READINGS)
            .map(|_| {
                let before = self.mono();
                let wall = SystemTime::now();
                let around_ns = self.mono().since(before);
                (
                    around_ns,
                    Now {
                        mono: before.plus(around_ns / 2),
                        wall: wall_of(wall),
                    },
                )
            })
            .min_by_key(|(around_ns, _)| *around_ns)
            .map(|(_, now)| now)
            .expect("there is at least one reading")
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

fn wall_of(time: SystemTime) -> Wall {
    let nanos = |since: Duration| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
    Wall::from_unix_nanos(match time.duration_since(UNIX_EPOCH) {
        Ok(since) => nanos(since),
        Err(before) => -nanos(before.duration()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_system_clock() {
        let clock = Clock::new();
        let mut last = clock.now();
        while last.mono < clock.refresh_due() {
            let now = clock.now();
            assert!(now.mono >= last.mono);
            last = now;
        }
        let before = wall_of(SystemTime::now());
        clock.refresh(clock.mono());
        let wall = clock.now().wall;
        let after = wall_of(SystemTime::now());
        // The anchor is the middle of its bracket, so it may lie a little outside of these two,
        // but never by a step.
        let slack = 1_000_000;
        assert!(wall.since(before) > -slack && after.since(wall) > -slack);
    }

    #[test]
    fn the_clocks_of_all_threads_have_one_zero() {
        let before = Clock::new();
        let earlier = before.mono();
        let other = std::thread::spawn(|| Clock::new().mono()).join().unwrap();
        assert!(earlier <= other && other <= before.mono());
    }

    #[test]
    fn is_not_renewed_before_it_is_due() {
        let clock = Clock::new();
        let anchor = clock.anchor.get();
        assert_eq!(clock.refresh(anchor.mono), None);
        assert_eq!(clock.anchor.get(), anchor);
    }

    #[test]
    fn a_step_is_seen_by_the_first_stamp_after_it() {
        for step_ns in [7_200_000_000_000, -7_200_000_000_000] {
            let clock = Clock::new();
            clock.mislead(-step_ns);
            let seen = clock.check(clock.now().wall, wall_of(SystemTime::now()));
            let seen_ns = seen.expect("a step is seen");
            assert!((seen_ns - step_ns).abs() < 1_000_000, "{seen_ns}");
            let steps = clock.steps();
            assert_eq!((steps.count, steps.last_ns), (1, seen_ns));
            assert_eq!(
                clock.check(clock.now().wall, clock.now().wall),
                None,
                "once"
            );
            let now = clock.now().wall;
            assert!(clock.can_have_said(now, now));
            assert!(
                !clock.can_have_said(now, now.plus(-step_ns)),
                "the clock of before"
            );
        }
    }

    #[test]
    fn an_old_stamp_is_no_step() {
        let clock = Clock::new();
        let at = clock.now().wall.plus(-50_000_000);
        assert_eq!(clock.check(clock.now().wall, at), None);
        assert!(clock.can_have_said(clock.now().wall, at));
        assert_eq!(clock.steps().count, 0);
    }

    #[test]
    fn nothing_was_said_tomorrow() {
        let clock = Clock::new();
        let now = clock.now().wall;
        assert!(!clock.can_have_said(now, now.plus(86_400_000_000_000)));
    }
}
