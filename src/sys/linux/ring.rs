//! A ring of io_uring: operations go to the kernel many in a call, and what became of them comes back in memory that
//! both sides share.
//!
//! # Why nothing that the kernel writes to is freed
//!
//! 1. Every operation that is begun here owes one last completion, and the ring counts what is owed. No operation takes
//!    memory of its caller: it names a socket, and an owner in numbers.
//! 2. The kernel writes received bytes into [`Buffers`] alone. A buffer is the kernel's from when it is given until a
//!    completion names it, and then belongs to the one [`Buffer`] that stands for it. All of them are one mapping,
//!    which lives as long as the ring.
//! 3. Headers that the kernel reads when it takes an operation live as long as the ring, too: the sample header of a
//!    receive, and the address of a connection, which the kernel copies before [`Ring::submit`] returns.
//! 4. Bytes of a write are copied into the ring, which does not touch them until each write of the call has completed.
//! 5. When the ring is dropped it has every operation cancelled, and takes completions until none is owed. Only then
//!    the mappings go. If the kernel did not answer, they would be left in place: memory that is lost harms nobody.
//!
//! A descriptor that an operation names is looked up when the kernel takes the operation. So a socket that has one
//! waiting ([`Ring::turn`] tells) must not be closed before [`Ring::submit`]. To do so would harm no memory, but the
//! operation might fall to another socket.
#![expect(unsafe_code, reason = "entries of the ring have no safe binding")]

mod buffers;
mod last_place;
mod operation;
mod refusal;
mod waker;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};

use io_uring::register::Restriction;
use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Probe, cqueue, opcode, squeue};
use nix::errno::Errno;
use nix::libc;
use nix::time::{ClockId, clock_gettime};
use socket2::{Domain, SockAddr, Socket, Type};

pub(crate) use self::buffers::Buffer;
use self::buffers::Buffers;
use self::last_place::LastPlace;
pub(crate) use self::operation::{Begun, Completion, Happened, Owner, Transmitted};
use self::operation::{Operation, PLACES_MAX, stamps_of};
pub(crate) use self::refusal::Refusal;
pub(crate) use self::waker::EventWaker;
use crate::sys::events::EventQueue;
use crate::sys::words::Incoming;

/// Operations that wait to be taken by the kernel. When there are more, the kernel takes these first.
const ENTRIES: u32 = 512;

/// Completions that fit into shared memory. The kernel keeps more of them itself, and ends receives that would only add
/// to those.
const COMPLETIONS: u32 = 4_096;

/// What the engine asks of a ring, and all that it can do.
const OPERATIONS: [u8; 6] = [
    opcode::RecvMsgMulti::CODE,
    opcode::Connect::CODE,
    opcode::Send::CODE,
    opcode::PollAdd::CODE,
    opcode::AsyncCancel2::CODE,
    opcode::UringCmd16::CODE,
];

/// `IOSQE_BUFFER_SELECT`: receives take their buffers themselves.
const BUFFER_SELECT: u8 = 1 << 5;

/// The ring waits this long at its end, again and again, for operations that were cancelled.
const LAST_WAIT: Timespec = Timespec::new().sec(1);
const LAST_WAITS: usize = 10;

/// The socket command that brings transmit stamps (`SOCKET_URING_OP_TX_TIMESTAMP`). The crate has no name for it.
const COMMAND_TRANSMIT_STAMPS: u32 = 4;

/// True if an operation has ended for want of room: it may be begun again at once.
pub(crate) fn is_pause(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw);
    matches!(
        code,
        Some(Errno::ENOBUFS | Errno::ECANCELED | Errno::ENOMEM | Errno::EAGAIN)
    )
}

/// Bytes to write to a socket.
#[derive(Debug)]
struct Write {
    fd: RawFd,
    bytes: Range<usize>,
    result: Option<i32>,
}

/// See the [module](self).
pub(crate) struct Ring {
    /// Goes before the memory that it works on.
    inner: ManuallyDrop<IoUring<squeue::Entry, cqueue::Entry32>>,
    buffers: ManuallyDrop<Buffers>,
    last_place: ManuallyDrop<Option<LastPlace>>,
    /// How many completions were taken out of the shared memory: where the next one is.
    taken: u32,
    /// Addresses of connections that the kernel has not taken yet: no more than entries, for which there is room from
    /// the beginning. So they do not move.
    addresses: Vec<SockAddr>,
    writes: Vec<Write>,
    /// The bytes of all writes.
    bytes: ManuallyDrop<Vec<u8>>,
    /// What has happened and was not taken yet.
    completions: VecDeque<Completion>,
    transmitted: VecDeque<Transmitted>,
    /// Operations whose last completion has not come.
    owed: usize,
    turn: u64,
    is_absolute: bool,
    /// Completions that the kernel had no memory for.
    dropped: u32,
    /// Why the ring can be used no more.
    broken: Option<io::Error>,
}

