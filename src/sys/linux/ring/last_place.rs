//! The last place for completions in the memory that is shared with the kernel, which some kernels leave unwritten.
//!
//! Linux 6.18 passes over that place when the next completion is one of 32 bytes, as those with transmit stamps are: it
//! takes the ring for one whose completions have two sizes, where a large one must not be divided. What stands there is
//! the completion of the round before. Taken for a new one it would name a buffer or a descriptor a second time. So the
//! place is marked when its completion was taken; if the mark still stands there, nothing was written.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// Where a ring's descriptor has the memory with completions (`IORING_OFF_CQ_RING`).
const OFFSET: libc::off_t = 0x800_0000;

/// Bytes of one completion.
const BYTES: usize = 32;

/// The owner of no operation: the numbers of operations are smaller.
pub(super) const MARK: u64 = u64::MAX;

/// A second view of that memory.
#[derive(Debug)]
pub(super) struct LastPlace {
    start: NonNull<libc::c_void>,
    length: usize,
    /// Where the last place begins, in bytes.
    offset: usize,
    places: u32,
}

impl LastPlace {
    /// Finds it in a ring with so many places, of which only the first one was written, with the mark. `None` if it is
    /// not there.
    pub(super) fn find(ring: &impl AsRawFd, places: usize) -> io::Result<Option<Self>> {
        let length = NonZeroUsize::new(places * BYTES).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: the ring is open, and lives as long as this call.
        let fd = unsafe { BorrowedFd::borrow_raw(ring.as_raw_fd()) };
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // What stands before the places takes a part of a page, and the system maps whole ones: the last place is in.
        let length = length.saturating_add(BYTES);
        // SAFETY: it is a mapping of its own, at no address that anybody has.
        let start = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, fd, OFFSET) }?;
        let mut found = Self {
            start,
            length: length.get(),
            offset: 0,
            places: u32::try_from(places).unwrap_or_default(),
        };
        let first = (0..BYTES * 16)
            .step_by(size_of::<u64>())
            .find(|offset| found.word(*offset).load(Ordering::Relaxed) == MARK);
        let Some(first) = first else {
            return Ok(None);
        };
        found.offset = first + (places - 1) * BYTES;
        if !places.is_power_of_two() || found.offset + BYTES > found.mapped() {
            return Ok(None);
        }
        found.mark();
        Ok(Some(found))
    }

    /// Judges the completion that was taken as number `taken`, from 1 on. False if the kernel has not written it.
    pub(super) fn is_written(&self, taken: u32, user_data: u64) -> bool {
        if taken & (self.places - 1) != 0 {
            return true;
        }
        let is_written = user_data != MARK;
        if is_written {
            // The kernel does not use it before it is told that this one was taken.
            self.mark();
        }
        is_written
    }

    fn mark(&self) {
        self.word(self.offset).store(MARK, Ordering::Relaxed);
    }

    /// Returns how many bytes are mapped: whole pages.
    fn mapped(&self) -> usize {
        // No system has smaller ones.
        self.length.next_multiple_of(4_096)
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        debug_assert!(offset + size_of::<u64>() <= self.mapped(), "it is mapped");
        let word = self.start.as_ptr().wrapping_byte_add(offset).cast();
        // SAFETY: it is within the mapping and aligned, as the mapping and all offsets are.
        unsafe { AtomicU64::from_ptr(word) }
    }
}

impl Drop for LastPlace {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and nobody has a reference into it.
        let unmapped = unsafe { munmap(self.start, self.length) };
        debug_assert!(unmapped.is_ok(), "it was mapped");
    }
}
