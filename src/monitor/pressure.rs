//! When the system is asked how this host is.

use crate::proto::Mono;
use crate::record::HostReading;
use crate::sys::pressure::Pressure;

/// The least time between two questions that no event asks for. As long, a hypervisor's share is not known better.
const EVERY_NS: u64 = 100_000_000;

/// Questions that no event asks for take at most one part in so many of the time: on a host of hundreds of processors
/// or interfaces an answer is long.
const SHARE: u64 = 1_000;

/// Asks the system, at most as often as it is worth.
#[derive(Debug, Default)]
pub(super) struct HostWatch {
    /// Opened by the first question.
    pressure: Option<Pressure>,
    next: Mono,
}

impl HostWatch {
    /// Returns how long the loop's thread, which calls this, has waited for a processor that others had.
    pub(super) fn queued_ns(&mut self) -> Option<u64> {
        self.pressure.get_or_insert_with(Pressure::open).queued_ns()
    }

    /// Returns how the host is, if it is time to ask or an event waits for that. `dropped` packets had no room in the
    /// buffers of sockets.
    pub(super) fn read(
        &mut self,
        now: Mono,
        is_awaited: bool,
        dropped: u64,
    ) -> Option<HostReading> {
        if now < self.next && !is_awaited {
            return None;
        }
        let pressure = self.pressure.get_or_insert_with(Pressure::open);
        Some(HostReading {
            steal_ns: pressure.steal_ns(),
            drops: pressure.drops().map(|drops| drops.wrapping_add(dropped)),
        })
    }

    /// The question that was asked at `asked` has taken until `now`.
    pub(super) fn note_cost(&mut self, asked: Mono, now: Mono) {
        let pause_ns = now.since(asked).saturating_mul(SHARE).max(EVERY_NS);
        self.next = now.plus(pause_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_takes_long_is_asked_for_seldom() {
        let mut watch = HostWatch::default();
        let at = Mono::from_nanos;
        assert!(watch.read(at(0), false, 0).is_some());
        watch.note_cost(at(0), at(5_000));
        assert!(watch.read(at(100_004_999), false, 0).is_none());
        assert!(watch.read(at(100_005_000), false, 0).is_some());
        watch.note_cost(at(100_005_000), at(101_005_000));
        assert!(watch.read(at(1_101_004_999), false, 0).is_none());
        assert!(
            watch.read(at(1_101_004_999), true, 0).is_some(),
            "an event waits"
        );
    }
}
