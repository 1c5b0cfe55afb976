//! What the program shall do: a file under flags, over defaults, checked as a whole.
//!
//! Everything that is wrong with a file is told at once, each with its line ([`ConfigError`]). What a
//! program changes in a [`Config`] is checked when a monitor starts.

mod auth;
mod burst;
mod credentials;
mod discovery;
mod distinct;
mod engine;
mod error;
mod file;
mod glob;
mod history;
mod http;
mod key;
mod keys;
mod layer;
#[cfg(feature = "manual")]
mod manual;
mod mesh;
mod metrics;
mod named;
mod outside;
mod overrides;
mod path;
mod ping;
#[cfg(any(test, feature = "manual"))]
mod reference;
mod rules;
mod schema;
mod section;
mod sessions;
mod target;
#[cfg(test)]
mod tests;
mod trace;
mod value;
mod words;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use crate::config::error::Problems;
use crate::config::file::File;
use crate::config::key::Table;
use crate::config::keys::{
    ADDRESS, ALLOW, BACKEND, FLOWS, LOG_FILE, LOG_LEVEL, MAX_SIZE, MODE, NAME, PROTOCOL,
    RATE_LIMIT, RESOLVE_INTERVAL, SANDBOX_KIND, SHUTDOWN_TIMEOUT, TCP, TCP_PORT, TIMESTAMPS, UDP,
    UDP_PORT,
};
use crate::config::layer::Layer;
use crate::config::value::nanos;
use crate::limits::{FLOWS_TOTAL_MAX, TARGETS_MAX};
use crate::proto::{Host, KeyRing, Prefix, SenderSpec, TargetSpec};
use crate::sys::host;

pub(crate) use key::Key;
pub(crate) use keys::{all as keys, of_trace as keys_of_trace};
#[cfg(feature = "manual")]
pub(crate) use manual::{NAME as FILE_MANUAL, inlines, manual as file_manual, titled};
pub(crate) use mesh::Membership;
pub(crate) use named::{NamedPath, Usage};
pub(crate) use value::Value;
pub(crate) use words::Word;

pub use burst::BurstConfig;
pub use discovery::{DiscoveryConfig, List};
pub use engine::EngineOptions;
pub use error::{ConfigError, Place, Problem};
pub use glob::{FileGlob, Format};
pub use history::HistoryConfig;
pub use http::{HttpConfig, TlsFiles};
pub use metrics::{BackendSettings, MetricsConfig};
pub use outside::{KeyFile, Outside, Sealed, System};
pub use overrides::Overrides;
pub use path::PathConfig;
pub use ping::{Figure, Limits, Loss, Of, Part, PingRequest, Threshold};
pub use schema::schema;
pub use target::TargetOptions;
pub use trace::TraceRequest;
pub use words::{Backend, EngineKind, LogLevel, SandboxKind, Timestamps};

pub use crate::proto::{Protocol, Reopen};

/// The file that is read if none is named, and may be absent.
pub const DEFAULT_FILE: &str = "latency.toml";

