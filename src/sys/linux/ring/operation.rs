//! Operations of a ring, whose they are, and what comes of them.

use std::io;

use io_uring::cqueue;

use super::buffers::Buffer;
use crate::sys::stamp::wall;
use crate::sys::words::Stamps;

/// In a completion of that command: the stamp is the interface's, and what kind of stamp it is.
const STAMP_BY_INTERFACE: u32 = 1 << 16;
const STAMP_KIND_SHIFT: u32 = 17;

/// The kind of stamp that is taken as the packet leaves (`SCM_TSTAMP_SND`).
const STAMP_SENT: u32 = 0;

/// What an operation does. Its completion says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Receive,
    Stamps,
    Connect,
    Room,
    Tell,
    Wake,
    Write,
    Cancel,
}

impl Operation {
    const ALL: [Self; 8] = [
        Self::Receive,
        Self::Stamps,
        Self::Connect,
        Self::Room,
        Self::Tell,
        Self::Wake,
        Self::Write,
        Self::Cancel,
    ];

    /// Packs what it does and for whom into the number that the kernel returns with its completions.
    pub(super) const fn tag(self, owner: Owner) -> u64 {
        (owner.generation as u64) << 32
            | (owner.place as u64) << 8
            | (owner.kind as u64) << 4
            | self as u64
    }

    pub(super) fn of_tag(tag: u64) -> (Option<Self>, Owner) {
        let part = |shift: u32, bits: u32| {
            let part = tag >> shift & ((1 << bits) - 1);
            u32::try_from(part).unwrap_or_default()
        };
        let owner = Owner {
            kind: u8::try_from(part(4, 4)).unwrap_or_default(),
            place: part(8, 24),
            generation: part(32, 32),
        };
        (Self::ALL.get(part(0, 4) as usize).copied(), owner)
    }
}

/// Whose an operation is: numbers of its caller's, which come back with each completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Below 16.
    pub(crate) kind: u8,
    /// Below [`PLACES_MAX`].
    pub(crate) place: u32,
    /// Tells the users of one place apart.
    pub(crate) generation: u32,
}

/// Places that an owner can name.
pub(crate) const PLACES_MAX: u32 = 1 << 24;

/// An operation that may be cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    Receive,
    Stamps,
    Connect,
    Room,
}

impl Begun {
    pub(super) const fn operation(self) -> Operation {
        match self {
            Self::Receive => Operation::Receive,
            Self::Stamps => Operation::Stamps,
            Self::Connect => Operation::Connect,
            Self::Room => Operation::Room,
        }
    }
}

/// What has happened.
#[derive(Debug)]
pub(crate) struct Completion {
    pub(crate) owner: Owner,
    pub(crate) happened: Happened,
    /// The operation goes on, and tells of more. Otherwise it has ended.
    pub(crate) goes_on: bool,
}

#[derive(Debug)]
pub(crate) enum Happened {
    /// Bytes have come on a stream. An error of `ENOBUFS` says that all buffers were taken; what has come waits at the
    /// socket.
    Received(io::Result<Buffer>),
    Connected(io::Result<()>),
    /// There is room to write, or the socket has failed.
    Room,
    /// An event queue has something to tell.
    Told,
    /// Another thread has ended the wait.
    Woken,
    /// No more stamps are brought.
    StampsEnded(io::Error),
}

/// The stamp of a packet that has left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transmitted {
    pub(crate) owner: Owner,
    /// As the kernel counts the packets, or the bytes, of the socket.
    pub(crate) number: u32,
    pub(crate) stamps: Stamps,
}

/// Returns the stamp in a completion; `None` if it is not of the moment that the packet left.
pub(super) fn stamps_of(entry: &cqueue::Entry32) -> Option<Stamps> {
    if entry.flags() >> STAMP_KIND_SHIFT != STAMP_SENT {
        return None;
    }
    let [seconds, rest] = *entry.big_cqe();
    let rest = i64::try_from(rest)
        .ok()
        .filter(|rest| *rest < 1_000_000_000)?;
    let at = wall(i64::try_from(seconds).ok()?, rest);
    let (software, hardware) = match entry.flags() & STAMP_BY_INTERFACE {
        0 => (at, None),
        _ => (None, at),
    };
    Some(Stamps { software, hardware })
}
