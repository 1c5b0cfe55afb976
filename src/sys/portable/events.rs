//! The event queue: mio's, with a wait that ends in time.
//!
//! Its wait is of whole milliseconds, rounded up on some systems. So it is asked for fewer, and for the
//! rest of the time the queue is looked at again and again.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use mio::event::Event as Told;
use mio::{Events, Poll, Registry, Token, Waker};

use super::unsupported;
use crate::proto::Mono;

/// The unit of mio's waits.
const UNIT: Duration = Duration::from_millis(1);

/// Returns the part of a wait that mio may be asked for.
fn whole(length: Duration) -> Duration {
    let rest_ns = length.subsec_nanos() % UNIT.subsec_nanos();
    length.saturating_sub(Duration::from_nanos(rest_ns.into()))
}

/// Tells of many sockets at one place.
pub(crate) struct EventQueue {
    poll: Poll,
    events: Events,
    found: Vec<Event>,
}

impl EventQueue {
    /// Makes a queue that gives at most `capacity` events at a time.
    pub(crate) fn new(capacity: usize) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(capacity),
            found: Vec::with_capacity(capacity),
        })
    }

    /// Makes one where nobody waits. Here it is the same.
    pub(crate) fn inner(capacity: usize) -> io::Result<Self> {
        Self::new(capacity)
    }

    /// Returns where sockets are registered, edge-triggered.
    pub(crate) fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Makes what ends a wait from another thread, told of under `token`.
    pub(crate) fn waker(&self, token: Token) -> io::Result<Waker> {
        Waker::new(self.registry(), token)
    }

    /// Tells that another queue has something: no queue is told of another.
    pub(crate) fn watch(&self, _: &Self, _: Token) -> io::Result<()> {
        Err(unsupported())
    }

    /// Tells of that queue no more.
    pub(crate) fn unwatch(&self, _: &Self) -> io::Result<()> {
        Err(unsupported())
    }

    /// Waits for events until `deadline`, or as long as it takes. May return before that with none.
    pub(crate) fn wait(&mut self, now: Mono, deadline: Option<Mono>) -> io::Result<()> {
        let Some(deadline) = deadline else {
            return self.take(None);
        };
        let length = Duration::from_nanos(deadline.since(now));
        let (began, mut left) = (instant(), length);
        loop {
            // At first of all but the end; then of nothing, or of what a signal has left.
            self.take(Some(whole(left)))?;
            left = length.saturating_sub(began.elapsed());
            if left.is_zero() || !self.found.is_empty() {
                return Ok(());
            }
            std::hint::spin_loop();
        }
    }

    /// The same: here it makes no difference what is likely to end a wait.
    pub(crate) fn wait_out(&mut self, now: Mono, deadline: Mono) -> io::Result<()> {
        self.wait(now, Some(deadline))
    }

    /// Takes the events that are there.
    pub(crate) fn look(&mut self) -> io::Result<()> {
        self.take(Some(Duration::ZERO))
    }

    /// Returns how many events the last call has found.
    pub(crate) fn len(&self) -> usize {
        self.found.len()
    }

    /// Returns one of them.
    pub(crate) fn event(&self, index: usize) -> Event {
        self.found[index]
    }

    /// Waits; an interrupted wait has found nothing.
    fn take(&mut self, length: Option<Duration>) -> io::Result<()> {
        self.found.clear();
        match self.poll.poll(&mut self.events, length) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(()) => self.found.extend(self.events.iter().map(Event::new)),
        }
        Ok(())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long this wait has been: no time of a packet"
)]
fn instant() -> Instant {
    Instant::now()
}

impl fmt::Debug for EventQueue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("EventQueue").finish_non_exhaustive()
    }
}

/// What a socket has.
#[derive(Clone, Copy)]
pub(crate) struct Event {
    token: Token,
    is_readable: bool,
    is_writable: bool,
    is_error: bool,
    is_read_closed: bool,
}

impl Event {
    fn new(told: &Told) -> Self {
        Self {
            token: told.token(),
            is_readable: told.is_readable(),
            is_writable: told.is_writable(),
            is_error: told.is_error(),
            is_read_closed: told.is_read_closed(),
        }
    }

    pub(crate) fn token(self) -> Token {
        self.token
    }

    /// Something can be read, be it the end.
    pub(crate) fn is_readable(self) -> bool {
        self.is_readable
    }

    pub(crate) fn is_writable(self) -> bool {
        self.is_writable
    }

    /// It has failed.
    pub(crate) fn is_error(self) -> bool {
        self.is_error
    }

    /// The peer sends no more.
    pub(crate) fn is_read_closed(self) -> bool {
        self.is_read_closed
    }
}

#[cfg(test)]
mod tests {
    use crate::proto::Marks;
    use std::net::SocketAddr;

    use mio::Interest;

    use super::*;
    use crate::clock::Clock;
    use crate::sys::{sockets, udp};

    #[test]
    fn no_wait_ends_before_its_time() {
        let clock = Clock::new();
        let mut queue = EventQueue::new(4).expect("a queue");
        for ns in [0, 1, 300_000, 1_000_000, 1_300_000] {
            let began = clock.mono();
            queue.wait(began, Some(began.plus(ns))).expect("it waits");
            // Two clocks of one system may go apart by a little.
            assert!(clock.mono().since(began) >= ns * 99 / 100, "{ns}");
            assert_eq!(queue.len(), 0);
        }
    }

    #[test]
    fn mio_is_asked_for_whole_milliseconds_and_never_for_more() {
        let asked = |ns| whole(Duration::from_nanos(ns)).as_nanos();
        let lengths = [0, 999_999, 1_000_000, 1_999_999, 3_000_000_001];
        assert_eq!(
            lengths.map(asked),
            [0, 0, 1_000_000, 1_000_000, 3_000_000_000]
        );
    }

    #[test]
    fn a_wait_ends_with_a_datagram_that_is_told_of_once() {
        let clock = Clock::new();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let [here, mut there] =
            [(); 2].map(|()| udp::open(any, &Marks::default()).expect("a free port"));
        let mut queue = EventQueue::new(4).expect("a queue");
        sockets::register(queue.registry(), &mut there, Token(7), Interest::READABLE)
            .expect("a socket");
        let to = there.local_addr().expect("it is bound");
        here.send_to(&[1], to).expect("it is sent");
        queue.wait(clock.mono(), None).expect("it waits");
        assert_eq!(queue.len(), 1);
        let event = queue.event(0);
        assert!(event.token() == Token(7) && event.is_readable());
        assert!(!event.is_error() && !event.is_read_closed());
        queue.look().expect("it looks");
        assert_eq!(queue.len(), 0);
    }
}
