//! The time in which an answer must be taken.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// For taking an answer. Prometheus gives up after ten seconds itself.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The connection has a deadline as long as this is there: an answer is being taken.
#[derive(Debug)]
pub(super) struct Busy(watch::Sender<Option<Instant>>);

impl Busy {
    pub(super) fn begin(deadline: &watch::Sender<Option<Instant>>) -> Self {
        deadline.send_replace(Some(Instant::now() + ANSWER_TIMEOUT));
        Self(deadline.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.send_replace(None);
    }
}
