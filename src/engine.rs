//! Engines: thin shells that carry out what the core asks, and tell it what happened.
//!
//! An engine owns every descriptor and waits for all of them at one place. It knows no protocol.
//! Each engine passes the same black-box suite, `tests/loopback`. Engines share `sockets` and all
//! that it holds, and differ in how they wait: a second one brings its own type for that, and its
//! own loops.

mod accepting;
mod batch;
mod choice;
mod datagrams;
mod failure;
mod interfaces;
mod listeners;
pub mod mio;
mod shared_udp;
mod sockets;
mod stamp_choice;
mod stamp_queue;
mod stamping;
mod stream;
#[cfg(all(test, target_os = "linux", not(latency_monitor_portable)))]
mod tests;
mod tuning;
mod udp_port;
mod unreachable;
#[cfg(all(target_os = "linux", not(latency_monitor_portable)))]
pub mod uring;

use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::clock::Clock;
use crate::proto::{Address, Host, Mono, Prober, TargetId};

pub use crate::sys::words::Timestamps;
pub use choice::{Kind, Opened};

/// Has each interface stamp that can stamp all packets, as an engine does with [`Timestamps::Auto`]. It stays so: an
/// engine that is made later needs no privilege for that.
pub(crate) fn stamp_by_interfaces() {
    drop(interfaces::survey());
}

/// Where an engine listens, and how it waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// Addresses to answer on. `::` takes IPv4 as well, unless an IPv4 address is listed too. None:
    /// all of this host's, and those of IPv6 only if it has any.
    pub addresses: Vec<Address>,
    /// The port for TCP, if TCP is answered. 0 takes a free one.
    pub tcp_port: Option<u16>,
    /// The ports for UDP, each on every address; none: UDP is not answered. 0 takes a free one.
    pub udp_ports: Vec<u16>,
    /// The loop wakes this many nanoseconds before a probe is due, and spins until then.
    pub spin_ns: u64,
    /// Replies to probes may wait this many nanoseconds until they are read, where the kernel stamps
    /// them. 0: they are read as they come.
    pub receive_within_ns: u64,
    /// Who stamps packets.
    pub timestamps: Timestamps,
    /// What UDP sockets are asked for.
    pub sockets: SocketOptions,
}

/// The options of every UDP socket. A refusal of the kernel is logged once; the engine goes on
/// without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// Microseconds for which receives poll the interface's queue. 0 stands for not at all.
    pub busy_poll_us: u16,
    /// Bytes of the receive buffer. `None` asks for
    /// [`UDP_BUFFER_BYTES`](crate::limits::UDP_BUFFER_BYTES), or as much as the kernel allows.
    pub receive_bytes: Option<usize>,
    /// Bytes of the send buffer. `None` as for the receive buffer.
    pub send_bytes: Option<usize>,
}

/// The addresses that an engine listens on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listening {
    /// TCP addresses, in the order configured.
    pub tcp: Vec<SocketAddr>,
    /// UDP addresses, port by port in the order configured; those of a free port are the last.
    pub udp: Vec<SocketAddr>,
}

impl Listening {
    /// Returns the UDP ports, each once.
    pub fn udp_ports(&self) -> Vec<u16> {
        let mut ports: Vec<u16> = self.udp.iter().map(SocketAddr::port).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

/// Why an engine cannot be made or cannot go on.
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
    /// The system has refused something that the loop needs.
    #[error("cannot {operation}: {source}")]
    Setup {
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The system refuses the ring that the engine of io_uring needs.
    #[error(
        "cannot use io_uring, refused to {what}: {source} ({hint}; or `[engine] kind` = \"mio\")"
    )]
    Ring {
        /// What was asked for.
        what: &'static str,
        /// What the system said.
        source: io::Error,
        /// Who most likely refuses it, and what would be right.
        hint: &'static str,
    },
    /// Waiting for events failed.
    #[error("cannot wait for events: {0}")]
    Wait(#[source] io::Error),
}

/// Returns what would help, to stand behind the error of the system.
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

/// Looks names up on other threads than the loop's.
pub trait Resolve: fmt::Debug {
    /// Asks for the addresses of a target's host, and returns at once. The answer goes to
    /// [`Prober::handle_resolved`].
    fn resolve(&mut self, target: TargetId, host: &Host);
}

/// What an engine works for, lent to it for one call.
#[derive(Debug)]
pub struct Core<'a> {
    /// The clocks of this host. No engine reads any other.
    pub clock: &'a Clock,
    /// The core, which decides what is sent and learns what happened.
    pub prober: &'a mut Prober,
    /// Takes the names that the core wants resolved.
    pub resolver: &'a mut dyn Resolve,
}

