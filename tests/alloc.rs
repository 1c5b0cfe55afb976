//! Invariant: a probe costs no allocation once its flow runs. An allocator that counts, per thread,
//! makes it a test.

#![expect(unsafe_code, reason = "only an allocator can count allocations")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use latency_monitor::proto::prober::SelfCounters;
use latency_monitor::proto::{
    Counters, FlowKind, Labels, Metric, Mono, Now, Origin, Outcome, Output, Sample, StampSource,
    Wall,
};
use latency_monitor::publish::Encoder;
use latency_monitor::record::{Feed, HostGauges, Mode, Recorder, SinkConfig};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that is going away allocates uncounted.
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are the ones asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are the ones asked for.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are the ones asked for.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are the ones asked for.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `work` gives, and how often it allocated.
fn allocations<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = ALLOCATIONS.get();
    let result = work();
    (result, ALLOCATIONS.get() - before)
}

const ORIGINS: u32 = 10;
const SAMPLES_PER_INTERVAL: u32 = 100_000;
const INTERVAL_NS: u64 = 1_000_000_000;

fn at(interval: u64) -> Now {
    let ns = interval * INTERVAL_NS;
    Now {
        mono: Mono::from_nanos(ns),
        wall: Wall::from_unix_nanos(i64::try_from(ns).unwrap()),
    }
}

/// Interleaved samples of both signs: more of them in a series than are kept as they are.
fn sample(number: u32, at: Wall) -> Output {
    let magnitude_ns = i64::from(number) * 997;
    Output::Sample(Sample {
        origin: Origin(number % ORIGINS),
        metric: Metric::UdpOwd,
        outcome: Outcome::Received,
        value_ns: if number.is_multiple_of(3) {
            -magnitude_ns
        } else {
            magnitude_ns
        },
        at,
        seq: u64::from(number),
        stamp: StampSource::Kernel,
    })
}

/// The flush thread's part, on this thread.
fn drain(feed: &mut Feed, encoder: &mut Encoder, line: &mut Vec<u8>) {
    while let Some(record) = feed.poll() {
        line.clear();
        encoder.encode(&record, line);
        feed.recycle(record);
    }
}

#[test]
fn recording_allocates_nothing_once_its_series_run() {
    let mut recorder = Recorder::new("a", at(0));
    let mut feeds = [Mode::Samples, Mode::Windows, Mode::Both]
        .map(|mode| recorder.add_sink(SinkConfig::new(mode, INTERVAL_NS)));
    let mut encoder = Encoder::new();
    let mut line = Vec::new();
    for origin in 0..ORIGINS {
        recorder.handle_output(&Output::Opened {
            origin: Origin(origin),
            labels: Arc::new(Labels::new("a", &format!("t{origin}"), &["isp:x"])),
        });
    }
    let mut counters = Counters::default();
    let own = SelfCounters::default();
    for interval in 1..=6 {
        let mut recording = 0;
        for number in 0..SAMPLES_PER_INTERVAL {
            let output = sample(number, at(interval).wall);
            let ((), allocated) = allocations(|| {
                recorder.handle_output(&output);
                recorder.handle_output(&Output::Lateness(u64::from(number)));
            });
            recording += allocated;
            // The flush thread comes round long before a ring is full.
            if number % 10_000 == 9_999 {
                let [samples, ..] = &mut feeds;
                let ((), encoding) = allocations(|| drain(samples, &mut encoder, &mut line));
                assert!(interval == 1 || encoding == 0, "a sample was encoded");
                for feed in &mut feeds {
                    drain(feed, &mut encoder, &mut line);
                }
            }
        }
        counters.sent += u64::from(SAMPLES_PER_INTERVAL);
        while recorder.poll_timeout() <= Some(at(interval).mono) {
            let flows = (0..ORIGINS).map(|origin| (Origin(origin), FlowKind::Udp, &counters));
            let ((), ending) = allocations(|| {
                recorder.handle_timeout(at(interval), flows, &own, HostGauges::default);
            });
            recording += ending;
        }
        for feed in &mut feeds {
            drain(feed, &mut encoder, &mut line);
        }
        assert!(interval != 1 || recording > 0, "the allocator counts");
        assert!(
            interval <= 3 || recording == 0,
            "{recording} allocations in interval {interval}"
        );
    }
}
