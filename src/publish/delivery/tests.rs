//! The delivery in virtual time, turn by turn, and once with its real thread.

mod disk;
mod refused;
mod thread;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use super::sender::{
    BACKOFF_FIRST, BACKOFF_MAX, BARRED_BACKOFF_MAX, REASON_REPEATED_AFTER, SEND_TIMEOUT, Turn,
};
use super::*;
use crate::proto::{Now, Wall};
use crate::publish::retry::RETRY_AFTER_MAX;
use crate::publish::testing::gauge;
use crate::publish::{SendError, Verdict};

/// Writes each gauge's value as a line, and fills each batch up with spaces to a size.
struct Lines {
    lines: Vec<String>,
    full_at: usize,
    body_bytes: usize,
}

impl Encode for Lines {
    fn name(&self) -> &'static str {
        "lines"
    }

    fn add(&mut self, record: &Record) -> bool {
        let value = record.value().filter(|value| *value >= 0);
        self.lines.extend(value.map(|value| value.to_string()));
        value.is_some()
    }

    fn is_full(&self) -> bool {
        self.lines.len() >= self.full_at
    }

    fn take(&mut self, out: &mut Vec<Payload>) {
        if self.lines.is_empty() {
            return;
        }
        let records = self.lines.len() as u64;
        let mut body = self.lines.join("\n").into_bytes();
        body.resize(self.body_bytes.max(body.len()), b' ');
        self.lines.clear();
        out.push(Payload {
            kind: 3,
            body,
            records,
        });
    }
}

/// What a transport was asked, and what it is to answer; without an answer it takes everything.
#[derive(Default)]
struct Script {
    answers: VecDeque<SendError>,
    /// Values, identities and timeouts, in order.
    sent: Vec<(String, BatchId, Duration)>,
    is_down: bool,
    /// Values that are never taken, and the batches that were.
    bad: Vec<String>,
    taken: Vec<String>,
}

#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<Script>>);

fn later(reason: &str, after: Option<Duration>) -> SendError {
    SendError {
        after,
        ..SendError::new(Verdict::Later, reason)
    }
}

fn never(reason: &str) -> SendError {
    SendError::new(Verdict::Never, reason)
}

fn barred(reason: &str) -> SendError {
    SendError::new(Verdict::Barred, reason)
}

fn values(batch: &Batch) -> String {
    let text = String::from_utf8(batch.payload.body.clone()).unwrap();
    text.trim_end().replace('\n', ",")
}

impl Transport for Scripted {
    fn send(&mut self, batch: &Batch, timeout: Duration) -> Result<(), SendError> {
        assert_eq!(batch.payload.kind, 3);
        let mut script = self.0.lock();
        script.sent.push((values(batch), batch.id, timeout));
        if script.is_down {
            return Err(later("away", None));
        }
        if let Some(answer) = script.answers.pop_front() {
            return Err(answer);
        }
        let values = values(batch);
        if values
            .split(',')
            .any(|value| script.bad.iter().any(|bad| bad == value))
        {
            return Err(never("400 bad row"));
        }
        script.taken.push(values);
        Ok(())
    }

    fn halves(&self, batch: &Batch) -> Option<[Payload; 2]> {
        let values = values(batch);
        let values: Vec<&str> = values.split(',').collect();
        let (front, back) = values.split_at(values.len() / 2);
        let half = |values: &[&str]| Payload {
            kind: 3,
            body: values.join("\n").into_bytes(),
            records: values.len() as u64,
        };
        (!front.is_empty()).then(|| [front, back].map(half))
    }

    fn series_of(&self, batch: &Batch) -> String {
        format!("value {}", values(batch))
    }
}

/// A delivery whose sender is driven by hand.
struct Rig {
    delivery: Delivery<Lines>,
    sender: Sender,
    script: Scripted,
    stats: Arc<BackendStats>,
    now_ns: Arc<AtomicU64>,
    said: Arc<Mutex<Vec<(Level, String)>>>,
}

/// When the virtual clocks start.
const START: i64 = 1_700_000_000_000_000_000;

impl Rig {
    fn new() -> Self {
        Self::with(&DeliverySettings::default(), 10).unwrap()
    }

    /// Bodies of this many bytes at least.
    fn with(settings: &DeliverySettings, body_bytes: usize) -> Result<Self, DeliveryError> {
        let stats = Arc::new(BackendStats::new("lines"));
        let now_ns = Arc::new(AtomicU64::new(0));
        let said = Arc::new(Mutex::new(Vec::new()));
        let script = Scripted::default();
        let (clock, listener) = (Arc::clone(&now_ns), Arc::clone(&said));
        let world = World {
            now: Box::new(move || {
                let ns = clock.load(Ordering::Relaxed);
                Now {
                    mono: Mono::from_nanos(ns),
                    wall: Wall::from_unix_nanos(START + i64::try_from(ns).unwrap()),
                }
            }),
            say: Box::new(move |level, message| listener.lock().push((level, message.to_owned()))),
        };
        let encoder = Lines {
            lines: Vec::new(),
            full_at: 1_000,
            body_bytes,
        };
        let transport = Box::new(script.clone());
        let (delivery, sender) =
            Delivery::with(encoder, transport, settings, Arc::clone(&stats), world)?;
        Ok(Self {
            delivery,
            sender,
            script,
            stats,
            now_ns,
            said,
        })
    }

