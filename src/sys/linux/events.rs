//! The event queue: mio's, with a wait that is exact to the nanosecond.
//!
//! mio waits in whole milliseconds. Here a timer ends a wait. It is set once for a deadline, however
//! many waits go by until then: setting the processor's own timer is dear. A short wait that nothing
//! else is to end has its end in the call instead (`epoll_pwait2`). Not a long one: the kernel takes a
//! thousandth of its length as leave to end it later.

#![expect(unsafe_code, reason = "epoll_pwait2 has no safe binding")]

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;

use mio::unix::SourceFd;
use mio::{Interest, Poll, Registry, Token, Waker};
use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl;

use super::timer::WakeTimer;
use crate::proto::Mono;

/// Waits that are no longer have their end in the call. The kernel ends one 2 us late at most.
const BY_CALL_NS_MAX: u64 = 2_000_000;

/// The timer's own token. No source of an engine has it.
const TIMER: Token = Token(usize::MAX);

/// The timer that ends long waits.
#[derive(Debug)]
struct Alarm {
    timer: WakeTimer,
    /// What it is set to, while it has not fired.
    armed: Option<Mono>,
}

/// Tells of many descriptors at one place.
#[derive(Debug)]
pub(crate) struct EventQueue {
    poll: Poll,
    found: Box<[libc::epoll_event]>,
    count: usize,
    /// `None`: nobody waits here.
    alarm: Option<Alarm>,
    /// The kernel has `epoll_pwait2`.
    waits_by_call: bool,
}

impl EventQueue {
    /// Makes a queue that gives at most `capacity` events at a time.
    pub(crate) fn new(capacity: usize) -> io::Result<Self> {
        // Else every wait of this thread may end 50 us late. Without, it does.
        let _ = prctl::set_timerslack(1);
        let (mut queue, timer) = (Self::inner(capacity)?, WakeTimer::new()?);
        timer.register(queue.registry(), TIMER, Interest::READABLE)?;
        queue.alarm = Some(Alarm { timer, armed: None });
        Ok(queue)
    }

    /// Makes one where nobody waits: another queue, or a ring, tells of it. It takes one descriptor less.
    pub(crate) fn inner(capacity: usize) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            found: vec![libc::epoll_event { events: 0, u64: 0 }; capacity].into(),
            count: 0,
            alarm: None,
            waits_by_call: true,
        })
    }

    /// Returns where descriptors are registered, edge-triggered.
    pub(crate) fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Makes what ends a wait from another thread, told of under `token`.
    pub(crate) fn waker(&self, token: Token) -> io::Result<Waker> {
        Waker::new(self.registry(), token)
    }

    /// Tells, once, that another queue has something.
    pub(crate) fn watch(&self, inner: &Self, token: Token) -> io::Result<()> {
        let fd = inner.as_raw_fd();
        self.registry()
            .register(&mut SourceFd(&fd), token, Interest::READABLE)
    }

    /// Tells of that queue no more.
    pub(crate) fn unwatch(&self, inner: &Self) -> io::Result<()> {
        let fd = inner.as_raw_fd();
        self.registry().deregister(&mut SourceFd(&fd))
    }

    /// Waits for events until `deadline`, or as long as it takes. May return before that with none:
    /// an end of an earlier wait that lies before this one's is kept, as setting the timer costs a
    /// call.
    pub(crate) fn wait(&mut self, now: Mono, deadline: Option<Mono>) -> io::Result<()> {
        match deadline {
            Some(deadline) if deadline > now => {
                self.arm(now, deadline)?;
                self.take(None)
            }
            Some(_) => self.take(Some(0)),
            None => self.take(None),
        }
    }

    /// The same for a wait that hardly anything is to end before its time. Then the call that waits
    /// may set its own end: that saves one.
    pub(crate) fn wait_out(&mut self, now: Mono, deadline: Mono) -> io::Result<()> {
        let left_ns = deadline.since(now);
        if self.waits_by_call && left_ns <= BY_CALL_NS_MAX {
            self.take(Some(left_ns))
        } else {
            self.wait(now, Some(deadline))
        }
    }

    /// Takes the events that are there.
    pub(crate) fn look(&mut self) -> io::Result<()> {
        self.take(Some(0))
    }

    /// Returns how many events the last call has found.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Returns one of them.
    pub(crate) fn event(&self, index: usize) -> Event {
        Event(self.found[index])
    }

    /// Sets the timer, unless it is set to an earlier time that is still to come.
    fn arm(&mut self, now: Mono, deadline: Mono) -> io::Result<()> {
        let Some(alarm) = &mut self.alarm else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        if !alarm.armed.is_some_and(|at| at > now && at <= deadline) {
            alarm.timer.arm(deadline.since(now))?;
            alarm.armed = Some(deadline);
        }
        Ok(())
    }

    /// Waits `ns` nanoseconds at most; `None`: as long as it takes. An interrupted wait has found
    /// nothing.
    fn take(&mut self, ns: Option<u64>) -> io::Result<()> {
        self.count = 0;
        self.count = match self.call(ns) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            other => other?,
        };
        // The timer's event is its own: it ends a wait, and is none of what was waited for.
        let timer = (0..self.count).find(|index| self.event(*index).token() == TIMER);
        if let Some(index) = timer {
            self.count -= 1;
            self.found.swap(index, self.count);
            if let Some(alarm) = &mut self.alarm {
                alarm.armed = None;
            }
        }
        Ok(())
    }

    fn call(&mut self, ns: Option<u64>) -> io::Result<usize> {
        if self.waits_by_call {
            match self.call_exact(ns) {
                Err(error) if is_missing(&error) => self.waits_by_call = false,
                other => return other,
            }
        }
        // Only waits of no length and of any are left: the timer ends the others.
        let ms = ns.map_or(-1, |_| 0);
        let count = libc::c_int::try_from(self.found.len()).unwrap_or(libc::c_int::MAX);
        let (queue, found) = (self.as_raw_fd(), self.found.as_mut_ptr());
        // SAFETY: there is room for `count` events.
        let came = unsafe { libc::epoll_wait(queue, found, count, ms) };
        Ok(Errno::result(came)?.unsigned_abs() as usize)
    }

    fn call_exact(&mut self, ns: Option<u64>) -> io::Result<usize> {
        let length = ns.map(|ns| libc::timespec {
            tv_sec: (ns / 1_000_000_000).try_into().unwrap_or(libc::time_t::MAX),
            #[expect(clippy::cast_possible_wrap, reason = "less than a second")]
            tv_nsec: (ns % 1_000_000_000) as libc::c_long,
        });
        let length = length.as_ref().map_or(ptr::null(), ptr::from_ref);
        let (queue, found) = (self.as_raw_fd(), self.found.as_mut_ptr());
        let no_signals = ptr::null::<libc::sigset_t>();
        // SAFETY: there is room for as many events as are asked for; the length of the wait lives
        // until the call returns. By number, as older C libraries do not have it.
        let came = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                queue,
                found,
                self.found.len(),
                length,
                no_signals,
                0_usize,
            )
        };
        Ok(usize::try_from(Errno::result(came)?).unwrap_or(0))
    }
}

