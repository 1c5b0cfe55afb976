//! Signals: SIGTERM and SIGINT end the daemon in order, a second one ends it at once. SIGHUP reads the
//! configuration and opens the log file again, SIGUSR1 asks for a dump of every flow. One that is ignored
//! at the start stays so.

use std::io;
use std::sync::Arc;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use crate::sys::signal::is_ignored;

/// The signal that asks for a dump.
pub(crate) const DUMP: i32 = SIGUSR1;

/// The signal that asks for the configuration to be read again, and for a new log file.
pub(crate) const RELOAD: i32 = SIGHUP;

/// Calls `told` with each signal, on a thread of its own. A second signal that ends the daemon
/// exits the process instead.
pub(crate) fn watch(told: impl Fn(i32) + Send + 'static) -> io::Result<()> {
    // A limit on the size of files is told like a full disk, and does not end the process.
    flag::register(SIGXFSZ, Arc::default())?;
    let mut signals = Signals::new(
        [SIGTERM, SIGINT, RELOAD, DUMP]
            .into_iter()
            .filter(|signal| !is_ignored(*signal)),
    )?;
    thread::Builder::new()
        .name("lm-signal".into())
        .spawn(move || {
            let mut is_ending = false;
            for signal in signals.forever() {
                let ends = ![DUMP, RELOAD].contains(&signal);
                if ends && is_ending {
                    // The status by which a shell reports a process that a signal has ended.
                    signal_hook::low_level::exit(128 + signal);
                }
                is_ending |= ends;
                told(signal);
            }
        })?;
    Ok(())
}
