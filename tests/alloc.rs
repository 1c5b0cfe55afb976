//! Checks the invariant that a probe costs no allocation once its flow runs, with an allocator
//! that counts by thread.

#![expect(unsafe_code, reason = "only an allocator can count allocations")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use latency_monitor::clock::Clock;
use latency_monitor::engine::{
    Core, Engine, EngineConfig, Kind, Resolve, SocketOptions, Timestamps,
};
use latency_monitor::limits::WINDOW_VALUES_MAX;
use latency_monitor::proto::prober::SelfCounters;
use latency_monitor::proto::{
    ClockEstimate, Counters, Direction, FlowKind, Host, KeyRing, Labels, Metric, Mono, Now, OneWay,
    Origin, Outcome, Output, Prober, ProberConfig, Sample, Stamp, StampSource, TargetId,
    TargetSpec, Trace, Wall,
};
use latency_monitor::publish::Encoder;
use latency_monitor::record::{BurstRules, Feed, HostGauges, Mode, Record, Recorder, SinkConfig};
use latency_monitor::{Config, TargetOptions};

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

const BURSTS: BurstRules = BurstRules {
    threshold_ns: None,
    quiet_ns: 5_000_000,
};

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
        dwell_ns: None,
        is_corrected: false,
    })
}

/// A delay on clocks that are an hour apart; each origin's packets are consecutive. The least of an
/// interval comes when its values are not kept any more.
fn one_way(number: u32, at: Wall) -> Output {
    Output::OneWay(OneWay {
        origin: Origin(number % ORIGINS),
        kind: FlowKind::Udp,
        direction: Direction::Reverse,
        seq: u64::from(number / ORIGINS),
        delay_ns: 3_600_000_000_000 + (i64::from(number) - 60_000).abs() * 31,
        at,
        stamp: StampSource::Kernel,
    })
}

fn clock(number: u32) -> Output {
    Output::Clock {
        origin: Origin(number % ORIGINS),
        estimate: ClockEstimate {
            offset_ns: i64::from(number),
            skew_ppb: 1,
            error_ns: 40_000,
        },
    }
}

