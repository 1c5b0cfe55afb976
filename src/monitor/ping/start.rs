//! From what was asked for to a monitor that can start.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use crate::config::{Config, ConfigError, LogLevel, Overrides, PingRequest, TargetOptions};
use crate::monitor::ping::subject::Subject;
use crate::monitor::ping::words::shown;
use crate::monitor::{RunError, StartError, nanos};
use crate::proto::{FlowKind, Host, TargetSpec, Visit};

/// Behind the name of this host in what the other end publishes: its own daemon may probe there too.
const OWN_SUFFIX: &str = "-ping";

/// Why a ping cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PingError {
    /// A flag does not fit the host, or the host is none.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The host is no name and no address.
    #[error("{shown} is no name and no address: it has characters that cannot be seen")]
    Unseen {
        /// As it can be shown.
        shown: String,
    },
    /// The name leads nowhere.
    #[error(
        "cannot find the address of {host}: {source}; give a name that resolves, or an address"
    )]
    Name {
        /// As it can be shown.
        host: String,
        /// What the system said.
        source: io::Error,
    },
    /// It leads to none of the family that was asked for.
    #[error("{host} has no {family} address; it leads to {found}")]
    Family {
        /// As it can be shown.
        host: String,
        /// What was asked for.
        family: &'static str,
        /// What there is.
        found: IpAddr,
    },
    /// The monitor could not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Nobody can be told.
    #[error("cannot write to the standard output: {0}")]
    Output(#[from] io::Error),
}

/// Finds out whom a request is about.
pub(super) fn subject(request: &PingRequest) -> Result<Subject, PingError> {
    let shown = shown(&request.host);
    if shown != request.host || request.host.is_empty() {
        return Err(PingError::Unseen { shown });
    }
    let (kind, port) = request.over();
    let found = addresses(&request.host, port)?;
    let is_wanted = |at: &&SocketAddr| match (request.ipv4, request.ipv6) {
        (true, _) => at.is_ipv4(),
        (_, true) => at.is_ipv6(),
        _ => true,
    };
    let Some(remote) = found.iter().find(is_wanted).copied() else {
        return Err(PingError::Family {
            host: shown,
            family: if request.ipv4 { "IPv4" } else { "IPv6" },
            found: found[0].ip(),
        });
    };
    let others: BTreeSet<IpAddr> = found.iter().map(SocketAddr::ip).collect();
    Ok(Subject {
        host: request.host.clone(),
        remote,
        others: others.into_iter().filter(|ip| *ip != remote.ip()).collect(),
        kind,
        protocol: request.protocol,
        has_key: request.key_file.is_some(),
        is_raw: request.raw,
    })
}

/// Returns the addresses of a host, at least one.
fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, PingError> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let fail = |source| PingError::Name {
        host: host.to_owned(),
        source,
    };
    let found: Vec<SocketAddr> = (host, port).to_socket_addrs().map_err(fail)?.collect();
    if found.is_empty() {
        return Err(fail(io::Error::from(io::ErrorKind::NotFound)));
    }
    Ok(found)
}

/// Returns a configuration for a monitor that answers nobody, reads no file and learns no paths.
pub(super) fn config(log_level: Option<LogLevel>) -> Result<Config, PingError> {
    let mut config = Config::parse("", &Overrides::default())?;
    config.name = format!("{}{OWN_SUFFIX}", config.name);
    config.path.on.clear();
    config.path.interval = Duration::ZERO;
    if let Some(level) = log_level {
        config.log_level = level;
    }
    Ok(config)
}

/// Returns the target of a request.
pub(super) fn target(
    config: &Config,
    subject: &Subject,
    request: &PingRequest,
    label: &str,
) -> Result<TargetSpec, PingError> {
    let (kind, port) = request.over();
    let mut options = TargetOptions::new(&*request.host)
        .label(label)
        .port(port)
        .interval_ms(milliseconds(request.every()))
        .timeout_s(request.timeout.as_secs_f64())
        .flows(request.flows)
        .protocol(request.protocol)
        .owd_corrected(!request.raw);
    options = match kind {
        FlowKind::Udp => options.udp_only(),
        FlowKind::Tcp | FlowKind::Connect => options.tcp_only(),
    };
    if let Some(size) = request.size {
        options = options.size(size);
    }
    if let Some(dscp) = request.dscp {
        options = options.dscp(dscp);
    }
    if let Some(source) = request.source {
        options = options.source(source);
    }
    if let Some(interface) = &request.interface {
        options = options.interface(interface);
    }
    if let Some(path) = &request.key_file {
        options = options.key_file(path.to_string_lossy());
    }
    let mut spec = config.target(options)?;
    (spec.tcp_port, spec.connect_port) = match kind {
        FlowKind::Udp => (None, None),
        FlowKind::Tcp => (Some(port), None),
        FlowKind::Connect => (None, Some(port)),
    };
    // A second look-up might lead elsewhere. One with a zone is looked up again, because that is part of the name.
    if !matches!(subject.remote, SocketAddr::V6(at) if at.scope_id() != 0) {
        spec.host = Host::Address(subject.remote.ip());
    }
    spec.visit = Some(Visit {
        probes_max: request.probes(),
    });
    Ok(spec)
}

/// Returns how long a ping with a last probe takes at most if no probe can leave: nobody waits longer for a connection.
pub(super) fn patience_ns(request: &PingRequest) -> Option<u64> {
    let slots = nanos(request.every()).saturating_mul(request.probes()?);
    Some(slots.saturating_add(nanos(request.timeout).saturating_mul(2)))
}

/// Returns a time in milliseconds, rounded once.
#[expect(clippy::cast_precision_loss, reason = "at most a day")]
fn milliseconds(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e6
}
