//! The poll thread: one loop that runs everything from the timer wheel to the recorder.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::clock::Clock;
use crate::engine::{Core, Engine, EngineError};
use crate::limits::{
    COMMANDS_PER_TURN_MAX, TARGETS_COUNTED_PER_TURN_MAX, TARGETS_VIEWED_PER_TURN_MAX,
};
use crate::monitor::TargetHandle;
use crate::monitor::commands::{Command, Commands, Viewer};
use crate::monitor::life;
use crate::monitor::pressure::HostWatch;
use crate::monitor::resolver::Resolver;
use crate::monitor::watchdog::Watchdog;
use crate::proto::{ClockState, FlowView, Mono, Now, Output, Prober, TargetId};
use crate::record::{ConfigRead, HostGauges, Joining, Recorder};
use crate::sys::time::clock_state;
use crate::sys::{host, is_lacking, process};

/// The loop turns at least this often, to renew the clock's anchor.
const IDLE_TURN_NS: u64 = 250_000_000;

/// The kernel is asked this often for the state of its clock. Its error bound grows by 0.5 ms a
/// second.
const CLOCK_STATE_EVERY_NS: u64 = 1_000_000_000;

/// At the end the loop pauses this long at a time, while flush threads make room for the last
/// windows.
const FINISH_PAUSE: Duration = Duration::from_millis(5);

/// Everything that the loop owns but its engine.
#[derive(Debug)]
pub(super) struct PollLoop {
    pub(super) clock: Clock,
    pub(super) prober: Prober,
    pub(super) recorder: Recorder,
    pub(super) resolver: Resolver,
    pub(super) commands: Arc<Commands>,
    /// Commands that were taken off the queue and have not been run.
    pub(super) taken: VecDeque<Command>,
    pub(super) finish_within: Duration,
    pub(super) handles: BTreeMap<TargetHandle, TargetId>,
    pub(super) watch: ClockWatch,
    pub(super) host: HostWatch,
    /// How the configuration was read last.
    pub(super) config_read: ConfigRead,
    /// How many places of the table of targets were read for the interval that ends.
    pub(super) counted: usize,
    pub(super) viewing: VecDeque<Viewing>,
    pub(super) watchdog: Option<Watchdog>,
}

/// Flows that are gathered for somebody who asked.
#[derive(Debug)]
pub(super) struct Viewing {
    /// How many places of the table of targets were looked at.
    places: usize,
    found: Vec<FlowView>,
    viewer: Viewer,
}

/// The state of the system's clock, and when to ask for it again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ClockWatch {
    state: Option<ClockState>,
    /// It did not say when it was asked last.
    is_refused: bool,
    ask_at: Mono,
    /// How many steps of the clock were logged.
    logged: u64,
    /// True once the log says that the counter was given up.
    is_counter_told: bool,
}

impl PollLoop {
    /// Runs until it is stopped, then hands over the last windows. Returns the recorder: once that is gone, flush
    /// threads do not wait to be told how long they may take.
    pub(super) fn run(mut self, engine: &mut dyn Engine) -> Result<Recorder, EngineError> {
        while !self.commands.is_stopped() {
            self.run_commands();
            self.turn(engine)?;
        }
        self.finish();
        Ok(self.recorder)
    }

