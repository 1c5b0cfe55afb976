//! The clocks of this host. Nothing else reads a clock.
//!
//! Time is read from the processor's time-stamp counter through quanta, which costs some twenty
//! nanoseconds. The kernel's monotonic clock watches over it: a suspend or a restored snapshot can
//! make the counter start over, jump or stand still. Then time goes on by the kernel's clock, at
//! once and for good. Either way [`Mono`] never goes back. quanta calibrates the counter within
//! milliseconds, and an interrupt at its end puts the rate off by up to a thousandth. So the rate is
//! measured here as well.
//!
//! Unix time is that counter plus an anchor: a pair of readings of both clocks. The anchor is
//! renewed several times a second. From one to the next Unix time goes as fast as it did between
//! the two before, so it follows a clock that is slewed. One read serves for both clocks, and Unix
//! time is the system's clock to within some microseconds.
#![expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads clocks"
)]

use std::cell::Cell;
#[cfg(test)]
use std::sync::Arc;
use std::sync::OnceLock;
#[cfg(test)]
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::proto::time::{Mono, Now, Wall};

/// The age at which the anchor is renewed. The rate until then is known to some parts per million,
/// so the error stays around a microsecond.
const ANCHOR_EVERY_NS: u64 = 100_000_000;

/// Readings for an anchor, of which the quickest is taken.
const READINGS: usize = 5;

/// Readings at either end of the time in which the counter's rate is measured.
const TRIM_READINGS: usize = 50;

/// That time. The quickest reading takes some 50 ns, so the rate is known to five parts per million
/// at least.
const TRIM_TIME: Duration = Duration::from_millis(20);

/// Rates are in parts of this.
const RATE_ONE: i128 = 1 << 40;

/// A counter that is this much too fast or too slow is no matter of calibration.
const TRIM_MAX: i128 = RATE_ONE / 100;

/// Faster than this nothing slews the system's clock for long: it was set by less than
/// [`STEP_LEAST_NS`].
const SLEW_MAX: i128 = RATE_ONE / 1_000;

/// An anchor that is this far from where the last one pointed is a step of the system's clock.
/// Slewing moves it by 50 us at most between two anchors.
const STEP_LEAST_NS: u64 = 1_000_000;

/// A reading of the counter that is this much after the last one, or before it, is compared with
/// the kernel's clock. The poll loop reads more often, unless it is stalled.
const DOUBT_NS: u64 = 500_000_000;

/// How far the counter may be from the kernel's monotonic clock, and a thousandth of the time since
/// they were set equal: the kernel slews its clock by half of that.
const APART_NS_MAX: u64 = 10_000_000;

/// The two are set equal again this often, so that a wrong rate adds up to something.
const EQUAL_EVERY_NS: u64 = 10_000_000_000;

/// The zero of the kernel's clock, as this process reads it.
static KERNEL_START: OnceLock<Instant> = OnceLock::new();

/// One instant by the counter and by the kernel's monotonic clock.
#[derive(Clone, Copy, Debug, Default)]
struct Equal {
    mono_ns: u64,
    kernel_ns: u64,
}

/// Both clocks of this host. The thread that owns it may renew the anchor whenever it doubts it.
#[derive(Debug)]
pub struct Clock {
    counter: quanta::Clock,
    start: u64,
    /// How much faster time goes than quanta says, in parts of [`RATE_ONE`].
    trim: i128,
    /// The last reading, before which there is none.
    last_ns: Cell<u64>,
    equal: Cell<Equal>,
    /// Since when the kernel's clock is read in the counter's place.
    since_failure: Cell<Option<Equal>>,
    /// How far the counter was off, until `refresh` tells.
    untold_ns: Cell<Option<i64>>,
    anchor: Cell<Now>,
    /// How much faster Unix time goes than the counter since the anchor, in parts of [`RATE_ONE`].
    slew: Cell<i128>,
    steps: Cell<Steps>,
    /// The kernel's monotonic clock, in place of this host's.
    #[cfg(test)]
    kernel: Option<Arc<AtomicU64>>,
}

/// The steps of the system's clock that were noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// How many.
    pub count: u64,
    /// The size of the last one, in nanoseconds; positive: forward.
    pub last_ns: i64,
    /// How far the processor's counter was off when it was given up; positive: ahead.
    pub counter_ns: Option<i64>,
    /// A time before this, on the clock as it is now, may have been read before the last step.
    since: Wall,
}

