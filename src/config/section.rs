//! One table of a TOML file: its keys become settings with their lines, and what is no key of it is
//! reported.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::error::{Place, Problems};
use crate::config::key::Key;
use crate::config::layer::Layer;
use crate::config::value::{nearest, shown, suggestion};

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
#[derive(Debug)]
pub(super) struct Section<'a> {
    /// What messages call it, as it is written in the file.
    name: &'static str,
    /// Where it begins.
    pub(super) place: Place,
    table: &'a DeTable<'a>,
    lines: &'a Lines,
}

impl<'a> Section<'a> {
    /// The table that is the whole file.
    pub(super) fn top(table: &'a DeTable<'a>, lines: &'a Lines) -> Self {
        let (name, place) = ("the top level", Place::Program);
        Self {
            name,
            place,
            table,
            lines,
        }
    }

    /// Returns the value of a key and its place.
    pub(super) fn find(&self, key: &str) -> Option<(&'a DeValue<'a>, Place)> {
        let (_, value) = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        Some((value.get_ref(), self.lines.place(&value.span())))
    }

    /// Reads the settings of these keys; values of another type are reported.
    pub(super) fn read(
        &self,
        keys: impl Iterator<Item = &'static Key>,
        problems: &mut Problems,
    ) -> Layer {
        let mut layer = Layer::default();
        for key in keys {
            let Some((value, place)) = self.find(key.name) else {
                continue;
            };
            match key.kind.read(value) {
                Ok(value) => layer.put(key, value, place),
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

    /// Returns the table under a key.
    pub(super) fn table(
        &self,
        key: &'static str,
        name: &'static str,
        problems: &mut Problems,
    ) -> Option<Self> {
        let (value, place) = self.find(key)?;
        let table = value.as_table().map(|table| self.inner(name, place, table));
        if table.is_none() {
            let text = format_args!("must be a table, {name}, not {}", shown(value));
            problems.add(place, key, text);
        }
        table
    }

    /// Returns the tables under a key. With `one`, its name, a single table may stand there as well.
    pub(super) fn tables(
        &self,
        key: &'static str,
        name: &'static str,
        one: Option<&'static str>,
        problems: &mut Problems,
    ) -> Vec<Self> {
        let Some((value, place)) = self.find(key) else {
            return Vec::new();
        };
        if let (Some(name), Some(table)) = (one, value.as_table()) {
            return vec![self.inner(name, place, table)];
        }
        let mut found = Vec::new();
        let items: Option<Vec<&Spanned<DeValue<'_>>>> =
            value.as_array().map(|array| array.iter().collect());
        for item in items.iter().flatten() {
            if let Some(table) = item.get_ref().as_table() {
                found.push(self.inner(name, self.lines.place(&item.span()), table));
            }
        }
        if items.is_none_or(|items| items.len() != found.len()) {
            let text = format_args!("must be tables, each under {name}, not {}", shown(value));
            problems.add(place, key, text);
        }
        found
    }

    fn inner(&self, name: &'static str, place: Place, table: &'a DeTable<'a>) -> Self {
        let lines = self.lines;
        Self {
            name,
            place,
            table,
            lines,
        }
    }
}
