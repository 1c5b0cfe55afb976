//! One host: what its poll thread owns besides the engine, and its flush thread's end of the ring.

use std::sync::mpsc::{Receiver, sync_channel};

use latency_monitor::Config;
use latency_monitor::proto::{KeyRing, Mono, Now, Output, Prober, ProberConfig, StampKey};
use latency_monitor::record::{
    BurstRules, Feed, FlightConfig, HostGauges, Mode, Order, Record, Recorder, SinkConfig,
};

use super::wire::UDP_PORT;

/// Nanoseconds of an interval.
const WINDOW_NS: u64 = 1_000_000_000;

#[derive(Debug)]
pub(super) struct End {
    pub(super) prober: Prober,
    pub(super) recorder: Recorder,
    feed: Feed,
    /// Nobody orders a dump; without a writer there would be none to order it from.
    _dumps: Receiver<Order>,
    pub(super) buffer: Vec<u8>,
    /// What was sent in this turn, and is to be stamped.
    pub(super) stamped: Vec<StampKey>,
    pub(super) wakes_ns: u64,
}

impl End {
    /// A host as it is by default, with windows, bursts looked for, and the last probes kept.
    pub(super) fn new(name: &str, now: Now) -> Self {
        let mut prober = Prober::new(ProberConfig {
            name: name.into(),
            udp_ports: vec![UDP_PORT],
            accepted_max: usize::MAX,
            resolve_interval_ns: 60_000_000_000,
            seed: [1; 32],
            native: true,
            keys: KeyRing::default(),
        });
        prober.restrict_requests(&[], Config::default().rate_limit);
        let mut recorder = Recorder::new(name, now);
        recorder.find_bursts(BurstRules {
            threshold_ns: None,
            quiet_ns: 5_000_000,
        });
        let (writer, dumps) = sync_channel(1);
        let kept = FlightConfig {
            pre_ns: 200_000_000,
            post_ns: 200_000_000,
            settle_ns: 1_000_000_000,
        };
        recorder.record_flights(kept, writer);
        let feed = recorder.add_sink(SinkConfig::new(Mode::Windows, WINDOW_NS));
        Self {
            prober,
            recorder,
            feed,
            _dumps: dumps,
            buffer: Vec::new(),
            stamped: Vec::new(),
            wakes_ns: u64::MAX,
        }
    }

    /// The flush thread's part.
    pub(super) fn flush(&mut self) {
        while let Some(record) = self.feed.poll() {
            let is_event = matches!(record, Record::Event(_));
            assert!(!is_event, "a quiet path has no events: {record:?}");
            self.feed.recycle(record);
        }
    }
}

/// What the recorder does with one output of the core.
#[inline(never)]
pub(super) fn record(recorder: &mut Recorder, output: &Output) {
    recorder.handle_output(output);
}

/// What the recorder does in each turn, ends of intervals included; and when it wants the next.
#[inline(never)]
pub(super) fn record_turn(recorder: &mut Recorder, prober: &Prober, now: Now) -> Option<Mono> {
    let (flows, own) = (prober.flows(), prober.self_counters());
    recorder.handle_timeout(now, flows, own, HostGauges::default);
    recorder.poll_timeout()
}
