//! The timer that wakes the loop. The timeout of epoll itself is whole milliseconds, rounded up.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

/// A one-shot timer in nanoseconds, to be watched edge-triggered.
#[derive(Debug)]
pub(crate) struct WakeTimer(TimerFd);

impl WakeTimer {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        Ok(Self(TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?))
    }

    /// Sets the timer to fire once, `ns` nanoseconds from now. That replaces an earlier setting.
    /// Each firing is a new edge, so nothing has to be read from the timer.
    pub(crate) fn arm(&self, ns: u64) -> io::Result<()> {
        // Zero would disarm it.
        let after = TimeSpec::from(Duration::from_nanos(ns.max(1)));
        self.0
            .set(Expiration::OneShot(after), TimerSetTimeFlags::empty())?;
        Ok(())
    }

    /// Has an event queue tell when it fires.
    pub(crate) fn register(
        &self,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        let fd = self.0.as_fd().as_raw_fd();
        registry.register(&mut SourceFd(&fd), token, interest)
    }
}
