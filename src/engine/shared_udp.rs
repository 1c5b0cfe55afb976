//! UDP sockets that flows share: the probes of many targets leave in one call, and so return.
//!
//! 1. A socket has at most one flow to a remote address. So each flow has a 5-tuple of its own, and
//!    the source of a reply, or the destination named by an ICMP error, tells the flow.
//! 2. A socket is bound to the address of ours that the system chose for its first flow. Flows
//!    share it if the system chooses the same address for them, and their packets have the same marks. A route
//!    that changes leaves the 5-tuple.
//! 3. A flow that wants another 5-tuple goes to another socket, with all others that want one. A
//!    few sockets serve any number of targets.
//! 4. A flow that is to have a given port has that one again when it starts afresh.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;

use slab::Slab;

use crate::engine::udp_port::UdpPort;
use crate::limits::SHARED_REMOTES_MAX;
use crate::proto::{Marks, Mono, SocketId};
use crate::sys;

/// After an interface's queue was full, its socket goes without ICMP errors this long.
const ICMP_OFF_NS: u64 = 60_000_000_000;

/// A shared socket, and the flows on it.
#[derive(Debug)]
pub(super) struct SharedSocket<W> {
    pub(super) port: UdpPort<W>,
    local: Local,
    marks: Arc<Marks>,
    /// The port that was asked for; 0: any.
    given_port: u16,
    /// Flows by the address they probe. `None` stands for a flow that has left: it must not return.
    flows: BTreeMap<Remote, Option<SocketId>>,
    live: usize,
    /// Until then the socket does not ask for ICMP errors.
    icmp_off_until: Option<Mono>,
}

/// A remote address and port as numbers: every reply is looked up, and numbers compare fast.
pub(super) type Remote = (u128, u16);

/// An address of ours with its scope: several links may have the same link-local address.
type Local = (IpAddr, u32);

impl<W> SharedSocket<W> {
    /// Makes one of a socket that was bound to `local`, whose port may be 0, and marks what it sends.
    pub(super) fn new(port: UdpPort<W>, local: SocketAddr, marks: &Arc<Marks>) -> Self {
        Self {
            port: UdpPort {
                may_fragment: marks.df.is_none(),
                ..port
            },
            local: local_of(local),
            marks: marks.clone(),
            given_port: local.port(),
            flows: BTreeMap::new(),
            live: 0,
            icmp_off_until: None,
        }
    }

    /// Stops asking for ICMP errors for a while, since the interface's queue was full.
    ///
    /// A datagram that finds no room there is lost like any other. But while a socket asks for ICMP
    /// errors, the kernel reports that loss as a failed send. Then nobody knows the numbers of the
    /// stamps that are still to come.
    pub(super) fn stop_icmp(&mut self, now: Mono) {
        self.icmp_off_until = Some(now.plus(ICMP_OFF_NS));
        self.ask_icmp(false);
    }

    /// Asks for ICMP errors again, if it is time.
    pub(super) fn resume_icmp(&mut self, now: impl FnOnce() -> Mono) {
        if self.icmp_off_until.is_some_and(|until| now() >= until) {
            self.icmp_off_until = None;
            self.ask_icmp(true);
        }
    }

    fn ask_icmp(&self, are_wanted: bool) {
        let is_v6 = self.local.0.is_ipv6();
        if let Err(error) = sys::icmp::set(&self.port.stamped.socket, is_v6, are_wanted) {
            tracing::debug!(%error, are_wanted, "cannot change the ICMP errors of a UDP socket");
        }
    }

    /// Returns the flow that probes `remote` from this socket.
    pub(super) fn flow(&self, remote: SocketAddr) -> Option<SocketId> {
        *self.flows.get(&remote_of(remote))?
    }

    /// True if a flow probes `remote` from this socket, or has done so.
    pub(super) fn has_probed(&self, remote: SocketAddr) -> bool {
        self.flows.contains_key(&remote_of(remote))
    }

    /// Returns the address of ours that the socket is bound to.
    pub(super) fn local(&self) -> IpAddr {
        self.local.0
    }
}

/// All shared sockets, by small numbers that are used again.
#[derive(Debug)]
pub(super) struct SharedUdp<W>(Slab<SharedSocket<W>>);

impl<W> Default for SharedUdp<W> {
    fn default() -> Self {
        Self(Slab::new())
    }
}

