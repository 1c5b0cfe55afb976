//! The table of keys: everything that can be configured, in the order in which it is shown.
//!
//! From a row come the reading of the key and the messages about it, its default, its flag, its lines
//! in `check`, `--help`, `latency.toml` and `docs/configuration.md`, and its part of the JSON Schema.
//! A default stands here and nowhere else.

use crate::config::key::{Key, Table};

/// Makes each row a constant for the code that uses the key, and all rows a part of the table.
macro_rules! keys {
    ($table:ident: $($name:ident = $key:expr;)*) => {
        $(pub(in crate::config) static $name: Key = $key;)*
        pub(super) static $table: &[&Key] = &[$(&$name),*];
    };
}

mod daemon;
mod metrics;
mod tables;

pub(super) use daemon::*;
pub(super) use metrics::*;
pub(super) use tables::*;

/// Returns every key.
pub(crate) fn all() -> impl Iterator<Item = &'static Key> {
    let tables = [OF_DAEMON, OF_TABLES, OF_METRICS];
    tables.into_iter().flatten().copied()
}

/// Returns the keys of a table.
pub(super) fn of(table: Table) -> impl Iterator<Item = &'static Key> {
    all().filter(move |key| key.is_in(table))
}

/// Returns those whose flags `trace` takes: they mean something to one host that is probed for some seconds.
pub(crate) fn of_trace() -> impl Iterator<Item = &'static Key> {
    let keys = [
        &NAME,
        &UDP_PORT,
        &PROTOCOL,
        &TIMESTAMPS,
        &TIMEOUT,
        &LOG_LEVEL,
        &LOG_FILE,
    ];
    all().filter(move |key| keys.iter().any(|one| one.name == key.name))
}

/// Returns the keys of a target that many can share.
pub(super) fn shared() -> impl Iterator<Item = &'static Key> {
    of(Table::Targets).filter(|key| ![HOST.name, LABEL.name].contains(&key.name))
}

/// Returns the keys of the top level: the daemon's, and those that targets inherit.
pub(super) fn top() -> impl Iterator<Item = &'static Key> {
    all().filter(|key| key.is_in(Table::Top) || key.is_in(Table::Targets))
}
