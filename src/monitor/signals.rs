//! Signals: SIGTERM, SIGINT and SIGHUP end the daemon in order, a second one ends it at once.
//! SIGUSR1 asks for a dump of every flow.

use std::io;
use std::sync::Arc;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator::Signals;

/// The signal that asks for a dump.
pub(crate) const DUMP: i32 = SIGUSR1;

/// Calls `told` with each signal, on a thread of its own. A second signal that ends the daemon
/// exits the process instead.
pub(crate) fn watch(told: impl Fn(i32) + Send + 'static) -> io::Result<()> {
    // A limit on the size of files is told like a full disk, and does not end the process.
    flag::register(SIGXFSZ, Arc::default())?;
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, DUMP])?;
    thread::Builder::new()
        .name("lm-signal".into())
        .spawn(move || {
            let mut is_ending = false;
            for signal in signals.forever() {
                if signal != DUMP && is_ending {
                    // The status by which a shell reports a process that a signal has ended.
                    signal_hook::low_level::exit(128 + signal);
                }
                is_ending |= signal != DUMP;
                told(signal);
            }
        })?;
    Ok(())
}
