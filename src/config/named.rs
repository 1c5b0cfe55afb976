//! The paths that a configuration names, and what the daemon does with each: what it may open once it has locked
//! itself in.

use std::path::PathBuf;

/// What the daemon does with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Usage {
    /// It reads the file, and reads it again when another one is in its place.
    ReadFile,
    /// It lists the folder, and reads the files in it.
    ReadFolder,
    /// It makes the file, appends to it, and makes it anew when that was moved.
    WriteFile,
    /// It makes, reads, renames and removes files in the folder.
    WriteFolder,
    /// It listens there.
    Socket,
}

/// A path, and which key has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NamedPath {
    pub(crate) path: PathBuf,
    pub(crate) usage: Usage,
    pub(crate) key: &'static str,
}
