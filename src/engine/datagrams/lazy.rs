//! Late reads: replies that the kernel has stamped wait until the loop is awake anyway.
//!
//! A probe would wake the loop twice, once to leave and once for its reply, and waking up is most of
//! what a probe costs. So the sockets of our flows have an event queue of their own, which the
//! loop's queue tells of only when the next deadline is far. When it is near, nobody wakes for a
//! reply: replies are read before they have waited for longer than `receive_within_ns`, in the turn
//! after a probe has left.
//!
//! What comes later for that is only when a result is seen. Requests of others wake the loop as
//! ever, and no probe is called lost before what came by its timeout is read.

use std::io;

use mio::Registry;

use crate::engine::stream::Role;
use crate::limits::EVENTS_PER_POLL_MAX;
use crate::proto::Mono;
use crate::sys::events::EventQueue;

/// A datagram takes this much of a socket's buffer besides its bytes, and its transmit stamp too.
const OVERHEAD_BYTES: usize = 2_048;

/// After an ICMP error replies are read as they come for so long. An error that is not read fails
/// the next send from its socket, whoever that is to.
const AFTER_ICMP_NS: u64 = 10_000_000_000;

/// The same after a datagram that is to learn a hop: its answer is such an error.
const AFTER_HOP_NS: u64 = 2_000_000_000;

/// Transmit stamps that one request carries (docs/design/native-wire.md).
const TOLD_AT_ONCE: u32 = 2;

/// A stream whose replies overlapped is read late again after this many that did not.
const CALM_WRITES: u32 = 64;

/// Sockets that a late read goes through, each by a call, whether it has something or not. With more of them, for as
/// many probes, that costs more than a wake-up for each reply, and in the end all of the time.
pub(in crate::engine) const READ_TOGETHER_MAX: usize = 16;

/// What the loop does before it sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Plan {
    /// Sleeps; replies may wait.
    Sleep,
    /// Reads what has come, and does not sleep.
    Read,
    /// Sleeps, and wakes for replies.
    Watch,
}

/// See the [module](self).
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "what has happened since the last read, each by itself"
)]
pub(in crate::engine) struct Lazy {
    /// Tells of the sockets of our flows. `None`: the loop's own queue does.
    pub(in crate::engine) queue: Option<EventQueue>,
    within_ns: u64,
    /// The loop's queue tells of that queue.
    pub(in crate::engine) is_watched: bool,
    /// Everything that had come by then was read.
    read_at: Mono,
    /// Nothing was sent and nobody has slept since.
    is_fresh: bool,
    /// The queue was looked at, and nobody has slept since.
    has_looked: bool,
    /// Somebody has slept since the last read.
    has_slept: bool,
    /// Until then an ICMP error may come, so that replies are read as they come.
    icmp_until: Mono,
    /// What the replies to all that was sent since may take of a socket's buffer.
    owed_bytes: usize,
    /// How often the stamps of all datagrams were taken.
    stamps_round: u32,
    /// The most that one flow has sent since.
    most_unstamped: u32,
    /// Indices of streams whose stamps have not been taken since they were written to.
    pub(in crate::engine) owing: Vec<usize>,
}

impl Lazy {
    /// Has replies wait `within_ns` at most; 0: not at all.
    pub(in crate::engine) fn new(within_ns: u64) -> io::Result<Self> {
        let queue = (within_ns > 0).then(|| EventQueue::inner(EVENTS_PER_POLL_MAX));
        Ok(Self {
            queue: queue.transpose()?,
            within_ns,
            is_watched: false,
            read_at: Mono::ZERO,
            is_fresh: false,
            has_looked: false,
            has_slept: false,
            icmp_until: Mono::ZERO,
            owed_bytes: 0,
            stamps_round: 0,
            most_unstamped: 0,
            owing: Vec::new(),
        })
    }

