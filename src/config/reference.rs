//! The table of keys as a reader meets it: under headings, each with its type, range and default. The reference, the
//! sample file and the manual page are written from this.

use crate::config::key::{Key, Preset, Scope, Table};
use crate::config::keys;
use crate::config::value::{Kind, PORT_MAX};
use crate::config::words::{Backend, Word as _};

/// A heading of the page, the line of the file for the same, and the keys under both.
pub(super) struct Part {
    pub(super) heading: String,
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "the sample file is written by a test")
    )]
    pub(super) file: String,
    pub(super) keys: Vec<&'static Key>,
}

/// Returns all of it, in order.
pub(super) fn parts() -> Vec<Part> {
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
            "`[sandbox]`: what the daemon keeps itself from ([security.md](security.md#the-daemon-itself))",
            "\n[sandbox]\n",
            of(Table::Sandbox),
        ),
        part(
            "`[burst]`: micro-bursts and dumps",
            "\n[burst]\n",
            of(Table::Burst),
        ),
        part(
            "`[path]`: the hops of paths ([paths.md](paths.md))",
            "\n[path]\n",
            of(Table::Path),
        ),
        part(
            "`[http]`: what others may ask this host",
            "\n# Without this table nobody can ask.\n#[http]\n",
            of(Table::Http),
        ),
        part(
            "`[history]`: what this host keeps ([history.md](history.md))",
            "\n# Without `dir` nothing is kept.\n[history]\n",
            of(Table::History),
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

/// The type, the range, and how else the key is given.
pub(super) fn facts(key: &Key) -> String {
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
        Kind::WholeOrText(low, high, ..) => {
            format!("whole number, {}, or string", range(low, high, ""))
        }
        Kind::WordOrWhole(words, numbers) => {
            let numbers: Vec<String> = numbers.iter().map(|number| format!("`{number}`")).collect();
            format!("`{}`, {}", words.join("`, `"), numbers.join(", "))
        }
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
