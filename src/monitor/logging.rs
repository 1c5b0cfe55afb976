//! The daemon's log, to stdout or stderr and to a file. Threads of its own write it: no other
//! thread ever waits for a disk or a terminal.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::writer::MakeWriterExt;

use crate::config::{Backend, Config};
use crate::limits::LOG_LINES_MAX;
use crate::monitor::RunError;
use crate::publish::{Lost, WholeLines};

/// The running log. When it is dropped it writes the lines that are left.
#[derive(Debug)]
#[must_use = "the log ends when this is dropped"]
pub(super) struct Log {
    guards: Vec<WorkerGuard>,
    dropped: Vec<ErrorCounter>,
    /// Events that could not be written.
    lost: Arc<AtomicU64>,
    /// The file, and that it is to be opened again.
    file: Option<NonBlocking>,
    reopen: Arc<AtomicBool>,
}

impl Log {
    /// Opens the log file again under its name, since the one that is open may have been moved. The
    /// thread that writes it does so at once.
    pub(super) fn reopen(&self) {
        let Some(file) = &self.file else {
            tracing::debug!("there is no log file to open again");
            return;
        };
        self.reopen.store(true, Ordering::Release);
        // Nothing to write, and so nothing that could be lost.
        let _ = file.clone().write(&[]);
    }

    /// Returns a counter of the lines that found no room in a queue or on a disk, for use on any
    /// thread.
    pub(super) fn dropped(&self) -> impl Fn() -> u64 + Send + 'static {
        let (counters, lost) = (self.dropped.clone(), Arc::clone(&self.lost));
        move || {
            let dropped = counters.iter().map(ErrorCounter::dropped_lines);
            let dropped: u64 = dropped.map(|lines| lines as u64).sum();
            dropped + lost.load(Ordering::Relaxed)
        }
    }
}

/// Where the log goes: open, and written by nobody yet.
#[derive(Debug)]
pub(super) struct Opened {
    console: WholeLines<fs::File>,
    file: Option<(WholeLines<fs::File>, PathBuf)>,
    level: LevelFilter,
}

/// Opens what the configuration says that the log goes to.
pub(super) fn open(config: &Config) -> Result<Opened, RunError> {
    // A program that reads our JSON from stdout must not meet log lines.
    let stdout_taken = config
        .metrics
        .iter()
        .any(|metrics| metrics.settings.backend() == Backend::Cli);
    let console = if stdout_taken {
        WholeLines::to(io::stderr())
    } else {
        WholeLines::to(io::stdout())
    };
    let console = console.map_err(RunError::Console)?;
    let open = |path: &PathBuf| {
        let lines = open_file(path).and_then(WholeLines::to);
        let lines = lines.map_err(|source| RunError::LogFile {
            path: path.clone(),
            source,
        })?;
        Ok::<_, RunError>((lines, path.clone()))
    };
    let file = config.log_file.as_ref().map(open).transpose()?;
    let level = LevelFilter::from_level(config.log_level.tracing());
    Ok(Opened {
        console,
        file,
        level,
    })
}

impl Opened {
    /// Starts to write events of the configured level and above.
    pub(super) fn start(self) -> Log {
        let mut log = Log {
            guards: Vec::new(),
            dropped: Vec::new(),
            lost: Arc::default(),
            file: None,
            reopen: Arc::default(),
        };
        let console = log.buffered(self.console, None);
        let builder = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_target(false)
            .with_max_level(self.level);
        // A library user's subscriber, if there is one already, stays.
        let _ = match self.file {
            Some((file, path)) => {
                let file = log.buffered(file, Some(&path));
                log.file = Some(file.clone());
                builder.with_writer(console.and(file)).try_init()
            }
            None => builder.with_writer(console).try_init(),
        };
        log
    }
}

impl Log {
    /// Makes a writer on a thread of its own. Its queue is allocated as a whole.
    fn buffered(&mut self, lines: WholeLines<fs::File>, path: Option<&PathBuf>) -> NonBlocking {
        let stream = Stream {
            lines,
            name: match path {
                Some(path) => format!("the log file {}", path.display()),
                None => "the log".to_owned(),
            },
            path: path.cloned(),
            reopen: Arc::clone(&self.reopen),
            lost: 0,
            written: 0,
            lost_ever: Arc::clone(&self.lost),
        };
        let builder = NonBlockingBuilder::default().buffered_lines_limit(LOG_LINES_MAX);
        let (writer, guard) = builder.finish(stream);
        self.guards.push(guard);
        self.dropped.push(writer.error_counter());
        writer
    }
}

/// Events in a row that are written before the log says how many were lost.
const WRITTEN_AGAIN: u32 = 16;

/// One place where the log goes.
struct Stream {
    lines: WholeLines<fs::File>,
    name: String,
    /// The file, if it is one, and that it is to be opened again.
    path: Option<PathBuf>,
    reopen: Arc<AtomicBool>,
    /// Events that were lost since it was written without a gap.
    lost: u64,
    /// Events that were written since the last that was lost.
    written: u32,
    lost_ever: Arc<AtomicU64>,
}

impl Stream {
    /// Opens the file again, if that was asked for.
    fn renew(&mut self) {
        let Some(path) = &self.path else { return };
        if !self.reopen.swap(false, Ordering::AcqRel) {
            return;
        }
        match open_file(path).and_then(WholeLines::to) {
            Ok(lines) => {
                self.lines = lines;
                tracing::info!("{} is opened again", self.name);
            }
            Err(error) => tracing::error!(
                "{} cannot be opened again, and the one that is open goes on: {error}",
                self.name
            ),
        }
    }
}

impl io::Write for Stream {
    /// Takes one event. One that cannot be written is counted. The first of them is told on stderr,
    /// which may be all that is left, and their number in the log, once that takes more.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.renew();
        match self.lines.write(event) {
            Err(Lost { source, .. }) => {
                if self.lost == 0 {
                    let name = &self.name;
                    let told = format!("latency-monitor: {name} cannot be written: {source}\n");
                    let _ = io::stderr().write_all(told.as_bytes());
                }
                self.lost += 1;
                self.written = 0;
                self.lost_ever.fetch_add(1, Ordering::Relaxed);
            }
            Ok(()) if self.lost > 0 => {
                // On a disk that is all but full short messages still fit where long ones do not.
                self.written += 1;
                if self.written < WRITTEN_AGAIN {
                    return Ok(event.len());
                }
                let lost = std::mem::take(&mut self.lost);
                tracing::warn!("{} is written again; {lost} messages are lost", self.name);
            }
            Ok(()) => {}
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.renew();
        Ok(())
    }
}

/// Opens a log file for appending, and creates its folders.
fn open_file(path: &Path) -> io::Result<fs::File> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new().append(true).create(true).open(path)
}