    /// True if replies may wait at all.
    pub(in crate::engine) fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    /// True if the loop wakes for every reply.
    pub(in crate::engine) fn wakes_for_replies(&self) -> bool {
        !self.is_on() || self.is_watched
    }

    /// Returns where the sockets of our flows are registered; `own` is the loop's own registry.
    pub(in crate::engine) fn registry<'a>(&'a self, own: &'a Registry) -> &'a Registry {
        self.queue.as_ref().map_or(own, EventQueue::registry)
    }

    /// Returns where a stream is registered.
    pub(in crate::engine) fn registry_of<'a>(
        &'a self,
        role: Role,
        late: &Late,
        own: &'a Registry,
    ) -> &'a Registry {
        if self.is_late(role, late) {
            self.registry(own)
        } else {
            own
        }
    }

    /// True if a stream is read late.
    pub(in crate::engine) fn is_late(&self, role: Role, late: &Late) -> bool {
        self.is_on() && role != Role::Accepted && !late.is_at_once
    }

    /// Says what to do before a sleep until `deadline`. A read is due at once if a probe awaits it; it goes through
    /// so many `sockets`, whose buffers have room for `room_bytes` each.
    pub(in crate::engine) fn plan(
        &self,
        now: Mono,
        deadline: Option<Mono>,
        is_awaited: bool,
        room_bytes: usize,
        sockets: usize,
    ) -> Plan {
        if !self.is_on() || sockets > READ_TOGETHER_MAX {
            return Plan::Watch;
        }
        let near = deadline.filter(|deadline| deadline.since(now) <= self.within_ns);
        let Some(deadline) = near.filter(|_| now >= self.icmp_until) else {
            // What has come before nobody tells of.
            let is_known = self.is_watched || self.is_fresh;
            return if is_known { Plan::Watch } else { Plan::Read };
        };
        // Nobody would sleep: then replies leave the processor's cache while they wait, and nothing is gained.
        let is_behind = deadline <= now && self.has_slept;
        let may_wait = !is_behind
            && deadline.since(self.read_at) <= self.within_ns
            && !is_awaited
            && self.owed_bytes <= room_bytes / 2;
        if may_wait || self.is_fresh && !is_awaited {
            Plan::Sleep
        } else {
            Plan::Read
        }
    }

    /// A probe of `bytes` has left, or is to.
    pub(in crate::engine) fn note_sent(&mut self, bytes: usize) {
        self.is_fresh = false;
        self.owed_bytes += bytes + OVERHEAD_BYTES;
    }

    /// A flow over UDP has a request that leaves. A later one carries its transmit stamp; it has room for
    /// those of the last [`TOLD_AT_ONCE`].
    pub(in crate::engine) fn note_request(&mut self, flow: &mut Late) {
        if flow.stamps_round != self.stamps_round {
            flow.stamps_round = self.stamps_round;
            flow.unstamped = 0;
        }
        flow.unstamped += 1;
        self.most_unstamped = self.most_unstamped.max(flow.unstamped);
    }

    /// True if the stamps of all datagrams are to be taken, before a flow has its next request encoded.
    pub(in crate::engine) fn are_stamps_due(&self) -> bool {
        self.most_unstamped >= TOLD_AT_ONCE
    }

    /// The stamps of all datagrams sent so far were taken.
    pub(in crate::engine) fn note_stamps_taken(&mut self) {
        self.stamps_round = self.stamps_round.wrapping_add(1);
        self.most_unstamped = 0;
    }

    /// True if the queue is to be looked at before a sleep. That is so once between two sleeps.
    pub(in crate::engine) fn looks(&mut self) -> bool {
        !std::mem::replace(&mut self.has_looked, true)
    }

    /// The loop has slept.
    pub(in crate::engine) fn note_slept(&mut self) {
        self.is_fresh = false;
        self.has_looked = false;
        self.has_slept = true;
    }

    /// What had come by `at` was read.
    pub(in crate::engine) fn note_read(&mut self, at: Mono) {
        self.note_stamps_taken();
        self.read_at = at;
        self.is_fresh = true;
        self.has_slept = false;
        self.owed_bytes = 0;
    }

    /// An ICMP error has come.
    pub(in crate::engine) fn note_icmp(&mut self, at: Mono) {
        self.icmp_until = self.icmp_until.max(at.plus(AFTER_ICMP_NS));
    }

    /// A datagram leaves that is to learn a hop.
    pub(in crate::engine) fn note_hop(&mut self, at: Mono) {
        self.icmp_until = self.icmp_until.max(at.plus(AFTER_HOP_NS));
    }
}

