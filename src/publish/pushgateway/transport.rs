//! The thread that pushes the latest text.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use reqwest::{Method, Url, header};

use crate::proto::Jitter;
use crate::publish::http::{Http, SetupError};
use crate::publish::prometheus::CONTENT_TYPE;
use crate::publish::pushgateway::PushgatewaySettings;
use crate::publish::retry::Retry;
use crate::publish::{SendError, Verdict};

/// The name of the backend in messages.
pub(super) const NAME: &str = "pushgateway";

/// The time for one push.
const PUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// The first wait after a push that failed, and the longest.
const WAIT_MIN: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_mins(1);

/// Pushes after which families that the gateway has refused are tried again.
const REFUSED_TURNS: u32 = 100;

/// What is pushed.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) text: String,
    /// The number of records in it, since the process began.
    pub(super) records: u64,
}

/// What the flush thread and this thread share.
#[derive(Debug, Default)]
struct Slot {
    /// The latest text that was not pushed.
    text: Option<Text>,
    /// The records of the last text that was.
    pushed: u64,
    /// Whether the last push reached the gateway, if there was one.
    is_ok: Option<bool>,
    /// No more texts come. The time is for the last push.
    stop: Option<Duration>,
    /// The result of the last push.
    ended: Option<Result<(), String>>,
}

#[derive(Debug, Default)]
struct Shared {
    slot: Mutex<Slot>,
    changed: Condvar,
}

/// A running sender. If it is dropped, its thread ends by itself.
#[derive(Debug)]
pub(super) struct Sender {
    shared: Arc<Shared>,
}

impl Sender {
    /// Starts a thread that pushes to `url` for the backend of this name, and counts failures in `failed`.
    pub(super) fn spawn(
        name: &str,
        url: Url,
        settings: &PushgatewaySettings,
        failed: Arc<AtomicU64>,
    ) -> Result<Self, SetupError> {
        let seed = getrandom::u64().map_err(|error| SetupError(error.to_string()))?;
        let shared = Arc::new(Shared::default());
        let mut worker = Worker {
            name: name.into(),
            http: Http::new(settings.ca_file.clone()),
            url,
            delete_on_stop: settings.delete_on_stop,
            shared: Arc::clone(&shared),
            failed,
            in_vain: 0,
            retry: Retry::new(WAIT_MIN, WAIT_MAX),
            jitter: Jitter::new(seed),
            refused: Vec::new(),
            turns_left: 0,
        };
        thread::Builder::new()
            .name(format!("push-{name}"))
            .spawn(move || worker.run())
            .map_err(|error| SetupError(error.to_string()))?;
        Ok(Self { shared })
    }

    /// Replaces the text that waits.
    pub(super) fn put(&self, text: Text) {
        self.shared.slot.lock().text = Some(text);
        self.shared.changed.notify_all();
    }

    /// Returns the number of records that the gateway has.
    pub(super) fn pushed(&self) -> u64 {
        self.shared.slot.lock().pushed
    }

    /// Returns whether the last push reached the gateway, if there was one.
    pub(super) fn last_try(&self) -> Option<bool> {
        self.shared.slot.lock().is_ok
    }

    /// Pushes the last text, ends, and returns the result.
    pub(super) fn finish(&self, timeout: Duration) -> Result<(), String> {
        let mut slot = self.shared.slot.lock();
        slot.stop = Some(timeout);
        self.shared.changed.notify_all();
        let changed = &self.shared.changed;
        let wait = changed.wait_while_for(&mut slot, |slot| slot.ended.is_none(), timeout);
        if wait.timed_out() {
            return Err("the gateway did not answer in time".to_owned());
        }
        slot.ended.clone().unwrap_or(Ok(()))
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.shared.slot.lock().stop.get_or_insert(Duration::ZERO);
        self.shared.changed.notify_all();
    }
}

struct Worker {
    /// The name in messages.
    name: Box<str>,
    http: Http,
    url: Url,
    delete_on_stop: bool,
    shared: Arc<Shared>,
    failed: Arc<AtomicU64>,
    /// Pushes that failed since the last success.
    in_vain: u64,
    retry: Retry,
    jitter: Jitter,
    /// Families that the gateway refuses, and that are left out.
    refused: Vec<String>,
    /// Pushes until they are tried again.
    turns_left: u32,
}

impl Worker {
    fn run(&mut self) {
        let result = loop {
            let (text, stop) = self.next();
            match (text, stop) {
                (text, Some(timeout)) => break self.end(text, timeout),
                (Some(text), None) => self.push(text),
                (None, None) => {}
            }
        };
        self.shared.slot.lock().ended = Some(result);
        self.shared.changed.notify_all();
    }

    /// Waits for a text or for the end.
    fn next(&self) -> (Option<Text>, Option<Duration>) {
        let mut slot = self.shared.slot.lock();
        let is_idle = |slot: &mut Slot| slot.text.is_none() && slot.stop.is_none();
        self.shared.changed.wait_while(&mut slot, is_idle);
        (slot.text.take(), slot.stop)
    }

