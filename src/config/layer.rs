//! The settings of one table: as they were given, and then with everything that nobody gave.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::error::{Place, Problems};
use crate::config::key::{Key, Scope, Table};
use crate::config::keys;
use crate::config::named::NamedPath;
use crate::config::outside::Outside;
use crate::config::value::{FromValue, Kind, Value};

/// A setting, and where it was made.
#[derive(Clone, Debug, PartialEq)]
struct Given {
    value: Value,
    place: Place,
}

/// Makes the default of a type from settings that nobody made: from the table of keys.
macro_rules! by_default {
    ($($settings:ty = $from_layer:expr;)*) => {
        $(impl Default for $settings {
            fn default() -> Self {
                let from_layer: fn(&Layer) -> Self = $from_layer;
                from_layer(&Layer::default())
            }
        })*
    };
}
pub(super) use by_default;

/// Settings by the names of their keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Layer(BTreeMap<&'static str, Given>);

impl Layer {
    pub(super) fn put(&mut self, key: &'static Key, value: Value, place: Place) {
        self.0.insert(key.name, Given { value, place });
    }

    pub(super) fn remove(&mut self, key: &'static Key) {
        self.0.remove(key.name);
    }

    /// Keeps the settings of keys of this scope only.
    pub(super) fn retain(&mut self, scope: Scope) {
        let keeps = |key: &&Key| key.scope == scope;
        self.0
            .retain(|name, _| keys::all().filter(keeps).any(|key| key.name == *name));
    }

    /// Returns a setting, if it was made.
    pub(super) fn find<T: FromValue>(&self, key: &'static Key) -> Option<T> {
        T::from_value(&self.0.get(key.name)?.value)
    }

    /// Returns a setting of a key that has a default.
    pub(super) fn get<T: FromValue>(&self, key: &'static Key) -> T {
        self.find(key)
            .or_else(|| T::from_value(&key.default()?))
            .expect("a test reads every default as what the code takes it for")
    }

    /// Returns the paths among the settings of a table.
    pub(super) fn named_paths(&self, table: Table) -> impl Iterator<Item = NamedPath> {
        let is_path = |key: &&Key| matches!(key.kind, Kind::Path);
        keys::of(table).filter(is_path).filter_map(|key| {
            Some(NamedPath {
                path: self.find(key)?,
                usage: key.usage,
                key: key.name,
            })
        })
    }

    /// Returns where a setting was made.
    pub(super) fn place(&self, key: &'static Key) -> Place {
        self.0
            .get(key.name)
            .map_or(Place::Program, |given| given.place)
    }

    /// Returns where a setting was made, or `other` if nobody made it.
    pub(super) fn place_or(&self, key: &'static Key, other: Place) -> Place {
        match self.place(key) {
            Place::Program => other,
            place => place,
        }
    }

    /// Puts these settings over others.
    pub(super) fn over(&self, below: &Self) -> Self {
        let mut merged = below.clone();
        merged.0.extend(self.0.clone());
        merged
    }

    /// Reports and removes every setting that is wrong by itself.
    pub(super) fn check(&mut self, table: Table, problems: &mut Problems) {
        for key in keys::of(table) {
            let Some(given) = self.0.get(key.name) else {
                continue;
            };
            let Some(fault) = key.kind.fault(&given.value) else {
                continue;
            };
            let place = given.place;
            // Whoever writes a program can have the value right.
            let nearest = key
                .nearest(&given.value)
                .filter(|_| place != Place::Program);
            if let Some(nearest) = nearest {
                let text = format_args!("{fault}; it is taken as {}", nearest.toml());
                problems.warn(place, key.name, text);
                self.put(key, nearest, place);
            } else {
                problems.add(place, key.name, fault);
                self.remove(key);
            }
        }
    }

    /// Checks the settings, and adds what stands outside the file, and the defaults.
    pub(super) fn complete(
        &mut self,
        table: Table,
        outside: &dyn Outside,
        problems: &mut Problems,
    ) {
        for key in keys::of(table) {
            if matches!(key.kind, Kind::Secret(_) | Kind::Headers) {
                self.read_secret(key, outside, problems);
            }
            let variable = key.variable.filter(|_| !self.0.contains_key(key.name));
            if let Some((name, text)) =
                variable.and_then(|name| Some((name, outside.variable(name)?)))
            {
                match key.kind.read_argument(&text) {
                    Ok(value) => self.put(key, value, Place::Variable(name)),
                    Err(fault) => problems.add(Place::Variable(name), key.name, fault),
                }
            }
        }
        self.check(table, problems);
        for key in keys::of(table) {
            if let Some(value) = key.default().filter(|_| !self.0.contains_key(key.name)) {
                self.put(key, value, Place::Program);
            }
        }
    }

    /// Reads a secret from the file that the key with `_file` behind its name has, unless the secret
    /// is given itself.
    fn read_secret(&mut self, key: &'static Key, outside: &dyn Outside, problems: &mut Problems) {
        let file_key = format!("{}_file", key.name);
        let Some(Given {
            value: Value::Text(path),
            place,
        }) = self.0.remove(&file_key[..])
        else {
            return;
        };
        if self.0.contains_key(key.name) {
            return;
        }
        let fault = match outside.read(Path::new(&path)) {
            // Editors and `echo` end a file with a newline that is no part of the secret.
            Ok(text) => match text.trim_end_matches(['\r', '\n']) {
                "" => "is empty".to_owned(),
                secret => match key.kind.read_argument(secret) {
                    Ok(Value::Secret(secret)) => {
                        let secret = Value::Secret(secret.of_file(Path::new(&path)));
                        return self.put(key, secret, place);
                    }
                    Ok(value) => return self.put(key, value, place),
                    Err(fault) => fault,
                },
            },
            Err(error) => format!("cannot be read: {error}"),
        };
        problems.add(place, &file_key, format_args!("{path:?} {fault}"));
    }

    /// Writes the settings of a table as TOML, in the order of the table of keys, under its title if
    /// it has one.
    pub(super) fn show(&self, title: &str, table: Table, shown: &mut String) {
        if !title.is_empty() {
            shown.extend(["\n", title, "\n"]);
        }
        for key in keys::of(table) {
            if let Some(given) = self.0.get(key.name) {
                shown.extend([key.name, " = ", &given.value.toml(), "\n"]);
            }
        }
    }
}
