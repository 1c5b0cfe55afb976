//! What other threads ask of the poll thread: a short queue under a short lock, and a waker.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::limits::COMMANDS_QUEUED_MAX;
use crate::monitor::TargetHandle;
use crate::proto::{TargetId, TargetSpec};

/// One request to the poll thread.
#[derive(Debug)]
pub(crate) enum Command {
    Add(TargetHandle, TargetSpec),
    Remove(TargetHandle),
    Resolved(TargetId, Vec<IpAddr>),
    Dump,
}

/// The queue. The poll thread looks at one flag a turn, and locks only when there is something.
#[derive(Debug, Default)]
pub(crate) struct Commands {
    queue: Mutex<VecDeque<Command>>,
    waiting: AtomicBool,
    stop: AtomicBool,
    waker: Mutex<Option<std::sync::Arc<mio::Waker>>>,
}

impl Commands {
    /// Queues a command and wakes the poll thread. False if too many wait.
    pub(crate) fn push(&self, command: Command) -> bool {
        {
            let mut queue = self.queue.lock();
            if queue.len() >= COMMANDS_QUEUED_MAX {
                return false;
            }
            queue.push_back(command);
        }
        self.waiting.store(true, Ordering::Release);
        self.wake();
        true
    }

    /// Moves the waiting commands into `taken`, which is empty.
    pub(crate) fn take(&self, taken: &mut VecDeque<Command>) {
        if self.waiting.swap(false, Ordering::Acquire) {
            std::mem::swap(&mut *self.queue.lock(), taken);
        }
    }

    /// Ends the poll thread, at its next turn.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// From now on commands end the engine's wait.
    pub(crate) fn set_waker(&self, waker: std::sync::Arc<mio::Waker>) {
        *self.waker.lock() = Some(waker);
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.lock() {
            // A failure would mean that the event queue is gone, and the thread with it.
            let _ = waker.wake();
        }
    }
}