    /// Pushes a text. If the gateway refuses it, the rest is pushed without the families that it
    /// does not take, and those are told.
    fn put(&mut self, text: &str) -> Result<(), SendError> {
        self.turns_left = self.turns_left.saturating_sub(1);
        if self.turns_left == 0 {
            self.refused.clear();
        }
        let families = self.taken(text);
        match self.call(Method::PUT, families.concat().into_bytes(), PUSH_TIMEOUT) {
            Err(error) if error.verdict == Verdict::Never => {
                let before = self.refused.len();
                self.put_parts(&families, error)?;
                self.turns_left = REFUSED_TURNS;
                if self.refused.len() - before == families.len() {
                    let reason = "the gateway refuses every metric, each for a reason of its own";
                    return Err(SendError::new(Verdict::Never, reason));
                }
                Ok(())
            }
            result => result,
        }
    }

    /// The families of a text without those that the gateway refuses.
    fn taken<'a>(&self, text: &'a str) -> Vec<&'a str> {
        let starts = text.match_indices(HEAD).map(|(at, _)| at);
        // Text of a tag cannot begin a line: its newlines are escaped.
        let starts: Vec<usize> = starts
            .filter(|&at| at == 0 || text.as_bytes()[at - 1] == b'\n')
            .collect();
        let ends = starts.iter().skip(1).copied().chain([text.len()]);
        let families = starts.iter().zip(ends).map(|(&at, end)| &text[at..end]);
        let is_taken = |family: &&str| !self.refused.iter().any(|name| name == name_of(family));
        families.filter(is_taken).collect()
    }

    /// Pushes families that were refused together: each half, until those that are at fault are
    /// alone.
    fn put_parts(&mut self, families: &[&str], error: SendError) -> Result<(), SendError> {
        let [family] = families else {
            let (front, back) = families.split_at(families.len() / 2);
            for half in [front, back].into_iter().filter(|half| !half.is_empty()) {
                // A POST leaves the other families of the group as they are.
                match self.call(Method::POST, half.concat().into_bytes(), PUSH_TIMEOUT) {
                    Err(error) if error.verdict == Verdict::Never => self.put_parts(half, error)?,
                    result => result?,
                }
            }
            return Ok(());
        };
        let name = name_of(family);
        let SendError { reason, .. } = error;
        tracing::error!(
            backend = &*self.name,
            "{name} is left out, and all else is pushed: {reason}"
        );
        self.refused.push(name.to_owned());
        Ok(())
    }

    fn push(&mut self, text: Text) {
        let result = self.put(&text.text);
        self.shared.slot.lock().is_ok = Some(result.is_ok());
        let Err(error) = result else {
            self.shared.slot.lock().pushed = text.records;
            let in_vain = std::mem::take(&mut self.in_vain);
            if in_vain > 0 {
                tracing::info!(
                    backend = &*self.name,
                    "pushed again, after {in_vain} in vain"
                );
            }
            self.retry.reset();
            return;
        };
        self.failed.fetch_add(1, Ordering::Relaxed);
        // An outage is logged once.
        let is_first = self.in_vain == 0;
        self.in_vain += 1;
        if error.verdict == Verdict::Later {
            if is_first {
                let rest = "nothing is lost, a later push has it all";
                tracing::warn!(backend = &*self.name, "{error}; {rest}");
            }
            self.wait(text, error.after);
        } else if is_first {
            // The same text would fail the same way, the next one perhaps not.
            tracing::error!(backend = &*self.name, "{error}");
        }
    }

    /// Puts a text back, unless there is a later one, and waits before the next attempt.
    fn wait(&mut self, text: Text, asked: Option<Duration>) {
        let wait = self.retry.wait(asked, &mut self.jitter);
        let mut slot = self.shared.slot.lock();
        slot.text.get_or_insert(text);
        let goes_on = |slot: &mut Slot| slot.stop.is_none();
        self.shared.changed.wait_while_for(&mut slot, goes_on, wait);
    }

    /// Pushes the last text, or deletes the group.
    fn end(&mut self, text: Option<Text>, timeout: Duration) -> Result<(), String> {
        if timeout.is_zero() {
            return Ok(());
        }
        let result = match text {
            _ if self.delete_on_stop => self.call(Method::DELETE, Vec::new(), timeout),
            Some(Text { text, records }) => {
                let text = self.taken(&text).concat();
                let result = self.call(Method::PUT, text.into_bytes(), timeout);
                if result.is_ok() {
                    self.shared.slot.lock().pushed = records;
                }
                result
            }
            None => Ok(()),
        };
        result.map_err(|error| error.to_string())
    }

    fn call(&self, method: Method, body: Vec<u8>, timeout: Duration) -> Result<(), SendError> {
        let request = (self.http.request(method, self.url.clone())?)
            .header(header::CONTENT_TYPE, CONTENT_TYPE)
            .body(body);
        self.http.send(request, timeout).map(drop)
    }
}

/// What a family begins with.
const HEAD: &str = "# HELP ";

/// Returns the name of a family.
fn name_of(family: &str) -> &str {
    let rest = family.strip_prefix(HEAD).unwrap_or_default();
    rest.split(' ').next().unwrap_or_default()
}
