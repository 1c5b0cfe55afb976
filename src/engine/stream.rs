//! A TCP connection as an engine keeps it: what the kernel did not take, and the stamps wanted of
//! it.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::TcpStream;

use crate::engine::stamp_queue::StampQueue;
use crate::engine::stamping::Stamped;
use crate::limits::STAMPS_OUTSTANDING_MAX;
use crate::proto::{Mono, StampKey};

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A flow of ours.
    Flow,
    /// A connect probe of ours, which is only timed.
    Probe,
    /// A flow of a remote sender.
    Accepted,
}

/// A connection. `W` is how the engine waits for it.
#[derive(Debug)]
pub(super) struct Stream<W> {
    pub(super) stamped: Stamped<TcpStream>,
    pub(super) role: Role,
    pub(super) is_connecting: bool,
    /// When the kernel is asked next how many segments it has sent again.
    pub(super) ask_at: Mono,
    pub(super) wait: W,
    unwritten: Vec<u8>,
    /// Stamps wanted of messages that the kernel has not taken whole, by the offset of their end.
    wanted: VecDeque<(u32, StampKey)>,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    All,
    /// The kernel takes no more; this many bytes are left.
    Left(usize),
}

impl<W: Default> Stream<W> {
    pub(super) fn new(socket: TcpStream, role: Role, stamps: StampQueue<StampKey>) -> Self {
        Self {
            stamped: Stamped { socket, stamps },
            role,
            is_connecting: role != Role::Accepted,
            ask_at: Mono::ZERO,
            wait: W::default(),
            unwritten: Vec::new(),
            wanted: VecDeque::new(),
        }
    }
}

impl<W> Stream<W> {
    /// Writes `bytes`, and keeps what the kernel does not take. A stamp that will not come is given
    /// up.
    pub(super) fn write(
        &mut self,
        bytes: &[u8],
        key: Option<StampKey>,
        give_up: &mut dyn FnMut(StampKey),
    ) -> io::Result<Written> {
        if let Some(key) = key {
            if self.stamped.stamps.level.is_none() || self.wanted.len() >= STAMPS_OUTSTANDING_MAX {
                give_up(key);
            } else {
                let waiting = low_bits(self.unwritten.len() + bytes.len());
                let end = self.stamped.stamps.next().wrapping_add(waiting);
                self.wanted.push_back((end, key));
            }
        }
        if !self.unwritten.is_empty() {
            self.unwritten.extend_from_slice(bytes);
            return Ok(Written::Left(self.unwritten.len()));
        }
        let taken = write_some(&mut self.stamped.socket, bytes, |count| {
            note_written(
                &mut self.stamped.stamps,
                &mut self.wanted,
                count,
                &mut *give_up,
            );
        })?;
        if taken == bytes.len() {
            return Ok(Written::All);
        }
        self.unwritten.extend_from_slice(&bytes[taken..]);
        Ok(Written::Left(self.unwritten.len()))
    }

    /// Writes what the kernel has not taken, now that it has room.
    pub(super) fn flush(&mut self, give_up: &mut dyn FnMut(StampKey)) -> io::Result<Written> {
        let taken = write_some(&mut self.stamped.socket, &self.unwritten, |count| {
            note_written(
                &mut self.stamped.stamps,
                &mut self.wanted,
                count,
                &mut *give_up,
            );
        })?;
        if taken == self.unwritten.len() {
            self.unwritten = Vec::new();
            return Ok(Written::All);
        }
        self.unwritten.drain(..taken);
        Ok(Written::Left(self.unwritten.len()))
    }

    /// Returns how many bytes the kernel has not taken.
    pub(super) fn unwritten(&self) -> usize {
        self.unwritten.len()
    }
}

/// Notes that the kernel has taken `count` bytes at once: it stamps the last of them. Messages that
/// end before that get no stamp of their own.
fn note_written<K: Copy>(
    stamps: &mut StampQueue<K>,
    wanted: &mut VecDeque<(u32, K)>,
    count: usize,
    mut give_up: impl FnMut(K),
) {
    let end = stamps.next().wrapping_add(low_bits(count));
    let mut key = None;
    while let Some((offset, _)) = wanted.front()
        && offset.wrapping_sub(end).cast_signed() <= 0
    {
        let Some((offset, wanted)) = wanted.pop_front() else {
            break;
        };
        if offset == end {
            key = Some(wanted);
        } else {
            give_up(wanted);
        }
    }
    stamps.handle_sent(low_bits(count), key, give_up);
}

/// Returns a count modulo 2^32: so the kernel counts offsets.
fn low_bits(count: usize) -> u32 {
    (count as u64 & u64::from(u32::MAX))
        .try_into()
        .unwrap_or_default()
}

/// Writes until the kernel takes no more. Calls `took` with each count, and returns their sum.
fn write_some(
    socket: &mut impl Write,
    bytes: &[u8],
    mut took: impl FnMut(usize),
) -> io::Result<usize> {
    let mut taken = 0;
    while taken < bytes.len() {
        match socket.write(&bytes[taken..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                took(count);
                taken += count;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}
