//! The sender thread: sends one batch after the other, each until it is taken or refused for
//! good.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tracing::Level;

use crate::limits::REASONS_MAX;
use crate::proto::{Jitter, Mono};
use crate::publish::delivery::parts::Parts;
use crate::publish::delivery::queue::Entry;
use crate::publish::delivery::shared::Shared;
use crate::publish::retry::{Retry, nanos};
use crate::publish::{Batch, Transport, Verdict};

/// The time for one attempt.
pub(super) const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// The first wait after a failure; jitter takes up to half of it.
pub(super) const BACKOFF_FIRST: Duration = Duration::from_millis(250);

/// The longest wait after a failure.
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// The longest wait while the backend bars us. An operator must correct that, and we do not fill
/// the log of the server until then.
pub(super) const BARRED_BACKOFF_MAX: Duration = Duration::from_mins(5);

/// While the backend bars us, a secret that has changed is looked for this often.
const RENEW_EVERY: Duration = Duration::from_secs(5);

/// Attempts to read a batch from disk before it is given up, so that an unreadable one does not
/// hold up all behind it.
pub(super) const READS_MAX: u32 = 4;

/// The time after which the same reason for a refusal is logged again.
pub(super) const REASON_REPEATED_AFTER: Duration = Duration::from_hours(1);

/// The next step of the thread.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Calls `turn` again.
    Again,
    /// Waits for a change after this version, at most this long.
    Wait(u64, Option<Duration>),
    /// Ends.
    End,
}

/// The sender; see the [module](self).
pub(super) struct Sender {
    shared: Arc<Shared>,
    transport: Box<dyn Transport>,
    backoff: Retry,
    /// The waits while the backend bars us.
    barred: Retry,
    jitter: Jitter,
    /// The time of the next attempt.
    not_before: Mono,
    /// The server asked for that time.
    is_wished: bool,
    /// The time to end, once the daemon stops.
    deadline: Option<Mono>,
    unreadable: u32,
    /// The backend has refused us.
    is_barred: bool,
    refusals: Refusals,
    /// What is still to be sent of the oldest batch.
    parts: Parts,
}

/// Reports the end of the thread, also if it panics.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.set_ended();
    }
}

impl Sender {
    pub(super) fn new(shared: Arc<Shared>, transport: Box<dyn Transport>, seed: u64) -> Self {
        Self {
            shared,
            transport,
            backoff: Retry::new(BACKOFF_FIRST, BACKOFF_MAX),
            barred: Retry::new(BACKOFF_FIRST, BARRED_BACKOFF_MAX),
            jitter: Jitter::new(seed),
            not_before: Mono::ZERO,
            is_wished: false,
            deadline: None,
            unreadable: 0,
            is_barred: false,
            refusals: Refusals::default(),
            parts: Parts::default(),
        }
    }

    /// Sends until the daemon stops.
    pub(super) fn run(mut self) {
        let ending = Ending(Arc::clone(&self.shared));
        loop {
            match self.turn() {
                Turn::Again => {}
                Turn::Wait(version, timeout) => self.shared.wait(version, timeout),
                Turn::End => break,
            }
        }
        drop(ending);
    }

    /// Sends the oldest batch, if it is time.
    pub(super) fn turn(&mut self) -> Turn {
        let now = self.shared.now().mono;
        let mut state = self.shared.lock();
        if state.is_abandoned {
            return Turn::End;
        }
        if let (Some(timeout), None) = (state.closing, self.deadline) {
            self.deadline = Some(now.plus(nanos(timeout)));
            if !self.is_wished {
                // The daemon stops, so a batch that failed before gets another attempt at once.
                self.not_before = now;
                self.backoff.reset();
            }
        }
        let next = self.not_before.max(now);
        if self
            .deadline
            .is_some_and(|deadline| state.queue.is_empty() || next >= deadline)
        {
            return Turn::End;
        }
        if next > now && !state.queue.is_empty() {
            let wait = Duration::from_nanos(next.since(now));
            let version = state.version;
            drop(state);
            let renewed = self.is_barred.then(|| self.transport.renew()).flatten();
            return match renewed {
                None => Turn::Wait(version, Some(wait)),
                Some(false) => Turn::Wait(version, Some(wait.min(RENEW_EVERY))),
                Some(true) => {
                    self.not_before = now;
                    Turn::Again
                }
            };
        }
        let Some(entry) = state.queue.begin() else {
            return Turn::Wait(state.version, None);
        };
        drop(state);
        self.attempt(&entry, now);
        Turn::Again
    }

