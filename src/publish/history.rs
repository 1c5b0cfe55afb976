//! The past of this host on its own disk: gathers the records of each interval, and hands them to a thread that writes.
//!
//! The flush thread never waits for the disk. What finds no room on the way to the writing thread is dropped, counted
//! and told.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use crate::history::{Gather, Interval, Store};
use crate::limits::{HISTORY_EVENTS_BYTES, HISTORY_INTERVALS_QUEUED_MAX};
use crate::publish::{Backend, Encoder, PublishError, Tried};
use crate::record::{BackendStats, Record};

pub use crate::history::Settings as HistorySettings;

/// The name in messages.
const NAME: &str = "history";

/// Turns of the flush thread without a record of an interval, after which it is over: a tenth of a second.
const SETTLED_TURNS: u32 = 4;

/// Turns for which events wait for others, a second.
const EVENT_TURNS: u32 = 40;

/// Writes in a row after which a folder is written to again: the last bytes of a full disk hold a short one.
const WRITTEN_AGAIN: u32 = 2;

/// What the writing thread gets.
#[derive(Debug)]
enum Job {
    Interval(Interval),
    Events {
        lines: Vec<u8>,
        span: [i64; 2],
        count: u64,
    },
}

impl Job {
    /// Returns how many records it has.
    const fn records(&self) -> u64 {
        match self {
            Self::Interval(interval) => interval.records,
            Self::Events { count, .. } => *count,
        }
    }
}

/// Keeps what it is given on the disk, on a thread of its own: docs/design/history.md.
#[derive(Debug)]
pub struct History {
    gather: Gather,
    turns_left: u32,
    encoder: Encoder,
    events: Vec<u8>,
    event_span: Option<[i64; 2]>,
    event_count: u64,
    event_turns: u32,
    /// `None` once it has ended.
    jobs: Option<SyncSender<Job>>,
    ended: Receiver<()>,
    stats: Arc<BackendStats>,
    /// Told since the writing thread last had room.
    is_behind: bool,
}

impl History {
    /// Opens the folder and starts the thread that writes. The error is a sentence.
    pub fn open(settings: HistorySettings, stats: Arc<BackendStats>) -> Result<Self, String> {
        let interval_ns = settings.interval_ns.unsigned_abs();
        let folder = settings.folder.display().to_string();
        let store = Store::open(settings)?;
        let (jobs, queue) = sync_channel(HISTORY_INTERVALS_QUEUED_MAX);
        let (sender, ended) = sync_channel(1);
        let mut writer = Writer {
            store,
            stats: Arc::clone(&stats),
            folder,
            failing: Failing::default(),
        };
        let body = move || {
            writer.tell();
            while let Ok(job) = queue.recv() {
                writer.write(&job);
            }
            // Nobody may wait for it any more.
            let _ = sender.send(());
        };
        let thread = thread::Builder::new().name("history".into());
        thread
            .spawn(body)
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(Self {
            gather: Gather::new(interval_ns),
            turns_left: 0,
            encoder: Encoder::new(),
            events: Vec::new(),
            event_span: None,
            event_count: 0,
            event_turns: 0,
            jobs: Some(jobs),
            ended,
            stats,
            is_behind: false,
        })
    }

    fn end_interval(&mut self) {
        self.turns_left = 0;
        if let Some(interval) = self.gather.take() {
            self.hand_over(Job::Interval(interval));
        }
    }

    fn end_events(&mut self) {
        self.event_turns = 0;
        if let Some(span) = self.event_span.take() {
            let lines = std::mem::take(&mut self.events);
            let count = std::mem::take(&mut self.event_count);
            self.hand_over(Job::Events { lines, span, count });
        }
    }

    fn hand_over(&mut self, job: Job) {
        let Some(jobs) = &self.jobs else {
            return;
        };
        match jobs.try_send(job) {
            Ok(()) => self.is_behind = false,
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => {
                self.stats.count_dropped(job.records());
                if !std::mem::replace(&mut self.is_behind, true) {
                    tracing::warn!(
                        backend = NAME,
                        "the disk is too slow: an interval is left out, and told again only after one that is not"
                    );
                }
            }
        }
    }

    fn add_event(&mut self, record: &Record) {
        let at = record.at().as_unix_nanos();
        self.encoder.encode(record, &mut self.events);
        self.events.push(b'\n');
        let [first, last] = self.event_span.get_or_insert([at, at]);
        (*first, *last) = ((*first).min(at), (*last).max(at));
        self.event_count += 1;
        if self.events.len() >= HISTORY_EVENTS_BYTES {
            self.end_events();
        } else if self.event_turns == 0 {
            self.event_turns = EVENT_TURNS;
        }
    }
}