/// What the program shall do.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// What this host is called in tags.
    pub name: String,
    /// Addresses to answer on; none: all of this host's, of IPv6 too if it has any.
    pub addresses: Vec<Host>,
    /// Whether TCP is probed and answered.
    pub tcp: bool,
    /// Whether UDP is probed and answered.
    pub udp: bool,
    /// The port to answer TCP on; 0 takes a free one.
    pub tcp_port: u16,
    /// The ports to answer UDP on, each another one; 0 takes a free one.
    pub udp_ports: Vec<u16>,
    /// The largest `size` that a target may have, in bytes.
    pub max_size: usize,
    /// What requests may be authenticated with.
    pub keys: KeyRing,
    /// Who probes this host with STAMP, and says no name.
    pub senders: Vec<SenderSpec>,
    /// What to probe.
    pub targets: Vec<TargetSpec>,
    /// Where more targets are listed. The daemon looks there.
    pub discovery: Vec<DiscoveryConfig>,
    /// What others may ask this host; `None`: nothing.
    pub http: Option<HttpConfig>,
    /// What this host keeps of what it has measured; `None`: nothing.
    pub history: Option<HistoryConfig>,
    /// Where to publish; at least one, unless others ask.
    pub metrics: Vec<MetricsConfig>,
    /// How much to log.
    pub log_level: LogLevel,
    /// A file to log to, beside the console.
    pub log_file: Option<PathBuf>,
    /// Who stamps packets.
    pub timestamps: Timestamps,
    /// Who may probe this host; none: everyone.
    pub allow: Vec<Prefix>,
    /// Requests in a second from one IPv4 address, or one /64 of IPv6.
    pub rate_limit: u32,
    /// How often names are looked up again.
    pub resolve_interval: Duration,
    /// How long the end may take.
    pub shutdown_timeout: Duration,
    /// How the loop runs.
    pub engine: EngineOptions,
    /// Whether the daemon locks itself in. A program that embeds a monitor never is.
    pub sandbox: SandboxKind,
    /// What counts as a micro-burst, and what is kept of one.
    pub burst: BurstConfig,
    /// When the hops of paths are learnt.
    pub path: PathConfig,
    /// What is allowed, and probably not meant.
    pub warnings: Vec<String>,
    /// What this host is to the `[[mesh]]` tables.
    pub(crate) membership: Membership,
    /// The paths that it names.
    pub(crate) paths: BTreeSet<NamedPath>,
    /// What targets inherit, with the defaults.
    inherited: Layer,
}

impl Default for Config {
    /// Server mode: nothing to probe, and every setting at its default.
    fn default() -> Self {
        let (flags, problems) = (Overrides::default(), &mut Problems::default());
        Self::build(File::default(), &flags, &Sealed, problems).0
    }
}

impl Config {
    /// Reads a file and puts flags over it. Without a path it is [`DEFAULT_FILE`], which may be
    /// absent; a file that is named must be there.
    pub fn load(path: Option<&Path>, overrides: &Overrides) -> Result<Self, ConfigError> {
        Self::load_effective(path, overrides).map(|(config, _)| config)
    }

    /// The same, and the configuration as a file that has every default and shows no secret.
    pub fn load_effective(
        path: Option<&Path>,
        overrides: &Overrides,
    ) -> Result<(Self, String), ConfigError> {
        let file = path.unwrap_or_else(|| Path::new(DEFAULT_FILE));
        let text = match fs::read_to_string(file) {
            Err(error) if path.is_none() && error.kind() == io::ErrorKind::NotFound => {
                String::new()
            }
            read => read.map_err(|source| ConfigError::Read {
                path: file.to_owned(),
                source,
            })?,
        };
        let (mut config, shown) = Self::read(&text, Some(file), overrides, &System)?;
        config.paths.insert(NamedPath {
            path: file.to_owned(),
            usage: Usage::ReadFile,
            key: "-c",
        });
        Ok((config, shown))
    }

    /// The same as the host of this name has it, which must be a member of a `[[mesh]]`.
    pub fn load_as(
        path: Option<&Path>,
        overrides: &Overrides,
        member: Option<&str>,
    ) -> Result<(Self, String), ConfigError> {
        let Some(name) = member else {
            return Self::load_effective(path, overrides);
        };
        let named = overrides.clone().with(NAME.name, name);
        let named = named.map_err(|fault| ConfigError::told([format!("`--as` {fault}")]))?;
        let (config, shown) = Self::load_effective(path, &named)?;
        if config.membership == Membership::Member {
            return Ok((config, shown));
        }
        let text = format!("`--as {name}`: no [[mesh]] has a member of this name");
        Err(ConfigError::told(config.warnings.into_iter().chain([text])))
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
        Self::parse_effective(text, overrides, &System).map(|(config, _)| config)
    }

    /// The same with secrets from elsewhere, from nowhere with [`Sealed`]; and the configuration as a
    /// file that has every default and shows no secret.
    pub fn parse_effective(
        text: &str,
        overrides: &Overrides,
        outside: &dyn Outside,
    ) -> Result<(Self, String), ConfigError> {
        Self::read(text, None, overrides, outside)
    }

    fn read(
        text: &str,
        path: Option<&Path>,
        overrides: &Overrides,
        outside: &dyn Outside,
    ) -> Result<(Self, String), ConfigError> {
        let mut problems = Problems::default();
        let folder = outside.variable(credentials::VARIABLE);
        let file = File::parse(text, folder, &mut problems);
        let mut built = Self::build(file, overrides, outside, &mut problems);
        built.0.warnings.extend(problems.take_warnings(path));
        problems.or(path, built)
    }

