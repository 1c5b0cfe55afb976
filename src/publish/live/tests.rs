//! What is shown live, of what a recorder publishes.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::*;
use crate::limits::LIVE_EVENTS_KEPT;
use crate::proto::prober::SelfCounters;
use crate::proto::{
    ClockEstimate, Counters, Direction, FlowKind, Labels, Metric, Now, OneWay, Origin, Outcome,
    Output, Sample, StampSource, Wall,
};
use crate::publish::testing::at;
use crate::publish::{
    Backend, Exposition, HistogramKind, History, HistorySettings, Scale, ScrapeSettings,
};
use crate::record::{
    BackendStats, ClockOwner, Event, EventKind, Feed, HostGauges, Mode, Recorder, SinkConfig, Tags,
};

/// One who keeps what it is told.
#[derive(Clone, Default)]
struct Looker(Arc<Mutex<Vec<Value>>>);

impl Watch for Looker {
    fn event(&mut self, _: &[u8]) {}

    fn wants_updates(&self) -> bool {
        true
    }

    fn update(&mut self, json: Vec<u8>) {
        self.0.lock().push(serde_json::from_slice(&json).unwrap());
    }
}

/// A recorder, and the exposition behind it.
struct Lab {
    recorder: Recorder,
    feed: Feed,
    exposition: Exposition,
    filler: Box<dyn Backend>,
    looker: Looker,
    /// Gets the same records.
    kept: Option<History>,
    counters: Counters,
    seconds: i64,
}

const ORIGIN: Origin = Origin(0);

impl Lab {
    fn new() -> Self {
        let mut recorder = Recorder::new("a", at(0));
        let sink = SinkConfig::new(Mode::Windows, 1_000_000_000);
        let settings = ScrapeSettings {
            histograms: HistogramKind::Native,
            scale: Scale::DEFAULT,
            buckets: None,
        };
        let exposition = Exposition::new(&settings, "a", &sink, at(0).wall);
        let looker = Looker::default();
        let filler = exposition.backend(looker.clone());
        let feed = recorder.add_sink(sink);
        let labels = Arc::new(Labels::new("a", "b", &["isp:x"]));
        let mut lab = Self {
            recorder,
            feed,
            exposition,
            filler,
            looker,
            kept: None,
            counters: Counters::default(),
            seconds: 0,
        };
        lab.hand(&Output::Opened {
            origin: ORIGIN,
            labels,
        });
        lab
    }

    fn hand(&mut self, output: &Output) {
        self.recorder.handle_output(output);
    }

    fn round_trip(&mut self, value_ns: i64) {
        self.hand(&Output::Sample(Sample {
            origin: ORIGIN,
            metric: Metric::UdpRtt,
            outcome: Outcome::Received,
            value_ns,
            at: at(self.seconds).wall,
            seq: 1,
            stamp: StampSource::Kernel,
            dwell_ns: None,
            is_corrected: false,
        }));
    }

    fn one_way(&mut self, direction: Direction, delay_ns: i64) {
        self.hand(&Output::OneWay(OneWay {
            origin: ORIGIN,
            kind: FlowKind::Udp,
            direction,
            seq: 1,
            delay_ns,
            at: at(self.seconds).wall,
            stamp: StampSource::Kernel,
        }));
    }

    /// Ends the interval of a second, and returns what is told of it.
    fn end(&mut self) -> Value {
        self.seconds += 1;
        let now: Now = at(self.seconds);
        let own = SelfCounters::default();
        self.recorder.handle_timeout(
            now,
            [(ORIGIN, FlowKind::Udp, &self.counters)],
            &own,
            HostGauges::default,
        );
        while let Some(record) = self.feed.poll() {
            self.filler.publish(&record).unwrap();
            if let Some(kept) = &mut self.kept {
                kept.publish(&record).unwrap();
            }
        }
        (0..9).for_each(|_| self.filler.flush().unwrap());
        let told = self.looker.0.lock().pop();
        told.expect("an interval has ended")
    }

    fn live(&self) -> &Live {
        self.exposition.live()
    }

    fn snapshot(&self) -> Value {
        let members = String::from_utf8(self.live().snapshot()).unwrap();
        serde_json::from_str(&format!("{{{members}}}")).unwrap()
    }
}

