//! The table `[auth]`, and the files of keys that it and targets name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::config::credentials;
use crate::config::error::{Place, Problems};
use crate::config::key::Key as Setting;
use crate::config::keys::{KEY_DIR, REQUIRE_KEY};
use crate::config::layer::Layer;
use crate::config::outside::{KeyFile, Outside};
use crate::limits::KEYS_MAX;
use crate::proto::{Key, KeyRing, SenderSpec};

/// The key files that have been read: thousands of targets may inherit one.
pub(super) struct KeyFiles<'a> {
    outside: &'a dyn Outside,
    read: BTreeMap<PathBuf, Option<Arc<Key>>>,
}

impl<'a> KeyFiles<'a> {
    pub(super) fn of(outside: &'a dyn Outside) -> Self {
        Self {
            outside,
            read: BTreeMap::new(),
        }
    }

    /// Returns the key whose file a table names by this setting, if it names one that can be read.
    pub(super) fn key_of(
        &mut self,
        setting: &'static Setting,
        layer: &Layer,
        problems: &mut Problems,
    ) -> Option<Arc<Key>> {
        let path: PathBuf = layer.find(setting)?;
        let place = layer.place(setting);
        let (outside, entry) = (self.outside, self.read.entry(path.clone()));
        let key = entry
            .or_insert_with(|| read(&path, place, setting.name, outside, problems).map(Arc::new));
        key.clone()
    }
}

/// Returns the keys of this host, those of these senders among them.
pub(super) fn key_ring(
    layer: &Layer,
    senders: &[SenderSpec],
    outside: &dyn Outside,
    problems: &mut Problems,
) -> KeyRing {
    let mut ring = KeyRing::default();
    ring.is_required = layer.get(&REQUIRE_KEY);
    for sender in senders {
        ring.add_sender(sender);
    }
    let folder: Option<PathBuf> = layer.find(&KEY_DIR);
    let Some(folder) = folder else {
        if ring.is_required && ring.is_empty() {
            let text = "is true, and without `key_dir` there is no key";
            problems.add(layer.place(&REQUIRE_KEY), REQUIRE_KEY.name, text);
        }
        return ring;
    };
    let (place, at) = (layer.place(&KEY_DIR), folder.display());
    let files = credentials::list(&folder, outside).unwrap_or_else(|error| {
        let text = format_args!("\"{at}\" cannot be read: {error}");
        problems.add(place, KEY_DIR.name, text);
        Vec::new()
    });
    if files.len() > KEYS_MAX {
        let text = format_args!(
            "\"{at}\" has {} keys, and {KEYS_MAX} is the maximum",
            files.len()
        );
        problems.add(place, KEY_DIR.name, text);
        return ring;
    }
    for file in files {
        if let Some(key) = read(&file.path, place, KEY_DIR.name, outside, problems) {
            ring.add(&file.name, key);
        }
    }
    ring
}

/// Reads a key file. Reports why it is none, and whether others can read it.
fn read(
    path: &Path,
    place: Place,
    key: &str,
    outside: &dyn Outside,
    problems: &mut Problems,
) -> Option<Key> {
    let at = path.display();
    let file = match outside.read_key(path) {
        Ok(file) => file,
        Err(error) => {
            problems.add(place, key, format_args!("\"{at}\" cannot be read: {error}"));
            return None;
        }
    };
    // The folder of credentials is closed to others; the mode of a file in it can be that of an access list.
    if !file.is_private && !credentials::is_in(path, outside) {
        let text =
            format_args!("\"{at}\" can be read by others on this host: its mode should be 0600");
        problems.warn(place, key, text);
    }
    let bytes = decode(&file);
    let found = Key::new(&bytes);
    if found.is_none() {
        let (has, least) = (bytes.len(), Key::BYTES_MIN);
        let text = format_args!("\"{at}\" has a key of {has} bytes, and {least} is the minimum");
        problems.add(place, key, text);
    }
    found
}

/// Returns the bytes of a key: of text in hex or base64 what it stands for, of other text all but the end of its
/// line, and anything else as it is.
fn decode(file: &KeyFile) -> Vec<u8> {
    let Ok(text) = str::from_utf8(&file.bytes) else {
        return file.bytes.clone();
    };
    let text = text.trim_end_matches(['\r', '\n']);
    let from_base64 = || STANDARD.decode(text).ok();
    let bytes = from_hex(text).or_else(from_base64);
    bytes.unwrap_or_else(|| text.as_bytes().to_vec())
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(*high)? << 4 | digit(*low)?).ok();
    pairs.iter().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8]) -> Vec<u8> {
        decode(&KeyFile {
            bytes: bytes.to_vec(),
            is_private: true,
        })
    }

    #[test]
    fn a_key_is_in_hex_or_base64_or_as_it_is() {
        assert_eq!(decoded(b"00ffAb\n"), [0, 0xff, 0xab]);
        assert_eq!(decoded(b"AP+r\r\n"), [0, 0xff, 0xab]);
        assert_eq!(decoded(b"not of either!\n"), b"not of either!");
        assert_eq!(
            decoded(b"\xff\x00\n"),
            b"\xff\x00\n",
            "no text: the byte is the key's"
        );
        // An odd number of digits is no hex.
        assert_eq!(decoded(b"00f"), b"00f");
    }
}
