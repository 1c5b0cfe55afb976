//! What others may ask the monitor over HTTP, and how it answers.

#[cfg(feature = "report")]
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::config::{HistoryConfig, HttpConfig};
use crate::limits::LIVE_EVENTS_KEPT;
use crate::monitor::commands::{Command, Commands, Viewer};
use crate::monitor::dump::{DumpThread, Written};
use crate::monitor::notice::Notice;
use crate::monitor::{LatencyMonitor, nanos};
use crate::proto::FlowView;
use crate::publish::{Backend, Exposition};
use crate::record::{BackendStats, Event, Mode, SinkConfig};
#[cfg(feature = "report")]
use crate::report;
use crate::serve::{self, Answer, Asked, Events, ServeError};

/// A face that has its backend, and does not listen yet.
pub(super) struct Prepared {
    config: HttpConfig,
    exposition: Exposition,
    events: Events,
}

impl Prepared {
    /// Returns the backend that fills it, too. `name` is the name of this host.
    pub(super) fn new(
        config: HttpConfig,
        history: Option<&HistoryConfig>,
        name: &str,
    ) -> (Self, SinkConfig, Box<dyn Backend>) {
        let sink = SinkConfig {
            choice: config.choice.clone(),
            ..SinkConfig::new(Mode::Windows, nanos(config.interval))
        };
        let now = Clock::new().now().wall;
        let mut exposition = Exposition::new(&config.scrape, name, &sink, now);
        if let Some(history) = history {
            exposition = exposition.keeping_in(&history.dir);
        }
        let events = Events::default();
        let backend = exposition.backend(events.clone());
        let prepared = Self {
            config,
            exposition,
            events,
        };
        (prepared, sink, backend)
    }

    /// Listens. Whoever asks for a reload is passed on to `notices`.
    pub(super) fn start(
        self,
        monitor: &LatencyMonitor,
        notices: Sender<Notice>,
    ) -> Result<Face, ServeError> {
        let Self {
            config,
            exposition,
            events,
        } = self;
        let commands = monitor.running.as_ref().map(|it| Arc::clone(&it.commands));
        let backends = Arc::new(Mutex::new(monitor.backend_stats()));
        let dumper = monitor.running.as_ref().and_then(|it| it.dumper.as_ref());
        let asker = Asker {
            dumps: dumper.map(DumpThread::written),
            clock: Mutex::new(Clock::new()),
            commands: commands.unwrap_or_default(),
            backends: Arc::clone(&backends),
            notices,
        };
        let face = serve::Face::start(&config, exposition, events, Arc::new(asker))?;
        tracing::info!(at = face.listening().join(", "), "answering HTTP");
        Ok(Face {
            config,
            face,
            backends,
        })
    }
}

/// A face that answers.
pub(super) struct Face {
    config: HttpConfig,
    face: serve::Face,
    backends: Backends,
}

/// The figures of the backends that run.
type Backends = Arc<Mutex<Vec<Arc<BackendStats>>>>;

impl Face {
    /// Reads its files again. What is wrong with them is logged, too.
    pub(super) fn reload(&self) -> Result<(), String> {
        self.face.reload(&self.config).map_err(|error| {
            tracing::error!("[http] goes on with the files as they were: {error}");
            error.to_string()
        })
    }

    /// Takes the backends that run now.
    pub(super) fn set_backends(&self, backends: Vec<Arc<BackendStats>>) {
        *self.backends.lock() = backends;
    }

    pub(super) fn stop(self) {
        self.face.stop();
    }
}

impl LatencyMonitor {
    /// The figures of the backends that run.
    pub(super) fn backend_stats(&self) -> Vec<Arc<BackendStats>> {
        let running = self.running.iter();
        let flushers = running.flat_map(|running| &running.flushers);
        flushers
            .map(|flusher| Arc::clone(flusher.stats()))
            .collect()
    }
}

/// The monitor as the thread that answers knows it.
struct Asker {
    clock: Mutex<Clock>,
    commands: Arc<Commands>,
    backends: Backends,
    notices: Sender<Notice>,
    /// `None` without `dump_dir`.
    dumps: Option<Arc<Written>>,
}

impl Asked for Asker {
    fn since_turn(&self) -> Duration {
        let now = self.clock.lock().mono_for_sure();
        Duration::from_nanos(now.since(self.commands.turned()))
    }

    fn backends(&self) -> Vec<Arc<BackendStats>> {
        self.backends.lock().clone()
    }

    fn view(&self, answer: Answer<Vec<FlowView>>) {
        // Where there is no room for it nobody answers, and whoever asked stops waiting.
        self.commands.push(Command::View(Viewer(answer)));
    }

    fn reload(&self, answer: Answer<Result<String, String>>) {
        // The daemon may be about to end.
        let _ = self.notices.send(Notice::Reload(answer));
    }

    fn dumps(&self) -> Option<Vec<(String, Option<Arc<Event>>)>> {
        let dumps = self.dumps.as_ref()?;
        Some(dumps.last(LIVE_EVENTS_KEPT))
    }

    #[cfg(feature = "report")]
    fn report(&self, dump: &str) -> Option<Result<String, String>> {
        let file = self.dumps.as_ref()?.open(dump).ok()?;
        let page = report::page_of_dump(Path::new(dump), file);
        Some(page.map_err(|error| error.to_string()))
    }

    #[cfg(not(feature = "report"))]
    fn report(&self, _: &str) -> Option<Result<String, String>> {
        Some(Err("built without the feature `report`".to_owned()))
    }
}