impl Ring {
    /// Makes a ring for the calling thread, which must be the one that uses it.
    pub(crate) fn new() -> Result<Self, Refusal> {
        let refused = |what| move |error| Refusal { what, error };
        let inner = IoUring::<squeue::Entry, cqueue::Entry32>::builder()
            .setup_cqsize(COMPLETIONS)
            .setup_submit_all()
            .setup_r_disabled()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .build(ENTRIES)
            .map_err(refused("make a ring (io_uring_setup)"))?;
        let mut probe = Probe::new();
        inner
            .submitter()
            .register_probe(&mut probe)
            .map_err(refused("ask for the operations of a ring"))?;
        let mut needed = OPERATIONS.into_iter();
        // That older kernels have no commands of sockets is seen later.
        if !needed.all(|code| code == opcode::UringCmd16::CODE || probe.is_supported(code))
            || !inner.params().is_feature_ext_arg()
        {
            let error = io::ErrorKind::Unsupported.into();
            return Err(refused("use the operations of a ring")(error));
        }
        // Both came with Linux 6.12.
        let is_absolute = inner.params().is_feature_min_timeout();
        let mut ring = Self {
            inner: ManuallyDrop::new(inner),
            buffers: ManuallyDrop::new(
                Buffers::new().map_err(refused("map memory for what is received"))?,
            ),
            last_place: ManuallyDrop::new(None),
            taken: 0,
            addresses: Vec::with_capacity(ENTRIES as usize),
            writes: Vec::new(),
            bytes: ManuallyDrop::default(),
            completions: VecDeque::with_capacity(COMPLETIONS as usize),
            transmitted: VecDeque::with_capacity(COMPLETIONS as usize),
            owed: 0,
            turn: 0,
            is_absolute,
            dropped: 0,
            broken: None,
        };
        let submitter = ring.inner.submitter();
        (ring.buffers.register(&submitter)).map_err(refused("lend buffers to a ring"))?;
        // No filter of system calls sees what a ring does: so this one does nothing but what the engine asks of it.
        let mut allowed: Vec<Restriction> = OPERATIONS.map(Restriction::sqe_op).into();
        allowed.push(Restriction::sqe_flags_allowed(BUFFER_SELECT));
        submitter
            .register_restrictions(&mut allowed)
            .map_err(refused("restrict the operations of a ring"))?;
        submitter
            .register_enable_rings()
            .map_err(refused("switch a ring on"))?;
        Ok(ring)
    }

    /// Receives whatever comes on a stream.
    pub(crate) fn receive(&mut self, socket: &impl AsRawFd, owner: Owner) {
        let sample = self.buffers.sample();
        let entry = opcode::RecvMsgMulti::new(fd(socket), sample, Buffers::group()).build();
        self.push(entry, Operation::Receive, owner);
    }

    /// Tells once when an event queue has something to tell.
    pub(crate) fn wait_for_queue(&mut self, queue: &EventQueue, owner: Owner) {
        let entry = opcode::PollAdd::new(fd(queue), poll_mask(libc::POLLIN)).build();
        self.push(entry, Operation::Tell, owner);
    }

    /// Brings the transmit stamps of a socket that is stamped.
    pub(crate) fn bring_stamps(&mut self, socket: &impl AsRawFd, owner: Owner) {
        let entry = opcode::UringCmd16::new(fd(socket), COMMAND_TRANSMIT_STAMPS).build();
        self.push(entry, Operation::Stamps, owner);
    }

    /// True if the kernel can bring transmit stamps. Linux 6.17 is the first that does.
    pub(crate) fn can_bring_stamps(&mut self) -> bool {
        if self.last_place.is_none() && !self.find_last_place() {
            return false;
        }
        let Ok(socket) = Socket::new(Domain::IPV4, Type::DGRAM, None)
            .or_else(|_| Socket::new(Domain::IPV6, Type::DGRAM, None))
        else {
            return false;
        };
        let owner = Owner {
            kind: 15,
            place: 0,
            generation: 0,
        };
        self.bring_stamps(&socket, owner);
        self.submit();
        let is_ended = |completion: &Completion| completion.owner == owner;
        let can = !self.completions.iter().any(is_ended);
        self.cancel(Begun::Stamps, owner);
        self.submit();
        self.completions.retain(|completion| !is_ended(completion));
        can
    }

