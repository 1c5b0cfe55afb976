//! What the core asks for: sockets opened, datagrams and bytes sent.

use std::io;

use mio::Interest;

use super::MioEngine;
use crate::engine::Core;
use crate::engine::datagrams::watch::{Left, Readiness, Source, register};
use crate::engine::sockets::Toward;
use crate::engine::stream::{Role, Stream};
use crate::proto::{FlowKind, SocketId, StampKey};
use crate::sys;
use crate::sys::sockets::{TcpStream, deregister, reregister};
use crate::sys::tcp::handshake;
use crate::sys::words::Handshake;

/// Reads of a stream at a time that nobody was told of: the longest reply takes 17.
const READS_MAX: usize = 32;

impl MioEngine {
    pub(super) fn open(&mut self, core: &mut Core<'_>, id: SocketId, to: &Toward, kind: FlowKind) {
        self.reader.lazy.note_sent(0);
        let sockets = &mut self.sockets;
        if kind == FlowKind::Udp {
            return match self.reader.open(sockets, id, to) {
                Ok(()) => self.connected(core, id),
                Err(error) => sockets.fail(core, id, &error),
            };
        }
        let registry = self.reader.registry();
        let begin = |socket: &mut TcpStream| {
            let is_established = sys::tcp::connect(socket, to.remote)?;
            if kind == FlowKind::Connect && is_established {
                return Ok(true);
            }
            let both = Interest::READABLE | Interest::WRITABLE;
            register(registry, socket, Source::Stream(id.index as usize), both)?;
            Ok(is_established)
        };
        let opened = match kind {
            FlowKind::Connect => sockets.open_stream(id, Role::Probe, to, begin),
            FlowKind::Udp | FlowKind::Tcp => sockets.open_stream(id, Role::Flow, to, begin),
        };
        match opened {
            Ok(true) if kind == FlowKind::Connect => self.time_handshake(core, id),
            Ok(true) => self.connected(core, id),
            Ok(false) => {}
            Err(error) => sockets.fail(core, id, &error),
        }
    }

    /// Tells the core that a socket which was opened can be used.
    pub(super) fn connected(&mut self, core: &mut Core<'_>, id: SocketId) {
        let now = core.clock.now();
        self.sockets.establish(id);
        match self.watch(id, false) {
            Ok(()) => {
                core.prober.handle_connected(now, id, None);
                if let Some(local) = self.sockets.local(id) {
                    core.prober.handle_opened(id, local);
                }
            }
            Err(error) => self.sockets.fail(core, id, &error),
        }
    }

    /// Tells the core what became of a connection that is only timed, if that is known.
    pub(super) fn time_handshake(&mut self, core: &mut Core<'_>, id: SocketId) {
        let Some(stream) = self.sockets.table.stream_mut(id) else {
            return;
        };
        match handshake(&stream.stamped.socket) {
            Handshake::Underway => {}
            Handshake::Done { ns } => {
                self.sockets.establish(id);
                core.prober.handle_connected(core.clock.now(), id, ns);
            }
            Handshake::Failed { code } => {
                let error = code.map(io::Error::from_raw_os_error);
                let socket = &stream.stamped.socket;
                let error = error.or_else(|| socket.take_error().unwrap_or_else(Some));
                let error = error.unwrap_or_else(|| io::ErrorKind::ConnectionAborted.into());
                self.sockets.fail(core, id, &error);
            }
        }
    }

    /// Watches an established stream. Room to write is watched for only while bytes are left: a
    /// stamp on the error queue would report the room there is anyhow, and end a wait for nothing.
    fn watch(&mut self, id: SocketId, has_bytes_left: bool) -> io::Result<()> {
        let Some(stream) = self.sockets.table.stream_mut(id) else {
            return Ok(());
        };
        let interest = if has_bytes_left {
            Interest::READABLE | Interest::WRITABLE
        } else {
            Interest::READABLE
        };
        let token = Source::Stream(id.index as usize).token();
        let registry = self.reader.lazy.registry_of(
            stream.role,
            &stream.wait.late,
            self.reader.queue.registry(),
        );
        reregister(registry, &mut stream.stamped.socket, token, interest)
    }

