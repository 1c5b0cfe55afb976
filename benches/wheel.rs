//! Measures a timer on the wheel, and on the standard library's heap and sorted map. Compare within
//! one run, because machines differ more than these do.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, criterion_group, criterion_main};
use latency_monitor::proto::Mono;
use latency_monitor::proto::wheel::{TimerKey, Wheel};

const MILLISECOND_NS: u64 = 1_000_000;
const SECOND_NS: u64 = 1_000_000_000;
const COUNTS: [u32; 3] = [3, 1_000, 50_000];

/// The common interface of the three. Timers of equal deadline fire in the order of insertion.
trait Timers {
    const NAME: &'static str;
    type Key: Copy;

    fn new() -> Self;
    fn insert(&mut self, deadline: Mono, payload: u32) -> Self::Key;
    fn cancel(&mut self, key: Self::Key) -> Option<u32>;
    fn pop(&mut self, now: Mono) -> Option<(Mono, u32)>;
    fn next_deadline(&mut self) -> Option<Mono>;
}

impl Timers for Wheel<u32> {
    const NAME: &'static str = "wheel";
    type Key = TimerKey;

    fn new() -> Self {
        Self::new(Mono::ZERO)
    }

    fn insert(&mut self, deadline: Mono, payload: u32) -> TimerKey {
        self.insert(deadline, payload)
    }

    fn cancel(&mut self, key: TimerKey) -> Option<u32> {
        self.cancel(key)
    }

    fn pop(&mut self, now: Mono) -> Option<(Mono, u32)> {
        self.pop(now)
    }

    fn next_deadline(&mut self) -> Option<Mono> {
        self.next_deadline()
    }
}

/// A heap cannot remove from its middle. A cancelled timer stays, marked as gone, until it comes up
/// or the cancelled ones outnumber the others.
#[derive(Default)]
struct Heap {
    heap: BinaryHeap<Reverse<(Mono, u64, u32)>>,
    /// The insertion that set the timer of each payload, if it is still set.
    set_by: Vec<Option<u64>>,
    insertions: u64,
    len: usize,
}

impl Heap {
    fn drop_gone(&mut self) {
        while let Some(Reverse((_, order, payload))) = self.heap.peek()
            && self.set_by[*payload as usize] != Some(*order)
        {
            self.heap.pop();
        }
    }
}

impl Timers for Heap {
    const NAME: &'static str = "binary_heap";
    type Key = (u64, u32);

    fn new() -> Self {
        Self::default()
    }

    fn insert(&mut self, deadline: Mono, payload: u32) -> Self::Key {
        self.insertions += 1;
        let index = payload as usize;
        if self.set_by.len() <= index {
            self.set_by.resize(index + 1, None);
        }
        self.set_by[index] = Some(self.insertions);
        self.len += 1;
        self.heap
            .push(Reverse((deadline, self.insertions, payload)));
        (self.insertions, payload)
    }

    fn cancel(&mut self, (order, payload): Self::Key) -> Option<u32> {
        let set_by = &mut self.set_by[payload as usize];
        if *set_by != Some(order) {
            return None;
        }
        *set_by = None;
        self.len -= 1;
        if self.heap.len() > 2 * self.len + 64 {
            let set_by = &self.set_by;
            self.heap
                .retain(|Reverse((_, order, payload))| set_by[*payload as usize] == Some(*order));
        }
        Some(payload)
    }

    fn pop(&mut self, now: Mono) -> Option<(Mono, u32)> {
        self.drop_gone();
        self.heap
            .peek()
            .filter(|Reverse((deadline, ..))| *deadline <= now)?;
        let Reverse((deadline, _, payload)) = self.heap.pop()?;
        self.set_by[payload as usize] = None;
        self.len -= 1;
        Some((deadline, payload))
    }

    fn next_deadline(&mut self) -> Option<Mono> {
        self.drop_gone();
        self.heap.peek().map(|Reverse((deadline, ..))| *deadline)
    }
}

#[derive(Default)]
struct Map {
    map: BTreeMap<(Mono, u64), u32>,
    insertions: u64,
}

impl Timers for Map {
    const NAME: &'static str = "btree_map";
    type Key = (Mono, u64);

    fn new() -> Self {
        Self::default()
    }

    fn insert(&mut self, deadline: Mono, payload: u32) -> Self::Key {
        self.insertions += 1;
        let key = (deadline, self.insertions);
        self.map.insert(key, payload);
        key
    }

    fn cancel(&mut self, key: Self::Key) -> Option<u32> {
        self.map.remove(&key)
    }

    fn pop(&mut self, now: Mono) -> Option<(Mono, u32)> {
        let first = self.map.first_entry()?;
        let deadline = first.key().0;
        (deadline <= now).then(|| (deadline, first.remove()))
    }

    fn next_deadline(&mut self) -> Option<Mono> {
        self.map
            .first_key_value()
            .map(|((deadline, _), _)| *deadline)
    }
}

