//! The [`Probe`] as a ring holds it.

use crate::proto::{Direction, Outcome, Stamp, StampSource, Trace, Wall};

const LOST: u16 = 1 << 8;
/// The directions of a loss, one bit each, in the order of their discriminants.
const LOST_ON: u16 = 9;

/// Behind them the number of steps of this host's clock before the probe, as far as the bits go.
const EPOCH: u16 = 11;

/// The sources of stamps, in the order of their discriminants.
const SOURCES: [StampSource; 3] = [StampSource::User, StampSource::Kernel, StampSource::Hw];

/// One probe that has ended, in 48 bytes: its number, its stamps with their sources, and its outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// Its number on its flow.
    pub seq: u64,
    at: [Wall; 4],
    /// Two bits for each stamp, 0 if there is none; then the outcome, and the epoch.
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
            probe.at[place] = stamp.map_or_else(Wall::default, |stamp| stamp.at);
            // None is 3, whose next one is 0 in two bits.
            let source = stamp.map_or(3, |stamp| stamp.source as u16);
            probe.flags |= ((source + 1) & 3) << (2 * place);
        }
        if trace.outcome == Outcome::Lost {
            probe.flags |= LOST;
            if let Some(direction) = trace.lost_on {
                probe.place_loss(direction);
            }
        }
        probe
    }

    /// Marks it as one that has ended now.
    pub(super) const fn in_epoch(mut self, epochs: &Epochs) -> Self {
        self.flags |= epochs.current << EPOCH;
        self
    }

    /// Returns T1 to T4, as far as they are known.
    pub fn stamps(&self) -> [Option<Stamp>; 4] {
        std::array::from_fn(|place| {
            let code = usize::from((self.flags >> (2 * place)) & 3);
            let source = *SOURCES.get(code.checked_sub(1)?)?;
            let at = self.at[place];
            Some(Stamp { at, source })
        })
    }

    /// True if the stamp at this place is known.
    const fn has(&self, place: usize) -> bool {
        (self.flags >> (2 * place)) & 3 != 0
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
        match (self.flags >> LOST_ON) & 3 {
            1 => Some(Direction::Forward),
            2 => Some(Direction::Reverse),
            _ => None,
        }
    }

    /// Notes the direction in which it was lost.
    pub(super) const fn place_loss(&mut self, direction: Direction) {
        if self.flags & LOST != 0 {
            self.flags &= !(3 << LOST_ON);
            self.flags |= 1 << (LOST_ON + direction as u16);
        }
    }

    /// Returns when it left: T1.
    pub(super) const fn sent(&self) -> Wall {
        self.at[0]
    }

    /// Returns when it was at this host, as this host's clock was then: T1, or T2 where only that is of this host.
    pub(super) fn here_then(&self) -> Wall {
        self.at[usize::from(self.has(1) && !self.has(3))]
    }

    /// The same as this host's clock is now.
    pub(super) fn here(&self, epochs: &Epochs) -> Wall {
        let epoch = usize::from(self.flags >> EPOCH);
        self.here_then().plus(epochs.behind_ns[epoch])
    }

    /// True if it left within these times, as this host's clock is now; or arrived within them, where only T2 is of
    /// this host.
    pub(super) fn is_within(&self, from: Wall, to: Wall, epochs: &Epochs) -> bool {
        let is_remote = !self.has(3);
        let is_in = |at: Wall| (from..=to).contains(&at);
        is_in(self.here(epochs)) || (is_remote && is_in(self.sent()))
    }
}

/// The steps of this host's clock, for the stamps of before.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    /// The number of the epoch that runs, as far as it fits into a probe.
    current: u16,
    /// How far the clock was set since each epoch. The first epochs of many are taken for later ones.
    behind_ns: [i64; 1 << (16 - EPOCH)],
}

impl Epochs {
    /// The clock was set.
    pub(super) fn step(&mut self, step_ns: i64) {
        for behind_ns in &mut self.behind_ns {
            *behind_ns = behind_ns.saturating_add(step_ns);
        }
        self.current = (self.current + 1) % (1 << (16 - EPOCH));
        self.behind_ns[usize::from(self.current)] = 0;
    }
}
