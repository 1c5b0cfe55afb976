//! Checks the invariant that an outage of any length costs no more memory and disk than the
//! configured buffer.
//!
//! An allocator counts. Only the number of batches matters, and the batches of a month come in a
//! second.

#![expect(unsafe_code, reason = "only an allocator can count bytes")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use latency_monitor::proto::Wall;
use latency_monitor::publish::{
    Backend, Batch, Delivery, DeliverySettings, Encode, Payload, SendError, Transport, Verdict,
};
use latency_monitor::record::{BackendStats, Metric, Record, Tags};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged; `realloc` is made of the others.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are the ones asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are the ones asked for.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const BUFFER_MIB: u32 = 1;
const BUFFER_BYTES: usize = 1024 * 1024;
const BATCH_BYTES: usize = 20_000;

/// What the buffer takes of them.
const HELD: u64 = (BUFFER_BYTES / BATCH_BYTES) as u64;

/// A batch for each record.
struct Filler(bool);

impl Encode for Filler {
    fn name(&self) -> &'static str {
        "filler"
    }

    fn add(&mut self, _: &Record) -> bool {
        self.0 = true;
        true
    }

    fn is_full(&self) -> bool {
        self.0
    }

    fn take(&mut self, out: &mut Vec<Payload>) {
        if std::mem::take(&mut self.0) {
            out.push(Payload {
                kind: 0,
                body: vec![7; BATCH_BYTES],
                records: 1,
            });
        }
    }
}

/// Says that it was asked, and hangs until the test is over.
struct Hanging(Sender<()>, Receiver<()>);

impl Transport for Hanging {
    fn send(&mut self, _: &Batch, _: Duration) -> Result<(), SendError> {
        let _ = self.0.send(());
        let _ = self.1.recv();
        Err(SendError::new(Verdict::Later, "it is over"))
    }
}

struct Outage {
    delivery: Delivery<Filler>,
    stats: Arc<BackendStats>,
    record: Record,
    pushed: u64,
    /// Dropped, it lets the transport go.
    _over: Sender<()>,
}

impl Outage {
    /// One whose transport hangs with the first batch already.
    fn begin(spool_dir: Option<&Path>) -> Self {
        let settings = DeliverySettings {
            buffer_mib: BUFFER_MIB,
            spool_dir: spool_dir.map(Path::to_owned),
            ..DeliverySettings::default()
        };
        let stats = Arc::new(BackendStats::new("filler"));
        let ((asked, is_asked), (over, is_over)) = (channel(), channel());
        let transport = Box::new(Hanging(asked, is_over));
        let delivery =
            Delivery::new(Filler(false), transport, &settings, Arc::clone(&stats)).unwrap();
        let record = Record::Gauge {
            metric: Metric::named("clock.offset").expect("a metric"),
            tags: Arc::new(Tags::Host("a".into())),
            at: Wall::from_unix_nanos(1),
            value: 1,
        };
        let mut outage = Self {
            delivery,
            stats,
            record,
            pushed: 0,
            _over: over,
        };
        outage.push(1);
        is_asked.recv().unwrap();
        outage
    }

    /// So many batches more; gives the most bytes that were in use between two of them.
    fn push(&mut self, batches: u64) -> usize {
        let mut most = 0;
        for _ in 0..batches {
            self.delivery.publish(&self.record).unwrap();
            most = most.max(LIVE.load(Ordering::Relaxed));
        }
        self.pushed += batches;
        most
    }

    fn check_account(&self) {
        assert_eq!(self.stats.dropped(), self.pushed - HELD);
        assert_eq!(self.stats.queued().bytes, HELD * BATCH_BYTES as u64);
        assert_eq!((self.stats.sent(), self.stats.spool_failed()), (0, 0));
    }
}

#[test]
fn memory_and_disk_are_bounded_however_long_it_lasts() {
    check_memory();
    check_disk();
}

/// 86,400 batches are a month at the default interval: of what was pushed the buffer's worth is there.
fn check_memory() {
    let before = LIVE.load(Ordering::Relaxed);
    let mut outage = Outage::begin(None);
    let full = outage.push(2 * HELD) - before;
    outage.check_account();
    assert!(
        full >= BUFFER_BYTES - BATCH_BYTES,
        "it is in memory: {full}"
    );
    let most = outage.push(86_400) - before;
    outage.check_account();
    assert!(most <= full + BATCH_BYTES, "{full} bytes, then {most}");
    assert!(most <= BUFFER_BYTES + BUFFER_BYTES / 4, "{most}");
}

fn check_disk() {
    let folder = tempfile::tempdir().unwrap();
    let before = LIVE.load(Ordering::Relaxed);
    let mut outage = Outage::begin(Some(folder.path()));
    let size = || {
        std::fs::metadata(folder.path().join("filler.redb"))
            .unwrap()
            .len()
    };
    let full = outage.push(4 * HELD) - before;
    outage.check_account();
    let size_full = size();
    let most = outage.push(20 * HELD) - before;
    outage.check_account();
    assert_eq!(size(), size_full, "pages are used again");
    assert!(most <= full + BUFFER_BYTES / 4, "{full} bytes, then {most}");
}
