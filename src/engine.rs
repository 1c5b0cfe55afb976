//! Engines: thin shells that carry out what the core asks and tell it what happened.
//!
//! An engine owns every descriptor and waits for all of them at one place. It knows no protocol:
//! bytes go by. Each one passes the same black-box suite, `tests/loopback`.

mod batch;
pub mod mio;
mod shared_udp;
mod sockets;
mod stamp_queue;
mod stamping;
#[cfg(test)]
mod tests;
mod tuning;
mod unreachable;

use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::clock::Clock;
use crate::proto::{Host, Mono, Prober, TargetId};

/// Where an engine listens, and how it waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// Addresses to answer on; `::` takes IPv4 as well unless an IPv4 address is listed too.
    pub addresses: Vec<IpAddr>,
    /// The port for TCP, if TCP is answered. 0 takes a free one.
    pub tcp_port: Option<u16>,
    /// The port for UDP, if UDP is answered. 0 takes a free one.
    pub udp_port: Option<u16>,
    /// Wake this long before a probe is due and spin until then, in nanoseconds.
    pub spin_ns: u64,
    /// Who stamps packets.
    pub timestamps: Timestamps,
    /// What UDP sockets are asked for.
    pub sockets: SocketOptions,
}

/// What every UDP socket is asked for. What the kernel does not give is told once, and done without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// Microseconds for which receives poll the interface's queue; 0: not at all.
    pub busy_poll_us: u16,
    /// Bytes of the receive buffer; `None`: [`UDP_BUFFER_BYTES`](crate::limits::UDP_BUFFER_BYTES), or as
    /// much of it as there is.
    pub receive_bytes: Option<usize>,
    /// Bytes of the send buffer; `None`: the same.
    pub send_bytes: Option<usize>,
}

/// Who stamps packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timestamps {
    /// The interface where it can, else the kernel, else this process.
    #[default]
    Auto,
    /// The kernel, also where the interface could.
    Kernel,
    /// This process: what is published contains the host's own delays.
    User,
}

/// What an engine listens on, once it does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listening {
    /// TCP addresses, in the order configured.
    pub tcp: Vec<SocketAddr>,
    /// UDP addresses, in the order configured.
    pub udp: Vec<SocketAddr>,
}

/// Why an engine cannot be made, or cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A port could not be opened.
    #[error("cannot listen on {protocol} {address}: {source}{}", hint(.source))]
    Listen {
        /// `TCP` or `UDP`.
        protocol: &'static str,
        /// The address and port asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused something that the loop cannot do without.
    #[error("cannot {operation}: {source}")]
    Setup {
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Waiting for events failed.
    #[error("cannot wait for events: {0}")]
    Wait(#[source] io::Error),
}

/// What would help, after what the system said.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => " (another process has this port; see `ss -tulpn`)",
        io::ErrorKind::AddrNotAvailable => " (this host does not have this address)",
        io::ErrorKind::PermissionDenied => {
            " (ports below 1024 need root or the capability CAP_NET_BIND_SERVICE)"
        }
        _ => "",
    }
}

/// Looks names up somewhere else than on the loop; the answer goes to
/// [`Prober::handle_resolved`].
pub trait Resolve {
    /// Asks for the addresses of a target's host. Must not wait.
    fn resolve(&mut self, target: TargetId, host: &Host);
}

/// The surface of every engine. One turn of the loop: `transmit`, then `wait`.
pub trait Engine {
    /// Carries out everything that [`Prober::poll_transmit`] has to give.
    fn transmit(&mut self, clock: &Clock, prober: &mut Prober, resolver: &mut dyn Resolve);

    /// Waits for events, at most until `deadline` (`None`: as long as it takes), then delivers a
    /// bounded batch of them. Replies leave as soon as their request is delivered.
    fn wait(
        &mut self,
        clock: &Clock,
        prober: &mut Prober,
        resolver: &mut dyn Resolve,
        deadline: Option<Mono>,
    ) -> Result<(), EngineError>;

    /// What it listens on.
    fn listening(&self) -> &Listening;
}
