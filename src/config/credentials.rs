//! Credentials of systemd: files that a unit gets with `LoadCredential=`, in a folder that only the environment names.

use std::io;
use std::path::{Path, PathBuf};

use crate::config::outside::Outside;

/// The variable that has the folder.
pub(super) const VARIABLE: &str = "CREDENTIALS_DIRECTORY";

/// How a path of the file begins that leads to a credential.
const START: &str = "$CREDENTIALS_DIRECTORY/";

/// Returns where a path of the file leads to, if it begins as that of a credential. An error continues a sentence that
/// begins with the key.
pub(super) fn path(text: &str, folder: Option<&str>) -> Option<Result<String, String>> {
    let name = text.strip_prefix(START)?;
    Some(match folder {
        Some(folder) => Ok(format!("{folder}/{name}")),
        None => Err(format!(
            "{text:?} leads to one of the unit's, and this process was given no credentials: systemd sets \
             `{VARIABLE}` for a unit with LoadCredential=; elsewhere set it to a folder"
        )),
    })
}

/// Lists a folder of the file. As a credential a folder is no folder: systemd loads each of its files under the
/// folder's name, `_` and its own.
pub(super) fn list(folder: &Path, outside: &dyn Outside) -> io::Result<Vec<Entry>> {
    let missing = match outside.list(folder) {
        Ok(names) => {
            let entry = |name: String| Entry {
                path: folder.join(&name),
                name,
            };
            return Ok(names.into_iter().map(entry).collect());
        }
        Err(error) => error,
    };
    let (Some(parent), Some(own)) = (folder.parent(), folder.file_name()) else {
        return Err(missing);
    };
    if !is_in(folder, outside) {
        return Err(missing);
    }
    let start = format!("{}_", own.to_string_lossy());
    let entry = |name: String| {
        Some(Entry {
            path: parent.join(&name),
            name: name.strip_prefix(&start)?.to_owned(),
        })
    };
    let found: Vec<_> = outside
        .list(parent)?
        .into_iter()
        .filter_map(entry)
        .collect();
    if found.is_empty() {
        Err(missing)
    } else {
        Ok(found)
    }
}

/// True for a path below the folder of credentials, which nobody but this process's user can enter.
pub(super) fn is_in(path: &Path, outside: &dyn Outside) -> bool {
    outside
        .variable(VARIABLE)
        .is_some_and(|folder| path.starts_with(folder))
}

/// A file of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: PathBuf,
    /// Without what a credential has in front of it.
    pub(super) name: String,
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::{Config, KeyFile, Overrides, System};

    /// This host's files, which others can read, and credentials in this folder.
    struct Given(Option<PathBuf>);

    impl Outside for Given {
        fn variable(&self, name: &str) -> Option<String> {
            assert_eq!(name, VARIABLE);
            Some(self.0.as_ref()?.to_str()?.to_owned())
        }

        fn read(&self, path: &Path) -> io::Result<String> {
            System.read(path)
        }

        fn read_key(&self, path: &Path) -> io::Result<KeyFile> {
            let file = System.read_key(path)?;
            Ok(KeyFile {
                is_private: false,
                ..file
            })
        }

        fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
            System.list(folder)
        }
    }

    fn read(text: &str, folder: Option<&Path>) -> Result<Config, String> {
        let outside = Given(folder.map(Path::to_owned));
        let read = Config::parse_effective(text, &Overrides::default(), &outside);
        read.map(|(config, _)| config)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_path_leads_to_a_credential() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("fra"), [7; 32]).unwrap();
        let text = "[[targets]]\nhost = '192.0.2.1'\nkey_file = '$CREDENTIALS_DIRECTORY/fra'";
        let config = read(text, Some(folder.path())).unwrap();
        assert!(config.targets[0].key.is_some());
        // Its folder is closed, whatever its mode.
        assert_eq!(config.warnings, [""; 0]);

        let told = read(text, None).unwrap_err();
        assert!(told.contains("line 3: `key_file` \"$CRED"), "{told}");
        assert!(told.contains("was given no credentials"), "{told}");
    }

    #[test]
    fn a_folder_is_loaded_as_files_that_begin_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["keys_7", "keys_ams", "fra", "keysother"] {
            fs::write(folder.path().join(name), name.repeat(32)).unwrap();
        }
        let keys = folder.path().join("keys");
        let given = Given(Some(folder.path().to_owned()));
        let found = list(&keys, &given).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|entry| (entry.name.as_str(), entry.path.file_name().unwrap()))
            .collect();
        assert_eq!(
            found,
            [("7", "keys_7".as_ref()), ("ams", "keys_ams".as_ref())]
        );
        let text = "[auth]\nkey_dir = '$CREDENTIALS_DIRECTORY/keys'\nrequire_key = true";
        assert!(!read(text, Some(folder.path())).unwrap().keys.is_empty());

        // Elsewhere a folder is a folder.
        assert!(list(&keys, &Given(None)).is_err());
        let none = "[auth]\nkey_dir = '$CREDENTIALS_DIRECTORY/none'";
        let told = read(none, Some(folder.path())).unwrap_err();
        assert!(told.contains("cannot be read: No such file"), "{told}");
    }
}
