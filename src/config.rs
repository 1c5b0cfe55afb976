//! What the program shall do: a file under flags, over defaults, checked as a whole.
//!
//! Everything that is wrong with a file is told at once, each with its line ([`ConfigError`]). What a
//! program changes in a [`Config`] is checked when a monitor starts.

mod burst;
mod effective;
mod error;
mod file;
mod keys;
mod metrics;
mod options;
mod outside;
mod section;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use crate::config::error::{Given, Problems};
use crate::config::file::File;
use crate::config::options::{SIZE, Switches, check_range, name_fault, nanos};
use crate::limits::{LISTEN_ADDRESSES_MAX, TARGETS_MAX};
use crate::proto::TargetSpec;
use crate::sys::process;

pub(crate) use section::Word;

pub use burst::BurstConfig;
pub use effective::effective;
pub use error::{ConfigError, Place, Problem};
pub use metrics::{Backend, BackendSettings, MetricsConfig};
pub use options::TargetOptions;
pub use outside::{Outside, Sealed, System};

pub use crate::proto::Protocol;

/// The file that is read if none is named, and may be absent.
pub const DEFAULT_FILE: &str = "latency.toml";

/// Bytes of a message if nothing else is said, as in the Python program.
const MAX_SIZE: usize = 1470;

/// Seconds between looking names up again.
const RESOLVE_INTERVAL_S: RangeInclusive<f64> = 1.0..=86_400.0;

/// Seconds that the end may take.
const SHUTDOWN_TIMEOUT_S: RangeInclusive<f64> = 0.1..=600.0;

/// Microseconds to spin before a probe is due.
const SPIN_US: RangeInclusive<i64> = 0..=10_000;

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
    /// As [`Error`](Self::Error); the Python program's fifth level.
    Critical,
}

impl LogLevel {
    /// The level in `tracing`, which has none above error.
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

/// The engines there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineKind {
    /// epoll through mio.
    #[default]
    Mio,
}

impl Word for EngineKind {
    const WORDS: &'static [(&'static str, Self)] = &[("mio", Self::Mio)];
}

/// Who stamps packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timestamps {
    /// The interface where it can, else the kernel, else this process.
    #[default]
    Auto,
    /// The kernel, also where the interface could.
    Kernel,
    /// This process: what is published contains the host's own delays.
    User,
}

impl Word for Timestamps {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("kernel", Self::Kernel),
        ("user", Self::User),
    ];
}

/// How the loop runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineOptions {
    /// Which engine.
    pub kind: EngineKind,
    /// Wake this many microseconds before a probe is due, and spin until then.
    pub spin_us: u32,
}

/// Settings of the command line, which go over those of the file. A target's own options go over
/// both.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "each is the key of its name")]
pub struct Overrides {
    pub name: Option<String>,
    pub metrics: Option<Backend>,
    pub mode: Option<crate::record::Mode>,
    pub log_level: Option<LogLevel>,
    pub log_file: Option<PathBuf>,
    pub rtt: Option<bool>,
    pub tcp: Option<bool>,
    pub udp: Option<bool>,
    pub tcp_latency: Option<bool>,
    pub tcp_port: Option<i64>,
    pub udp_port: Option<i64>,
    pub max_size: Option<i64>,
    pub max_lost: Option<i64>,
    pub protocol: Option<Protocol>,
    pub timestamps: Option<Timestamps>,
    pub timeout: Option<f64>,
    pub interval: Option<f64>,
}

/// What the program shall do.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// What this host is called in tags.
    pub name: String,
    /// Addresses to answer on.
    pub addresses: Vec<IpAddr>,
    /// Whether TCP is probed and answered.
    pub tcp: bool,
    /// Whether UDP is probed and answered.
    pub udp: bool,
    /// The port to answer TCP on; 0 takes a free one.
    pub tcp_port: u16,
    /// The port to answer UDP on; 0 takes a free one.
    pub udp_port: u16,
    /// The largest `size` that a target may have, in bytes.
    pub max_size: usize,
    /// What to probe.
    pub targets: Vec<TargetSpec>,
    /// Where to publish; at least one.
    pub metrics: Vec<MetricsConfig>,
    /// How much to log.
    pub log_level: LogLevel,
    /// A file to log to, beside the console.
    pub log_file: Option<PathBuf>,
    /// Who stamps packets.
    pub timestamps: Timestamps,
    /// How often names are looked up again.
    pub resolve_interval: Duration,
    /// How long the end may take.
    pub shutdown_timeout: Duration,
    /// How the loop runs.
    pub engine: EngineOptions,
    /// What counts as a micro-burst, and what is kept of one.
    pub burst: BurstConfig,
    /// What is allowed, and probably not meant.
    pub warnings: Vec<String>,
    defaults: TargetOptions,
}

