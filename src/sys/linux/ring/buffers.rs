//! Buffers that are lent to the kernel: a message that comes takes the next one.

use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::{BufRingEntry, RecvMsgOut};
use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use crate::limits::{RING_BUFFERS, STREAM_READ_BYTES};
use crate::sys::batch::incoming_in;
use crate::sys::words::Incoming;

/// What the kernel writes before each message: four lengths.
const HEAD_BYTES: usize = 16;

/// Room for the control messages of one packet.
const CONTROL_BYTES: usize = 256;

/// Added to each buffer. Else the beginnings of all would fall into the same few lines of the processor's cache.
const STAGGER_BYTES: usize = 5 * 64;

/// The group of all buffers: the ring has no other.
const GROUP: u16 = 0;

/// A part of memory of our own.
#[derive(Debug)]
struct Mapping {
    start: NonNull<libc::c_void>,
    length: usize,
}

impl Mapping {
    /// Maps zeros. Pages that nobody has touched take no memory.
    fn new(length: usize) -> io::Result<Self> {
        let size = NonZeroUsize::new(length).ok_or(io::ErrorKind::InvalidInput)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: it is a mapping of its own, at no address that anybody has.
        let start = unsafe { mmap_anonymous(None, size, protection, MapFlags::MAP_PRIVATE) }?;
        Ok(Self { start, length })
    }

    /// Returns where the part at `offset` begins, which is within it.
    fn at(&self, offset: usize) -> *mut u8 {
        debug_assert!(offset < self.length, "it is within the mapping");
        self.start.as_ptr().cast::<u8>().wrapping_add(offset)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and whoever drops it has no more pointers into it.
        let unmapped = unsafe { munmap(self.start, self.length) };
        debug_assert!(unmapped.is_ok(), "it was mapped");
    }
}

/// A message that has come: a buffer that the kernel has given us. There is one for each completion that names one.
#[derive(Debug)]
pub(crate) struct Buffer {
    id: u16,
    /// Bytes that the kernel has written.
    length: usize,
}

/// All buffers.
#[derive(Debug)]
pub(super) struct Buffers {
    /// The list of those that the kernel may take, which it reads.
    list: Mapping,
    memory: Mapping,
    stride: usize,
    each: usize,
    /// How many were lent by now.
    tail: u16,
    /// Says how much room control messages have in each buffer. The kernel reads only that.
    sample: Box<libc::msghdr>,
}

impl Buffers {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: it is made of plain numbers and pointers, for which zeros are valid.
        let mut sample: libc::msghdr = unsafe { std::mem::zeroed() };
        sample.msg_controllen = CONTROL_BYTES as _;
        let each = HEAD_BYTES + CONTROL_BYTES + STREAM_READ_BYTES;
        let stride = each.next_multiple_of(64) + STAGGER_BYTES;
        let entries = usize::from(RING_BUFFERS);
        Ok(Self {
            list: Mapping::new(entries * size_of::<BufRingEntry>())?,
            memory: Mapping::new(entries * stride)?,
            stride,
            each,
            tail: 0,
            sample: Box::new(sample),
        })
    }

    pub(super) const fn group() -> u16 {
        GROUP
    }

    pub(super) const fn sample(&self) -> *const libc::msghdr {
        &raw const *self.sample
    }

    /// Lends all buffers to the ring.
    pub(super) fn register(&mut self, submitter: &Submitter<'_>) -> io::Result<()> {
        let list = self.list.at(0) as u64;
        // SAFETY: the list is page-aligned, has this many entries, and lives as long as the ring.
        unsafe { submitter.register_buf_ring_with_flags(list, RING_BUFFERS, GROUP, 0) }?;
        for id in 0..RING_BUFFERS {
            self.lend(id);
        }
        Ok(())
    }

    /// Takes in a completion: the buffer that it names, and how many bytes the kernel has written there.
    pub(super) fn received(
        &mut self,
        id: Option<u16>,
        length: io::Result<u32>,
    ) -> io::Result<Buffer> {
        let id = id.filter(|id| *id < RING_BUFFERS);
        match (id, length) {
            (Some(id), Ok(length)) => Ok(Buffer {
                id,
                length: (length as usize).min(self.each),
            }),
            (None, Ok(_)) => Err(io::ErrorKind::UnexpectedEof.into()),
            (id, Err(error)) => {
                if let Some(id) = id {
                    self.lend(id);
                }
                Err(error)
            }
        }
    }

    pub(super) fn message(&self, buffer: &Buffer) -> Option<Incoming<'_>> {
        let start = self.memory.at(usize::from(buffer.id) * self.stride);
        // SAFETY: the buffer is ours until it is given back, which takes it away from whoever has it and needs that no
        // message of these buffers is borrowed; the bytes are initialised: by the kernel, or as zeros.
        let bytes = unsafe { std::slice::from_raw_parts(start, buffer.length) };
        let parts = RecvMsgOut::parse(bytes, &self.sample).ok()?;
        let (name, control) = (parts.name_data(), parts.control_data());
        // The lengths are checked, so the payload is the end of the bytes.
        let room = HEAD_BYTES + CONTROL_BYTES;
        let payload = &bytes[room..][..parts.payload_data().len()];
        Some(incoming_in(name, control, payload))
    }

    #[expect(clippy::needless_pass_by_value, reason = "it is ours no more")]
    pub(super) fn give_back(&mut self, buffer: Buffer) {
        self.lend(buffer.id);
    }

    fn lend(&mut self, id: u16) {
        let start = self.memory.at(usize::from(id) * self.stride);
        let place = usize::from(self.tail & (RING_BUFFERS - 1));
        let entry = self.list.at(place * size_of::<BufRingEntry>());
        // SAFETY: it is within the list and aligned, and the kernel does not read it before the tail has passed it.
        let entry = unsafe { &mut *entry.cast::<libc::c_void>().cast::<BufRingEntry>() };
        entry.set_addr(start as u64);
        entry.set_len(u32::try_from(self.each).unwrap_or(u32::MAX));
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        let first = self
            .list
            .at(0)
            .cast::<libc::c_void>()
            .cast::<BufRingEntry>();
        // SAFETY: the list begins there, and is initialised.
        let tail = unsafe { BufRingEntry::tail(first) }.cast_mut();
        // SAFETY: the tail is aligned, lives as long as the list, and only this thread writes to it.
        let tail = unsafe { AtomicU16::from_ptr(tail) };
        // The kernel reads the entry after the tail.
        tail.store(self.tail, Ordering::Release);
    }
}