/// Returns timers spread evenly over a time from `first_ns` on, as flows are, but in no order.
fn filled<T: Timers>(count: u32, first_ns: u64, spread_ns: u64) -> (T, Vec<T::Key>) {
    let mut timers = T::new();
    // Coprime to every count, so that each phase is taken once.
    let phase = |number: u32| u64::from(number) * 7_919 % u64::from(count);
    let keys = (0..count)
        .map(|number| {
            let deadline = first_ns + phase(number) * spread_ns / u64::from(count);
            timers.insert(Mono::from_nanos(deadline), number)
        })
        .collect();
    (timers, keys)
}

/// Measures the poll thread's work for a probe: next deadline, removal, insertion.
fn fire<T: Timers>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    count: u32,
    (period, interval_ns): (&str, u64),
) {
    let (mut timers, _) = filled::<T>(count, interval_ns, interval_ns);
    let id = BenchmarkId::new(T::NAME, format!("{count}_timers_{period}"));
    group.bench_function(id, |bencher| {
        bencher.iter(|| {
            let due = timers.next_deadline().expect("timers are set anew");
            let (deadline, payload) = timers.pop(due).expect("it is due");
            timers.insert(deadline.plus(interval_ns), payload);
            payload
        });
    });
}

/// Measures a timer that is moved long before it is due, as a reply moves a timeout.
fn push_back<T: Timers>(group: &mut BenchmarkGroup<'_, WallTime>, count: u32) {
    let (mut timers, mut keys) = filled::<T>(count, SECOND_NS, MILLISECOND_NS);
    let step_ns = MILLISECOND_NS / u64::from(count);
    let mut now = Mono::ZERO;
    let mut number = 0;
    group.bench_function(BenchmarkId::new(T::NAME, count), |bencher| {
        bencher.iter(|| {
            now = now.plus(step_ns);
            number = (number + 1) % count;
            let key = &mut keys[number as usize];
            let cancelled = timers.cancel(*key);
            *key = timers.insert(now.plus(SECOND_NS), number);
            let fired = timers.pop(now);
            (cancelled, fired)
        });
    });
}

/// Measures a repeated question without a change.
fn ask_again<T: Timers>(group: &mut BenchmarkGroup<'_, WallTime>, count: u32) {
    let (mut timers, _) = filled::<T>(count, MILLISECOND_NS, MILLISECOND_NS);
    group.bench_function(BenchmarkId::new(T::NAME, count), |bencher| {
        bencher.iter(|| black_box(&mut timers).next_deadline());
    });
}

/// Measures the worst case. The first timer is cancelled, and all others are seconds ahead, within
/// one unsorted slot, so the wheel looks at each of them.
fn ask_unsorted<T: Timers>(group: &mut BenchmarkGroup<'_, WallTime>, count: u32) {
    let (mut timers, _) = filled::<T>(count, 5 * SECOND_NS, 3 * SECOND_NS);
    let first = Mono::from_nanos(5 * SECOND_NS - 1);
    group.bench_function(BenchmarkId::new(T::NAME, count), |bencher| {
        bencher.iter(|| {
            let key = timers.insert(first, count);
            timers.cancel(key);
            timers.next_deadline()
        });
    });
}

fn group<'c>(criterion: &'c mut Criterion, name: &str) -> BenchmarkGroup<'c, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    group
}

fn bench_fire(criterion: &mut Criterion) {
    let mut group = group(criterion, "fire");
    let each_second = (50_000, ("each_1s", SECOND_NS));
    let cases = COUNTS.map(|count| (count, ("each_1ms", MILLISECOND_NS)));
    for (count, period) in cases.into_iter().chain([each_second]) {
        fire::<Wheel<u32>>(&mut group, count, period);
        fire::<Heap>(&mut group, count, period);
        fire::<Map>(&mut group, count, period);
    }
    group.finish();
}

fn bench_push_back(criterion: &mut Criterion) {
    let mut group = group(criterion, "push_back");
    for count in COUNTS {
        push_back::<Wheel<u32>>(&mut group, count);
        push_back::<Heap>(&mut group, count);
        push_back::<Map>(&mut group, count);
    }
    group.finish();
}

fn bench_ask(criterion: &mut Criterion) {
    let mut again = group(criterion, "ask_again");
    for count in COUNTS {
        ask_again::<Wheel<u32>>(&mut again, count);
        ask_again::<Heap>(&mut again, count);
        ask_again::<Map>(&mut again, count);
    }
    again.finish();
    let mut unsorted = group(criterion, "ask_unsorted");
    for count in COUNTS {
        ask_unsorted::<Wheel<u32>>(&mut unsorted, count);
        ask_unsorted::<Heap>(&mut unsorted, count);
        ask_unsorted::<Map>(&mut unsorted, count);
    }
    unsorted.finish();
}

criterion_group!(benches, bench_fire, bench_push_back, bench_ask);
criterion_main!(benches);
