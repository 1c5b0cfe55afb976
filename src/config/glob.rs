//! Files with lists of targets: which are meant, and how each is written.

use std::path::{Path, PathBuf};

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Groups of targets with labels, as Prometheus reads them.
    Json,
    /// The same in YAML.
    Yaml,
    /// Tables `[[targets]]`, as in the configuration.
    Toml,
}

impl Format {
    /// Returns the format of a file by the end of its name.
    pub fn of(name: &str) -> Option<Self> {
        match name.rsplit_once('.')?.1 {
            "json" => Some(Self::Json),
            "yml" | "yaml" => Some(Self::Yaml),
            "toml" => Some(Self::Toml),
            _ => None,
        }
    }
}

/// Files of one folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileGlob {
    /// The folder.
    pub folder: PathBuf,
    /// Their name, in which `*` stands for anything.
    pub name: String,
}

impl FileGlob {
    /// Parses a path. Its name has an end by which its format is known.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let path = Path::new(text);
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        if Format::of(name).is_none() {
            return Err(format!(
                "must be files that end in .json, .yml, .yaml or .toml, not {text:?}"
            ));
        }
        if folder.to_string_lossy().contains('*') {
            return Err(format!(
                "may have a `*` only in the last part of a path, not in {text:?}"
            ));
        }
        let folder = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        Ok(Self {
            folder: folder.to_owned(),
            name: name.to_owned(),
        })
    }

    /// True for the name of a file that is meant.
    pub fn fits(&self, name: &str) -> bool {
        // A star takes as little as it can; only the last part has to be at the end.
        let mut parts = self.name.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else {
            return false;
        };
        let Some(last) = parts.next_back() else {
            return rest.is_empty();
        };
        for part in parts {
            let Some(at) = rest.find(part) else {
                return false;
            };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last)
    }
}