    fn turn(&mut self, engine: &mut dyn Engine) -> Result<(), EngineError> {
        let now = self.clock.now();
        self.commands.set_turned(now.mono);
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.handle_turn(now.mono);
        }
        self.prober.handle_timeout(now);
        engine.transmit(&mut self.core());
        self.drain();
        // A stamp may have shown meanwhile that the clock was set.
        self.publish(self.clock.now());
        let deadline = [self.prober.poll_timeout(), self.recorder.poll_timeout()]
            .into_iter()
            .flatten()
            .fold(now.mono.plus(IDLE_TURN_NS), Ord::min);
        self.view(now);
        // Commands that are left for the next turn are due at once.
        let deadline = if self.taken.is_empty() && self.viewing.is_empty() {
            deadline
        } else {
            now.mono
        };
        engine.wait(&mut self.core(), Some(deadline))?;
        self.drain();
        self.refresh_clock();
        self.watch_host();
        Ok(())
    }

    /// Ends the intervals that are over, and hands over their values. The counters of many targets
    /// are read in several turns.
    fn publish(&mut self, now: Now) {
        if !self.recorder.is_due(now) {
            self.counted = 0;
        } else if self.counted < self.prober.places() {
            let turn = self.counted..self.counted + TARGETS_COUNTED_PER_TURN_MAX;
            self.counted = turn.end;
            self.recorder.handle_counters(self.prober.flows_at(turn));
            if self.counted < self.prober.places() {
                return;
            }
        }
        self.recorder
            .handle_timeout(now, [], self.prober.self_counters(), || {
                self.watch
                    .gauges(self.clock.steps().count, self.config_read)
            });
    }

    /// Asks the system how this host is, from time to time and before an event is judged.
    fn watch_host(&mut self) {
        let now = self.clock.now();
        let is_awaited = self.recorder.awaits_host();
        let dropped = self.prober.self_counters().receive_dropped;
        let reading = self.host.read(now.mono, is_awaited, dropped);
        if (reading.is_some() || self.prober.awaits_queued())
            && let Some(queued_ns) = self.host.queued_ns()
        {
            self.prober.handle_queued(queued_ns);
        }
        if let Some(reading) = reading {
            self.recorder.handle_host(now.wall, reading);
            self.host.note_cost(now.mono, self.clock.mono());
        }
    }

    /// Gathers a bounded number of flows for whoever asked first.
    fn view(&mut self, now: Now) {
        let Some(viewing) = self.viewing.front_mut() else {
            return;
        };
        let turn = viewing.places..viewing.places + TARGETS_VIEWED_PER_TURN_MAX;
        viewing.places = turn.end;
        viewing.found.extend(self.prober.views_at(now, turn));
        if viewing.places >= self.prober.places()
            && let Some(Viewing { found, viewer, .. }) = self.viewing.pop_front()
        {
            (viewer.0)(found);
        }
    }

    fn core(&mut self) -> Core<'_> {
        Core {
            clock: &self.clock,
            prober: &mut self.prober,
            resolver: &mut self.resolver,
        }
    }

    fn drain(&mut self) {
        let recorder = &mut self.recorder;
        self.prober.drain_outputs(|output| match output {
            Output::Life(life) => life::log(life),
            _ => recorder.handle_output(output),
        });
        while let Some((origin, why)) = self.recorder.poll_trace() {
            let now = self.clock.now();
            self.prober.trace(now, origin, why);
        }
    }

    /// Renews the clock's anchor and the kernel's word on its clock. A step of the clock may show
    /// here, or before in the engine, by a packet's stamp.
    fn refresh_clock(&mut self) {
        let mono = self.clock.mono();
        if let Some(step_ns) = self.clock.refresh(mono) {
            self.prober.handle_clock_step(self.clock.now(), step_ns);
        }
        let steps = self.clock.steps();
        if steps.count != self.watch.logged {
            self.watch.logged = steps.count;
            match steps.counter_ns {
                Some(off_ns) if !self.watch.is_counter_told => {
                    self.watch.is_counter_told = true;
                    tracing::warn!(
                        off_ns,
                        step_ns = steps.last_ns,
                        "the processor's counter started over, jumped or stands still, as after a \
                         suspend or a restored snapshot; time goes on by the kernel's monotonic clock"
                    );
                }
                _ => tracing::warn!(
                    step_ns = steps.last_ns,
                    "the system clock was set; one-way delays move by as much, round trips do not"
                ),
            }
        }
        if mono >= self.watch.ask_at {
            self.watch.ask_at = mono.plus(CLOCK_STATE_EVERY_NS);
            self.watch.ask(clock_state());
            self.prober.handle_clock_state(self.watch.state);
            self.recorder.handle_clock_state(self.watch.state);
        }
    }

    /// Runs a bounded number of commands. Ten thousand targets that are added at once take a tenth
    /// of a second; meanwhile the present ones must be probed.
    fn run_commands(&mut self) {
        if self.taken.is_empty() {
            self.commands.take(&mut self.taken);
        }
        for _ in 0..COMMANDS_PER_TURN_MAX {
            let Some(command) = self.taken.pop_front() else {
                return;
            };
            let now = self.clock.now();
            match command {
                Command::Add(handle, spec) => self.add(now, handle, spec),
                Command::Remove(handle) => {
                    if let Some(target) = self.handles.remove(&handle) {
                        self.prober.remove_target(target);
                    }
                }
                Command::SetKey(handle, key) => {
                    if let Some(target) = self.handles.get(&handle) {
                        self.prober.set_key(now, *target, &key);
                    }
                }
                Command::SetLabels(handle, label, tags) => {
                    if let Some(target) = self.handles.get(&handle) {
                        self.prober.set_labels(now, *target, &label, &tags);
                    }
                }
                Command::FindBursts(rules, margins) => {
                    self.recorder.find_bursts(rules);
                    self.recorder.set_margins(margins);
                }
                Command::TracePaths(options) => self.prober.trace_paths(now, options),
                Command::ConfigRead { is_ok } => {
                    self.config_read.is_ok = is_ok;
                    if is_ok {
                        self.config_read.at = now.wall;
                    }
                }
                Command::Answer(answering) => answering.apply(&mut self.prober, now),
                Command::Resolved(target, addresses) => {
                    self.prober.handle_resolved(now, target, &addresses);
                }
                Command::Dump => self.recorder.handle_snapshot(now),
                Command::Join(joining) => self.join(now, *joining),
                Command::Leave(stats) => self.recorder.leave(&stats),
                Command::View(viewer) => self.viewing.push_back(Viewing {
                    places: 0,
                    found: Vec::new(),
                    viewer,
                }),
                Command::Tell(done) => (done.0)(),
                Command::Watch(watchdog) => self.watchdog = Some(watchdog),
            }
        }
    }

    /// Takes a backend in. What has happened before is no news to it, so the counters are read first.
    fn join(&mut self, now: Now, joining: Joining) {
        if joining.after.is_none() {
            self.recorder.handle_counters(self.prober.flows());
        }
        let steps = self.clock.steps().count;
        let host = self.watch.gauges(steps, self.config_read);
        let own = self.prober.self_counters();
        self.recorder.join(joining, now, own, host);
    }

    fn add(&mut self, now: Now, handle: TargetHandle, spec: crate::proto::TargetSpec) {
        let host = spec.host.clone();
        match self.prober.add_target(now, spec) {
            Some(target) => drop(self.handles.insert(handle, target)),
            None => tracing::error!(%host, "this target is not probed: there are too many"),
        }
    }

    fn finish(&mut self) {
        let limit_ns = u64::try_from(self.finish_within.as_nanos()).unwrap_or(u64::MAX);
        let give_up = self.clock.mono().plus(limit_ns);
        self.prober.handle_end();
        self.drain();
        loop {
            let (now, steps) = (self.clock.now(), self.clock.steps().count);
            let (watch, read) = (self.watch, self.config_read);
            let (flows, own) = (self.prober.flows(), self.prober.self_counters());
            let done = self
                .recorder
                .finish(now, flows, own, || watch.gauges(steps, read));
            if done || now.mono >= give_up {
                return;
            }
            thread::park_timeout(FINISH_PAUSE);
        }
    }
}

