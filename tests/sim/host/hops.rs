//! The hops of paths: what is sent for them, and what answers.

use std::net::SocketAddr;

use latency_monitor::proto::{HopAnswer, IcmpType, Now, PathOptions, Refused, SocketId, StampKey};

use super::{Place, ProberHost, Socket, arrival};
use crate::clock::HostClock;
use crate::network::Network;
use crate::routers::Answer;

impl ProberHost {
    /// Traces paths from here on.
    pub(crate) fn trace_paths(&mut self, now: Now, options: PathOptions) {
        self.prober.trace_paths(now, options);
    }

    /// An ICMP error that may tell a hop.
    pub(super) fn hear_hop(&mut self, now: Now, clock: &HostClock, answer: &Answer) {
        let Some(id) = self.by_port.get(&answer.from.port()) else {
            return;
        };
        let arrived = clock.instant(answer.arrives_ns);
        let arrival = arrival(self.stamps, now, Some(arrived));
        let prober = &mut self.prober;
        if !prober.handle_hop(arrival, *id, &answer.told()) {
            let HopAnswer { by, icmp, .. } = answer.told();
            prober.handle_unreachable(*id, Refused { by, icmp });
            self.account.handle_unreachable(prober, answer.to.ip());
        }
    }

    pub(super) fn send_hop(
        &mut self,
        at: Place,
        clock: &HostClock,
        net: &mut Network,
        (socket, ttl, key): (SocketId, u8, Option<StampKey>),
        payload: &[u8],
    ) {
        if self.cut_off.is_some() {
            return self.prober.handle_hop_unsent(socket);
        }
        let Some(Socket::Udp { port, remote }) = self.sockets.get(&socket).copied() else {
            panic!("a hop for a socket that is not open");
        };
        let wall_ns = clock.now(net.now_ns).wall.as_unix_nanos();
        let left = self.leave(at, clock, net, key);
        let from = SocketAddr::new(at.address, port);
        net.send_hop((at.host, from), remote, (ttl, payload), (wall_ns, left));
    }

    /// A datagram from the first address did not get to the second, somebody says.
    pub(super) fn hear_unreachable(&mut self, now_ns: u64, from: SocketAddr, to: SocketAddr) {
        if let Some(id) = self.by_port.get(&from.port())
            && let Some(Socket::Udp { remote, .. }) = self.sockets.get(id)
            && *remote == to
        {
            let icmp = IcmpType {
                is_v6: to.is_ipv6(),
                kind: if to.is_ipv6() { 1 } else { 3 },
                code: if to.is_ipv6() { 4 } else { 3 },
            };
            let by = Some(to.ip());
            self.prober.handle_unreachable(*id, Refused { by, icmp });
            self.account.handle_unreachable(&self.prober, to.ip());
            if let Some(late) = &mut self.late {
                late.note_icmp(now_ns);
            }
        }
    }
}
