//! The command line, as types.

use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{Backend, LogLevel, Overrides, Protocol, Timestamps, Word as _};
use crate::publish::clickhouse;
use crate::record::Mode;
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
    #[command(flatten)]
    flags: Flags,
}

/// What else the program can do.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Validate the configuration, and print it with every default filled in
    Check,
    /// Print the statements that make a backend's tables
    Schema {
        /// Of which backend
        #[command(subcommand)]
        store: Store,
    },
    /// Make a page with plots of dumps, or of what the cli backend printed
    Report(report::Request),
}

/// The backends that have tables.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Store {
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

impl Store {
    /// The statements.
    pub fn statements(&self) -> String {
        let Self::Clickhouse {
            cluster,
            database,
            table,
        } = self;
        clickhouse::schema::ddl(database, table, cluster.as_deref())
    }
}

#[derive(Debug, Args)]
struct Flags {
    /// Path to the configuration file [default: ./latency.toml, which may be absent]
    #[arg(short, long, value_name = "FILE", global = true)]
    config_file: Option<PathBuf>,
    /// The local system name or label [default: the host name]
    #[arg(short, long, global = true)]
    name: Option<String>,
    /// The metrics backend to use [default: cli]
    #[arg(short, long, value_name = "BACKEND", global = true)]
    metrics: Option<Backend>,
    /// Publish each sample, windows with histograms, or both [default: windows for pushgateway and
    /// datadog, else samples]
    #[arg(long, global = true)]
    mode: Option<Mode>,
    #[command(flatten)]
    logging: Logging,
    #[command(flatten)]
    network: Network,
    #[command(flatten)]
    runtime: Runtime,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Logging options")]
struct Logging {
    /// Logging level [default: INFO]
    #[arg(short, long, value_name = "LEVEL", ignore_case = true, global = true)]
    log_level: Option<LogLevel>,
    /// Path to a log file, beside the console
    #[arg(short = 'f', long, value_name = "FILE", global = true)]
    log_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Network options")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
struct Network {
    /// Enable RTT (use --no-rtt to disable, i.e. only OWD measurements)
    #[arg(short, long, overrides_with = "no_rtt", global = true)]
    rtt: bool,
    #[arg(long, hide = true, overrides_with = "rtt", global = true)]
    no_rtt: bool,
    /// Enable TCP monitoring for all probes (use --no-tcp to disable)
    #[arg(short, long, overrides_with = "no_tcp", global = true)]
    tcp: bool,
    #[arg(long, hide = true, overrides_with = "tcp", global = true)]
    no_tcp: bool,
    /// Enable UDP monitoring for all probes (use --no-udp to disable)
    #[arg(short, long, overrides_with = "no_udp", global = true)]
    udp: bool,
    #[arg(long, hide = true, overrides_with = "udp", global = true)]
    no_udp: bool,
    /// Enable TCP latency monitoring without a persistent connection (use --no-tcp-latency to
    /// disable)
    #[arg(long, overrides_with = "no_tcp_latency", global = true)]
    tcp_latency: bool,
    #[arg(long, hide = true, overrides_with = "tcp_latency", global = true)]
    no_tcp_latency: bool,
    /// TCP port number to listen on, and of targets without their own [default: 8000]
    #[arg(
        long,
        value_name = "PORT",
        allow_negative_numbers = true,
        global = true
    )]
    tcp_port: Option<i64>,
    /// UDP port number to listen on, and of targets without their own [default: 8001]
    #[arg(
        long,
        value_name = "PORT",
        allow_negative_numbers = true,
        global = true
    )]
    udp_port: Option<i64>,
    /// The largest packet that a target may ask for, in bytes [default: 1470]
    #[arg(
        short = 's',
        long,
        value_name = "BYTES",
        allow_negative_numbers = true,
        global = true
    )]
    max_size: Option<i64>,
    /// Number of consecutive lost probes that trigger a reconnection [default: 10]
    #[arg(
        short = 'x',
        long,
        value_name = "PROBES",
        allow_negative_numbers = true,
        global = true
    )]
    max_lost: Option<i64>,
    /// What probes speak: native once the other end takes the offer, what the Python program does,
    /// or native at once [default: auto]
    #[arg(long, value_name = "WIRE", ignore_case = true, global = true)]
    protocol: Option<Protocol>,
    /// Who stamps packets: interface or kernel, only the kernel, or this process [default: auto]
    #[arg(long, value_name = "WHO", ignore_case = true, global = true)]
    timestamps: Option<Timestamps>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Runtime options")]
struct Runtime {
    /// Timeout in seconds, fractions allowed [default: 1]
    #[arg(
        short = 'T',
        long,
        value_name = "SECONDS",
        allow_negative_numbers = true,
        global = true
    )]
    timeout: Option<f64>,
    /// Interval between probes in milliseconds, fractions allowed [default: 1000]
    #[arg(
        short,
        long,
        value_name = "MSECONDS",
        allow_negative_numbers = true,
        global = true
    )]
    interval: Option<f64>,
}

impl Cli {
    /// The configuration file that was named.
    pub fn config_file(&self) -> Option<&std::path::Path> {
        self.flags.config_file.as_deref()
    }

    /// The settings that go over those of the file.
    pub fn overrides(&self) -> Overrides {
        let Flags {
            name,
            metrics,
            mode,
            logging,
            network,
            runtime,
            ..
        } = &self.flags;
        Overrides {
            name: name.clone(),
            metrics: *metrics,
            mode: *mode,
            log_level: logging.log_level,
            log_file: logging.log_file.clone(),
            rtt: switch(network.rtt, network.no_rtt),
            tcp: switch(network.tcp, network.no_tcp),
            udp: switch(network.udp, network.no_udp),
            tcp_latency: switch(network.tcp_latency, network.no_tcp_latency),
            tcp_port: network.tcp_port,
            udp_port: network.udp_port,
            max_size: network.max_size,
            max_lost: network.max_lost,
            protocol: network.protocol,
            timestamps: network.timestamps,
            timeout: runtime.timeout,
            interval: runtime.interval,
        }
    }
}

const fn switch(on: bool, off: bool) -> Option<bool> {
    match (on, off) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    }
}

impl ValueEnum for Backend {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            Self::Cli,
            Self::Log,
            Self::ZeroMq,
            Self::ClickHouse,
            Self::Pushgateway,
            Self::Datadog,
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.as_word()))
    }
}

impl ValueEnum for Mode {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Samples, Self::Windows, Self::Both]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.as_word()))
    }
}

impl ValueEnum for Protocol {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Auto, Self::Text, Self::Native]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.as_word()))
    }
}

impl ValueEnum for Timestamps {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Auto, Self::Kernel, Self::User]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.as_word()))
    }
}

impl ValueEnum for LogLevel {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            Self::Debug,
            Self::Info,
            Self::Warning,
            Self::Error,
            Self::Critical,
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.as_word()))
    }
}
