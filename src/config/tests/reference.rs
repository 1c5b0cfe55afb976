//! `docs/configuration.md` and `latency.toml`, which are written from the table of keys.

use std::path::Path;

use crate::config::Config;
use crate::config::key::{Key, Preset, Scope};
use crate::config::keys;
use crate::config::reference::{facts, parts};

/// The variable with which the test writes the files in place of comparing them.
const RENEW: &str = "RENEW_DOCS";

/// Columns of a line.
const COLUMNS: usize = 118;

/// What stands above the keys in the page.
const PAGE_HEAD: &str = "\
# Configuration

This page is written from the table in `src/config/keys` by `RENEW_DOCS=1 cargo test --lib reference`.

The file is TOML, `./latency.toml` unless `--config-file` names another. A flag goes over the top level of the file,
and a target's own key goes over both. An environment variable holds where the file does not have the key. Words may be
in upper or lower case. An unknown key, a wrong type and a value out of range are errors; all of them are reported at
once, each with its line.

- `latency-monitor check -c latency.toml` prints the effective configuration, without secrets.
- `latency-monitor schema config` prints a JSON Schema. An editor completes and checks the file with it, for example
  Taplo and VS Code's Even Better TOML after `#:schema ./latency.schema.json` in the file's first line.
- A path that begins with `$CREDENTIALS_DIRECTORY/` leads to a [credential of systemd](installing.md#secrets).
- [latency.toml](../latency.toml) has every key with its default.
";

/// What stands above the keys in the file.
const FILE_HEAD: &str = "\
# The daemon's configuration: every key, with its default or an example. As it stands the daemon probes itself over
# loopback: `make run`. This file is written from the table in src/config/keys; docs/configuration.md has the ranges.
# A flag goes over the top level of this file, and a target's own key over both: `latency-monitor --help`.
# The effective configuration: `latency-monitor check -c latency.toml`.
";

/// Values that the file gives. All other keys are comments in it.
const GIVEN: &[(&str, &str)] = &[
    ("name", "\"this-host\""),
    ("interval", "200"),
    ("send_interval", "10"),
    ("host", "\"127.0.0.1\""),
    ("label", "\"myself\""),
    ("tags", "[\"link:loopback\"]"),
];

fn page() -> String {
    let mut page = PAGE_HEAD.to_owned();
    for part in parts() {
        page.extend(["\n## ", &part.heading, "\n\n"]);
        for key in part.keys {
            page.push_str(&wrapped(
                &format!("`{}`: {}", key.name, facts(key)),
                "- ",
                "  ",
            ));
            page.push_str(&wrapped(key.help, "  ", "  "));
        }
    }
    page
}

fn file() -> String {
    let mut file = FILE_HEAD.to_owned();
    for part in parts() {
        file.push_str(&part.file);
        for (index, key) in part.keys.iter().enumerate() {
            // A table's first key stands right below its name.
            if index > 0 || !part.file.ends_with("]\n") {
                file.push('\n');
            }
            let given = GIVEN.iter().find(|(name, _)| *name == key.name);
            // `host` is a key of a backend, too, `label` one of a session, `interval` one of [http], [path] and
            // [history], and `name` one of a mesh and of a backend.
            let is_elsewhere = matches!(
                key.scope,
                Scope::Of(_)
                    | Scope::Sessions
                    | Scope::Http
                    | Scope::History
                    | Scope::Path
                    | Scope::Mesh
                    | Scope::Member
                    | Scope::Discovery
            );
            let is_elsewhere = is_elsewhere || (key.name, key.scope) == ("name", Scope::Metrics);
            let given = given.filter(|_| !is_elsewhere);
            let (help, line) = match (given, key.preset) {
                (Some((_, value)), _) => (default(key), format!("{} = {value}", key.name)),
                (None, Preset::Value(toml)) => (String::new(), format!("#{} = {toml}", key.name)),
                (None, Preset::Absent(_)) if key.example.is_empty() => {
                    (String::new(), format!("#{} = \"\"", key.name))
                }
                (None, Preset::Absent(_)) => {
                    (default(key), format!("#{} = {}", key.name, key.example))
                }
            };
            file.push_str(&wrapped(&format!("{}{help}", key.help), "# ", "# "));
            file.extend([&line, "\n"]);
        }
    }
    file
}

fn default(key: &Key) -> String {
    match key.preset {
        Preset::Value(toml) => format!(" Default: {toml}."),
        Preset::Absent(meaning) => format!(" Default: {meaning}."),
    }
}

/// The text in lines, the first of which begins otherwise than the rest.
fn wrapped(text: &str, first: &str, rest: &str) -> String {
    let mut lines = vec![first.to_owned()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is a first one");
        if line.len() + word.len() < COLUMNS || line.ends_with("  ") {
            let space = if line.ends_with(' ') { "" } else { " " };
            line.extend([space, word]);
        } else {
            lines.push(format!("{rest}{word}"));
        }
    }
    lines.join("\n") + "\n"
}

fn compare(name: &str, wanted: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os(RENEW).is_some() {
        // At once, since other tests read it.
        let new = path.with_extension("new");
        std::fs::write(&new, wanted).expect("the folder can be written to");
        std::fs::rename(&new, &path).expect("the file can be replaced");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "{name} is not what src/config/keys says: `{RENEW}=1 cargo test --lib reference` renews it"
    );
}

#[test]
fn the_page_is_what_the_table_says() {
    compare("docs/configuration.md", &page());
}

#[test]
fn the_sample_file_is_what_the_table_says() {
    let file = file();
    compare("latency.toml", &file);
    let config = Config::parse(&file, &crate::config::Overrides::default());
    assert_eq!(config.expect("a right file").targets.len(), 1);
}

#[test]
fn every_default_and_every_example_is_right() {
    for key in keys::all() {
        let presets = match key.preset {
            Preset::Value(toml) => Some(toml),
            Preset::Absent(_) => None,
        };
        let examples = Some(key.example).filter(|example| !example.is_empty());
        for toml in presets.into_iter().chain(examples) {
            let value = key.literal(toml);
            let value = value.unwrap_or_else(|| panic!("{} cannot be {toml}", key.name));
            assert_eq!(key.kind.fault(&value), None, "{}", key.name);
        }
        let first = key.help.chars().next();
        let is_sentence = first.is_some_and(char::is_uppercase) && key.help.ends_with('.');
        assert!(is_sentence, "{} has no help: {:?}", key.name, key.help);
    }
}