impl Clock {
    /// Returns a clock. The monotonic clocks of a process have one zero, when its first one is made,
    /// so that threads can compare them. That one calibrates the counter, which takes up to 220 ms.
    pub fn new() -> Self {
        static COUNTER: OnceLock<(u64, i128)> = OnceLock::new();
        let counter = quanta::Clock::new();
        let (start, trim) = *COUNTER.get_or_init(|| {
            let start = counter.raw();
            let untrimmed = Self::starting_at(counter.clone(), start, 0);
            (start, untrimmed.measure(|| thread::sleep(TRIM_TIME)))
        });
        Self::starting_at(counter, start, trim)
    }

    fn starting_at(counter: quanta::Clock, start: u64, trim: i128) -> Self {
        let clock = Self {
            counter,
            start,
            trim,
            last_ns: Cell::default(),
            equal: Cell::default(),
            since_failure: Cell::default(),
            untold_ns: Cell::default(),
            #[cfg(test)]
            kernel: None,
            anchor: Cell::default(),
            slew: Cell::default(),
            steps: Cell::new(Steps {
                count: 0,
                last_ns: 0,
                counter_ns: None,
                since: Wall::from_unix_nanos(i64::MIN),
            }),
        };
        clock.last_ns.set(clock.counter_ns());
        clock.set_equal();
        clock.anchor.set(clock.read_anchor());
        clock
    }

    /// Returns the time since the clock was made.
    pub fn mono(&self) -> Mono {
        let ns = match self.since_failure.get() {
            None => self.counter_ns(),
            Some(since) => since.mono_ns + (self.kernel_ns() - since.kernel_ns),
        };
        // A reading before the last one wraps to a large number.
        let ns = if ns.wrapping_sub(self.last_ns.get()) > DOUBT_NS {
            self.doubt(ns)
        } else {
            ns
        };
        self.last_ns.set(ns);
        Mono::from_nanos(ns)
    }

    /// The same for a thread that waits for a time to pass and has nothing else to tell it by: it
    /// passes even if the counter stands still.
    pub fn mono_for_sure(&self) -> Mono {
        self.watch();
        self.mono()
    }

    fn counter_ns(&self) -> u64 {
        let ns = self.counter.delta_as_nanos(self.start, self.counter.raw());
        ns.saturating_add_signed(part(ns.cast_signed(), self.trim))
    }

    /// Returns the trim that sets the counter's rate to that of the kernel's clock while `pass` lets
    /// some time pass.
    fn measure(&self, pass: impl FnOnce()) -> i128 {
        let first = self.read_equal(TRIM_READINGS);
        pass();
        let last = self.read_equal(TRIM_READINGS);
        let counter_ns = i128::from(last.mono_ns) - i128::from(first.mono_ns);
        let kernel_ns = i128::from(last.kernel_ns) - i128::from(first.kernel_ns);
        let trim = ((kernel_ns - counter_ns) * RATE_ONE).checked_div(counter_ns);
        trim.filter(|trim| trim.abs() <= TRIM_MAX).unwrap_or(0)
    }

