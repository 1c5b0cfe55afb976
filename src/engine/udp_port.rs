//! A UDP socket that is stamped: one that flows share, or a listener.

use std::io;
use std::net::UdpSocket;

use crate::engine::stamping::{Stamped, Stamping};
use crate::engine::tuning::SocketTuning;
use crate::sys;

/// A datagram is offered again this often after a refusal that may be about another datagram. Each
/// refusal uses up one ICMP error and takes microseconds; hardly ever do more come meanwhile.
const REFUSALS_MAX: u32 = 3;

/// The socket with what an engine keeps for it. `W` is how the engine waits for it.
#[derive(Debug)]
pub(super) struct UdpPort<W> {
    pub(super) stamped: Stamped<UdpSocket>,
    pub(super) wait: W,
}

impl<W: Default> UdpPort<W> {
    /// Gives the socket its options, and has its packets stamped.
    pub(super) fn new(socket: UdpSocket, tuning: &mut SocketTuning, stamping: &Stamping) -> Self {
        tuning.apply(&socket);
        let stamps = stamping.begin_udp(&socket);
        Self {
            stamped: Stamped { socket, stamps },
            wait: W::default(),
        }
    }
}

impl<W> UdpPort<W> {
    /// True if a datagram that the kernel has refused with `error`, for the `refusals + 1`st time,
    /// is to be offered again:
    ///
    /// 1. It was too long to leave whole: from now on the socket sends fragments.
    /// 2. The error may be an ICMP error about an earlier datagram, on a socket that asks for
    ///    these.
    pub(super) fn offers_again(&self, error: &io::Error, asks_icmp: bool, refusals: u32) -> bool {
        let socket = &self.stamped.socket;
        let in_fragments =
            sys::udp::is_too_long(error) && sys::udp::keep_whole(socket, false).is_ok();
        let may_pass = in_fragments || asks_icmp && sys::icmp::may_be_of_another(error);
        may_pass && refusals < REFUSALS_MAX
    }
}
