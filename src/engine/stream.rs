//! A TCP connection as an engine keeps it: what the kernel did not take, and the stamps wanted of
//! it.

use std::collections::VecDeque;
use std::io::{self, Write};

use crate::engine::stamp_queue::StampQueue;
use crate::engine::stamping::Stamped;
use crate::limits::STAMPS_OUTSTANDING_MAX;
use crate::proto::{Mono, StampKey};
use crate::sys::sockets::TcpStream;

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
    /// Writes `bytes`, and keeps what the kernel does not take.
    pub(super) fn write(&mut self, bytes: &[u8], key: Option<StampKey>) -> io::Result<Written> {
        if !self.begin_write(bytes, key) {
            return Ok(self.written());
        }
        let taken = self.write_some(bytes)?;
        Ok(self.keep(&bytes[taken..]))
    }

    /// Begins to write `bytes`. True if the kernel is to be offered them; it takes no more of this stream otherwise,
    /// and they are kept.
    pub(super) fn begin_write(&mut self, bytes: &[u8], key: Option<StampKey>) -> bool {
        if let Some(key) = key {
            if self.stamped.stamps.level.is_none() || self.wanted.len() >= STAMPS_OUTSTANDING_MAX {
                self.stamped.stamps.given_up.push(key);
            } else {
                let waiting = low_bits(self.unwritten.len() + bytes.len());
                let end = self.stamped.stamps.next().wrapping_add(waiting);
                self.wanted.push_back((end, key));
            }
        }
        if !self.unwritten.is_empty() {
            self.unwritten.extend_from_slice(bytes);
            return false;
        }
        true
    }

    #[cfg(all(target_os = "linux", not(latency_monitor_portable)))]
    /// Notes that the kernel was offered `bytes` and has taken the first `taken` of them.
    pub(super) fn handle_taken(&mut self, bytes: &[u8], taken: usize) -> Written {
        note_written(&mut self.stamped.stamps, &mut self.wanted, taken);
        self.keep(&bytes[taken..])
    }

    fn keep(&mut self, left: &[u8]) -> Written {
        self.unwritten.extend_from_slice(left);
        self.written()
    }

    /// Writes what the kernel has not taken, now that it has room.
    pub(super) fn flush(&mut self) -> io::Result<Written> {
        let mut left = std::mem::take(&mut self.unwritten);
        let taken = self.write_some(&left);
        left.drain(..*taken.as_ref().unwrap_or(&0));
        if !left.is_empty() {
            self.unwritten = left;
        }
        taken.map(|_| self.written())
    }

    fn written(&self) -> Written {
        match self.unwritten.len() {
            0 => Written::All,
            left => Written::Left(left),
        }
    }

    /// Writes until the kernel takes no more. Returns how many bytes it has taken.
    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Stamped { socket, stamps } = &mut self.stamped;
        let mut taken = 0;
        while taken < bytes.len() {
            match socket.write(&bytes[taken..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    note_written(stamps, &mut self.wanted, count);
                    taken += count;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
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
            stamps.given_up.push(wanted);
        }
    }
    stamps.handle_sent(low_bits(count), key);
}

/// Returns a count modulo 2^32: so the kernel counts offsets.
fn low_bits(count: usize) -> u32 {
    (count as u64 & u64::from(u32::MAX))
        .try_into()
        .unwrap_or_default()
}
