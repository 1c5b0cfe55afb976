//! What strangers send into a world.

use std::net::{Ipv4Addr, SocketAddr};

use latency_monitor::proto::wire::text;

use crate::host::UDP_PORT;
use crate::network::{Datagram, Event, HostId};
use crate::strangers::{Aim, Attack, Try};
use crate::world::World;

/// How far apart the datagrams of strangers arrive.
const STRANGERS_EVERY_NS: u64 = 10_000;

const SECOND_NS: u64 = 1_000_000_000;

impl World {
    pub(super) fn send_strangers(&mut self, id: HostId, count: u32, again: u32) {
        for (seq, senders) in [(0, count), (1, again)] {
            for stranger in 0..senders {
                self.send_stranger(id, seq, stranger, &format!("stranger-{stranger}"));
            }
        }
    }

    pub(super) fn send_aliases(&mut self, id: HostId, count: u32) {
        for alias in 0..count {
            for seq in 0..2 {
                self.send_stranger(id, seq, 0, &format!("alias-{alias}"));
            }
        }
    }

    /// One datagram from a host that is on no list, behind those before it.
    fn send_stranger(&mut self, id: HostId, seq: u8, stranger: u32, name: &str) {
        let to = SocketAddr::new(self.hosts[id].address, UDP_PORT);
        let wall = self.hosts[id].clock.now(self.net.now_ns).wall;
        let mut payload = Vec::new();
        text::encode_request(&mut payload, seq, name, wall, "[]", None, None);
        let address = Ipv4Addr::from_bits(0x0a63_0000 + stranger);
        let from = SocketAddr::new(address.into(), 4000);
        self.send_try(Try {
            from,
            to,
            payload,
            left: wall,
        });
    }

    fn send_try(&mut self, one: Try) {
        self.strangers_at_ns = self.strangers_at_ns.max(self.net.now_ns) + STRANGERS_EVERY_NS;
        self.send_try_at(self.strangers_at_ns, one);
    }

    fn send_try_at(&mut self, at_ns: u64, one: Try) {
        let datagram = Datagram {
            from: one.from,
            to: one.to,
            payload: one.payload,
            id: self.net.new_id(),
            answers: None,
            left_wall_ns: one.left.as_unix_nanos(),
            arrived: None,
        };
        self.net.schedule(at_ns, Event::Datagram(datagram));
    }

    pub(super) fn replay(&mut self) {
        // Not before the packets themselves are there: who records them is no faster.
        self.strangers_at_ns = self.net.now_ns + SECOND_NS;
        for again in self.net.recorded.take() {
            self.send_try(again);
        }
    }

    pub(super) fn attack(&mut self, attack: &Attack) {
        let (host, honest) = (self.host(&attack.host), self.host(&attack.honest));
        let now_ns = self.net.now_ns;
        let aim = Aim {
            host: self.hosts[host].address,
            honest: self.hosts[honest].address,
            name: attack.claims.then(|| attack.honest.clone()),
            tags: attack.tags.clone(),
            last_port: self.net.last_port(),
            wall: self.hosts[host].clock.now(now_ns).wall,
        };
        for number in 0..attack.tries() {
            let one = Try::draw(&mut self.seeds, &aim);
            self.send_try_at(now_ns + number * attack.every_us * 1_000, one);
        }
    }
}
