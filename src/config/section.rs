//! One table of a TOML file: its keys become settings with their lines, and what is no key of it is
//! reported.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::credentials;
use crate::config::error::{Place, Problems};
use crate::config::key::{Key, Table};
use crate::config::layer::Layer;
use crate::config::value::{Kind, Value, nearest, shown, suggestion};

/// Turns byte positions into lines. A file of ten thousand targets has a megabyte, so it is searched
/// for its lines once.
#[derive(Debug)]
pub(super) struct Lines {
    /// Where each line but the last ends.
    ends: Vec<usize>,
}

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        Self {
            ends: text.match_indices('\n').map(|(at, _)| at).collect(),
        }
    }

    pub(super) fn place(&self, span: &Range<usize>) -> Place {
        Place::Line(1 + self.ends.partition_point(|end| *end < span.start))
    }
}

/// A table of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section<'a> {
    /// What messages call it, as it is written in the file.
    pub(super) name: &'static str,
    /// Where it begins.
    pub(super) place: Place,
    pub(super) table: &'a DeTable<'a>,
    pub(super) lines: &'a Lines,
    /// The folder of credentials.
    credentials: Option<&'a str>,
}

/// A text that is TOML, with its lines.
#[derive(Debug)]
pub(super) struct Document<'a> {
    table: Spanned<DeTable<'a>>,
    lines: Lines,
    credentials: Option<String>,
}

impl<'a> Document<'a> {
    /// Reads a text, or reports where it is no TOML.
    pub(super) fn parse(text: &'a str, problems: &mut Problems) -> Option<Self> {
        let lines = Lines::of(text);
        match DeTable::parse(text) {
            Ok(table) => Some(Self {
                table,
                lines,
                credentials: None,
            }),
            Err(error) => {
                let span = error.span();
                let place = span.map_or(Place::Program, |span| lines.place(&span));
                problems.add_text(place, format!("not TOML: {}", error.message()));
                None
            }
        }
    }

    /// Has paths lead to the credentials of this folder, if there is one.
    pub(super) fn with_credentials(mut self, folder: Option<String>) -> Self {
        self.credentials = folder;
        self
    }

    /// Returns its top level, which messages call by this name.
    pub(super) fn top(&self, name: &'static str) -> Section<'_> {
        Section {
            name,
            place: Place::Program,
            table: self.table.get_ref(),
            lines: &self.lines,
            credentials: self.credentials.as_deref(),
        }
    }
}

/// How often a table may stand under its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    Once,
    OnceOrMore,
    More,
}

impl<'a> Section<'a> {
    /// Returns the value of a key and its place.
    pub(super) fn find(&self, key: &str) -> Option<(&'a DeValue<'a>, Place)> {
        let (_, value) = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        Some((value.get_ref(), self.lines.place(&value.span())))
    }

    /// Reads the settings of these keys of a table; values of another type are reported.
    pub(super) fn read(
        &self,
        table: Table,
        keys: impl Iterator<Item = &'static Key>,
        problems: &mut Problems,
    ) -> Layer {
        let mut layer = Layer::default();
        for key in keys {
            let Some((value, place)) = self.find(key.name) else {
                continue;
            };
            match key.kind_in(table).read(value) {
                Ok(Value::Text(text)) if matches!(key.kind, Kind::Path) => {
                    match credentials::path(&text, self.credentials) {
                        None => layer.put(key, Value::Text(text), place),
                        Some(Ok(path)) => layer.put(key, Value::Text(path), place),
                        Some(Err(fault)) => problems.add(place, key.name, fault),
                    }
                }
                Ok(value) => layer.put(key, value, place),
                Err(fault) if key.kind.read(value).is_ok() => {
                    let text = format_args!("{fault}, which only the top level can have");
                    problems.add(place, key.name, text);
                }
                Err(fault) => problems.add(place, key.name, fault),
            }
        }
        layer
    }

    /// Reports every name that is not among `names`, with the nearest one that is.
    pub(super) fn check_names(
        &self,
        names: impl Iterator<Item = &'static str>,
        problems: &mut Problems,
    ) {
        let mut names: Vec<&str> = names.collect();
        names.sort_unstable();
        names.dedup();
        for key in self.table.keys() {
            if names.contains(&key.get_ref().as_ref()) {
                continue;
            }
            let hint = match nearest(key.get_ref(), names.iter().copied()) {
                Some(near) => suggestion(Some(near)),
                None => format!("; it has `{}`", names.join("`, `")),
            };
            let text = format!("is not a key of {}{hint}", self.name);
            problems.add(self.lines.place(&key.span()), key.get_ref(), text);
        }
    }

    /// Returns the tables under a key. `name` is what they are called where there can be several.
    pub(super) fn tables(
        &self,
        key: &'static str,
        name: &'static str,
        times: Times,
        problems: &mut Problems,
    ) -> Vec<Self> {
        let Some((value, place)) = self.find(key) else {
            return Vec::new();
        };
        let inner = |name, place, table| Self {
            name,
            place,
            table,
            ..*self
        };
        let tables = match (value.as_table(), value.as_array()) {
            (Some(table), _) if times == Times::OnceOrMore => {
                Some(vec![inner(&name[1..name.len() - 1], place, table)])
            }
            (Some(table), _) if times == Times::Once => Some(vec![inner(name, place, table)]),
            (_, Some(items)) if times != Times::Once => {
                let tables = items.iter().map(|item| {
                    let place = self.lines.place(&item.span());
                    Some(inner(name, place, item.get_ref().as_table()?))
                });
                tables.collect()
            }
            _ => None,
        };
        tables.unwrap_or_else(|| {
            let wanted = match times {
                Times::Once => format!("a table, {name}"),
                Times::OnceOrMore | Times::More => format!("tables, each under {name}"),
            };
            let text = format_args!("must be {wanted}, not {}", shown(value));
            problems.add(place, key, text);
            Vec::new()
        })
    }
}
