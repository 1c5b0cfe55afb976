//! Transmit stamps that later packets carry: those that we tell, and the packets whose own we await.
//!
//! A packet cannot carry the kernel's stamp of its own departure. One of the next packets of the same
//! sender does (RFC 8972, section 4.7), and a few of them, so that a lost packet loses no stamp.

use crate::proto::sample::Stamp;
use crate::proto::wire::native::FollowUp;

/// The transmit stamps of our last `N` packets that have one, the newest first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FollowUps<const N: usize>([Option<FollowUp>; N]);

impl<const N: usize> FollowUps<N> {
    pub(crate) const fn new() -> Self {
        Self([None; N])
    }

    /// Adds the stamp of the packet numbered `seq`, unless that of a later one is known.
    pub(crate) fn push(&mut self, seq: u32, stamp: Stamp) {
        let newest = self.0.first().copied().flatten();
        if newest.is_none_or(|newest| seq.wrapping_sub(newest.seq).cast_signed() > 0) {
            self.0.copy_within(..N - 1, 1);
            self.0[0] = Some(FollowUp { seq, stamp });
        }
    }

    /// Returns them as a packet carries them.
    pub(crate) const fn newest_first(&self) -> [Option<FollowUp>; N] {
        self.0
    }
}

/// At most `N` received packets whose transmit stamps have not come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending<T, const N: usize>([Option<Entry<T>>; N]);

#[derive(Clone, Copy, Debug)]
struct Entry<T> {
    number: u64,
    packet: T,
}

impl<T: Copy, const N: usize> Pending<T, N> {
    pub(crate) const fn new() -> Self {
        Self([None; N])
    }

    /// Adds a packet by its number. False if there is no room for it.
    pub(crate) fn push(&mut self, number: u64, packet: T) -> bool {
        let free = self.0.iter_mut().find(|entry| entry.is_none());
        free.is_some_and(|free| {
            *free = Some(Entry { number, packet });
            true
        })
    }

    /// Removes the packet with the lowest number of those that match.
    pub(crate) fn take(&mut self, matches: impl Fn(&T) -> bool) -> Option<T> {
        let entries = self.0.iter_mut();
        let found = entries
            .filter(|entry| entry.is_some_and(|entry| matches(&entry.packet)))
            .min_by_key(|entry| entry.map(|entry| entry.number))?;
        found.take().map(|entry| entry.packet)
    }
}
