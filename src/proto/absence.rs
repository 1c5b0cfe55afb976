//! How long an address may be missing from the answers for a name before it is gone.
//!
//! Many names answer with some of their addresses only, each time with others. One that is in use and answers is not
//! gone because one answer lacks it:
//!
//! 1. It is gone once so many answers in a row lack it: three.
//! 2. One that comes back before that shows how the name answers: from then on no address of the name is gone before
//!    it was missing four times as often as that one.

use crate::limits::ABSENT_ANSWERS_MAX;

/// The least for rule 1.
const LEAST: u32 = 3;

/// The factor of rule 2. Of a name that gives one of two addresses by chance, one in use is missing n times in a row
/// with a chance of 2^-n.
const FACTOR: u32 = 4;

/// What is known of a name. See the [module](self).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Absences {
    /// Answers in a row that lacked an address before it came back, at most.
    longest: u32,
}

impl Absences {
    /// An address is in the answer again that so many before it lacked.
    pub(crate) fn handle_return(&mut self, absent: u32) {
        self.longest = self.longest.max(absent);
    }

    /// True if an address is gone that so many answers in a row have lacked.
    pub(crate) fn is_gone(self, absent: u32) -> bool {
        let most = self.longest.saturating_mul(FACTOR);
        absent >= most.clamp(LEAST, ABSENT_ANSWERS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_gone_after_three_answers_and_later_where_others_come_back() {
        let mut absences = Absences::default();
        assert!(!absences.is_gone(2) && absences.is_gone(3));
        absences.handle_return(2);
        absences.handle_return(1);
        assert!(!absences.is_gone(7) && absences.is_gone(8));
        absences.handle_return(u32::MAX);
        assert!(absences.is_gone(ABSENT_ANSWERS_MAX) && !absences.is_gone(ABSENT_ANSWERS_MAX - 1));
    }
}
