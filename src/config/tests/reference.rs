//! `docs/configuration.md` and `latency.toml`, which are written from the table of keys.

use std::path::Path;

use crate::config::Config;
use crate::config::key::{Key, Preset, Scope, Table};
use crate::config::keys;
use crate::config::value::{Kind, PORT_MAX};
use crate::config::words::{Backend, Word as _};

/// The variable with which the test writes the files in place of comparing them.
const RENEW: &str = "RENEW_DOCS";

/// Columns of a line.
const COLUMNS: usize = 118;

/// What stands above the keys in the page.
const PAGE_HEAD: &str = "\
# Configuration

This page is written from the table in `src/config/keys.rs` by `RENEW_DOCS=1 cargo test --lib reference`.

The file is TOML, `./latency.toml` unless `--config-file` names another. A flag goes over the top level of the file,
and a target's own key goes over both. An environment variable holds where the file does not have the key. Words may be
in upper or lower case. An unknown key, a wrong type and a value out of range are errors; all of them are reported at
once, each with its line.

- `latency-monitor check -c latency.toml` prints the effective configuration, without secrets.
- `latency-monitor schema config` prints a JSON Schema. An editor completes and checks the file with it, for example
  Taplo and VS Code's Even Better TOML after `#:schema ./latency.schema.json` in the file's first line.
- [latency.toml](../latency.toml) has every key with its default.
";

/// What stands above the keys in the file.
const FILE_HEAD: &str = "\
# The daemon's configuration: every key, with its default or an example. As it stands the daemon probes itself over
# loopback: `make run`. This file is written from the table in src/config/keys.rs; docs/configuration.md has the ranges.
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

/// A heading of the page, the line of the file for the same, and the keys under both.
struct Part {
    heading: String,
    file: String,
    keys: Vec<&'static Key>,
}

fn parts() -> Vec<Part> {
    let part = |heading: &str, file: &str, keys: Vec<_>| Part {
        heading: heading.to_owned(),
        file: file.to_owned(),
        keys,
    };
    let of = |table| keys::of(table).collect();
    let only = |scope| keys::all().filter(|key| key.scope == scope).collect();
    let inherited: Vec<_> = keys::of(Table::Targets)
        .filter(|key| !is_own(key))
        .collect();
    let own = keys::of(Table::Targets).filter(|key| is_own(key)).collect();
    let mut parts = vec![
        part("The daemon", "", only(Scope::Top)),
        part(
            "Targets: at the top level for all of them, in `[[targets]]` for one",
            "\n# Targets inherit the keys from here to the first table. Each may stand in a target, too.\n",
            inherited,
        ),
        part(
            "`[auth]`: the keys that requests may be authenticated with",
            "\n[auth]\n",
            of(Table::Auth),
        ),
        part(
            "`[[sessions]]`: STAMP and TWAMP Light senders that probe this host",
            "\n# One table for each sender that is not ours.\n#[[sessions]]\n",
            of(Table::Sessions),
        ),
        part(
            "`[[mesh]]`: hosts that probe each other ([mesh.md](mesh.md)). It has any key of a target, too",
            "\n# Hosts that probe each other, each with the same file. Members inherit the keys of a target that stand \
             here.\n#[[mesh]]\n",
            of(Table::Mesh),
        ),
        part(
            "`members` of a `[[mesh]]`",
            "\n#[[mesh.members]]\n",
            of(Table::Member),
        ),
        part(
            "`[[discovery]]`: lists of targets ([discovery.md](discovery.md)). It has any key of a target, too",
            "\n# Lists of targets. These inherit the keys of a target that stand here.\n#[[discovery]]\n",
            of(Table::Discovery),
        ),
        part(
            "`[engine]`: how the poll thread runs",
            "\n[engine]\n",
            of(Table::Engine),
        ),
        part(
            "`[burst]`: micro-bursts and dumps",
            "\n[burst]\n",
            of(Table::Burst),
        ),
        part(
            "`[http]`: what others may ask this host",
            "\n# Without this table nobody can ask.\n#[http]\n",
            of(Table::Http),
        ),
        part(
            "`[[metrics]]`: every backend",
            "\n# One table for each backend. With several, write [[metrics]].\n[metrics]\n",
            only(Scope::Metrics),
        ),
    ];
    let mut owners: Vec<&[Backend]> = Vec::new();
    for key in keys::all() {
        if let Scope::Of(backends) = key.scope
            && !owners.contains(&backends)
        {
            owners.push(backends);
        }
    }
    for backends in owners {
        let words: Vec<_> = backends.iter().map(|backend| backend.as_word()).collect();
        let heading = format!(
            "`[[metrics]]` with `backend = \"{}\"`",
            words.join("\"` or `\"")
        );
        let file = format!("\n# Only for {}:\n", words.join(", "));
        parts.push(part(&heading, &file, only(Scope::Of(backends))));
    }
    parts.push(part("`[[targets]]`: each target", "\n[[targets]]\n", own));
    parts
}

