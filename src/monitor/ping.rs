//! `latency-monitor ping`: what there is to know of the way to one host, for whoever sits at a terminal.
//!
//! It is the monitor with one target, which listens on nothing and reads no file. What is shown are the recorder's
//! records: its samples, or its windows, counts and gauges of a tenth of a second, added up. If nothing answers it says
//! what that means, and tries what else the host may answer.

mod figures;
mod greeting;
mod histogram;
mod json;
mod lines;
mod probes;
mod silence;
mod start;
mod subject;
#[cfg(test)]
mod tests;
mod verdict;
mod words;

use std::io::{self, Write as _};
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, SyncSender, TrySendError, channel, sync_channel,
};
use std::time::Duration;

use crate::clock::Clock;
use crate::config::PingRequest;
use crate::limits::CHANNEL_RECORDS_MAX;
use crate::monitor::commands::{Command, Viewer};
use crate::monitor::ping::figures::{Figures, METRICS, Sorting};
use crate::monitor::ping::probes::{Probe, Probes};
use crate::monitor::ping::subject::Subject;
use crate::monitor::signals::Asked;
use crate::monitor::{LatencyMonitor, RunError, logging, nanos, signals};
use crate::proto::{FlowView, Mono, Protocol};
use crate::publish::{Backend, PublishError};
use crate::record::{Choice, Mode, Record, SinkConfig};

pub use start::PingError;

/// The recorder's intervals. A ping ends at the end of one.
const TICK_NS: u64 = 100_000_000;
/// Of which so many make a line.
const TICKS_PER_LINE: u64 = 10;
/// Columns, where the terminal does not say.
const WIDTH: usize = 80;
/// How often it is seen whether the monitor still runs.
const LOOK: Duration = Duration::from_millis(500);
/// How long the poll thread may take to say what it knows of the flows.
const VIEW_WITHIN: Duration = Duration::from_secs(1);

/// No answer, where a host was probed and nothing was wrong.
const NO_ANSWER: u8 = 1;
/// A wrong name or flag, as clap has it, or a host that cannot be probed.
const WRONG: u8 = 2;

/// Pings a host, shows what comes of it, and returns the exit code.
pub fn run(request: &PingRequest) -> u8 {
    match ping(request) {
        Ok(code) => code,
        // Who reads along has seen what he wanted.
        Err(PingError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(error) if request.is_plugin() => {
            // Whoever reads the line is gone, or has it.
            let _ = tell(&verdict::unknown(&error.to_string()));
            verdict::State::Unknown.code()
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "latency-monitor: {error}");
            WRONG
        }
    }
}

fn ping(request: &PingRequest) -> Result<u8, PingError> {
    let subject = start::subject(request)?;
    let mut config = start::config(request.log_level)?;
    let _log = request
        .log_level
        .map(|_| logging::open(&config))
        .transpose()?
        .map(logging::Opened::start);
    let mut spec = start::target(&config, &subject, request, &request.host)?;
    // Probes and replies are told apart by whom they are for.
    if *spec.label == *config.name {
        spec.label = format!("{} (target)", spec.label).into();
    }
    let sorting = Sorting {
        kind: subject.kind,
        label: spec.label.clone(),
        is_corrected: !request.raw,
    };
    (config.tcp, config.udp) = (false, false);
    let (notices, told) = sync_channel(CHANNEL_RECORDS_MAX);
    let signals_to = notices.clone();
    signals::watch_at_terminal(move |asked| {
        // The ping may have ended already.
        let _ = signals_to.send(Notice::Signal(asked));
    })
    .map_err(RunError::Signals)?;
    if greeting::is_of_use(&spec) && greeting::speaks_native(&config, &spec)? {
        spec.protocol = Protocol::Native;
    }
    config.targets = vec![spec];
    let mut monitor = LatencyMonitor::new(config);
    let mut running = Running::new(request, &subject, sorting);
    running.begin()?;
    let clock = Clock::new();
    running.began = clock.mono_for_sure();
    monitor.start_with(vec![(sink(request), Box::new(Teller(notices)))], || ())?;
    let is_interrupted = running.follow(&monitor, &told, &clock)?;
    running.took = Duration::from_nanos(clock.mono_for_sure().since(running.began));
    let views = views(&monitor);
    monitor.stop()?;
    while let Ok(notice) = told.try_recv() {
        if let Notice::Record(record) = notice {
            running.take(&record)?;
        }
    }
    running.end(&views, is_interrupted)
}

