//! The types of keys: how their values are read, checked, written and described.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use toml::Spanned;
use toml::de::{DeValue, ValueDeserializer};

use crate::config::words::Word;
use crate::proto::{Dscp, Family, Host, SourcePorts};
use crate::publish::clickhouse::Columns;
use crate::publish::exponential::Scale;
use crate::publish::{ApiKey, BaseUrl, Bounds, Headers, Name, Resource, Secret, Site};
use crate::record::Choice;

/// Names that are less similar than this are no suggestion.
const SIMILARITY_MIN: f64 = 0.8;

/// The largest port.
pub(super) const PORT_MAX: i64 = 65_535;

/// Checks a value that has the right type. An error continues a sentence that begins with the key.
type Check<T> = fn(&T) -> Result<(), String>;

/// What a key's value can be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// true or false.
    Switch,
    /// A whole number from the first to the second, and its unit.
    Whole(i64, i64, &'static str),
    /// A port, or a list of ports.
    Ports(Check<[i64]>),
    /// A whole number from the first to the second, or a string; and what both are, as messages say it.
    WholeOrText(i64, i64, Check<str>, &'static str),
    /// One of some words, or one of some numbers.
    WordOrWhole(&'static [&'static str], &'static [i64]),
    /// The same as `Whole` for any number.
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
    /// A table of strings, or lines of `name: value`, that are never shown.
    Headers,
    /// A table of strings under any names. A name with dots may stand without quotes, as TOML's tables in tables.
    Table(Check<BTreeMap<String, String>>),
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

/// A value as it was given, which is written without its secrets.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Value {
    Switch(bool),
    Whole(i64),
    Number(f64),
    /// A string, or a word as [`Word`] writes it.
    Text(String),
    #[serde(serialize_with = "display")]
    Url(BaseUrl),
    #[serde(serialize_with = "masked")]
    Secret(Secret),
    Texts(Vec<String>),
    Wholes(Vec<i64>),
    Numbers(Vec<f64>),
    Names(BTreeMap<String, String>),
}

impl Kind {
    /// Reads a value of a file. An error tells what the key must be.
    pub(super) fn read(&self, value: &DeValue<'_>) -> Result<Value, String> {
        let found = match (self, value.as_str()) {
            (Self::Switch, _) => held(value).map(Value::Switch),
            (Self::Whole(..), _) | (Self::WholeOrText(..), None) => held(value).map(Value::Whole),
            (Self::WordOrWhole(words, numbers), word) => {
                let number = word.map_or_else(|| held(value), |text| text.parse().ok());
                let number = number.filter(|number| numbers.contains(number));
                let word = word.and_then(|word| canonical(words, word));
                word.or_else(|| number.map(Value::Whole))
            }
            (Self::Ports(_), _) => held(value)
                .map(Value::Whole)
                .or_else(|| held(value).map(Value::Wholes)),
            (Self::NumberOrAuto(..), Some(word)) => canonical(&["auto"], word),
            (Self::Number(..) | Self::NumberOrAuto(..), _) => held(value).map(Value::Number),
            (Self::Word(words), Some(word)) => canonical(&words(), word),
            (Self::Text(_) | Self::WholeOrText(..) | Self::Path, Some(text)) => {
                Some(Value::Text(text.to_owned()))
            }
            (Self::Url(parse), Some(text)) => return parse(text).map(Value::Url),
            (Self::Secret(_), Some(text)) => return Secret::parse(text).map(Value::Secret),
            (Self::Headers, Some(lines)) => return Secret::parse_lines(lines).map(Value::Secret),
            (Self::Headers, _) => match held(value) {
                Some(table) => {
                    let lines = Headers::lines(&table)?;
                    return Secret::parse_lines(&lines).map(Value::Secret);
                }
                None => None,
            },
            (Self::Table(_), _) => dotted(value).map(Value::Names),
            (Self::TextOrTexts(_), Some(one)) => Some(Value::Texts(vec![one.to_owned()])),
            (Self::Texts(_) | Self::TextOrTexts(_), _) => held(value).map(Value::Texts),
            (Self::Numbers(_), _) => held(value).map(Value::Numbers),
            (Self::Names(names, listed, _), _) => match held::<Vec<String>>(value) {
                Some(list) if list.len() == *listed => {
                    let names = names.iter().map(|name| (*name).to_owned());
                    Some(Value::Names(names.zip(list).collect()))
                }
                _ => held(value).map(Value::Names),
            },
            _ => None,
        };
        found.ok_or_else(|| {
            let near = match self {
                Self::Word(words) => value.as_str().and_then(|word| nearest(word, words())),
                _ => None,
            };
            let given = match value {
                DeValue::Array(_) if !self.is_list() => "a list".to_owned(),
                value => shown(value),
            };
            format!("must be {}, not {given}{}", self.wanted(), suggestion(near))
        })
    }

    /// Returns a value that is written as TOML.
    pub(super) fn literal(&self, toml: &str) -> Option<Value> {
        let value = DeValue::parse(toml).ok()?;
        self.read(value.get_ref()).ok()
    }

    /// True if a value can be a list.
    fn is_list(&self) -> bool {
        match self {
            Self::Ports(_)
            | Self::Texts(_)
            | Self::TextOrTexts(_)
            | Self::Numbers(_)
            | Self::Names(..) => true,
            Self::Switch
            | Self::Whole(..)
            | Self::WholeOrText(..)
            | Self::WordOrWhole(..)
            | Self::Number(..)
            | Self::NumberOrAuto(..)
            | Self::Word(_)
            | Self::Text(_)
            | Self::Url(_)
            | Self::Path
            | Self::Secret(_)
            | Self::Headers
            | Self::Table(_) => false,
        }
    }

    /// Reads the argument of a flag.
    pub(super) fn read_argument(&self, text: &str) -> Result<Value, String> {
        let found = match self {
            Self::Switch => text.parse().ok().map(Value::Switch),
            Self::Whole(..) => text.parse().ok().map(Value::Whole),
            Self::Ports(_) => ports(text),
            Self::Number(..) => text.parse().ok().map(Value::Number),
            _ => return self.read(&DeValue::String(text.into())),
        };
        found.ok_or_else(|| format!("must be {}", self.wanted()))
    }

    /// Returns what is wrong with a value of the right type.
    pub(super) fn fault(&self, value: &Value) -> Option<String> {
        match (self, value) {
            (Self::WholeOrText(min, max, ..), Value::Whole(number)) => {
                let is_right = (min..=max).contains(&number);
                (!is_right).then(|| out_of(&format!("{min} to {max}"), "", number))
            }
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
            (Self::Ports(check), Value::Whole(port)) => check(&[*port]).err(),
            (Self::Ports(check), Value::Wholes(ports)) => check(ports).err(),
            (Self::Text(check) | Self::WholeOrText(_, _, check, _), Value::Text(text)) => {
                check(text).err()
            }
            // None at all, as in the Python program.
            (Self::Path, Value::Text(text)) if text.is_empty() => None,
            (Self::Path, Value::Text(text)) => Name::parse(text).err(),
            (Self::Secret(check), Value::Secret(secret)) => check(secret.as_str()).err(),
            (Self::Headers, Value::Secret(secret)) => Headers::of(secret).err(),
            (Self::Table(check), Value::Names(table)) => check(table).err(),
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
            Self::WholeOrText(.., wanted) => (*wanted).to_owned(),
            Self::WordOrWhole(words, numbers) => {
                let words = words.iter().map(|word| quoted(word));
                let numbers = numbers.iter().map(ToString::to_string);
                words.chain(numbers).collect::<Vec<_>>().join(" or ")
            }
            Self::Ports(_) => "a whole number or a list of them".to_owned(),
            Self::Number(..) => "a number".to_owned(),
            Self::NumberOrAuto(..) => "a number or \"auto\"".to_owned(),
            Self::Word(words) => {
                let words: Vec<String> = words().iter().map(|word| quoted(word)).collect();
                words.join(" or ")
            }
            Self::Text(_) | Self::Url(_) | Self::Path | Self::Secret(_) => "a string".to_owned(),
            Self::Headers | Self::Table(_) => "a table of strings".to_owned(),
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
        let value = toml::Value::try_from(self);
        value.expect("TOML has every value").to_string()
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
    IpAddr: Text(text) => text.parse().ok();
    i8: Whole(number) => (*number).try_into().ok();
    Scale: Whole(number) => Scale::new((*number).try_into().ok()?);
    u8: Whole(number) => (*number).try_into().ok();
    u16: Whole(number) => (*number).try_into().ok();
    u32: Whole(number) => (*number).try_into().ok();
    i32: Whole(number) => (*number).try_into().ok();
    usize: Whole(number) => (*number).try_into().ok();
    f64: Number(number) => Some(*number);
    String: Text(text) => Some(text.clone());
    PathBuf: Text(text) => Some(text.into()).filter(|_| !text.is_empty());
    Host: Text(text) => text.parse().ok();
    Name: Text(text) => Name::parse(text).ok();
    Site: Text(text) => Site::new(&text.parse().ok()?).ok();
    BaseUrl: Url(url) => Some(url.clone());
    Secret: Secret(secret) => Some(secret.clone());
    Headers: Secret(secret) => Headers::of(secret).ok();
    Resource: Names(table) => Resource::parse(table.clone()).ok();
    ApiKey: Secret(secret) => ApiKey::of(secret).ok();
    Vec<String>: Texts(texts) => Some(texts.clone());
    Choice: Texts(names) => Choice::of(names).ok();
    Bounds: Numbers(seconds) => Bounds::parse(seconds).ok();
    Columns: Names(names) => Columns::parse(names.clone()).ok();
}

/// Implements [`FromValue`] for types that are a number or a text.
macro_rules! from_number_or_text {
    ($($type:ty: $held:ident => $made:expr;)*) => {
        $(impl FromValue for $type {
            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    Value::Whole(number) => {
                        let $held = (*number).try_into().ok()?;
                        $made
                    }
                    Value::Text(text) => text.parse().ok(),
                    _ => None,
                }
            }
        })*
    };
}

from_number_or_text! {
    Dscp: number => Self::new(number);
    SourcePorts: port => Self::new(port, port);
}

impl FromValue for Family {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(_) => Some(Self::Any),
            Value::Whole(4) => Some(Self::V4),
            Value::Whole(6) => Some(Self::V6),
            _ => None,
        }
    }
}

