//! One table of a TOML file, read key by key: every value keeps its line, and what nobody asked
//! for is unknown.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::error::{Given, Place, Problems};

/// Names further from what was written than this are no suggestion.
const SIMILARITY_MIN: f64 = 0.8;

/// Turns byte positions into lines. Every value asks for its own, and a file of ten thousand targets
/// has a megabyte: it is looked through for its lines once.
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

/// A table while it is read.
#[derive(Debug)]
pub(super) struct Section<'a> {
    /// What it is called in messages, as it is written in the file.
    name: &'static str,
    table: &'a DeTable<'a>,
    lines: &'a Lines,
    asked: BTreeSet<&'static str>,
}

impl<'a> Section<'a> {
    pub(super) fn new(name: &'static str, table: &'a DeTable<'a>, lines: &'a Lines) -> Self {
        Self {
            name,
            table,
            lines,
            asked: BTreeSet::new(),
        }
    }

    fn take(&mut self, key: &'static str) -> Option<(&'a DeValue<'a>, Place)> {
        self.asked.insert(key);
        let (_, value) = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        Some((value.get_ref(), self.lines.place(&value.span())))
    }

    /// Reads a key with a function that says nothing of values of another type.
    fn read<T>(
        &mut self,
        key: &'static str,
        wanted: &str,
        problems: &mut Problems,
        convert: impl FnOnce(&DeValue<'_>) -> Option<T>,
    ) -> Option<Given<T>> {
        let (value, place) = self.take(key)?;
        if let Some(value) = convert(value) {
            return Some(Given { value, place });
        }
        problems.add(
            place,
            key,
            format_args!("must be {wanted}, not {}", shown(value)),
        );
        None
    }

    pub(super) fn string(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<Given<String>> {
        self.read(key, "a string", problems, |value| {
            value.as_str().map(str::to_owned)
        })
    }

    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method alone is for one lifetime only"
    )]
    pub(super) fn boolean(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<Given<bool>> {
        self.read(key, "true or false", problems, |value| value.as_bool())
    }

    pub(super) fn integer(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<Given<i64>> {
        self.read(key, "a whole number", problems, integer)
    }

    pub(super) fn number(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<Given<f64>> {
        self.read(key, "a number", problems, number)
    }

    /// A number, or the word `auto`, which is none.
    pub(super) fn number_or_auto(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<Given<Option<f64>>> {
        self.read(key, "a number or \"auto\"", problems, |value| {
            match value.as_str() {
                Some(word) => word.eq_ignore_ascii_case("auto").then_some(None),
                None => number(value).map(Some),
            }
        })
    }

    pub(super) fn strings(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<Given<Vec<String>>> {
        self.read(key, "a list of strings", problems, strings)
    }

    pub(super) fn numbers(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<Given<Vec<f64>>> {
        self.read(key, "a list of numbers", problems, |value| {
            let items = value.as_array()?.iter();
            items.map(|item| number(item.get_ref())).collect()
        })
    }

    /// A table of strings, or a list of them, which stand for `names` in that order.
    pub(super) fn names(
        &mut self,
        key: &'static str,
        names: &[&str],
        problems: &mut Problems,
    ) -> Option<Given<BTreeMap<String, String>>> {
        let wanted = format!("a table of strings, or a list of {}", names.len());
        self.read(key, &wanted, problems, |value| {
            let Some(table) = value.as_table() else {
                let listed = strings(value).filter(|listed| listed.len() == names.len())?;
                let names = names.iter().map(|name| (*name).to_owned());
                return Some(names.zip(listed).collect());
            };
            let pairs = table.iter().map(|(name, value)| {
                let value = value.get_ref().as_str()?;
                Some((name.get_ref().to_string(), value.to_owned()))
            });
            pairs.collect()
        })
    }

    /// A list of strings, or one string alone.
    pub(super) fn string_or_strings(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<Given<Vec<String>>> {
        self.read(
            key,
            "a string or a list of strings",
            problems,
            |value| match value.as_str() {
                Some(one) => Some(vec![one.to_owned()]),
                None => strings(value),
            },
        )
    }

    /// One of a few words, in whatever case.
    pub(super) fn word<T: Word>(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<Given<T>> {
        let (value, place) = self.take(key)?;
        let found = value.as_str().and_then(T::from_word);
        if found.is_none() {
            let text = format!("must be {}, not {}", T::words(), shown(value));
            let near = value
                .as_str()
                .and_then(|word| nearest(word, T::WORDS.iter().map(|w| w.0)));
            problems.add(place, key, text + &suggestion(near));
        }
        found.map(|value| Given { value, place })
    }

    /// The table under a key.
    pub(super) fn table(
        &mut self,
        key: &'static str,
        name: &'static str,
        problems: &mut Problems,
    ) -> Option<Self> {
        let (value, place) = self.take(key)?;
        let table = value
            .as_table()
            .map(|table| Section::new(name, table, self.lines));
        if table.is_none() {
            let text = format_args!("must be a table, {name}, not {}", shown(value));
            problems.add(place, key, text);
        }
        table
    }

    /// The tables under a key, each with its place; a table alone counts as one where `one` has a
    /// name for it.
    pub(super) fn tables(
        &mut self,
        key: &'static str,
        name: &'static str,
        one: Option<&'static str>,
        problems: &mut Problems,
    ) -> Vec<(Self, Place)> {
        let Some((value, place)) = self.take(key) else {
            return Vec::new();
        };
        if let (Some(name), Some(table)) = (one, value.as_table()) {
            return vec![(Section::new(name, table, self.lines), place)];
        }
        let mut found = Vec::new();
        let items: Option<Vec<&Spanned<DeValue<'_>>>> =
            value.as_array().map(|array| array.iter().collect());
        for item in items.iter().flatten() {
            if let Some(table) = item.get_ref().as_table() {
                let place = self.lines.place(&item.span());
                found.push((Section::new(name, table, self.lines), place));
            }
        }
        if items.is_none_or(|items| items.len() != found.len()) {
            let text = format_args!("must be tables, each under {name}, not {}", shown(value));
            problems.add(place, key, text);
        }
        found
    }

    fn keys(&self) -> String {
        let keys: Vec<String> = self.asked.iter().map(|key| format!("`{key}`")).collect();
        keys.join(", ")
    }

    /// Reports every key that was not asked for.
    pub(super) fn finish(self, problems: &mut Problems) {
        for key in self.table.keys() {
            if self.asked.contains(key.get_ref().as_ref()) {
                continue;
            }
            let near = nearest(key.get_ref(), self.asked.iter().copied());
            let hint = match near {
                Some(_) => suggestion(near),
                None => format!("; it has {}", self.keys()),
            };
            let text = format!("is not a key of {}", self.name) + &hint;
            problems.add(self.lines.place(&key.span()), key.get_ref(), text);
        }
    }
}

/// One of a few words of the file and the command line.
pub(crate) trait Word: Copy + PartialEq + 'static {
    /// Every word with what it stands for, as it is written.
    const WORDS: &'static [(&'static str, Self)];

    fn from_word(word: &str) -> Option<Self> {
        let found = Self::WORDS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(word));
        found.map(|(_, value)| *value)
    }

    fn as_word(self) -> &'static str {
        Self::WORDS
            .iter()
            .find(|(_, value)| *value == self)
            .map_or("", |(name, _)| name)
    }

    fn words() -> String {
        let words: Vec<String> = Self::WORDS
            .iter()
            .map(|(name, _)| format!("\"{name}\""))
            .collect();
        words.join(" or ")
    }
}

fn integer(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "nobody waits for 2^53 milliseconds"
)]
fn number(value: &DeValue<'_>) -> Option<f64> {
    match value.as_float() {
        Some(float) => float.as_str().parse().ok(),
        None => integer(value).map(|whole| whole as f64),
    }
}

fn strings(value: &DeValue<'_>) -> Option<Vec<String>> {
    let items = value.as_array()?.iter();
    items
        .map(|item| item.get_ref().as_str().map(str::to_owned))
        .collect()
}

fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the string {text:?}"),
        DeValue::Integer(number) => number.as_str().to_owned(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(time) => format!("the date {time}"),
        DeValue::Array(_) => "a list of something else".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

fn nearest<'n>(word: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    names
        .map(|name| (strsim::jaro_winkler(word, name), name))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

fn suggestion(near: Option<&str>) -> String {
    near.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}
