//! Measures a probe from its timer to its record, at both ends together and without a socket: with
//! one target, with many at once, and with as many as a daemon takes.

mod path;

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use path::{Flows, Path};

const MILLISECOND_NS: u64 = 1_000_000;

/// Targets, and how often each is probed.
const LOADS: [(u32, u64); 3] = [
    (1, MILLISECOND_NS),
    (200, MILLISECOND_NS),
    (10_000, 1_000 * MILLISECOND_NS),
];

/// Probes on each flow before the measurement, so that tables are full: at 1 ms, two windows.
const WARM_UP: u64 = 2_000;

/// The same for many flows.
const WARM_UP_MOST: u64 = 200_000;

fn probe(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("probe");
    group
        .throughput(Throughput::Elements(1))
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    for (flows, name) in [
        (Flows::NativeUdp, "native_udp"),
        (Flows::TextUdp, "text_udp"),
        (Flows::NativeTcp, "native_tcp"),
    ] {
        for (targets, interval_ns) in LOADS {
            let mut path = Path::new(flows, targets, interval_ns);
            path.run((WARM_UP * u64::from(targets)).min(WARM_UP_MOST));
            let load = format!("{targets}_targets_each_{}ms", interval_ns / MILLISECOND_NS);
            group.bench_function(BenchmarkId::new(name, load), |bencher| {
                bencher.iter(|| path.run(1));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, probe);
criterion_main!(benches);
