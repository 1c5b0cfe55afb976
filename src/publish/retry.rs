//! The waits between attempts to send, by one rule for all senders.

use std::time::Duration;

use crate::proto::{Backoff, Jitter};

/// The longest wait that a server can ask for.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_mins(5);

/// Doubling waits with jitter, or the wait that the server asks for.
#[derive(Debug)]
pub(super) struct Retry {
    backoff: Backoff,
    first_ns: u64,
}

impl Retry {
    /// Waits from `first`, doubling to `most`; jitter takes up to half of each.
    pub(super) fn new(first: Duration, most: Duration) -> Self {
        Self {
            backoff: Backoff::new(nanos(first), nanos(most)),
            first_ns: nanos(first),
        }
    }

    /// The wait before the next attempt. `asked` is what the server asks for, if it does.
    pub(super) fn wait(&mut self, asked: Option<Duration>, jitter: &mut Jitter) -> Duration {
        let backoff_ns = self.backoff.wait(jitter);
        Duration::from_nanos(match asked {
            // Not all of a fleet at the same moment.
            Some(asked) => nanos(asked.min(RETRY_AFTER_MAX)) + jitter.of(self.first_ns),
            None => backoff_ns,
        })
    }

    /// Begins anew with the first wait.
    pub(super) fn reset(&mut self) {
        self.backoff.reset();
    }
}

/// Whole nanoseconds, as many as 64 bits hold.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