    /// Connects a socket.
    pub(crate) fn connect(&mut self, socket: &impl AsRawFd, remote: SocketAddr, owner: Owner) {
        if self.is_full() || self.addresses.len() == ENTRIES as usize {
            self.submit();
        }
        // A broken ring takes no more.
        if self.addresses.len() == ENTRIES as usize {
            return;
        }
        let place = self.addresses.len();
        self.addresses.push(remote.into());
        let address = &self.addresses[place];
        let entry =
            opcode::Connect::new(fd(socket), address.as_ptr().cast(), address.len()).build();
        self.push(entry, Operation::Connect, owner);
    }

    /// Tells once when a socket has room to write.
    pub(crate) fn wait_for_room(&mut self, socket: &impl AsRawFd, owner: Owner) {
        let entry = opcode::PollAdd::new(fd(socket), poll_mask(libc::POLLOUT)).build();
        self.push(entry, Operation::Room, owner);
    }

    /// Tells whenever another thread has written to an eventfd.
    pub(crate) fn wait_for_wake(&mut self, event: &impl AsRawFd, owner: Owner) {
        let entry = opcode::PollAdd::new(fd(event), poll_mask(libc::POLLIN))
            .multi(true)
            .build();
        self.push(entry, Operation::Wake, owner);
    }

    /// Ends an operation. Completions of it may still come.
    pub(crate) fn cancel(&mut self, begun: Begun, owner: Owner) {
        let tag = begun.operation().tag(owner);
        let entry = opcode::AsyncCancel2::new(CancelBuilder::user_data(tag)).build();
        self.push(entry, Operation::Cancel, owner);
    }

    /// Adds bytes to what [`write_all`](Self::write_all) writes. A socket must have no more than one of them.
    pub(crate) fn push_write(&mut self, socket: &impl AsRawFd, bytes: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.writes.push(Write {
            fd: socket.as_raw_fd(),
            bytes: start..self.bytes.len(),
            result: None,
        });
    }

    /// Offers the kernel all writes, in one call if there are no more than fit. Returns when each has completed.
    pub(crate) fn write_all(&mut self) {
        // None waits for room, so all have completed when the kernel has taken them.
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        for place in 0..self.writes.len() {
            let write = &self.writes[place];
            // The bytes stay where they are, and as they are, until all have completed.
            let start = self.bytes[write.bytes.clone()].as_ptr();
            let length = u32::try_from(write.bytes.len()).unwrap_or(u32::MAX);
            let entry = opcode::Send::new(Fd(write.fd), start, length)
                .flags(flags)
                .build();
            let owner = Owner {
                kind: 0,
                place: u32::try_from(place).unwrap_or_default(),
                generation: 0,
            };
            self.push(entry, Operation::Write, owner);
        }
        self.submit();
        while self.broken.is_none() && self.writes.iter().any(|write| write.result.is_none()) {
            self.enter(1, None);
        }
    }

    /// Returns the bytes of a write, and how many of them the kernel has taken.
    pub(crate) fn written(&self, place: usize) -> (&[u8], io::Result<usize>) {
        let write = &self.writes[place];
        let taken = match write.result {
            Some(result) => result_of(result).map(|taken| taken as usize),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        };
        (&self.bytes[write.bytes.clone()], taken)
    }

    /// Forgets the writes, which have completed.
    pub(crate) fn clear_writes(&mut self) {
        if self.broken.is_none() {
            self.bytes.clear();
        }
        self.writes.clear();
    }

    /// Returns a number that grows whenever the kernel has taken all operations.
    pub(crate) const fn turn(&self) -> u64 {
        self.turn
    }

    /// Has the kernel take every operation, and takes what has happened.
    pub(crate) fn submit(&mut self) {
        self.enter(0, None);
    }

    /// Takes what has happened, in a call only if the kernel has something to do for that. The error says why the ring
    /// can be used no more.
    pub(crate) fn gather(&mut self) -> io::Result<()> {
        let submission = self.inner.submission();
        let is_needed = !submission.is_empty() || submission.taskrun() || submission.cq_overflow();
        drop(submission);
        if is_needed {
            self.submit();
        } else {
            self.reap();
        }
        self.check()
    }

    /// Has the kernel take every operation, and waits until something has happened, at most `ns` nanoseconds. `None`
    /// waits for as long as it takes. The error says why nothing can be waited for any more.
    pub(crate) fn wait(&mut self, ns: Option<u64>) -> io::Result<()> {
        self.enter(1, ns);
        self.check()
    }

