//! Telling a service manager how this process is: none of these systems has one that asks so.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

/// There is none.
#[derive(Debug)]
pub(crate) struct Supervisor(Infallible);

impl Supervisor {
    /// Finds none.
    #[expect(clippy::unnecessary_wraps, reason = "the other side's can fail")]
    pub(crate) fn found() -> io::Result<Option<Self>> {
        Ok(None)
    }

    /// Returns how long it waits for a sign of life.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        match self.0 {}
    }

    /// Tells it lines of `NAME=value`.
    pub(crate) fn tell(&self, _: &str) -> io::Result<()> {
        match self.0 {}
    }
}

/// Returns the clock by which a service manager orders what it is told.
pub(crate) fn monotonic_us() -> io::Result<u64> {
    Err(super::unsupported())
}
