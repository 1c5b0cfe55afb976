//! How many bytes the history of many targets has, through the recorder and in virtual time. It prints; nothing is
//! judged. `LM_HISTORY_TARGETS` says how many targets, `LM_HISTORY_HOURS` how long.
//!
//! `cargo test --release --lib history::tests::size -- --ignored --nocapture`

use super::*;
use crate::proto::prober::SelfCounters;
use crate::proto::{
    Counters, Direction, FlowKind, Labels, Metric, Mono, Now, OneWay, Origin, Outcome, Output,
    Sample, Wall,
};
use crate::record::{HostGauges, Mode, Recorder, SinkConfig};

/// Random numbers by a seed (xorshift64*).
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 12;
        #[expect(clippy::cast_precision_loss, reason = "52 bits")]
        let unit = bits as f64 / (1_u64 << 52) as f64;
        unit.max(1e-16)
    }

    /// A delay over a base, as of a path of the internet: queues of 60 us on the mean, and one in 200 of some
    /// milliseconds.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "some milliseconds in nanoseconds"
    )]
    fn delay(&mut self, base_ns: i64) -> i64 {
        let queue = -self.unit().ln() * 60_000.0;
        let long = if self.unit() < 0.005 {
            -self.unit().ln() * 3e6
        } else {
            0.0
        };
        base_ns + (queue + long) as i64
    }
}

fn at(ns: u64) -> Now {
    Now {
        mono: Mono::from_nanos(ns),
        wall: Wall::from_unix_nanos(BEGAN + ns.cast_signed()),
    }
}

/// A probe a second over UDP and over TCP, with the delays of both directions, and a connect.
fn probe(recorder: &mut Recorder, random: &mut Random, origin: Origin, now: Now) {
    let base = 4_000_000 + i64::from(origin.0 % 97) * 400_000;
    for kind in [FlowKind::Udp, FlowKind::Tcp] {
        let directions = [Direction::Forward, Direction::Reverse]
            .map(|direction| (direction, random.delay(base)));
        let [rtt, owd] = match kind {
            FlowKind::Udp => [Metric::UdpRtt, Metric::UdpOwd],
            _ => [Metric::TcpRtt, Metric::TcpOwd],
        };
        for (direction, delay_ns) in directions {
            recorder.handle_output(&Output::OneWay(OneWay {
                origin,
                kind,
                direction,
                seq: 1,
                delay_ns,
                at: now.wall,
                stamp: StampSource::Kernel,
            }));
        }
        let rtt_ns = directions.iter().map(|(_, delay)| delay).sum();
        for (metric, value_ns) in [(rtt, rtt_ns), (owd, directions[1].1 - 1_234_567)] {
            sample(recorder, origin, metric, value_ns, now);
        }
    }
    sample(
        recorder,
        origin,
        Metric::TcpLatency,
        random.delay(2 * base),
        now,
    );
}

fn sample(recorder: &mut Recorder, origin: Origin, metric: Metric, value_ns: i64, now: Now) {
    recorder.handle_output(&Output::Sample(Sample {
        origin,
        metric,
        outcome: Outcome::Received,
        value_ns,
        at: now.wall,
        seq: 1,
        stamp: StampSource::Kernel,
        dwell_ns: None,
        is_corrected: false,
    }));
}

#[test]
#[ignore = "measures: it takes a while and prints bytes"]
#[expect(clippy::print_stdout, reason = "it is for who asks how large it is")]
fn of_many_targets() {
    let given = |name, usual| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(usual)
    };
    let targets: u32 = given("LM_HISTORY_TARGETS", 50);
    let hours: u32 = given("LM_HISTORY_HOURS", 24);
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        bytes_max: u64::MAX / 32,
        ..settings(folder.path())
    };
    let mut store = Store::open(settings).unwrap();
    let mut recorder = Recorder::new("a", at(0));
    let mut feed = recorder.add_sink(SinkConfig::new(Mode::Windows, 10_000_000_000));
    let mut gather = Gather::new(10_000_000_000);
    for origin in 0..targets {
        let labels = Labels::new(
            "a",
            &format!("target-{origin}.example.com"),
            &["site:somewhere", "isp:one"],
        );
        let labels = Arc::new(labels);
        recorder.handle_output(&Output::Opened {
            origin: Origin(origin),
            labels,
        });
    }
    let mut random = Random(7);
    let mut counters = Counters::default();
    for second in 1..=u64::from(hours) * 3_600 {
        let now = at(second * 1_000_000_000);
        for origin in 0..targets {
            probe(
                &mut recorder,
                &mut random,
                Origin(origin),
                at(second * 1_000_000_000 - 500_000_000),
            );
        }
        (counters.sent, counters.received) = (counters.sent + 1, counters.received + 1);
        counters.sent_native = counters.sent;
        let kinds = [FlowKind::Udp, FlowKind::Tcp, FlowKind::Connect];
        let flows = (0..targets).flat_map(|origin| kinds.map(|kind| (Origin(origin), kind)));
        let counted = flows.map(|(origin, kind)| (origin, kind, &counters));
        recorder.handle_timeout(now, counted, &SelfCounters::default(), HostGauges::default);
        while let Some(record) = feed.poll() {
            if gather.is_of_another(&record) {
                store.write(&gather.take().unwrap()).unwrap();
            }
            assert!(gather.add(&record));
            feed.recycle(record);
        }
    }
    store.write(&gather.take().unwrap()).unwrap();
    assert_eq!(store.take_notes(), NOTHING);
    drop(store);
    let last = BEGAN + i64::from(hours) * HOUR;
    let sums = read(folder.path(), [last - 60 * SECOND, last], 100).0;
    assert_eq!(
        sums.len(),
        targets as usize + 1,
        "this host is a subject, too"
    );
    for tier in ["fine", "minute", "hour"] {
        let entries = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap());
        let of_tier = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(tier));
        let bytes: u64 = of_tier.map(|entry| entry.metadata().unwrap().len()).sum();
        let each = bytes / u64::from(targets);
        println!("{tier}: {bytes} bytes, {each} of each target in {hours} h");
    }
}
