//! What is wrong with a configuration, and where.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Read {
        /// The file asked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It says something that cannot be done.
    #[error("{}", listing(path.as_deref(), problems))]
    Invalid {
        /// The file, if there is one.
        path: Option<PathBuf>,
        /// Everything that is wrong, in the order found; at least one.
        problems: Vec<Problem>,
    },
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands.
    pub place: Place,
    /// What it is, beginning with the key, and what would be right.
    pub text: String,
}

/// Where a setting was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// Nowhere that could be pointed at: a default, or a program that uses the library.
    #[default]
    Program,
    /// On a line of the file, counted from 1.
    Line(usize),
    /// By this flag.
    Flag(&'static str),
    /// By this environment variable.
    Variable(&'static str),
}

/// Collects mistakes, so that all of them are told at once.
#[derive(Debug, Default)]
pub(super) struct Problems(pub(super) Vec<Problem>);

impl Problems {
    /// Adds a mistake. The text continues a sentence that begins with the key, or with the flag or
    /// the variable that set it.
    pub(super) fn add(&mut self, place: Place, key: &str, text: impl fmt::Display) {
        let text = match place {
            Place::Flag(flag) => format!("`{flag}` {text}"),
            Place::Variable(name) => format!("{name} in the environment {text}"),
            Place::Program | Place::Line(_) => format!("`{key}` {text}"),
        };
        self.0.push(Problem { place, text });
    }

    /// Adds a mistake that is about no single key.
    pub(super) fn add_text(&mut self, place: Place, text: impl Into<String>) {
        self.0.push(Problem {
            place,
            text: text.into(),
        });
    }

    /// Returns the value, or the mistakes if there are any, those of the file in the order of its lines.
    pub(super) fn or<T>(mut self, path: Option<&Path>, value: T) -> Result<T, ConfigError> {
        if self.0.is_empty() {
            return Ok(value);
        }
        self.0.sort_by_key(|problem| match problem.place {
            Place::Line(line) => line,
            Place::Program | Place::Flag(_) | Place::Variable(_) => 0,
        });
        Err(ConfigError::Invalid {
            path: path.map(Path::to_owned),
            problems: self.0,
        })
    }
}

fn listing(path: Option<&Path>, problems: &[Problem]) -> String {
    let lines = problems.iter().map(|problem| match (path, problem.place) {
        (Some(path), Place::Line(line)) => {
            format!("{}, line {line}: {}", path.display(), problem.text)
        }
        (None, Place::Line(line)) => format!("line {line}: {}", problem.text),
        _ => problem.text.clone(),
    });
    lines.collect::<Vec<_>>().join("\n")
}
