//! What this process keeps itself from: nothing, on this side.

use std::io;

use super::unsupported;
use crate::sys::words::{Allowed, Privilege};

/// Returns the version of what restricts files: there is none.
pub(crate) fn files_version() -> Option<i32> {
    None
}

/// Restricts which files are opened: it does not.
pub(crate) fn files(_: &[Allowed]) -> io::Result<()> {
    Err(unsupported())
}

/// Returns an error as it is: nothing is refused here.
pub(crate) fn explain(error: io::Error) -> io::Error {
    error
}

/// Returns why a call may have been refused: never by ourselves.
pub(crate) fn hint() -> &'static str {
    ""
}

/// Gives up privileges: it does not.
pub(crate) fn privileges(_: &[Privilege]) -> io::Result<Vec<Privilege>> {
    Err(unsupported())
}

/// Returns the privileges of this process: not known.
pub(crate) fn held() -> Vec<Privilege> {
    Vec::new()
}

/// Returns what these paths need beyond modes and owners: not known.
pub(crate) fn past_modes(_: &[Allowed]) -> Vec<Privilege> {
    Vec::new()
}

/// True if sockets get buffers of so many bytes without a privilege.
pub(crate) fn are_buffers_free(_: usize, _: usize) -> bool {
    true
}

/// True if system calls can be restricted: not here.
pub(crate) fn can_filter() -> bool {
    false
}

/// Restricts the system calls: it does not.
pub(crate) fn calls() -> io::Result<()> {
    Err(unsupported())
}

/// The same for those that only the start makes.
pub(crate) fn calls_after_start(_: bool) -> io::Result<()> {
    Err(unsupported())
}

/// Returns the system calls that were refused since this was asked last: none.
pub(crate) fn refused() -> Vec<String> {
    Vec::new()
}
