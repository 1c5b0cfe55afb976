//! Commands of other threads to the poll thread: a queue under a short lock, and a waker.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::config::Config;
use crate::engine::Wake;
use crate::limits::COMMANDS_QUEUED_MAX;
use crate::monitor::TargetHandle;
use crate::monitor::watchdog::Watchdog;
use crate::proto::{
    Address, FlowView, Key, KeyRing, Mono, Now, PathOptions, Prefix, Prober, SenderSpec, TargetId,
    TargetSpec,
};
use crate::record::{BackendStats, BurstRules, FlightConfig, Joining};

/// One command to the poll thread.
#[derive(Debug)]
pub(crate) enum Command {
    Add(TargetHandle, TargetSpec),
    Remove(TargetHandle),
    SetKey(TargetHandle, Arc<Key>),
    /// Another label and other tags.
    SetLabels(TargetHandle, Box<str>, Box<[Box<str>]>),
    Answer(Box<Answering>),
    /// What counts as a burst, and how much is dumped around one.
    FindBursts(BurstRules, FlightConfig),
    /// When paths are traced.
    TracePaths(PathOptions),
    /// The configuration was read, or had a mistake.
    ConfigRead {
        is_ok: bool,
    },
    Resolved(TargetId, Vec<Address>),
    Dump,
    View(Viewer),
    /// The commands before this one are done.
    Tell(Done),
    /// Somebody waits for signs of life.
    Watch(Watchdog),
    Join(Box<Joining>),
    Leave(Arc<BackendStats>),
}

/// Who asked for the flows, and takes them once all are there.
pub(crate) struct Viewer(pub(crate) Box<dyn FnOnce(Vec<FlowView>) + Send>);

impl fmt::Debug for Viewer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Viewer")
    }
}

/// What is called once all commands before it are done.
pub(crate) struct Done(pub(crate) Box<dyn FnOnce() + Send>);

impl fmt::Debug for Done {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Done")
    }
}

/// Whom this host answers, and as whom.
#[derive(Debug)]
pub(crate) struct Answering {
    pub(crate) keys: KeyRing,
    pub(crate) allow: Vec<Prefix>,
    pub(crate) rate_limit: u32,
    pub(crate) senders: Vec<SenderSpec>,
}

impl Answering {
    /// What a configuration says of it.
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            keys: config.keys.clone(),
            allow: config.allow.clone(),
            rate_limit: config.rate_limit,
            senders: config.senders.clone(),
        }
    }

    pub(crate) fn apply(self, prober: &mut Prober, now: Now) {
        prober.set_keys(self.keys);
        prober.restrict_requests(&self.allow, self.rate_limit);
        prober.name_senders(now, &self.senders);
    }
}

/// The queue. The poll thread reads one flag in each turn, and locks only if a command is there.
#[derive(Debug, Default)]
pub(crate) struct Commands {
    queue: Mutex<VecDeque<Command>>,
    has_commands: AtomicBool,
    stop: AtomicBool,
    /// When the poll thread turned last, in nanoseconds.
    turned: AtomicU64,
    waker: Mutex<Option<Arc<dyn Wake>>>,
}

impl Commands {
    /// Queues a command and wakes the poll thread. False if the queue is full.
    pub(crate) fn push(&self, command: Command) -> bool {
        {
            let mut queue = self.queue.lock();
            if queue.len() >= COMMANDS_QUEUED_MAX {
                return false;
            }
            queue.push_back(command);
        }
        self.has_commands.store(true, Ordering::Release);
        self.wake();
        true
    }

    /// Moves the queued commands into `taken`, which is empty.
    pub(crate) fn take(&self, taken: &mut VecDeque<Command>) {
        if self.has_commands.swap(false, Ordering::Acquire) {
            std::mem::swap(&mut *self.queue.lock(), taken);
        }
    }

    /// Ends the poll thread at its next turn.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Says that the poll thread turns.
    pub(crate) fn set_turned(&self, now: Mono) {
        self.turned.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// Returns when the poll thread turned last.
    pub(crate) fn turned(&self) -> Mono {
        Mono::from_nanos(self.turned.load(Ordering::Relaxed))
    }

    /// Has commands end the engine's wait from now on.
    pub(crate) fn set_waker(&self, waker: Arc<dyn Wake>) {
        *self.waker.lock() = Some(waker);
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.lock() {
            // A failure would mean that the event queue is gone, and the thread with it.
            let _ = waker.wake();
        }
    }
}
