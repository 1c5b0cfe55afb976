//! Late reads, as the engine on mio has them: what comes for a host's own flows waits in its sockets, and is read when
//! the host is awake anyway.

use std::collections::{BTreeMap, VecDeque};

use latency_monitor::proto::{SocketId, StampKey};

use crate::network::{ConnectionId, Datagram, Ending};
use crate::truth::Instant;

/// After an ICMP error replies are read as they come for so long.
const AFTER_ICMP_NS: u64 = 10_000_000_000;
/// Transmit stamps that one request carries.
const TOLD_AT_ONCE: u32 = 2;
/// A stream whose replies overlapped is read late again after this many that did not.
const CALM_WRITES: u32 = 64;

/// What the host does before it sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Replies may wait.
    Sleep,
    /// It reads what has come.
    Read,
    /// It wakes for replies.
    Watch,
}

/// What has come for a flow, and is not read.
#[derive(Debug)]
pub(crate) enum Waiting {
    Datagram(Datagram),
    Data(ConnectionId, Vec<u8>, Option<Instant>),
    Closed(ConnectionId, Ending),
}

/// A stream of ours.
#[derive(Debug, Default)]
struct Stream {
    /// Its replies wake the host.
    is_at_once: bool,
    unanswered: usize,
    calm_writes: u32,
}

#[derive(Debug)]
pub(crate) struct Late {
    within_ns: u64,
    /// It wakes for replies.
    pub(crate) is_watched: bool,
    /// All that had come by then was read, in true time.
    read_ns: u64,
    /// That was in this turn.
    is_fresh: bool,
    icmp_ns: Option<u64>,
    pub(crate) waiting: VecDeque<Waiting>,
    /// When packets left whose stamps were not taken.
    stamps: Vec<(SocketId, StampKey, Instant)>,
    /// Requests of a flow over UDP since its stamps were taken.
    unstamped: BTreeMap<SocketId, u32>,
    streams: BTreeMap<SocketId, Stream>,
}

impl Late {
    pub(crate) const fn new(within_ns: u64) -> Self {
        Self {
            within_ns,
            is_watched: true,
            read_ns: 0,
            is_fresh: false,
            icmp_ns: None,
            waiting: VecDeque::new(),
            stamps: Vec::new(),
            unstamped: BTreeMap::new(),
            streams: BTreeMap::new(),
        }
    }

    /// A turn begins.
    pub(crate) const fn begin_turn(&mut self) {
        self.is_fresh = false;
    }

    pub(crate) fn plan(&self, now_ns: u64, deadline_ns: Option<u64>, is_awaited: bool) -> Plan {
        let near = deadline_ns.filter(|at| at.saturating_sub(now_ns) <= self.within_ns);
        let is_held_off = self.icmp_ns.is_some_and(|at| now_ns - at < AFTER_ICMP_NS);
        let Some(deadline_ns) = near.filter(|_| !is_held_off) else {
            return Plan::Watch;
        };
        let may_wait = deadline_ns.saturating_sub(self.read_ns) <= self.within_ns || self.is_fresh;
        if may_wait && !is_awaited {
            Plan::Sleep
        } else {
            Plan::Read
        }
    }

    pub(crate) const fn note_read(&mut self, now_ns: u64) {
        self.read_ns = now_ns;
        self.is_fresh = true;
    }

    pub(crate) const fn note_icmp(&mut self, now_ns: u64) {
        self.icmp_ns = Some(now_ns);
    }

    /// A flow's request leaves over UDP; `at_once`: it does not carry the stamp of another one.
    pub(crate) fn note_request(&mut self, socket: SocketId, at_once: bool) {
        self.is_fresh = false;
        if !at_once {
            *self.unstamped.entry(socket).or_default() += 1;
        }
    }

    /// True if stamps are to be taken, or a request could not carry all of them.
    pub(crate) fn are_stamps_due(&self) -> bool {
        let mut counts = self.unstamped.values();
        counts.any(|count| *count >= TOLD_AT_ONCE)
    }

    /// A packet leaves at an instant, by its stamp, which waits to be taken.
    pub(crate) fn push_stamp(&mut self, socket: SocketId, key: StampKey, left: Instant) {
        self.stamps.push((socket, key, left));
    }

    /// Takes the stamps that have been made by now; those of one socket or of all.
    pub(crate) fn take_stamps(
        &mut self,
        now_ns: u64,
        of: Option<SocketId>,
    ) -> Vec<(StampKey, Instant)> {
        if of.is_none() {
            self.unstamped.clear();
        }
        let is_there = |(socket, _, left): &mut (SocketId, StampKey, Instant)| {
            left.true_ns <= now_ns && of.is_none_or(|of| of == *socket)
        };
        let taken = self.stamps.extract_if(.., is_there);
        taken.map(|(_, key, left)| (key, left)).collect()
    }

    pub(crate) fn is_at_once(&self, socket: SocketId) -> bool {
        let stream = self.streams.get(&socket);
        stream.is_some_and(|stream| stream.is_at_once)
    }

    /// True if a stream owes a reply that is to be read before the next probe is written to it.
    pub(crate) fn owes_reply(&self, socket: SocketId) -> bool {
        let stream = self.streams.get(&socket);
        stream.is_some_and(|stream| !stream.is_at_once && stream.unanswered > 0)
    }

    /// A probe is about to be written to a stream: its replies are read at once from here on, or not.
    pub(crate) fn judge_write(&mut self, socket: SocketId, may_wait: bool) {
        self.is_fresh = false;
        let stream = self.streams.entry(socket).or_default();
        let is_alone = may_wait && stream.unanswered == 0;
        stream.calm_writes = if is_alone { stream.calm_writes + 1 } else { 0 };
        stream.unanswered += 1;
        stream.is_at_once = if stream.is_at_once {
            stream.calm_writes < CALM_WRITES
        } else {
            !is_alone
        };
    }

    /// So many replies of a stream were read.
    pub(crate) fn note_answered(&mut self, socket: SocketId, replies: usize) {
        if let Some(stream) = self.streams.get_mut(&socket) {
            stream.unanswered = stream.unanswered.saturating_sub(replies);
        }
    }

    pub(crate) fn forget(&mut self, socket: SocketId) {
        self.stamps.retain(|(of, ..)| *of != socket);
        self.unstamped.remove(&socket);
        self.streams.remove(&socket);
    }
}
