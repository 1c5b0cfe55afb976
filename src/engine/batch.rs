//! Datagrams that are due together, and sending them: one system call for each socket.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use crate::engine::Core;
use crate::engine::failure::close_reason;
use crate::engine::sockets::{Sockets, UdpFlow};
use crate::limits::{DATAGRAM_BYTES_PER_CALL_MAX, DATAGRAMS_PER_CALL_MAX};
use crate::proto::{SocketId, StampKey};
use crate::sys;
use crate::sys::batch::Outbox;
use crate::sys::words::Outgoing;

/// The socket that a datagram leaves from, by its place among its like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Via {
    Listener(usize),
    Shared(usize),
}

/// What is known of a datagram besides its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) via: Via,
    pub(super) to: SocketAddr,
    /// Our address to send it from; `None` lets the system choose.
    pub(super) from: Option<IpAddr>,
    /// The traffic class.
    pub(super) tos: u8,
    /// Its TTL, if it is to learn the hops of the path; `None`: the socket's.
    pub(super) ttl: Option<u8>,
    /// The flow that sends it; a reply has none.
    pub(super) flow: Option<SocketId>,
    pub(super) key: Option<StampKey>,
}

impl Header {
    /// A flow's request.
    pub(super) fn request<W>(flow: &UdpFlow<W>, id: SocketId, key: Option<StampKey>) -> Self {
        Self {
            via: Via::Shared(flow.place),
            to: flow.remote,
            from: None,
            tos: 0,
            ttl: None,
            flow: Some(id),
            key,
        }
    }

    /// A datagram from a flow's socket that learns a hop of its path.
    pub(super) fn hop<W>(flow: &UdpFlow<W>, id: SocketId, ttl: u8, key: Option<StampKey>) -> Self {
        let ttl = Some(ttl);
        Self {
            ttl,
            ..Self::request(flow, id, key)
        }
    }
}

#[derive(Debug)]
struct Pending {
    header: Header,
    bytes: Range<usize>,
}

/// Requests and replies that have not been sent yet.
#[derive(Debug)]
pub(super) struct Batch {
    pending: Vec<Pending>,
    bytes: Vec<u8>,
    outbox: Outbox,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            pending: Vec::with_capacity(DATAGRAMS_PER_CALL_MAX),
            bytes: Vec::new(),
            outbox: Outbox::new(),
        }
    }

    pub(super) fn push(&mut self, header: Header, payload: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(payload);
        self.pending.push(Pending {
            header,
            bytes: start..self.bytes.len(),
        });
    }

    /// True if it is to be sent before more is added.
    pub(super) fn is_full(&self) -> bool {
        self.pending.len() >= DATAGRAMS_PER_CALL_MAX
            || self.bytes.len() >= DATAGRAM_BYTES_PER_CALL_MAX
    }

    /// Puts what leaves from one socket side by side, in the order it was added.
    fn sort(&mut self) {
        let mut sockets = self.pending.iter().map(|pending| pending.header.via);
        let first = sockets.next();
        if sockets.any(|via| Some(via) != first) {
            // Stable in effect: no two begin at one byte, as none is empty but one that leaves at once.
            self.pending
                .sort_unstable_by_key(|pending| (pending.header.via, pending.bytes.start));
        }
    }

    /// Returns the socket of the datagram at `start`, and the end of those that leave from it.
    fn run(&self, start: usize) -> Option<(Via, usize)> {
        let via = self.pending.get(start)?.header.via;
        let rest = self.pending[start..].iter();
        let length = rest.take_while(|pending| pending.header.via == via).count();
        Some((via, start + length))
    }

    fn clear(&mut self) {
        self.pending.clear();
        self.bytes.clear();
    }
}

fn outgoing<'a>(pending: &'a [Pending], bytes: &'a [u8]) -> impl Iterator<Item = Outgoing<'a>> {
    pending.iter().map(|pending| Outgoing {
        to: pending.header.to,
        from: pending.header.from,
        tos: pending.header.tos,
        ttl: pending.header.ttl,
        payload: &bytes[pending.bytes.clone()],
    })
}

impl<W: Default> Sockets<W> {
    /// Adds a datagram to the batch, and sends all if it may not wait for more.
    pub(super) fn push(
        &mut self,
        core: &mut Core<'_>,
        batch: &mut Batch,
        header: Header,
        payload: &[u8],
        at_once: bool,
    ) {
        batch.push(header, payload);
        if at_once || self.stamping.is_ours() || batch.is_full() {
            self.send(core, batch);
        }
    }