impl Default for Config {
    /// Server mode: nothing to probe, and everything as the table of keys says.
    fn default() -> Self {
        Self {
            name: process::host_name(),
            addresses: vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)],
            tcp: true,
            udp: true,
            tcp_port: 8000,
            udp_port: 8001,
            max_size: MAX_SIZE,
            targets: Vec::new(),
            metrics: vec![MetricsConfig::default()],
            log_level: LogLevel::Info,
            log_file: None,
            timestamps: Timestamps::default(),
            resolve_interval: Duration::from_mins(1),
            shutdown_timeout: Duration::from_secs(5),
            engine: EngineOptions::default(),
            burst: BurstConfig::default(),
            warnings: Vec::new(),
            defaults: TargetOptions::defaults(),
        }
    }
}

impl Config {
    /// Reads a file and puts flags over it. Without a path it is [`DEFAULT_FILE`], which may be
    /// absent; a file that is named must be there.
    pub fn load(path: Option<&Path>, overrides: &Overrides) -> Result<Self, ConfigError> {
        let file = path.unwrap_or_else(|| Path::new(DEFAULT_FILE));
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if path.is_none() && error.kind() == io::ErrorKind::NotFound => {
                String::new()
            }
            Err(source) => {
                return Err(ConfigError::Read {
                    path: file.to_owned(),
                    source,
                });
            }
        };
        Self::parse_as(Some(file), &text, overrides, &System)
    }

    /// Reads a file's text, and puts flags over it. Secrets that it does not hold itself come from
    /// the environment and from the files that it names.
    ///
    /// ```
    /// use latency_monitor::Config;
    ///
    /// let error = Config::parse("[[targets]]\nhots = '192.0.2.7'", &Default::default()).unwrap_err();
    /// assert!(error.to_string().contains("line 2: `hots` is not a key of [[targets]]"));
    /// ```
    pub fn parse(text: &str, overrides: &Overrides) -> Result<Self, ConfigError> {
        Self::parse_with(text, overrides, &System)
    }

    /// The same, with secrets from elsewhere; from nowhere with [`Sealed`].
    pub fn parse_with(
        text: &str,
        overrides: &Overrides,
        outside: &dyn Outside,
    ) -> Result<Self, ConfigError> {
        Self::parse_as(None, text, overrides, outside)
    }

    fn parse_as(
        path: Option<&Path>,
        text: &str,
        overrides: &Overrides,
        outside: &dyn Outside,
    ) -> Result<Self, ConfigError> {
        let mut problems = Problems::default();
        let mut file = File::parse(text, &mut problems);
        overrides.clone().put_over(&mut file);
        let config = Self::build(file, overrides, outside, &mut problems);
        problems.or(path, config)
    }

    fn build(
        file: File,
        overrides: &Overrides,
        outside: &dyn Outside,
        problems: &mut Problems,
    ) -> Self {
        let default = Self::default();
        let layer = file.defaults;
        layer.check(problems);
        let port = |given: &Option<Given<i64>>, default| {
            given
                .as_ref()
                .and_then(|port| u16::try_from(port.value).ok())
                .unwrap_or(default)
        };
        let (tcp_port, udp_port) = (port(&layer.tcp_port, 8000), port(&layer.udp_port, 8001));
        check_range(
            file.max_size.as_ref(),
            "max_size",
            &SIZE,
            " bytes",
            problems,
        );
        check_range(
            file.spin_us.as_ref(),
            "spin_us",
            &SPIN_US,
            " microseconds",
            problems,
        );
        let log_level = file
            .log_level
            .map_or(default.log_level, |level| level.value);
        let mut config = Self {
            name: checked_name(file.name, default.name, problems),
            addresses: checked_addresses(file.address, default.addresses, problems),
            tcp: file.tcp.as_ref().is_none_or(|tcp| tcp.value),
            udp: file.udp.as_ref().is_none_or(|udp| udp.value),
            tcp_port,
            udp_port,
            max_size: whole(file.max_size).unwrap_or(default.max_size),
            targets: Vec::new(),
            metrics: metrics::resolve(
                file.metrics,
                &metrics::Around {
                    backend: overrides.metrics,
                    mode: overrides.mode,
                    log_level,
                    outside,
                },
                problems,
            ),
            log_level,
            log_file: file.log_file.map(|path| path.value.into()),
            timestamps: file
                .timestamps
                .map_or(default.timestamps, |timestamps| timestamps.value),
            resolve_interval: seconds(
                file.resolve_interval,
                "resolve_interval",
                &RESOLVE_INTERVAL_S,
                default.resolve_interval,
                problems,
            ),
            shutdown_timeout: seconds(
                file.shutdown_timeout,
                "shutdown_timeout",
                &SHUTDOWN_TIMEOUT_S,
                default.shutdown_timeout,
                problems,
            ),
            engine: EngineOptions {
                kind: file.engine_kind.map_or(EngineKind::Mio, |kind| kind.value),
                spin_us: whole(file.spin_us).unwrap_or(0),
            },
            burst: file.burst.resolve(problems),
            warnings: Vec::new(),
            defaults: layer.over(&TargetOptions::defaults()),
        };
        if !config.tcp && !config.udp {
            let place = file
                .udp
                .or(file.tcp)
                .map_or_else(Place::default, |given| given.place);
            problems.add_text(
                place,
                "`tcp` and `udp` are both false: there is nothing to do",
            );
        }
        if file.targets.len() > TARGETS_MAX {
            let text = format!(
                "are {}, and {TARGETS_MAX} is the maximum",
                file.targets.len()
            );
            problems.add(Place::default(), "targets", text);
        }
        // Mistakes in what targets inherit are told once, and not with every target.
        if problems.0.is_empty() {
            for (target, place) in file.targets {
                config.add_target(target, place, problems);
            }
            config.warn_of_doubles();
            config.warn_of_text();
        }
        config
    }

    fn add_target(&mut self, target: TargetOptions, place: Place, problems: &mut Problems) {
        let before = problems.0.len();
        target.check(problems);
        if problems.0.len() > before {
            return;
        }
        match target.resolve(&self.defaults, self.switches(), place) {
            Ok(spec) => self.targets.push(spec),
            Err(found) => problems.0.extend(found.0),
        }
    }

    /// Listens on these ports, 0 for free ones.
    #[must_use]
    pub fn with_ports(mut self, tcp: u16, udp: u16) -> Self {
        (self.tcp_port, self.udp_port) = (tcp, udp);
        self
    }

    /// The wire of targets that do not say otherwise. With [`Protocol::Text`] requests on the native
    /// wire are not answered either.
    pub fn protocol(&self) -> Protocol {
        let protocol = self.defaults.protocol.as_ref();
        protocol.map_or_else(Protocol::default, |given| given.value)
    }

    /// Calls this host so.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// A target's options with everything that they leave open decided.
    pub fn target(&self, options: TargetOptions) -> Result<TargetSpec, ConfigError> {
        options::resolve_checked(options, &self.defaults, self.switches())
    }

    /// Checks what a program may have changed since.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::default();
        if let Some(fault) = name_fault(&self.name) {
            problems.add(Place::Program, "name", fault);
        }
        for metrics in &self.metrics {
            metrics.check(&mut problems);
        }
        for target in &self.targets {
            options::check_spec(target, &mut problems);
        }
        problems.or(None, ())
    }

    fn switches(&self) -> Switches {
        let max_size = i64::try_from(self.max_size).unwrap_or(i64::MAX);
        Switches {
            tcp: self.tcp,
            udp: self.udp,
            max_size,
        }
    }

    fn warn_of_doubles(&mut self) {
        let mut seen = BTreeSet::new();
        for target in &self.targets {
            if !seen.insert((&target.label, &target.tags)) {
                self.warnings.push(format!(
                    "two targets are called \"{}\" with the same tags: their samples cannot be \
                     told apart; give one another `label`",
                    target.label
                ));
            }
        }
    }
}