/// The queue itself can be waited for, and has something when one of its descriptors has.
impl AsRawFd for EventQueue {
    fn as_raw_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }
}

/// True if the kernel does not have a call, or a sandbox forbids one that it does not know.
fn is_missing(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw);
    matches!(code, Some(Errno::ENOSYS | Errno::EPERM))
}

/// What a descriptor has.
#[derive(Clone, Copy)]
pub(crate) struct Event(libc::epoll_event);

impl Event {
    pub(crate) fn token(self) -> Token {
        Token(usize::try_from(self.0.u64).unwrap_or(usize::MAX))
    }

    /// Something can be read, be it the end.
    pub(crate) fn is_readable(self) -> bool {
        self.has(libc::EPOLLIN | libc::EPOLLPRI)
    }

    pub(crate) fn is_writable(self) -> bool {
        self.has(libc::EPOLLOUT)
    }

    /// It has failed, or its error queue has something.
    pub(crate) fn is_error(self) -> bool {
        self.has(libc::EPOLLERR)
    }

    /// The peer sends no more.
    pub(crate) fn is_read_closed(self) -> bool {
        self.has(libc::EPOLLHUP) || self.has(libc::EPOLLIN) && self.has(libc::EPOLLRDHUP)
    }

    fn has(self, bits: libc::c_int) -> bool {
        self.0.events & bits.cast_unsigned() != 0
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::clock::Clock;

    const ONE: Token = Token(1);

    fn queue(waits_by_call: bool) -> EventQueue {
        let mut queue = EventQueue::new(4).expect("a queue");
        queue.waits_by_call = waits_by_call;
        queue
    }

    fn waited_ns(queue: &mut EventQueue, clock: &Clock, ns: u64) -> u64 {
        let began = clock.mono();
        queue.wait_out(began, began.plus(ns)).expect("it waits");
        clock.mono().since(began)
    }

    #[test]
    fn no_wait_ends_before_its_time_by_call_or_by_timer() {
        let clock = Clock::new();
        for waits_by_call in [true, false] {
            let mut queue = queue(waits_by_call);
            for ns in [1, 300_000, BY_CALL_NS_MAX, BY_CALL_NS_MAX + 300_000] {
                let waited_ns = waited_ns(&mut queue, &clock, ns);
                assert!(waited_ns >= ns, "{waited_ns} of {ns}");
                assert_eq!(queue.len(), 0, "the timer is no source");
            }
        }
    }

    #[test]
    fn a_timer_that_is_set_to_an_earlier_time_is_kept_and_one_to_a_later_time_is_not() {
        let clock = Clock::new();
        let mut queue = queue(true);
        let now = clock.mono();
        let [soon, later] = [10, 20].map(|seconds| now.plus(seconds * 1_000_000_000));
        let armed = |queue: &EventQueue| queue.alarm.as_ref().and_then(|alarm| alarm.armed);
        for (asked, set) in [(later, later), (soon, soon), (later, soon)] {
            queue.arm(now, asked).expect("a timer");
            assert_eq!(armed(&queue), Some(set));
        }
        queue.arm(soon, later).expect("a timer");
        assert_eq!(armed(&queue), Some(later), "the earlier time is over");
    }

    #[test]
    fn a_queue_inside_another_tells_once_that_it_has_something() {
        let (inner, mut outer) = (EventQueue::inner(4).expect("a queue"), queue(true));
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let to = socket.local_addr().expect("it is bound");
        let source = &mut SourceFd(&socket.as_raw_fd());
        let watched = (inner.registry()).register(source, ONE, Interest::READABLE);
        watched.expect("a socket");
        socket.send_to(&[1], to).expect("it is sent");
        outer.watch(&inner, ONE).expect("a queue");
        // What had come before is told as well.
        for told in [1, 0] {
            outer.look().expect("it looks");
            assert_eq!(outer.len(), told);
        }
        socket.send_to(&[2], to).expect("it is sent");
        outer.look().expect("it looks");
        assert_eq!(outer.len(), 1);
        let event = outer.event(0);
        assert!(event.token() == ONE && event.is_readable());
        assert!(!event.is_writable() && !event.is_error() && !event.is_read_closed());
        outer.unwatch(&inner).expect("it was watched");
        socket.send_to(&[3], to).expect("it is sent");
        outer.look().expect("it looks");
        assert_eq!(outer.len(), 0);
    }
}
