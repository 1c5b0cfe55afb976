//! Runs a recorder on the outputs of a simulated host, and holds each window against the turns of its loop: a window
//! is as long as the monotonic clock says, whatever the wall clock did meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use latency_monitor::proto::prober::SelfCounters;
use latency_monitor::proto::{Mono, Now, Output, Wall};
use latency_monitor::record::{Feed, HostGauges, Mode, Record, Recorder, SinkConfig, Window};

const INTERVAL_NS: u64 = 1_000_000_000;

#[derive(Debug)]
pub(crate) struct Windows {
    recorder: Recorder,
    feed: Feed,
    /// When each turn was, by the wall clock of that moment.
    turns: BTreeMap<Wall, Vec<Mono>>,
    monos: BTreeSet<Mono>,
    count: u64,
    /// A line for each window of round trips that a step has cut.
    lines: String,
}

impl Windows {
    pub(crate) fn new(name: &str, now: Now) -> Self {
        let mut recorder = Recorder::new(name, now);
        let feed = recorder.add_sink(SinkConfig::new(Mode::Windows, INTERVAL_NS));
        let mut windows = Self {
            recorder,
            feed,
            turns: BTreeMap::new(),
            monos: BTreeSet::new(),
            count: 0,
            lines: String::new(),
        };
        windows.note(now);
        windows
    }

    pub(crate) fn handle_output(&mut self, output: &Output) {
        self.recorder.handle_output(output);
    }

    /// The end of a turn.
    pub(crate) fn handle_turn(&mut self, now: Now) {
        self.note(now);
        if self
            .recorder
            .poll_timeout()
            .is_none_or(|due| due > now.mono)
        {
            return;
        }
        let own = SelfCounters::default();
        self.recorder
            .handle_timeout(now, [], &own, HostGauges::default);
        while let Some(record) = self.feed.poll() {
            if let Record::Window(window) = &record {
                self.check(window);
            }
            self.feed.recycle(record);
        }
    }

    fn note(&mut self, now: Now) {
        self.monos.insert(now.mono);
        self.turns.entry(now.wall).or_default().push(now.mono);
    }

    fn check(&mut self, window: &Window) {
        self.count += 1;
        let (start, end) = (window.start(), window.end());
        let name = window.series().metric.name;
        let length = end.since(start);
        assert!(length >= 0, "a window of {name} from {start} to {end}");
        // A peer's step cuts windows of one-way delays between two turns.
        if !["udp.wan.rtt", "tcp.wan.rtt", "tcp.wan.latency"].contains(&name) {
            return;
        }
        let length_ns = length.cast_unsigned();
        let begins = self.turns.get(&start).map_or(&[][..], Vec::as_slice);
        let ends = |begin: &Mono| self.monos.contains(&begin.plus(length_ns));
        assert!(
            begins.iter().any(ends),
            "{name} from {start} to {end}: of no two turns"
        );
        // An interval that begins late is shorter, by a turn.
        if length_ns < INTERVAL_NS / 10 * 9 {
            let count = window.count();
            writeln!(self.lines, "{name} from {start} to {end}: {count} values").expect("a string");
        }
    }

    pub(crate) fn report(&self, out: &mut String) {
        out.push_str(&self.lines);
        writeln!(out, "windows {}", self.count).expect("a string");
    }
}
