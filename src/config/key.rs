//! What is known of a key: where it stands, what it can be, and how else it can be given.

use crate::config::named::Usage;
use crate::config::value::{Kind, PORT_MAX, Value};
use crate::config::words::Backend;

/// One key of the configuration.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(super) scope: Scope,
    pub(super) kind: Kind,
    pub(super) preset: Preset,
    /// The flag that goes over the top level of the file.
    pub(crate) flag: Option<Flag>,
    /// The environment variable that holds where the file does not have the key.
    pub(super) variable: Option<&'static str>,
    /// What it is, in sentences: for `--help`, the reference and editors.
    pub(super) help: &'static str,
    /// A value that one could give, as TOML; empty where the preset is example enough.
    pub(super) example: &'static str,
    /// The Python program takes numbers from 0 up. One that is too large is taken as the largest, one
    /// that is too small as this, as TOML.
    pub(super) lenient: Option<&'static str>,
    /// What the daemon does with a path.
    pub(super) usage: Usage,
}

/// Who has a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// The daemon: the top level of the file.
    Top,
    /// A target; at the top level, what targets inherit.
    Target,
    /// The daemon, and targets, which inherit it.
    Both,
    /// `[auth]`.
    Auth,
    /// Every `[[sessions]]` table.
    Sessions,
    /// Every `[[mesh]]` table.
    Mesh,
    /// Every member of a `[[mesh]]`.
    Member,
    /// Every `[[discovery]]` table.
    Discovery,
    /// `[engine]`.
    Engine,
    /// `[sandbox]`.
    Sandbox,
    /// `[burst]`.
    Burst,
    /// `[path]`.
    Path,
    /// `[http]`.
    Http,
    /// `[history]`.
    History,
    /// Every `[[metrics]]` table.
    Metrics,
    /// A `[[metrics]]` table for one of these backends.
    Of(&'static [Backend]),
}

/// A table of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Top,
    Targets,
    Auth,
    Sessions,
    /// What is a mesh's own; its members inherit keys of a target as well.
    Mesh,
    Member,
    /// What is a discovery's own; its targets inherit keys of a target as well.
    Discovery,
    Engine,
    Sandbox,
    Burst,
    Path,
    Http,
    History,
    /// A `[[metrics]]` table for this backend.
    Metrics(Backend),
}

/// The value of a key that nobody gives.
#[derive(Clone, Copy, Debug)]
pub(super) enum Preset {
    /// This one, as TOML.
    Value(&'static str),
    /// None, which means this.
    Absent(&'static str),
}

/// A flag of the command line. That of a switch takes no argument, and has one of the other meaning
/// beside it: `--no-...`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    pub(crate) heading: Option<&'static str>,
    pub(crate) short: Option<char>,
    /// With its dashes.
    pub(crate) long: &'static str,
    /// What its argument is called in `--help`.
    pub(crate) argument: &'static str,
}

impl Key {
    /// A key that has neither default nor flag.
    pub(super) const fn new(name: &'static str, scope: Scope, kind: Kind) -> Self {
        Self {
            name,
            scope,
            kind,
            preset: Preset::Absent("none"),
            flag: None,
            variable: None,
            help: "",
            example: "",
            lenient: None,
            usage: Usage::ReadFile,
        }
    }

    pub(super) const fn help(self, help: &'static str) -> Self {
        Self { help, ..self }
    }

    /// With a default, as TOML.
    pub(super) const fn preset(self, toml: &'static str) -> Self {
        let preset = Preset::Value(toml);
        Self { preset, ..self }
    }

    /// Without a default, which means this.
    pub(super) const fn absent(self, meaning: &'static str) -> Self {
        let preset = Preset::Absent(meaning);
        Self { preset, ..self }
    }

    pub(super) const fn example(self, toml: &'static str) -> Self {
        Self {
            example: toml,
            ..self
        }
    }

    /// Takes numbers from 0 up; one that is too small is `least`, as TOML.
    pub(super) const fn lenient(self, least: &'static str) -> Self {
        let lenient = Some(least);
        Self { lenient, ..self }
    }

