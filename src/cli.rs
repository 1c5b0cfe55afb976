//! The command line. The flags that are settings come from the table of keys.

#[cfg(feature = "manual")]
mod manual;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser as _, ValueParser};
use clap::error::ErrorKind;
use clap::{
    Arg, ArgAction, ArgMatches, Args, CommandFactory as _, FromArgMatches, Parser, Subcommand,
};

use crate::config::{self, DEFAULT_FILE, Key, Overrides, Value};
use crate::publish::clickhouse;
#[cfg(feature = "http-backends")]
use crate::remote;
#[cfg(feature = "report")]
use crate::report;
#[cfg(feature = "top")]
use crate::top;

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
    latency-monitor check -c latency.toml

  See which ways sixteen flows take to a host:
    latency-monitor trace --flows 16 192.0.2.7";

const PING_EXAMPLES: &str = "\
Exit codes: 0 if a probe was answered, 1 if none was, 2 if the host or a flag is wrong. With `--thresholds`: 0 OK,
1 WARNING, 2 CRITICAL, 3 UNKNOWN. SIGQUIT (Ctrl-\\) prints the summary so far and goes on.

Examples:
  One of ours, every 10 ms, and a line a second:
    latency-monitor ping -i 10ms 192.0.2.7

  Ten probes to a router that reflects STAMP or TWAMP Light:
    latency-monitor ping -c 10 --protocol stamp 192.0.2.1

  How long a web server takes to accept a connection:
    latency-monitor ping --connect 443 www.example.com

  For Nagios or Icinga:
    latency-monitor ping --thresholds rtt.p99=5ms,20ms --thresholds loss=1%,10% 192.0.2.7";

/// Measures one-way delay and round-trip time over persistent TCP and UDP flows, and TCP connect
/// latency
#[derive(Debug, Parser)]
#[command(name = "latency-monitor", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do; without, the daemon runs.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The file and the settings of the daemon.
    #[command(flatten)]
    pub daemon: Daemon,
}

/// What the daemon runs with, and what `check` checks.
#[derive(Clone, Debug, Default, PartialEq, Args)]
pub struct Daemon {
    /// Path to the configuration file [default: ./latency.toml, which may be absent]
    #[arg(short, long, value_name = "FILE")]
    pub config_file: Option<PathBuf>,
    /// The settings that go over those of the file.
    #[command(flatten)]
    pub overrides: Overrides,
}

impl Daemon {
    /// Returns the file to read. The usual one must be there later, too, if it is there now: without it all
    /// targets would end.
    pub fn file(&self) -> Option<&Path> {
        let usual = Path::new(DEFAULT_FILE);
        let found = Some(usual).filter(|file| file.exists());
        self.config_file.as_deref().or(found)
    }

    /// Puts what stands behind the command over what stands before it.
    fn put_over(&mut self, later: &Self) {
        if let Some(file) = &later.config_file {
            self.config_file = Some(file.clone());
        }
        self.overrides.put_over(&later.overrides);
    }

    /// Returns a flag that was given.
    fn given(&self) -> Option<&'static str> {
        let file = self.config_file.as_ref().map(|_| "--config-file");
        file.or_else(|| self.overrides.given())
    }
}

impl Cli {
    /// Reads the command line. A wrong one, and a question for help, ends the process.
    pub fn read() -> Self {
        let read = Self::try_parse().and_then(Self::settled);
        read.unwrap_or_else(|error| end_wrong(&error))
    }

    /// Brings the daemon's flags together: `check` takes them on either side, and no other command has any.
    fn settled(mut self) -> Result<Self, clap::Error> {
        match &self.command {
            None => {}
            Some(Command::Check(check)) => self.daemon.put_over(&check.daemon),
            Some(_) => {
                if let Some(flag) = self.daemon.given() {
                    let text = format!(
                        "`{flag}` before a command is a flag of the daemon and of `check`; the flags of a command \
                         stand behind it"
                    );
                    return Err(Self::command().error(ErrorKind::ArgumentConflict, text));
                }
            }
        }
        Ok(self)
    }

    /// Returns as which member of a mesh the file is to be checked.
    pub fn member(&self) -> Option<&str> {
        match &self.command {
            Some(Command::Check(check)) => check.member.as_deref(),
            _ => None,
        }
    }
}

