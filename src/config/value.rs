//! The types of keys: how their values are read, checked, written and described.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use toml::de::DeValue;

use crate::config::words::Word;
use crate::proto::Host;
use crate::publish::clickhouse::Columns;
use crate::publish::{ApiKey, BaseUrl, Bounds, Name, Secret, Site, ZeroMqSettings};

/// Names that are less similar than this are no suggestion.
const SIMILARITY_MIN: f64 = 0.8;

/// Checks a value that has the right type. An error continues a sentence that begins with the key.
type Check<T> = fn(&T) -> Result<(), String>;

/// What a key's value can be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// true or false.
    Switch,
    /// A whole number from the first to the second, and its unit.
    Whole(i64, i64, &'static str),
    /// The same for any number.
    Number(f64, f64, &'static str),
    /// The same, or the word `auto`.
    NumberOrAuto(f64, f64, &'static str),
    /// One of the words that a function returns.
    Word(fn() -> Vec<&'static str>),
    /// A string.
    Text(Check<str>),
    /// A URL, which may hold a password.
    Url(fn(&str) -> Result<BaseUrl, String>),
    /// A file or a folder.
    Path,
    /// A string that is never shown.
    Secret(Check<str>),
    /// A list of strings.
    Texts(Check<[String]>),
    /// A list of strings, or one string alone.
    TextOrTexts(Check<[String]>),
    /// A list of numbers.
    Numbers(Check<[f64]>),
    /// A table of strings under these names, or a list of strings for the first so many of them.
    Names(
        &'static [&'static str],
        usize,
        Check<BTreeMap<String, String>>,
    ),
}

/// A value as it was given.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Switch(bool),
    Whole(i64),
    Number(f64),
    /// A string, or a word as [`Word`] writes it.
    Text(String),
    Url(BaseUrl),
    Secret(Secret),
    Texts(Vec<String>),
    Numbers(Vec<f64>),
    Names(BTreeMap<String, String>),
}

impl Kind {
    /// Reads a value of a file. An error tells what the key must be.
    pub(super) fn read(&self, value: &DeValue<'_>) -> Result<Value, String> {
        let text = value.as_str().map(str::to_owned);
        let found = match self {
            Self::Switch => value.as_bool().map(Value::Switch),
            Self::Whole(..) => integer(value).map(Value::Whole),
            Self::Number(..) => number(value).map(Value::Number),
            Self::NumberOrAuto(..) => match text {
                Some(word) => canonical(&["auto"], &word),
                None => number(value).map(Value::Number),
            },
            Self::Word(words) => text.and_then(|word| canonical(&words(), &word)),
            Self::Text(_) | Self::Path => text.map(Value::Text),
            Self::Url(parse) => match text {
                Some(text) => return parse(&text).map(Value::Url),
                None => None,
            },
            Self::Secret(_) => match text {
                Some(text) => return Secret::parse(&text).map(Value::Secret),
                None => None,
            },
            Self::Texts(_) => strings(value).map(Value::Texts),
            Self::TextOrTexts(_) => match text {
                Some(one) => Some(Value::Texts(vec![one])),
                None => strings(value).map(Value::Texts),
            },
            Self::Numbers(_) => numbers(value).map(Value::Numbers),
            Self::Names(names, listed, _) => named(value, &names[..*listed]).map(Value::Names),
        };
        found.ok_or_else(|| {
            let near = match self {
                Self::Word(words) => value.as_str().and_then(|word| nearest(word, words())),
                _ => None,
            };
            let wanted = self.wanted();
            format!("must be {wanted}, not {}{}", shown(value), suggestion(near))
        })
    }

    /// Reads the argument of a flag.
    pub(super) fn read_argument(&self, text: &str) -> Result<Value, String> {
        let found = match self {
            Self::Switch => text.parse().ok().map(Value::Switch),
            Self::Whole(..) => text.parse().ok().map(Value::Whole),
            Self::Number(..) => text.parse().ok().map(Value::Number),
            _ => return self.read(&DeValue::String(text.into())),
        };
        found.ok_or_else(|| format!("must be {}", self.wanted()))
    }

    /// Returns what is wrong with a value of the right type.
    pub(super) fn fault(&self, value: &Value) -> Option<String> {
        match (self, value) {
            (Self::Whole(min, max, unit), Value::Whole(number)) => {
                let is_right = (min..=max).contains(&number);
                (!is_right).then(|| out_of(&format!("{min} to {max}"), unit, number))
            }
            (
                Self::Number(min, max, unit) | Self::NumberOrAuto(min, max, unit),
                Value::Number(number),
            ) => {
                // Written so that NaN is out of range.
                let is_right = (min..=max).contains(&number);
                (!is_right).then(|| out_of(&format!("{min} to {max}"), unit, number))
            }
            (Self::Text(check), Value::Text(text)) => check(text).err(),
            (Self::Path, Value::Text(text)) => Name::parse(text).err(),
            (Self::Secret(check), Value::Secret(secret)) => check(secret.as_str()).err(),
            (Self::Texts(check) | Self::TextOrTexts(check), Value::Texts(texts)) => {
                check(texts).err()
            }
            (Self::Numbers(check), Value::Numbers(numbers)) => check(numbers).err(),
            (Self::Names(_, _, check), Value::Names(names)) => check(names).err(),
            _ => None,
        }
    }

    /// Describes the values, as messages do.
    pub(super) fn wanted(&self) -> String {
        match self {
            Self::Switch => "true or false".to_owned(),
            Self::Whole(..) => "a whole number".to_owned(),
            Self::Number(..) => "a number".to_owned(),
            Self::NumberOrAuto(..) => "a number or \"auto\"".to_owned(),
            Self::Word(words) => {
                let words: Vec<String> = words().iter().map(|word| quoted(word)).collect();
                words.join(" or ")
            }
            Self::Text(_) | Self::Url(_) | Self::Path | Self::Secret(_) => "a string".to_owned(),
            Self::Texts(_) => "a list of strings".to_owned(),
            Self::TextOrTexts(_) => "a string or a list of strings".to_owned(),
            Self::Numbers(_) => "a list of numbers".to_owned(),
            Self::Names(_, listed, _) => {
                format!("a table of strings, or a list of {listed}")
            }
        }
    }
}

impl Value {
    /// Writes the value as TOML. A secret is masked.
    pub(super) fn toml(&self) -> String {
        match self {
            Self::Switch(value) => value.to_string(),
            Self::Whole(number) => number.to_string(),
            Self::Number(number) => format!("{number:?}"),
            Self::Text(text) => quoted(text),
            Self::Url(url) => quoted(&url.to_string()),
            Self::Secret(secret) => quoted(&format!("{secret:?}")),
            Self::Texts(texts) => {
                let items: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
                format!("[{}]", items.join(", "))
            }
            Self::Numbers(numbers) => format!("{numbers:?}"),
            Self::Names(names) => {
                let names = names.clone().into_iter();
                let table: toml::Table = names.map(|(key, name)| (key, name.into())).collect();
                toml::Value::from(table).to_string()
            }
        }
    }
}

/// A type that a setting is taken as.
pub(super) trait FromValue: Sized {
    /// Returns the value as this type, or nothing if it is of another one.
    fn from_value(value: &Value) -> Option<Self>;
}

/// Implements [`FromValue`] for a type that is made from what one variant holds.
macro_rules! from_value {
    ($($type:ty: $variant:ident($held:ident) => $made:expr;)*) => {
        $(impl FromValue for $type {
            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    Value::$variant($held) => $made,
                    _ => None,
                }
            }
        })*
    };
}