    /// A path that the daemon uses so.
    pub(super) const fn usage(self, usage: Usage) -> Self {
        Self { usage, ..self }
    }

    pub(super) const fn variable(self, name: &'static str) -> Self {
        let variable = Some(name);
        Self { variable, ..self }
    }

    /// With a flag under a heading of `--help`.
    pub(super) const fn flag(
        self,
        heading: Option<&'static str>,
        short: Option<char>,
        long: &'static str,
        argument: &'static str,
    ) -> Self {
        let flag = Some(Flag {
            heading,
            short,
            long,
            argument,
        });
        Self { flag, ..self }
    }

    /// Returns whether a table of the file has the key.
    pub(super) fn is_in(&self, table: Table) -> bool {
        match (self.scope, table) {
            (Scope::Top, Table::Top)
            | (Scope::Target, Table::Targets)
            | (Scope::Both, Table::Top | Table::Targets)
            | (Scope::Auth, Table::Auth)
            | (Scope::Sessions, Table::Sessions)
            | (Scope::Mesh, Table::Mesh)
            | (Scope::Member, Table::Member)
            | (Scope::Discovery, Table::Discovery)
            | (Scope::Engine, Table::Engine)
            | (Scope::Sandbox, Table::Sandbox)
            | (Scope::Burst, Table::Burst)
            | (Scope::Path, Table::Path)
            | (Scope::Http, Table::Http)
            | (Scope::History, Table::History)
            | (Scope::Metrics, Table::Metrics(_)) => true,
            (Scope::Of(owners), Table::Metrics(backend)) => owners.contains(&backend),
            _ => false,
        }
    }

    /// Returns what its value can be in a table of the file: a target is probed on one port.
    pub(super) const fn kind_in(&self, table: Table) -> Kind {
        match (self.kind, table) {
            (Kind::Ports(_), Table::Targets) => Kind::Whole(0, PORT_MAX, ""),
            (kind, _) => kind,
        }
    }

    /// Returns the default, if the key has one.
    pub(super) fn default(&self) -> Option<Value> {
        match self.preset {
            Preset::Value(toml) => self.literal(toml),
            Preset::Absent(_) => None,
        }
    }

    /// Returns what a number out of the range is taken as, if it is.
    pub(super) fn nearest(&self, value: &Value) -> Option<Value> {
        let least = self.lenient?;
        match (&self.kind, value) {
            (Kind::Whole(_, max, _), Value::Whole(number)) if number > max => {
                Some(Value::Whole(*max))
            }
            (Kind::Number(_, max, _), Value::Number(number)) if number > max => {
                number.is_finite().then_some(Value::Number(*max))
            }
            (_, Value::Whole(0..)) => self.literal(least),
            (_, Value::Number(number)) if *number >= 0.0 => self.literal(least),
            _ => None,
        }
    }

    /// Returns whether its flag takes no argument.
    pub(crate) fn is_switch(&self) -> bool {
        matches!(self.kind, Kind::Switch)
    }

    /// Returns the words that it can be, if it is one of a few.
    pub(crate) fn words(&self) -> Option<Vec<&'static str>> {
        match self.kind {
            Kind::Word(words) => Some(words()),
            _ => None,
        }
    }

    /// Reads the argument of its flag.
    pub(crate) fn read_argument(&self, text: &str) -> Result<Value, String> {
        self.kind.read_argument(text)
    }

    /// Returns what `--help` says of it: the first sentence, and the default.
    pub(crate) fn about(&self) -> String {
        let sentence = self.help.split(". ").next().unwrap_or_default();
        let sentence = sentence.trim_end_matches('.').replace('`', "");
        let default = match (self.preset, self.flag) {
            (Preset::Value("true"), Some(flag)) => {
                return format!("{sentence} [default: on; --no-{}: off]", &flag.long[2..]);
            }
            (Preset::Value(toml), _) => toml.trim_matches('"'),
            (Preset::Absent(meaning), _) => meaning,
        };
        format!("{sentence} [default: {}]", default.replace('`', ""))
    }

    /// Reads a value that is written as TOML.
    pub(super) fn literal(&self, toml: &str) -> Option<Value> {
        self.kind.literal(toml)
    }
}
