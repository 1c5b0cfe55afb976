//! The only reader of clocks.
//!
//! Time is read from the processor's time-stamp counter through quanta, which costs some twenty
//! nanoseconds and never steps. Unix time is that counter plus an anchor: a pair of readings of
//! both clocks, taken anew several times a second, so that a delay between two hosts follows their
//! system clocks to within a microsecond and one read serves for both.
#![expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads clocks"
)]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::proto::time::{Mono, Now, Wall};

/// The anchor is renewed after this. The counter's rate is calibrated to some parts per million,
/// so the error grows to well under a microsecond in between.
const ANCHOR_EVERY_NS: u64 = 100_000_000;

/// Readings per anchor; the one with the least time around it is taken.
const READINGS: usize = 5;

/// An anchor further than this from where the last one pointed is a step of the system's clock;
/// slewing moves it by 50 us at most between two anchors.
const STEP_LEAST_NS: u64 = 1_000_000;

/// Both clocks of this host.
#[derive(Debug)]
pub struct Clock {
    counter: quanta::Clock,
    start: u64,
    anchor: Now,
}

impl Clock {
    /// Starts the monotonic clock at zero. The first one in a process calibrates the counter,
    /// which takes a moment (up to 200 ms).
    pub fn new() -> Self {
        let counter = quanta::Clock::new();
        let start = counter.raw();
        let mut clock = Self {
            counter,
            start,
            anchor: Now::default(),
        };
        clock.anchor = clock.read_anchor();
        clock
    }

    /// Nanoseconds since the clock was made, on the counter.
    pub fn mono(&self) -> Mono {
        Mono::from_nanos(self.counter.delta_as_nanos(self.start, self.counter.raw()))
    }

    /// Both clocks, from one reading of the counter.
    pub fn now(&self) -> Now {
        let mono = self.mono();
        Now {
            mono,
            wall: self.wall_at(mono),
        }
    }

    /// When [`refresh`](Self::refresh) is due.
    pub fn refresh_due(&self) -> Mono {
        self.anchor.mono.plus(ANCHOR_EVERY_NS)
    }

    /// Renews the anchor, if it is due. Gives the size of the step in nanoseconds, signed, if
    /// the system's clock was set since the last anchor.
    pub fn refresh(&mut self, now: Mono) -> Option<i64> {
        if now < self.refresh_due() {
            return None;
        }
        let anchor = self.read_anchor();
        let moved_ns = anchor.wall.since(self.wall_at(anchor.mono));
        self.anchor = anchor;
        (moved_ns.unsigned_abs() >= STEP_LEAST_NS).then_some(moved_ns)
    }

    fn wall_at(&self, mono: Mono) -> Wall {
        let since = mono.as_nanos().cast_signed() - self.anchor.mono.as_nanos().cast_signed();
        self.anchor.wall.plus(since)
    }

    /// The tightest of a few readings of Unix time between two readings of the counter.
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
        let mut clock = Clock::new();
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
    fn is_not_renewed_before_it_is_due() {
        let mut clock = Clock::new();
        let anchor = clock.anchor;
        assert_eq!(clock.refresh(anchor.mono), None);
        assert_eq!(clock.anchor, anchor);
    }
}