/// What an engine owes the core.
///
/// One turn of the loop is: [`Prober::handle_timeout`], [`transmit`](Self::transmit),
/// [`wait`](Self::wait). An engine decides how bytes are moved and how it waits. It does not look
/// into them, keeps no schedule, and drops nothing without telling the core.
///
/// # What the core is told
///
/// 1. **Opened sockets**: [`handle_connected`](Prober::handle_connected) once for each socket that
///    can be used; for a connect probe with the duration of its handshake, if the kernel knows it.
/// 2. **Closed sockets**: [`handle_closed`](Prober::handle_closed) once for each socket that could
///    not be opened, or has ended by itself. The socket is gone by then. The reason is `Finished`
///    if the peer has sent its end, `Exhausted` if this host has run out of something, and follows
///    from the error otherwise (`engine/failure.rs`). A socket that the core closes ends in
///    silence.
/// 3. **Packets**: [`handle_datagram`](Prober::handle_datagram),
///    [`handle_request`](Prober::handle_request) and [`handle_stream`](Prober::handle_stream), in
///    the order in which the kernel gives them. What comes to a flow's socket from an address that
///    was never probed over it goes to [`handle_stray`](Prober::handle_stray).
/// 4. **Receive stamps**: every packet bears the stamp of the kernel or the interface. If it has
///    none though stamps are asked for, [`handle_unstamped`](Prober::handle_unstamped) counts it.
/// 5. **Transmit stamps**: each [`StampKey`](crate::proto::StampKey) that leaves with a packet is
///    answered once, by [`handle_stamp`](Prober::handle_stamp), or by
///    [`handle_stamp_missing`](Prober::handle_stamp_missing) if no stamp can come or nobody knows
///    which packet it is of. A request's stamp goes before the reply to it. There is no answer once
///    the socket is closed, nor where this process makes the stamps.
/// 6. **Steps of the clock**: a stamp can show that the system's clock was set.
///    [`handle_clock_step`](Prober::handle_clock_step) goes before that packet.
/// 7. **Refused datagrams**: [`handle_unsent`](Prober::handle_unsent) for a request,
///    [`handle_reply_unsent`](Prober::handle_reply_unsent) for a reply.
/// 8. **ICMP errors**: [`handle_unreachable`](Prober::handle_unreachable) for the flow whose
///    datagram did not arrive. An ICMP error about one address disturbs no flow to another.
///    What answers a datagram of [`Transmit::Hop`](crate::proto::Transmit::Hop) is one that
///    [`handle_hop`](Prober::handle_hop) takes first, with what it quotes and its receive stamp; such a datagram that
///    the kernel has refused is told by [`handle_hop_unsent`](Prober::handle_hop_unsent).
/// 9. **Full streams**: [`handle_blocked`](Prober::handle_blocked) when the kernel takes no more of
///    a stream, and when it has taken what was left.
/// 10. **Late reads**: an engine that does not read what comes at once tells by
///     [`handle_caught_up`](Prober::handle_caught_up) up to when it has. It reads at once when a
///     probe [awaits](Prober::awaits_arrivals) that.
/// 11. **Retransmissions**: [`handle_retransmits`](Prober::handle_retransmits) for the flows of
///     ours over TCP, at most every 100 ms, and before their end.
/// 12. **Full buffers**: [`handle_overflow`](Prober::handle_overflow) with the datagrams that a UDP socket's buffer
///     had no room for, as far as the system counts them.
/// 13. **Wake-ups**: [`handle_woken`](Prober::handle_woken) when a wait has ended, with the time by which it was to end
///     at the latest, before anything that came meanwhile.
pub trait Engine {
    /// Carries out what [`Prober::poll_transmit`] gives, until it gives nothing more: also what a
    /// refused datagram calls for.
    ///
    /// What leaves from one socket keeps its order. Datagrams that are due together may leave in
    /// one call. They do not where the core says that a datagram leaves at once, nor where this
    /// process makes the stamps: each would be credited with the time of those before it. When this
    /// returns, every datagram has left or was reported as refused.
    fn transmit(&mut self, core: &mut Core<'_>);

    /// Waits for events, at most until `deadline` (`None`: for as long as it takes), then delivers
    /// a bounded batch of them.
    ///
    /// May return early with nothing. This is the only place where the loop's thread waits. Another
    /// thread ends the wait by the engine's waker. Every socket that had something when the wait ended
    /// is read at least once, and no socket takes more than its share. The replies to a batch of
    /// requests leave before more is read.
    ///
    /// # Errors
    ///
    /// Only if waiting itself fails: the loop cannot go on. A failure of one socket is told to the
    /// core.
    fn wait(&mut self, core: &mut Core<'_>, deadline: Option<Mono>) -> Result<(), EngineError>;

    /// Returns the addresses that it listens on, with the ports that the system has chosen.
    fn listening(&self) -> &Listening;
}

/// Ends an engine's wait from another thread: the one that goes on, or else the next.
pub trait Wake: fmt::Debug + Send + Sync {
    /// Ends the wait.
    ///
    /// # Errors
    ///
    /// Only if the engine is gone.
    fn wake(&self) -> io::Result<()>;
}
