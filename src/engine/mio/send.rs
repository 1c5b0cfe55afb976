//! What the core asks for: sockets opened, datagrams and bytes sent.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;

use mio::Interest;
use mio::unix::SourceFd;

use super::MioEngine;
use super::watch::{Source, register};
use crate::engine::Core;
use crate::engine::batch::{Header, Via};
use crate::engine::sockets::Kind;
use crate::engine::stream::{Role, Written};
use crate::limits::UNWRITTEN_BYTES_MAX;
use crate::proto::{CloseReason, FlowKind, SocketId, StampKey};

impl MioEngine {
    pub(super) fn open(
        &mut self,
        core: &mut Core<'_>,
        id: SocketId,
        remote: SocketAddr,
        kind: FlowKind,
    ) {
        let (sockets, registry) = (&mut self.sockets, self.poll.registry());
        let watch_stream = |socket: &TcpStream| {
            let both = Interest::READABLE | Interest::WRITABLE;
            register(registry, socket, Source::Stream(id.index as usize), both)
        };
        let opened = match kind {
            FlowKind::Udp => sockets
                .open_udp(id, remote, |port, place| {
                    let (socket, source) = (&port.stamped.socket, Source::Shared(place));
                    register(registry, socket, source, Interest::READABLE)
                })
                .map(|()| true),
            FlowKind::Tcp => sockets.open_stream(id, Role::Flow, remote, watch_stream),
            FlowKind::Connect => sockets.open_stream(id, Role::Probe, remote, watch_stream),
        };
        match opened {
            Ok(true) => self.connected(core, id),
            Ok(false) => {}
            Err(error) => sockets.fail(core, id, &error),
        }
    }

    /// Tells the core that a socket which was opened can be used.
    pub(super) fn connected(&mut self, core: &mut Core<'_>, id: SocketId) {
        let now = core.clock.now();
        let handshake_ns = self.sockets.establish(id);
        match self.watch(id, false) {
            Ok(()) => {
                core.prober.handle_connected(now, id, handshake_ns);
                if let Some(local) = self.sockets.local(id) {
                    core.prober.handle_opened(id, local);
                }
            }
            Err(error) => self.sockets.fail(core, id, &error),
        }
    }

    /// Watches an established stream. Room to write is watched for only while bytes are left: a
    /// stamp on the error queue would report the room there is anyhow, and end a wait for nothing.
    fn watch(&mut self, id: SocketId, has_bytes_left: bool) -> io::Result<()> {
        let Some(stream) = self.sockets.table.stream_mut(id) else {
            return Ok(());
        };
        // A connect probe is over: the core closes it at once.
        if stream.role == Role::Probe {
            return Ok(());
        }
        let interest = if has_bytes_left {
            Interest::READABLE | Interest::WRITABLE
        } else {
            Interest::READABLE
        };
        let token = Source::Stream(id.index as usize).token();
        let fd = stream.stamped.socket.as_raw_fd();
        let registry = self.poll.registry();
        registry.reregister(&mut SourceFd(&fd), token, interest)
    }

    /// Adds a request to the batch.
    pub(super) fn push_request(&mut self, id: SocketId, key: Option<StampKey>) {
        if let Some(Kind::Udp(flow)) = self.sockets.table.get_mut(id) {
            let request = Header {
                via: Via::Shared(flow.place),
                to: flow.remote,
                from: None,
                tos: 0,
                flow: Some(id),
                key,
            };
            self.batch.push(request, &self.payload);
        }
    }

    /// Sends the batch if it may not wait for more.
    pub(super) fn flush_if(&mut self, at_once: bool, core: &mut Core<'_>) {
        if at_once || self.sockets.stamping.is_ours() || self.batch.is_full() {
            self.sockets.send(core, &mut self.batch);
        }
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
        sockets.stamping.collect(core, &mut stream.stamped);
        match written {
            Ok(Written::All) => sockets.report_retransmits(core, id),
            Ok(Written::Left(bytes)) => {
                sockets.unwritten += bytes - before;
                core.prober.handle_blocked(id, true);
                if sockets.unwritten > UNWRITTEN_BYTES_MAX {
                    sockets.close(core, id);
                    let now = core.clock.now();
                    core.prober.handle_closed(now, id, CloseReason::Exhausted);
                } else if before == 0
                    && let Err(error) = self.watch(id, true)
                {
                    self.sockets.fail(core, id, &error);
                }
            }
            Err(error) => sockets.fail(core, id, &error),
        }
    }

    /// Writes what is left of a stream, now that the kernel has room.
    pub(super) fn flush_stream(&mut self, core: &mut Core<'_>, id: SocketId) {
        let sockets = &mut self.sockets;
        let Some(stream) = sockets.table.stream_mut(id) else {
            return;
        };
        let before = stream.unwritten();
        let written = stream.flush();
        let after = stream.unwritten();
        sockets.stamping.collect(core, &mut stream.stamped);
        let written = match written {
            Ok(written) => written,
            Err(error) => return sockets.fail(core, id, &error),
        };
        sockets.unwritten -= before - after;
        core.prober.handle_blocked(id, written != Written::All);
        if written == Written::All
            && let Err(error) = self.watch(id, false)
        {
            self.sockets.fail(core, id, &error);
        }
    }
}
