//! What the core asks for: sockets opened, bytes written.

use std::io;

use super::UringEngine;
use super::operations::Source;
use crate::engine::Core;
use crate::engine::sockets::Toward;
use crate::engine::stream::{Role, Written};
use crate::limits::WRITES_PER_CALL_MAX;
use crate::proto::{FlowKind, SocketId, StampKey};
use crate::sys;
use crate::sys::tcp::handshake;
use crate::sys::words::Handshake;

impl UringEngine {
    pub(super) fn open(&mut self, core: &mut Core<'_>, id: SocketId, to: &Toward, kind: FlowKind) {
        if to.marks.source_ports.is_some() {
            // A port is free once the kernel no longer works for the socket that had it.
            let _ = self.operations.ring().gather();
        }
        self.reader.lazy.note_sent(0);
        let opened = match kind {
            FlowKind::Udp => {
                return match self.reader.open(&mut self.sockets, id, to) {
                    Ok(()) => self.connected(core, id),
                    Err(error) => self.fail(core, id, &error),
                };
            }
            FlowKind::Tcp => self.open_stream(id, Role::Flow, to),
            FlowKind::Connect => self.open_stream(id, Role::Probe, to),
        };
        match opened {
            Ok(true) => self.handle_established(core, id),
            Ok(false) => {}
            Err(error) => self.fail(core, id, &error),
        }
    }

    /// Begins a connection. Returns true if it is established already.
    fn open_stream(&mut self, id: SocketId, role: Role, to: &Toward) -> io::Result<bool> {
        // Whether a given port is free for this peer the call says at once, and the ring only later.
        let is_by_call = to.marks.source_ports.is_some();
        let is_established = self.sockets.open_stream(id, role, to, |socket| {
            Ok(is_by_call && sys::tcp::connect(socket, to.remote)?)
        })?;
        if let Some(stream) = self.sockets.table.stream_mut(id) {
            stream.wait = self.operations.armed(Source::Stream(id));
            let (wait, socket) = (&mut stream.wait, &stream.stamped.socket);
            match (is_established, is_by_call) {
                (true, _) => {}
                (false, true) => self.operations.wait_for_room(wait, socket),
                (false, false) => self.operations.connect(wait, socket, to.remote),
            }
        }
        Ok(is_established)
    }

    /// There is room on a stream: it is established, if that was awaited.
    pub(super) fn handle_room(&mut self, core: &mut Core<'_>, id: SocketId) {
        let Some(stream) = self.sockets.table.stream_mut(id) else {
            return;
        };
        if !stream.is_connecting {
            return self.flush_stream(core, id);
        }
        match stream.stamped.socket.take_error() {
            Ok(None) => self.handle_established(core, id),
            Ok(Some(error)) | Err(error) => self.fail(core, id, &error),
        }
    }

    /// Tells the core that a socket which was opened can be used.
    pub(super) fn connected(&mut self, core: &mut Core<'_>, id: SocketId) {
        let now = core.clock.now();
        self.sockets.establish(id);
        self.watch_stream(id);
        core.prober.handle_connected(now, id, None);
        if let Some(local) = self.sockets.local(id) {
            core.prober.handle_opened(id, local);
        }
    }

    /// A connection is established: tells the core, also how long that took if it is only timed.
    pub(super) fn handle_established(&mut self, core: &mut Core<'_>, id: SocketId) {
        let stream = self.sockets.table.stream_mut(id);
        let Some(stream) = stream.filter(|stream| stream.role == Role::Probe) else {
            return self.connected(core, id);
        };
        match handshake(&stream.stamped.socket) {
            Handshake::Done { ns } => {
                self.sockets.establish(id);
                core.prober.handle_connected(core.clock.now(), id, ns);
            }
            // The peer has reset it already.
            Handshake::Underway | Handshake::Failed { .. } => {
                let error = stream.stamped.socket.take_error().unwrap_or_else(Some);
                let error = error.unwrap_or_else(|| io::ErrorKind::ConnectionAborted.into());
                self.fail(core, id, &error);
            }
        }
    }