impl From<Family> for Value {
    fn from(family: Family) -> Self {
        match family {
            Family::Any => Self::Text("auto".to_owned()),
            Family::V4 => Self::Whole(4),
            Family::V6 => Self::Whole(6),
        }
    }
}

impl FromValue for Vec<u16> {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Whole(number) => Some(vec![(*number).try_into().ok()?]),
            Value::Wholes(numbers) => numbers.iter().map(|it| (*it).try_into().ok()).collect(),
            _ => None,
        }
    }
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

/// Makes a setting of what a program gives.
macro_rules! into_value {
    ($($type:ty => $variant:ident;)*) => {
        $(impl From<$type> for Value {
            fn from(given: $type) -> Self {
                Self::$variant(given.into())
            }
        })*
    };
}

into_value! {
    bool => Switch;
    u16 => Whole;
    u32 => Whole;
    i32 => Whole;
    f64 => Number;
    String => Text;
    Vec<String> => Texts;
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

/// What Python's logging calls its levels as well.
const ALIASES: [(&str, &str); 4] = [
    ("WARN", "WARNING"),
    ("FATAL", "CRITICAL"),
    ("EXCEPTION", "ERROR"),
    ("NOTSET", "DEBUG"),
];

/// Returns the word as it is written in the list, whatever its case.
fn canonical(words: &[&str], given: &str) -> Option<Value> {
    let mut aliases = ALIASES.iter();
    let alias = aliases.find(|(alias, _)| alias.eq_ignore_ascii_case(given));
    let given = alias.map_or(given, |(_, level)| level);
    let word = words.iter().find(|word| word.eq_ignore_ascii_case(given))?;
    Some(Value::Text((*word).to_owned()))
}

fn display<S: Serializer>(url: &BaseUrl, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(url)
}

fn masked<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{secret:?}"))
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// Reads the argument of a flag for ports: one, or several with commas between them.
fn ports(text: &str) -> Option<Value> {
    let ports: Vec<i64> = text
        .split(',')
        .map(|port| port.trim().parse().ok())
        .collect::<Option<_>>()?;
    Some(match ports[..] {
        [port] => Value::Whole(port),
        _ => Value::Wholes(ports),
    })
}

/// Returns the strings of a table and of the tables in it, under their names with dots between.
fn dotted(value: &DeValue<'_>) -> Option<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for (name, value) in value.as_table()? {
        let (name, value) = (name.get_ref(), value.get_ref());
        if let Some(text) = value.as_str() {
            found.insert(name.to_string(), text.to_owned());
            continue;
        }
        let inner = dotted(value)?.into_iter();
        found.extend(inner.map(|(end, text)| (format!("{name}.{end}"), text)));
    }
    Some(found)
}

/// Returns a value of a file as what it holds, if it is of this type.
fn held<T: DeserializeOwned>(value: &DeValue<'_>) -> Option<T> {
    let value = Spanned::new(0..0, value.clone());
    T::deserialize(ValueDeserializer::from(value)).ok()
}