fn sink(request: &PingRequest) -> SinkConfig {
    let mode = if request.is_by_probe() {
        Mode::Both
    } else {
        Mode::Windows
    };
    SinkConfig {
        choice: Choice::of(&METRICS).expect("a test makes it of these"),
        ..SinkConfig::new(mode, TICK_NS)
    }
}

/// What the main thread waits for.
enum Notice {
    Record(Record),
    Signal(Asked),
}

/// Hands records to the main thread. One that has fallen behind loses some, which are counted.
struct Teller(SyncSender<Notice>);

impl Backend for Teller {
    fn name(&self) -> &'static str {
        "ping"
    }

    fn publish(&mut self, record: &Record) -> Result<(), PublishError> {
        let sent = self.0.try_send(Notice::Record(record.clone()));
        sent.map_err(|error| match error {
            TrySendError::Full(_) => PublishError::Full,
            TrySendError::Disconnected(_) => PublishError::Closed,
        })
    }

    fn flush(&mut self) -> Result<(), PublishError> {
        Ok(())
    }
}

/// Asks the poll thread what it knows of the flows besides their numbers.
fn views(monitor: &LatencyMonitor) -> Vec<FlowView> {
    let Some(running) = &monitor.running else {
        return Vec::new();
    };
    let (answer, answered) = channel();
    let viewer = Viewer(Box::new(move |views| {
        // Whoever asked may have lost patience.
        let _ = answer.send(views);
    }));
    running.commands.push(Command::View(viewer));
    answered.recv_timeout(VIEW_WITHIN).unwrap_or_default()
}

/// A ping under way.
struct Running<'a> {
    request: &'a PingRequest,
    subject: &'a Subject,
    sorting: Sorting,
    probes: Probes,
    /// Since the last line.
    recent: Figures,
    /// Since it began.
    whole: Figures,
    /// Lines of seconds.
    seconds: u64,
    began: Mono,
    took: Duration,
}

impl<'a> Running<'a> {
    fn new(request: &'a PingRequest, subject: &'a Subject, sorting: Sorting) -> Self {
        Self {
            request,
            subject,
            sorting,
            probes: Probes::default(),
            recent: Figures::default(),
            whole: Figures::default(),
            seconds: 0,
            began: Mono::ZERO,
            took: Duration::ZERO,
        }
    }

    /// True if somebody reads along.
    const fn is_told(&self) -> bool {
        !self.request.quiet && self.request.thresholds.is_empty()
    }

    fn begin(&self) -> Result<(), PingError> {
        if self.is_told() && !self.request.json {
            tell(&lines::header(
                self.subject,
                self.request.every(),
                self.request.flows,
            ))?;
        }
        Ok(())
    }

