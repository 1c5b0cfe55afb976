//! Who may ask this host at all, and how often.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::limits::{RATE_SLOTS, SHORT_RATE};
use crate::proto::time::Mono;

const SECOND_NS: u64 = 1_000_000_000;

/// A range of addresses, as `192.0.2.0/24`, `2001:db8::/32` or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix {
    address: IpAddr,
    bits: u32,
}

impl Prefix {
    /// Returns the addresses that share so many bits with this one; `None` if it has not so many.
    pub(crate) fn around(address: IpAddr, bits: u32) -> Option<Self> {
        let address = match address.to_canonical() {
            IpAddr::V4(address) => {
                let others = u32::MAX.checked_shr(bits).unwrap_or(0);
                (bits <= u32::BITS).then(|| Ipv4Addr::from_bits(address.to_bits() & !others).into())
            }
            IpAddr::V6(address) => {
                let others = u128::MAX.checked_shr(bits).unwrap_or(0);
                (bits <= u128::BITS)
                    .then(|| Ipv6Addr::from_bits(address.to_bits() & !others).into())
            }
        };
        Some(Self {
            address: address?,
            bits,
        })
    }

    /// Returns how many bits its addresses share.
    pub(crate) const fn bits(self) -> u32 {
        self.bits
    }

    /// True if an address is within both.
    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

    /// True if it has one address.
    pub(crate) const fn is_one(self) -> bool {
        self.bits == if self.address.is_ipv4() { 32 } else { 128 }
    }

    /// True if the address is within it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differing = u128::from(own.to_bits() ^ other.to_bits());
                differing >> (32 - self.bits) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.checked_shr(128 - self.bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// The reason why a text is no prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?}, which is neither an address nor a prefix such as 192.0.2.0/24")]
pub struct PrefixError(String);

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let fault = || PrefixError(text.to_owned());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| fault())?;
        let bits = match bits {
            Some(bits) => bits.parse().map_err(|_| fault())?,
            None if address.to_canonical().is_ipv4() => u32::BITS,
            None => u128::BITS,
        };
        Self::around(address, bits).ok_or_else(fault)
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Admitted,
    /// Its address is in none of the prefixes that may ask.
    Denied,
    /// Its prefix has asked too often in this second.
    Limited,
}

/// Requests of one prefix, or of a few that share a place.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    since: Mono,
    requests: u32,
}

