//! System calls on architectures whose numbers the filter does not know: they are not restricted.

use std::io;

pub(crate) fn can_filter() -> bool {
    false
}

pub(crate) fn calls() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn calls_after_start(_: bool) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn refused() -> Vec<String> {
    Vec::new()
}
