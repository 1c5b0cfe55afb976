//! Makes labels of tags. Any tag and any target is a valid label.

use std::collections::BTreeMap;

use crate::proto::sample::Tag;

/// The name and the value of a label.
pub(crate) type Label = (String, String);

/// The label of tags without a key.
const KEYLESS: &str = "tags";

/// Names that have a meaning in Prometheus or the gateway, and those of labels of ours.
const RESERVED: [&str; 11] = [
    "job",
    "instance",
    "le",
    "quantile",
    KEYLESS,
    "event",
    "source",
    "target",
    "backend",
    "direction",
    "owd",
];

/// Returns the labels of these tags, sorted by name. Tags of one name share a label, with commas
/// between their values. An empty value is no label, as in Prometheus.
pub(crate) fn labels<'a>(tags: impl Iterator<Item = Tag<'a>>) -> Vec<Label> {
    let mut labels = BTreeMap::<String, String>::new();
    for tag in tags {
        let (name, value) = match (tag.key, tag.value.split_once(':')) {
            (Some(key), _) => (key.to_owned(), tag.value),
            (None, Some((key, value))) if !key.is_empty() => (label_name(key), value),
            (None, _) => (KEYLESS.to_owned(), tag.value),
        };
        if value.is_empty() {
            continue;
        }
        let label = labels.entry(name).or_default();
        if !label.is_empty() {
            label.push(',');
        }
        label.push_str(value);
    }
    labels.into_iter().collect()
}

/// Returns a key of the user, or of a stranger, as `[a-zA-Z_][a-zA-Z0-9_]*`, with a prefix if the name is
/// reserved.
fn label_name(key: &str) -> String {
    let name = sanitised(key);
    let is_reserved = RESERVED.contains(&name.as_str()) || name.starts_with("__");
    if is_reserved || name.starts_with(|first: char| first.is_ascii_digit()) {
        return format!("tag_{name}");
    }
    name
}

/// Replaces all but letters, digits and underscores by underscores.
pub(super) fn sanitised(name: &str) -> String {
    let keep = |letter: char| {
        if letter.is_ascii_alphanumeric() {
            letter
        } else {
            '_'
        }
    };
    name.chars().map(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Labels;

    fn of(target: &str, tags: &[&str]) -> String {
        let labels = labels(Labels::new("a", target, tags).iter());
        let shown: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        shown.join(" ")
    }

    #[test]
    fn any_tag_is_a_label() {
        assert_eq!(of("2001:db8::1", &[]), "source=a target=2001:db8::1");
        assert_eq!(
            of(
                "b",
                &["isp:local", "dc-1.rack:a:b", "plain", ":odd", "none:"]
            ),
            "dc_1_rack=a:b isp=local source=a tags=plain,:odd target=b"
        );
        assert_eq!(
            of("b", &["1st:x", "__name__:x", "le:5", "job:j", "tags:t"]),
            "source=a tag_1st=x tag___name__=x tag_job=j tag_le=5 tag_tags=t target=b"
        );
        assert_eq!(
            of(
                "b",
                &[
                    "source:x",
                    "target:y",
                    "direction:north",
                    "owd:z",
                    "event:e",
                    "backend:q"
                ]
            ),
            "source=a tag_backend=q tag_direction=north tag_event=e tag_owd=z tag_source=x \
             tag_target=y target=b"
        );
        assert_eq!(
            of("b", &["a-b:1", "a.b:2", "\u{e9}t\u{e9}:3"]),
            "_t_=3 a_b=1,2 source=a target=b"
        );
    }
}