impl Config {
    fn warn_of_text(&mut self) {
        for target in &self.targets {
            if target.owd_corrected && target.protocol == Protocol::Text {
                self.warnings.push(format!(
                    "\"{}\" speaks the text wire only, on which nothing is known of its clock: its \
                     one-way delays are not corrected",
                    target.label
                ));
            }
        }
    }
}

impl Overrides {
    /// Replaces the top-level settings of the file.
    fn put_over(self, file: &mut File) {
        fn put<T>(slot: &mut Option<Given<T>>, value: Option<T>, flag: &'static str) {
            if let Some(given) = Given::by_flag(value, flag) {
                *slot = Some(given);
            }
        }
        let log_file = self
            .log_file
            .map(|path| path.to_string_lossy().into_owned());
        put(&mut file.name, self.name, "--name");
        put(&mut file.log_level, self.log_level, "--log-level");
        put(&mut file.log_file, log_file, "--log-file");
        put(&mut file.tcp, self.tcp, "--tcp");
        put(&mut file.udp, self.udp, "--udp");
        put(&mut file.max_size, self.max_size, "--max-size");
        put(&mut file.defaults.rtt, self.rtt, "--rtt");
        put(
            &mut file.defaults.tcp_latency,
            self.tcp_latency,
            "--tcp-latency",
        );
        put(&mut file.defaults.tcp_port, self.tcp_port, "--tcp-port");
        put(&mut file.defaults.udp_port, self.udp_port, "--udp-port");
        put(&mut file.defaults.max_lost, self.max_lost, "--max-lost");
        put(&mut file.defaults.protocol, self.protocol, "--protocol");
        put(&mut file.timestamps, self.timestamps, "--timestamps");
        put(&mut file.defaults.timeout, self.timeout, "--timeout");
        put(&mut file.defaults.interval, self.interval, "--interval");
    }
}

