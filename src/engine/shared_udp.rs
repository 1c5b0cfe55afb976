//! UDP sockets that flows share: the probes of many targets leave in one call, and come back so.
//!
//! A socket has one flow for each remote address at most, so that each flow has a 5-tuple of its own
//! and a reply's sender tells whose it is, as the address that an ICMP error is about does. It is bound
//! to the address that the system chose for its first flow, and shared by those for which it chooses
//! the same: a flow's 5-tuple stays as it is when routes change. A flow that wants a fresh 5-tuple goes to another socket,
//! together with all others that want one: a few sockets serve any number of targets.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use mio::net::UdpSocket;
use slab::Slab;

use super::mio::watch::Watch;
use super::stamp_queue::StampQueue;
use crate::limits::SHARED_REMOTES_MAX;
use crate::proto::{Mono, SocketId, StampKey};
use crate::sys;

/// How long after an interface's queue was full the network's messages do without.
const DEAF_NS: u64 = 60_000_000_000;

#[derive(Debug)]
pub(super) struct SharedSocket {
    pub(super) socket: UdpSocket,
    pub(super) queue: StampQueue<StampKey>,
    local: Local,
    /// Flows by where they probe; `None` of one that was here and must not come back.
    flows: BTreeMap<Key, Option<SocketId>>,
    live: usize,
    pub(super) watch: Watch,
    /// Until then the network is not asked what it has to say of packets.
    deaf_until: Option<Mono>,
    /// It stands in the queue of sockets to read from.
    pub(super) queued: bool,
}

/// An address and a port as numbers, which are compared at once: it is done for every reply.
pub(super) type Key = (u128, u16);

/// An address of ours with its scope: one that holds on a link only may be there on several.
type Local = (IpAddr, u32);

impl SharedSocket {
    /// Of a socket that is bound to `local`, whose port says nothing.
    pub(super) fn new(socket: UdpSocket, queue: StampQueue<StampKey>, local: SocketAddr) -> Self {
        Self {
            socket,
            queue,
            local: local_of(local),
            flows: BTreeMap::new(),
            live: 0,
            watch: Watch::default(),
            deaf_until: None,
            queued: false,
        }
    }

    /// The interface's queue was full. A datagram that finds no room there is lost like any other; but the kernel,
    /// asked what the network says, makes an error of it, after which the stamps of all that wait in that
    /// queue are as good as lost. So it is not asked for a while.
    pub(super) fn deafen(&mut self, now: Mono) {
        self.deaf_until = Some(now.plus(DEAF_NS));
        self.set_reports(false);
    }

    /// Asks the network again, if it is time.
    pub(super) fn listen_again(&mut self, now: impl FnOnce() -> Mono) {
        if self.deaf_until.is_some_and(|until| now() >= until) {
            self.deaf_until = None;
            self.set_reports(true);
        }
    }

    fn set_reports(&self, are_wanted: bool) {
        let is_v6 = self.local.0.is_ipv6();
        if let Err(error) = sys::icmp::set(&self.socket, is_v6, are_wanted) {
            tracing::debug!(%error, are_wanted, "the kernel goes on as it did with ICMP errors");
        }
    }

    /// Whose packet it is that came from there, if it is anyone's.
    pub(super) fn flow(&self, from: SocketAddr) -> Option<SocketId> {
        *self.flows.get(&key_of(from))?
    }

    /// The address of ours that it is bound to.
    pub(super) fn local(&self) -> IpAddr {
        self.local.0
    }
}

/// All of them, by small numbers that are used again.
#[derive(Debug, Default)]
pub(super) struct SharedSockets(Slab<SharedSocket>);

impl SharedSockets {
    /// A socket on `local` that has not had a flow to `remote` yet.
    pub(super) fn find(&self, local: SocketAddr, remote: SocketAddr) -> Option<usize> {
        let (local, remote) = (local_of(local), key_of(remote));
        let free =
            |socket: &SharedSocket| socket.local == local && !socket.flows.contains_key(&remote);
        self.0
            .iter()
            .find_map(|(place, socket)| free(socket).then_some(place))
    }

    /// The number that the next socket gets.
    pub(super) fn next_place(&self) -> usize {
        self.0.vacant_key()
    }

    pub(super) fn insert(&mut self, socket: SharedSocket) {
        self.0.insert(socket);
    }

    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut SharedSocket> {
        self.0.get_mut(place)
    }

