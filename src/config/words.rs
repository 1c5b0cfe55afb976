//! Settings that are one of a few words, in the file and on the command line.

use crate::proto::{Protocol, Reopen};
use crate::publish::{HistogramKind, Temporality};
use crate::record::Mode;

pub use crate::sys::words::Timestamps;

/// A setting that is one of a few words. Upper and lower case are the same.
pub(crate) trait Word: Copy + PartialEq + 'static {
    /// Every word as it is written, with its meaning.
    const WORDS: &'static [(&'static str, Self)];

    /// Returns the meaning of a word.
    fn from_word(word: &str) -> Option<Self> {
        let found = Self::WORDS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(word));
        found.map(|(_, value)| *value)
    }

    /// Returns the word for a value.
    fn as_word(self) -> &'static str {
        Self::WORDS
            .iter()
            .find(|(_, value)| *value == self)
            .map_or("", |(name, _)| name)
    }

    /// Returns every word.
    fn names() -> Vec<&'static str> {
        Self::WORDS.iter().map(|(name, _)| *name).collect()
    }
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Everything, down to single events.
    Debug,
    /// What happens.
    Info,
    /// What should not happen.
    Warning,
    /// What does not work.
    Error,
    /// The same as [`Error`](Self::Error): the Python program has a fifth level.
    Critical,
}

impl LogLevel {
    /// Returns the level in `tracing`, which has none above error.
    pub const fn tracing(self) -> tracing::Level {
        match self {
            Self::Debug => tracing::Level::DEBUG,
            Self::Info => tracing::Level::INFO,
            Self::Warning => tracing::Level::WARN,
            Self::Error | Self::Critical => tracing::Level::ERROR,
        }
    }
}

impl Word for LogLevel {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("DEBUG", Self::Debug),
        ("INFO", Self::Info),
        ("WARNING", Self::Warning),
        ("ERROR", Self::Error),
        ("CRITICAL", Self::Critical),
    ];
}

impl Word for Timestamps {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("kernel", Self::Kernel),
        ("user", Self::User),
    ];
}

/// Which flows a target gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FlowKind {
    Both,
    Tcp,
    Udp,
}

impl Word for FlowKind {
    const WORDS: &'static [(&'static str, Self)] =
        &[("tcp", Self::Tcp), ("udp", Self::Udp), ("both", Self::Both)];
}

impl Word for Protocol {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("text", Self::Text),
        ("native", Self::Native),
        ("stamp", Self::Stamp),
    ];
}

impl Word for Reopen {
    const WORDS: &'static [(&'static str, Self)] = &[("auto", Self::Auto), ("never", Self::Never)];
}

/// Which one-way delays are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owd {
    Raw,
    Corrected,
}

impl Word for Owd {
    const WORDS: &'static [(&'static str, Self)] =
        &[("raw", Self::Raw), ("corrected", Self::Corrected)];
}

/// The formats of timestamps in STAMP packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimestampFormat {
    Ntp,
    Ptp,
}

impl Word for TimestampFormat {
    const WORDS: &'static [(&'static str, Self)] = &[("ntp", Self::Ntp), ("ptp", Self::Ptp)];
}

impl Word for HistogramKind {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("both", Self::Both),
        ("native", Self::Native),
        ("classic", Self::Classic),
    ];
}

/// Who probes whom in a mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Full,
    Groups,
    K,
}

impl Word for Shape {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("full", Self::Full),
        ("groups", Self::Groups),
        ("k", Self::K),
    ];
}

/// The engines there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineKind {
    /// Whichever serves this configuration at less cost, of those that the system allows.
    Auto,
    /// epoll through mio.
    Mio,
    /// A ring of io_uring.
    IoUring,
}

impl Word for EngineKind {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("mio", Self::Mio),
        ("io_uring", Self::IoUring),
    ];
}

/// Whether the daemon locks itself in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SandboxKind {
    /// As far as the kernel has what that needs.
    Auto,
    /// Not at all.
    Off,
}

impl Word for SandboxKind {
    const WORDS: &'static [(&'static str, Self)] = &[("auto", Self::Auto), ("off", Self::Off)];
}

/// The backends there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// JSON on stdout, one object a line.
    Cli,
    /// The same, through the daemon's log.
    Log,
    /// The same, one object a message, on a ZeroMQ PUB socket.
    ZeroMq,
    /// Rows in ClickHouse.
    ClickHouse,
    /// Prometheus histograms and counters on a Pushgateway.
    Pushgateway,
    /// Series in Datadog.
    Datadog,
    /// Metrics and logs of OpenTelemetry.
    Otlp,
}

impl Word for Backend {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("cli", Self::Cli),
        ("log", Self::Log),
        ("zeromq", Self::ZeroMq),
        ("clickhouse", Self::ClickHouse),
        ("pushgateway", Self::Pushgateway),
        ("datadog", Self::Datadog),
        ("otlp", Self::Otlp),
    ];
}

impl Backend {
    /// Returns the default of `mode`: windows for backends that count and add up.
    pub const fn default_mode(self) -> Mode {
        match self {
            Self::Cli | Self::Log | Self::ZeroMq | Self::ClickHouse => Mode::Samples,
            Self::Pushgateway | Self::Datadog | Self::Otlp => Mode::Windows,
        }
    }

    /// Returns what to tell the user if this build has no such backend.
    pub fn lacking(self) -> Option<String> {
        let feature = match self {
            Self::Cli | Self::Log => return None,
            Self::ZeroMq if cfg!(feature = "zeromq") => return None,
            Self::ZeroMq => "zeromq",
            _ if cfg!(feature = "http-backends") => return None,
            _ => "http-backends",
        };
        let word = self.as_word();
        Some(format!(
            "is {word:?}, which this build does not have: it needs the Cargo feature {feature:?}"
        ))
    }
}

impl Word for Temporality {
    const WORDS: &'static [(&'static str, Self)] =
        &[("delta", Self::Delta), ("cumulative", Self::Cumulative)];
}

impl Word for Mode {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("samples", Self::Samples),
        ("windows", Self::Windows),
        ("both", Self::Both),
    ];
}
