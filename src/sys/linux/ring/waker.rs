//! What ends a ring's wait from another thread.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// An eventfd. The ring tells of each write to it.
#[derive(Debug)]
pub(crate) struct EventWaker(EventFd);

impl EventWaker {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        Ok(Self(EventFd::from_value_and_flags(0, flags)?))
    }

    pub(crate) fn wake(&self) -> io::Result<()> {
        Ok(self.0.write(1).map(drop)?)
    }

    /// Starts its count anew, which could be full one day.
    pub(crate) fn settle(&self) {
        // There is nothing to read if a wake was told of twice.
        let _ = self.0.read();
    }
}

impl AsRawFd for EventWaker {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}
