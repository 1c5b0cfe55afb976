//! SIGTERM, SIGINT and SIGHUP end the daemon in order; a second one ends it at once.

use std::io;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Calls `first` with the first signal, on a thread of its own.
pub(crate) fn watch(first: impl FnOnce(i32) + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    thread::Builder::new()
        .name("lm-signal".into())
        .spawn(move || {
            let mut first = Some(first);
            for signal in signals.forever() {
                match first.take() {
                    Some(first) => first(signal),
                    // As a shell reports a process that a signal has ended.
                    None => signal_hook::low_level::exit(128 + signal),
                }
            }
        })?;
    Ok(())
}