    /// Sends the batch, one call for each socket, and takes the transmit stamps that have come by
    /// then. Returns false if the kernel has refused a datagram.
    pub(super) fn send(&mut self, core: &mut Core<'_>, batch: &mut Batch) -> bool {
        batch.sort();
        let (mut start, mut all_sent) = (0, true);
        while let Some((via, end)) = batch.run(start) {
            all_sent &= self.send_run(core, batch, via, start..end);
            start = end;
        }
        batch.clear();
        all_sent
    }

    fn send_run(
        &mut self,
        core: &mut Core<'_>,
        batch: &mut Batch,
        via: Via,
        mut range: Range<usize>,
    ) -> bool {
        let port = match via {
            Via::Listener(place) => self.listeners.udp.get_mut(place),
            Via::Shared(place) => self.shared.get_mut(place).map(|shared| {
                shared.resume_icmp(|| core.clock.mono());
                &mut shared.port
            }),
        };
        let Some(port) = port else {
            return true;
        };
        let is_shared = matches!(via, Via::Shared(_));
        let (mut all_sent, mut refusals, mut is_full) = (true, 0, false);
        while !range.is_empty() {
            let offered = range.len().min(DATAGRAMS_PER_CALL_MAX);
            let datagrams = outgoing(&batch.pending[range.clone()], &batch.bytes);
            match batch.outbox.send(&port.stamped.socket, datagrams) {
                Ok(count) => {
                    let end = (range.start + count).min(range.end);
                    for sent in &batch.pending[range.start..end] {
                        let key = self.stamping.wanted(sent.header.key);
                        port.stamped.stamps.handle_sent(1, key);
                    }
                    // The stamps are there already unless the interface has a queue of its own.
                    if !(is_shared && self.defers_stamps) {
                        self.stamping.collect(core, &mut port.stamped);
                    }
                    if count < offered && is_shared {
                        // The next call need not fail again, yet a number may have been used up.
                        self.stamping.handle_unsent(core, &mut port.stamped);
                    }
                    (range.start, refusals) = (end, 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.stamping.handle_unsent(core, &mut port.stamped);
                    if port.offers_again(&error, is_shared, refusals) {
                        refusals += 1;
                        continue;
                    }
                    is_full |= sys::icmp::is_full_queue(&error);
                    (all_sent, refusals) = (false, 0);
                    report_unsent(core, &batch.pending[range.start].header, &error);
                    range.start += 1;
                }
            }
        }
        if let Via::Shared(place) = via {
            if is_full && let Some(shared) = self.shared.get_mut(place) {
                shared.stop_icmp(core.clock.mono());
            }
            self.report_icmp(core, place);
        }
        all_sent
    }
}

fn report_unsent(core: &mut Core<'_>, unsent: &Header, error: &io::Error) {
    tracing::debug!(%error, to = %unsent.to, "the kernel did not take a datagram");
    match unsent.flow {
        Some(flow) if unsent.ttl.is_some() => core.prober.handle_hop_unsent(flow),
        Some(flow) => {
            let reason = close_reason(error);
            core.prober.handle_unsent(core.clock.now(), flow, reason);
        }
        None => core.prober.handle_reply_unsent(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(via: Via, port: u16) -> Header {
        Header {
            via,
            to: SocketAddr::from(([127, 0, 0, 1], port)),
            from: None,
            tos: 0,
            ttl: None,
            flow: None,
            key: None,
        }
    }

    #[test]
    fn what_leaves_from_one_socket_stands_together_in_its_order() {
        let mut batch = Batch::new();
        let sockets = [Via::Shared(1), Via::Listener(0), Via::Shared(0)];
        for port in 0..9 {
            batch.push(header(sockets[usize::from(port) % 3], port), &[0; 3]);
        }
        batch.sort();
        let (mut start, mut runs) = (0, Vec::new());
        while let Some((via, end)) = batch.run(start) {
            let ports: Vec<u16> = outgoing(&batch.pending[start..end], &batch.bytes)
                .map(|out| out.to.port())
                .collect();
            runs.push((via, ports));
            start = end;
        }
        assert_eq!(
            runs,
            [
                (Via::Listener(0), vec![1, 4, 7]),
                (Via::Shared(0), vec![2, 5, 8]),
                (Via::Shared(1), vec![0, 3, 6]),
            ]
        );
    }

    #[test]
    fn a_batch_is_full_of_datagrams_or_of_bytes() {
        let push = |batch: &mut Batch, payload: &[u8]| {
            batch.push(header(Via::Listener(0), 1), payload);
        };
        let mut batch = Batch::new();
        for _ in 0..DATAGRAMS_PER_CALL_MAX {
            assert!(!batch.is_full());
            push(&mut batch, &[0; 164]);
        }
        assert!(batch.is_full());
        batch.clear();
        let long = vec![0; 65_000];
        while !batch.is_full() {
            push(&mut batch, &long);
        }
        assert_eq!(batch.pending.len(), 5);
    }
}
