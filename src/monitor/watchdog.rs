//! The poll thread's sign of life to a service manager, which restarts the daemon where it does not come.
//!
//! The poll thread gives it itself, in its turn: one that hangs gives none, and one that is busy still turns. No other
//! thread can give it in its place.

use std::time::Duration;
use std::{fmt, io};

use crate::monitor::nanos;
use crate::proto::Mono;

/// How often the sign is given in the time that the manager waits for it, as `sd_watchdog_enabled(3)` asks.
const SIGNS: u64 = 2;

/// What was not taken is given again after this part of the time between two signs.
const RETRY_PART: u64 = 8;

/// See the [module](self).
pub(crate) struct Watchdog {
    give: Box<dyn FnMut() -> io::Result<()> + Send>,
    every_ns: u64,
    due: Mono,
}

impl Watchdog {
    /// A watchdog that gives its sign by `give`, for a manager that waits for so long.
    pub(super) fn new(
        waits: Duration,
        give: impl FnMut() -> io::Result<()> + Send + 'static,
    ) -> Self {
        Self {
            give: Box::new(give),
            every_ns: nanos(waits) / SIGNS,
            due: Mono::ZERO,
        }
    }

    /// The loop turns: the sign is given if it is due.
    pub(super) fn handle_turn(&mut self, now: Mono) {
        if now >= self.due {
            let every_ns = match (self.give)() {
                Ok(()) => self.every_ns,
                // The manager is busy, or has no room. That is no reason to hold up a probe.
                Err(_) => self.every_ns / RETRY_PART,
            };
            self.due = now.plus(every_ns);
        }
    }
}

impl fmt::Debug for Watchdog {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Watchdog")
            .field("every_ns", &self.every_ns)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    /// A watchdog of 30 s, how many signs it has given, and from which one on they are taken.
    fn watchdog(taken_from: u64) -> (Watchdog, Arc<AtomicU64>) {
        let given = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&given);
        let give = move || {
            let before = counter.fetch_add(1, Ordering::SeqCst);
            if before < taken_from {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(())
        };
        (Watchdog::new(Duration::from_secs(30), give), given)
    }

    #[test]
    fn a_loop_that_turns_gives_two_signs_in_the_time_and_one_that_hangs_none() {
        let (mut watchdog, given) = watchdog(0);
        let mut now = Mono::from_nanos(7 * SECOND_NS);
        let turn = |watchdog: &mut Watchdog, now: &mut Mono, times: u64, every_ns: u64| {
            let before = given.load(Ordering::SeqCst);
            for _ in 0..times {
                watchdog.handle_turn(*now);
                *now = now.plus(every_ns);
            }
            given.load(Ordering::SeqCst) - before
        };
        // An idle loop turns four times a second, a busy one a million times: both for a minute.
        assert_eq!(turn(&mut watchdog, &mut now, 240, SECOND_NS / 4), 4);
        assert_eq!(turn(&mut watchdog, &mut now, 60_000, SECOND_NS / 1_000), 4);
        // Nothing makes up for an hour without a turn, and the first one afterwards gives one sign.
        now = now.plus(3_600 * SECOND_NS);
        assert_eq!(turn(&mut watchdog, &mut now, 1, 1), 1);
        assert_eq!(turn(&mut watchdog, &mut now, 1_000, 1), 0);
    }

    #[test]
    fn a_sign_that_is_not_taken_is_given_again_in_time() {
        let (mut watchdog, given) = watchdog(3);
        for second in 0..30 {
            watchdog.handle_turn(Mono::from_nanos(second * SECOND_NS));
        }
        // At 0, 2, 4 and 6 s, which is taken, and at 21 s.
        assert_eq!(given.load(Ordering::SeqCst), 5);
    }
}
