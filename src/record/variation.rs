//! How the one-way delays of consecutive packets vary.
//!
//! The difference of two delays needs no synchronised clocks, as long as neither clock is set in between.
//!
//! - **ipdv** (RFC 3393) is the absolute difference of the delays of packets n - 1 and n of a flow, if n
//!   arrived after n - 1. A loss has no pair. A packet behind one with a higher number has none either.
//! - **pdv** (RFC 5481, section 4.2) is the delay over the least delay of the interval. It is known when the
//!   interval is over, so it is published as a window in every mode. Until then the window holds the delays
//!   with the difference of the clocks in them; see [`Window`](super::Window).
//! - **A step** of either clock parts the delays before it from those after it. The next packet has no pair.
//!   The window of pdv ends, as that of the one-way delay itself does. It is handed over at once, or dropped and
//!   counted if the ring has no room. The next packet begins another window, so this interval has two. Packets
//!   between the step and its discovery cannot be told.

use crate::proto::{OneWay, StampSource};

/// Packets in a row with lower numbers than one before them that are no reordering: the sender has started
/// anew and counts from there.
const BEHIND_MAX: u8 = 8;

#[derive(Clone, Copy, Debug)]
struct Latest {
    seq: u64,
    delay_ns: i64,
    stamp: StampSource,
    behind: u8,
}

/// How far the delays of two consecutive packets are apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ipdv {
    pub(super) value_ns: i64,
    /// The weaker stamp source of the two.
    pub(super) stamp: StampSource,
}

/// The latest delay of a flow in one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Consecutive(Option<Latest>);

impl Consecutive {
    /// Takes one more packet. Returns its ipdv, if the packet before it came.
    pub(super) fn follow(&mut self, one_way: &OneWay) -> Option<Ipdv> {
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
            let apart_ns = next.delay_ns.abs_diff(before.delay_ns);
            Ipdv {
                value_ns: i64::try_from(apart_ns).unwrap_or(i64::MAX),
                stamp: next.stamp.min(before.stamp),
            }
        })
    }

    /// Forgets the latest delay, because a clock was set. True if there was one.
    pub(super) fn step(&mut self) -> bool {
        self.0.take().is_some()
    }
}
