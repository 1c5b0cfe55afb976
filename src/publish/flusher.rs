//! The flush thread: takes records from a ring and hands them to one backend.
//!
//! The thread looks for records every [`PAUSE`] and is not woken: a wake-up is a system call that
//! the poll thread would make for each sample.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::clock::Clock;
use crate::limits::RING_RECORDS_MAX;
use crate::proto::Mono;
use crate::publish::{Backend, PublishError, Tried};
use crate::record::{BackendStats, Feed, Record, SAMPLES_DROPPED};

/// The pause once the ring is empty.
const PAUSE: Duration = Duration::from_millis(25);

/// Looks at a ring, ten seconds of them, after which the next loss is logged again.
const QUIET_LOOKS: u32 = 20;

/// Turns without a failure, ten seconds of them, after which the next failure is logged again.
const QUIET_TURNS: u32 = 400;

/// A running flush thread. Dropping this does not end the thread; it ends with the recorder.
#[derive(Debug)]
pub struct Flusher {
    thread: JoinHandle<()>,
    /// When its time is over.
    stop: Arc<OnceLock<Mono>>,
    ended: Receiver<()>,
    /// The thread has ended in order.
    is_done: Arc<AtomicBool>,
    name: Box<str>,
    stats: Arc<BackendStats>,
    /// Records without room in the ring at the last look, and looks since there was a new one.
    overrun: u64,
    quiet_looks: u32,
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
        let (name, stats) = (backend.name().into(), Arc::clone(feed.stats()));
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
            name,
            stats,
            overrun: 0,
            quiet_looks: QUIET_LOOKS,
        })
    }

    /// Warns when records begin to be lost since the thread takes them too slowly, or not at all.
    /// Call it every half second; the first loss after ten seconds without one is told.
    pub fn tell_overrun(&mut self) {
        let before = std::mem::replace(&mut self.overrun, self.stats.overrun());
        if self.overrun == before {
            self.quiet_looks = QUIET_LOOKS.min(self.quiet_looks + 1);
        } else if std::mem::take(&mut self.quiet_looks) == QUIET_LOOKS {
            tracing::warn!(
                backend = &*self.name,
                "takes records too slowly or not at all: {} are lost so far",
                self.overrun
            );
        }
    }

    /// True if its thread has ended.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Returns the figures of its backend.
    pub fn stats(&self) -> &Arc<BackendStats> {
        &self.stats
    }

    /// True if the backend panicked.
    pub fn has_panicked(&self) -> bool {
        self.thread.is_finished() && !self.is_done.load(Ordering::Acquire)
    }

    /// Asks the thread to end within `timeout`, once it has published the recorder's last interval. Each
    /// thread has this time for itself: call it before the recorder ends.
    pub fn stop(&self, timeout: Duration) {
        let timeout_ns = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        // A second stop changes nothing: the first one's time is running.
        let _ = self.stop.set(Clock::new().mono_for_sure().plus(timeout_ns));
        self.thread.thread().unpark();
    }

    /// Waits for its end, at most `timeout`, and logs what it has lost. Returns false if the thread
    /// still runs; it is left to itself.
    pub fn join(self, timeout: Duration) -> bool {
        let backend = &*self.name;
        // Where the backend has panicked, that has been reported.
        let has_ended = self.ended.recv_timeout(timeout) != Err(RecvTimeoutError::Timeout);
        let mut lost = self.stats.samples_dropped() + self.stats.dropped();
        if !has_ended {
            let last = self.stats.untaken();
            let timeout = "the shutdown timeout has passed";
            tracing::warn!(
                backend,
                "{timeout}, and it has not taken the last {last} records"
            );
            lost += last;
        }
        if lost > 0 {
            tracing::warn!(backend, "{lost} records are lost since the start");
        }
        has_ended
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
    /// Records from the ring.
    polled: u64,
}

impl Pump {
    fn new(feed: Feed, backend: Box<dyn Backend>) -> Self {
        Self {
            feed,
            backend,
            quiet_turns: QUIET_TURNS,
            polled: 0,
        }
    }

    fn run(&mut self, stop: &OnceLock<Mono>) -> Result<(), Closed> {
        loop {
            // Asked before the ring is looked at, so that what was pushed before is published. Another
            // backend whose ring is full holds up the recorder, and not this one.
            let is_last = self.feed.is_complete() && (stop.get().is_some() || self.feed.is_ended());
            let is_empty = self.turn()?;
            if is_empty && is_last {
                let left = stop
                    .get()
                    .map(|until| until.since(Clock::new().mono_for_sure()));
                // The recorder is gone without a stop: nobody waits for more than this.
                let left = left.map_or(PAUSE, Duration::from_nanos);
                let result = self.backend.finish(left);
                self.quiet_turns = QUIET_TURNS;
                return self.judge(result);
            }
            if is_empty {
                thread::park_timeout(PAUSE);
            }
        }
    }

    /// Publishes what is in the ring, at most as many records as it holds. Returns true if that
    /// emptied it.
    fn turn(&mut self) -> Result<bool, Closed> {
        self.quiet_turns = QUIET_TURNS.min(self.quiet_turns + 1);
        for _ in 0..RING_RECORDS_MAX {
            let Some(record) = self.feed.poll() else {
                return self.flush().map(|()| true);
            };
            self.polled += 1;
            let result = self.backend.publish(&record);
            if let Err(PublishError::Full) = &result {
                self.feed.count_dropped(told_dropped(&record));
            }
            self.feed.recycle(record);
            self.judge(result)?;
        }
        self.flush().map(|()| false)
    }

    /// Sends what is due. What was polled before is then taken or lost.
    fn flush(&mut self) -> Result<(), Closed> {
        let result = self.backend.flush();
        let is_ok = result.is_ok();
        self.judge(result)?;
        let stats = self.feed.stats();
        match self.backend.last_try() {
            Tried::AsTaken => stats.set_last_try(Some(is_ok)),
            Tried::Nothing => {}
            Tried::Ended { is_ok } => stats.set_last_try(Some(is_ok)),
        }
        stats.set_taken(self.polled);
        if self.backend.stats().is_none() {
            // It has no queue that counts.
            let taken = self.polled.saturating_sub(stats.gave_up());
            stats.count_sent(taken.saturating_sub(stats.sent()));
        }
        Ok(())
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
