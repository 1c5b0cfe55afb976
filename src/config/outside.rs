//! Reads what a configuration takes from outside its file: secrets, from the environment or from
//! files of their own. Nothing else reads either.

use std::io;
use std::path::Path;

use crate::publish::read_secret;

/// The source of secrets that a configuration file does not hold itself.
pub trait Outside {
    /// Returns an environment variable; `None` if it is empty or not UTF-8.
    fn variable(&self, name: &str) -> Option<String>;

    /// Returns the content of a file.
    fn read(&self, path: &Path) -> io::Result<String>;
}

/// The environment of this process, and the files of this host.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Outside for System {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        read_secret(path)
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_too_long_for_a_secret_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "open sesame\n").unwrap();
        assert_eq!(System.read(&path).unwrap(), "open sesame\n");
        std::fs::write(&path, vec![b'x'; 5_000]).unwrap();
        let error = System.read(&path).unwrap_err();
        assert_eq!(error.to_string(), "it has more than 4096 bytes");
        assert!(System.read(&folder.path().join("missing")).is_err());
    }
}