/// What else the program can do.
#[derive(Clone, Debug, PartialEq, Subcommand)]
pub enum Command {
    /// Validate the configuration, and print it with every default filled in
    Check(Check),
    /// Print the schema of the configuration file, or the statements that make a backend's tables
    Schema {
        /// Of what
        #[command(subcommand)]
        of: Schema,
    },
    /// Measure a host from this terminal: round trips, both directions, losses, and a summary
    #[command(after_help = PING_EXAMPLES)]
    Ping(config::PingRequest),
    /// Show the routers on the way to a host, flow by flow
    Trace(Trace),
    /// Make a page with plots of dumps, or of what the cli backend printed
    #[cfg(feature = "report")]
    Report(report::Request),
    /// Show a running daemon in this terminal: targets, heatmaps, bursts and events as they come
    #[cfg(feature = "top")]
    Top(top::Request),
    /// Ask a running daemon whether it is well: 0 and what it said, or 1 and why not
    #[cfg(feature = "http-backends")]
    Health(remote::HealthRequest),
    /// Print a manual page as roff, or write all of them to a folder
    #[cfg(feature = "manual")]
    Man(manual::ManualRequest),
    /// Print a shell's completions of commands and flags
    #[cfg(feature = "manual")]
    Completions(manual::CompletionsRequest),
}

impl Command {
    /// Runs a command that needs neither the monitor nor a configuration. The error is one to be shown.
    pub fn run(&self) -> Option<Result<(), String>> {
        Some(match self {
            Self::Check(_) | Self::Ping(_) | Self::Trace(_) => return None,
            Self::Schema { of } => shown(print(&of.text())),
            #[cfg(feature = "report")]
            Self::Report(request) => shown(request.run()),
            #[cfg(feature = "top")]
            Self::Top(request) => shown(request.run()),
            #[cfg(feature = "http-backends")]
            Self::Health(request) => shown(request.run()).and_then(|said| shown(print(&said))),
            #[cfg(feature = "manual")]
            Self::Man(request) => shown(request.run()),
            #[cfg(feature = "manual")]
            Self::Completions(request) => shown(request.run()),
        })
    }
}

fn shown<T>(ended: Result<T, impl std::fmt::Display>) -> Result<T, String> {
    ended.map_err(|error| error.to_string())
}

/// What is to be checked.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct Check {
    /// As this member of the mesh in the file, on whatever host; the host itself is not looked at
    #[arg(long = "as", value_name = "NAME")]
    member: Option<String>,
    #[command(flatten)]
    daemon: Daemon,
}

/// Whose paths are to be shown, and how they are asked for.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct Trace {
    /// Whose.
    #[command(flatten)]
    pub request: config::TraceRequest,
    /// How: the settings that mean something to one host that is probed for some seconds.
    #[command(flatten)]
    pub settings: TraceSettings,
}

/// The settings that `trace` takes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TraceSettings(pub Overrides);

/// Ends the process as clap does; a monitoring plugin as those end: with a line, and as UNKNOWN.
#[expect(clippy::exit, reason = "as clap does")]
fn end_wrong(error: &clap::Error) -> ! {
    let is_plugin = |flag: OsString| flag.to_string_lossy().starts_with("--thresholds");
    if error.use_stderr() && std::env::args_os().any(is_plugin) {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        // Whoever reads the line is gone, or has it.
        let _ = writeln!(io::stdout(), "PING UNKNOWN - {}", first.replace('|', "/"));
        std::process::exit(3);
    }
    error.exit()
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
        config::keys().for_each(|key| take(self, key, matches));
        Ok(())
    }
}

impl Args for TraceSettings {
    fn augment_args(command: clap::Command) -> clap::Command {
        config::keys_of_trace().fold(command, |command, key| command.args(arguments(key)))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for TraceSettings {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut settings = Self::default();
        settings.update_from_arg_matches(matches)?;
        Ok(settings)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        config::keys_of_trace().for_each(|key| take(&mut self.0, key, matches));
        Ok(())
    }
}

/// Takes the value of a key from its arguments, if they were given.
fn take(overrides: &mut Overrides, key: &'static Key, matches: &ArgMatches) {
    if key.flag.is_none() {
        return;
    }
    let id = key.name;
    if !key.is_switch() {
        if let Some(value) = matches.get_one::<Value>(id) {
            overrides.put(key, value.clone());
        }
    } else if matches.get_flag(id) || matches.get_flag(&off(id)) {
        overrides.put(key, matches.get_flag(id).into());
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
        .help_heading(flag.heading);
    if key.is_switch() {
        let off = Arg::new(off(key.name))
            .long(off(long))
            .action(ArgAction::SetTrue)
            .overrides_with(key.name)
            .hide(true);
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

/// Writes text to the standard output. Whoever reads no more of it has enough.
pub fn print(text: &str) -> io::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}
