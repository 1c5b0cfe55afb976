//! Folders that are watched for changes of their files (inotify).

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// Tells that something in some folders has changed, to be watched until it can be read.
#[derive(Debug)]
pub(crate) struct FolderWatch(Inotify);

impl FolderWatch {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC;
        Ok(Self(Inotify::init(flags)?))
    }

    /// Watches a folder. One that is watched already stays so; one that was replaced is watched again.
    pub(crate) fn add(&self, folder: &Path) -> io::Result<()> {
        // A file that is being written is of no interest before it is closed.
        let changes = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_ONLYDIR;
        self.0.add_watch(folder, changes)?;
        Ok(())
    }

    /// Reads everything that was told so far.
    pub(crate) fn drain(&self) -> io::Result<()> {
        loop {
            match self.0.read_events() {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Has an event queue tell that something was told.
    pub(crate) fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        let fd = self.0.as_fd().as_raw_fd();
        registry.register(&mut SourceFd(&fd), token, Interest::READABLE)
    }
}
