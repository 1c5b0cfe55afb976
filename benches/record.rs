//! Measures a sample and the end of an interval on the poll thread, the ring between the threads on
//! both, and JSON on the flush thread.

use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use latency_monitor::proto::prober::SelfCounters;
use latency_monitor::proto::{
    Counters, Direction, FlowKind, Labels, Metric, Mono, Now, OneWay, Origin, Outcome, Output,
    Sample, StampSource, Wall,
};
use latency_monitor::publish::Encoder;
use latency_monitor::record::{Feed, HostGauges, Mode, Record, Recorder, SinkConfig};

const INTERVAL_NS: u64 = 1_000_000_000;
const SAMPLES: u32 = 10_000;

fn at(interval: u64) -> Now {
    let ns = interval * INTERVAL_NS;
    Now {
        mono: Mono::from_nanos(ns),
        wall: Wall::from_unix_nanos(i64::try_from(ns).unwrap_or(i64::MAX)),
    }
}

fn recorder(mode: Mode, origins: u32) -> (Recorder, Feed) {
    let mut recorder = Recorder::new("a", at(0));
    let feed = recorder.add_sink(SinkConfig::new(mode, INTERVAL_NS));
    for origin in 0..origins {
        recorder.handle_output(&Output::Opened {
            origin: Origin(origin),
            labels: Arc::new(Labels::new("a", &format!("t{origin}"), &["isp:local"])),
        });
    }
    (recorder, feed)
}

fn sample(origin: u32, value_ns: i64) -> Output {
    Output::Sample(Sample {
        origin: Origin(origin),
        metric: Metric::UdpRtt,
        outcome: Outcome::Received,
        value_ns,
        at: at(1).wall,
        seq: 17,
        stamp: StampSource::Kernel,
        dwell_ns: None,
        is_corrected: false,
    })
}

/// Returns a packet on clocks an hour apart; each origin's packets are consecutive.
fn one_way(origin: u32, seq: u32, delay_ns: i64) -> Output {
    Output::OneWay(OneWay {
        origin: Origin(origin),
        kind: FlowKind::Udp,
        direction: Direction::Forward,
        seq: u64::from(seq),
        delay_ns: 3_600_000_000_000 + delay_ns,
        at: at(1).wall,
        stamp: StampSource::Kernel,
    })
}

/// Returns the delay of a packet, between 250 and 315 us, in no order.
fn delay_ns(number: u32) -> i64 {
    250_000 + i64::from(number) * 7_919 % 65_536
}

/// A recorder with its flush thread's end, from interval to interval. It uses cells, because the
/// measured closure and the one between the measurements share it.
struct Rig {
    recorder: RefCell<Recorder>,
    feed: RefCell<Feed>,
    interval: Cell<u64>,
}

impl Rig {
    fn new(mode: Mode, origins: u32) -> Self {
        let (recorder, feed) = recorder(mode, origins);
        Self {
            recorder: RefCell::new(recorder),
            feed: RefCell::new(feed),
            interval: Cell::new(1),
        }
    }

    fn take(&self, outputs: &[Output]) {
        let mut recorder = self.recorder.borrow_mut();
        for output in outputs {
            recorder.handle_output(output);
        }
    }

    fn drain(&self) {
        let mut feed = self.feed.borrow_mut();
        while let Some(record) = feed.poll() {
            feed.recycle(record);
        }
    }

    /// Hand over and take all that is left of an interval, and begin the next.
    fn next_interval(&self) {
        let now = at(self.interval.get());
        let own = SelfCounters::default();
        let mut recorder = self.recorder.borrow_mut();
        while recorder.poll_timeout() < Some(now.mono.plus(INTERVAL_NS)) {
            recorder.handle_timeout(now, [], &own, HostGauges::default);
            self.drain();
        }
        self.interval.set(self.interval.get() + 1);
    }
}

/// Measures samples over some series. With one series, a window exceeds the values that it keeps.
fn bench_samples(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sample");
    group.throughput(Throughput::Elements(u64::from(SAMPLES)));
    for (name, mode, origins) in [
        ("samples_100_series", Mode::Samples, 100),
        ("windows_100_series", Mode::Windows, 100),
        ("windows_10000_series", Mode::Windows, 10_000),
        ("windows_1_series_histogram", Mode::Windows, 1),
        ("both_100_series", Mode::Both, 100),
    ] {
        let rig = Rig::new(mode, origins);
        let outputs: Vec<Output> = (0..SAMPLES)
            .map(|number| sample(number % origins, delay_ns(number)))
            .collect();
        let batches = Cell::new(0_u32);
        let between = || {
            batches.set(batches.get() + 1);
            rig.drain();
            if batches.get().is_multiple_of(10) {
                rig.next_interval();
            }
        };
        group.bench_function(name, |bencher| {
            bencher.iter_batched(between, |()| rig.take(&outputs), BatchSize::PerIteration);
        });
    }
    group.finish();
}

