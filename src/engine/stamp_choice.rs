//! Which of a packet's stamps is believed: the interface's only while its clock is the system's.

use crate::proto::{Stamp, StampSource, Wall};
use crate::sys::words::Stamps;

/// An interface's stamp that is further than this from the kernel's is of another clock. Between
/// the two lie microseconds, unless the host stood still.
const SAME_CLOCK_NS: u64 = 1_000_000;

/// The stamp to believe, and what a packet shows of the interface's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) stamp: Option<Stamp>,
    /// Whether the interface's clock is the system's; `None` if the packet does not show it.
    pub(super) follows: Option<bool>,
}

/// Chooses the interface's stamp if its clock is the system's, else the kernel's.
pub(super) fn choose(stamps: Stamps, now: Wall) -> Choice {
    let is_near = |one: Wall, other: Wall| one.since(other).unsigned_abs() <= SAME_CLOCK_NS;
    let of = |source| move |at| Stamp { at, source };
    let kernel = stamps.software.map(of(StampSource::Kernel));
    let interface = stamps.hardware.map(of(StampSource::Hw));
    let (stamp, follows) = match (interface, kernel) {
        (None, _) => (kernel, None),
        (Some(hw), Some(sw)) if is_near(hw.at, sw.at) => (interface, Some(true)),
        (Some(_), Some(_)) => (kernel, Some(false)),
        // Being far from now proves nothing: this process may have been kept waiting.
        (Some(hw), None) => (interface.filter(|_| is_near(hw.at, now)), None),
    };
    Choice { stamp, follows }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Wall = Wall::from_unix_nanos(1_768_219_134_587_069_267);

    fn chosen(software: Option<i64>, hardware: Option<i64>) -> (Option<StampSource>, Option<bool>) {
        let stamps = Stamps {
            software: software.map(|ns| NOW.plus(ns)),
            hardware: hardware.map(|ns| NOW.plus(ns)),
        };
        let choice = choose(stamps, NOW);
        (choice.stamp.map(|stamp| stamp.source), choice.follows)
    }

    #[test]
    fn the_kernel_stamps_where_the_interface_does_not() {
        assert_eq!(chosen(None, None), (None, None));
        assert_eq!(
            chosen(Some(-5_000), None),
            (Some(StampSource::Kernel), None)
        );
    }

    #[test]
    fn an_interface_is_believed_while_its_clock_is_the_systems() {
        let hw = Some(StampSource::Hw);
        assert_eq!(chosen(Some(-5_000), Some(-9_000)), (hw, Some(true)));
        // Both are old: this process was kept waiting.
        assert_eq!(
            chosen(Some(-80_000_000), Some(-80_009_000)),
            (hw, Some(true))
        );
        assert_eq!(chosen(None, Some(-9_000)), (hw, None));
    }

    #[test]
    fn an_interface_with_another_clock_is_not() {
        let kernel = Some(StampSource::Kernel);
        assert_eq!(
            chosen(Some(-5_000), Some(37_000_000_000)),
            (kernel, Some(false))
        );
        assert_eq!(
            chosen(Some(-5_000), Some(-2_000_000)),
            (kernel, Some(false))
        );
        assert_eq!(chosen(None, Some(37_000_000_000)), (None, None));
    }
}
