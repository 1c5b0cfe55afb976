//! The daemon around the monitor: the main thread, which waits for signals, for whoever asks, and for what was found.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use crate::config::{Config, ConfigError, MetricsConfig};
#[cfg(feature = "http-server")]
use crate::monitor::face;
use crate::monitor::notice::Notice;
use crate::monitor::sandbox::Sandbox;
use crate::monitor::signals::Asked;
use crate::monitor::supervised::Supervised;
use crate::monitor::{
    LatencyMonitor, RunError, StartError, backends, logging, preflight, signals, sink_config,
};
use crate::publish::Flusher;
use crate::record::BackendStats;

/// Runs the daemon until a signal ends it, or the reader of its output has gone. `read_again` reads its
/// configuration for a reload.
pub fn run(
    config: Config,
    read_again: impl Fn() -> Result<Config, ConfigError>,
) -> Result<(), RunError> {
    let (mut supervised, sandbox, log) = begin(&config)?;
    let (ends, ended): (Sender<Notice>, _) = channel();
    let signal_ends = ends.clone();
    signals::watch(move |signal| {
        // The daemon may have ended already.
        let _ = signal_ends.send(Notice::Signal(signal));
    })
    .map_err(RunError::Signals)?;
    let own_name = config.name.clone();
    let make = |metrics: &MetricsConfig, stats: &Arc<BackendStats>| {
        backends::backend(metrics, &own_name, &log, stats)
    };
    let backends = config.metrics.iter().map(|metrics| {
        let stats = Arc::new(BackendStats::new(&metrics.name));
        Ok((sink_config(metrics), make(metrics, &stats)?))
    });
    let mut backends = backends.collect::<Result<Vec<_>, StartError>>()?;
    if let Some(history) = &config.history {
        backends.push(backends::history(history)?);
    }
    #[cfg(feature = "http-server")]
    let prepared = config.http.clone().map(|http| {
        let (prepared, sink, backend) =
            face::Prepared::new(http, config.history.as_ref(), &config.name);
        backends.push((sink, backend));
        prepared
    });
    let mut monitor = LatencyMonitor::new(config);
    let (closed, found) = (ends.clone(), ends.clone());
    let on_closed = move || {
        let _ = closed.send(Notice::Closed);
    };
    monitor.start_with(backends, on_closed.clone())?;
    let listening = monitor.listening();
    tracing::info!(udp = ?listening.udp, tcp = ?listening.tcp, "answering probes");
    let tell = move |targets| {
        // The daemon may have ended already.
        let _ = found.send(Notice::Found(targets));
    };
    monitor.discover(Arc::new(tell));
    #[cfg(feature = "http-server")]
    let face = prepared.map(|prepared| prepared.start(&monitor, ends.clone()));
    #[cfg(feature = "http-server")]
    let face = face.transpose().map_err(StartError::from)?;
    sandbox.close();
    let reload = |monitor: &mut LatencyMonitor| {
        log.reopen();
        let read = read_again();
        for beyond in read.iter().flat_map(|config| sandbox.beyond(config)) {
            tracing::warn!("{beyond}");
        }
        let said = monitor.reload_asked(read, &make, on_closed.clone());
        #[cfg(feature = "http-server")]
        let said = said.and_then(|said| {
            face.as_ref()
                .map_or(Ok(()), face::Face::reload)
                .map(|()| said)
        });
        said
    };
    supervised.watch(&monitor);
    supervised.be_ready(&monitor, &ends);
    while !monitor.has_failed() {
        monitor.tell_overruns();
        sandbox.tell_refused();
        monitor.tend_backends(&make, on_closed.clone());
        #[cfg(feature = "http-server")]
        if let Some(face) = &face {
            face.set_backends(monitor.backend_stats());
        }
        match ended.recv_timeout(FAILURE_CHECK) {
            Ok(Notice::Signal(Asked::Dump)) => monitor.dump_asked(),
            Ok(Notice::Signal(Asked::Reload)) => {
                supervised.reloading();
                // It is in the log.
                let _ = reload(&mut monitor);
                supervised.be_ready(&monitor, &ends);
            }
            Ok(Notice::Reload(answer)) => {
                supervised.reloading();
                answer(reload(&mut monitor));
                supervised.be_ready(&monitor, &ends);
            }
            Ok(Notice::Done(number)) => supervised.handle_done(number),
            Ok(Notice::Signal(Asked::End(signal))) => {
                tracing::info!(signal, "ending");
                break;
            }
            Ok(Notice::Found(found)) => monitor.take_found(found),
            Ok(Notice::Closed) => break,
            Ok(Notice::Signal(Asked::Summary)) | Err(_) => {}
        }
    }
    supervised.stopping();
    #[cfg(feature = "http-server")]
    if let Some(face) = face {
        face.stop();
    }
    monitor.stop()
}

/// Begins what comes before any other thread: finds out who wants to be told, opens the log, and locks the process in.
fn begin(config: &Config) -> Result<(Supervised, Sandbox, logging::Log), RunError> {
    // First, for it changes the environment.
    let (supervised, untold) = Supervised::find();
    let opened = logging::open(config)?;
    let warnings = preflight::warnings(config);
    // There is no other thread yet, and nothing of the network was read.
    let sandbox = Sandbox::enter(config);
    let log = opened.start();
    if let Some(error) = untold {
        tracing::warn!(%error, "the service manager cannot be told that this daemon is ready");
    }
    for warning in config.warnings.iter().chain(&warnings) {
        tracing::warn!("{warning}");
    }
    sandbox.tell();
    Ok((supervised, sandbox, log))
}

/// The daemon checks this often whether its threads still run, and take what they should.
const FAILURE_CHECK: Duration = Duration::from_millis(500);

impl LatencyMonitor {
    /// Warns of backends that begin to lose records.
    fn tell_overruns(&mut self) {
        if let Some(running) = &mut self.running {
            running.flushers.iter_mut().for_each(Flusher::tell_overrun);
        }
    }

    /// Handles SIGUSR1.
    fn dump_asked(&self) {
        if self.config.burst.dump_dir.is_some() {
            self.dump();
        } else {
            tracing::warn!("cannot dump: `dump_dir` of [burst] is not set");
        }
    }
}
