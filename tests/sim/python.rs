//! A peer that behaves like the Python program 0.1.2, as far as its peers can tell.
//!
//! From its `core.py`: it answers a datagram with its own name and time, and the tags and padding
//! unchanged. On TCP it takes whatever one `recv` returns for one message. A glued message has
//! too many separators and is dropped in silence. As the first one of a connection it ends the
//! handler with an unbound name. The program closes a connection that stays silent for its
//! timeout (1 s).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::clock::HostClock;
use crate::host::{Input, Place, UDP_PORT};
use crate::network::{ConnectionId, Ending, Network, Side};

/// What it reads at once (`max_size`).
const READ_BYTES: usize = 1470;
const SILENCE_NS: u64 = 1_000_000_000;

#[derive(Debug, Default)]
struct Handler {
    heard_ns: u64,
    /// It has read a message, so that its error handler has the names it prints.
    read_one: bool,
}

#[derive(Debug)]
pub(crate) struct PythonHost {
    name: String,
    handlers: BTreeMap<ConnectionId, Handler>,
    answered: u64,
    dropped: u64,
    died: u64,
}

impl PythonHost {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            handlers: BTreeMap::new(),
            answered: 0,
            dropped: 0,
            died: 0,
        }
    }

    pub(crate) fn timeout_ns(&self) -> Option<u64> {
        self.handlers
            .values()
            .map(|handler| handler.heard_ns + SILENCE_NS)
            .min()
    }

    pub(crate) fn step(
        &mut self,
        at: Place,
        clock: &HostClock,
        net: &mut Network,
        input: &Input<'_>,
    ) {
        let now_ns = net.now_ns;
        let wall_ns = clock.now(now_ns).wall.as_unix_nanos();
        let silent = |handler: &Handler| handler.heard_ns + SILENCE_NS <= now_ns;
        let ended: Vec<ConnectionId> = self
            .handlers
            .iter()
            .filter(|(_, h)| silent(h))
            .map(|(id, _)| *id)
            .collect();
        for id in ended {
            self.end(net, id);
        }
        match *input {
            Input::Datagram(datagram) if datagram.to.port() == UDP_PORT => {
                if let Some(reply) = self.reply(&datagram.payload, wall_ns) {
                    let from = SocketAddr::new(at.address, UDP_PORT);
                    let left = clock.instant(now_ns);
                    let reply = (&*reply, Some(datagram.id));
                    net.send_datagram((at.host, from), datagram.from, reply, (wall_ns, left));
                }
            }
            Input::Accept(id) => {
                // How many requests it takes for one, and which it drops, is its own matter.
                if let Some(connection) = net.connection_mut(id) {
                    connection.messages = None;
                }
                self.handlers.insert(
                    id,
                    Handler {
                        heard_ns: now_ns,
                        read_one: false,
                    },
                );
            }
            Input::Data(id, Side::Server, bytes, _) => {
                for read in bytes.chunks(READ_BYTES) {
                    self.read(net, id, read, wall_ns);
                }
            }
            Input::Closed(id, Side::Server, _) => self.end(net, id),
            _ => {}
        }
    }

    fn read(&mut self, net: &mut Network, id: ConnectionId, bytes: &[u8], wall_ns: i64) {
        let Some(handler) = self.handlers.get_mut(&id) else {
            return;
        };
        handler.heard_ns = net.now_ns;
        if bytes.iter().all(|byte| *byte == b'0') {
            return;
        }
        let read_one = std::mem::replace(&mut handler.read_one, true);
        match self.reply(bytes, wall_ns) {
            Some(reply) => drop(net.write(id, Side::Server, &reply)),
            None if read_one => {}
            None => {
                self.died += 1;
                self.end(net, id);
            }
        }
    }

    fn reply(&mut self, message: &[u8], wall_ns: i64) -> Option<Vec<u8>> {
        let text = std::str::from_utf8(message).ok();
        let fields: Vec<&str> = text
            .map(|text| text.split('|').collect())
            .unwrap_or_default();
        let [seq, _, at, tags, padding] = fields[..] else {
            self.dropped += 1;
            return None;
        };
        let (Ok(seq), Ok(_)) = (
            seq.trim_start_matches('0').parse::<u64>().or_else(|error| {
                if seq.bytes().all(|byte| byte == b'0') && !seq.is_empty() {
                    Ok(0)
                } else {
                    Err(error)
                }
            }),
            at.parse::<i64>(),
        ) else {
            self.dropped += 1;
            return None;
        };
        self.answered += 1;
        Some(format!("{seq}|{}|{wall_ns}|{tags}|{padding}", self.name).into_bytes())
    }

    fn end(&mut self, net: &mut Network, id: ConnectionId) {
        if self.handlers.remove(&id).is_some() {
            net.close(id, Side::Server, Ending::Finished);
        }
    }

    pub(crate) fn report(&self, out: &mut String) {
        use std::fmt::Write as _;
        let _ = writeln!(
            out,
            "answered {}, dropped {}, handlers died {}",
            self.answered, self.dropped, self.died
        );
    }
}
