//! Folders are not watched: whoever would watch them looks at them by time.

use std::io;
use std::path::Path;

use mio::{Registry, Token};

use super::unsupported;

/// Never there.
#[derive(Debug)]
pub(crate) enum FolderWatch {}

impl FolderWatch {
    pub(crate) fn new() -> io::Result<Self> {
        Err(unsupported())
    }

    pub(crate) fn add(&self, _: &Path) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn drain(&self) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn register(&self, _: &Registry, _: Token) -> io::Result<()> {
        match *self {}
    }
}