    fn pass(&self, time: Duration) {
        self.now_ns.fetch_add(nanos(time), Ordering::Relaxed);
    }

    /// Publishes a batch of one value.
    fn batch(&mut self, value: i64) {
        self.delivery.publish(&gauge(value)).unwrap();
        self.delivery.cut();
    }

    fn batches(&mut self, values: impl IntoIterator<Item = i64>) {
        for value in values {
            self.batch(value);
        }
    }

    /// Lets the sender go on until it waits or ends; time stands still.
    fn settle(&mut self) -> Turn {
        loop {
            let turn = self.sender.turn();
            if turn != Turn::Again {
                return turn;
            }
        }
    }

    /// One attempt, and how long the sender waits after it.
    fn wait(&mut self) -> Duration {
        match self.settle() {
            Turn::Wait(_, Some(wait)) => wait,
            other => panic!("{other:?}"),
        }
    }

    fn answer(&self, answers: impl IntoIterator<Item = SendError>) {
        self.script.0.lock().answers.extend(answers);
    }

    /// The values sent since this was last asked.
    fn sent(&self) -> Vec<String> {
        let sent = std::mem::take(&mut self.script.0.lock().sent);
        sent.into_iter().map(|(values, _, _)| values).collect()
    }

    fn said(&self, level: Level) -> Vec<String> {
        let said = self.said.lock();
        let of_level = said.iter().filter(|(known, _)| *known == level);
        of_level.map(|(_, message)| message.clone()).collect()
    }
}

#[test]
fn batches_are_sent_in_order_and_counted() {
    let mut rig = Rig::new();
    rig.delivery.publish(&gauge(1)).unwrap();
    rig.delivery.publish(&gauge(2)).unwrap();
    rig.delivery.publish(&gauge(-1)).unwrap();
    rig.delivery.cut();
    rig.pass(Duration::from_secs(1));
    rig.batch(3);
    let queued = rig.stats.queued();
    assert_eq!(queued.bytes, 20);
    assert_eq!(queued.oldest, Some(Mono::ZERO));
    assert!(matches!(rig.settle(), Turn::Wait(_, None)));
    assert_eq!(rig.sent(), ["1,2", "3"]);
    assert_eq!((rig.stats.sent(), rig.stats.left_out()), (3, 1));
    assert_eq!((rig.stats.retried(), rig.stats.dropped()), (0, 0));
    assert_eq!(rig.stats.queued(), crate::record::Queued::default());
    assert!(rig.said.lock().is_empty(), "nothing to tell");
}

#[test]
fn a_batch_is_closed_when_full_when_an_interval_is_over_and_after_a_time() {
    let mut rig = Rig::new();
    rig.delivery.encoder.full_at = 2;
    rig.delivery.publish(&gauge(1)).unwrap();
    rig.delivery.publish(&gauge(2)).unwrap();
    assert!(rig.stats.queued().bytes > 0, "full");
    rig.settle();
    // Gauges come at the end of an interval: once no more follow, the batch is closed.
    rig.delivery.publish(&gauge(3)).unwrap();
    rig.delivery.flush().unwrap();
    assert_eq!(rig.stats.queued().bytes, 0, "more may follow");
    rig.delivery.flush().unwrap();
    assert!(rig.stats.queued().bytes > 0, "no more followed");

    let mut gathering = Gathering::new(1_000, Mono::ZERO);
    assert!(!gathering.is_due(Mono::from_nanos(999)));
    assert!(gathering.is_due(Mono::from_nanos(1_000)));
    gathering.cut(Mono::from_nanos(1_100));
    assert!(!gathering.is_due(Mono::from_nanos(2_099)));
    assert!(gathering.is_due(Mono::from_nanos(2_100)));
}

#[test]
fn a_failed_batch_is_sent_again_as_it_was_before_the_next_one() {
    let mut rig = Rig::new();
    rig.answer([later("away", None), later("away", None)]);
    rig.batches([1, 2]);
    for _ in 0..2 {
        let wait = rig.wait();
        rig.pass(wait.saturating_sub(Duration::from_nanos(1)));
        assert!(matches!(rig.settle(), Turn::Wait(_, Some(_))), "not before");
        rig.pass(Duration::from_nanos(1));
    }
    rig.settle();
    let sent = rig.script.0.lock().sent.clone();
    let ids: Vec<BatchId> = sent.iter().map(|(_, id, _)| *id).collect();
    assert_eq!(rig.sent(), ["1", "1", "1", "2"]);
    assert!(ids[0] == ids[1] && ids[1] == ids[2] && ids[2] != ids[3]);
    assert!(sent.iter().all(|(_, _, timeout)| *timeout == SEND_TIMEOUT));
    assert_eq!((rig.stats.sent(), rig.stats.retried()), (2, 2));
}

