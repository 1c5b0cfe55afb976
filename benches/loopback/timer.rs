//! A timer, read and armed anew, and nothing else: the lateness that the machine has of its own.

use std::io;
use std::thread;
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::clock_gettime;

use super::pin;

const PERIOD: Duration = Duration::from_millis(1);

/// Microseconds that a wait for the next millisecond ends late, p50 and p99, on this processor.
pub(crate) fn lateness_us(processor: usize, duration: Duration) -> io::Result<(f64, f64)> {
    let waiter = thread::spawn(move || -> io::Result<Vec<Duration>> {
        pin(processor)?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::empty())?;
        let mut due = now()?;
        let end = due + duration;
        let mut late = Vec::new();
        while due < end {
            due += PERIOD;
            let at = Expiration::OneShot(TimeSpec::from(due));
            timer.set(at, TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
            timer.wait()?;
            let woken = now()?;
            late.push(woken.saturating_sub(due));
            // What was slept through is not made up for.
            while due + PERIOD <= woken {
                due += PERIOD;
            }
        }
        Ok(late)
    });
    let mut late = waiter.join().map_err(|_| io::ErrorKind::Other)??;
    late.sort_unstable();
    let at = |percent: usize| {
        let index = late.len() * percent / 100;
        late.get(index)
            .map_or(f64::NAN, |late| late.as_secs_f64() * 1e6)
    };
    Ok((at(50), at(99)))
}

fn now() -> io::Result<Duration> {
    let now = clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)?;
    Ok(now.into())
}
