//! Which addresses of a name are used, and in which order.

use crate::proto::life::LifeEvent;
use crate::proto::target::{Address, Family};

/// Takes the addresses of one family out of answers.
#[derive(Debug)]
pub(crate) struct Filter {
    family: Family,
    /// The last answer had addresses, and none of the family.
    is_lacking: bool,
}

impl Filter {
    pub(crate) const fn new(family: Family) -> Self {
        Self {
            family,
            is_lacking: false,
        }
    }

    /// Returns the addresses that may be used, and what is to be told: that there are none in an answer that has
    /// others, once until there is one.
    pub(crate) fn sift(&mut self, answer: &[Address]) -> (Vec<Address>, Option<LifeEvent>) {
        let fit = answer.iter().filter(|address| self.family.has(address.ip));
        let fit: Vec<Address> = fit.copied().collect();
        // A look-up that fails says nothing of families.
        let Some(other) = answer.first() else {
            return (fit, None);
        };
        let was_lacking = std::mem::replace(&mut self.is_lacking, fit.is_empty());
        let is_news = self.is_lacking && !was_lacking;
        let told = is_news.then_some(LifeEvent::NoFamily {
            family: self.family,
            other: *other,
        });
        (fit, told)
    }
}

/// Returns an answer with its families in turn, that of its first address first (RFC 8305, section 4): where one
/// family is broken, the second address that is tried works. Addresses of a family stay in the order of the
/// answer, which is the resolver's (RFC 6724).
pub(crate) fn in_turn(answer: &[Address]) -> impl Iterator<Item = Address> {
    let first = answer.first().map(|address| Family::of(address.ip));
    let is_first = move |address: &&Address| Some(Family::of(address.ip)) == first;
    let mut leading = answer.iter().filter(is_first);
    let mut others = answer.iter().filter(move |address| !is_first(address));
    let mut is_leading = false;
    std::iter::from_fn(move || {
        is_leading = !is_leading;
        let next = if is_leading {
            leading.next().or_else(|| others.next())
        } else {
            others.next().or_else(|| leading.next())
        };
        next.copied()
    })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn answer<const N: usize>(addresses: [&str; N]) -> Vec<Address> {
        let parse = |text: &str| text.parse::<IpAddr>().expect("an address").into();
        addresses.map(parse).to_vec()
    }

    #[test]
    fn families_take_turns_and_each_keeps_its_order() {
        let turns = |addresses: &[Address]| in_turn(addresses).collect::<Vec<_>>();
        assert_eq!(
            turns(&answer(["::1", "::2", "::3", "192.0.2.1"])),
            answer(["::1", "192.0.2.1", "::2", "::3"])
        );
        assert_eq!(
            turns(&answer(["192.0.2.2", "::1", "::2", "192.0.2.1", "::3"])),
            answer(["192.0.2.2", "::1", "192.0.2.1", "::2", "::3"])
        );
        assert_eq!(turns(&answer(["::2", "::1"])), answer(["::2", "::1"]));
        assert_eq!(turns(&[]), []);
    }

    #[test]
    fn a_family_that_is_not_there_is_told_once_until_it_is() {
        let (four, both) = (
            answer(["192.0.2.1", "::ffff:192.0.2.2"]),
            answer(["192.0.2.1", "2001:db8::1"]),
        );
        let mut filter = Filter::new(Family::V6);
        let told = LifeEvent::NoFamily {
            family: Family::V6,
            other: four[0],
        };
        let lacking = |told| (Vec::new(), told);
        assert_eq!(filter.sift(&four), lacking(Some(told)));
        assert_eq!(filter.sift(&four), lacking(None));
        assert_eq!(filter.sift(&[]), lacking(None), "a failure is no news");
        assert_eq!(filter.sift(&four), lacking(None));
        assert_eq!(filter.sift(&both), (both[1..].to_vec(), None));
        assert_eq!(filter.sift(&four), lacking(Some(told)));
        assert_eq!(Filter::new(Family::V4).sift(&four), (four.clone(), None));
        assert_eq!(Filter::new(Family::Any).sift(&both), (both.clone(), None));
    }
}
