//! How much is done about datagrams from addresses that no flow probes.

use crate::limits::STRAY_TARGETS_PER_SECOND_MAX;
use crate::proto::time::Mono;

const SECOND_NS: u64 = 1_000_000_000;

/// Counts the targets that were looked at in this second.
#[derive(Debug, Default)]
pub(crate) struct Strays {
    since: Mono,
    looked: usize,
}

impl Strays {
    /// True if so many more targets may be looked at.
    pub(crate) fn may_look(&mut self, targets: usize, now: Mono) -> bool {
        if now.since(self.since) >= SECOND_NS {
            self.since = now;
            self.looked = 0;
        }
        let may_look = self.looked < STRAY_TARGETS_PER_SECOND_MAX;
        if may_look {
            self.looked += targets.max(1);
        }
        may_look
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_is_bounded_however_many_strays_come() {
        let mut strays = Strays::default();
        let at = |ms: u64| Mono::from_nanos(5_000_000_000 + ms * 1_000_000);
        let each = STRAY_TARGETS_PER_SECOND_MAX / 10;
        let looked = (0..1_000).filter(|_| strays.may_look(each, at(0)));
        assert_eq!(looked.count(), 10);
        assert!(!strays.may_look(1, at(999)));
        assert!(strays.may_look(1, at(1_000)));
    }
}
