//! The `log` backend: the JSON of each record as a line of this program's log.

use std::fmt;

use tracing::Level;

use crate::publish::json::Encoder;
use crate::publish::{Backend, PublishError};
use crate::record::Record;

/// The target of these lines. A subscriber tells them from other log lines by it.
const TARGET: &str = "latency_monitor::metrics";

/// Logs JSON at one level.
pub struct Log {
    level: Level,
    encoder: Encoder,
    line: Vec<u8>,
    /// Returns the number of lines that the log has dropped so far, ours or others.
    dropped: Box<dyn Fn() -> u64 + Send>,
    told: u64,
}

impl fmt::Debug for Log {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Log")
            .field("level", &self.level)
            .field("told", &self.told)
            .finish_non_exhaustive()
    }
}

impl Log {
    /// Logs at this level; the default of the Python program is `WARN`. The lines that the log
    /// drops count as lost records.
    pub fn new(level: Level, dropped: impl Fn() -> u64 + Send + 'static) -> Self {
        Self {
            level,
            encoder: Encoder::new(),
            line: Vec::new(),
            dropped: Box::new(dropped),
            told: 0,
        }
    }
}

impl Backend for Log {
    fn name(&self) -> &'static str {
        "log"
    }

    fn publish(&mut self, record: &Record) -> Result<(), PublishError> {
        self.line.clear();
        self.encoder.encode(record, &mut self.line);
        let line = str::from_utf8(&self.line).expect("JSON is UTF-8");
        // A level is part of an event's static description, so each has a call of its own.
        match self.level {
            Level::ERROR => tracing::error!(target: TARGET, "{line}"),
            Level::WARN => tracing::warn!(target: TARGET, "{line}"),
            Level::INFO => tracing::info!(target: TARGET, "{line}"),
            Level::DEBUG => tracing::debug!(target: TARGET, "{line}"),
            Level::TRACE => tracing::trace!(target: TARGET, "{line}"),
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PublishError> {
        let dropped = (self.dropped)();
        let lost = dropped.saturating_sub(std::mem::replace(&mut self.told, dropped));
        if lost == 0 {
            return Ok(());
        }
        let reason = "the log takes its lines more slowly than they come";
        Err(PublishError::other(lost, reason))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;
    use crate::publish::testing::gauge;

    #[test]
    fn lines_that_the_log_drops_are_counted_once() {
        let mut dropped = [0, 3, 3, 4].into_iter();
        let dropped = Mutex::new(move || dropped.next().unwrap_or(4));
        let mut log = Log::new(Level::INFO, move || dropped.lock()());
        let lost = [0; 5].map(|_| log.flush().map_or_else(|error| error.lost(), |()| 0));
        assert_eq!(lost, [0, 3, 0, 1, 0]);
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn logs_json_at_its_level_and_target() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .without_time()
            .with_ansi(false)
            .with_max_level(Level::INFO)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            Log::new(Level::WARN, || 0).publish(&gauge(1)).unwrap();
            Log::new(Level::INFO, || 0).publish(&gauge(2)).unwrap();
            Log::new(Level::DEBUG, || 0).publish(&gauge(3)).unwrap();
        });
        let written = String::from_utf8(lines.0.lock().clone()).unwrap();
        insta::assert_snapshot!(written, @r#"
        WARN latency_monitor::metrics: {"metric": "clock.offset", "points": [[1768219134587069267, 1]], "tags": ["source:a"]}
        INFO latency_monitor::metrics: {"metric": "clock.offset", "points": [[1768219134587069267, 2]], "tags": ["source:a"]}
        "#);
    }
}
