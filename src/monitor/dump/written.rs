//! The dumps that this run has written: which of them go first, and what others may read of them over HTTP.

use std::collections::VecDeque;
#[cfg(feature = "http-server")]
use std::fs::{self, File};
#[cfg(feature = "http-server")]
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::record::Event;

/// The name of a dump, and the burst that it is of; `None`: a snapshot.
pub(in crate::monitor) type Named = (String, Option<Arc<Event>>);

/// See the [module](self). Files of earlier runs and of others are not among them.
#[derive(Debug)]
pub(in crate::monitor) struct Written {
    folder: PathBuf,
    dumps_max: usize,
    /// In the order in which they were written. The times in their names follow a clock that may be set.
    dumps: Mutex<VecDeque<Named>>,
}

impl Written {
    pub(super) fn new(folder: PathBuf, dumps_max: usize) -> Self {
        Self {
            folder,
            dumps_max,
            dumps: Mutex::default(),
        }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn dumps_max(&self) -> usize {
        self.dumps_max
    }

    pub(super) fn add(&self, name: String, event: Option<Arc<Event>>) {
        let mut dumps = self.dumps.lock();
        dumps.push_back((name, event));
        if dumps.len() > self.dumps_max {
            dumps.pop_front();
        }
    }

    /// Returns the place of a file in the order of writing; `None` if this run has not written it.
    pub(super) fn place(&self, name: &str) -> Option<usize> {
        let dumps = self.dumps.lock();
        dumps.iter().position(|(known, _)| known == name)
    }

    /// Returns the last ones, the oldest first.
    #[cfg(feature = "http-server")]
    pub(in crate::monitor) fn last(&self, most: usize) -> Vec<Named> {
        let dumps = self.dumps.lock();
        let first = dumps.len().saturating_sub(most);
        dumps.iter().skip(first).cloned().collect()
    }

    /// Opens a file of this run, and nothing else.
    #[cfg(feature = "http-server")]
    pub(in crate::monitor) fn open(&self, name: &str) -> io::Result<File> {
        if self.place(name).is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let path = self.folder.join(name);
        // Whatever else stands in its place by now is not ours.
        if !fs::symlink_metadata(&path)?.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        File::open(path)
    }
}

#[cfg(all(test, feature = "http-server"))]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn files_of_this_run_are_opened_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let written = Written::new(folder.path().to_owned(), 2);
        let file = |name: &str| fs::write(folder.path().join(name), name).unwrap();
        for name in ["a.jsonl", "b.jsonl", "c.jsonl", "earlier.jsonl"] {
            file(name);
        }
        for name in ["a.jsonl", "b.jsonl", "c.jsonl", "gone.jsonl"] {
            written.add(name.to_owned(), None);
        }
        let names: Vec<_> = written.last(9).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["c.jsonl", "gone.jsonl"]);
        let mut text = String::new();
        let mut opened = written.open("c.jsonl").unwrap();
        opened.read_to_string(&mut text).unwrap();
        assert_eq!(text, "c.jsonl");
        for other in [
            "a.jsonl",
            "earlier.jsonl",
            "gone.jsonl",
            "../c.jsonl",
            "",
            ".",
            "/etc/passwd",
        ] {
            let error = written.open(other).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{other}");
        }
        // Whatever stands in its place by now is not ours.
        fs::remove_file(folder.path().join("c.jsonl")).unwrap();
        fs::create_dir(folder.path().join("c.jsonl")).unwrap();
        assert!(written.open("c.jsonl").is_err());
    }
}
