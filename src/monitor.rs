//! The program without its command line: threads, commands, signals, and the library's entry.
//!
//! A program embeds [`LatencyMonitor`]. [`run`] is the daemon around it.

mod backends;
mod changing;
mod commands;
mod daemon;
mod descriptors;
mod discovery;
mod dump;
mod engines;
#[cfg(feature = "http-server")]
mod face;
mod life;
mod logging;
mod notice;
pub mod ping;
mod poll;
pub mod preflight;
mod pressure;
mod reload;
mod resolver;
pub mod sandbox;
mod signals;
mod supervised;
pub mod trace;
mod tuning;
mod watchdog;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{BurstConfig, Config, ConfigError, MetricsConfig, TargetOptions};
use crate::engine::{EngineError, Listening};
use crate::limits::{CHANNEL_RECORDS_MAX, DUMP_SETTLE_NS_MAX, DUMPS_QUEUED_MAX, TARGETS_MAX};
use crate::monitor::changing::Changing;
use crate::monitor::commands::{Answering, Command, Commands};
use crate::monitor::discovery::Discovery;
use crate::monitor::dump::DumpThread;
use crate::monitor::poll::PollLoop;
use crate::monitor::resolver::Resolver;
use crate::proto::{Host, KeyRing, Prober, ProberConfig, Protocol, TargetSpec};
use crate::publish::{self, Backend, Flusher};
use crate::record::{
    BackendStats, BurstRules, ConfigRead, Feed, FlightConfig, Record, Recorder, SinkConfig,
};
use crate::sys::icmp;

pub use daemon::run;
pub use reload::Reloaded;

/// Names a target that was added, to remove it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetHandle(u64);

