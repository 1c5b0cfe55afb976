//! The tables `[[discovery]]`: where lists of targets are, what their targets inherit, and how lists are read.

mod list;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use crate::config::Config;
use crate::config::auth::KeyFiles;
use crate::config::error::{ConfigError, Place, Problems};
use crate::config::glob::{FileGlob, Format};
use crate::config::key::Table;
use crate::config::keys::{
    self, DISCOVERY_CA_FILE, DISCOVERY_FILES, DISCOVERY_TOKEN_FILE, DISCOVERY_URL, HEADERS_OF_FILE,
    HOST, LABEL, REFRESH, TAGS, TCP_PORT, UDP_PORT,
};
use crate::config::layer::Layer;
use crate::config::outside::System;
use crate::config::section::Section;
use crate::config::value::nanos;
use crate::limits::{DISCOVERIES_MAX, TARGETS_MAX};
use crate::proto::TargetSpec;

/// One table as it is written.
#[derive(Debug)]
pub(super) struct DiscoveryTable {
    place: Place,
    own: Layer,
    /// What its targets inherit.
    shared: Layer,
}

/// Where targets are listed, and what they inherit.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DiscoveryConfig {
    /// Files; the last part of a path may have `*` in it.
    pub files: Vec<FileGlob>,
    /// A server that answers with a list.
    pub url: Option<Url>,
    /// How often both are looked at.
    pub refresh: Duration,
    /// A file with headers of the request, a line each.
    pub headers_file: Option<PathBuf>,
    /// A file with a bearer token.
    pub token_file: Option<PathBuf>,
    /// Certificates that are trusted beside those of the system.
    pub ca_file: Option<PathBuf>,
    shared: Layer,
}

/// A list as it was read.
#[derive(Clone, Debug)]
pub struct List {
    /// What messages call it.
    pub name: String,
    /// How it is written.
    pub format: Format,
    /// What it says.
    pub text: String,
}

impl DiscoveryTable {
    pub(super) fn read(section: &Section<'_>, problems: &mut Problems) -> Self {
        let names = keys::of(Table::Discovery).chain(keys::shared());
        section.check_names(names.map(|key| key.name), problems);
        Self {
            place: section.place,
            own: section.read(Table::Discovery, keys::of(Table::Discovery), problems),
            shared: section.read(Table::Targets, keys::shared(), problems),
        }
    }

    /// Returns its own settings, and those that its targets inherit.
    pub(super) const fn layers(&self) -> [(&Layer, Table); 2] {
        [
            (&self.own, Table::Discovery),
            (&self.shared, Table::Targets),
        ]
    }

    /// Returns everything that its targets inherit, to be shown.
    fn inheritance(&self, inherited: &Layer) -> Layer {
        let mut all = self.shared.over(inherited);
        all.remove(&HOST);
        all.remove(&LABEL);
        // A port that is given holds before that of a list.
        for port in [&UDP_PORT, &TCP_PORT] {
            if self.shared.find::<u16>(port).is_none() {
                all.remove(port);
            }
        }
        all
    }
}

