//! Which operations go on for which socket, and that they end with it.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use crate::engine::datagrams::Waits;
use crate::engine::datagrams::watch::Readiness;
use crate::engine::sockets::{Kind, Sockets};
use crate::proto::SocketId;
use crate::sys::events::EventQueue;
use crate::sys::ring::{Begun, Owner, Ring};
use crate::sys::sockets::Socket;

/// Whose an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Waker,
    /// The queue that tells of UDP sockets and TCP listeners.
    Queue,
    Stream(SocketId),
}

impl Source {
    pub(super) fn owner(self) -> Owner {
        let (kind, place, generation) = match self {
            Self::Waker => (0, 0, 0),
            Self::Queue => (1, 0, 0),
            Self::Stream(id) => (2, id.index, id.generation),
        };
        Owner {
            kind,
            place,
            generation,
        }
    }

    pub(super) const fn of(owner: Owner) -> Self {
        match owner.kind {
            0 => Self::Waker,
            1 => Self::Queue,
            _ => Self::Stream(SocketId {
                index: owner.place,
                generation: owner.generation,
            }),
        }
    }
}

/// Operations of sockets that are gone, to be cancelled.
type Cancels = Rc<RefCell<Vec<(Begun, Owner)>>>;

/// How this engine waits for a socket: the operations that go on for it. They are cancelled when this is dropped, so
/// with the socket, however that goes: the kernel keeps a socket open as long as it works for it.
#[derive(Debug, Default)]
pub(super) struct Armed {
    held: Option<Held>,
    /// A stream has bytes among the writes that the kernel was not offered yet.
    pub(super) is_writing: bool,
    /// A UDP socket or a TCP listener has no operations: it is waited for so.
    readiness: Readiness,
}

impl Waits for Armed {
    fn readiness(&mut self) -> &mut Readiness {
        &mut self.readiness
    }
}

#[derive(Debug)]
struct Held {
    owner: Owner,
    begun: [Option<Begun>; 3],
    /// The ring's turn in which the last one was begun.
    turn: u64,
    cancels: Cancels,
}

impl Armed {
    pub(super) fn goes_on(&self, begun: Begun) -> bool {
        let held = self.held.iter();
        held.flat_map(|held| &held.begun)
            .any(|one| *one == Some(begun))
    }

    /// Notes that an operation has ended by itself.
    pub(super) fn handle_end(&mut self, begun: Begun) {
        if let Some(held) = &mut self.held
            && let Some(one) = held.begun.iter_mut().find(|one| **one == Some(begun))
        {
            *one = None;
        }
    }

    fn begin(&mut self, begun: Begun, turn: u64) -> Option<Owner> {
        if self.goes_on(begun) {
            return None;
        }
        let held = self.held.as_mut()?;
        held.turn = turn;
        let free = held.begun.iter_mut().find(|one| one.is_none());
        debug_assert!(free.is_some(), "no socket has more at a time");
        *free? = Some(begun);
        Some(held.owner)
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        if let Some(held) = &self.held {
            let begun = held.begun.iter().flatten();
            let mut cancels = held.cancels.borrow_mut();
            cancels.extend(begun.map(|begun| (*begun, held.owner)));
        }
    }
}

/// The ring, and what is to be cancelled there.
#[derive(Debug)]
pub(super) struct Operations {
    ring: Ring,
    cancels: Cancels,
    waits_for_queue: bool,
    was_told: bool,
}

impl Operations {
    pub(super) fn new(ring: Ring) -> Self {
        Self {
            ring,
            cancels: Cancels::default(),
            waits_for_queue: false,
            was_told: false,
        }
    }

    /// Returns the ring, which knows of every cancellation.
    pub(super) fn ring(&mut self) -> &mut Ring {
        for (begun, owner) in self.cancels.borrow_mut().drain(..) {
            self.ring.cancel(begun, owner);
        }
        &mut self.ring
    }

    /// Returns the ring to look at what has happened.
    pub(super) const fn happened(&mut self) -> &mut Ring {
        &mut self.ring
    }

    /// Makes what is kept of the operations of one socket.
    pub(super) fn armed(&self, source: Source) -> Armed {
        let held = Held {
            owner: source.owner(),
            begun: [None; 3],
            turn: 0,
            cancels: Rc::clone(&self.cancels),
        };
        Armed {
            held: Some(held),
            is_writing: false,
            readiness: Readiness::default(),
        }
    }

    /// Has the queue that tells of UDP sockets and listeners end a wait, once.
    pub(super) fn wait_for_queue(&mut self, queue: &EventQueue) {
        if !std::mem::replace(&mut self.waits_for_queue, true) {
            (self.ring).wait_for_queue(queue, Source::Queue.owner());
        }
    }

    /// The queue has ended a wait, or could not be waited for.
    pub(super) fn handle_told(&mut self) {
        (self.waits_for_queue, self.was_told) = (false, true);
    }

    /// True if it has done so since this was asked last.
    pub(super) fn was_told(&mut self) -> bool {
        std::mem::take(&mut self.was_told)
    }

    pub(super) fn receive(&mut self, armed: &mut Armed, socket: &impl Socket) {
        if let Some(owner) = armed.begin(Begun::Receive, self.ring.turn()) {
            self.ring.receive(socket, owner);
        }
    }

    pub(super) fn bring_stamps(&mut self, armed: &mut Armed, socket: &impl Socket) {
        if let Some(owner) = armed.begin(Begun::Stamps, self.ring.turn()) {
            self.ring.bring_stamps(socket, owner);
        }
    }

    pub(super) fn connect(&mut self, armed: &mut Armed, socket: &impl Socket, remote: SocketAddr) {
        if let Some(owner) = armed.begin(Begun::Connect, self.ring.turn()) {
            self.ring.connect(socket, remote, owner);
        }
    }

    pub(super) fn wait_for_room(&mut self, armed: &mut Armed, socket: &impl Socket) {
        if let Some(owner) = armed.begin(Begun::Room, self.ring.turn()) {
            self.ring.wait_for_room(socket, owner);
        }
    }

    /// Has the kernel take what was begun for a socket that is to be closed. It would look the descriptor up later,
    /// when that may be another socket's.
    pub(super) fn before_close(&mut self, sockets: &mut Sockets<Armed>, id: SocketId) {
        let Some(Kind::Stream(stream)) = sockets.table.get_mut(id) else {
            return;
        };
        let (held, turn) = (stream.wait.held.as_ref(), self.ring.turn());
        if held.is_some_and(|held| held.turn == turn && held.begun.iter().any(Option::is_some)) {
            self.ring.submit();
        }
    }
}