/// Why a monitor cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The engine cannot be made: a port is taken, a permission is missing.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A name that the configuration has for an address of this host leads nowhere.
    #[error("cannot listen on `address` {host}: {source}")]
    Address {
        /// As it is written.
        host: Host,
        /// What the system said.
        source: io::Error,
    },
    /// A thread cannot be made.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
    /// Others cannot ask over HTTP.
    #[cfg(feature = "http-server")]
    #[error(transparent)]
    Serve(#[from] crate::serve::ServeError),
    /// The system gives no random numbers for identifiers.
    #[error("cannot read the system's random source: {0}")]
    Random(getrandom::Error),
    /// A backend cannot be made: its port is taken, its folder is locked.
    #[error("cannot start the backend {name}: {reason}")]
    Backend {
        /// Its name in the configuration.
        name: String,
        /// What happened, with the address or path.
        reason: String,
    },
    /// The monitor runs already.
    #[error("this monitor is running already")]
    Running,
    /// A program has made a configuration that is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Why the daemon ended with an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The monitor could not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The loop failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The log file cannot be opened.
    #[error("cannot open the log file {}: {source}", path.display())]
    LogFile {
        /// The file asked for.
        path: std::path::PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Standard output or standard error cannot be used for the log.
    #[error("cannot write the log: {0}")]
    Console(#[source] io::Error),
    /// A configuration that was read again is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Signals cannot be watched.
    #[error("cannot watch for signals: {0}")]
    Signals(#[source] io::Error),
    /// The poll thread or a flush thread panicked: a bug.
    #[error("a thread has failed; this is a bug")]
    Panicked,
}

/// Why a target cannot be added.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// One of its options is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There are [`TARGETS_MAX`] already.
    #[error("there are {TARGETS_MAX} targets already, which is the maximum")]
    TooMany,
}

/// Probes targets, answers the probes of others, and publishes the results.
///
/// ```
/// use latency_monitor::{Config, LatencyMonitor, TargetOptions};
///
/// // Listen on free ports, and probe ourselves.
/// let mut monitor = LatencyMonitor::new(Config::default().with_ports(0, 0));
/// let metrics = monitor.start()?;
/// let port = monitor.listening().udp[0].port();
/// let target = TargetOptions::new("127.0.0.1").label("me").port(port).interval_ms(10.0);
/// let handle = monitor.add_udp_target(target)?;
///
/// let rtt = metrics.iter().find(|metric| metric.metric() == "udp.wan.rtt").unwrap();
/// assert!(rtt.value().unwrap() > 0);
/// assert!(rtt.tags().any(|tag| tag.to_string() == "target:me"));
///
/// monitor.remove(handle);
/// monitor.stop()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LatencyMonitor {
    config: Config,
    /// What requests it answers is decided by this, whatever is configured later.
    protocol: Protocol,
    handles: u64,
    /// The targets that are probed while it runs.
    targets: BTreeMap<TargetHandle, TargetSpec>,
    /// What is listed elsewhere, of which the daemon alone takes targets.
    discovery: Discovery,
    listening: Listening,
    running: Option<Running>,
}

/// What the poll thread leaves: its recorder, unless it could not begin.
type PollEnd = Result<Option<Recorder>, EngineError>;

#[derive(Debug)]
struct Running {
    commands: Arc<Commands>,
    poll: JoinHandle<PollEnd>,
    flushers: Vec<Flusher>,
    dumper: Option<DumpThread>,
    changing: Changing,
}

impl LatencyMonitor {
    /// Makes a monitor with the configuration's targets. It does not run yet.
    pub fn new(config: Config) -> Self {
        let mut monitor = Self {
            handles: 0,
            targets: BTreeMap::new(),
            discovery: Discovery::default(),
            listening: Listening::default(),
            running: None,
            protocol: config.protocol(),
            config,
        };
        for spec in monitor.config.targets.clone() {
            let handle = monitor.next_handle();
            monitor.targets.insert(handle, spec);
        }
        monitor
    }

    /// Adds a target with the flows that its options ask for. A running monitor probes it at once.
    pub fn add_target(&mut self, target: TargetOptions) -> Result<TargetHandle, TargetError> {
        let spec = self.config.target(target)?;
        if self.targets.len() >= TARGETS_MAX {
            return Err(TargetError::TooMany);
        }
        let handle = self.next_handle();
        if let Some(running) = &self.running
            && !running.commands.push(Command::Add(handle, spec.clone()))
        {
            return Err(TargetError::TooMany);
        }
        self.targets.insert(handle, spec);
        Ok(handle)
    }

    /// Adds a target with a persistent TCP flow and connect probes.
    pub fn add_tcp_target(&mut self, target: TargetOptions) -> Result<TargetHandle, TargetError> {
        self.add_target(target.tcp_only())
    }

    /// Adds a target with a UDP flow.
    pub fn add_udp_target(&mut self, target: TargetOptions) -> Result<TargetHandle, TargetError> {
        self.add_target(target.udp_only())
    }

    /// Stops probing a target. False if there is no such target.
    pub fn remove(&mut self, target: TargetHandle) -> bool {
        let was_there = self.targets.remove(&target).is_some();
        if let Some(running) = self.running.as_ref().filter(|_| was_there) {
            running.commands.push(Command::Remove(target));
        }
        was_there
    }

    /// Starts to listen and to probe, and sends all records to the receiver. If it is not read fast
    /// enough records are dropped, and counted (`monitor.samples_dropped`).
    pub fn start(&mut self) -> Result<Receiver<Record>, StartError> {
        let (backend, receiver) = publish::channel(CHANNEL_RECORDS_MAX);
        let sink = sink_config(&self.config.metrics.first().cloned().unwrap_or_default());
        self.start_with(vec![(sink, Box::new(backend))], || ())?;
        Ok(receiver)
    }

    /// Starts to listen and to probe, and publishes to these backends. Calls `on_closed` on another
    /// thread when the reader of a backend has gone.
    pub fn start_with(
        &mut self,
        backends: Vec<(SinkConfig, Box<dyn Backend>)>,
        on_closed: impl Fn() + Clone + Send + 'static,
    ) -> Result<(), StartError> {
        if self.running.is_some() {
            return Err(StartError::Running);
        }
        self.config.check()?;
        let commands = Arc::new(Commands::default());
        commands.push(Command::ConfigRead { is_ok: true });
        if icmp::TELL_HOPS {
            commands.push(Command::TracePaths(self.config.path.options()));
        }
        for (handle, spec) in &self.targets {
            commands.push(Command::Add(*handle, spec.clone()));
        }
        let accepted_max = descriptors::prepare(self.targets.values(), self.listeners());
        let clock = Clock::new();
        let mut recorder = Recorder::new(&self.config.name, clock.now());
        recorder.find_bursts(burst_rules(&self.config.burst));
        recorder.watch_host();
        let is_alone = backends.len() == 1;
        let add = |(sink, backend): (SinkConfig, Box<dyn Backend>)| {
            let own = backend.stats();
            // One that has no queue tells its own losses itself, and needs no others for it.
            let is_told = !is_alone || own.is_some();
            let stats = own.unwrap_or_else(|| Arc::new(BackendStats::new(backend.name())));
            if is_told {
                recorder.add_backend(Arc::clone(&stats));
            }
            (recorder.add_sink_of(sink, stats), backend)
        };
        let (feeds, backends): (Vec<Feed>, Vec<_>) = backends.into_iter().map(add).unzip();
        let dumper = self.start_dumper(&mut recorder)?;
        let poll = self.start_poll(clock, recorder, accepted_max, &commands)?;
        let mut running = Running {
            commands,
            poll,
            flushers: Vec::new(),
            dumper,
            changing: Changing::default(),
        };
        for (feed, backend) in feeds.into_iter().zip(backends) {
            match Flusher::spawn(feed, backend, on_closed.clone()) {
                Ok(flusher) => running.flushers.push(flusher),
                Err(error) => {
                    // This error says enough; that of the poll thread would follow from it.
                    let _ = running.stop(Duration::ZERO);
                    return Err(StartError::Thread(error));
                }
            }
        }
        self.running = Some(running);
        Ok(())
    }

    /// Returns the addresses that it listens on while it runs. The system chooses a port in place
    /// of 0.
    pub fn listening(&self) -> &Listening {
        &self.listening
    }

    /// Stops probing at once, publishes the last results, and ends all threads, within the
    /// configuration's `shutdown_timeout`.
    pub fn stop(&mut self) -> Result<(), RunError> {
        match self.running.take() {
            Some(running) => running.stop(self.config.shutdown_timeout),
            None => Ok(()),
        }
    }

    /// Returns how many sockets it listens on, at most.
    fn listeners(&self) -> usize {
        let protocols = usize::from(self.config.tcp) + usize::from(self.config.udp);
        // Without any, one for each family.
        let addresses = match self.config.addresses.len() {
            0 => 2,
            listed => listed,
        };
        addresses * protocols
    }

    fn next_handle(&mut self) -> TargetHandle {
        self.handles += 1;
        TargetHandle(self.handles)
    }

    /// Starts the thread that writes dumps, if `dump_dir` is set.
    fn start_dumper(&self, recorder: &mut Recorder) -> Result<Option<DumpThread>, StartError> {
        let burst = &self.config.burst;
        let Some(folder) = burst.dump_dir.clone() else {
            return Ok(None);
        };
        let config = self.margins();
        let (writer, orders) = sync_channel(DUMPS_QUEUED_MAX);
        let lost = recorder.record_flights(config, writer);
        let name = &self.config.name;
        let dumper = DumpThread::spawn(folder, burst.dumps_max, name, orders, lost)?;
        Ok(Some(dumper))
    }

    /// Returns how much is dumped around a burst.
    fn margins(&self) -> FlightConfig {
        let timeouts = self.targets.values().map(|target| target.timeout_ns);
        FlightConfig {
            pre_ns: nanos(self.config.burst.pre),
            post_ns: nanos(self.config.burst.post),
            settle_ns: timeouts.max().unwrap_or(0).min(DUMP_SETTLE_NS_MAX),
        }
    }

    /// Dumps the last probes of every flow into one file in the configuration's `dump_dir`, if that
    /// is set. Probing goes on meanwhile.
    pub fn dump(&self) {
        if let Some(running) = &self.running {
            running.commands.push(Command::Dump);
        }
    }

    /// Starts the poll thread, and returns once it listens.
    fn start_poll(
        &mut self,
        clock: Clock,
        recorder: Recorder,
        accepted_max: usize,
        commands: &Arc<Commands>,
    ) -> Result<JoinHandle<PollEnd>, StartError> {
        let addresses = resolver::own_addresses(&self.config.addresses)?;
        let config = tuning::engine(&self.config, addresses);
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(StartError::Random)?;
        let resolver = Resolver::start(commands)?;
        let mut prober_config = ProberConfig {
            name: self.config.name.as_str().into(),
            udp_ports: Vec::new(),
            accepted_max,
            resolve_interval_ns: nanos(self.config.resolve_interval),
            seed,
            native: self.protocol != Protocol::Text,
            keys: KeyRing::default(),
        };
        let finish_within = self.config.shutdown_timeout;
        let options = self.config.engine;
        let kind = engines::choose(&self.config).tell();
        let answering = Answering::of(&self.config);
        let commands = commands.clone();
        let (report, listens) = channel();
        let body = move || {
            tuning::apply(&options);
            // The engine is made on its own thread: parts of it cannot move between threads.
            let (mut engine, waker) = match kind.open(&config) {
                Ok(opened) => opened,
                Err(error) => {
                    let _ = report.send(Err(error));
                    return Ok(None);
                }
            };
            commands.set_waker(waker);
            let listening = engine.listening().clone();
            prober_config.udp_ports = listening.udp_ports();
            let _ = report.send(Ok(listening));
            let mut prober = Prober::new(prober_config);
            answering.apply(&mut prober, clock.now());
            PollLoop {
                clock,
                prober,
                recorder,
                resolver,
                commands,
                taken: VecDeque::new(),
                finish_within,
                handles: BTreeMap::new(),
                watch: poll::ClockWatch::default(),
                host: pressure::HostWatch::default(),
                config_read: ConfigRead::default(),
                counted: 0,
                viewing: VecDeque::new(),
                watchdog: None,
            }
            .run(&mut *engine)
            .map(Some)
        };
        let thread = thread::Builder::new().name("lm-poll".into()).spawn(body)?;
        let listens = listens.recv();
        // It may have panicked: a bug, which the panic handler has reported.
        self.listening = listens.map_err(|_| io::Error::other("the poll thread failed"))??;
        Ok(thread)
    }
}

impl Drop for LatencyMonitor {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::error!(%error, "the monitor did not stop in order");
        }
    }
}