    fn build(
        file: File,
        Overrides(flags): &Overrides,
        outside: &dyn Outside,
        problems: &mut Problems,
    ) -> (Self, String) {
        let mut shown = String::new();
        let mut paths = file.named_paths();
        let mut top = flags.over(&file.top);
        paths.extend(top.named_paths(Table::Top));
        top.complete(Table::Top, outside, problems);
        top.complete(Table::Targets, outside, problems);
        let name = top.find(&NAME).unwrap_or_else(|| host_name(problems));
        top.put(&NAME, name.clone().into(), top.place(&NAME));
        top.show("", Table::Top, &mut shown);
        let (mut engine, mut burst, mut path) = (file.engine, file.burst, file.path);
        let mut auth = file.auth;
        auth.complete(Table::Auth, outside, problems);
        auth.show("[auth]", Table::Auth, &mut shown);
        engine.complete(Table::Engine, outside, problems);
        engine.show("[engine]", Table::Engine, &mut shown);
        let mut sandbox = file.sandbox;
        sandbox.complete(Table::Sandbox, outside, problems);
        sandbox.show("[sandbox]", Table::Sandbox, &mut shown);
        burst.complete(Table::Burst, outside, problems);
        burst.show("[burst]", Table::Burst, &mut shown);
        path.complete(Table::Path, outside, problems);
        path.show("[path]", Table::Path, &mut shown);
        let http = file.http.map(|(mut http, place)| {
            http.complete(Table::Http, outside, problems);
            http.show("[http]", Table::Http, &mut shown);
            HttpConfig::from_layer(&http, place, problems)
        });
        let mut history = file.history;
        history.complete(Table::History, outside, problems);
        history.show("[history]", Table::History, &mut shown);
        let around = metrics::Around {
            is_asked: http.is_some(),
            backend: flags.find(&BACKEND),
            mode: flags.find(&MODE),
            log_level: top.get(&LOG_LEVEL),
            outside,
        };
        let udp_ports: Vec<u16> = top.get(&UDP_PORT);
        if let [first, ..] = udp_ports[..] {
            // Targets inherit one.
            top.put(&UDP_PORT, first.into(), top.place(&UDP_PORT));
        }
        let seconds = |key| Duration::from_nanos(nanos(top.get::<f64>(key) * 1e9));
        let allow = rules::prefixes(&top.find::<Vec<String>>(&ALLOW).unwrap_or_default())
            .unwrap_or_default();
        let mut sessions = file.sessions;
        for (session, _) in &mut sessions {
            session.complete(Table::Sessions, outside, problems);
            session.show("[[sessions]]", Table::Sessions, &mut shown);
        }
        let mut keys = auth::KeyFiles::of(outside);
        let senders = sessions::resolve(&sessions, &allow, &mut keys, problems);
        let meshed = mesh::resolve(file.mesh, &name, problems);
        let mut config = Self {
            name,
            addresses: rules::addresses(&top.find::<Vec<String>>(&ADDRESS).unwrap_or_default())
                .unwrap_or_default(),
            tcp: top.get(&TCP),
            udp: top.get(&UDP),
            tcp_port: top.get(&TCP_PORT),
            udp_ports,
            max_size: top.get(&MAX_SIZE),
            keys: auth::key_ring(&auth, &senders, outside, problems),
            senders,
            targets: Vec::new(),
            discovery: discovery::resolve(file.discovery, &top, &mut shown, problems),
            http: http.flatten(),
            history: HistoryConfig::from_layer(&history, problems),
            metrics: metrics::resolve(file.metrics, &around, problems, &mut shown),
            log_level: around.log_level,
            log_file: top.find(&LOG_FILE),
            timestamps: top.get(&TIMESTAMPS),
            allow,
            rate_limit: top.get(&RATE_LIMIT),
            resolve_interval: seconds(&RESOLVE_INTERVAL),
            shutdown_timeout: seconds(&SHUTDOWN_TIMEOUT),
            engine: EngineOptions::from_layer(&engine),
            sandbox: sandbox.get(&SANDBOX_KIND),
            burst: BurstConfig::from_layer(&burst),
            path: PathConfig::from_layer(&path),
            warnings: Vec::new(),
            membership: meshed.membership,
            paths,
            inherited: top,
        };
        let targets = [file.targets, meshed.targets].concat();
        config.add_targets(targets, &mut keys, &mut shown, problems);
        config.check_whole(problems);
        (config, shown)
    }