impl<W> SharedUdp<W> {
    /// Finds a socket with these marks on `local` that has never had a flow to `remote`; if its port is given, one that
    /// has none now.
    pub(super) fn find(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
        marks: &Marks,
    ) -> Option<usize> {
        let (given_port, local, remote) = (local.port(), local_of(local), remote_of(remote));
        let is_free = |socket: &SharedSocket<W>| {
            socket.local == local
                && socket.given_port == given_port
                && match socket.flows.get(&remote) {
                    None => true,
                    Some(flow) => given_port != 0 && flow.is_none(),
                }
                && socket.marks.agree_with(marks)
        };
        let mut sockets = self.0.iter();
        sockets.find_map(|(place, socket)| is_free(socket).then_some(place))
    }

    /// Returns the number that the next socket gets.
    pub(super) fn next_place(&self) -> usize {
        self.0.vacant_key()
    }

    pub(super) fn insert(&mut self, socket: SharedSocket<W>) {
        self.0.insert(socket);
    }

    /// Returns the numbers that sockets may have now.
    pub(super) fn places(&self) -> Range<usize> {
        0..self.0.capacity()
    }

    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut SharedSocket<W>> {
        self.0.get_mut(place)
    }

    /// Attaches a flow that probes `remote`.
    pub(super) fn join(&mut self, place: usize, remote: SocketAddr, flow: SocketId) {
        let Some(socket) = self.0.get_mut(place) else {
            return;
        };
        if socket.flows.len() >= SHARED_REMOTES_MAX {
            socket.flows.retain(|_, flow| flow.is_some());
        }
        socket.flows.insert(remote_of(remote), Some(flow));
        socket.live += 1;
    }

    /// Detaches the flow that probes `remote`, and closes the socket with its last flow.
    pub(super) fn leave(&mut self, place: usize, remote: SocketAddr) {
        let Some(socket) = self.0.get_mut(place) else {
            return;
        };
        if let Some(flow) = socket.flows.get_mut(&remote_of(remote))
            && flow.take().is_some()
        {
            socket.live -= 1;
        }
        if socket.live == 0 {
            self.0.remove(place);
        }
    }
}

/// Returns an address as it is compared: without scope and flow label, which say nothing of who it
/// is; an IPv4-mapped address is the IPv4 address.
pub(super) fn remote_of(address: SocketAddr) -> Remote {
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
    use crate::engine::stamping::Stamping;
    use crate::engine::tuning::SocketTuning;
    use crate::engine::{SocketOptions, Timestamps};

    fn flow(index: u32) -> SocketId {
        SocketId {
            index,
            generation: 0,
        }
    }

    fn local(last: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, last], 0))
    }

    fn open(sockets: &mut SharedUdp<()>, remote: SocketAddr, id: SocketId) -> usize {
        open_from(sockets, local(1), remote, id)
    }

    fn open_from(
        sockets: &mut SharedUdp<()>,
        local: SocketAddr,
        remote: SocketAddr,
        id: SocketId,
    ) -> usize {
        let marks = Arc::default();
        let place = sockets.find(local, remote, &marks).unwrap_or_else(|| {
            let place = sockets.next_place();
            let socket = sys::udp::open(local, &marks).expect("a free port");
            let mut tuning = SocketTuning::new(SocketOptions::default());
            let port = UdpPort::new(socket, &mut tuning, &Stamping::new(Timestamps::User));
            sockets.insert(SharedSocket::new(port, local, &marks));
            place
        });
        sockets.join(place, remote, id);
        place
    }

    #[test]
    fn flows_share_a_socket_unless_they_go_to_one_address() {
        let mut sockets = SharedUdp::<()>::default();
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
        let mut sockets = SharedUdp::<()>::default();
        let [one, other] = [1, 2].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        assert_eq!(open_from(&mut sockets, local(1), one, flow(0)), 0);
        assert_eq!(open_from(&mut sockets, local(2), other, flow(1)), 1);
        for (place, last) in [(0, 1), (1, 2)] {
            let shared = sockets.get_mut(place).expect("it was opened");
            let bound = shared
                .port
                .stamped
                .socket
                .local_addr()
                .expect("it is bound");
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
        assert_eq!(remote_of(on(1)), remote_of(on(2)));
    }

    #[test]
    fn a_flow_that_starts_afresh_gets_another_socket_and_its_neighbours_stay() {
        let mut sockets = SharedUdp::<()>::default();
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
