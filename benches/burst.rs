//! Measures the burst detector and the flight recorder, per probe that has ended.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use latency_monitor::proto::{
    FlowKind, Labels, Mono, Now, Origin, Outcome, Output, Stamp, StampSource, Trace, Wall,
};
use latency_monitor::record::{
    BurstRules, FlightConfig, FlightRecorder, Mode, Recorder, SinkConfig,
};

const INTERVAL_NS: i64 = 1_000_000;
const ORIGINS: u32 = 16;

const KEPT: FlightConfig = FlightConfig {
    pre_ns: 200_000_000,
    post_ns: 200_000_000,
    settle_ns: 1_000_000_000,
};

fn at(ns: i64) -> Wall {
    Wall::from_unix_nanos(1_700_000_000_000_000_000 + ns)
}

/// Returns probe `number` of each flow in turn. Delays vary by 65 us, in no order.
fn trace(number: i64) -> Output {
    let (seq, origin) = (number / i64::from(ORIGINS), number % i64::from(ORIGINS));
    let left = seq * INTERVAL_NS;
    let received = left + 250_000 + number * 7_919 % 65_536;
    let sent = received + 20_000;
    let back = sent + 250_000 + number * 7_907 % 65_536;
    Output::Trace(Trace {
        origin: Origin(u32::try_from(origin).unwrap_or(0)),
        kind: FlowKind::Udp,
        seq: seq.unsigned_abs(),
        stamps: [left, received, sent, back].map(|ns| {
            Some(Stamp {
                at: at(ns),
                source: StampSource::Kernel,
            })
        }),
        outcome: Outcome::Received,
        lost_on: None,
    })
}

fn opened(origin: u32) -> Output {
    Output::Opened {
        origin: Origin(origin),
        labels: Arc::new(Labels::new("a", &format!("t{origin}"), &["isp:local"])),
    }
}

/// Measures both directions of a probe, including bucket ends, without and with the recorder.
fn quiet(c: &mut Criterion) {
    quiet_probe(c, "quiet probe", false);
    quiet_probe(c, "quiet probe, kept", true);
}

fn quiet_probe(c: &mut Criterion, name: &str, is_kept: bool) {
    let now = Now {
        mono: Mono::ZERO,
        wall: at(0),
    };
    let mut recorder = Recorder::new("a", now);
    recorder.find_bursts(BurstRules {
        threshold_ns: None,
        quiet_ns: 5_000_000,
    });
    let (writer, _dumps) = sync_channel(1);
    if is_kept {
        recorder.record_flights(KEPT, writer);
    }
    let _feed = recorder.add_sink(SinkConfig::new(Mode::Windows, 1_000_000_000));
    for origin in 0..ORIGINS {
        recorder.handle_output(&opened(origin));
    }
    let (recorder, number) = (RefCell::new(recorder), Cell::new(0));
    let mut group = c.benchmark_group("burst");
    group.throughput(Throughput::Elements(1));
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            recorder.borrow_mut().handle_output(&trace(number.get()));
            number.set(number.get() + 1);
        });
    });
    group.finish();
}

/// Measures the flight recorder's ring alone, at its greatest length.
fn ring(c: &mut Criterion) {
    let (writer, _dumps) = sync_channel(1);
    let mut flight = FlightRecorder::new(KEPT, writer);
    for origin in 0..ORIGINS {
        flight.handle_output(&opened(origin));
    }
    let mut number = 0;
    let mut group = c.benchmark_group("burst");
    group.throughput(Throughput::Elements(1));
    group.bench_function("flight recorder alone", |bencher| {
        bencher.iter(|| {
            flight.handle_output(&trace(number));
            number += 1;
        });
    });
    group.finish();
}

criterion_group!(benches, quiet, ring);
criterion_main!(benches);
