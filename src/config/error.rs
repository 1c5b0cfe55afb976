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

impl ConfigError {
    /// Mistakes that stand at no place of a file.
    pub(crate) fn told(texts: impl IntoIterator<Item = String>) -> Self {
        let place = Place::Program;
        let problem = |text| Problem { place, text };
        Self::Invalid {
            path: None,
            problems: texts.into_iter().map(problem).collect(),
        }
    }
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

/// Collects mistakes, so that all of them are told at once, and what is worth a warning.
#[derive(Debug, Default)]
pub(super) struct Problems {
    pub(super) faults: Vec<Problem>,
    /// Each with the number of further places that it stands for.
    warnings: Vec<(Problem, usize)>,
}

impl Problems {
    /// Adds a mistake. The text continues a sentence that begins with the key, or with the flag or
    /// the variable that set it.
    pub(super) fn add(&mut self, place: Place, key: &str, text: impl fmt::Display) {
        let text = sentence(place, key, text);
        self.faults.push(Problem { place, text });
    }

    /// Adds what is done otherwise than it is written, in the same words. Ten thousand targets may have it.
    pub(super) fn warn(&mut self, place: Place, key: &str, text: impl fmt::Display) {
        let text = sentence(place, key, text);
        let same = self
            .warnings
            .iter_mut()
            .find(|(known, _)| known.text == text);
        match same {
            Some((known, more)) => *more += usize::from(known.place != place),
            None => self.warnings.push((Problem { place, text }, 0)),
        }
    }

    /// Removes the warnings and returns them as lines.
    pub(super) fn take_warnings(&mut self, path: Option<&Path>) -> Vec<String> {
        let warnings = self.warnings.drain(..).map(|(problem, more)| match more {
            0 => line(path, &problem),
            more => format!("{} (and {more} more of the kind)", line(path, &problem)),
        });
        warnings.collect()
    }

    /// Adds a mistake that is about no single key.
    pub(super) fn add_text(&mut self, place: Place, text: impl Into<String>) {
        self.faults.push(Problem {
            place,
            text: text.into(),
        });
    }

    /// Returns the value, or the mistakes if there are any, those of the file in the order of its lines.
    pub(super) fn or<T>(mut self, path: Option<&Path>, value: T) -> Result<T, ConfigError> {
        if self.faults.is_empty() {
            return Ok(value);
        }
        self.faults.sort_by_key(|problem| match problem.place {
            Place::Line(line) => line,
            Place::Program | Place::Flag(_) | Place::Variable(_) => 0,
        });
        Err(ConfigError::Invalid {
            path: path.map(Path::to_owned),
            problems: self.faults,
        })
    }
}

fn sentence(place: Place, key: &str, text: impl fmt::Display) -> String {
    match place {
        Place::Flag(flag) => format!("`{flag}` {text}"),
        Place::Variable(name) => format!("{name} in the environment {text}"),
        Place::Program | Place::Line(_) => format!("`{key}` {text}"),
    }
}

fn listing(path: Option<&Path>, problems: &[Problem]) -> String {
    let lines = problems.iter().map(|problem| line(path, problem));
    lines.collect::<Vec<_>>().join("\n")
}

fn line(path: Option<&Path>, problem: &Problem) -> String {
    match (path, problem.place) {
        (Some(path), Place::Line(line)) => {
            format!("{}, line {line}: {}", path.display(), problem.text)
        }
        (None, Place::Line(line)) => format!("line {line}: {}", problem.text),
        _ => problem.text.clone(),
    }
}
