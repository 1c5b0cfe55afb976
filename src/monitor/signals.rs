//! Signals: SIGTERM and SIGINT end the daemon in order, a second one ends it at once. SIGHUP reads the
//! configuration and opens the log file again, SIGUSR1 asks for a dump of every flow. One that is ignored
//! at the start stays so. A system without signals has the keys that interrupt, which end the daemon.

#[cfg(not(all(unix, not(latency_monitor_plain))))]
#[path = "signals/plain.rs"]
mod host;
#[cfg(all(unix, not(latency_monitor_plain)))]
#[path = "signals/unix.rs"]
mod host;

use std::io;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The end, by the signal of this number.
    End(i32),
    /// The configuration to be read again, and a new log file.
    Reload,
    /// A dump.
    Dump,
    /// To be told what there is so far. Only a terminal asks so.
    Summary,
}

/// Calls `told` with each signal, on a thread of its own. A second signal that ends the daemon
/// exits the process instead.
pub(crate) fn watch(told: impl Fn(Asked) + Send + 'static) -> io::Result<()> {
    watch_all(false, told)
}

/// Does the same, and calls it with SIGQUIT too, which for the daemon is what the system makes of it.
pub(crate) fn watch_at_terminal(told: impl Fn(Asked) + Send + 'static) -> io::Result<()> {
    watch_all(true, told)
}

fn watch_all(has_quit: bool, told: impl Fn(Asked) + Send + 'static) -> io::Result<()> {
    let mut is_ending = false;
    host::watch(has_quit, move |asked| {
        if let Asked::End(signal) = asked
            && std::mem::replace(&mut is_ending, true)
        {
            // The status by which a shell reports a process that a signal has ended.
            host::exit(128 + signal);
        }
        told(asked);
    })
}