    fn add_targets(
        &mut self,
        mut targets: Vec<(Layer, Place)>,
        keys: &mut auth::KeyFiles<'_>,
        shown: &mut String,
        problems: &mut Problems,
    ) {
        if targets.len() > TARGETS_MAX {
            let text = format_args!("are {}, and {TARGETS_MAX} is the maximum", targets.len());
            problems.add(Place::Program, "targets", text);
        }
        for (layer, _) in &mut targets {
            layer.check(Table::Targets, problems);
        }
        // A mistake in what targets inherit is told once, and not again with every target.
        if !problems.faults.is_empty() {
            return;
        }
        for (layer, place) in targets {
            if let Some((spec, layer)) = self.resolve(&layer, place, keys, problems) {
                layer.show("[[targets]]", Table::Targets, shown);
                self.targets.push(spec);
            }
        }
    }

    /// Reports what is wrong, or probably not meant, between settings that are right by themselves.
    fn check_whole(&mut self, problems: &mut Problems) {
        if !self.tcp && !self.udp {
            let place = self.inherited.place_or(&UDP, self.inherited.place(&TCP));
            let text = "`tcp` and `udp` are both false: there is nothing to do";
            problems.add_text(place, text);
        }
        let shared = distinct::warnings(&self.targets, &self.metrics);
        self.warnings.extend(shared);
        let flows: usize = self
            .targets
            .iter()
            .map(|it| usize::from(it.flow_count()))
            .sum();
        if flows > FLOWS_TOTAL_MAX {
            let text = format!(
                "the targets have {flows} flows, and {FLOWS_TOTAL_MAX} is the maximum: lower `flows` of some"
            );
            problems.add_text(self.inherited.place(&FLOWS), text);
        }
        for target in &self.targets {
            if target.flows > 1 && target.protocol == Protocol::Text {
                self.warnings.push(format!(
                    "\"{}\" speaks the text wire only, whose flows another one of ours cannot tell apart: it \
                     publishes one-way delays of one of the {} `flows`",
                    target.label, target.flows
                ));
            }
            if target.owd_corrected && target.protocol == Protocol::Text {
                self.warnings.push(format!(
                    "\"{}\" speaks the text wire only, on which nothing is known of its clock: its \
                     one-way delays are not corrected",
                    target.label
                ));
            }
        }
    }

    /// Listens on these ports, 0 for free ones.
    #[must_use]
    pub fn with_ports(mut self, tcp: u16, udp: u16) -> Self {
        (self.tcp_port, self.udp_ports) = (tcp, vec![udp]);
        self
    }

    /// Returns the wire of targets that do not say otherwise. With [`Protocol::Text`] requests on the
    /// native wire are not answered either.
    pub fn protocol(&self) -> Protocol {
        self.inherited.get(&PROTOCOL)
    }

    /// Sets the name of this host.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Checks what a program may have changed since.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::default();
        if let Err(fault) = rules::name(&self.name) {
            problems.add(Place::Program, NAME.name, fault);
        }
        let udp_ports: Vec<i64> = self.udp_ports.iter().map(|port| (*port).into()).collect();
        if let Err(fault) = rules::ports(&udp_ports) {
            problems.add(Place::Program, UDP_PORT.name, fault);
        }
        for metrics in &self.metrics {
            metrics.check(&mut problems);
        }
        for target in &self.targets {
            target::check_spec(target, &mut problems);
        }
        problems.or(None, ())
    }
}

/// Returns the host's own name, which must be one that can go onto the wire.
fn host_name(problems: &mut Problems) -> String {
    let host = host::host_name();
    if rules::name(&host).is_err() {
        let text = format_args!("must be set: the host's own, {host:?}, cannot go onto the wire");
        problems.add(Place::Program, NAME.name, text);
    }
    host
}
