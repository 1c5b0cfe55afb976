//! Lists of targets: Prometheus' groups in JSON or YAML, and tables of ours in TOML.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::List;
use crate::config::error::{Place, Problems};
use crate::config::glob::Format;
use crate::config::key::Table;
use crate::config::keys::{self, HOST, LABEL, TAGS};
use crate::config::layer::Layer;
use crate::config::section::{Document, Times};
use crate::limits::TARGETS_MAX;

/// The label that says what a target is called. Others that begin so are left out.
const LABEL_OF_TARGET: &str = "__label__";

/// A target as it is listed.
#[derive(Debug)]
pub(super) struct Entry {
    /// What messages call it.
    pub(super) written: String,
    pub(super) layer: Layer,
    /// The port behind the host.
    pub(super) port: Option<u16>,
    /// Those of the list, which come behind those of the discovery.
    pub(super) tags: Vec<String>,
    pub(super) place: Place,
}

/// Targets with the same labels.
#[derive(Debug, Deserialize)]
struct Group {
    targets: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// Returns the targets of a list, or reports why it cannot be read.
pub(super) fn entries(list: &List, problems: &mut Problems) -> Vec<Entry> {
    let groups: Result<Vec<Group>, String> = match list.format {
        Format::Toml => return tables(&list.text, problems),
        Format::Json => serde_json::from_str(&list.text).map_err(|error| error.to_string()),
        Format::Yaml => serde_saphyr::from_str(&list.text).map_err(|error| error.to_string()),
    };
    match groups {
        Ok(groups) => of_groups(groups),
        Err(error) => {
            let error = error.lines().next().unwrap_or_default();
            let text = format!("{}: no list of groups with `targets`: {error}", list.name);
            problems.add_text(Place::Program, text);
            Vec::new()
        }
    }
}

fn of_groups(groups: Vec<Group>) -> Vec<Entry> {
    let mut entries = Vec::new();
    for group in groups {
        let tags = group
            .labels
            .iter()
            .filter(|(key, _)| !key.starts_with("__"));
        let tags: Vec<String> = tags.map(|(key, value)| format!("{key}:{value}")).collect();
        for written in group.targets {
            // One more than there may be says as much as a million.
            if entries.len() > TARGETS_MAX {
                return entries;
            }
            let mut layer = Layer::default();
            let place = Place::Program;
            let (host, port) = split(&written);
            layer.put(&HOST, host.to_owned().into(), place);
            if let Some(label) = group.labels.get(LABEL_OF_TARGET) {
                layer.put(&LABEL, label.clone().into(), place);
            }
            entries.push(Entry {
                tags: tags.clone(),
                written,
                layer,
                port,
                place,
            });
        }
    }
    entries
}

/// Divides a host and the port behind it. IPv6 has brackets then.
fn split(written: &str) -> (&str, Option<u16>) {
    let (host, port) = match written.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse().ok())
        }
        _ => (written, None),
    };
    // What is no port stays a part of the host, whose fault is told.
    let host = if port.is_some() { host } else { written };
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    (bare.unwrap_or(host), port)
}

fn tables(text: &str, problems: &mut Problems) -> Vec<Entry> {
    let Some(document) = Document::parse(text, problems) else {
        return Vec::new();
    };
    let top = document.top("a list of targets");
    top.check_names(["targets"].into_iter(), problems);
    let mut entries = Vec::new();
    for target in top.tables("targets", "[[targets]]", Times::More, problems) {
        if entries.len() > TARGETS_MAX {
            break;
        }
        target.check_names(keys::of(Table::Targets).map(|key| key.name), problems);
        let mut layer = target.read(Table::Targets, keys::of(Table::Targets), problems);
        let tags = layer.find(&TAGS).unwrap_or_default();
        layer.remove(&TAGS);
        entries.push(Entry {
            written: layer.find(&HOST).unwrap_or_default(),
            layer,
            port: None,
            tags,
            place: target.place,
        });
    }
    entries
}
