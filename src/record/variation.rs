//! How one-way delays vary from packet to packet, in what order they come.
//!
//! The difference of two delays needs no synchronised clocks, only that none of the two is set in
//! between. What follows on that:
//!
//! - **ipdv** (RFC 3393) is the absolute difference of the delays of two packets of a flow with
//!   numbers n - 1 and n, of which the later one came in after the earlier one. A loss has no pair,
//!   and a packet behind one with a higher number has none either.
//! - **pdv** (RFC 5481, section 4.2) is the delay over the least one of the interval, so it exists
//!   once the interval is over, and is published as a window in every mode. Until then the window
//!   holds the delays as they are, clocks' difference and all; see [`Window`](super::Window).
//! - **A step** of either clock makes the delays before and after it those of two pairs of clocks.
//!   The next packet has no pair, and the window of pdv ends where it is: it is handed over at once
//!   (dropped and counted if the ring has no room), and another one begins with the next packet, so
//!   one interval has two of them. Packets between the step and its discovery cannot be told.

use crate::proto::{OneWay, StampSource};

/// So many packets in a row with lower numbers than one before them are no reordering: the sender
/// has started anew, and counts from there.
const BEHIND_MAX: u8 = 8;

#[derive(Clone, Copy, Debug)]
struct Latest {
    seq: u64,
    delay_ns: i64,
    stamp: StampSource,
    behind: u8,
}

/// One flow's delays in one direction, as far as the next one needs them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Consecutive(Option<Latest>);

impl Consecutive {
    /// One more packet, and how far its delay is from that of the packet before it, if that came.
    pub(super) fn follow(&mut self, one_way: &OneWay) -> Option<(i64, StampSource)> {
        let next = Latest {
            seq: one_way.seq,
            delay_ns: one_way.delay_ns,
            stamp: one_way.stamp,
            behind: 0,
        };
        let Some(latest) = &mut self.0 else {
            self.0 = Some(next);
            return None;
        };
        if next.seq <= latest.seq {
            latest.behind += 1;
            if latest.behind == BEHIND_MAX {
                *latest = next;
            }
            return None;
        }
        let before = std::mem::replace(latest, next);
        (next.seq - before.seq == 1).then(|| {
            let apart = next.delay_ns.abs_diff(before.delay_ns);
            let apart = i64::try_from(apart).unwrap_or(i64::MAX);
            (apart, next.stamp.min(before.stamp))
        })
    }

    /// A clock was set. True if there was anything before that.
    pub(super) fn step(&mut self) -> bool {
        self.0.take().is_some()
    }
}