fn checked_name(given: Option<Given<String>>, host: String, problems: &mut Problems) -> String {
    let Some(given) = given else {
        if name_fault(&host).is_some() {
            let text = format!("must be set: the host's own, {host:?}, cannot go onto the wire");
            problems.add(Place::default(), "name", text);
        }
        return host;
    };
    if let Some(fault) = name_fault(&given.value) {
        problems.add(given.place, "name", fault);
    }
    given.value
}

fn checked_addresses(
    given: Option<Given<Vec<String>>>,
    default: Vec<IpAddr>,
    problems: &mut Problems,
) -> Vec<IpAddr> {
    let Some(given) = given else { return default };
    if given.value.is_empty() || given.value.len() > LISTEN_ADDRESSES_MAX {
        let count = given.value.len();
        let text = format!("must be 1 to {LISTEN_ADDRESSES_MAX} addresses, not {count}");
        problems.add(given.place, "address", text);
    }
    let mut found = Vec::new();
    for text in &given.value {
        match text.parse::<IpAddr>() {
            Ok(address) if address.is_multicast() => {
                let text = format!("must be an address of this host, not {address}");
                problems.add(given.place, "address", text);
            }
            Ok(address) if found.contains(&address) => {
                problems.add(given.place, "address", format!("has {address} twice"));
            }
            Ok(address) => found.push(address),
            Err(_) => {
                let text = format!("must be an IP address such as 0.0.0.0 or ::, not {text:?}");
                problems.add(given.place, "address", text);
            }
        }
    }
    found
}

fn seconds(
    given: Option<Given<f64>>,
    key: &str,
    range: &RangeInclusive<f64>,
    default: Duration,
    problems: &mut Problems,
) -> Duration {
    check_range(given.as_ref(), key, range, " seconds", problems);
    let given = given.filter(|given| range.contains(&given.value));
    given.map_or(default, |given| {
        Duration::from_nanos(nanos(given.value * 1e9))
    })
}

fn whole<T: TryFrom<i64>>(given: Option<Given<i64>>) -> Option<T> {
    given.and_then(|given| T::try_from(given.value).ok())
}
