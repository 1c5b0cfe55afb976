//! How the probes of a flow travel: over which socket, and when that is made anew.
//!
//! A carrier opens and closes sockets and never reads a byte of a packet: that is for the
//! [conversation](super::conversation).

mod connect;
mod datagram;
mod link;
mod stream;

use std::fmt;
use std::net::SocketAddr;

use crate::proto::context::Context;
use crate::proto::transmit::{SocketId, StampKey, Transmit};

pub(crate) use connect::Connect;
pub(crate) use datagram::Datagram;
pub(crate) use stream::Stream;

/// Whether a probe can leave now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    Ready,
    /// No address, no connection or no room.
    Held,
    /// The peer has read nothing for a timeout, so the connection is to be given up.
    Stuck,
}

/// See the [module](self). What a carrier has no use for does nothing.
pub(crate) trait Carrier: fmt::Debug + Send {
    /// Leads to `remote` from the next socket on.
    fn move_to(&mut self, remote: SocketAddr);

    /// Begins to open the lasting socket. True if it is usable at once.
    fn open(&mut self, _: &mut Context) -> bool {
        false
    }

    /// Closes the lasting socket, if there is one. Returns whether there was.
    fn close(&mut self, _: &mut Context) -> bool {
        false
    }

    /// Opens again after a while.
    fn retry_later(&mut self, _: &mut Context) {}

    /// The timer fired. True if it was a turn to connect, which is taken.
    fn handle_timer(&mut self, _: &mut Context) -> bool {
        false
    }

    /// A lasting connection is established. False if none was awaited.
    fn handle_connected(&mut self, _: &mut Context) -> bool {
        false
    }

    /// Removes the attempt of a connect probe, which is over. Returns the probe's number.
    fn take_attempt(&mut self, _: SocketId, _: &mut Context) -> Option<u64> {
        None
    }

    /// Probe `number` has had its time.
    fn handle_lost(&mut self, _number: u64, _: &mut Context) {}

    /// A reply to a probe has come: the path works.
    fn handle_reply(&mut self, _is_in_time: bool) {}

    /// The kernel takes no more bytes for now, or does again.
    fn handle_blocked(&mut self, _is_blocked: bool) {}

    /// The kernel has sent so many segments again. Returns by how many that has grown.
    fn handle_retransmits(&mut self, _total: u32) -> u32 {
        0
    }

    /// The kernel did not take the last probe. Returns how many it has refused in a row once that calls
    /// for a fresh socket: the address that this one is bound to may be gone.
    fn handle_unsent(&mut self, _refused_max: u32, _: &Context) -> Option<u32> {
        None
    }

    /// True while the lasting socket stands.
    fn is_up(&self) -> bool {
        false
    }

    /// True while a lasting connection is being made.
    fn is_connecting(&self) -> bool {
        false
    }

    /// True unless it is too soon to give the socket up for its losses.
    fn may_reopen(&self, _: &Context) -> bool {
        true
    }

    /// Whether a probe can leave now.
    fn readiness(&mut self, context: &Context) -> Readiness;

    /// Bytes that a probe can have at most.
    fn payload_max(&self) -> usize {
        usize::MAX
    }

    /// Sends probe `number`, which is in the buffer; `at_once`: alone.
    fn transmit(
        &mut self,
        number: u64,
        key: StampKey,
        at_once: bool,
        context: &mut Context,
    ) -> Option<Transmit>;

    /// Closes every socket: the flow ends.
    fn end(&mut self, context: &mut Context) {
        self.close(context);
    }
}
