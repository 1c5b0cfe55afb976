//! The names of a file: whose values these are and of what, by the numbers that its frames use.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::history::bytes::{Bytes, put, put_text};
use crate::history::column::Column;
use crate::history::frame::HEAD_BYTES;
use crate::limits::HISTORY_NAMES_MAX;

/// Whose values they are: the tags of a pair of hosts, of this host, or of one of its backends, as they are published.
pub(crate) type Subject = Arc<[Box<str>]>;

/// What a list of new names begins with.
const SUBJECT: u8 = 1;
const COLUMN: u8 = 2;

/// Names that are written.
#[derive(Debug, Default)]
pub(super) struct Given {
    subjects: BTreeMap<Subject, u64>,
    columns: BTreeMap<Column, u64>,
    /// Those that no frame has yet.
    fresh: Vec<u8>,
}

impl Given {
    /// Returns the number of a subject. `None`: there are too many names for one file.
    pub(super) fn subject(&mut self, subject: &Subject) -> Option<u64> {
        if let Some(number) = self.subjects.get(subject) {
            return Some(*number);
        }
        let number = self.subjects.len() as u64;
        if number >= HISTORY_NAMES_MAX {
            return None;
        }
        self.fresh.push(SUBJECT);
        put(subject.len() as u64, &mut self.fresh);
        subject
            .iter()
            .for_each(|tag| put_text(tag, &mut self.fresh));
        self.subjects.insert(Arc::clone(subject), number);
        Some(number)
    }

    /// Returns the number of a column, likewise.
    pub(super) fn column(&mut self, column: &Column) -> Option<u64> {
        if let Some(number) = self.columns.get(column) {
            return Some(*number);
        }
        let number = self.columns.len() as u64;
        if number >= HISTORY_NAMES_MAX {
            return None;
        }
        self.fresh.push(COLUMN);
        put_text(&column.metric, &mut self.fresh);
        put_text(&column.tag, &mut self.fresh);
        self.columns.insert(column.clone(), number);
        Some(number)
    }

    /// Returns how many bytes the names have that no frame has yet.
    pub(super) fn fresh_bytes(&self) -> u64 {
        (self.fresh.len() + HEAD_BYTES) as u64
    }

    /// Returns the names since the last call.
    pub(super) fn take_fresh(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.fresh)
    }
}

/// Names that were read.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) subjects: Vec<Subject>,
    pub(super) columns: Vec<Column>,
}

impl Read {
    /// Adds the names of a frame; `None` if one is no name. Those before it are there.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Option<()> {
        let mut bytes = Bytes(bytes);
        while let Some(kind) = bytes.byte() {
            if (self.subjects.len().max(self.columns.len())) as u64 >= HISTORY_NAMES_MAX {
                return None;
            }
            if kind == SUBJECT {
                let count = bytes.size()?;
                let tags = (0..count).map(|_| bytes.text().map(Box::from));
                self.subjects.push(tags.collect::<Option<_>>()?);
            } else if kind == COLUMN {
                let metric = bytes.text()?.to_owned().into();
                let tag = bytes.text()?.to_owned().into();
                self.columns.push(Column { metric, tag });
            } else {
                return None;
            }
        }
        Some(())
    }

    pub(super) fn subject(&self, number: u64) -> Option<&Subject> {
        self.subjects.get(usize::try_from(number).ok()?)
    }

    pub(super) fn column(&self, number: u64) -> Option<&Column> {
        self.columns.get(usize::try_from(number).ok()?)
    }
}
