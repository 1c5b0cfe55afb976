//! Targets that cannot be told apart: in every record, or in a store that writes tags in its own way.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::metrics::MetricsConfig;
use crate::config::words::Backend;
use crate::proto::sample::Tag;
use crate::proto::{Labels, TargetSpec};
use crate::publish;

/// Returns what is to be said of targets that share their series, and of tags that share a label.
pub(super) fn warnings(targets: &[TargetSpec], metrics: &[MetricsConfig]) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut seen = BTreeSet::new();
    let mut unique = Vec::new();
    for target in targets {
        let label = &target.label;
        if seen.insert((label, &target.tags)) {
            unique.push(target);
        } else {
            warnings.push(format!(
                "two targets are called \"{label}\" with the same tags: their samples cannot be told \
                 apart; give one another `label`",
            ));
        }
    }
    for metrics in metrics {
        let store = &metrics.name;
        let mut known = BTreeMap::new();
        for target in &unique {
            let Some(tags) = tags_of(metrics, target) else {
                break;
            };
            for (one, other) in joined(metrics, target) {
                warnings.push(format!(
                    "the tags \"{one}\" and \"{other}\" of \"{}\" become one label in {store}",
                    target.label
                ));
            }
            if let Some(other) = known.insert(tags, &target.label) {
                warnings.push(format!(
                    "the targets \"{other}\" and \"{}\" become one in {store}, which writes their labels \
                     and tags alike; give one another `label`",
                    target.label
                ));
            }
        }
    }
    warnings
}

/// Returns what a store makes of a target's tags, if that is not the tags as they are.
fn tags_of(metrics: &MetricsConfig, target: &TargetSpec) -> Option<BTreeSet<String>> {
    let labels = Labels::new("", &target.label, &target.tags);
    match metrics.settings.backend() {
        Backend::Datadog => {
            let tag = |tag: Tag<'_>| publish::datadog_tag(&tag.to_string());
            Some(labels.iter().map(tag).collect())
        }
        Backend::Otlp => {
            let pair = |(name, value)| format!("{name}={value}");
            Some(
                publish::otlp_attributes(labels.iter())
                    .into_iter()
                    .map(pair)
                    .collect(),
            )
        }
        #[cfg(feature = "http-backends")]
        Backend::Pushgateway => {
            let labels = publish::prometheus_labels(labels.iter());
            let pair = |(name, value)| format!("{name}={value}");
            Some(labels.into_iter().map(pair).collect())
        }
        _ => None,
    }
}

/// Returns the pairs of a target's tags that have other keys and the same label.
#[cfg(feature = "http-backends")]
fn joined<'t>(metrics: &MetricsConfig, target: &'t TargetSpec) -> Vec<(&'t str, &'t str)> {
    let mut found = Vec::new();
    if metrics.settings.backend() != Backend::Pushgateway {
        return found;
    }
    let key = |tag: &'t str| tag.split_once(':').map_or("", |(key, _)| key);
    let mut known = BTreeMap::<String, &str>::new();
    for value in target.tags.iter().map(|tag| &**tag) {
        let alone = std::iter::once(Tag { key: None, value });
        for (name, _) in publish::prometheus_labels(alone) {
            let other = known.insert(name, value).unwrap_or(value);
            if key(other) != key(value) {
                found.push((other, value));
            }
        }
    }
    found
}

/// Without its backends no store writes tags otherwise.
#[cfg(not(feature = "http-backends"))]
fn joined<'t>(_: &MetricsConfig, _: &'t TargetSpec) -> [(&'t str, &'t str); 0] {
    []
}

#[cfg(all(test, feature = "http-backends"))]
mod tests {
    use crate::config::{Config, Overrides};

    fn told(store: &str, targets: [&str; 2]) -> Vec<String> {
        let of = |rest: &str| format!("[[targets]]\nhost = '192.0.2.1'\n{rest}\n");
        let key = if store == "datadog" {
            "api_key = 'k'"
        } else {
            ""
        };
        let file = format!(
            "{}{}[metrics]\nbackend = '{store}'\n{key}",
            of(targets[0]),
            of(targets[1])
        );
        let config = Config::parse(&file, &Overrides::default());
        config.unwrap_or_else(|error| panic!("{error}")).warnings
    }

    #[test]
    fn targets_that_become_one_in_a_store_are_worth_a_warning() {
        for (store, targets) in [
            ("datadog", ["label = 'Fra 1'", "label = 'fra_1'"]),
            (
                "datadog",
                [
                    "label = 'a'\ntags = ['isp:X']",
                    "label = 'a'\ntags = ['isp:x']",
                ],
            ),
            ("datadog", ["label = 'a|b'", "label = 'a?b'"]),
            (
                "pushgateway",
                [
                    "label = 'a'\ntags = ['a.b:1']",
                    "label = 'a'\ntags = ['a-b:1']",
                ],
            ),
            ("pushgateway", ["label = 'a'\ntags = ['x:']", "label = 'a'"]),
            (
                "otlp",
                [
                    "label = 'a'\ntags = ['x:1', 'x:2']",
                    "label = 'a'\ntags = ['x:1,2']",
                ],
            ),
        ] {
            let told = told(store, targets);
            assert_eq!(told.len(), 1, "{targets:?}: {told:?}");
            assert!(
                told[0].contains(&format!("become one in {store}")),
                "{told:?}"
            );
            assert_eq!(super::tests::told("clickhouse", targets), [""; 0]);
        }
        for store in ["datadog", "pushgateway", "otlp"] {
            assert_eq!(told(store, ["label = 'fra1'", "label = 'fra2'"]), [""; 0]);
        }
        let same = told("datadog", ["label = 'a'", "label = 'a'"]);
        assert_eq!(same.len(), 1, "it is told once: {same:?}");
    }

    #[test]
    fn tags_that_become_one_label_are_worth_a_warning() {
        for tags in ["'a.b:1', 'a-b:2'", "'r\u{f6}m:1', 'r\u{e4}m:1'"] {
            let told = told("pushgateway", [&format!("tags = [{tags}]"), "label = 'b'"]);
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(
                told[0].contains("become one label in pushgateway"),
                "{told:?}"
            );
        }
        assert_eq!(
            told("pushgateway", ["tags = ['a:1', 'a:2']", "label = 'b'"]),
            [""; 0]
        );
    }
}