#[test]
fn waits_double_with_jitter_up_to_a_maximum_and_begin_anew() {
    let mut rig = Rig::new();
    rig.script.0.lock().is_down = true;
    rig.batches([1, 2]);
    let mut expected = BACKOFF_FIRST;
    for _ in 0..12 {
        let wait = rig.wait();
        assert!(
            wait >= expected / 2 && wait <= expected,
            "{wait:?} of {expected:?}"
        );
        rig.pass(wait);
        expected = (2 * expected).min(BACKOFF_MAX);
    }
    assert_eq!(expected, BACKOFF_MAX);
    rig.script.0.lock().is_down = false;
    rig.answer([]);
    rig.settle();
    rig.script.0.lock().is_down = true;
    rig.batch(3);
    assert!(rig.wait() <= BACKOFF_FIRST);
}

#[test]
fn the_backends_own_wish_is_honoured_within_reason() {
    for (wish, granted) in [(17, 17), (86_400, RETRY_AFTER_MAX.as_secs())] {
        let mut rig = Rig::new();
        rig.answer([later("busy", Some(Duration::from_secs(wish)))]);
        rig.batch(1);
        let (wait, granted) = (rig.wait(), Duration::from_secs(granted));
        assert!(
            wait >= granted && wait <= granted + BACKOFF_FIRST,
            "{wait:?}"
        );
    }
}

#[test]
fn an_outage_is_told_once_and_its_end_once_with_how_much_was_dropped() {
    let mebibyte = 1024 * 1024;
    let settings = DeliverySettings {
        buffer_mib: 4,
        ..DeliverySettings::default()
    };
    let mut rig = Rig::with(&settings, mebibyte).unwrap();
    rig.script.0.lock().is_down = true;
    for value in 1..=10 {
        rig.batch(value);
        let wait = rig.wait();
        rig.pass(wait);
    }
    assert_eq!(rig.stats.dropped(), 6, "1 to 6, the oldest");
    assert_eq!(rig.stats.queued().bytes, 4 * mebibyte as u64);
    assert_eq!(rig.said(Level::WARN).len(), 2, "{:?}", rig.said.lock());
    rig.sent();
    rig.script.0.lock().is_down = false;
    rig.settle();
    assert_eq!(rig.sent(), ["7", "8", "9", "10"]);
    let over = rig.said(Level::INFO);
    assert_eq!(over.len(), 1, "{over:?}");
    assert!(over[0].contains("10 attempts failed"), "{over:?}");
    assert!(over[0].contains("6 records were dropped"), "{over:?}");
    assert_eq!((rig.stats.sent(), rig.stats.dropped()), (4, 6));
}

#[test]
fn what_is_being_sent_is_not_dropped_under_it() {
    let mut queue = queue::Queue::new(10);
    let entry = |key| queue::Entry {
        key,
        records: 1,
        bytes: 4,
        created: Wall::default(),
        since: Mono::ZERO,
        attempts: 0,
        body: queue::Body::Spooled,
    };
    queue.push(entry(1));
    queue.push(entry(2));
    assert_eq!(queue.begin().unwrap().key, 1);
    let mut dropped = Vec::new();
    assert!(!queue.make_room(8, &mut dropped), "too much beside it");
    assert!(dropped.is_empty(), "so nothing goes");
    assert!(queue.make_room(4, &mut dropped));
    assert_eq!(dropped[0].key, 2);
    queue.kept();
    assert!(queue.make_room(10, &mut dropped));
    assert_eq!(dropped[1].key, 1);
    assert!(queue.is_empty());
}

#[test]
fn a_batch_larger_than_the_buffer_is_dropped_and_nothing_else() {
    let settings = DeliverySettings {
        buffer_mib: 1,
        ..DeliverySettings::default()
    };
    let mut rig = Rig::with(&settings, 10).unwrap();
    rig.batch(1);
    rig.delivery.encoder.body_bytes = 1024 * 1024 + 1;
    rig.batch(2);
    assert_eq!(rig.stats.dropped(), 1);
    rig.settle();
    assert_eq!(rig.sent(), ["1"]);
}

