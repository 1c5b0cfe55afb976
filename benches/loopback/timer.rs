//! A bare timer that is read and armed anew: it shows the machine's own lateness.

use std::io;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::clock_gettime;

const CLOCK_MONOTONIC: nix::time::ClockId = nix::time::ClockId::CLOCK_MONOTONIC;
const CLOCK_REALTIME: nix::time::ClockId = nix::time::ClockId::CLOCK_REALTIME;

use super::pin;

/// A millisecond and 125 ns: within 8 s the timer is due at every point of the prober's
/// millisecond. Whoever is due shortly after the other finds the processor awake.
const PERIOD: Duration = Duration::from_nanos(1_000_125);

/// One wait for the next millisecond.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    /// Its end in Unix nanoseconds.
    pub(crate) ended: i64,
    pub(crate) late: Duration,
}

/// Starts a thread on this processor that waits for one period after the other.
pub(crate) fn start(processor: usize, duration: Duration) -> JoinHandle<io::Result<Vec<Wait>>> {
    thread::spawn(move || {
        pin(processor)?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::empty())?;
        let mut due = now(CLOCK_MONOTONIC)?;
        let end = due + duration;
        let mut waits = Vec::new();
        while due < end {
            due += PERIOD;
            let at = Expiration::OneShot(TimeSpec::from(due));
            timer.set(at, TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
            timer.wait()?;
            let woken = now(CLOCK_MONOTONIC)?;
            waits.push(Wait {
                ended: i64::try_from(now(CLOCK_REALTIME)?.as_nanos()).unwrap_or(i64::MAX),
                late: woken.saturating_sub(due),
            });
            // Periods that were slept through are skipped.
            while due + PERIOD <= woken {
                due += PERIOD;
            }
        }
        Ok(waits)
    })
}

fn now(clock: nix::time::ClockId) -> io::Result<Duration> {
    Ok(clock_gettime(clock)?.into())
}