    /// Makes way for a probe on a stream of ours whose replies are read late: reads the reply to the one
    /// before, so that each is read by itself. `at_once`: the probe must not wait for that.
    pub(super) fn settle_stream(&mut self, core: &mut Core<'_>, id: SocketId, at_once: bool) {
        let index = id.index as usize;
        let is_ours = |stream: &&mut Stream<Readiness>| stream.role == Role::Flow;
        let stream = self.sockets.table.stream_mut(id).filter(is_ours);
        let Some(stream) = stream.filter(|_| self.reader.lazy.is_on()) else {
            return;
        };
        self.reader.lazy.note_sent(0);
        if !at_once && !stream.wait.late.is_at_once && stream.wait.late.unanswered > 0 {
            self.read_stream(core, index);
        }
        // It may have ended meanwhile.
        if let Some(stream) = self.sockets.table.stream_mut(id) {
            let is_at_once = stream
                .wait
                .late
                .judge_write(!at_once && stream.unwritten() == 0);
            if let Err(error) = self.set_at_once(id, is_at_once) {
                self.sockets.fail(core, id, &error);
            }
        }
    }

    /// Reads what has come on a stream.
    pub(super) fn read_stream(&mut self, core: &mut Core<'_>, index: usize) {
        let mut budget = READS_MAX;
        while budget > 0 && self.receive_bytes(core, index, &mut budget) == Left::More {}
    }

    /// Has the queue tell of a stream of ours that is to, by when its replies are read.
    fn set_at_once(&mut self, id: SocketId, is_at_once: bool) -> io::Result<()> {
        let Some(stream) = self.sockets.table.stream_mut(id) else {
            return Ok(());
        };
        if stream.wait.late.is_at_once == is_at_once {
            return Ok(());
        }
        let (source, own) = (
            Source::Stream(id.index as usize),
            self.reader.queue.registry(),
        );
        let from = self
            .reader
            .lazy
            .registry_of(stream.role, &stream.wait.late, own);
        deregister(from, &mut stream.stamped.socket)?;
        stream.wait.late.is_at_once = is_at_once;
        let to = self
            .reader
            .lazy
            .registry_of(stream.role, &stream.wait.late, own);
        let socket = &mut stream.stamped.socket;
        register(to, socket, source, Interest::READABLE)
    }

    pub(super) fn write_stream(
        &mut self,
        core: &mut Core<'_>,
        id: SocketId,
        key: Option<StampKey>,
    ) {
        let sockets = &mut self.sockets;
        let Some(stream) = sockets.table.stream_mut(id) else {
            return;
        };
        let key = sockets.stamping.wanted(key);
        let before = stream.unwritten();
        let written = stream.write(&self.payload, key);
        if self.reader.lazy.is_on() && stream.role == Role::Flow && !stream.wait.late.is_at_once {
            // It is taken with the reply, or before a sleep that it would end.
            if !std::mem::replace(&mut stream.wait.late.is_owing, true) {
                self.reader.lazy.owing.push(id.index as usize);
            }
        } else {
            sockets.stamping.collect(core, &mut stream.stamped);
        }
        if sockets.handle_written(core, id, before, written)
            && let Err(error) = self
                .set_at_once(id, self.reader.lazy.is_on())
                .and_then(|()| self.watch(id, true))
        {
            self.sockets.fail(core, id, &error);
        }
    }

    /// Writes what is left of a stream, now that the kernel has room.
    pub(super) fn flush_stream(&mut self, core: &mut Core<'_>, id: SocketId) {
        if self.sockets.flush(core, id)
            && let Err(error) = self.watch(id, false)
        {
            self.sockets.fail(core, id, &error);
        }
    }
}
