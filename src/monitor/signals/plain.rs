//! The keys that interrupt, and the end of the session, where there are no signals.

use std::io;

use super::Asked;

/// What an interrupt is numbered where there are signals (SIGINT).
const INTERRUPT: i32 = 2;

/// Ends the process at once.
#[expect(clippy::exit, reason = "the second time that it was asked to end")]
pub(super) fn exit(code: i32) -> ! {
    std::process::exit(code)
}

/// Calls `told` each time.
pub(super) fn watch(
    _has_quit: bool,
    mut told: impl FnMut(Asked) + Send + 'static,
) -> io::Result<()> {
    ctrlc::set_handler(move || told(Asked::End(INTERRUPT))).map_err(io::Error::other)
}