    fn check(&self) -> io::Result<()> {
        match &self.broken {
            Some(error) => Err(io::Error::new(error.kind(), error.to_string())),
            None => Ok(()),
        }
    }

    /// True if nothing has happened that was not taken.
    pub(crate) fn is_quiet(&self) -> bool {
        self.completions.is_empty() && self.transmitted.is_empty()
    }

    /// Returns how much has happened that was not taken, apart from stamps.
    pub(crate) fn happened(&self) -> usize {
        self.completions.len()
    }

    pub(crate) fn next(&mut self) -> Option<Completion> {
        self.completions.pop_front()
    }

    pub(crate) fn next_transmitted(&mut self) -> Option<Transmitted> {
        self.transmitted.pop_front()
    }

    /// Returns the message in a buffer.
    pub(crate) fn message(&self, buffer: &Buffer) -> Option<Incoming<'_>> {
        self.buffers.message(buffer)
    }

    /// Gives a buffer back to the kernel.
    pub(crate) fn give_back(&mut self, buffer: Buffer) {
        self.buffers.give_back(buffer);
    }

    /// Finds the last place for completions in the shared memory, by a completion that is put into the first one. So
    /// nothing may have happened before.
    fn find_last_place(&mut self) -> bool {
        if self.taken > 0 || self.owed > 0 {
            return false;
        }
        let entry = opcode::Nop::new().build().user_data(last_place::MARK);
        // SAFETY: the entry points to nothing.
        if unsafe { self.inner.submission().push(&entry) }.is_err() {
            return false;
        }
        let entered = self.inner.submitter().submit_and_wait(1);
        let places = self.inner.params().cq_entries() as usize;
        let found = entered.and_then(|_| LastPlace::find(&*self.inner, places));
        // Takes it out, whatever it was.
        self.taken += u32::try_from(self.inner.completion().count()).unwrap_or_default();
        *self.last_place = found.ok().flatten();
        self.last_place.is_some()
    }

    fn is_full(&mut self) -> bool {
        self.inner.submission().is_full()
    }

    fn push(&mut self, entry: squeue::Entry, operation: Operation, owner: Owner) {
        debug_assert!(
            owner.kind < 16 && owner.place < PLACES_MAX,
            "it fits into a tag"
        );
        if self.is_full() {
            self.submit();
        }
        let entry = entry.user_data(operation.tag(owner));
        // SAFETY: what the entry points to is the ring's own and outlives the operation, as the module says.
        let pushed = unsafe { self.inner.submission().push(&entry) };
        // A broken ring takes no more.
        self.owed += usize::from(pushed.is_ok());
    }

    /// Has the kernel take every operation, and do what it has to do for those that it has. Waits for `want`
    /// completions, at most `ns` nanoseconds.
    fn enter(&mut self, want: usize, ns: Option<u64>) {
        loop {
            let entered = self.call(want, ns);
            self.reap();
            match entered.map_err(|error| (error.raw_os_error().map(Errno::from_raw), error)) {
                Ok(()) => break,
                // A signal, or the time is over.
                Err((Some(Errno::EINTR | Errno::ETIME), _)) => {
                    if self.inner.submission().is_empty() {
                        break;
                    }
                }
                // No memory now, or too much that has happened: some of that was just taken.
                Err((Some(Errno::EAGAIN | Errno::EBUSY), _)) => {}
                Err((_, error)) => {
                    self.broken.get_or_insert(error);
                    return;
                }
            }
            if want > 0 {
                break;
            }
        }
        if self.inner.submission().is_empty() {
            self.turn += 1;
            self.addresses.clear();
        }
        let dropped = self.inner.completion().overflow();
        if dropped != self.dropped {
            self.dropped = dropped;
            let error = "the kernel had no memory for what has happened on a ring of io_uring";
            self.broken.get_or_insert_with(|| io::Error::other(error));
        }
    }

    fn call(&mut self, want: usize, ns: Option<u64>) -> io::Result<()> {
        let submitter = self.inner.submitter();
        let Some(ns) = ns.filter(|_| want > 0) else {
            let count = self.unsubmitted();
            let flags = EnterFlags::GETEVENTS.bits();
            let want = u32::try_from(want).unwrap_or(1);
            let submitter = self.inner.submitter();
            // SAFETY: the count is that of the entries there are, and there is no argument.
            return unsafe { submitter.enter::<libc::sigset_t>(count, want, flags, None) }
                .map(drop);
        };
        if self.is_absolute {
            let now = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
            let at = timespec(std::time::Duration::from(now).as_nanos() + u128::from(ns));
            let arguments = SubmitArgs::new().timespec(&at);
            submitter.submit_with_args_and_flags(want, &arguments, EnterFlags::ABS_TIMER)
        } else {
            let left = timespec(u128::from(ns));
            submitter.submit_with_args(want, &SubmitArgs::new().timespec(&left))
        }
        .map(drop)
    }

    fn unsubmitted(&mut self) -> u32 {
        u32::try_from(self.inner.submission().len()).unwrap_or(ENTRIES)
    }

    /// Takes what has happened out of the memory that is shared with the kernel.
    fn reap(&mut self) {
        let mut inner = self.inner.completion();
        for entry in &mut inner {
            self.taken = self.taken.wrapping_add(1);
            if let Some(last_place) = &*self.last_place
                && !last_place.is_written(self.taken, entry.user_data())
            {
                continue;
            }
            let (Some(operation), owner) = Operation::of_tag(entry.user_data()) else {
                continue;
            };
            let (flags, result) = (entry.flags(), entry.result());
            let goes_on = cqueue::more(flags);
            self.owed -= usize::from(!goes_on);
            let happened = match operation {
                Operation::Stamps if goes_on => {
                    if let Some(stamps) = stamps_of(&entry) {
                        let number = result.cast_unsigned();
                        self.transmitted.push_back(Transmitted {
                            owner,
                            number,
                            stamps,
                        });
                    }
                    continue;
                }
                Operation::Stamps => Happened::StampsEnded(match result_of(result) {
                    Ok(_) => io::ErrorKind::Unsupported.into(),
                    Err(error) => error,
                }),
                Operation::Receive => {
                    let buffer = cqueue::buffer_select(flags);
                    Happened::Received(self.buffers.received(buffer, result_of(result)))
                }
                Operation::Connect => Happened::Connected(result_of(result).map(drop)),
                Operation::Room => Happened::Room,
                Operation::Tell => Happened::Told,
                Operation::Wake => Happened::Woken,
                Operation::Write => {
                    if let Some(write) = self.writes.get_mut(owner.place as usize) {
                        write.result = Some(result);
                    }
                    continue;
                }
                Operation::Cancel => continue,
            };
            self.completions.push_back(Completion {
                owner,
                happened,
                goes_on,
            });
        }
    }

    /// Cancels every operation, and takes completions until none is owed. False if the kernel did not answer.
    fn quiet_down(&mut self) -> bool {
        let any = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
        let owner = Owner {
            kind: 0,
            place: 0,
            generation: 0,
        };
        for _ in 0..LAST_WAITS {
            if self.owed == 0 {
                return true;
            }
            self.broken = None;
            self.push(any.clone(), Operation::Cancel, owner);
            self.submit();
            if self.owed > 0 {
                let submitter = self.inner.submitter();
                // What is wrong shows in what is owed.
                let _ = submitter.submit_with_args(1, &SubmitArgs::new().timespec(&LAST_WAIT));
                self.reap();
            }
        }
        self.owed == 0
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let is_quiet = self.quiet_down();
        // Connections that nobody took are closed.
        self.completions.clear();
        // SAFETY: it is not used again.
        unsafe { ManuallyDrop::drop(&mut self.last_place) };
        // SAFETY: it is not used again.
        unsafe { ManuallyDrop::drop(&mut self.inner) };
        if is_quiet {
            // SAFETY: no operation is left that could write to it, and it is not used again.
            unsafe { ManuallyDrop::drop(&mut self.buffers) };
            // SAFETY: no operation is left that could read it, and it is not used again.
            unsafe { ManuallyDrop::drop(&mut self.bytes) };
        }
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Ring")
            .field("owed", &self.owed)
            .field("happened", &self.completions.len())
            .finish_non_exhaustive()
    }
}

fn fd(of: &impl AsRawFd) -> Fd {
    Fd(of.as_raw_fd())
}

fn poll_mask(events: libc::c_short) -> u32 {
    u32::from(events.cast_unsigned())
}

fn timespec(ns: u128) -> Timespec {
    let seconds = u64::try_from(ns / 1_000_000_000).unwrap_or(u64::MAX);
    let rest = u32::try_from(ns % 1_000_000_000).unwrap_or_default();
    Timespec::new().sec(seconds).nsec(rest)
}

/// Returns what a completion says: a number, or an error below zero.
fn result_of(result: i32) -> io::Result<u32> {
    u32::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}