    /// Shows what comes, until all probes have ended, the deadline has come, or a signal. True if it was a signal.
    fn follow(
        &mut self,
        monitor: &LatencyMonitor,
        told: &Receiver<Notice>,
        clock: &Clock,
    ) -> Result<bool, PingError> {
        let deadline = self
            .request
            .deadline
            .map(|after| self.began.plus(nanos(after)));
        while !monitor.has_failed() {
            let now = clock.mono_for_sure();
            let left = deadline.map_or(LOOK, |end| Duration::from_nanos(end.since(now)).min(LOOK));
            if left.is_zero() {
                return Ok(false);
            }
            match told.recv_timeout(left) {
                Ok(Notice::Record(record)) => {
                    if self.take(&record)? && self.is_over(clock) {
                        return Ok(false);
                    }
                }
                Ok(Notice::Signal(Asked::Summary | Asked::Dump)) => {
                    self.took = Duration::from_nanos(clock.mono_for_sure().since(self.began));
                    self.summarise()?;
                }
                Ok(Notice::Signal(Asked::End(_) | Asked::Reload)) => return Ok(true),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        Ok(false)
    }

    /// Takes a record, and shows what it completes. True if it ends an interval.
    fn take(&mut self, record: &Record) -> io::Result<bool> {
        if self.request.is_by_probe()
            && let Some(probe) = self.probes.add(record, &self.sorting)
        {
            self.show(&probe)?;
        }
        self.recent.add(record, &self.sorting);
        let is_tick = self.whole.add(record, &self.sorting);
        if is_tick && self.request.is_by_probe() {
            self.show_trouble()?;
        } else if is_tick && self.recent.ticks >= TICKS_PER_LINE {
            self.show_second()?;
        }
        Ok(is_tick)
    }

    fn show(&self, probe: &Probe) -> io::Result<()> {
        let clock = self.whole.clock;
        if self.request.json {
            tell(&json::probe(probe, clock))
        } else {
            tell(&lines::probe(probe, clock, self.request.raw))
        }
    }

    /// Shows what has gone wrong in an interval, where each probe that is answered has a line.
    fn show_trouble(&mut self) -> io::Result<()> {
        if self.recent.counts.has_trouble()
            && !self.request.json
            && let Some(trouble) = lines::trouble(&self.recent)
        {
            tell(&format!("{trouble}\n"))?;
        }
        self.recent.clear();
        Ok(())
    }

    fn show_second(&mut self) -> io::Result<()> {
        self.seconds += 1;
        if self.is_told() {
            let (at, recent) = (self.seconds, &self.recent);
            tell(&if self.request.json {
                json::second(at, recent)
            } else {
                lines::second(at, recent, self.request.raw)
            })?;
        }
        self.recent.clear();
        Ok(())
    }

    /// True once the last probe has ended, or none can leave and a connection has had its time.
    fn is_over(&self, clock: &Clock) -> bool {
        let Some(probes) = self.request.probes() else {
            return false;
        };
        let counts = &self.whole.counts;
        let all = probes.saturating_mul(self.request.flows.into());
        let has_ended = self.whole.in_flight() == 0;
        let gone = clock.mono_for_sure().since(self.began);
        let is_hopeless = counts.unsent > 0
            && start::patience_ns(self.request).is_some_and(|patience| gone >= patience);
        has_ended && (counts.sent >= all || is_hopeless)
    }

    fn summarise(&self) -> io::Result<()> {
        if self.request.is_plugin() {
            return Ok(());
        }
        tell(&if self.request.json {
            json::summary(self.subject, self.took, &self.whole, None)
        } else {
            lines::summary(self.subject, self.took, &self.whole, width())
        })
    }

    /// Shows the last of it, and returns the exit code.
    fn end(mut self, views: &[FlowView], is_interrupted: bool) -> Result<u8, PingError> {
        if let Some(probe) = self.probes.end().filter(|_| self.request.is_by_probe()) {
            self.show(&probe)?;
        }
        if self.request.is_plugin() {
            let thresholds = &self.request.thresholds;
            let (state, line) = verdict::judge(self.subject, &self.whole, thresholds);
            tell(&line)?;
            return Ok(state.code());
        }
        if self.whole.counts.received > 0 {
            self.summarise()?;
            return Ok(0);
        }
        self.explain(views, is_interrupted)?;
        Ok(NO_ANSWER)
    }

    /// Says what it means that nothing has answered, and tries what else may.
    fn explain(&self, views: &[FlowView], is_interrupted: bool) -> Result<(), PingError> {
        let meaning = silence::meaning(self.subject, &self.whole, views);
        // Who has interrupted it waits for nothing more.
        let mut tries = if is_interrupted {
            Vec::new()
        } else {
            silence::tries(self.request)
        };
        if self.request.json {
            silence::attempt(self.subject, &mut tries)?;
            let silence = Some((&*meaning, tries.iter().map(silence::Try::json).collect()));
            tell(&json::summary(
                self.subject,
                self.took,
                &self.whole,
                silence,
            ))?;
            return Ok(());
        }
        self.summarise()?;
        tell(&meaning)?;
        if !tries.is_empty() {
            silence::attempt(self.subject, &mut tries)?;
            tell(&silence::told(&tries))?;
        }
        Ok(())
    }
}

fn width() -> usize {
    terminal_size::terminal_size().map_or(WIDTH, |(width, _)| width.0.into())
}

/// Writes to the standard output at once.
fn tell(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