#[test]
fn an_interval_is_told_as_the_recorder_has_it() {
    let mut lab = Lab::new();
    for number in 1..=100 {
        lab.round_trip(number * 10_000);
        lab.one_way(Direction::Forward, -7_000_000 + number * 1_000);
        lab.one_way(Direction::Reverse, 9_000_000);
    }
    lab.one_way(Direction::Reverse, 9_300_000);
    lab.counters = Counters {
        sent: 103,
        received: 100,
        lost: 3,
        lost_forward: 2,
        sent_native: 103,
        ..Counters::default()
    };
    lab.hand(&Output::Clock {
        origin: ORIGIN,
        estimate: ClockEstimate {
            offset_ns: -7,
            skew_ppb: 5,
            error_ns: 900,
        },
    });
    let told = lab.end();
    assert_eq!(told["end_ns"], json!(at(1).wall.as_unix_nanos()));
    assert_eq!(
        told["new"],
        json!([{"pair": 0, "source": "a", "target": "b", "tags": ["isp:x"]}])
    );
    let rows = &told["rows"];
    for (name, value) in [
        ("pair", json!([0])),
        ("flow", json!(["udp"])),
        ("sent", json!([103])),
        ("received", json!([100])),
        ("lost", json!([3])),
        ("lost_forward", json!([2])),
        ("lost_reverse", json!([0])),
        ("rtt_count", json!([100])),
        ("rtt_p50_ns", json!([500_223])),
        ("rtt_p99_ns", json!([990_207])),
        ("rtt_max_ns", json!([1_000_000])),
        // Over the least of the interval, whatever the clocks are apart.
        ("forward_p50_ns", json!([49_023])),
        ("forward_max_ns", json!([99_000])),
        ("reverse_p50_ns", json!([0])),
        ("reverse_max_ns", json!([300_000])),
        // Which is what the clocks say, exactly.
        ("forward_least_ns", json!([-6_999_000])),
        ("reverse_least_ns", json!([9_000_000])),
        ("reverse_heat", json!([[0, 100, 17, 1]])),
        ("stamp", json!(["kernel"])),
        // Nothing came of these.
        ("owd_count", Value::Null),
    ] {
        assert_eq!(rows[name], value, "{name}");
    }
    let heat = rows["rtt_heat"][0].as_array().unwrap();
    let counts: u64 = heat
        .iter()
        .skip(1)
        .step_by(2)
        .filter_map(Value::as_u64)
        .sum();
    assert_eq!(counts, 100);
    assert_eq!(
        told["clocks"],
        json!({"pair": [0], "offset_ns": [-7], "error_ns": [900], "skew_ppb": [5]})
    );
    assert_eq!(told["host"]["monitor.slots_missed"], json!(0));
}

#[test]
fn whoever_begins_to_look_has_the_last_interval_and_the_past() {
    let mut lab = Lab::new();
    for number in 1..=3 {
        lab.round_trip(number * 1_000_000);
        lab.counters.sent = 10 * number.unsigned_abs();
        lab.end();
    }
    let snapshot = lab.snapshot();
    assert_eq!(
        (&snapshot["source"], &snapshot["interval_ns"]),
        (&json!("a"), &json!(1_000_000_000))
    );
    assert_eq!(snapshot["pairs"].as_array().unwrap().len(), 1);
    assert_eq!(snapshot["heat_edges_ns"].as_array().unwrap().len(), 48);
    assert_eq!(snapshot["rows"]["rtt_max_ns"], json!([3_000_000]));
    let ends: Vec<i64> = (1..=3)
        .map(|second| at(second).wall.as_unix_nanos())
        .collect();
    let past: Value = serde_json::from_slice(&lab.live().past_of(0, "udp").unwrap()).unwrap();
    assert_eq!(past["end_ns"], json!(ends));
    assert_eq!(past["sent"], json!([10, 10, 10]));
    assert_eq!(past["rtt_max_ns"], json!([1_000_000, 2_000_000, 3_000_000]));
    assert_eq!(past["rtt_heat"], json!([[20, 1], [22, 1], [24, 1]]));
    let past: Value = serde_json::from_slice(&lab.live().past()).unwrap();
    assert_eq!(past["end_ns"], json!(ends));
    assert_eq!(past["series"][0]["sent"], json!([10, 10, 10]));
    assert_eq!(lab.live().past_of(1, "udp"), None);
    assert_eq!(lab.live().past_of(0, "smoke"), None);
}

