//! Signals of a Unix.

use std::io;
use std::sync::Arc;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use super::Asked;
use crate::sys::host::is_ignored;

pub(super) use signal_hook::low_level::exit;

/// Calls `told` with each signal that is not ignored.
pub(super) fn watch(
    has_quit: bool,
    mut told: impl FnMut(Asked) + Send + 'static,
) -> io::Result<()> {
    // A limit on the size of files is told like a full disk, and does not end the process.
    flag::register(SIGXFSZ, Arc::default())?;
    let mut signals = Signals::new(
        [SIGTERM, SIGINT, SIGHUP, SIGUSR1]
            .into_iter()
            .chain(has_quit.then_some(SIGQUIT))
            .filter(|signal| !is_ignored(*signal)),
    )?;
    thread::Builder::new()
        .name("lm-signal".into())
        .spawn(move || {
            for signal in signals.forever() {
                told(match signal {
                    SIGHUP => Asked::Reload,
                    SIGUSR1 => Asked::Dump,
                    SIGQUIT => Asked::Summary,
                    ends => Asked::End(ends),
                });
            }
        })?;
    Ok(())
}
