//! The round trip of a datagram of a trace.

use super::{Answered, Packet};
use crate::proto::sample::{Stamp, StampSource};

/// A round trip, and what made its stamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trip {
    pub(crate) ns: u64,
    pub(crate) stamp: StampSource,
}

/// Returns the time from a datagram's departure to its answer: between two stamps of one clock, or where that was set
/// meanwhile, by the clock that never steps.
pub(super) fn trip(packet: &Packet, answered: &Answered) -> Trip {
    let left = (packet.left).unwrap_or_else(|| Stamp::user(packet.sent.wall));
    let came = answered.arrival.best();
    let ns = u64::try_from(came.at.since(left.at)).ok();
    match ns.filter(|_| packet.clock_epoch == answered.clock_epoch) {
        Some(ns) => Trip {
            ns,
            stamp: left.source.min(came.source),
        },
        None => Trip {
            ns: answered.arrival.now.mono.since(packet.sent.mono),
            stamp: StampSource::User,
        },
    }
}

/// Where a reflector copies the first bytes of a request to: sequence number and timestamp (RFC 8762, section 4.3.1).
const COPIED_AT: usize = 24;

/// True if an answer returns a datagram: as it was, or as reflectors do that answer what is too short for a request.
pub(super) fn returns(answer: &[u8], sent: &[u8]) -> bool {
    let copied = answer.get(COPIED_AT..);
    answer == sent || copied.is_some_and(|copied| copied.starts_with(sent))
}