    /// Reads the kernel's monotonic clock, which nobody sets. It does not count while the host is
    /// suspended.
    #[cfg_attr(
        not(test),
        expect(clippy::unused_self, reason = "a test's clock has its own")
    )]
    fn kernel_ns(&self) -> u64 {
        #[cfg(test)]
        if let Some(kernel) = &self.kernel {
            return kernel.load(Ordering::SeqCst);
        }
        let passed = KERNEL_START.get_or_init(Instant::now).elapsed();
        u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX)
    }

    #[cfg_attr(
        not(test),
        expect(clippy::unused_self, reason = "a test's clock has its own")
    )]
    fn system_now(&self) -> Wall {
        #[cfg(test)]
        if self.kernel.is_some() {
            return Wall::from_unix_nanos(self.kernel_ns().cast_signed());
        }
        wall_of(SystemTime::now())
    }

    /// Reads the counter between two readings of the kernel's clock; returns it, the first of those
    /// and the last. This thread may have been kept waiting in between.
    fn read_between(&self) -> (u64, u64, u64) {
        let before_ns = self.kernel_ns();
        let counter_ns = self.counter_ns();
        (counter_ns, before_ns, self.kernel_ns())
    }

    fn set_equal(&self) {
        self.equal.set(self.read_equal(READINGS));
    }

    /// Returns the quickest of some readings of both clocks.
    fn read_equal(&self, readings: usize) -> Equal {
        (0..readings)
            .map(|_| self.read_between())
            .min_by_key(|(_, before_ns, after_ns)| after_ns - before_ns)
            .map(|(mono_ns, before_ns, after_ns)| Equal {
                mono_ns,
                kernel_ns: u64::midpoint(before_ns, after_ns),
            })
            .expect("there is at least one reading")
    }

    /// Gives up the counter if it stands still, or has not gone as fast as the kernel's clock.
    fn watch(&self) {
        if self.since_failure.get().is_none() {
            let ns = self.counter_ns();
            self.last_ns.set(self.doubt(ns));
            let equal = self.equal.get();
            if self.last_ns.get().saturating_sub(equal.mono_ns) >= EQUAL_EVERY_NS {
                self.set_equal();
            }
        }
    }

    /// What the counter should read at an instant of the kernel's clock.
    fn expected_ns(&self, kernel_ns: u64) -> u64 {
        let equal = self.equal.get();
        equal.mono_ns + kernel_ns.saturating_sub(equal.kernel_ns)
    }

    /// Whether a reading of the counter, made up to `early_ns` before that of the kernel's clock, is
    /// where the kernel's clock says.
    fn has_kept_up(&self, ns: u64, kernel_ns: u64, early_ns: u64) -> bool {
        let passed_ns = kernel_ns.saturating_sub(self.equal.get().kernel_ns);
        let (expected_ns, apart_ns) = (
            self.expected_ns(kernel_ns),
            APART_NS_MAX + passed_ns / 1_000,
        );
        ns <= expected_ns.saturating_add(apart_ns)
            && ns.saturating_add(early_ns + apart_ns) >= expected_ns
    }

    /// Compares a reading with the kernel's clock. Returns the one to believe, which is never before
    /// the last.
    fn doubt(&self, ns: u64) -> u64 {
        let last_ns = self.last_ns.get();
        if self.since_failure.get().is_some() {
            return ns.max(last_ns);
        }
        if self.has_kept_up(ns, self.kernel_ns(), 0) {
            return ns.max(last_ns);
        }
        // This thread may have been kept waiting between the two readings: that is no verdict.
        let (ns, before_ns, kernel_ns) = self.read_between();
        if self.has_kept_up(ns, kernel_ns, kernel_ns - before_ns) {
            return ns.max(last_ns);
        }
        let expected_ns = self.expected_ns(kernel_ns);
        let mono_ns = expected_ns.max(last_ns);
        self.since_failure.set(Some(Equal { mono_ns, kernel_ns }));
        let off_ns = ns.wrapping_sub(expected_ns).cast_signed();
        self.untold_ns.set(Some(off_ns));
        mono_ns
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
    /// system's clock was set since the last anchor, or the counter was given up.
    pub fn refresh(&self, now: Mono) -> Option<i64> {
        self.watch();
        let Some(off_ns) = self.untold_ns.take() else {
            return (now >= self.refresh_due()).then(|| self.renew()).flatten();
        };
        let moved_ns = self.renew();
        let steps = self.steps.get();
        self.steps.set(Steps {
            count: steps.count + u64::from(moved_ns.is_none()),
            last_ns: moved_ns.unwrap_or(off_ns),
            counter_ns: Some(off_ns),
            ..steps
        });
        Some(moved_ns.unwrap_or(off_ns))
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
        let between_ns = i64::try_from(anchor.mono.since(last.mono)).unwrap_or(i64::MAX);
        if has_stepped {
            self.slew.set(0);
        } else if between_ns >= ANCHOR_EVERY_NS.cast_signed() / 2 {
            let ahead_ns = i128::from(anchor.wall.since(last.wall)) - i128::from(between_ns);
            let slew = ahead_ns * RATE_ONE / i128::from(between_ns);
            self.slew.set(if slew.abs() <= SLEW_MAX { slew } else { 0 });
        }
        if has_stepped {
            self.steps.set(Steps {
                count: self.steps.get().count + 1,
                last_ns: moved_ns,
                since: anchor.wall.plus(-between_ns),
                ..self.steps.get()
            });
        }
        has_stepped.then_some(moved_ns)
    }

    fn wall_at(&self, mono: Mono) -> Wall {
        let anchor = self.anchor.get();
        let since = mono.as_nanos().cast_signed() - anchor.mono.as_nanos().cast_signed();
        anchor.wall.plus(since + part(since, self.slew.get()))
    }

    /// Takes a few readings of Unix time between two readings of the counter, and returns the
    /// quickest.
    fn read_anchor(&self) -> Now {
        (0..READINGS)
            .map(|_| {
                let before = self.mono();
                let wall = self.system_now();
                let around_ns = self.mono().since(before);
                (
                    around_ns,
                    Now {
                        mono: before.plus(around_ns / 2),
                        wall,
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

/// Returns a part of a time.
fn part(ns: i64, rate: i128) -> i64 {
    let part = (i128::from(ns) * rate) >> RATE_ONE.ilog2();
    i64::try_from(part).unwrap_or_default()
}

fn wall_of(time: SystemTime) -> Wall {
    let nanos = |since: Duration| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
    Wall::from_unix_nanos(match time.duration_since(UNIX_EPOCH) {
        Ok(since) => nanos(since),
        Err(before) => -nanos(before.duration()),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const HOUR_NS: u64 = 3_600_000_000_000;
    const MS: u64 = 1_000_000;

    /// A clock that has run for some hours, with its counter and the kernel's clock to turn.
    pub(crate) fn turned() -> (Clock, Arc<quanta::Mock>, Arc<AtomicU64>) {
        let (counter, mock) = quanta::Clock::mock();
        let mut clock = Clock::starting_at(counter, 0, 0);
        let kernel = Arc::new(AtomicU64::new(0));
        clock.kernel = Some(kernel.clone());
        clock.set_equal();
        clock.anchor.set(clock.read_anchor());
        for _ in 0..100_000 {
            mock.increment(100 * MS);
            kernel.fetch_add(100 * MS, Ordering::SeqCst);
            assert_eq!(clock.refresh(clock.mono()), None);
        }
        assert_eq!(clock.mono(), Mono::from_nanos(10_000_000 * MS));
        (clock, mock, kernel)
    }

    /// From now on it goes on with the kernel's clock, whatever the counter does.
    fn goes_on(clock: &Clock, mock: &quanta::Mock, kernel: &AtomicU64) {
        let before = clock.mono();
        for turn in 1..100 {
            kernel.fetch_add(MS, Ordering::SeqCst);
            mock.increment(turn * 7 * MS);
            assert_eq!(clock.refresh(clock.mono()), None, "told once");
            assert_eq!(clock.mono(), before.plus(turn * MS));
        }
    }

    #[test]
    fn a_counter_that_starts_over_or_jumps_is_given_up_at_once() {
        let now_ns = 10_000_000 * MS;
        for jump_ns in [
            -now_ns.cast_signed(),
            -700_000_000,
            3 * HOUR_NS.cast_signed(),
            700_000_000,
        ] {
            let (clock, mock, kernel) = turned();
            if jump_ns < 0 {
                mock.decrement(jump_ns.unsigned_abs());
            } else {
                mock.increment(jump_ns.unsigned_abs());
            }
            kernel.fetch_add(3 * MS, Ordering::SeqCst);
            // The first reading after it is right already.
            assert_eq!(clock.mono(), Mono::from_nanos(now_ns + 3 * MS));
            let told_ns = clock.refresh(clock.mono()).expect("a step is told");
            assert_eq!(told_ns, jump_ns - 3 * MS.cast_signed());
            assert_eq!(clock.steps().count, 1);
            assert_eq!(clock.steps().counter_ns, Some(told_ns));
            goes_on(&clock, &mock, &kernel);
        }
    }

    #[test]
    fn a_small_jump_is_found_within_a_turn_and_time_never_goes_back() {
        for jump_ns in [60 * MS.cast_signed(), -60 * MS.cast_signed()] {
            let (clock, mock, kernel) = turned();
            let before = clock.mono();
            if jump_ns < 0 {
                mock.decrement(jump_ns.unsigned_abs());
            } else {
                mock.increment(jump_ns.unsigned_abs());
            }
            assert!(clock.mono() >= before);
            let told_ns = clock.refresh(clock.mono()).expect("a step is told");
            assert_eq!(told_ns.abs(), jump_ns.abs());
            assert!(clock.mono() >= before);
            goes_on(&clock, &mock, &kernel);
        }
    }

    #[test]
    fn a_counter_that_stands_still_or_crawls_is_given_up() {
        for crawl_ns in [0, MS / 2, 2 * MS] {
            let (clock, mock, kernel) = turned();
            let mut told = 0;
            for _ in 0..20_000 {
                kernel.fetch_add(MS, Ordering::SeqCst);
                mock.increment(crawl_ns);
                told += u64::from(clock.refresh(clock.mono()).is_some());
            }
            assert_eq!((told, clock.steps().count), (1, 1));
            let now_ns = clock.mono().as_nanos();
            assert!(now_ns.abs_diff(10_020_000 * MS) < 25 * MS, "{now_ns}");
            goes_on(&clock, &mock, &kernel);
        }
    }

    #[test]
    fn who_waits_for_a_time_sees_it_pass_though_the_counter_stands_still() {
        let (clock, _, kernel) = turned();
        let until = clock.mono().plus(50 * MS);
        for _ in 0..60 {
            kernel.fetch_add(MS, Ordering::SeqCst);
            clock.mono_for_sure();
        }
        assert!(clock.mono() >= until);
    }

    #[test]
    fn a_stalled_process_does_not_blame_the_counter() {
        let (clock, mock, kernel) = turned();
        let before = clock.mono();
        mock.increment(HOUR_NS);
        kernel.fetch_add(HOUR_NS + HOUR_NS / 2_000, Ordering::SeqCst);
        assert_eq!(clock.mono(), before.plus(HOUR_NS));
        clock.watch();
        assert_eq!(clock.untold_ns.get(), None);
        assert_eq!(clock.since_failure.get().map(|since| since.mono_ns), None);
    }

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

    /// A clock whose counter has been calibrated wrongly, before it is trimmed.
    fn calibrated_wrongly() -> (Clock, Arc<quanta::Mock>, Arc<AtomicU64>) {
        let (counter, mock) = quanta::Clock::mock();
        let mut clock = Clock::starting_at(counter, 0, 0);
        let kernel = Arc::new(AtomicU64::new(0));
        clock.kernel = Some(kernel.clone());
        (clock, mock, kernel)
    }

    #[test]
    fn a_counter_that_is_calibrated_wrongly_is_trimmed() {
        // For a second of the kernel's clock.
        for counted_ns in [998_000_000, 999_425_000, 1_000_000_000, 1_002_000_000] {
            let (mut clock, mock, kernel) = calibrated_wrongly();
            let pass = |ms| {
                kernel.fetch_add(ms * MS, Ordering::SeqCst);
                mock.increment(counted_ns * ms / 1_000);
            };
            clock.trim = clock.measure(|| pass(20));
            let before = clock.mono();
            pass(1_000);
            let passed_ns = clock.mono().since(before);
            assert!(passed_ns.abs_diff(1_000 * MS) < 10, "{passed_ns}");
        }
        // What stands still or runs wild is no matter of calibration.
        for counted_ns in [0, 18 * MS, 40 * MS] {
            let (clock, mock, kernel) = calibrated_wrongly();
            let trim = clock.measure(|| {
                kernel.fetch_add(20 * MS, Ordering::SeqCst);
                mock.increment(counted_ns);
            });
            assert_eq!(trim, 0);
        }
    }

    #[test]
    fn unix_time_follows_a_clock_that_is_slewed() {
        for slew_ppm in [-500, 0, 260] {
            let (clock, mock, kernel) = turned();
            // The mock's Unix time is the kernel's clock.
            let pass = |ms: u64| {
                let slewed_ns = (ms * MS).saturating_add_signed(ms.cast_signed() * slew_ppm);
                kernel.fetch_add(slewed_ns, Ordering::SeqCst);
                mock.increment(ms * MS);
            };
            for _ in 0..2 {
                pass(100);
                assert_eq!(clock.refresh(clock.mono()), None);
            }
            pass(99);
            let off_ns = clock.system_now().since(clock.now().wall);
            assert!(off_ns.abs() < 10, "{slew_ppm} ppm: {off_ns}");
        }
    }

    #[test]
    fn a_small_step_is_no_slewing() {
        let (clock, mock, kernel) = turned();
        let pass = |ms: u64| {
            kernel.fetch_add(ms * MS, Ordering::SeqCst);
            mock.increment(ms * MS);
        };
        pass(100);
        kernel.fetch_add(MS / 2, Ordering::SeqCst);
        assert_eq!(clock.refresh(clock.mono()), None);
        pass(99);
        assert_eq!(clock.system_now().since(clock.now().wall), 0);
    }

    #[test]
    fn the_clocks_of_all_threads_have_one_zero() {
        let before = Clock::new();
        let earlier = before.mono();
        let other = thread::spawn(|| Clock::new().mono()).join().unwrap();
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
