//! Makes attributes of tags. A name stands once, as the protocol wants.

use std::collections::BTreeMap;

use crate::proto::sample::Tag;

/// The attribute of tags without a key.
const KEYLESS: &str = "tags";

/// Names of attributes of ours. A user's own tag of such a name gets a prefix.
const RESERVED: [&str; 7] = [
    KEYLESS,
    "event",
    "source",
    "target",
    "backend",
    "direction",
    "owd",
];

/// Returns the attributes of these tags, sorted by name. Tags of one name share an attribute, with commas between
/// their values, as in the labels of Prometheus.
pub(crate) fn attributes<'a>(tags: impl Iterator<Item = Tag<'a>>) -> BTreeMap<String, String> {
    let mut attributes = BTreeMap::<String, String>::new();
    for tag in tags {
        let (name, value) = match (tag.key, tag.value.split_once(':')) {
            (Some(key), _) => (key.to_owned(), tag.value),
            (None, Some((key, value))) if RESERVED.contains(&key) => (format!("tag_{key}"), value),
            (None, Some((key, value))) if !key.is_empty() => (key.to_owned(), value),
            (None, _) => (KEYLESS.to_owned(), tag.value),
        };
        attributes
            .entry(name)
            .and_modify(|values| values.extend([",", value]))
            .or_insert_with(|| value.to_owned());
    }
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Labels;

    #[test]
    fn each_name_stands_once() {
        let tags = [
            "isp:a:b",
            "isp:c",
            "plain",
            ":x",
            "source:me",
            "dc.rack-1:",
            "tags:7",
        ];
        let attributes = attributes(Labels::new("a", "2001:db8::1", &tags).iter());
        let attributes: Vec<_> = attributes
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            attributes,
            [
                "dc.rack-1=",
                "isp=a:b,c",
                "source=a",
                "tag_source=me",
                "tag_tags=7",
                "tags=plain,:x",
                "target=2001:db8::1",
            ]
        );
    }
}