impl ClockWatch {
    /// Takes what the kernel says of its clock. That it does not is logged once, and again only after it did.
    fn ask(&mut self, said: io::Result<ClockState>) {
        if let Err(error) = &said
            && !std::mem::replace(&mut self.is_refused, true)
            && !is_lacking(error)
        {
            tracing::warn!(
                %error,
                "the system does not tell the state of this host's clock (adjtimex); \
                 monitor.clock.synchronised and monitor.clock.error are not published"
            );
        }
        self.is_refused &= said.is_err();
        self.state = said.ok();
    }

    /// Returns what is published of this host.
    fn gauges(&self, clock_steps: u64, config: ConfigRead) -> HostGauges {
        HostGauges {
            cpu_ns: host::cpu_ns(),
            resident_bytes: process::resident_bytes(),
            clock_steps,
            clock: self.state,
            config: Some(config),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::clock::tests::turned;
    use crate::config::{Config, TargetOptions};
    use crate::engine::Listening;
    use crate::proto::{KeyRing, ProberConfig, Transmit};
    use crate::record::{Feed, Mode, SinkConfig};

    const SECOND_NS: u64 = 1_000_000_000;
    const EVERY_NS: u64 = 10_000_000;

    /// An engine of no sockets: it counts the datagrams, and time passes where it waits.
    #[derive(Debug)]
    struct Waiting {
        counter: Arc<quanta::Mock>,
        kernel: Arc<AtomicU64>,
        /// How many nanoseconds the counter goes on in one of the kernel's.
        rate: u64,
        sent: u64,
    }

    impl Engine for Waiting {
        fn transmit(&mut self, core: &mut Core<'_>) {
            let mut payload = Vec::new();
            while let Some(transmit) = (core.prober).poll_transmit(core.clock.now(), &mut payload) {
                self.sent += u64::from(matches!(transmit, Transmit::Datagram { .. }));
            }
        }

        fn wait(&mut self, core: &mut Core<'_>, until: Option<Mono>) -> Result<(), EngineError> {
            let left_ns = until.map_or(0, |until| until.since(core.clock.mono()));
            let passed_ns = left_ns.max(1_000);
            self.kernel.fetch_add(passed_ns, Ordering::SeqCst);
            self.counter.increment(passed_ns * self.rate);
            Ok(())
        }

        fn listening(&self) -> &Listening {
            unreachable!("it has no port")
        }
    }

    /// A loop that has run for hours and probes a target every [`EVERY_NS`], and what it records.
    fn running() -> (PollLoop, Waiting, Feed) {
        let (clock, counter, kernel) = turned();
        let now = clock.now();
        let mut recorder = Recorder::new("here", now);
        let feed = recorder.add_sink(SinkConfig::new(Mode::Windows, SECOND_NS));
        let mut prober = Prober::new(ProberConfig {
            name: "here".into(),
            udp_ports: Vec::new(),
            accepted_max: 0,
            resolve_interval_ns: SECOND_NS,
            seed: [1; 32],
            native: true,
            keys: KeyRing::default(),
        });
        let target = TargetOptions::new("192.0.2.1").udp_only().interval_ms(10.0);
        let spec = Config::default().target(target).unwrap();
        prober.add_target(now, spec).unwrap();
        let commands = Arc::new(Commands::default());
        let poll = PollLoop {
            clock,
            prober,
            recorder,
            resolver: Resolver::start(&commands).unwrap(),
            commands,
            taken: VecDeque::new(),
            finish_within: Duration::ZERO,
            handles: BTreeMap::new(),
            watch: ClockWatch::default(),
            host: HostWatch::default(),
            config_read: ConfigRead::default(),
            counted: 0,
            viewing: VecDeque::new(),
            watchdog: None,
        };
        let (rate, sent) = (1, 0);
        let engine = Waiting {
            counter,
            kernel,
            rate,
            sent,
        };
        (poll, engine, feed)
    }

    /// Lets a second pass by the kernel's clock; returns how many probes were sent in it.
    fn sent_in_a_second(poll: &mut PollLoop, engine: &mut Waiting) -> u64 {
        let (began_ns, before) = (engine.kernel.load(Ordering::SeqCst), engine.sent);
        while engine.kernel.load(Ordering::SeqCst) < began_ns + SECOND_NS {
            poll.turn(engine).unwrap();
        }
        engine.sent - before
    }

    #[test]
    fn probes_go_on_at_once_whatever_the_processors_counter_does() {
        let due = SECOND_NS / EVERY_NS;
        let over: fn(&mut Waiting) = |engine| {
            let all_ns = engine.kernel.load(Ordering::SeqCst);
            engine.counter.decrement(all_ns);
        };
        let ahead: fn(&mut Waiting) = |engine| engine.counter.increment(3_600 * SECOND_NS);
        let still: fn(&mut Waiting) = |engine| engine.rate = 0;
        let fast: fn(&mut Waiting) = |engine| engine.rate = 2;
        for fault in [over, ahead, still, fast] {
            let (mut poll, mut engine, mut feed) = running();
            for _ in 0..3 {
                assert!(sent_in_a_second(&mut poll, &mut engine).abs_diff(due) <= 1);
            }
            fault(&mut engine);
            // What stands still, or is too fast, shows once it is some slots off.
            let sent = sent_in_a_second(&mut poll, &mut engine);
            assert!(sent.abs_diff(due) <= 3, "{sent} of {due}");
            assert!(sent_in_a_second(&mut poll, &mut engine).abs_diff(due) <= 1);
            assert_eq!(poll.clock.steps().count, 1);
            assert!(poll.watch.is_counter_told);
            let records = std::iter::from_fn(|| feed.poll());
            let steps = records.filter(|record| record.metric() == "clock_step");
            assert_eq!(steps.count(), 1);
        }
    }

    #[test]
    fn a_kernel_that_does_not_tell_leaves_nothing_known_and_is_told_of_once() {
        let refused = || Err(io::Error::from(io::ErrorKind::PermissionDenied));
        let known = ClockState {
            is_synchronised: true,
            error_ns: 5,
        };
        let mut watch = ClockWatch::default();
        watch.ask(Ok(known));
        assert_eq!((watch.state, watch.is_refused), (Some(known), false));
        for _ in 0..2 {
            watch.ask(refused());
            assert_eq!((watch.state, watch.is_refused), (None, true));
        }
        assert_eq!(watch.gauges(0, ConfigRead::default()).clock, None);
        watch.ask(Ok(known));
        assert_eq!((watch.state, watch.is_refused), (Some(known), false));
    }
}
