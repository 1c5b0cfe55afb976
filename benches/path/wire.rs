//! What is between two hosts: a queue each way, in which nothing is lost or overtaken.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use latency_monitor::proto::{Headers, SocketId};

/// The port that is probed.
pub(super) const UDP_PORT: u16 = 8_001;

/// The prober's address.
const NEAR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

/// The port of the prober's first socket.
const FIRST_PORT: u16 = 20_000;

/// The shortest way, and how much longer it is at most.
const DELAY_NS: u64 = 20_000;
const NOISE_NS: u64 = 2_048;

#[derive(Debug)]
pub(super) struct Packet {
    pub(super) arrives_ns: u64,
    /// The prober's socket; of bytes on a stream the receiver's.
    pub(super) socket: SocketId,
    pub(super) is_stream: bool,
    pub(super) payload: Vec<u8>,
}

#[derive(Debug, Default)]
pub(super) struct Wire {
    pub(super) to_far: VecDeque<Packet>,
    pub(super) to_near: VecDeque<Packet>,
    /// Buffers to be used again.
    pub(super) spare: Vec<Vec<u8>>,
    /// The prober's sockets and whom they probe, by index.
    near: Vec<Option<(SocketId, SocketAddr)>>,
    /// The reflector's end of each connection of the prober's, by index; and the other way round.
    accepted: Vec<Option<SocketId>>,
    connected: Vec<Option<SocketId>>,
    packets: u64,
}

impl Wire {
    pub(super) fn open(&mut self, socket: SocketId, remote: SocketAddr) {
        put(&mut self.near, socket, (socket, remote));
    }

    pub(super) fn connect(&mut self, near: SocketId, far: SocketId) {
        put(&mut self.accepted, near, far);
        put(&mut self.connected, far, near);
    }

    pub(super) fn far_of(&self, near: SocketId) -> SocketId {
        self.accepted[near.index as usize].expect("a connection")
    }

    pub(super) fn near_of(&self, far: SocketId) -> SocketId {
        self.connected[far.index as usize].expect("a connection")
    }

    /// Where datagrams of the prober's socket come from, and which address they go to.
    pub(super) fn headers(&self, near: SocketId) -> Headers {
        let (_, remote) = self.near[near.index as usize].expect("an open socket");
        let index = u16::try_from(near.index).expect("fewer sockets than ports");
        let from = SocketAddr::new(NEAR, FIRST_PORT + index);
        Headers::new(from, Some(remote.ip()), remote.port())
    }

    pub(super) fn at_port(&self, port: u16) -> SocketId {
        let (socket, _) = self.near[usize::from(port - FIRST_PORT)].expect("an open socket");
        socket
    }

    /// Takes the payload along, and leaves another buffer in its place.
    pub(super) fn send(
        &mut self,
        now_ns: u64,
        (socket, to_far, is_stream): (SocketId, bool, bool),
        payload: &mut Vec<u8>,
    ) {
        self.packets += 1;
        let queue = if to_far {
            &mut self.to_far
        } else {
            &mut self.to_near
        };
        let earlier_ns = queue.back().map_or(0, |packet| packet.arrives_ns);
        let delay_ns = DELAY_NS + self.packets * 7_919 % NOISE_NS;
        queue.push_back(Packet {
            arrives_ns: (now_ns + delay_ns).max(earlier_ns + 1),
            socket,
            is_stream,
            payload: std::mem::replace(payload, self.spare.pop().unwrap_or_default()),
        });
    }
}

fn put<T: Copy>(table: &mut Vec<Option<T>>, socket: SocketId, value: T) {
    let index = socket.index as usize;
    if table.len() <= index {
        table.resize(index + 1, None);
    }
    table[index] = Some(value);
}
