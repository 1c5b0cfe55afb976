//! What a service manager is told of the daemon: that it is ready, reads its configuration, ends.
//!
//! That the poll thread turns this tells itself, see `watchdog`.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use crate::monitor::LatencyMonitor;
use crate::monitor::commands::{Command, Done};
use crate::monitor::notice::Notice;
use crate::monitor::watchdog::Watchdog;
use crate::sys::supervisor::{Supervisor, monotonic_us};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Supervised {
    supervisor: Option<Arc<Supervisor>>,
    /// How often it was asked whether all is done. Only the last answer counts.
    asked: u64,
}

impl Supervised {
    /// Finds out who wants to be told, while this process has one thread still. The error is one to go on with.
    pub(super) fn find() -> (Self, Option<io::Error>) {
        let (found, error) = match Supervisor::found() {
            Ok(found) => (found, None),
            Err(error) => (None, Some(error)),
        };
        let supervised = Self {
            supervisor: found.map(Arc::new),
            asked: 0,
        };
        (supervised, error)
    }

    /// Has the poll thread say that it turns, if somebody waits for that.
    pub(super) fn watch(&self, monitor: &LatencyMonitor) {
        let Some(supervisor) = self.supervisor.clone() else {
            return;
        };
        if let Some(waits) = supervisor.watchdog() {
            let give = move || supervisor.tell("WATCHDOG=1");
            monitor.command(Command::Watch(Watchdog::new(waits, give)));
        }
    }

    /// Has the daemon be ready once the poll thread has done all that it was told to: every target has its first slot
    /// then. `notices` gets the number of the answer.
    pub(super) fn be_ready(&mut self, monitor: &LatencyMonitor, notices: &Sender<Notice>) {
        if self.supervisor.is_none() {
            return;
        }
        self.asked += 1;
        let (number, notices) = (self.asked, notices.clone());
        let done = move || {
            // The daemon may have ended already.
            let _ = notices.send(Notice::Done(number));
        };
        monitor.command(Command::Tell(Done(Box::new(done))));
    }

    /// All is done that was to be done before this answer.
    pub(super) fn handle_done(&self, number: u64) {
        if number == self.asked {
            self.tell("READY=1");
        }
    }

    /// The configuration is being read again.
    pub(super) fn reloading(&self) {
        // The time tells the manager that this is the answer to its own signal.
        let words = monotonic_us().map(|us| format!("RELOADING=1\nMONOTONIC_USEC={us}"));
        self.tell(words.as_deref().unwrap_or("RELOADING=1"));
    }

    /// The daemon ends.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    fn tell(&self, words: &str) {
        if let Some(supervisor) = &self.supervisor
            && let Err(error) = supervisor.tell(words)
        {
            tracing::warn!(%error, words, "the service manager could not be told");
        }
    }
}