/// Measures the ring alone: what the poll thread has pushed is taken out and given back, as the
/// flush thread does. The push is `sample/samples_100_series`.
fn bench_ring(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring");
    group.throughput(Throughput::Elements(u64::from(SAMPLES)));
    let rig = Rig::new(Mode::Samples, 100);
    let outputs: Vec<Output> = (0..SAMPLES)
        .map(|number| sample(number % 100, delay_ns(number)))
        .collect();
    group.bench_function("take_samples", |bencher| {
        let push = || rig.take(&outputs);
        bencher.iter_batched(push, |()| rig.drain(), BatchSize::PerIteration);
    });
    group.bench_function("push_and_take_samples", |bencher| {
        bencher.iter(|| {
            for output in &outputs {
                rig.take(std::slice::from_ref(output));
                rig.drain();
            }
        });
    });
    group.finish();
}

/// Measures delay variation: a difference and a delay over the least for each packet.
fn bench_one_way(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one_way");
    group.throughput(Throughput::Elements(u64::from(SAMPLES)));
    for (name, mode, origins) in [
        ("samples_100_series", Mode::Samples, 100),
        ("windows_100_series", Mode::Windows, 100),
        ("windows_10000_series", Mode::Windows, 10_000),
        ("windows_1_series_histogram", Mode::Windows, 1),
    ] {
        let rig = Rig::new(mode, origins);
        let (batches, seq) = (Cell::new(0_u32), Cell::new(0_u32));
        let between = || {
            batches.set(batches.get() + 1);
            rig.drain();
            if batches.get().is_multiple_of(10) {
                rig.next_interval();
            }
            let first = seq.replace(seq.get() + SAMPLES / origins);
            let outputs: Vec<Output> = (0..SAMPLES)
                .map(|number| one_way(number % origins, first + number / origins, delay_ns(number)))
                .collect();
            outputs
        };
        let take = |outputs: Vec<Output>| {
            rig.take(&outputs);
            outputs
        };
        group.bench_function(name, |bencher| {
            bencher.iter_batched(between, take, BatchSize::PerIteration);
        });
    }
    group.finish();
}

/// Measures the turn that ends an interval, with this many flows to read. Later turns read none.
fn bench_end(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("end_of_interval");
    for origins in [100, 10_000, 30_000] {
        let rig = Rig::new(Mode::Windows, origins);
        let outputs: Vec<Output> = (0..origins).map(|origin| sample(origin, 282_072)).collect();
        let counters = vec![Counters::default(); origins as usize];
        let own = SelfCounters::default();
        let between = || {
            rig.next_interval();
            rig.take(&outputs);
        };
        let first_turn = |()| {
            let flows = (0..origins)
                .zip(&counters)
                .map(|(origin, counters)| (Origin(origin), FlowKind::Udp, black_box(counters)));
            let now = at(rig.interval.get());
            rig.recorder
                .borrow_mut()
                .handle_timeout(now, flows, &own, HostGauges::default);
        };
        group.bench_function(format!("first_turn_{origins}_flows"), |bencher| {
            bencher.iter_batched(between, first_turn, BatchSize::PerIteration);
        });
    }
    group.finish();
}

/// Measures one record of each kind as JSON.
fn bench_json(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("json");
    for (name, mode, samples) in [
        ("sample", Mode::Samples, 1),
        ("window_30_values", Mode::Windows, 30),
        ("window_30000_values", Mode::Windows, 30_000),
    ] {
        let (mut recorder, mut feed) = recorder(mode, 1);
        for number in 0..samples {
            recorder.handle_output(&sample(0, delay_ns(number)));
        }
        let own = SelfCounters::default();
        recorder.handle_timeout(at(1), [], &own, HostGauges::default);
        let record: Record = feed.poll().expect("a record was just pushed");
        let mut encoder = Encoder::new();
        let mut line = Vec::new();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                line.clear();
                encoder.encode(black_box(&record), &mut line);
                line.len()
            });
        });
    }
    group.finish();
}

criterion_group!(
    benches,
    bench_samples,
    bench_ring,
    bench_one_way,
    bench_end,
    bench_json
);
criterion_main!(benches);