#[test]
fn a_refusal_is_one_error_a_reason_and_drops() {
    let mut rig = Rig::new();
    rig.answer((0..50).map(|number| never(&format!("400 bad row, request {number}"))));
    rig.answer([never("413 too large")]);
    rig.batches(0..52);
    rig.settle();
    assert_eq!(rig.sent().len(), 52, "each once");
    assert_eq!((rig.stats.dropped(), rig.stats.sent()), (51, 1));
    let errors = rig.said(Level::ERROR);
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].contains("bad row") && errors[1].contains("too large"));
    rig.pass(REASON_REPEATED_AFTER);
    rig.answer([never("400 bad row, request 7")]);
    rig.batch(1);
    rig.settle();
    assert_eq!(rig.said(Level::ERROR).len(), 3, "it is worth telling again");
}

#[test]
fn who_is_not_let_in_waits_long_tells_it_once_and_loses_nothing() {
    let mut rig = Rig::new();
    rig.answer((0..20).map(|number| barred(&format!("403 bad key, request {number}"))));
    rig.batches([1, 2]);
    let mut expected = BACKOFF_FIRST;
    for _ in 0..20 {
        assert!(rig.said(Level::ERROR).len() <= 1, "told once");
        let wait = rig.wait();
        assert!(
            wait >= expected / 2 && wait <= expected,
            "{wait:?} of {expected:?}"
        );
        rig.pass(wait);
        expected = (2 * expected).min(BARRED_BACKOFF_MAX);
    }
    assert_eq!(expected, BARRED_BACKOFF_MAX);
    rig.settle();
    let sent = rig.sent();
    assert!(sent[..21].iter().all(|values| values == "1"), "{sent:?}");
    assert_eq!(&sent[21..], ["2"]);
    assert_eq!((rig.stats.sent(), rig.stats.dropped()), (2, 0));
    assert_eq!(rig.said(Level::INFO).len(), 1, "and its end once");
    // Somebody mended it, and broke it again.
    rig.answer([barred("403 bad key, request 20"), barred("404 not there")]);
    rig.batch(3);
    for told in [1, 2] {
        let wait = rig.wait();
        assert!(wait <= 2 * BACKOFF_FIRST, "from the beginning: {wait:?}");
        assert_eq!(rig.said(Level::ERROR).len(), told);
        assert_eq!(rig.said(Level::WARN).len(), 1, "that it is out again");
        rig.pass(wait);
    }
}

#[test]
fn finish_sends_what_is_left_at_once_though_it_failed_before() {
    let mut rig = Rig::new();
    rig.answer(std::iter::repeat_with(|| later("away", None)).take(8));
    rig.batches([1, 2]);
    for _ in 0..8 {
        let wait = rig.wait();
        rig.pass(wait / 2);
        rig.pass(wait / 2 + Duration::from_nanos(1));
    }
    rig.sent();
    rig.script.0.lock().is_down = true;
    rig.wait();
    rig.script.0.lock().is_down = false;
    rig.delivery.shared.close(Duration::ZERO);
    rig.delivery.shared.lock().closing = Some(Duration::from_secs(4));
    assert_eq!(rig.settle(), Turn::End);
    assert_eq!(rig.sent(), ["1", "1", "2"]);
    let sent = rig.stats.sent();
    rig.delivery.shared.leave(true);
    assert_eq!((sent, rig.stats.dropped()), (2, 0));
}

#[test]
fn finish_keeps_to_its_time_and_counts_what_is_lost() {
    let mut rig = Rig::new();
    rig.script.0.lock().is_down = true;
    rig.batches([1, 2, 3]);
    rig.delivery.shared.lock().closing = Some(Duration::from_secs(1));
    let mut waited = Duration::ZERO;
    loop {
        match rig.settle() {
            Turn::Wait(_, Some(wait)) => {
                waited += wait;
                rig.pass(wait);
            }
            Turn::End => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(waited < Duration::from_secs(1), "{waited:?}");
    let timeouts: Vec<Duration> = (rig.script.0.lock().sent.iter())
        .map(|(_, _, timeout)| *timeout)
        .collect();
    assert_eq!(timeouts[0], Duration::from_secs(1));
    assert!(
        timeouts.is_sorted_by(|one, next| one > next),
        "{timeouts:?}"
    );
    rig.delivery.shared.leave(true);
    assert_eq!((rig.stats.sent(), rig.stats.dropped()), (0, 3));
    let warnings = rig.said(Level::WARN);
    assert!(
        warnings[1].contains("3 records could not be sent"),
        "{warnings:?}"
    );
}

#[test]
fn finish_does_not_ask_before_the_backend_wants_to_be_asked() {
    let mut rig = Rig::new();
    rig.answer([later("busy", Some(Duration::from_secs(17)))]);
    rig.batch(1);
    rig.wait();
    rig.delivery.shared.lock().closing = Some(Duration::from_secs(5));
    assert_eq!(rig.settle(), Turn::End);
    assert_eq!(rig.sent(), ["1"]);
}