impl Backend for History {
    fn name(&self) -> &'static str {
        NAME
    }

    fn stats(&self) -> Option<Arc<BackendStats>> {
        Some(Arc::clone(&self.stats))
    }

    fn last_try(&self) -> Tried {
        Tried::of(self.stats.last_try())
    }

    fn publish(&mut self, record: &Record) -> Result<(), PublishError> {
        match record {
            Record::Sample { .. } => return Ok(()),
            Record::Event(_) => {
                self.add_event(record);
                return Ok(());
            }
            _ => {}
        }
        if self.gather.is_of_another(record) {
            self.end_interval();
        }
        self.turns_left = SETTLED_TURNS;
        if self.gather.add(record) {
            Ok(())
        } else {
            Err(PublishError::Full)
        }
    }

    fn flush(&mut self) -> Result<(), PublishError> {
        if self.turns_left == 1 {
            self.end_interval();
        }
        self.turns_left = self.turns_left.saturating_sub(1);
        if self.event_turns == 1 {
            self.end_events();
        }
        self.event_turns = self.event_turns.saturating_sub(1);
        Ok(())
    }

    fn finish(&mut self, timeout: Duration) -> Result<(), PublishError> {
        self.end_interval();
        self.end_events();
        self.jobs = None;
        if self.ended.recv_timeout(timeout) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!(
                backend = NAME,
                "the disk has not taken the last interval in time"
            );
        }
        Ok(())
    }
}

/// The writing thread's side.
struct Writer {
    store: Store,
    stats: Arc<BackendStats>,
    folder: String,
    failing: Failing,
}

/// Whether it was told that writes fail.
#[derive(Debug, Default)]
struct Failing {
    is_told: bool,
    /// Writes that have succeeded since the last one that failed.
    written: u32,
}

/// What is to be told of writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    TheyFail,
    TheySucceedAgain,
}

impl Failing {
    fn handle(&mut self, is_written: bool) -> Option<News> {
        if !is_written {
            self.written = 0;
            let is_told = std::mem::replace(&mut self.is_told, true);
            return (!is_told).then_some(News::TheyFail);
        }
        self.written = self.written.saturating_add(1);
        let is_over = self.is_told && self.written >= WRITTEN_AGAIN;
        is_over.then(|| {
            self.is_told = false;
            News::TheySucceedAgain
        })
    }

    /// True if the last write has failed.
    const fn is_lasting(&self) -> bool {
        self.is_told && self.written == 0
    }
}

impl Writer {
    fn write(&mut self, job: &Job) {
        let written = match job {
            Job::Interval(interval) => self.store.write(interval),
            Job::Events { lines, span, .. } => self.store.write_events(lines, *span),
        };
        self.tell();
        let news = self.failing.handle(written.is_ok());
        self.stats.set_last_try(Some(written.is_ok()));
        let folder = &self.folder;
        match written {
            Ok(()) => self.stats.count_sent(job.records()),
            Err(error) => {
                self.stats.count_dropped(job.records());
                if news == Some(News::TheyFail) {
                    tracing::warn!(
                        backend = NAME,
                        "cannot write to {folder}: {error}; intervals are left out until it can be written again"
                    );
                }
            }
        }
        if news == Some(News::TheySucceedAgain) {
            tracing::info!(backend = NAME, "{folder} is written to again");
        }
    }

    /// Logs what the store has to tell.
    fn tell(&mut self) {
        // While nothing can be written, one line tells it.
        for note in self.store.take_notes() {
            if !self.failing.is_lasting() {
                tracing::warn!(backend = NAME, "{note}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bytes_of_a_full_disk_are_no_room_again() {
        let mut failing = Failing::default();
        let mut told = |is_written: bool| failing.handle(is_written);
        assert_eq!(told(true), None);
        assert_eq!(told(false), Some(News::TheyFail));
        for is_written in [true, false, true, false, false] {
            assert_eq!(told(is_written), None);
        }
        assert_eq!(
            [told(true), told(true)],
            [None, Some(News::TheySucceedAgain)]
        );
        assert_eq!([told(true), told(true)], [None; 2]);
        assert_eq!(told(false), Some(News::TheyFail));
    }
}
