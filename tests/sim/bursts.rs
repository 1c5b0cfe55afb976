//! Runs a recorder on the probes of a simulated host, from the core's outputs to the JSON of the
//! events.

use std::fmt::Write as _;

use latency_monitor::proto::{Now, Output};
use latency_monitor::record::{BurstRules, Feed, Mode, Record, Recorder, SinkConfig};

/// No interval ends while a scenario runs.
const NEVER_NS: u64 = 1 << 62;

#[derive(Debug)]
pub(crate) struct Bursts {
    recorder: Recorder,
    feed: Feed,
    /// A line for each event.
    lines: String,
}

impl Bursts {
    pub(crate) fn new(name: &str, now: Now) -> Self {
        let mut recorder = Recorder::new(name, now);
        recorder.find_bursts(BurstRules {
            threshold_ns: None,
            quiet_ns: 5_000_000,
        });
        let feed = recorder.add_sink(SinkConfig::new(Mode::Windows, NEVER_NS));
        Self {
            recorder,
            feed,
            lines: String::new(),
        }
    }

    pub(crate) fn handle_output(&mut self, output: &Output) {
        self.recorder.handle_output(output);
        while let Some(record) = self.feed.poll() {
            if let Record::Event(_) = record {
                let json = record.to_json();
                writeln!(self.lines, "{json}").expect("a string takes everything");
            }
            self.feed.recycle(record);
        }
    }

    pub(crate) fn lines(&self) -> &str {
        &self.lines
    }
}
