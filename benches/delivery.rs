//! Measures a batch that waits in memory and on disk, and its compression, on the flush thread.

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use latency_monitor::proto::Wall;
use latency_monitor::publish::{
    Backend, Batch, Delivery, DeliverySettings, Encode, Payload, SendError, Transport, gzip,
};
use latency_monitor::record::{BackendStats, Metric, Record, Tags};

/// Makes a batch of each record.
struct Filler {
    body: Vec<u8>,
    is_full: bool,
}

impl Encode for Filler {
    fn name(&self) -> &'static str {
        "filler"
    }

    fn add(&mut self, _: &Record) -> bool {
        self.is_full = true;
        true
    }

    fn is_full(&self) -> bool {
        self.is_full
    }

    fn take(&mut self, out: &mut Vec<Payload>) {
        if std::mem::take(&mut self.is_full) {
            out.push(Payload {
                kind: 0,
                body: self.body.clone(),
                records: 1,
            });
        }
    }
}

/// Blocks until the bench is over.
struct Hanging(Receiver<()>);

impl Transport for Hanging {
    fn send(&mut self, _: &Batch, _: Duration) -> Result<(), SendError> {
        let _ = self.0.recv();
        Ok(())
    }
}

/// Takes everything, and tells when it has.
struct Taking(SyncSender<()>);

impl Transport for Taking {
    fn send(&mut self, _: &Batch, _: Duration) -> Result<(), SendError> {
        let _ = self.0.send(());
        Ok(())
    }
}

fn record() -> Record {
    Record::Gauge {
        metric: Metric::named("clock.offset").expect("a metric"),
        tags: Arc::new(Tags::Host("a".into())),
        at: Wall::from_unix_nanos(1),
        value: 1,
    }
}

fn delivery(
    bytes: usize,
    spool_dir: Option<PathBuf>,
    transport: Box<dyn Transport>,
) -> Delivery<Filler> {
    let settings = DeliverySettings {
        spool_dir,
        ..DeliverySettings::default()
    };
    let encoder = Filler {
        body: vec![7; bytes],
        is_full: false,
    };
    let stats = Arc::new(BackendStats::new("filler"));
    Delivery::new(encoder, transport, &settings, stats).expect("a delivery")
}

fn push(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("delivery");
    group.sample_size(20);
    let record = record();
    for bytes in [20_000, 1_000_000] {
        group.throughput(Throughput::Bytes(bytes as u64));
        for place in ["memory", "spool"] {
            let folder = tempfile::tempdir().expect("a folder");
            let spool = || (place == "spool").then(|| folder.path().to_owned());
            let (over, is_over) = channel();
            let mut hanging = delivery(bytes, spool(), Box::new(Hanging(is_over)));
            group.bench_function(BenchmarkId::new(format!("{place}/push"), bytes), |bench| {
                bench.iter(|| hanging.publish(&record).expect("room, or the oldest goes"));
            });
            drop(over);
            drop(hanging);
            let folder = tempfile::tempdir().expect("a folder");
            let spool = (place == "spool").then(|| folder.path().to_owned());
            let (sender, taken) = sync_channel(1);
            let mut taking = delivery(bytes, spool, Box::new(Taking(sender)));
            group.bench_function(BenchmarkId::new(format!("{place}/send"), bytes), |bench| {
                bench.iter(|| {
                    taking.publish(&record).expect("there is room");
                    taken.recv().expect("it is taken");
                });
            });
        }
    }
    group.finish();
}

/// Measures a start with a full spool, which is checked as a whole.
fn open(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut ends = Vec::new();
    let mut begin = |bytes| {
        let (over, is_over) = channel();
        ends.push(over);
        let spool = Some(folder.path().to_owned());
        delivery(bytes, spool, Box::new(Hanging(is_over)))
    };
    let mut full = begin(1_000_000);
    for _ in 0..67 {
        full.publish(&record()).expect("room");
    }
    drop(full);
    let mut group = criterion.benchmark_group("delivery");
    group.sample_size(10);
    group.bench_function("spool/open/67000000", |bench| bench.iter(|| begin(0)));
    group.finish();
}

fn compress(criterion: &mut Criterion) {
    let mut text = String::new();
    for number in 0..10_000_u64 {
        let (at, value) = (1_000_123 * number, number * 7_919 % 50_021);
        let tags = "source:a,target:b,isp:local";
        writeln!(
            text,
            "udp.wan.rtt,{},{value},{tags}",
            1_768_219_134_587_069_267 + at
        )
        .expect("memory takes it");
    }
    let mut group = criterion.benchmark_group("gzip");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("lines", |bench| {
        bench.iter(|| gzip(black_box(text.as_bytes())));
    });
    group.finish();
}

criterion_group!(benches, push, open, compress);
criterion_main!(benches);
