//! The state that the flush thread and the sender share: the queue, its spool, and what was
//! logged.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tracing::Level;

use crate::proto::{Mono, Now, Wall};
use crate::publish::Batch;
use crate::publish::delivery::queue::{Body, Entry, Queue};
use crate::publish::delivery::spool::{Opened, Spool};
use crate::record::BackendStats;

/// Reads both clocks.
type Time = dyn Fn() -> Now + Send + Sync;

/// Writes to the log.
type Say = dyn Fn(Level, &str) + Send + Sync;

/// The clock and the log of a delivery.
pub(super) struct World {
    pub(super) now: Box<Time>,
    pub(super) say: Box<Say>,
}

/// An outage: from the first failure or drop until batches are taken again.
pub(super) struct Outage {
    since: Mono,
    failed: u64,
    dropped: u64,
    is_full_said: bool,
}

pub(super) struct State {
    pub(super) queue: Queue,
    next_key: u64,
    /// Changes whenever the sender may have something to do.
    pub(super) version: u64,
    /// The time that was left when the daemon began to stop.
    pub(super) closing: Option<Duration>,
    /// Nobody waits for the sender any more.
    pub(super) is_abandoned: bool,
    /// The sender has ended.
    pub(super) has_ended: bool,
    outage: Option<Outage>,
    is_disk_failing: bool,
}

/// The shared state; see the [module](self).
pub(super) struct Shared {
    pub(super) stats: Arc<BackendStats>,
    spool: Option<Spool>,
    state: Mutex<State>,
    /// Wakes the sender.
    changed: Condvar,
    /// Wakes the thread that waits for the end of the sender.
    ended: Condvar,
    world: World,
}

impl Shared {
    /// Makes a queue with the batches that are in its spool.
    pub(super) fn new(
        stats: Arc<BackendStats>,
        bytes_max: u64,
        spool: Option<Spool>,
        world: World,
    ) -> Self {
        let shared = Self {
            stats,
            spool,
            state: Mutex::new(State {
                queue: Queue::new(bytes_max),
                next_key: 0,
                version: 0,
                closing: None,
                is_abandoned: false,
                has_ended: false,
                outage: None,
                is_disk_failing: false,
            }),
            changed: Condvar::new(),
            ended: Condvar::new(),
            world,
        };
        // The buffer may have been larger in the last run.
        shared.push(Vec::new(), shared.now());
        shared
    }

    pub(super) fn now(&self) -> Now {
        (self.world.now)()
    }