    /// A flow probes `remote` from this socket from here on.
    pub(super) fn join(&mut self, place: usize, remote: SocketAddr, flow: SocketId) {
        let Some(socket) = self.0.get_mut(place) else {
            return;
        };
        if socket.flows.len() >= SHARED_REMOTES_MAX {
            socket.flows.retain(|_, flow| flow.is_some());
        }
        socket.flows.insert(key_of(remote), Some(flow));
        socket.live += 1;
    }

    /// It does not any more. A socket that nobody is left on is closed.
    pub(super) fn leave(&mut self, place: usize, remote: SocketAddr) {
        let Some(socket) = self.0.get_mut(place) else {
            return;
        };
        if let Some(flow) = socket.flows.get_mut(&key_of(remote))
            && flow.take().is_some()
        {
            socket.live -= 1;
        }
        if socket.live == 0 {
            self.0.remove(place);
        }
    }
}

/// An address as it is compared: its scope and flow label say nothing of who it is, and an IPv4 address in
/// IPv6's clothes is that IPv4 address.
pub(super) fn key_of(address: SocketAddr) -> Key {
    let number = match address.ip() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    };
    (number, address.port())
}

fn local_of(address: SocketAddr) -> Local {
    let scope = match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(address) => address.scope_id(),
    };
    (address.ip(), scope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::stamp::Numbers;

    fn flow(index: u32) -> SocketId {
        SocketId {
            index,
            generation: 0,
        }
    }

    fn local(last: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, last], 0))
    }

    fn open(sockets: &mut SharedSockets, remote: SocketAddr, id: SocketId) -> usize {
        open_from(sockets, local(1), remote, id)
    }

    fn open_from(
        sockets: &mut SharedSockets,
        local: SocketAddr,
        remote: SocketAddr,
        id: SocketId,
    ) -> usize {
        let place = sockets.find(local, remote).unwrap_or_else(|| {
            let place = sockets.next_place();
            let socket = sys::udp::open(local).expect("a free port");
            let queue = StampQueue::new(None, Numbers::Datagrams, 0, 0);
            sockets.insert(SharedSocket::new(socket, queue, local));
            place
        });
        sockets.join(place, remote, id);
        place
    }

    #[test]
    fn flows_share_a_socket_unless_they_go_to_one_address() {
        let mut sockets = SharedSockets::default();
        let [one, other] = [1, 2].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        assert_eq!(open(&mut sockets, one, flow(0)), 0);
        assert_eq!(open(&mut sockets, other, flow(1)), 0);
        assert_eq!(open(&mut sockets, one, flow(2)), 1);
        assert_eq!(sockets.get_mut(0).unwrap().flow(one), Some(flow(0)));
        assert_eq!(sockets.get_mut(0).unwrap().flow(other), Some(flow(1)));
        assert_eq!(sockets.get_mut(1).unwrap().flow(one), Some(flow(2)));
        assert_eq!(sockets.get_mut(1).unwrap().flow(other), None);
    }

    #[test]
    fn flows_from_another_address_have_a_socket_of_their_own() {
        let mut sockets = SharedSockets::default();
        let [one, other] = [1, 2].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        assert_eq!(open_from(&mut sockets, local(1), one, flow(0)), 0);
        assert_eq!(open_from(&mut sockets, local(2), other, flow(1)), 1);
        for (place, last) in [(0, 1), (1, 2)] {
            let shared = sockets.get_mut(place).expect("it was opened");
            let bound = shared.socket.local_addr().expect("it is bound");
            assert_eq!(bound.ip(), local(last).ip());
            assert_eq!(shared.local(), bound.ip());
        }
    }

    #[test]
    fn one_address_on_two_links_is_two_addresses() {
        let on = |scope| {
            let address = "fe80::1".parse().expect("an address");
            SocketAddr::from(std::net::SocketAddrV6::new(address, 7, 0, scope))
        };
        assert_ne!(local_of(on(1)), local_of(on(2)));
        assert_eq!(key_of(on(1)), key_of(on(2)));
    }

    #[test]
    fn a_flow_that_starts_afresh_gets_another_socket_and_its_neighbours_stay() {
        let mut sockets = SharedSockets::default();
        let [one, other] = [1, 2].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        open(&mut sockets, one, flow(0));
        open(&mut sockets, other, flow(1));
        sockets.leave(0, one);
        assert_eq!(sockets.get_mut(0).unwrap().flow(one), None);
        assert_eq!(open(&mut sockets, one, flow(2)), 1);
        assert_eq!(sockets.get_mut(0).unwrap().flow(other), Some(flow(1)));
        // The other one follows, and the socket that it leaves is nobody's.
        sockets.leave(0, other);
        assert!(sockets.get_mut(0).is_none());
        assert_eq!(open(&mut sockets, other, flow(3)), 1);
    }
}
