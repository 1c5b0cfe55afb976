//! Nobody stamps packets but this process.

use std::io;

use super::unsupported;
use crate::sys::sockets::Socket;
use crate::sys::words::{Level, Numbers};

/// Never there.
#[derive(Debug)]
pub(crate) enum Keeper {}

/// Has the kernel stamp: it does not.
pub(crate) fn keep() -> io::Result<Keeper> {
    Err(unsupported())
}

/// Has a socket's packets stamped: they are not.
pub(crate) fn enable(_: &impl Socket, _: Level, _: Numbers) -> io::Result<()> {
    Err(unsupported())
}

/// Begins the numbers of stamps anew: there are none.
pub(crate) fn renumber(_: &impl Socket, _: Level) -> io::Result<()> {
    Err(unsupported())
}