/// What is read of the disk has the same figures in the same columns as what was shown, and with columns of a minute
/// their sums.
#[test]
fn what_is_kept_is_what_was_shown() {
    let folder = tempfile::tempdir().unwrap();
    let settings = HistorySettings {
        folder: folder.path().to_owned(),
        keep_ns: i64::MAX,
        bytes_max: 1 << 30,
        interval_ns: 1_000_000_000,
    };
    let mut lab = Lab::new();
    let stats = Arc::new(BackendStats::new("history"));
    lab.kept = Some(History::open(settings, Arc::clone(&stats)).unwrap());
    // No more than may wait for the disk: virtual seconds pass faster than it writes.
    for second in 0..4 {
        for number in 1..=40 {
            lab.round_trip(second * 70_000 + number * 10_000);
            lab.one_way(Direction::Forward, -7_000_000 + second * number * 1_000);
        }
        lab.counters.sent += 41;
        lab.counters.received += 40;
        lab.counters.lost += 1;
        lab.counters.sent_native = lab.counters.sent;
        lab.end();
    }
    let mut kept = lab.kept.take().unwrap();
    kept.finish(std::time::Duration::from_mins(1)).unwrap();
    assert_eq!((stats.dropped(), stats.sent() > 0), (0, true));
    let live = lab.live().clone().keeping_in(folder.path());
    let range = |columns| PastRange {
        from_ns: at(-1).wall.as_unix_nanos(),
        to_ns: at(59).wall.as_unix_nanos(),
        columns,
    };
    let read = |json: Vec<u8>| serde_json::from_slice::<Value>(&json).unwrap();
    let shown = read(live.past_of(0, "udp").unwrap());
    let one = read(live.kept_of(0, "udp", range(60)).unwrap().unwrap());
    // What delays are over is that of one interval, and not kept.
    let columns = shown.as_object().unwrap().iter();
    for (name, column) in columns.filter(|(name, _)| !name.ends_with("_least_ns")) {
        assert_eq!(&one[name], column, "{name}");
    }
    assert_eq!(one["rtt_count"], json!([40, 40, 40, 40]));
    let sum = read(live.kept_of(0, "udp", range(1)).unwrap().unwrap());
    let of = |name: &str| {
        sum[name]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_i64)
            .sum::<i64>()
    };
    assert_eq!((of("rtt_count"), of("lost"), of("sent")), (160, 4, 164));
    assert_eq!(live.kept_of(7, "udp", range(1)).unwrap(), None);
    let all = read(live.kept(range(60)).unwrap().unwrap());
    assert_eq!(all["series"][0]["rtt_p99_ns"], shown["rtt_p99_ns"]);
    assert_eq!(all["unread"], json!([]));
}

#[test]
fn a_pair_that_is_silent_is_forgotten_and_told_so() {
    let mut lab = Lab::new();
    lab.end();
    lab.round_trip(1);
    lab.end();
    lab.hand(&Output::Closed {
        origin: ORIGIN,
        last: Some(Box::new((FlowKind::Udp, lab.counters))),
    });
    let told: Vec<Value> = (0..14).map(|_| lab.end()).collect();
    let gone: Vec<&Value> = told
        .iter()
        .filter(|one| one["gone"] == json!([0]))
        .collect();
    assert_eq!(gone.len(), 1);
    assert_eq!(lab.snapshot()["pairs"], json!([]));
    let past: Value = serde_json::from_slice(&lab.live().past()).unwrap();
    assert_eq!(past["series"], json!([]));
}

#[test]
fn the_last_events_are_kept() {
    let lab = Lab::new();
    for step_ns in 0..600 {
        let event = Event {
            at: Wall::from_unix_nanos(step_ns),
            kind: EventKind::ClockStep {
                clock: ClockOwner::Local,
                step_ns,
            },
            tags: Arc::new(Tags::Host("a".into())),
            flow: None,
        };
        lab.live().add_event(
            &Record::Event(Arc::new(event)),
            format!("{step_ns}").as_bytes(),
        );
    }
    let events = lab.snapshot()["events"].clone();
    let events = events.as_array().unwrap();
    assert_eq!(events.len(), LIVE_EVENTS_KEPT);
    assert_eq!(events.last(), Some(&json!(599)));
}

/// A thousand targets with flows of two kinds, a second each: the bound that docs/http.md gives.
#[test]
fn an_update_of_a_thousand_targets_is_under_a_megabyte() {
    let row = row::Row {
        counts: [Some(100); _],
        delays: [Some(row::Figures {
            count: 100,
            p50_ns: 12_345_678,
            p99_ns: 23_456_789,
            max_ns: 34_567_890,
        }); _],
        heats: std::array::from_fn(|_| (20..26).map(|bin| (bin, 17)).collect()),
        leasts: [Some(1_234_567_890); _],
        stamp: Some(StampSource::Kernel),
    };
    let update = json::update(&json::Update {
        end_ns: at(0).wall.as_unix_nanos(),
        rows: (0..2_000_u64)
            .map(|number| (number / 2 * 4 + number % 2, &row))
            .collect(),
        clocks: Vec::new(),
        host: &host::Host::default(),
        new: Vec::new(),
        gone: &[],
    });
    assert!(update.len() < 1_000_000, "{} bytes", update.len());
}