/// What late reads keep with a socket of ours.
#[derive(Debug, Default)]
pub(in crate::engine) struct Late {
    /// A stream: the loop's own queue tells of it, and its replies are read as they come.
    pub(in crate::engine) is_at_once: bool,
    /// A stream: it is listed among those whose stamps are to be taken.
    pub(in crate::engine) is_owing: bool,
    /// A stream: probes written to it that no reply was read to.
    pub(in crate::engine) unanswered: u32,
    /// A stream: probes in a row that were written when there was none such.
    calm_writes: u32,
    /// A flow over UDP: the requests sent since the stamps of round `stamps_round` were taken.
    unstamped: u32,
    stamps_round: u32,
}

impl Late {
    /// So many replies were read.
    pub(in crate::engine) fn note_answered(&mut self, replies: usize) {
        let replies = u32::try_from(replies).unwrap_or(u32::MAX);
        self.unanswered = self.unanswered.saturating_sub(replies);
    }

    /// A probe is about to be written to a stream whose replies are otherwise read late. Returns whether
    /// they are to be read at once from here on.
    ///
    /// Of what is read together the kernel stamps only the last. So no reply may find another one
    /// unread, and the one before is read before each write. That is in vain if it has not come by
    /// then.
    pub(in crate::engine) fn judge_write(&mut self, may_wait: bool) -> bool {
        let is_alone = may_wait && self.unanswered == 0;
        self.calm_writes = if is_alone { self.calm_writes + 1 } else { 0 };
        self.unanswered += 1;
        if self.is_at_once {
            self.calm_writes < CALM_WRITES
        } else {
            !is_alone
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN_NS: u64 = 2_000_000;
    const ROOM: usize = 1_000_000;

    fn at(us: u64) -> Mono {
        Mono::from_nanos(1_000_000_000 + us * 1_000)
    }

    fn lazy() -> Lazy {
        let mut lazy = Lazy::new(WITHIN_NS).expect("a queue");
        lazy.note_read(at(0));
        lazy
    }

    /// A turn that sends a probe at `now`, and what precedes the sleep until the next one.
    fn turn(lazy: &mut Lazy, now: u64, next: u64) -> Plan {
        lazy.note_slept();
        lazy.note_sent(100);
        let plan = lazy.plan(at(now), Some(at(next)), false, ROOM, 1);
        if plan == Plan::Read {
            lazy.note_read(at(now));
            let after = lazy.plan(at(now + 1), Some(at(next)), false, ROOM, 1);
            assert_eq!(after, Plan::Sleep, "a read is done once");
        }
        plan
    }

    #[test]
    fn at_a_probe_a_millisecond_every_other_turn_reads() {
        let mut lazy = lazy();
        let plans: Vec<Plan> = (1..=6)
            .map(|ms| turn(&mut lazy, ms * 1_000 + 40, ms * 1_000 + 1_000))
            .collect();
        let (sleep, read) = (Plan::Sleep, Plan::Read);
        assert_eq!(plans, [sleep, read, sleep, read, sleep, read]);
    }

    #[test]
    fn replies_to_many_sockets_wake_the_loop() {
        let mut lazy = lazy();
        lazy.note_slept();
        lazy.note_sent(100);
        for (sockets, plan) in [
            (READ_TOGETHER_MAX, Plan::Sleep),
            (READ_TOGETHER_MAX + 1, Plan::Watch),
        ] {
            let near = Some(at(500));
            assert_eq!(lazy.plan(at(400), near, false, ROOM, sockets), plan);
        }
    }

    #[test]
    fn a_loop_that_is_behind_reads_in_every_turn_between_two_looks_at_the_other_sockets() {
        let mut lazy = lazy();
        for us in [100, 200, 300] {
            lazy.note_slept();
            lazy.note_sent(100);
            let plan = |lazy: &Lazy| lazy.plan(at(us), Some(at(us)), false, ROOM, 1);
            assert_eq!(plan(&lazy), Plan::Read);
            lazy.note_read(at(us));
            lazy.note_sent(100);
            assert_eq!(
                plan(&lazy),
                Plan::Sleep,
                "requests of others come in between"
            );
        }
    }

    #[test]
    fn replies_wake_the_loop_if_the_next_deadline_is_far() {
        let mut lazy = lazy();
        for far in [Some(at(3_001)), None] {
            lazy.note_sent(100);
            let plan = |lazy: &Lazy| lazy.plan(at(1_000), far, false, ROOM, 1);
            assert_eq!(plan(&lazy), Plan::Read, "of what has come before");
            lazy.note_read(at(1_000));
            assert_eq!(plan(&lazy), Plan::Watch);
            lazy.is_watched = true;
            lazy.note_sent(100);
            assert_eq!(plan(&lazy), Plan::Watch);
            lazy.is_watched = false;
        }
        let never = Lazy::new(0).expect("it has no queue");
        assert_eq!(never.plan(at(0), Some(at(1)), false, ROOM, 1), Plan::Watch);
        assert!(never.wakes_for_replies() && !lazy.wakes_for_replies());
    }

    #[test]
    fn a_probe_that_has_had_its_time_and_a_buffer_half_full_are_read_for() {
        let mut lazy = lazy();
        lazy.note_slept();
        let plan = |lazy: &Lazy, awaited| lazy.plan(at(100), Some(at(200)), awaited, ROOM, 1);
        assert_eq!(plan(&lazy, false), Plan::Sleep);
        assert_eq!(plan(&lazy, true), Plan::Read);
        for _ in 0..=ROOM / 2 / (OVERHEAD_BYTES + 100) {
            assert_eq!(plan(&lazy, false), Plan::Sleep);
            lazy.note_sent(100);
        }
        assert_eq!(plan(&lazy, false), Plan::Read);
    }

    #[test]
    fn icmp_errors_are_read_as_they_come() {
        let mut lazy = lazy();
        lazy.note_icmp(at(0));
        let near = |lazy: &Lazy, now| lazy.plan(at(now), Some(at(now + 500)), false, ROOM, 1);
        assert_eq!(near(&lazy, 1_000), Plan::Watch);
        assert_eq!(near(&lazy, 9_999_999), Plan::Watch);
        assert_eq!(near(&lazy, 10_000_000), Plan::Sleep);
    }

    #[test]
    fn a_stream_whose_replies_overlap_is_read_at_once_until_it_is_calm() {
        let mut late = Late::default();
        let write = |late: &mut Late, answered: u32, may_wait: bool| {
            late.unanswered = late.unanswered.saturating_sub(answered);
            late.is_at_once = late.judge_write(may_wait);
            late.is_at_once
        };
        assert!(!write(&mut late, 0, true), "the first one is alone");
        assert!(!write(&mut late, 1, true));
        assert!(write(&mut late, 0, true), "a reply is outstanding");
        assert!(write(&mut late, 1, true), "and still one");
        for _ in 1..CALM_WRITES {
            let answered = late.unanswered;
            assert!(write(&mut late, answered, true));
        }
        assert!(!write(&mut late, 1, true));
        assert!(
            write(&mut late, 1, false),
            "a text probe must leave at once"
        );
    }
}
