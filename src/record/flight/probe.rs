//! The [`Probe`] as a ring holds it.

use crate::proto::{Direction, Outcome, Stamp, StampSource, Trace, Wall};

const LOST: u16 = 1 << 8;
const LOST_FORWARD: u16 = 1 << 9;
const LOST_REVERSE: u16 = 1 << 10;

/// One probe that has ended, in 48 bytes: its number, its stamps with their sources, and its outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// Its number on its flow.
    pub seq: u64,
    at: [Wall; 4],
    /// Two bits for each stamp, 0 if there is none; then the outcome.
    flags: u16,
}

const _: () = assert!(size_of::<Probe>() == 48);

impl Probe {
    /// Returns the probe of a trace.
    pub fn new(trace: &Trace) -> Self {
        let mut probe = Self {
            seq: trace.seq,
            ..Self::default()
        };
        for (place, stamp) in trace.stamps.iter().enumerate() {
            if let Some(stamp) = stamp {
                probe.at[place] = stamp.at;
                let code: u16 = match stamp.source {
                    StampSource::User => 1,
                    StampSource::Kernel => 2,
                    StampSource::Hw => 3,
                };
                probe.flags |= code << (2 * place);
            }
        }
        if trace.outcome == Outcome::Lost {
            probe.flags |= LOST;
            if let Some(direction) = trace.lost_on {
                probe.place_loss(direction);
            }
        }
        probe
    }

    /// Returns T1 to T4, as far as they are known.
    pub fn stamps(&self) -> [Option<Stamp>; 4] {
        let stamp = |place: usize| {
            let source = match (self.flags >> (2 * place)) & 3 {
                1 => StampSource::User,
                2 => StampSource::Kernel,
                3 => StampSource::Hw,
                _ => return None,
            };
            let at = self.at[place];
            Some(Stamp { at, source })
        };
        [stamp(0), stamp(1), stamp(2), stamp(3)]
    }

    /// Returns its outcome.
    pub const fn outcome(&self) -> Outcome {
        if self.flags & LOST == 0 {
            Outcome::Received
        } else {
            Outcome::Lost
        }
    }

    /// Returns the direction in which it was lost, if it was lost and that is known.
    pub const fn lost_on(&self) -> Option<Direction> {
        match self.flags & (LOST_FORWARD | LOST_REVERSE) {
            LOST_FORWARD => Some(Direction::Forward),
            LOST_REVERSE => Some(Direction::Reverse),
            _ => None,
        }
    }

    /// Notes the direction in which it was lost.
    pub(super) const fn place_loss(&mut self, direction: Direction) {
        if self.flags & LOST != 0 {
            self.flags &= !(LOST_FORWARD | LOST_REVERSE);
            self.flags |= match direction {
                Direction::Forward => LOST_FORWARD,
                Direction::Reverse => LOST_REVERSE,
            };
        }
    }

    /// Returns when it left: T1.
    pub(super) const fn sent(&self) -> Wall {
        self.at[0]
    }

    /// True if it left within these times; or arrived within them, where only T2 is of this host.
    pub(super) fn is_within(&self, from: Wall, to: Wall) -> bool {
        let [t1, t2, _, t4] = self.stamps();
        let is_in =
            |stamp: Option<Stamp>| stamp.is_some_and(|stamp| (from..=to).contains(&stamp.at));
        is_in(t1) || (t4.is_none() && is_in(t2))
    }
}