from_value! {
    bool: Switch(value) => Some(*value);
    u8: Whole(number) => (*number).try_into().ok();
    u16: Whole(number) => (*number).try_into().ok();
    u32: Whole(number) => (*number).try_into().ok();
    usize: Whole(number) => (*number).try_into().ok();
    f64: Number(number) => Some(*number);
    String: Text(text) => Some(text.clone());
    PathBuf: Text(text) => Some(text.into());
    IpAddr: Text(text) => ZeroMqSettings::parse_address(text).ok();
    Host: Text(text) => text.parse().ok();
    Name: Text(text) => Name::parse(text).ok();
    Site: Text(text) => Site::new(&text.parse().ok()?).ok();
    BaseUrl: Url(url) => Some(url.clone());
    Secret: Secret(secret) => Some(secret.clone());
    ApiKey: Secret(secret) => ApiKey::parse(secret.as_str()).ok();
    Vec<String>: Texts(texts) => Some(texts.clone());
    Bounds: Numbers(seconds) => Bounds::parse(seconds).ok();
    Columns: Names(names) => Columns::parse(names.clone()).ok();
}

impl<T: Word> FromValue for T {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(word) => T::from_word(word),
            _ => None,
        }
    }
}

impl<T: Word> From<T> for Value {
    fn from(word: T) -> Self {
        Self::Text(word.as_word().to_owned())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Switch(value)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Whole(number.into())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// Returns the name that is most like `word`, if there is a similar one.
pub(super) fn nearest<'n>(word: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(word, name), name))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

pub(super) fn suggestion(near: Option<&str>) -> String {
    near.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

/// Returns the whole nanoseconds of a number that is in its range.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the ranges are positive and far below 2^63"
)]
pub(super) fn nanos(nanoseconds: f64) -> u64 {
    nanoseconds.round() as u64
}

/// Names a value in a message.
pub(super) fn shown(value: &DeValue<'_>) -> String {
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

fn out_of(range: &str, unit: &str, number: impl std::fmt::Display) -> String {
    let unit = if unit.is_empty() {
        String::new()
    } else {
        format!(" {unit}")
    };
    format!("must be {range}{unit}, not {number}")
}

/// Returns the word as it is written in the list, whatever its case.
fn canonical(words: &[&str], given: &str) -> Option<Value> {
    let word = words.iter().find(|word| word.eq_ignore_ascii_case(given))?;
    Some(Value::Text((*word).to_owned()))
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
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

fn numbers(value: &DeValue<'_>) -> Option<Vec<f64>> {
    let items = value.as_array()?.iter();
    items.map(|item| number(item.get_ref())).collect()
}

fn strings(value: &DeValue<'_>) -> Option<Vec<String>> {
    let items = value.as_array()?.iter();
    items
        .map(|item| item.get_ref().as_str().map(str::to_owned))
        .collect()
}

fn named(value: &DeValue<'_>, names: &[&str]) -> Option<BTreeMap<String, String>> {
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
}
