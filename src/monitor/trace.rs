//! `latency-monitor trace`: the hops of the paths to one host, once, for whoever sits at a terminal.
//!
//! It is the monitor with one target, which listens on nothing and reads no file. Each flow of the target is a column.

mod columns;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Write as _};
use std::net::ToSocketAddrs as _;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{Config, ConfigError, Overrides, TargetOptions, TraceRequest};
use crate::limits::CHANNEL_RECORDS_MAX;
use crate::monitor::trace::columns::Column;
use crate::monitor::{LatencyMonitor, RunError, StartError, logging};
use crate::proto::{Host, Path, Reopen};
use crate::publish::{self, Backend, PublishError};
use crate::record::{EventKind, Mode, Record, SinkConfig};

/// Milliseconds between the probes of a flow, which tell whether the host answers them.
const INTERVAL_MS: f64 = 200.0;
/// Nothing of an interval is of use here, so none ends.
const WINDOW_NS: u64 = 86_400_000_000_000;
/// How long one TTL may be silent: three tries of a second.
const SILENCE: Duration = Duration::from_secs(3);
/// What may pass before the first packet leaves, and after the last.
const AROUND: Duration = Duration::from_secs(5);
/// Columns, where the terminal does not say.
const WIDTH: usize = 80;

/// Why nothing is shown, or no host was reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The host or a flag is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The name leads nowhere.
    #[error(
        "cannot find the address of {host}: {source}; give a name that resolves, or an address"
    )]
    Name {
        /// As it was given.
        host: String,
        /// What the system said.
        source: io::Error,
    },
    /// The system does not tell what routers answer.
    #[error("this system does not tell who has answered a packet; `trace` needs Linux")]
    Lacking,
    /// The monitor could not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// All paths were shown, and none leads there.
    #[error("no flow has reached {host}")]
    NotReached {
        /// As it was given.
        host: String,
    },
    /// Nobody can be told.
    #[error("cannot write to the standard output: {0}")]
    Output(#[from] io::Error),
}

/// Traces the paths and prints them.
///
/// # Errors
///
/// If that fails, or no flow has reached the host.
pub fn run(request: &TraceRequest, overrides: &Overrides) -> Result<(), TraceError> {
    if !crate::sys::icmp::TELL_HOPS {
        return Err(TraceError::Lacking);
    }
    let (mut monitor, config) = monitor(request, overrides)?;
    // Whoever asks for a log gets it, beside what is shown. Without, a terminal shows the paths alone.
    let wants_log = ["log_level", "log_file"]
        .iter()
        .any(|key| overrides.has(key));
    let opened = wants_log.then(|| logging::open(&config)).transpose()?;
    let _log = opened.map(logging::Opened::start);
    let (backend, records) = publish::channel(CHANNEL_RECORDS_MAX);
    let sink = SinkConfig::new(Mode::Windows, WINDOW_NS);
    let backend: Box<dyn Backend> = Box::new(backend);
    monitor.start_with(vec![(sink, backend)], || ())?;
    let mut columns: Vec<Column> = Vec::new();
    let (clock, mut lines) = (Clock::new(), publish::Cli::stdout()?);
    let give_up = clock.mono_for_sure().plus(super::nanos(patience(request)));
    while columns.len() < request.flows.into() && !monitor.has_failed() {
        let left = give_up.since(clock.mono_for_sure());
        let record = match records.recv_timeout(Duration::from_nanos(left)) {
            Ok(record) => record,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        };
        if let Some((number, path)) = learnt(&record) {
            if request.json {
                print(&mut lines, &record)?;
            }
            columns.push(Column { number, path });
        }
    }
    monitor.stop()?;
    columns.sort_by_key(|column| column.number);
    if !request.json {
        let width = terminal_size::terminal_size().map_or(WIDTH, |(width, _)| width.0.into());
        let text = columns::render(&request.host, &columns, request.flows, width);
        tell(text.as_bytes())?;
    }
    if !columns.iter().any(|column| column.path.is_reached) {
        let host = request.host.clone();
        return Err(TraceError::NotReached { host });
    }
    Ok(())
}

/// Returns a monitor whose only target is the host, and that answers nobody.
fn monitor(
    request: &TraceRequest,
    overrides: &Overrides,
) -> Result<(LatencyMonitor, Config), TraceError> {
    let mut config = Config::parse("", overrides)?;
    let target = TargetOptions::new(&*request.host)
        .udp_only()
        .flows(request.flows)
        .reopen(Reopen::Never)
        .interval_ms(INTERVAL_MS);
    let spec = config.target(target)?;
    if let Host::Name(name) = &spec.host {
        let found = (&**name, 0).to_socket_addrs();
        found.map_err(|source| TraceError::Name {
            host: request.host.clone(),
            source,
        })?;
    }
    config.targets = vec![spec];
    (config.tcp, config.udp) = (false, false);
    (config.path.is_asked, config.path.hops_max) = (true, request.max_hops);
    Ok((LatencyMonitor::new(config.clone()), config))
}

/// Returns how long the slowest path takes.
fn patience(request: &TraceRequest) -> Duration {
    SILENCE * u32::from(request.max_hops) + AROUND
}

/// Returns the flow's number and its path, if a record is about one.
fn learnt(record: &Record) -> Option<(u16, Arc<Path>)> {
    let Record::Event(event) = record else {
        return None;
    };
    let EventKind::Path(path) = &event.kind else {
        return None;
    };
    let number = event.flow.map_or(1, |flow| flow.number);
    Some((number, Arc::clone(path)))
}

/// Prints an event as a line of JSON. A reader that has gone has seen what it wanted.
fn print(lines: &mut publish::Cli<File>, record: &Record) -> io::Result<()> {
    let printed = lines.publish(record).and_then(|()| lines.flush());
    match printed {
        Ok(()) | Err(PublishError::Closed | PublishError::Full) => Ok(()),
        Err(PublishError::Write { source, .. }) => Err(source),
    }
}

/// Writes to the standard output. A reader that has gone has seen what it wanted.
fn tell(text: &[u8]) -> io::Result<()> {
    match io::stdout().write_all(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}