impl Running {
    fn stop(self, timeout: Duration) -> Result<(), RunError> {
        // Each backend has this time for itself: one that hangs takes none of another's.
        let mut flushers = self.flushers;
        flushers.extend(self.changing.end());
        for flusher in &flushers {
            flusher.stop(timeout);
        }
        let clock = Clock::new();
        let began = clock.mono_for_sure();
        let left = || {
            let gone = Duration::from_nanos(clock.mono_for_sure().since(began));
            timeout.saturating_sub(gone)
        };
        self.commands.stop();
        let ended = self.poll.join().map_err(|_| RunError::Panicked);
        // Here the recorder goes, which ends the thread that writes dumps.
        let ended = ended.map(|end| end.map(drop));
        if let Some(dumper) = self.dumper
            && !dumper.join(left())
        {
            tracing::warn!("the shutdown timeout has passed before all dumps were written");
        }
        let panicked = flushers.iter().any(Flusher::has_panicked);
        for flusher in flushers {
            flusher.join(left());
        }
        if panicked {
            return Err(RunError::Panicked);
        }
        ended?.map_err(RunError::Engine)
    }
}

impl LatencyMonitor {
    /// True if the loop or a flush thread has ended by itself. [`stop`](Self::stop) returns the
    /// cause.
    pub fn has_failed(&self) -> bool {
        self.running.as_ref().is_some_and(|running| {
            running.poll.is_finished() || running.flushers.iter().any(Flusher::has_panicked)
        })
    }
}