    /// Receives what comes on an established stream, and its stamps.
    pub(super) fn watch_stream(&mut self, id: SocketId) {
        let Some(stream) = self.sockets.table.stream_mut(id) else {
            return;
        };
        let socket = &stream.stamped.socket;
        self.operations.receive(&mut stream.wait, socket);
        if self.brings_stamps && stream.stamped.stamps.level.is_some() {
            self.operations.bring_stamps(&mut stream.wait, socket);
        }
    }

    /// Closes a socket that has failed, and tells the core.
    pub(super) fn fail(&mut self, core: &mut Core<'_>, id: SocketId, error: &io::Error) {
        self.operations.before_close(&mut self.sockets, id);
        self.sockets.fail(core, id, error);
    }

    /// Adds bytes to those that are written together, or keeps them if the kernel takes no more of this stream.
    pub(super) fn write_stream(
        &mut self,
        core: &mut Core<'_>,
        id: SocketId,
        key: Option<StampKey>,
        at_once: bool,
    ) {
        self.reader.lazy.note_sent(0);
        let stream = self.sockets.table.stream_mut(id);
        // One message a write has a stamp of its own, and what the kernel takes of it shows where the next begins.
        if stream.is_some_and(|stream| stream.wait.is_writing) {
            self.write_out(core);
        }
        let Some(stream) = self.sockets.table.stream_mut(id) else {
            return;
        };
        let key = self.sockets.stamping.wanted(key);
        let before = stream.unwritten();
        if !stream.begin_write(&self.payload, key) {
            let written = Written::Left(stream.unwritten());
            self.operations.before_close(&mut self.sockets, id);
            self.sockets.handle_written(core, id, before, Ok(written));
            return;
        }
        stream.wait.is_writing = true;
        let ring = self.operations.happened();
        ring.push_write(&stream.stamped.socket, &self.payload);
        self.writing.push(id);
        let is_full = self.writing.len() >= WRITES_PER_CALL_MAX;
        if at_once || is_full || self.sockets.stamping.is_ours() {
            self.write_out(core);
        }
    }

    /// Offers the kernel all bytes that wait for that. False if there are none.
    pub(super) fn write_out(&mut self, core: &mut Core<'_>) -> bool {
        if self.writing.is_empty() {
            return false;
        }
        self.operations.ring().write_all();
        let mut writing = std::mem::take(&mut self.writing);
        for (place, id) in writing.drain(..).enumerate() {
            let Some(stream) = self.sockets.table.stream_mut(id) else {
                continue;
            };
            stream.wait.is_writing = false;
            let (bytes, taken) = self.operations.happened().written(place);
            let written = match taken {
                Ok(taken) => Ok(stream.handle_taken(bytes, taken)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    Ok(stream.handle_taken(bytes, 0))
                }
                Err(error) => Err(error),
            };
            self.sockets.stamping.collect(core, &mut stream.stamped);
            self.operations.before_close(&mut self.sockets, id);
            if self.sockets.handle_written(core, id, 0, written)
                && let Some(stream) = self.sockets.table.stream_mut(id)
            {
                self.operations
                    .wait_for_room(&mut stream.wait, &stream.stamped.socket);
            }
        }
        self.writing = writing;
        self.operations.happened().clear_writes();
        true
    }

    /// Writes what is left of a stream, now that the kernel has room.
    pub(super) fn flush_stream(&mut self, core: &mut Core<'_>, id: SocketId) {
        self.operations.before_close(&mut self.sockets, id);
        if !self.sockets.flush(core, id)
            && let Some(stream) = self.sockets.table.stream_mut(id)
        {
            self.operations
                .wait_for_room(&mut stream.wait, &stream.stamped.socket);
        }
    }
}
