//! The table of sockets that the core has named, and what their buffers hold.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;

use super::stamp_queue::StampQueue;
use crate::limits::STAMPS_OUTSTANDING_MAX;
use crate::proto::{Mono, SocketId, StampKey};
use crate::sys::stamp::Numbers;

#[derive(Debug)]
pub(super) enum Kind {
    Udp(Udp),
    Stream(Stream),
}

#[derive(Debug)]
pub(super) struct Udp {
    /// The shared socket that it leaves from.
    pub(super) place: usize,
    pub(super) remote: SocketAddr,
}

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A flow of ours.
    Flow,
    /// A connection of ours that is only timed.
    Probe,
    /// A peer's flow.
    Accepted,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) socket: TcpStream,
    pub(super) role: Role,
    pub(super) queue: StampQueue<StampKey>,
    pub(super) connecting: bool,
    /// The peer will send no more: read until the end, also after a short read.
    pub(super) ending: bool,
    /// When the kernel is asked next how much it had to send again.
    pub(super) ask_at: Mono,
    /// What the kernel did not take yet.
    unwritten: Vec<u8>,
    /// Stamps wanted of bytes among these: the offset after the byte.
    wanted: VecDeque<(u32, StampKey)>,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    All,
    /// This many bytes wait now.
    Waiting(usize),
}

impl Stream {
    pub(super) fn new(socket: TcpStream, role: Role) -> Self {
        Self {
            socket,
            role,
            // It is not stamped before it is established.
            queue: StampQueue::new(None, Numbers::Bytes, 0, 0),
            connecting: true,
            ending: false,
            ask_at: Mono::ZERO,
            unwritten: Vec::new(),
            wanted: VecDeque::new(),
        }
    }

    /// Writes all of `bytes`, keeping what the kernel does not take. Stamps that will not come are
    /// given up.
    pub(super) fn write(
        &mut self,
        bytes: &[u8],
        key: Option<StampKey>,
        give_up: &mut dyn FnMut(StampKey),
    ) -> io::Result<Written> {
        if let Some(key) = key {
            if self.queue.level.is_none() || self.wanted.len() >= STAMPS_OUTSTANDING_MAX {
                give_up(key);
            } else {
                let waiting = low_bits(self.unwritten.len() + bytes.len());
                let end = self.queue.next().wrapping_add(waiting);
                self.wanted.push_back((end, key));
            }
        }
        if !self.unwritten.is_empty() {
            self.unwritten.extend_from_slice(bytes);
            return Ok(Written::Waiting(self.unwritten.len()));
        }
        let taken = write_some(&mut self.socket, bytes, |count| {
            note_written(&mut self.queue, &mut self.wanted, count, &mut *give_up);
        })?;
        if taken == bytes.len() {
            return Ok(Written::All);
        }
        self.unwritten.extend_from_slice(&bytes[taken..]);
        Ok(Written::Waiting(self.unwritten.len()))
    }

    /// Writes what waits, now that the kernel has room.
    pub(super) fn flush(&mut self, give_up: &mut dyn FnMut(StampKey)) -> io::Result<Written> {
        let taken = write_some(&mut self.socket, &self.unwritten, |count| {
            note_written(&mut self.queue, &mut self.wanted, count, &mut *give_up);
        })?;
        if taken == self.unwritten.len() {
            self.unwritten = Vec::new();
            return Ok(Written::All);
        }
        self.unwritten.drain(..taken);
        Ok(Written::Waiting(self.unwritten.len()))
    }

    pub(super) fn unwritten(&self) -> usize {
        self.unwritten.len()
    }
}

/// The kernel has taken so many bytes at once: it will stamp the last of them. Messages that end
/// before that get no stamp of their own.
fn note_written<K: Copy>(
    queue: &mut StampQueue<K>,
    wanted: &mut VecDeque<(u32, K)>,
    count: usize,
    mut give_up: impl FnMut(K),
) {
    let end = queue.next().wrapping_add(low_bits(count));
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
    queue.handle_sent(low_bits(count), key, give_up);
}

/// Offsets are counted modulo 2^32, as the kernel does.
fn low_bits(count: usize) -> u32 {
    (count as u64 & u64::from(u32::MAX))
        .try_into()
        .unwrap_or_default()
}

/// Writes until the kernel takes no more; gives how much it took, and tells of each part.
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

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: SocketId,
    pub(super) kind: Kind,
    /// It stands in the queue of sockets to read from.
    pub(super) queued: bool,
}

/// Sockets by the index that the core gave them.
#[derive(Debug, Default)]
pub(super) struct Sockets(Vec<Option<Entry>>);

impl Sockets {
    /// Makes a place for `id`; a socket left there by an earlier generation is dropped.
    pub(super) fn insert(&mut self, id: SocketId, kind: Kind) -> Option<Entry> {
        let index = id.index as usize;
        if index >= self.0.len() {
            self.0.resize_with(index + 1, || None);
        }
        self.0[index].replace(Entry {
            id,
            kind,
            queued: false,
        })
    }

    /// The socket, if the core still means this one.
    pub(super) fn get_mut(&mut self, id: SocketId) -> Option<&mut Entry> {
        self.at(id.index as usize).filter(|entry| entry.id == id)
    }

    /// The socket, if it is a stream.
    pub(super) fn stream_mut(&mut self, id: SocketId) -> Option<&mut Stream> {
        match &mut self.get_mut(id)?.kind {
            Kind::Stream(stream) => Some(stream),
            Kind::Udp(_) => None,
        }
    }

    /// Whatever socket has this index.
    pub(super) fn at(&mut self, index: usize) -> Option<&mut Entry> {
        self.0.get_mut(index).and_then(Option::as_mut)
    }

    pub(super) fn remove(&mut self, id: SocketId) -> Option<Entry> {
        self.0
            .get_mut(id.index as usize)?
            .take_if(|entry| entry.id == id)
    }
}