/// Returns whether a key is of use in a single target only, though targets can inherit it.
fn is_own(key: &Key) -> bool {
    ["host", "label", "tags"].contains(&key.name)
}

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

/// The type, the range, and how else the key is given.
fn facts(key: &Key) -> String {
    let mut facts = vec![kind(&key.kind)];
    facts.push(match key.preset {
        Preset::Value(toml) => format!("Default: `{toml}`"),
        Preset::Absent(meaning) => format!("Default: {meaning}"),
    });
    if let Some(flag) = key.flag {
        let mut names: Vec<String> = flag
            .short
            .iter()
            .map(|short| format!("`-{short}`"))
            .collect();
        names.push(format!("`{}`", flag.long));
        if key.is_switch() {
            names.push(format!("`--no-{}`", &flag.long[2..]));
        }
        facts.push(format!("Flag: {}", names.join(", ")));
    }
    if let Some(variable) = key.variable {
        facts.push(format!("Variable: `{variable}`"));
    }
    if !key.example.is_empty() {
        facts.push(format!("Example: `{}`", key.example));
    }
    format!("{}.", facts.join(". "))
}

fn kind(kind: &Kind) -> String {
    let range = |low: &dyn std::fmt::Display, high: &dyn std::fmt::Display, unit: &str| {
        let unit = if unit.is_empty() {
            ""
        } else {
            &format!(" {unit}")
        };
        format!("{low} to {high}{unit}")
    };
    match kind {
        Kind::Switch => "`true` or `false`".to_owned(),
        Kind::Whole(low, high, unit) => format!("whole number, {}", range(low, high, unit)),
        Kind::Ports(_) => format!(
            "whole number, {}, or list of them",
            range(&0, &PORT_MAX, "")
        ),
        Kind::Number(low, high, unit) => format!("number, {}", range(low, high, unit)),
        Kind::NumberOrAuto(low, high, unit) => {
            format!("number, {}, or `auto`", range(low, high, unit))
        }
        Kind::Word(words) => format!("`{}`", words().join("`, `")),
        Kind::Text(_) => "string".to_owned(),
        Kind::Url(_) => "URL".to_owned(),
        Kind::Path => "path".to_owned(),
        Kind::Secret(_) => "string, never shown".to_owned(),
        Kind::Headers => "table of strings, never shown".to_owned(),
        Kind::Table(_) => "table of strings".to_owned(),
        Kind::Texts(_) => "list of strings".to_owned(),
        Kind::TextOrTexts(_) => "string or list of strings".to_owned(),
        Kind::Numbers(_) => "list of numbers".to_owned(),
        Kind::Names(_, listed, _) => format!("table of strings, or list of {listed}"),
    }
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
            // `host` is a key of a backend, too, `label` one of a session, `interval` one of [http], and `name` one of
            // a mesh and of a backend.
            let is_elsewhere = matches!(
                key.scope,
                Scope::Of(_)
                    | Scope::Sessions
                    | Scope::Http
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
        "{name} is not what src/config/keys.rs says: `{RENEW}=1 cargo test --lib reference` renews it"
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
