//! Keys of targets and of this host, from files.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::config::{Config, Overrides, System};
use crate::proto::{Key, Protocol};

const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n";

/// Writes a file that only its owner can read.
fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

fn read(text: &str) -> Result<Config, String> {
    let read = Config::parse_effective(text, &Overrides::default(), &System);
    read.map(|(config, _)| config)
        .map_err(|error| error.to_string())
}

#[test]
fn a_target_has_the_key_of_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fra");
    write(&path, HEX.as_bytes());
    let text = format!(
        "key_file = {path:?}\n[[targets]]\nhost = '192.0.2.1'\n[[targets]]\nhost = '192.0.2.2'"
    );
    let config = read(&text).unwrap();
    let bytes: Vec<u8> = (0..32).collect();
    for target in &config.targets {
        assert_eq!(target.key.as_deref(), Key::new(&bytes).as_ref());
        assert_eq!(target.protocol, Protocol::Native, "text has no keys");
    }
    assert_eq!(config.warnings, [""; 0]);

    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let warnings = read(&text).unwrap().warnings;
    assert_eq!(warnings.len(), 1, "the file is read once: {warnings:?}");
    assert!(
        warnings[0].ends_with("can be read by others on this host: its mode should be 0600"),
        "{warnings:?}"
    );
}

#[test]
fn a_key_that_is_none_is_a_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("short");
    let said = |more: &str| {
        let text = format!("key_file = {path:?}\n{more}\n[[targets]]\nhost = '192.0.2.1'");
        read(&text).unwrap_err()
    };
    assert!(said("").contains("line 1: `key_file` "), "{}", said(""));
    assert!(said("").contains("cannot be read: "), "{}", said(""));
    write(&path, &HEX.as_bytes()[..62]);
    assert!(
        said("").ends_with("has a key of 31 bytes, and 32 is the minimum"),
        "{}",
        said("")
    );
    write(&path, HEX.as_bytes());
    assert!(
        said("protocol = 'text'").contains("has no use where `protocol` is `text`"),
        "{}",
        said("protocol = 'text'")
    );
}

#[test]
fn a_host_has_the_keys_of_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["fra", "7", ".hidden"] {
        write(&folder.path().join(name), HEX.as_bytes());
    }
    fs::create_dir(folder.path().join("sub")).unwrap();
    let text = format!("[auth]\nkey_dir = {:?}\nrequire_key = true", folder.path());
    let config = read(&text).unwrap();
    assert_eq!(config.keys.len(), 2);
    assert!(config.keys.is_required);
    write(&folder.path().join("short"), b"abc");
    let said = read(&text).unwrap_err();
    assert!(said.contains("short\" has a key of 3 bytes"), "{said}");

    let said = read("[auth]\nkey_dir = '/nowhere'").unwrap_err();
    assert!(
        said.contains("line 2: `key_dir` \"/nowhere\" cannot be read"),
        "{said}"
    );
    let said = read("[auth]\nrequire_key = true").unwrap_err();
    assert!(said.contains("without `key_dir` there is no key"), "{said}");
}