/// A probe every millisecond on each origin, with no burst: an event is one allocation.
fn trace(interval: u64, number: u32) -> Output {
    let seq =
        (interval - 1) * u64::from(SAMPLES_PER_INTERVAL / ORIGINS) + u64::from(number / ORIGINS);
    let noise_ns = i64::from(number).wrapping_mul(7_919) % 65_536;
    let left = i64::try_from(seq * 1_000_000).unwrap();
    let received = left + 250_000 + noise_ns;
    let sent = received + 20_000;
    let back = sent + 250_000 + noise_ns;
    Output::Trace(Trace {
        origin: Origin(number % ORIGINS),
        kind: FlowKind::Udp,
        seq,
        stamps: [left, received, sent, back].map(|ns| {
            Some(Stamp {
                at: Wall::from_unix_nanos(ns),
                source: StampSource::Kernel,
            })
        }),
        outcome: Outcome::Received,
        lost_on: None,
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
    recorder.find_bursts(BURSTS);
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
            let wall = at(interval).wall;
            let outputs = [
                sample(number, wall),
                one_way(number, wall),
                clock(number),
                trace(interval, number),
                Output::Lateness(u64::from(number)),
                Output::SendGap(u64::from(number)),
                Output::ReceiveGap(u64::from(number)),
            ];
            let ((), allocated) = allocations(|| {
                for output in &outputs {
                    recorder.handle_output(output);
                }
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

/// When an interval ends every series begins a window at once, and the one before may wait for a busy
/// flush thread for as long as it takes.
#[test]
fn an_interval_begins_without_allocating_while_nobody_takes_the_one_before() {
    let mut recorder = Recorder::new("a", at(0));
    let mut feed = recorder.add_sink(SinkConfig::new(Mode::Windows, INTERVAL_NS));
    for origin in 0..ORIGINS {
        recorder.handle_output(&Output::Opened {
            origin: Origin(origin),
            labels: Arc::new(Labels::new("a", &format!("t{origin}"), &["isp:x"])),
        });
    }
    let mut record = |interval| {
        let mut allocated = 0;
        for number in 0..4 * ORIGINS {
            let wall = at(interval).wall;
            for output in [sample(number, wall), one_way(number, wall)] {
                allocated += allocations(|| recorder.handle_output(&output)).1;
            }
        }
        while recorder.poll_timeout() <= Some(at(interval).mono) {
            let own = SelfCounters::default();
            recorder.handle_timeout(at(interval), [], &own, HostGauges::default);
        }
        allocated
    };
    assert!(record(1) > 0, "the allocator counts");
    assert_eq!(record(2), 0, "while what the first interval had waits");
    let taken: Vec<_> = std::iter::from_fn(|| feed.poll()).collect();
    let is_window = |record: &&Record| matches!(record, Record::Window(_));
    assert!(taken.iter().filter(is_window).count() > 2 * ORIGINS as usize);
    for record in taken {
        feed.recycle(record);
    }
    assert_eq!(record(3), 0, "with the windows of the first");
}

/// Longer than the test: how windows follow each other is the other test's, in virtual time, since
/// here it would depend on how many probes the host makes room for.
const WINDOW_NS: u64 = 3_600_000_000_000;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The target is an address.
#[derive(Debug)]
struct NoNames;

impl Resolve for NoNames {
    fn resolve(&mut self, _: TargetId, host: &Host) {
        panic!("{host} needs no resolution");
    }
}

/// What the poll thread has, on a thread that counts.
struct Daemon {
    clock: Clock,
    engine: Box<dyn Engine>,
    prober: Prober,
    recorder: Recorder,
    feed: Feed,
}

impl Daemon {
    fn new(name: &str, kind: Kind) -> Self {
        let engine = kind.open(&EngineConfig {
            addresses: vec![LOOPBACK.into()],
            tcp_port: Some(0),
            udp_ports: vec![0],
            spin_ns: 0,
            receive_within_ns: 0,
            timestamps: Timestamps::Auto,
            sockets: SocketOptions::default(),
        });
        let (engine, _) = engine.expect("free ports");
        let clock = Clock::new();
        let prober = Prober::new(ProberConfig {
            name: name.into(),
            udp_ports: engine.listening().udp_ports(),
            accepted_max: usize::MAX,
            resolve_interval_ns: 60_000_000_000,
            seed: [1; 32],
            native: true,
            keys: KeyRing::default(),
        });
        let mut recorder = Recorder::new(name, clock.now());
        let feed = recorder.add_sink(SinkConfig::new(Mode::Both, WINDOW_NS));
        // An event is an allocation, and a busy machine has queues: here none is long enough.
        recorder.find_bursts(BurstRules {
            threshold_ns: Some(60_000_000_000),
            ..BURSTS
        });
        Self {
            clock,
            engine,
            prober,
            recorder,
            feed,
        }
    }

    /// One turn, as the poll thread's. Waits for events no longer than a moment: both ends share
    /// the thread.
    fn turn(&mut self) {
        let now = self.clock.now();
        self.prober.handle_timeout(now);
        let mut core = Core {
            clock: &self.clock,
            prober: &mut self.prober,
            resolver: &mut NoNames,
        };
        self.engine.transmit(&mut core);
        self.drain();
        let (flows, own) = (self.prober.flows(), self.prober.self_counters());
        self.recorder
            .handle_timeout(now, flows, own, HostGauges::default);
        let moment = now.mono.plus(100_000);
        let mut core = Core {
            clock: &self.clock,
            prober: &mut self.prober,
            resolver: &mut NoNames,
        };
        let waited = self.engine.wait(&mut core, Some(moment));
        waited.expect("the engine waits");
        self.drain();
        self.clock.refresh(self.clock.mono());
    }

    fn drain(&mut self) {
        let recorder = &mut self.recorder;
        self.prober
            .drain_outputs(|output| recorder.handle_output(output));
    }

    fn flush(&mut self, encoder: &mut Encoder, line: &mut Vec<u8>) {
        drain(&mut self.feed, encoder, line);
    }

    fn received(&self) -> Vec<u64> {
        self.prober
            .flows()
            .map(|(_, _, counters)| counters.received)
            .collect()
    }
}

#[test]
fn a_probe_allocates_nothing_from_the_wheel_to_the_record() {
    allocates_nothing(Kind::Mio);
}

#[test]
#[cfg(all(target_os = "linux", not(latency_monitor_portable)))]
fn a_probe_allocates_nothing_with_a_ring_either() {
    allocates_nothing(Kind::IoUring);
}

fn allocates_nothing(kind: Kind) {
    let (mut near, mut far) = (Daemon::new("near", kind), Daemon::new("far", kind));
    let listening = far.engine.listening();
    let (udp_port, tcp_port) = (listening.udp[0].port(), listening.tcp[0].port());
    let spec = TargetSpec {
        host: Host::Address(LOOPBACK),
        label: "far".into(),
        tags: Box::new(["isp:local".into()]),
        udp_port: Some(udp_port),
        tcp_port: Some(tcp_port),
        connect_port: Some(tcp_port),
        interval_ns: 250_000,
        size: Some(200),
        ..Config::default()
            .target(TargetOptions::new("192.0.2.1"))
            .expect("a right target")
    };
    let now = near.clock.now();
    near.prober
        .add_target(now, spec)
        .expect("room for a target");
    let (mut encoder, mut line) = (Encoder::new(), Vec::new());
    let mut run = |probes: u64| {
        let aim: Vec<u64> = near
            .received()
            .iter()
            .map(|received| received + probes)
            .collect();
        let mut allocated = 0;
        while near
            .received()
            .iter()
            .zip(&aim)
            .any(|(received, aim)| received < aim)
        {
            let ((), turns) = allocations(|| {
                near.turn();
                far.turn();
            });
            allocated += turns;
            near.flush(&mut encoder, &mut line);
            far.flush(&mut encoder, &mut line);
        }
        allocated
    };
    // Tables and rings reach their size, and values become histograms: also those of a series that
    // not every probe has a value for, such as the variation of delays on a busy machine.
    let warm_up = run(2 * WINDOW_VALUES_MAX as u64);
    assert!(warm_up > 0, "the allocator counts");
    let steady = run(4_000);
    assert_eq!(steady, 0, "allocations for 4,000 probes of each kind");
}