/// Returns the place of a prefix: two products with secret numbers. It need not be more than that, since nobody is
/// shown a place, and every request pays for it.
fn place(prefix: u64, [one, other]: [u64; 2]) -> usize {
    const BITS: u32 = RATE_SLOTS.trailing_zeros();
    let once = (prefix ^ one).wrapping_mul(other | 1);
    let twice = (once ^ once >> 32).wrapping_mul(one | 1);
    usize::try_from(twice >> (u64::BITS - BITS)).expect("less than the places")
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Gate {
    /// None: everyone.
    allow: Box<[Prefix]>,
    /// Requests of a prefix in a second.
    rate: u32,
    /// Decides which prefixes share a place, so that nobody can choose whom to share one with.
    key: [u64; 2],
    requests: Rates,
    /// Of those whose answer is longer than they are.
    short: Rates,
}

/// The requests of each prefix in this second.
#[derive(Debug, Default)]
struct Rates {
    /// By the hash of a source's prefix; made with the first request.
    slots: Box<[Slot]>,
}

impl Rates {
    /// Counts one more. Returns how many there are with it.
    fn count(&mut self, key: [u64; 2], from: IpAddr, now: Mono) -> u32 {
        if self.slots.is_empty() {
            self.slots = vec![Slot::default(); RATE_SLOTS].into();
        }
        let prefix = match from.to_canonical() {
            IpAddr::V4(address) => u64::from(address.to_bits()),
            IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
        };
        let slot = &mut self.slots[place(prefix, key)];
        if now.since(slot.since) >= SECOND_NS {
            *slot = Slot {
                since: now,
                requests: 0,
            };
        }
        slot.requests = slot.requests.saturating_add(1);
        slot.requests
    }
}

impl Gate {
    /// Returns one that is open to everyone.
    pub(crate) fn open(key: [u64; 2]) -> Self {
        Self {
            allow: Box::default(),
            rate: u32::MAX,
            key,
            requests: Rates::default(),
            short: Rates::default(),
        }
    }

    /// Lets in who is in one of the prefixes, everyone if there are none, and so many requests a second
    /// of each source, an IPv4 address or 64 bits of an IPv6 one.
    pub(crate) fn restrict(&mut self, allow: &[Prefix], rate: u32) {
        (self.allow, self.rate) = (allow.into(), rate);
    }

    /// True if everyone may ask, as often as he likes.
    pub(crate) fn is_open(&self) -> bool {
        self.rate == u32::MAX && self.allow.is_empty()
    }

    pub(crate) fn judge(&mut self, from: IpAddr, now: Mono) -> Verdict {
        if !self.allow.is_empty() && !self.allow.iter().any(|prefix| prefix.contains(from)) {
            return Verdict::Denied;
        }
        if self.requests.count(self.key, from, now) > self.rate {
            Verdict::Limited
        } else {
            Verdict::Admitted
        }
    }

    /// True if this source may have an answer now that is longer than its request. A source that is faked would have
    /// it sent to somebody else.
    pub(crate) fn may_grow(&mut self, from: IpAddr, now: Mono) -> bool {
        !self.allow.is_empty() || self.short.count(self.key, from, now) <= SHORT_RATE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn prefixes_hold_what_shares_their_bits() {
        for (prefix, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("192.0.2.0/24", "::ffff:192.0.2.1", "2001:db8::1"),
            ("0.0.0.0/0", "203.0.113.1", "::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("2001:db8::1", "2001:db8::1", "2001:db8::2"),
            ("::/0", "2001:db8::1", "192.0.2.1"),
        ] {
            let parsed: Prefix = prefix.parse().expect("a prefix");
            assert!(parsed.contains(ip(inside)), "{inside} in {prefix}");
            assert!(!parsed.contains(ip(outside)), "{outside} in {prefix}");
        }
        for wrong in ["", "a", "192.0.2.0/33", "::/129", "1.2.3.4/-1", "1.2.3.4/"] {
            assert!(wrong.parse::<Prefix>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn places_are_spread_and_depend_on_the_key() {
        for step in [1, 1 << 8, 1 << 16, 1 << 32] {
            let key = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3211];
            let places = (0..10_000).map(|number| place(number * step, key));
            let different: std::collections::BTreeSet<usize> = places.collect();
            // Of ten thousand thrown at random some 9,290 are left.
            assert!(different.len() > 9_000, "{step}: {}", different.len());
            let other = [0x6a09_e667_f3bc_c908, 0xbb67_ae85_84ca_a73b];
            let same = (0..10_000).filter(|n| place(n * step, key) == place(n * step, other));
            assert!(same.count() < 100, "{step}");
        }
    }

    #[test]
    fn each_source_has_its_own_second() {
        let at = |ms: u64| Mono::from_nanos(ms * 1_000_000);
        let mut gate = Gate::open([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3211]);
        gate.restrict(&[], 3);
        let mut ask = |from, ms| gate.judge(ip(from), at(ms));
        for _ in 0..3 {
            assert_eq!(ask("192.0.2.1", 5_000), Verdict::Admitted);
            assert_eq!(ask("2001:db8::1", 5_000), Verdict::Admitted);
        }
        // Whoever has one address of a /64 has all of them.
        assert_eq!(ask("2001:db8::2", 5_000), Verdict::Limited);
        assert_eq!(ask("192.0.2.1", 5_999), Verdict::Limited);
        assert_eq!(ask("192.0.2.2", 5_999), Verdict::Admitted);
        assert_eq!(ask("192.0.2.1", 6_000), Verdict::Admitted);
    }

    #[test]
    fn only_who_is_allowed_is_let_in() {
        let mut gate = Gate::open([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3211]);
        gate.restrict(&["192.0.2.0/24".parse().expect("a prefix")], u32::MAX);
        let mut ask = |from| gate.judge(ip(from), Mono::ZERO);
        assert_eq!(ask("192.0.2.1"), Verdict::Admitted);
        assert_eq!(ask("192.0.3.1"), Verdict::Denied);
        assert_eq!(ask("2001:db8::1"), Verdict::Denied);
    }
}
