//! Measures the flush thread of each backend for each sample and each window, from a record to the
//! bytes that are sent; for `ClickHouse` also the rows on the sending thread. One core each. A
//! daemon must turn 200,000 samples a second into bytes.

use std::hint::black_box;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use latency_monitor::proto::prober::SelfCounters;
use latency_monitor::proto::{
    Host, Labels, Metric, Mono, Now, Origin, Outcome, Output, Sample, StampSource, Wall,
};
use latency_monitor::publish::clickhouse::{ClickHouseEncoder, Columns, Table};
use latency_monitor::publish::{
    Backend, Cli, DatadogEncoder, Encode, Log, Pushgateway, PushgatewaySettings, ZeroMq,
    ZeroMqSettings, gzip,
};
use latency_monitor::record::{HostGauges, Mode, Record, Recorder, SinkConfig};
use tracing::Level;

const ORIGINS: u32 = 100;
const SAMPLES: u32 = 20_000;

fn at(seconds: u64) -> Now {
    let ns = seconds * 1_000_000_000;
    Now {
        mono: Mono::from_nanos(ns),
        wall: Wall::from_unix_nanos(1_768_219_134_000_000_000 + ns.cast_signed()),
    }
}

/// Returns a backend's records in this mode: a second with so many samples of a hundred targets.
fn records(mode: Mode) -> Vec<Record> {
    let mut recorder = Recorder::new("a", at(0));
    let mut feed = recorder.add_sink(SinkConfig::new(mode, 1_000_000_000));
    for origin in 0..ORIGINS {
        recorder.handle_output(&Output::Opened {
            origin: Origin(origin),
            labels: Arc::new(Labels::new("a", &format!("t{origin}"), &["isp:local"])),
        });
    }
    for number in 0..SAMPLES {
        recorder.handle_output(&Output::Sample(Sample {
            origin: Origin(number % ORIGINS),
            metric: Metric::UdpRtt,
            outcome: Outcome::Received,
            value_ns: 250_000 + i64::from(number) * 7_919 % 65_536,
            at: at(0).wall,
            seq: u64::from(number),
            stamp: StampSource::Kernel,
            dwell_ns: None,
            is_corrected: false,
        }));
    }
    recorder.handle_timeout(at(1), [], &SelfCounters::default(), HostGauges::default);
    std::iter::from_fn(|| feed.poll()).collect()
}

/// Returns a run of a backend that gathers batches, compressed if it compresses.
fn batches(records: &[Record], mut encoder: impl Encode) -> impl FnMut() {
    let mut out = Vec::new();
    move || {
        for record in records {
            encoder.add(record);
            if encoder.is_full() {
                encoder.take(&mut out);
            }
        }
        encoder.take(&mut out);
        black_box(&out);
        out.clear();
    }
}

/// Returns a run of a backend that sends each record by itself.
fn lines_of(records: &[Record], mut backend: impl Backend) -> impl FnMut() {
    move || {
        for record in records {
            backend
                .publish(record)
                .expect("nothing is written, or nobody listens");
        }
        backend
            .flush()
            .expect("nothing is written, or nobody listens");
    }
}

/// Returns a publisher; libzmq drops its messages, because nobody has subscribed.
fn zeromq() -> ZeroMq {
    let settings = ZeroMqSettings {
        address: Host::Address(Ipv4Addr::LOCALHOST.into()),
        port: 0,
    };
    ZeroMq::bind(&settings).expect("a free port")
}

fn pushgateway(records: &[Record], mode: Mode) -> impl FnMut() {
    let sink = SinkConfig::new(mode, 1_000_000_000);
    let mut backend = Pushgateway::new(&PushgatewaySettings::default(), "a", &sink)
        .expect("the default settings are right");
    move || {
        for record in records {
            backend.publish(record).expect("room for a hundred targets");
        }
        black_box(backend.text());
    }
}

/// Returns a run over encoded rows, compressed for sending, in tables like the printed ones.
fn clickhouse_rows(records: &[Record]) -> impl FnMut() {
    let tables = DESCRIBED.map(|described| {
        let kind = u8::from(described.contains("EndedAt"));
        Table::parse(described, kind, &Columns::default()).expect("a table of ours")
    });
    let mut encoder = ClickHouseEncoder::default();
    for record in records {
        encoder.add(record);
    }
    let mut payloads = Vec::new();
    encoder.take(&mut payloads);
    move || {
        for payload in &payloads {
            let mut rows = Vec::new();
            let table = &tables[usize::from(payload.kind)];
            let left_out = table.write_rows(payload, 0, &mut rows);
            assert_eq!(left_out, Ok(0));
            black_box(gzip(&rows));
        }
    }
}

/// The server's answers about the tables of samples and of windows.
const DESCRIBED: [&str; 2] = [
    "MetricName\tLowCardinality(String)\nTimestamp\tDateTime64(9)\nMetricValue\tInt64\n\
     Tags\tMap(LowCardinality(String), String)\nSource\tLowCardinality(String)\n\
     Target\tLowCardinality(String)\nStamp\tLowCardinality(String)\nSeq\tUInt64\n\
     Dwell\tNullable(UInt32)\n",
    "MetricName\tLowCardinality(String)\nEndedAt\tDateTime64(9)\nSamples\tUInt64\nP50\tInt64\n\
     P99\tInt64\nTags\tMap(LowCardinality(String), String)\nBuckets\tMap(Int64, UInt64)\n",
];

fn payload(criterion: &mut Criterion) {
    // The log's lines are made as those of a daemon are, and written nowhere.
    let lines = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_target(false)
        .with_writer(io::sink)
        .finish();
    let _default = tracing::subscriber::set_default(lines);
    for (mode, word) in [(Mode::Samples, "samples"), (Mode::Windows, "windows")] {
        let records = records(mode);
        let mut group = criterion.benchmark_group(format!("{word}_of_100_targets"));
        // Of windows too: it is what they were made of.
        group.throughput(Throughput::Elements(u64::from(SAMPLES)));
        let mut run = lines_of(&records, Cli::new(io::sink()));
        group.bench_function("cli", |bencher| bencher.iter(&mut run));
        let mut run = lines_of(&records, Log::new(Level::WARN, || 0));
        group.bench_function("log", |bencher| bencher.iter(&mut run));
        let mut run = lines_of(&records, zeromq());
        group.bench_function("zeromq", |bencher| bencher.iter(&mut run));
        let encoder = DatadogEncoder::new("a", mode, Duration::from_secs(1));
        let mut run = batches(&records, encoder);
        group.bench_function("datadog", |bencher| bencher.iter(&mut run));
        let mut run = batches(&records, ClickHouseEncoder::default());
        group.bench_function("clickhouse", |bencher| bencher.iter(&mut run));
        let mut run = clickhouse_rows(&records);
        group.bench_function("clickhouse_rows", |bencher| bencher.iter(&mut run));
        let mut run = pushgateway(&records, mode);
        group.bench_function("pushgateway", |bencher| bencher.iter(&mut run));
        group.finish();
    }
}

criterion_group!(benches, payload);
criterion_main!(benches);