    fn attempt(&mut self, entry: &Entry, now: Mono) {
        let batch = match self.shared.load(entry) {
            Ok(Some(batch)) => batch,
            Ok(None) => return self.give_up(entry, "a batch is missing in the spool"),
            Err(error) => {
                self.unreadable += 1;
                let reason = format!("a batch cannot be read from the spool: {error}");
                if self.unreadable >= READS_MAX {
                    return self.give_up(entry, &reason);
                }
                return self.try_later(&reason, None);
            }
        };
        self.unreadable = 0;
        let part = self.parts.next_of(batch);
        if entry.attempts > 1 && !self.parts.is_divided() {
            self.shared.stats.count_retried(1);
        }
        let left = self.deadline.map(|deadline| deadline.since(now));
        let timeout = SEND_TIMEOUT.min(left.map_or(SEND_TIMEOUT, Duration::from_nanos));
        let sent = self.transport.send(&part, timeout);
        self.shared.stats.set_last_try(Some(sent.is_ok()));
        match sent {
            Ok(()) => {
                let records = part.payload.records;
                let left_out = self.transport.left_out().min(records);
                self.shared.stats.count_sent(records - left_out);
                self.shared.stats.count_left_out(left_out);
                self.be_rid_of(&part, entry);
            }
            Err(error) => match error.verdict {
                Verdict::Later => self.try_later(&error.reason, error.after),
                Verdict::Barred => self.hold_back(&error.reason),
                Verdict::Never => self.be_refused(&part, entry, &error.reason),
            },
        }
    }

    /// Divides a part of a batch that the backend never takes, or drops it.
    fn be_refused(&mut self, part: &Batch, entry: &Entry, reason: &str) {
        if self.parts.may_divide()
            && let Some(halves) = self.transport.halves(part)
        {
            return self.parts.divide(part, halves);
        }
        self.shared.stats.count_dropped(part.payload.records);
        let series = self.transport.series_of(part);
        let now = self.shared.now().mono;
        if self.refusals.is_news(reason, now) {
            self.parts.tell(reason);
        }
        self.parts.name(series);
        self.be_rid_of(part, entry);
    }

    /// Goes on to the next part of a batch, or ends with the batch.
    fn be_rid_of(&mut self, part: &Batch, entry: &Entry) {
        if self.parts.finish() {
            self.shared.shrink(part.payload.records);
            return;
        }
        if let Some(told) = self.parts.take_told() {
            self.tell_refused(&told);
        }
        self.be_answered(entry);
    }

    /// Removes a batch that was taken or refused: the backend answers again.
    fn be_answered(&mut self, entry: &Entry) {
        self.backoff.reset();
        self.barred.reset();
        self.is_wished = false;
        self.is_barred = false;
        self.shared.finished(entry);
        self.shared.answered(self.shared.now().mono);
    }

    fn try_later(&mut self, reason: &str, after: Option<Duration>) {
        let now = self.shared.now().mono;
        self.is_wished = after.is_some();
        self.is_barred = false;
        self.not_before = now.plus(nanos(self.backoff.wait(after, &mut self.jitter)));
        if self.shared.failed(now) {
            self.warn(reason);
        }
    }

    /// Keeps a batch that would be taken if the backend did not bar us. All batches behind it
    /// wait too, until that is corrected or the buffer is full.
    fn hold_back(&mut self, reason: &str) {
        let now = self.shared.now().mono;
        self.is_wished = false;
        self.is_barred = true;
        self.not_before = now.plus(nanos(self.barred.wait(None, &mut self.jitter)));
        let is_first = self.shared.failed(now);
        if self.refusals.is_news(reason, now) {
            self.shared.say(
                Level::ERROR,
                &format!("nothing is taken until this is set right, batches wait: {reason}"),
            );
        } else if is_first {
            self.warn(reason);
        }
    }

    fn warn(&self, reason: &str) {
        self.shared.say(
            Level::WARN,
            &format!("cannot send, batches wait and are sent again: {reason}"),
        );
    }

    fn give_up(&mut self, entry: &Entry, reason: &str) {
        self.unreadable = 0;
        self.shared.stats.count_dropped(entry.records);
        if self.refusals.is_news(reason, self.shared.now().mono) {
            self.tell_refused(reason);
        }
        self.be_answered(entry);
    }

    fn tell_refused(&self, what: &str) {
        self.shared.say(
            Level::ERROR,
            &format!("records are refused and dropped, and so are others like them: {what}"),
        );
    }
}

/// The reasons that were logged, so that a wrong key is one error and not one every second.
#[derive(Debug, Default)]
struct Refusals(VecDeque<(String, Mono)>);

impl Refusals {
    fn is_news(&mut self, reason: &str, now: Mono) -> bool {
        // Lines and requests have numbers that differ each time.
        let reason: String = reason
            .chars()
            .filter(|letter| !letter.is_ascii_digit())
            .collect();
        let known = self.0.iter_mut().find(|(known, _)| *known == reason);
        if let Some((_, told)) = known {
            let is_old = now.since(*told) >= nanos(REASON_REPEATED_AFTER);
            if is_old {
                *told = now;
            }
            return is_old;
        }
        if self.0.len() == REASONS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((reason, now));
        true
    }
}
