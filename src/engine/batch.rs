//! Datagrams that are ready to leave together: probes and replies, until they are sent.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use crate::limits::{DATAGRAM_BYTES_PER_CALL_MAX, DATAGRAMS_PER_CALL_MAX};
use crate::proto::{SocketId, StampKey};
use crate::sys::batch::Outgoing;

/// The socket that a datagram leaves from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    Listener(usize),
    Shared(usize),
}

#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) lane: Lane,
    pub(super) to: SocketAddr,
    pub(super) from: Option<IpAddr>,
    /// The flow that sends it; a reply has none.
    pub(super) flow: Option<SocketId>,
    pub(super) key: Option<StampKey>,
    bytes: Range<usize>,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Batch {
    pending: Vec<Pending>,
    bytes: Vec<u8>,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            pending: Vec::with_capacity(DATAGRAMS_PER_CALL_MAX),
            bytes: Vec::new(),
        }
    }

    pub(super) fn push(
        &mut self,
        lane: Lane,
        (to, from): (SocketAddr, Option<IpAddr>),
        (flow, key): (Option<SocketId>, Option<StampKey>),
        payload: &[u8],
    ) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(payload);
        self.pending.push(Pending {
            lane,
            to,
            from,
            flow,
            key,
            bytes: start..self.bytes.len(),
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether it is to be sent before more comes.
    pub(super) fn is_full(&self) -> bool {
        self.pending.len() >= DATAGRAMS_PER_CALL_MAX
            || self.bytes.len() >= DATAGRAM_BYTES_PER_CALL_MAX
    }

    /// Puts what leaves from one socket side by side, in the order it came in.
    pub(super) fn sort(&mut self) {
        let lanes = self.pending.first().map(|first| first.lane);
        if self
            .pending
            .iter()
            .any(|pending| Some(pending.lane) != lanes)
        {
            // Stable in effect: no two begin at one byte, as none is empty.
            self.pending
                .sort_unstable_by_key(|pending| (pending.lane, pending.bytes.start));
        }
    }

    /// How many of those from `start` on leave from one socket.
    pub(super) fn run(&self, start: usize) -> Option<(Lane, usize)> {
        let lane = self.pending.get(start)?.lane;
        let rest = self.pending[start..].iter();
        let length = rest.take_while(|pending| pending.lane == lane).count();
        Some((lane, start + length))
    }

    pub(super) fn pending(&self, range: Range<usize>) -> &[Pending] {
        &self.pending[range]
    }

    pub(super) fn outgoing(&self, range: Range<usize>) -> impl Iterator<Item = Outgoing<'_>> {
        self.pending[range].iter().map(|pending| Outgoing {
            to: pending.to,
            from: pending.from,
            payload: &self.bytes[pending.bytes.clone()],
        })
    }

    pub(super) fn clear(&mut self) {
        self.pending.clear();
        self.bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_from_one_socket_stands_together_in_its_order() {
        let mut batch = Batch::new();
        let to = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let lanes = [Lane::Shared(1), Lane::Listener(0), Lane::Shared(0)];
        for port in 0..9 {
            let lane = lanes[usize::from(port) % 3];
            batch.push(lane, (to(port), None), (None, None), &[0; 3]);
        }
        batch.sort();
        let (mut start, mut runs) = (0, Vec::new());
        while let Some((lane, end)) = batch.run(start) {
            let ports: Vec<u16> = batch
                .outgoing(start..end)
                .map(|out| out.to.port())
                .collect();
            runs.push((lane, ports));
            start = end;
        }
        assert_eq!(
            runs,
            [
                (Lane::Listener(0), vec![1, 4, 7]),
                (Lane::Shared(0), vec![2, 5, 8]),
                (Lane::Shared(1), vec![0, 3, 6]),
            ]
        );
    }

    #[test]
    fn a_batch_is_full_of_datagrams_or_of_bytes() {
        let push = |batch: &mut Batch, payload: &[u8]| {
            let to = SocketAddr::from(([127, 0, 0, 1], 1));
            batch.push(Lane::Listener(0), (to, None), (None, None), payload);
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
