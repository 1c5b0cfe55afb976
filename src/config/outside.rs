//! Reads what a configuration takes from outside its file: secrets, from the environment or from
//! files of their own. Nothing else reads either.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use crate::publish::read_secret;
use crate::sys::host::is_private;
use crate::sys::sandbox::explain;

/// Bytes of a key file at most.
const KEY_FILE_BYTES_MAX: u64 = 4_096;

/// The source of secrets that a configuration file does not hold itself.
pub trait Outside {
    /// Returns an environment variable; `None` if it is empty or not UTF-8.
    fn variable(&self, name: &str) -> Option<String>;

    /// Returns the content of a file.
    fn read(&self, path: &Path) -> io::Result<String>;

    /// Returns the bytes of a key file.
    fn read_key(&self, path: &Path) -> io::Result<KeyFile>;

    /// Returns the names of the files in a folder, but hidden ones.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;
}

/// What a key file holds.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyFile {
    /// Its content.
    pub bytes: Vec<u8>,
    /// Nobody but its owner can read it.
    pub is_private: bool,
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("KeyFile(..)")
    }
}

/// The environment of this process, and the files of this host.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Outside for System {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        read_secret(path).map_err(explain)
    }

    fn read_key(&self, path: &Path) -> io::Result<KeyFile> {
        let file = File::open(path).map_err(explain)?;
        let is_private = is_private(&file)?;
        let mut bytes = Vec::new();
        file.take(KEY_FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > KEY_FILE_BYTES_MAX {
            let text = format!("it has more than {KEY_FILE_BYTES_MAX} bytes");
            return Err(io::Error::other(text));
        }
        Ok(KeyFile { bytes, is_private })
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).map_err(explain)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // A mounted secret is a link to a file in a hidden folder.
            if !name.starts_with('.') && fs::metadata(entry.path())?.is_file() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }
}

/// An empty outside, without variables and files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sealed;

impl Outside for Sealed {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn read(&self, _: &Path) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn read_key(&self, _: &Path) -> io::Result<KeyFile> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_too_long_for_a_secret_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, "open sesame\n").unwrap();
        assert_eq!(System.read(&path).unwrap(), "open sesame\n");
        fs::write(&path, vec![b'x'; 5_000]).unwrap();
        let error = System.read(&path).unwrap_err();
        assert_eq!(error.to_string(), "it has more than 4096 bytes");
        assert!(System.read(&folder.path().join("missing")).is_err());
    }
}
