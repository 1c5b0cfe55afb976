//! The command line. The flags that are settings come from the table of keys.

use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser as _, ValueParser};
use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches, Parser, Subcommand};

use crate::config::{self, DEFAULT_FILE, Key, Overrides, Value};
use crate::publish::clickhouse;
#[cfg(feature = "report")]
use crate::report;

const EXAMPLES: &str = "\
Examples:
  Start in server mode, i.e. only answer probes:
    latency-monitor

  Enable debug logging:
    latency-monitor -l DEBUG

  Disable RTT and TCP latency probing:
    latency-monitor -c latency.toml --no-tcp-latency --no-rtt

  Rapid UDP probing (every millisecond), only OWD:
    latency-monitor -c latency.toml --no-tcp --no-rtt -i 1

  See what a file means, or what is wrong with it:
    latency-monitor check -c latency.toml";

/// Measures one-way delay and round-trip time over persistent TCP and UDP flows, and TCP connect
/// latency
#[derive(Debug, Parser)]
#[command(name = "latency-monitor", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do; without, the daemon runs.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Path to the configuration file [default: ./latency.toml, which may be absent]
    #[arg(short, long, value_name = "FILE", global = true)]
    pub config_file: Option<PathBuf>,
    /// The settings that go over those of the file.
    #[command(flatten)]
    pub overrides: Overrides,
}

impl Cli {
    /// Returns the file to read. The usual one must be there later, too, if it is there now: without it all
    /// targets would end.
    pub fn file(&self) -> Option<&Path> {
        let usual = Path::new(DEFAULT_FILE);
        let found = Some(usual).filter(|file| file.exists());
        self.config_file.as_deref().or(found)
    }

    /// Returns as which member of a mesh the file is to be checked.
    pub fn member(&self) -> Option<&str> {
        match &self.command {
            Some(Command::Check { member }) => member.as_deref(),
            _ => None,
        }
    }
}

/// What else the program can do.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Validate the configuration, and print it with every default filled in
    Check {
        /// As this member of the mesh in the file, on whatever host; the host itself is not looked at
        #[arg(long = "as", value_name = "NAME")]
        member: Option<String>,
    },
    /// Print the schema of the configuration file, or the statements that make a backend's tables
    Schema {
        /// Of what
        #[command(subcommand)]
        of: Schema,
    },
    /// Make a page with plots of dumps, or of what the cli backend printed
    #[cfg(feature = "report")]
    Report(report::Request),
}

/// What has a schema.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Schema {
    /// The configuration file: a JSON Schema, for editors
    Config,
    /// `ClickHouse`: samples, windows, events, and an hourly roll-up
    Clickhouse {
        /// Replicated tables on this cluster, and distributed ones over them
        #[arg(long)]
        cluster: Option<String>,
        /// The database
        #[arg(long, default_value = "default")]
        database: String,
        /// The table of samples; the others' names begin with it
        #[arg(long, default_value = "metrics")]
        table: String,
    },
}

impl Schema {
    /// Returns the schema as text.
    pub fn text(&self) -> String {
        match self {
            Self::Config => config::schema(),
            Self::Clickhouse {
                cluster,
                database,
                table,
            } => clickhouse::schema::ddl(database, table, cluster.as_deref()),
        }
    }
}

impl Args for Overrides {
    fn augment_args(command: clap::Command) -> clap::Command {
        config::keys().fold(command, |command, key| command.args(arguments(key)))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Overrides {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut overrides = Self::default();
        overrides.update_from_arg_matches(matches)?;
        Ok(overrides)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for key in config::keys().filter(|key| key.flag.is_some()) {
            let id = key.name;
            if !key.is_switch() {
                if let Some(value) = matches.get_one::<Value>(id) {
                    self.put(key, value.clone());
                }
            } else if matches.get_flag(id) || matches.get_flag(&off(id)) {
                self.put(key, matches.get_flag(id).into());
            }
        }
        Ok(())
    }
}

/// Makes the arguments of a key that has a flag. A switch has a second one, that turns it off.
fn arguments(key: &'static Key) -> Vec<Arg> {
    let Some(flag) = key.flag else {
        return Vec::new();
    };
    let long = flag.long.trim_start_matches('-');
    let on = Arg::new(key.name)
        .long(long)
        .short(flag.short)
        .help(key.about())
        .help_heading(flag.heading)
        .global(true);
    if key.is_switch() {
        let off = Arg::new(off(key.name))
            .long(off(long))
            .action(ArgAction::SetTrue)
            .overrides_with(key.name)
            .hide(true)
            .global(true);
        let on = on.action(ArgAction::SetTrue).overrides_with(off.get_id());
        return vec![on, off];
    }
    let parser = match key.words() {
        Some(words) => {
            let words = PossibleValuesParser::new(words);
            ValueParser::new(words.try_map(|word| key.read_argument(&word)))
        }
        None => ValueParser::new(|text: &str| key.read_argument(text)),
    };
    let on = on.value_name(flag.argument).value_parser(parser);
    vec![on.ignore_case(true).allow_negative_numbers(true)]
}

/// Returns the name of the flag that turns a switch off.
fn off(name: &str) -> String {
    format!("no-{name}")
}
