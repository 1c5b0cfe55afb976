//! Waits between attempts of the same thing.

use crate::proto::rng::Jitter;

/// Doubles the wait after each failure up to a maximum, with jitter. A success resets it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    first_ns: u64,
    most_ns: u64,
    next_ns: u64,
}

impl Backoff {
    pub(crate) fn new(first_ns: u64, most_ns: u64) -> Self {
        let most_ns = most_ns.max(first_ns);
        Self {
            first_ns,
            most_ns,
            next_ns: first_ns,
        }
    }

    /// Returns the nanoseconds to wait this time.
    pub(crate) fn wait(&mut self, jitter: &mut Jitter) -> u64 {
        let wait = jitter.of(self.next_ns);
        self.next_ns = self.next_ns.saturating_mul(2).min(self.most_ns);
        wait
    }

    pub(crate) fn reset(&mut self) {
        self.next_ns = self.first_ns;
    }
}
