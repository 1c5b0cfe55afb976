//! The [`Ring`] with the last probes of one flow.

use crate::limits::{FLIGHT_PROBES_LEAST, FLIGHT_PROBES_MAX};
use crate::proto::{Direction, Wall};
use crate::record::flight::probe::{Epochs, Probe};

/// A ring that grows until it reaches back far enough. Then the newest probe replaces the oldest. Every probe
/// has a place, counted from the flow's first.
#[derive(Debug, Default)]
pub(super) struct Ring {
    probes: Vec<Probe>,
    /// Index of the oldest; 0 until the first one is replaced.
    start: usize,
    /// The number of probes so far, those replaced included.
    count: u64,
    /// The index behind the loss that got its direction last: the next one mostly stands there.
    hint: usize,
}

impl Ring {
    /// Takes a probe of the epoch that runs. `room` is the number of probes by which all rings may still grow.
    pub(super) fn push(&mut self, probe: Probe, span_ns: u64, epochs: &Epochs, room: &mut usize) {
        self.count += 1;
        if self.probes.len() == self.probes.capacity() && !self.grow(&probe, span_ns, epochs, room)
        {
            if let Some(oldest) = self.probes.get_mut(self.start) {
                *oldest = probe;
                self.start += 1;
                if self.start == self.probes.len() {
                    self.start = 0;
                }
            }
            return;
        }
        self.probes.push(probe);
    }

    /// Makes room if the ring does not reach back far enough and may grow. Then the oldest probe is at 0.
    fn grow(&mut self, newest: &Probe, span_ns: u64, epochs: &Epochs, room: &mut usize) -> bool {
        let length = self.probes.len();
        if let Some(oldest) = self.probes.get(self.start) {
            let reach = newest.here_then().since(oldest.here(epochs));
            let reach = u64::try_from(reach).unwrap_or(0);
            if reach >= span_ns || length >= FLIGHT_PROBES_MAX {
                return false;
            }
        }
        self.extend(room)
    }

    /// Makes room for as many again, if it may. Then the oldest probe is at 0.
    #[cold]
    fn extend(&mut self, room: &mut usize) -> bool {
        let length = self.probes.len();
        let more = length.max(FLIGHT_PROBES_LEAST);
        // The least useful ring is always allowed: the number of flows is bounded elsewhere.
        if length > 0 && *room < more {
            return false;
        }
        self.probes.rotate_left(self.start);
        (self.start, self.hint) = (0, 0);
        self.probes.reserve_exact(more);
        *room = room.saturating_sub(self.probes.capacity() - length);
        true
    }

    /// Returns the number of probes that it has memory for.
    pub(super) fn capacity(&self) -> usize {
        self.probes.capacity()
    }

    /// Notes the direction in which a probe was lost. Losses mostly come in their order, so the next one is found
    /// at once; otherwise every probe is looked at.
    pub(super) fn place_loss(&mut self, seq: u64, direction: Direction) {
        let hint = self.hint.min(self.probes.len());
        let (before, behind) = self.probes.split_at_mut(hint);
        let behind = behind
            .iter_mut()
            .enumerate()
            .map(|(index, probe)| (index + hint, probe));
        let before = before.iter_mut().enumerate();
        if let Some((index, probe)) = behind.chain(before).find(|(_, probe)| probe.seq == seq) {
            probe.place_loss(direction);
            self.hint = index + 1;
        }
    }

    /// Returns the place of the oldest probe.
    pub(super) fn oldest(&self) -> u64 {
        self.count - self.probes.len() as u64
    }

    /// Returns the place behind the newest probe.
    pub(super) const fn end(&self) -> u64 {
        self.count
    }

    /// Returns the probe at a place, if it is there.
    pub(super) fn get(&self, place: u64) -> Option<&Probe> {
        let length = self.probes.len();
        let from_oldest = usize::try_from(place.checked_sub(self.oldest())?).ok()?;
        if from_oldest >= length {
            return None;
        }
        self.probes.get((self.start + from_oldest) % length)
    }

    /// Returns when the oldest probe left.
    pub(super) fn begin(&self) -> Wall {
        let oldest = self.probes.get(self.start);
        oldest.map_or_else(Wall::default, Probe::sent)
    }

    /// True if no probe since then has been replaced.
    pub(super) fn reaches_back_to(&self, from: Wall, epochs: &Epochs) -> bool {
        let oldest = self.probes.get(self.start);
        self.oldest() == 0 || oldest.is_some_and(|oldest| oldest.here(epochs) <= from)
    }
}