    pub(super) fn say(&self, level: Level, message: &str) {
        (self.world.say)(level, message);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Appends batches, and drops the oldest ones if there is no room.
    pub(super) fn push(&self, batches: Vec<Batch>, now: Now) {
        self.open_spool();
        let (mut placed, dropped, lost) = self.place(batches, now);
        self.write(&mut placed, &dropped);
        let dropped_records = lost + dropped.iter().map(|entry| entry.records).sum::<u64>();
        let mut state = self.lock();
        for entry in placed {
            state.queue.push(entry);
        }
        self.stats.set_queued(state.queue.queued());
        state.version += 1;
        let is_news = dropped_records > 0 && state.outage(now.mono).dropped(dropped_records);
        drop(state);
        self.changed.notify_one();
        self.stats.count_dropped(dropped_records);
        if is_news {
            self.say(
                Level::WARN,
                "the buffer is full: the oldest records are dropped until the backend takes more",
            );
        }
    }

    /// Opens the spool, unless it is open. What an earlier run left in it goes first. Where the
    /// disk refuses it batches wait in memory, and the next batch tries again.
    fn open_spool(&self) {
        let Some(spool) = self.spool.as_ref().filter(|spool| !spool.is_listed()) else {
            return;
        };
        let Opened { mut found, damage } = match spool.open() {
            Ok(opened) => opened,
            Err(reason) => return self.judge_disk(Some(reason)),
        };
        // How old they are cannot be known: the wall clock may have been set since they were made.
        let now = self.now().mono;
        for found in &mut found {
            found.since = now;
        }
        let batches = found.len();
        let records: u64 = found.iter().map(|found| found.records).sum();
        let mut state = self.lock();
        state.next_key = state.queue.put_first(found);
        drop(state);
        self.judge_disk(None);
        if let Some(damage) = damage {
            self.stats.count_spool_damaged(1);
            self.say(Level::ERROR, &damage);
        }
        if batches > 0 {
            self.say(
                Level::INFO,
                &format!("{records} records in {batches} batches wait from the last run"),
            );
        }
    }

    /// Makes room. Returns the entries of the batches that have room, the entries that were
    /// dropped, and the number of records in batches that have none.
    fn place(&self, batches: Vec<Batch>, now: Now) -> (Vec<Entry>, Vec<Entry>, u64) {
        let (mut placed, mut dropped, mut lost) = (Vec::new(), Vec::new(), 0);
        let mut planned = 0;
        let mut state = self.lock();
        state.queue.make_room(0, &mut dropped);
        for batch in batches {
            let bytes = batch.payload.body.len() as u64;
            let records = batch.payload.records;
            if !state.queue.make_room(planned + bytes, &mut dropped) {
                lost += records;
                continue;
            }
            planned += bytes;
            placed.push(Entry {
                key: state.next_key,
                records,
                bytes,
                created: now.wall,
                since: now.mono,
                attempts: 0,
                body: Body::Memory(Arc::new(batch)),
            });
            state.next_key += 1;
        }
        (placed, dropped, lost)
    }

    /// Writes placed entries to the spool and removes dropped ones from it. What the disk does
    /// not take stays in memory.
    fn write(&self, placed: &mut [Entry], dropped: &[Entry]) {
        let Some(spool) = &self.spool else { return };
        let rows = in_memory(placed);
        let gone: Vec<u64> = dropped
            .iter()
            .filter(|entry| matches!(entry.body, Body::Spooled))
            .map(|entry| entry.key)
            .collect();
        if rows.is_empty() && gone.is_empty() {
            return;
        }
        let result = spool.write(&rows, &gone);
        if result.is_err() {
            self.stats.count_spool_failed(rows.len() as u64);
        } else {
            drop(rows);
            for entry in placed {
                entry.body = Body::Spooled;
            }
        }
        self.judge_disk(result.err().map(|error| error.to_string()));
    }

    /// Logs once that the disk fails, and once that it works again.
    fn judge_disk(&self, error: Option<String>) {
        let was_failing = std::mem::replace(&mut self.lock().is_disk_failing, error.is_some());
        match error {
            Some(error) if !was_failing => self.say(
                Level::ERROR,
                &format!("the spool fails, batches wait in memory: {error}"),
            ),
            None if was_failing => self.say(Level::INFO, "the spool works again"),
            _ => {}
        }
    }

    /// Returns the batch of an entry, or `None` if the spool does not have it.
    pub(super) fn load(&self, entry: &Entry) -> Result<Option<Arc<Batch>>, redb::Error> {
        match (&entry.body, &self.spool) {
            (Body::Memory(batch), _) => Ok(Some(Arc::clone(batch))),
            (Body::Spooled, Some(spool)) => Ok(spool.read(entry.key)?.map(Arc::new)),
            (Body::Spooled, None) => Ok(None),
        }
    }

    /// Removes the batch that was being sent, from the disk first: a batch that is sent twice
    /// keeps its identity, and one that is forgotten is lost.
    pub(super) fn finished(&self, entry: &Entry) {
        if let (Body::Spooled, Some(spool)) = (&entry.body, &self.spool) {
            let result = spool.remove(entry.key);
            // The thread that closed the spool does not wait for this.
            if !self.lock().is_abandoned {
                self.judge_disk(result.err().map(|error| error.to_string()));
            }
        }
        let mut state = self.lock();
        if !state.is_abandoned {
            state.queue.finished();
            self.stats.set_queued(state.queue.queued());
        }
    }

    /// Notes that so many records of the batch that is being sent need no counting any more.
    pub(super) fn shrink(&self, records: u64) {
        let mut state = self.lock();
        if !state.is_abandoned {
            state.queue.shrink(records);
        }
    }

    /// Reports the end of an outage, once the backend has taken or refused a batch and the queue
    /// is less than half full.
    pub(super) fn answered(&self, now: Mono) {
        let mut state = self.lock();
        if !state.queue.is_relieved() {
            return;
        }
        let Some(outage) = state.outage.take() else {
            return;
        };
        drop(state);
        let lasted = Duration::from_nanos(now.since(outage.since));
        let Outage {
            failed, dropped, ..
        } = outage;
        self.say(
            Level::INFO,
            &format!(
                "the backend takes batches again after {lasted:.1?}: {failed} attempts failed, \
                 {dropped} records were dropped for want of room"
            ),
        );
    }

    /// Counts a failed attempt that will be repeated. Returns true if it is the first of an
    /// outage.
    pub(super) fn failed(&self, now: Mono) -> bool {
        let mut state = self.lock();
        state.queue.kept();
        let outage = state.outage(now);
        outage.failed += 1;
        outage.failed == 1
    }

    /// Waits for a change after `version`, at most `timeout`.
    pub(super) fn wait(&self, version: u64, timeout: Option<Duration>) {
        let mut state = self.lock();
        if state.version != version {
            return;
        }
        match timeout {
            Some(timeout) => {
                self.changed.wait_for(&mut state, timeout);
            }
            None => self.changed.wait(&mut state),
        }
    }

    /// Gives the sender this long to send the rest. Returns when it has ended, or after
    /// `timeout`.
    pub(super) fn close(&self, timeout: Duration) {
        let mut state = self.lock();
        state.closing = Some(timeout);
        state.version += 1;
        self.changed.notify_one();
        self.ended
            .wait_while_for(&mut state, |state| !state.has_ended, timeout);
    }

    /// The sender has ended.
    pub(super) fn set_ended(&self) {
        self.lock().has_ended = true;
        self.ended.notify_all();
    }

    /// True if the sender has ended although nobody told it to.
    pub(super) fn has_failed(&self) -> bool {
        let state = self.lock();
        state.has_ended && state.closing.is_none() && !state.is_abandoned
    }

    /// Abandons pending batches and closes the spool. Batches on disk are sent after the next
    /// start; records in memory are counted as dropped. Logs both if `should_say`.
    pub(super) fn leave(&self, should_say: bool) {
        let mut state = self.lock();
        if std::mem::replace(&mut state.is_abandoned, true) {
            return;
        }
        state.version += 1;
        self.changed.notify_one();
        let mut left: Vec<Entry> = state
            .queue
            .entries_mut()
            .map(|entry| entry.clone())
            .collect();
        drop(state);
        self.rescue(&mut left);
        let (kept, lost): (Vec<_>, Vec<_>) = left
            .iter()
            .partition(|entry| matches!(entry.body, Body::Spooled));
        let records = |entries: &[&Entry]| entries.iter().map(|entry| entry.records).sum::<u64>();
        let (kept_records, lost_records) = (records(&kept), records(&lost));
        self.stats.count_dropped(lost_records);
        if let Some(spool) = &self.spool {
            spool.close();
            if should_say && !kept.is_empty() {
                let (batches, path) = (kept.len(), spool.path().display());
                self.say(
                    Level::INFO,
                    &format!("{kept_records} records in {batches} batches wait in {path}"),
                );
            }
        }
        if should_say && !lost.is_empty() {
            self.say(
                Level::WARN,
                &format!("{lost_records} records could not be sent in time and are dropped"),
            );
        }
    }

    /// Makes the disk fail from now on.
    #[cfg(test)]
    pub(super) fn break_spool(&self) {
        if let Some(spool) = &self.spool {
            spool.close();
        }
    }

    /// Tries once more to write what the disk did not take before.
    fn rescue(&self, left: &mut [Entry]) {
        let Some(spool) = &self.spool else { return };
        let rows = in_memory(left);
        if !rows.is_empty() && spool.write(&rows, &[]).is_ok() {
            drop(rows);
            for entry in left {
                entry.body = Body::Spooled;
            }
        }
    }
}

/// Returns the entries whose bodies are in memory only, as the spool takes them.
fn in_memory(entries: &[Entry]) -> Vec<(u64, Wall, &Batch)> {
    let rows = entries.iter().filter_map(|entry| match &entry.body {
        Body::Memory(batch) => Some((entry.key, entry.created, &**batch)),
        Body::Spooled => None,
    });
    rows.collect()
}

impl State {
    /// Returns the current outage, or begins one.
    fn outage(&mut self, now: Mono) -> &mut Outage {
        self.outage.get_or_insert(Outage {
            since: now,
            failed: 0,
            dropped: 0,
            is_full_said: false,
        })
    }
}

impl Outage {
    /// Counts records that were dropped for want of room. Returns true for the first of an
    /// outage.
    fn dropped(&mut self, records: u64) -> bool {
        self.dropped += records;
        !std::mem::replace(&mut self.is_full_said, true)
    }
}
