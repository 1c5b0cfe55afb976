//! The flush thread: takes records from a ring and hands them to one backend.
//!
//! The thread looks for records every [`PAUSE`] and is not woken: a wake-up is a system call that
//! the poll thread would make for each sample.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::limits::RING_RECORDS_MAX;
use crate::publish::{Backend, PublishError};
use crate::record::{Feed, Record, SAMPLES_DROPPED};

/// The pause once the ring is empty.
const PAUSE: Duration = Duration::from_millis(25);

/// Turns without a failure, ten seconds of them, after which the next failure is logged again.
const QUIET_TURNS: u32 = 400;

/// A running flush thread. Dropping this does not end the thread; it ends with the recorder.
#[derive(Debug)]
pub struct Flusher {
    thread: JoinHandle<()>,
    stop: Arc<OnceLock<Duration>>,
    ended: Receiver<()>,
    /// The thread has ended in order.
    is_done: Arc<AtomicBool>,
}

impl Flusher {
    /// Starts a thread that feeds `backend`. If the reader of the backend goes away, the thread
    /// calls `on_closed` and ends.
    pub fn spawn(
        feed: Feed,
        backend: Box<dyn Backend>,
        on_closed: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let stop = Arc::new(OnceLock::new());
        let (sender, ended) = sync_channel(1);
        let asked = Arc::clone(&stop);
        let is_done = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&is_done);
        let thread = thread::Builder::new()
            .name(format!("pub-{}", backend.name()))
            .spawn(move || {
                let mut pump = Pump::new(feed, backend);
                if pump.run(&asked).is_err() {
                    on_closed();
                }
                done.store(true, Ordering::Release);
                // The receiver may have given up waiting.
                let _ = sender.send(());
            })?;
        Ok(Self {
            thread,
            stop,
            ended,
            is_done,
        })
    }

    /// True if the backend panicked.
    pub fn has_panicked(&self) -> bool {
        self.thread.is_finished() && !self.is_done.load(Ordering::Acquire)
    }

    /// Asks the thread to publish what is in the ring and to end. `timeout` is the time for what
    /// takes long. Call it after the last interval of the recorder is in the ring.
    pub fn stop(&self, timeout: Duration) {
        // A second stop changes nothing: the first one's time is running.
        let _ = self.stop.set(timeout);
        self.thread.thread().unpark();
    }

    /// Waits for its end, at most `timeout`. Returns false if the thread still runs; it is left
    /// to itself.
    pub fn join(self, timeout: Duration) -> bool {
        use std::sync::mpsc::RecvTimeoutError;
        match self.ended.recv_timeout(timeout) {
            // The backend panicked, which has been reported.
            Ok(()) | Err(RecvTimeoutError::Disconnected) => true,
            Err(RecvTimeoutError::Timeout) => false,
        }
    }
}

/// The reader of the backend has gone.
#[derive(Debug)]
struct Closed;

/// A feed and the backend behind it.
struct Pump {
    feed: Feed,
    backend: Box<dyn Backend>,
    /// Turns without a failure, at most [`QUIET_TURNS`].
    quiet_turns: u32,
}

impl Pump {
    fn new(feed: Feed, backend: Box<dyn Backend>) -> Self {
        Self {
            feed,
            backend,
            quiet_turns: QUIET_TURNS,
        }
    }

    fn run(&mut self, stop: &OnceLock<Duration>) -> Result<(), Closed> {
        loop {
            // Asked before the ring is looked at, so that what was pushed before is published.
            let timeout = match stop.get() {
                Some(&timeout) => Some(timeout),
                // The recorder is gone without a stop: nobody waits for more than this.
                None => self.feed.is_ended().then_some(PAUSE),
            };
            let is_empty = self.turn()?;
            match timeout {
                Some(timeout) if is_empty => {
                    let result = self.backend.finish(timeout);
                    return self.judge(result);
                }
                None if is_empty => thread::park_timeout(PAUSE),
                _ => {}
            }
        }
    }

    /// Publishes what is in the ring, at most as many records as it holds. Returns true if that
    /// emptied it.
    fn turn(&mut self) -> Result<bool, Closed> {
        self.quiet_turns = QUIET_TURNS.min(self.quiet_turns + 1);
        for _ in 0..RING_RECORDS_MAX {
            let Some(record) = self.feed.poll() else {
                let result = self.backend.flush();
                return self.judge(result).map(|()| true);
            };
            let result = self.backend.publish(&record);
            if let Err(PublishError::Full) = &result {
                self.feed.count_dropped(told_dropped(&record));
            }
            self.feed.recycle(record);
            self.judge(result)?;
        }
        let result = self.backend.flush();
        self.judge(result).map(|()| false)
    }

    /// Counts lost records, and logs the first failure after a quiet time.
    fn judge(&mut self, result: Result<(), PublishError>) -> Result<(), Closed> {
        match result {
            Ok(()) => Ok(()),
            Err(PublishError::Closed) => Err(Closed),
            Err(error) => {
                self.feed.count_dropped(error.lost());
                if self.quiet_turns == QUIET_TURNS {
                    tracing::warn!(backend = self.backend.name(), "{error}");
                }
                self.quiet_turns = 0;
                Ok(())
            }
        }
    }
}

/// Returns the number of drops that a record reports. If that record is dropped, the next one
/// must report them again.
fn told_dropped(record: &Record) -> u64 {
    match record {
        Record::Count { metric, value, .. } if metric.name == SAMPLES_DROPPED => *value,
        _ => 0,
    }
}