fn sink_config(metrics: &MetricsConfig) -> SinkConfig {
    SinkConfig {
        choice: metrics.choice.clone(),
        compat_zero: metrics.compat_zero,
        ..SinkConfig::new(metrics.mode, nanos(metrics.delivery.send_interval))
    }
}

fn burst_rules(burst: &BurstConfig) -> BurstRules {
    BurstRules {
        threshold_ns: burst.threshold.map(nanos),
        quiet_ns: nanos(burst.quiet),
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Sender;

    use super::*;
    use crate::proto::Mono;
    use crate::publish::PublishError;
    use crate::record::Mode;

    /// Tells how long it may take at the end, and when it was told so.
    struct Last(Sender<(Duration, Mono)>);

    impl Backend for Last {
        fn name(&self) -> &'static str {
            "last"
        }

        fn publish(&mut self, _: &Record) -> Result<(), PublishError> {
            Ok(())
        }

        fn flush(&mut self) -> Result<(), PublishError> {
            Ok(())
        }

        fn finish(&mut self, timeout: Duration) -> Result<(), PublishError> {
            self.0.send((timeout, Clock::new().mono())).unwrap();
            Ok(())
        }
    }

    #[test]
    fn the_shutdown_timeout_counts_from_the_stop() {
        let (told, last) = channel();
        let mut monitor = LatencyMonitor::new(Config::default().with_ports(0, 0));
        let backend: Box<dyn Backend> = Box::new(Last(told));
        let sink = SinkConfig::new(Mode::Samples, 1_000_000_000);
        monitor.start_with(vec![(sink, backend)], || ()).unwrap();
        let before = Clock::new().mono();
        monitor.stop().unwrap();
        let (left, at) = last.recv().unwrap();
        // What is gone of it is part of what has passed since; the clock itself is older.
        let passed = Duration::from_nanos(at.since(before));
        let timeout = monitor.config.shutdown_timeout;
        assert!(
            left <= timeout && left + passed >= timeout,
            "{left:?}, {passed:?}"
        );
    }
}
