//! What the monitor logs, kept for Python's `logging`: a thread that measures must not wait for the interpreter.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Mutex;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::lock;

/// Entries that wait at most; later ones are lost.
const ENTRIES_MAX: usize = 1_000;

static ENTRIES: Mutex<VecDeque<(Level, String)>> = Mutex::new(VecDeque::new());

/// Keeps what is logged at a level and above. The monitor has no spans.
struct Keeper(Level);

impl Subscriber for Keeper {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= self.0
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let mut entries = lock(&ENTRIES);
        if entries.len() < ENTRIES_MAX {
            entries.push_back((*event.metadata().level(), text.message + &text.fields));
        }
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(self.0.into())
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The message, and the fields behind it as the daemon's log has them.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let _ = write!(self.fields, " {}={value}", field.name());
    }
}

/// Python's name for a level.
const fn name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        Level::DEBUG | Level::TRACE => "DEBUG",
    }
}

#[pyfunction]
pub(crate) fn watch_log(level: &str) -> PyResult<()> {
    let level = match level {
        "CRITICAL" | "ERROR" => Level::ERROR,
        "WARNING" => Level::WARN,
        "INFO" => Level::INFO,
        "DEBUG" => Level::DEBUG,
        other => {
            let text =
                format!("`log_level` is DEBUG, INFO, WARNING, ERROR or CRITICAL, not {other:?}");
            return Err(PyValueError::new_err(text));
        }
    };
    // A second one changes nothing.
    let _ = tracing::subscriber::set_global_default(Keeper(level));
    Ok(())
}

#[pyfunction]
pub(crate) fn take_log(py: Python<'_>) -> Vec<(&'static str, String)> {
    let taken = py.detach(|| std::mem::take(&mut *lock(&ENTRIES)));
    taken
        .into_iter()
        .map(|(level, text)| (name(level), text))
        .collect()
}
