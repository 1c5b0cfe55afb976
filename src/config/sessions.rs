//! The tables `[[sessions]]`: STAMP senders that probe this host, and say no name.

use std::collections::BTreeSet;

use crate::config::auth::KeyFiles;
use crate::config::error::{Place, Problems};
use crate::config::keys::{
    FROM, SESSION_KEY_FILE, SESSION_LABEL, SESSION_SSID, SESSION_TAGS, SESSION_UTC_OFFSET,
};
use crate::config::layer::Layer;
use crate::config::rules;
use crate::limits::SENDERS_MAX;
use crate::proto::{Prefix, SenderSpec};

/// Decides everything about the senders, whose settings have been checked.
pub(super) fn resolve(
    tables: &[(Layer, Place)],
    allow: &[Prefix],
    keys: &mut KeyFiles<'_>,
    problems: &mut Problems,
) -> Vec<SenderSpec> {
    if tables.len() > SENDERS_MAX {
        let text = format_args!("are {}, and {SENDERS_MAX} is the maximum", tables.len());
        problems.add(Place::Program, "sessions", text);
        return Vec::new();
    }
    let mut seen = BTreeSet::new();
    let mut senders = Vec::new();
    for (layer, place) in tables {
        let (from, label) = (layer.find::<String>(&FROM), layer.find(&SESSION_LABEL));
        let Some((from, label)) = from.zip::<String>(label) else {
            let text = "a session must have `from`, an address or a prefix, and a `label`";
            problems.add_text(*place, text);
            continue;
        };
        // What is wrong with it has been told.
        let Ok(prefix) = rules::prefix(&from) else {
            continue;
        };
        let ssid = layer.find(&SESSION_SSID);
        if !seen.insert((prefix, ssid)) {
            let text = format_args!(
                "is {from}, as that of another session: give both another `ssid`, or remove one"
            );
            problems.add(layer.place(&FROM), FROM.name, text);
        }
        if !allow.is_empty() && !allow.iter().any(|allowed| allowed.overlaps(prefix)) {
            let text = format_args!("is {from}, which `allow` does not let in");
            problems.warn(layer.place(&FROM), FROM.name, text);
        }
        let tags: Vec<String> = layer.get(&SESSION_TAGS);
        senders.push(SenderSpec {
            from: prefix,
            ssid,
            label: label.into(),
            tags: tags.into_iter().map(Into::into).collect(),
            utc_offset_ns: i64::from(layer.get::<i32>(&SESSION_UTC_OFFSET)) * 1_000_000_000,
            key: keys.key_of(&SESSION_KEY_FILE, layer, problems),
        });
    }
    senders
}
