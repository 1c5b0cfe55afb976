//! The daemon's log, to stdout or stderr and to a file. Threads of its own write it: no other
//! thread ever waits for a disk or a terminal.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::writer::MakeWriterExt;

use crate::config::{Backend, Config};
use crate::limits::LOG_LINES_MAX;
use crate::monitor::RunError;

/// The running log. When it is dropped it writes the lines that are left.
#[derive(Debug)]
#[must_use = "the log ends when this is dropped"]
pub(super) struct Log {
    #[expect(dead_code, reason = "held for its drop")]
    guards: Vec<WorkerGuard>,
    dropped: Vec<ErrorCounter>,
}

impl Log {
    /// Returns a counter of the lines that found no room in a queue, for use on any thread.
    pub(super) fn dropped(&self) -> impl Fn() -> u64 + Send + 'static {
        let counters = self.dropped.clone();
        move || {
            let dropped = counters.iter().map(ErrorCounter::dropped_lines);
            dropped.map(|lines| lines as u64).sum()
        }
    }
}

/// Starts to write events of the configured level and above to where the configuration says.
pub(super) fn start(config: &Config) -> Result<Log, RunError> {
    // A program that reads our JSON from stdout must not meet log lines.
    let stdout_taken = config
        .metrics
        .iter()
        .any(|metrics| metrics.settings.backend() == Backend::Cli);
    let (console, console_guard) = if stdout_taken {
        buffered(io::stderr())
    } else {
        buffered(io::stdout())
    };
    let builder = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_target(false)
        .with_max_level(LevelFilter::from_level(config.log_level.tracing()));
    let mut guards = vec![console_guard];
    let mut dropped = vec![console.error_counter()];
    // A library user's subscriber, if there is one already, stays.
    let _ = match &config.log_file {
        Some(path) => {
            let file = open(path).map_err(|source| RunError::LogFile {
                path: path.clone(),
                source,
            })?;
            let (file, file_guard) = buffered(file);
            guards.push(file_guard);
            dropped.push(file.error_counter());
            builder.with_writer(console.and(file)).try_init()
        }
        None => builder.with_writer(console).try_init(),
    };
    Ok(Log { guards, dropped })
}

/// Makes a writer on a thread of its own. Its queue is allocated as a whole.
fn buffered(writer: impl io::Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default()
        .buffered_lines_limit(LOG_LINES_MAX)
        .finish(writer)
}

/// Opens a log file for appending, and creates its folders.
fn open(path: &Path) -> io::Result<fs::File> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new().append(true).create(true).open(path)
}
