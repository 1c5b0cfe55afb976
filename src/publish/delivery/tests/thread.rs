//! The sender as the thread that it is.

use std::sync::mpsc::{Receiver, Sender as Channel, channel};

use super::*;

/// Hands each batch over, and waits for what to answer.
struct Asking {
    asked: Channel<String>,
    answers: Receiver<Result<(), SendError>>,
}

impl Transport for Asking {
    fn send(&mut self, batch: &Batch, _: Duration) -> Result<(), SendError> {
        // Who does not listen any more has seen enough.
        let _ = self.asked.send(values(batch));
        self.answers.recv().unwrap_or(Ok(()))
    }
}

type Ends = (
    Delivery<Lines>,
    Arc<BackendStats>,
    Receiver<String>,
    Channel<Result<(), SendError>>,
);

fn running() -> Ends {
    let (asked, questions) = channel();
    let (answer, answers) = channel();
    let stats = Arc::new(BackendStats::new("lines"));
    let encoder = Lines {
        lines: Vec::new(),
        full_at: 1,
        body_bytes: 10,
    };
    let transport = Box::new(Asking { asked, answers });
    let settings = DeliverySettings::default();
    let delivery = Delivery::new(encoder, transport, &settings, Arc::clone(&stats)).unwrap();
    (delivery, stats, questions, answer)
}

#[test]
fn a_backend_that_hangs_holds_up_nobody() {
    let (mut delivery, stats, questions, answer) = running();
    for value in 1..=100 {
        delivery.publish(&gauge(value)).unwrap();
    }
    assert_eq!(questions.recv().unwrap(), "1");
    assert_eq!((stats.queued().bytes, stats.sent()), (1_000, 0));
    for value in 2..=100 {
        answer.send(Ok(())).unwrap();
        assert_eq!(questions.recv().unwrap(), value.to_string());
    }
    answer.send(Ok(())).unwrap();
    delivery.finish(Duration::from_mins(1)).unwrap();
    assert_eq!((stats.sent(), stats.dropped()), (100, 0));
}

#[test]
fn finish_leaves_a_backend_that_hangs() {
    let (mut delivery, stats, questions, _answer) = running();
    delivery.publish(&gauge(1)).unwrap();
    questions.recv().unwrap();
    delivery.finish(Duration::from_millis(20)).unwrap();
    assert_eq!((stats.sent(), stats.dropped()), (0, 1));
}

#[test]
fn finish_with_nothing_to_send_returns_at_once() {
    let (mut delivery, _stats, _questions, _answer) = running();
    delivery.finish(Duration::from_hours(1)).unwrap();
}

struct Broken;

impl Transport for Broken {
    fn send(&mut self, _: &Batch, _: Duration) -> Result<(), SendError> {
        panic!("a bug, on purpose");
    }
}

#[test]
#[should_panic(expected = "the sender of lines has failed")]
fn a_sender_that_panics_is_no_quiet_one() {
    let stats = Arc::new(BackendStats::new("lines"));
    let encoder = Lines {
        lines: Vec::new(),
        full_at: 1,
        body_bytes: 10,
    };
    let settings = DeliverySettings::default();
    let mut delivery = Delivery::new(encoder, Box::new(Broken), &settings, stats).unwrap();
    delivery.publish(&gauge(1)).unwrap();
    while !delivery.shared.has_failed() {
        std::thread::yield_now();
    }
    delivery.flush().unwrap();
}
