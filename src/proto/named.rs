//! STAMP senders that are not ours, which say no name of their own: what the configuration calls them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::proto::gate::Prefix;
use crate::proto::wire::native::authenticated::Key;

/// The senders of some addresses, and what their one-way delays are published under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SenderSpec {
    /// Where their requests come from. Each address of a prefix has labels for itself.
    pub from: Prefix,
    /// The session identifier of their requests; `None`: any.
    pub ssid: Option<u16>,
    /// What they are called in the tag `source`.
    pub label: Box<str>,
    /// Tags of what is published about them.
    pub tags: Vec<Box<str>>,
    /// Nanoseconds that their clocks are ahead of UTC.
    pub utc_offset_ns: i64,
    /// What all their requests must be authenticated with.
    pub key: Option<Arc<Key>>,
}

/// All of them, found by who asks.
#[derive(Debug, Default)]
pub(crate) struct NamedSenders {
    by_prefix: BTreeMap<Prefix, Vec<Arc<SenderSpec>>>,
    /// Lengths of the prefixes, the longest first.
    lengths: Vec<u32>,
    labels: BTreeSet<Box<str>>,
}

impl NamedSenders {
    pub(crate) fn new(specs: &[SenderSpec]) -> Self {
        let mut named = Self::default();
        for spec in specs {
            let of_prefix = named.by_prefix.entry(spec.from).or_default();
            of_prefix.push(Arc::new(spec.clone()));
            named.labels.insert(spec.label.clone());
        }
        let lengths: BTreeSet<u32> = named.by_prefix.keys().map(|from| from.bits()).collect();
        named.lengths = lengths.into_iter().rev().collect();
        named
    }

    /// Returns who sends requests of this session identifier from an address: of those that fit the one with
    /// the longest prefix, and of two with the same the one that has the identifier.
    pub(crate) fn find(&self, from: IpAddr, ssid: u16) -> Option<&Arc<SenderSpec>> {
        self.lengths.iter().find_map(|bits| {
            let specs = self.by_prefix.get(&Prefix::around(from, *bits)?)?;
            let of = |wanted: Option<u16>| specs.iter().find(|spec| spec.ssid == wanted);
            of(Some(ssid)).or_else(|| of(None))
        })
    }

    /// True if one of them is called so.
    pub(crate) fn has_label(&self, label: &str) -> bool {
        self.labels.contains(label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(from: &str, ssid: Option<u16>) -> SenderSpec {
        SenderSpec {
            from: from.parse().expect("a prefix"),
            ssid,
            label: format!("{from} {ssid:?}").into(),
            tags: Vec::new(),
            utc_offset_ns: 0,
            key: None,
        }
    }

    #[test]
    fn the_longest_prefix_wins_and_then_the_identifier() {
        let named = NamedSenders::new(&[
            spec("0.0.0.0/0", Some(9)),
            spec("192.0.2.0/24", None),
            spec("192.0.2.0/24", Some(7)),
            spec("192.0.2.1", Some(8)),
            spec("2001:db8::/32", None),
        ]);
        for (from, ssid, wanted) in [
            ("192.0.2.1", 8, Some("192.0.2.1 Some(8)")),
            ("::ffff:192.0.2.1", 8, Some("192.0.2.1 Some(8)")),
            // The longest has another identifier.
            ("192.0.2.1", 7, Some("192.0.2.0/24 Some(7)")),
            ("192.0.2.2", 8, Some("192.0.2.0/24 None")),
            ("198.51.100.1", 9, Some("0.0.0.0/0 Some(9)")),
            ("198.51.100.1", 8, None),
            ("2001:db8::1", 0, Some("2001:db8::/32 None")),
            ("2001:db9::1", 9, None),
        ] {
            let found = named.find(from.parse().expect("an address"), ssid);
            let label = found.map(|spec| &*spec.label);
            assert_eq!(label, wanted, "{from} {ssid}");
        }
        assert!(named.has_label("192.0.2.0/24 None") && !named.has_label(""));
    }
}
