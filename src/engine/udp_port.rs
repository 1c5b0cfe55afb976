//! A UDP socket that is stamped: one that flows share, or a listener.

use std::io;

use crate::engine::Core;
use crate::engine::stamping::{Stamped, Stamping};
use crate::engine::tuning::SocketTuning;
use crate::sys;
use crate::sys::sockets::UdpSocket;
use crate::sys::words::Incoming;

/// A datagram is offered again this often after a refusal that may be about another datagram. Each
/// refusal uses up one ICMP error and takes microseconds; hardly ever do more come meanwhile.
const REFUSALS_MAX: u32 = 3;

/// The socket with what an engine keeps for it. `W` is how the engine waits for it.
#[derive(Debug)]
pub(super) struct UdpPort<W> {
    pub(super) stamped: Stamped<UdpSocket>,
    pub(super) wait: W,
    /// Datagrams that its buffer had no room for, as the kernel counts them; it wraps.
    pub(super) dropped: u32,
    /// Datagrams that are too long to leave whole leave in fragments.
    pub(super) may_fragment: bool,
}

impl<W: Default> UdpPort<W> {
    /// Gives the socket its options, and has its packets stamped.
    pub(super) fn new(socket: UdpSocket, tuning: &mut SocketTuning, stamping: &Stamping) -> Self {
        tuning.apply(&socket);
        let stamps = stamping.begin_udp(&socket);
        Self {
            stamped: Stamped { socket, stamps },
            wait: W::default(),
            dropped: 0,
            may_fragment: true,
        }
    }
}

impl<W> UdpPort<W> {
    /// Tells the core how many datagrams the buffer has had no room for since the last one that said so.
    pub(super) fn note_dropped(&mut self, core: &mut Core<'_>, incoming: &Incoming<'_>) {
        if let Some(dropped) = incoming.dropped {
            let more = dropped.wrapping_sub(std::mem::replace(&mut self.dropped, dropped));
            core.prober.handle_overflow(more);
        }
    }

    /// True if a datagram that the kernel has refused with `error`, for the `refusals + 1`st time,
    /// is to be offered again:
    ///
    /// 1. It was too long to leave whole: from now on the socket sends fragments, if it may.
    /// 2. The error may be an ICMP error about an earlier datagram, on a socket that asks for
    ///    these.
    pub(super) fn offers_again(&self, error: &io::Error, asks_icmp: bool, refusals: u32) -> bool {
        let socket = &self.stamped.socket;
        let in_fragments = self.may_fragment && sys::udp::send_in_fragments(socket, error);
        let may_pass = in_fragments || asks_icmp && sys::icmp::may_be_of_another(error);
        may_pass && refusals < REFUSALS_MAX
    }
}
