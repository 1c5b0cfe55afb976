//! The table of sockets that the core has named, and what their buffers hold.

use std::io::{self, Write};

use mio::net::{TcpStream, UdpSocket};

use crate::proto::SocketId;

#[derive(Debug)]
pub(super) enum Kind {
    Udp(UdpSocket),
    Stream(Stream),
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) socket: TcpStream,
    pub(super) connecting: bool,
    /// The peer will send no more: read until the end, also after a short read.
    pub(super) ending: bool,
    /// What the kernel did not take yet.
    unwritten: Vec<u8>,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    All,
    /// This many bytes wait now.
    Waiting(usize),
}

impl Stream {
    pub(super) fn new(socket: TcpStream, connecting: bool) -> Self {
        Self {
            socket,
            connecting,
            ending: false,
            unwritten: Vec::new(),
        }
    }

    /// Writes all of `bytes`, keeping what the kernel does not take.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<Written> {
        if !self.unwritten.is_empty() {
            self.unwritten.extend_from_slice(bytes);
            return Ok(Written::Waiting(self.unwritten.len()));
        }
        let taken = write_some(&mut self.socket, bytes)?;
        if taken == bytes.len() {
            return Ok(Written::All);
        }
        self.unwritten.extend_from_slice(&bytes[taken..]);
        Ok(Written::Waiting(self.unwritten.len()))
    }

    /// Writes what waits, now that the kernel has room.
    pub(super) fn flush(&mut self) -> io::Result<Written> {
        let taken = write_some(&mut self.socket, &self.unwritten)?;
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

/// Writes until the kernel takes no more; gives how much it took.
fn write_some(socket: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut taken = 0;
    while taken < bytes.len() {
        match socket.write(&bytes[taken..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => taken += count,
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