/// Decides everything about the tables.
pub(super) fn resolve(
    tables: Vec<DiscoveryTable>,
    inherited: &Layer,
    shown: &mut String,
    problems: &mut Problems,
) -> Vec<DiscoveryConfig> {
    if tables.len() > DISCOVERIES_MAX {
        let text = format_args!("are {}, and {DISCOVERIES_MAX} is the maximum", tables.len());
        problems.add(Place::Program, "discovery", text);
        return Vec::new();
    }
    let resolve = |mut table: DiscoveryTable| {
        let (has_files, has_url) = (
            table.own.find::<Vec<String>>(&DISCOVERY_FILES).is_some(),
            table.own.find::<String>(&DISCOVERY_URL).is_some(),
        );
        table.own.check(Table::Discovery, problems);
        table.shared.check(Table::Targets, problems);
        if has_files == has_url {
            let text = "a discovery must have either `files` or a `url`";
            problems.add_text(table.place, text);
        }
        if has_url && !cfg!(feature = "http-backends") {
            let text =
                "cannot be asked by this build: it needs the Cargo feature \"http-backends\"";
            problems.add(table.own.place(&DISCOVERY_URL), DISCOVERY_URL.name, text);
        }
        table.own.show("[[discovery]]", Table::Discovery, shown);
        table.inheritance(inherited).show("", Table::Targets, shown);
        let files: Vec<String> = table.own.find(&DISCOVERY_FILES).unwrap_or_default();
        let url: Option<String> = table.own.find(&DISCOVERY_URL);
        DiscoveryConfig {
            files: files
                .iter()
                .filter_map(|text| FileGlob::parse(text).ok())
                .collect(),
            url: url.and_then(|text| text.parse().ok()),
            refresh: Duration::from_nanos(nanos(table.own.get::<f64>(&REFRESH) * 1e9)),
            headers_file: table.own.find(&HEADERS_OF_FILE),
            token_file: table.own.find(&DISCOVERY_TOKEN_FILE),
            ca_file: table.own.find(&DISCOVERY_CA_FILE),
            shared: table.shared,
        }
    };
    tables.into_iter().map(resolve).collect()
}

impl DiscoveryConfig {
    /// Returns what messages call it: the files or the URL.
    pub fn name(&self) -> String {
        match &self.url {
            // What stands behind the path may be secret.
            Some(url) => url
                .as_str()
                .split('?')
                .next()
                .unwrap_or_default()
                .to_owned(),
            None => {
                let paths = self.files.iter().map(|glob| glob.folder.join(&glob.name));
                let paths: Vec<String> = paths.map(|path| path.display().to_string()).collect();
                paths.join(", ")
            }
        }
    }
}

impl Config {
    /// Returns the targets of lists. If anything is wrong with one of them the error says what, and there are none.
    pub fn listed(
        &self,
        discovery: &DiscoveryConfig,
        lists: &[List],
    ) -> Result<Vec<TargetSpec>, ConfigError> {
        let mut keys = KeyFiles::of(&System);
        let mut targets: Vec<TargetSpec> = Vec::new();
        let mut seen = BTreeSet::new();
        for list in lists {
            let path = Path::new(&list.name);
            let mut problems = Problems::default();
            let entries = list::entries(list, &mut problems);
            let is_read = problems.faults.is_empty();
            for mut entry in entries.into_iter().filter(|_| is_read) {
                if targets.len() >= TARGETS_MAX {
                    let text = format_args!("are more than {TARGETS_MAX}, which is the maximum");
                    problems.add(Place::Program, "targets", text);
                    break;
                }
                let shared = &discovery.shared;
                entry.layer = entry.layer.over(shared);
                let is_known = [&UDP_PORT, &TCP_PORT].map(|key| shared.find::<u16>(key).is_some());
                // The port of a scraper is none of ours.
                if let (Some(port), [false, false]) = (entry.port, is_known) {
                    entry.layer.put(&UDP_PORT, port.into(), entry.place);
                    entry.layer.put(&TCP_PORT, port.into(), entry.place);
                }
                let tags: Vec<String> = shared.find(&TAGS).unwrap_or_default();
                if !entry.tags.is_empty() {
                    let all = [tags, entry.tags].concat();
                    entry.layer.put(&TAGS, all.into(), entry.place);
                }
                let before = problems.faults.len();
                entry.layer.check(Table::Targets, &mut problems);
                let resolved = (problems.faults.len() == before)
                    .then(|| self.resolve(&entry.layer, entry.place, &mut keys, &mut problems));
                if let Some((spec, _)) = resolved.flatten() {
                    // Groups may have targets in common.
                    let is_first = seen.insert((spec.host.clone(), spec.label.clone()));
                    if is_first || !targets.contains(&spec) {
                        targets.push(spec);
                    }
                }
                // Of many alike one says enough.
                if !problems.faults.is_empty() {
                    let of = |text: &str| format!("target {:?}: {text}", entry.written);
                    problems
                        .faults
                        .iter_mut()
                        .for_each(|fault| fault.text = of(&fault.text));
                    break;
                }
            }
            problems.or(Some(path), ())?;
        }
        Ok(targets)
    }
}
