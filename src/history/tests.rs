//! The store and its reader against a list of all that was written, in virtual time.

mod damage;
mod size;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::history::bytes::Bytes;
use crate::history::cell::Gauge;
use crate::history::gather::Row;
use crate::history::names::Subject;
use crate::proto::StampSource;
use crate::record::{PLACE_MAX, SparseWindow};

const SECOND: i64 = 1_000_000_000;
/// No word of anything wrong.
const NOTHING: [&str; 0] = [];
const HOUR: i64 = 3_600 * SECOND;

/// The beginning of an hour, and of a day, in 2026.
const BEGAN: i64 = 1_768_176_000 * SECOND;

fn settings(folder: &Path) -> Settings {
    Settings {
        folder: folder.to_owned(),
        keep_ns: 7 * 24 * HOUR,
        bytes_max: 1 << 30,
        interval_ns: 10 * SECOND,
    }
}

fn subject(number: u64) -> Subject {
    let tags = ["source:a".into(), format!("target:t{number}").into()];
    Arc::new(tags)
}

fn column(metric: &'static str, tag: &'static str) -> Column {
    Column {
        metric: metric.into(),
        tag: tag.into(),
    }
}

/// An interval of ten seconds that begins so many seconds after the beginning. Each target has ten round trips, which
/// tell the interval, and as many probes sent.
fn interval(second: i64, targets: u64) -> Interval {
    let start = BEGAN + second * SECOND;
    let rows = (0..targets).map(|number| {
        let base = 1_000_000 + second * 100 + number.cast_signed();
        let values: Vec<i64> = (0..10).map(|value| base + value * 1_000).collect();
        let window = SparseWindow::of_values(&values, StampSource::Kernel);
        let row = Row::from([
            (column("udp.wan.rtt", ""), Cell::Window(window)),
            (column("udp.wan.sent", ""), Cell::Count(10)),
        ]);
        (subject(number), row)
    });
    Interval {
        span: [start, start + 10 * SECOND],
        rows: rows.collect(),
        records: 2 * targets,
    }
}

/// What was read: all values of a target, how often it was read, and its spans.
#[derive(Clone, Debug, Default, PartialEq)]
struct Sum {
    window: Option<SparseWindow>,
    sent: u64,
    spans: Vec<[i64; 2]>,
}

fn add(sums: &mut BTreeMap<String, Sum>, tags: &[Box<str>], span: [i64; 2], cells: Vec<Cell>) {
    let sum = sums.entry(tags[1].to_string()).or_default();
    sum.spans.push(span);
    for cell in cells {
        match cell {
            Cell::Count(count) => sum.sent += count,
            Cell::Window(window) => match &mut sum.window {
                Some(sum) => sum.merge(&window),
                none => *none = Some(window),
            },
            Cell::Gauge(_) => {}
        }
    }
}

/// Reads everything in a time, in no more intervals than these.
fn read(folder: &Path, span: [i64; 2], intervals_max: i64) -> (BTreeMap<String, Sum>, Vec<String>) {
    let mut sums = BTreeMap::new();
    let span = Span {
        from_ns: span[0],
        to_ns: span[1],
        intervals_max,
    };
    let told = Reader::new(folder).read(span, &|_| true, &mut |part| {
        let cells = part.row.into_iter().map(|(_, cell)| cell).collect();
        add(&mut sums, part.tags, part.span, cells);
    });
    (sums, told.unwrap())
}

/// All that these intervals have.
fn truth<'a>(intervals: impl Iterator<Item = &'a Interval>) -> BTreeMap<String, Sum> {
    let mut sums = BTreeMap::new();
    for interval in intervals {
        for (subject, row) in &interval.rows {
            add(
                &mut sums,
                subject,
                interval.span,
                row.values().cloned().collect(),
            );
        }
    }
    sums
}

fn without_spans(mut sums: BTreeMap<String, Sum>) -> BTreeMap<String, Sum> {
    for sum in sums.values_mut() {
        sum.spans.clear();
    }
    sums
}

/// Whatever tier is asked for, every value is there once: rolled up as far as it is, and finer behind that.
#[test]
fn every_tier_has_every_value_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(settings(folder.path())).unwrap();
    // Three hours and a quarter.
    let intervals: Vec<Interval> = (0..1_170).map(|number| interval(number * 10, 2)).collect();
    for one in &intervals {
        store.write(one).unwrap();
    }
    assert_eq!(store.take_notes(), NOTHING);
    let all = [BEGAN, BEGAN + 4 * HOUR];
    let truth = truth(intervals.iter());
    let (fine, told) = read(folder.path(), all, 1_440);
    assert_eq!(told, NOTHING);
    assert_eq!(fine, truth);
    for (intervals_max, spans) in [(240, 194 + 6), (4, 3 + 14 + 6)] {
        let (sums, told) = read(folder.path(), all, intervals_max);
        assert_eq!(told, NOTHING);
        assert_eq!(sums["target:t0"].spans.len(), spans);
        assert_eq!(without_spans(sums), without_spans(truth.clone()));
    }
    // An hour of it, and one target alone.
    let (hour, _) = read(folder.path(), [BEGAN + HOUR, BEGAN + 2 * HOUR], 360);
    assert_eq!(hour["target:t1"].sent, 3_600);
    assert_eq!(hour["target:t1"].spans.len(), 360);
    let span = Span {
        from_ns: BEGAN,
        to_ns: i64::MAX,
        intervals_max: 10_000,
    };
    let mut seen = 0;
    let wanted = |tags: &[Box<str>]| tags.iter().any(|tag| &**tag == "target:t1");
    let reader = Reader::new(folder.path());
    let told = reader.read(span, &wanted, &mut |part| {
        assert_eq!(&*part.tags[1], "target:t1");
        seen += 1;
    });
    assert_eq!((told.unwrap(), seen > 0), (Vec::new(), true));
}

#[test]
fn the_finest_is_dropped_first_and_coarser_tiers_stand_in() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        keep_ns: 30 * 24 * HOUR,
        ..settings(folder.path())
    };
    let mut store = Store::open(settings).unwrap();
    // Three days, of which an interval in six: a file is an hour all the same.
    let intervals: Vec<Interval> = (0..4_320).map(|number| interval(number * 60, 1)).collect();
    for one in &intervals {
        store.write(one).unwrap();
    }
    let files = |tier: &str| {
        let names = fs::read_dir(folder.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(tier)).count()
    };
    // A day of hours, and the one that is not over.
    assert!((24..=26).contains(&files("fine")), "{}", files("fine"));
    assert!((12..=13).contains(&files("minute")));
    let (sums, told) = read(folder.path(), [BEGAN, i64::MAX], i64::MAX);
    assert_eq!(told, NOTHING);
    assert_eq!(without_spans(sums), without_spans(truth(intervals.iter())));
}

#[test]
fn what_is_older_than_it_is_kept_goes() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        keep_ns: 24 * HOUR,
        ..settings(folder.path())
    };
    let mut store = Store::open(settings).unwrap();
    store
        .write_events(b"{\"event\": \"burst\"}\n", [BEGAN; 2])
        .unwrap();
    for hour in 0..24 * 12 {
        store.write(&interval(hour * 3_600, 1)).unwrap();
    }
    let (sums, _) = read(folder.path(), [0, i64::MAX], 1);
    let first = sums["target:t0"]
        .spans
        .iter()
        .map(|span| span[0])
        .min()
        .unwrap();
    // Whole files go: one of hours has a week.
    let age = BEGAN + 12 * 24 * HOUR - first;
    assert!((24 * HOUR..9 * 24 * HOUR).contains(&age), "{}", age / HOUR);
    let mut events = 0;
    let all = Span {
        from_ns: 0,
        to_ns: i64::MAX,
        intervals_max: 1,
    };
    Reader::new(folder.path())
        .events(all, &mut |_| events += 1)
        .unwrap();
    assert_eq!(events, 0);
}

#[test]
fn all_files_together_are_never_larger_than_they_may_be() {
    let folder = tempfile::tempdir().unwrap();
    let bytes_max = 400_000;
    let settings = Settings {
        bytes_max,
        ..settings(folder.path())
    };
    let on_disk = || -> u64 {
        let entries = fs::read_dir(folder.path()).unwrap();
        entries
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum()
    };
    let mut store = Store::open(settings.clone()).unwrap();
    let lines = "{\"event\": \"burst\"}\n".repeat(100);
    for number in 0..1_000 {
        store.write(&interval(number * 10, 40)).unwrap();
        if number % 7 == 0 {
            store
                .write_events(lines.as_bytes(), [BEGAN + number * 10 * SECOND; 2])
                .unwrap();
        }
        assert!(on_disk() <= bytes_max, "{}", on_disk());
        assert_eq!(store.bytes(), on_disk());
        if number == 500 {
            drop(store);
            store = Store::open(settings.clone()).unwrap();
        }
    }
    assert!(on_disk() > bytes_max / 2);
    // The last minute is whole.
    let (sums, _) = read(
        folder.path(),
        [BEGAN + 9_940 * SECOND, BEGAN + 10_000 * SECOND],
        1_000,
    );
    assert_eq!(
        sums["target:t39"].sent, 60,
        "{:?}",
        sums["target:t39"].spans
    );
    // Nothing that is too large for it is tried for ever.
    let error = store.write(&interval(10_000, 20_000)).unwrap_err();
    assert!(error.to_string().contains("max_mib"), "{error}");
    store.write(&interval(10_010, 1)).unwrap();
}

#[test]
fn a_clock_that_goes_back_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(settings(folder.path())).unwrap();
    let seconds = [
        0, 10, 20, 60, 70, -40_000, -39_990, -7, 3, 7_200, 7_210, 30, 40,
    ];
    let intervals: Vec<Interval> = seconds.iter().map(|second| interval(*second, 2)).collect();
    for (number, one) in intervals.iter().enumerate() {
        store.write(one).unwrap();
        if number % 3 == 0 {
            drop(store);
            store = Store::open(settings(folder.path())).unwrap();
        }
    }
    for intervals_max in [i64::MAX, 1_000, 1] {
        let (sums, told) = read(folder.path(), [0, i64::MAX], intervals_max);
        assert_eq!(told, NOTHING);
        assert_eq!(without_spans(sums), without_spans(truth(intervals.iter())));
    }
}

/// The interval that an end has cut is no reason to take minutes in place of fine intervals.
#[test]
fn a_short_last_interval_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(settings(folder.path())).unwrap();
    for number in 0..30 {
        store.write(&interval(number * 10, 1)).unwrap();
    }
    let mut last = interval(300, 1);
    last.span[1] = last.span[0] + SECOND / 100;
    store.write(&last).unwrap();
    let (sums, _) = read(folder.path(), [BEGAN, BEGAN + 310 * SECOND], 31);
    assert_eq!(sums["target:t0"].spans.len(), 31);
}

#[test]
fn a_folder_has_one_writer() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(settings(folder.path())).unwrap();
    let error = Store::open(settings(folder.path())).unwrap_err();
    assert!(error.contains("in use by another process"), "{error}");
    drop(store);
    Store::open(settings(folder.path())).unwrap();
}

#[test]
fn events_come_out_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(settings(folder.path())).unwrap();
    store
        .write_events(b"{\"at\": 1}\n{\"at\": 2}\n", [1, 2])
        .unwrap();
    store.write_events(b"{\"at\": 9}\n", [9, 9]).unwrap();
    let mut lines = Vec::new();
    let span = Span {
        from_ns: 2,
        to_ns: 9,
        intervals_max: 1,
    };
    let told = Reader::new(folder.path()).events(span, &mut |line| lines.push(line.to_vec()));
    assert_eq!(told.unwrap(), NOTHING);
    // Those that were written together.
    assert_eq!(lines, [b"{\"at\": 1}".to_vec(), b"{\"at\": 2}".to_vec()]);
}

fn buckets() -> impl Strategy<Value = Vec<(u32, u64)>> {
    let counts = prop_oneof![5 => Just(1_u64), 1 => 1..u64::MAX / 8];
    proptest::collection::btree_map(0..=PLACE_MAX, counts, 0..6)
        .prop_map(|map| map.into_iter().collect())
}

fn cell() -> impl Strategy<Value = Cell> {
    let stamp = proptest::sample::select(vec![
        StampSource::User,
        StampSource::Kernel,
        StampSource::Hw,
    ]);
    let numbers = (
        any::<i128>(),
        any::<i64>(),
        any::<i64>(),
        any::<u64>(),
        any::<u64>(),
    );
    let window =
        (buckets(), buckets(), numbers, stamp).prop_map(|(positive, negative, numbers, stamp)| {
            let (sum, one, other, below, above) = numbers;
            Cell::Window(SparseWindow {
                sum,
                min: one.min(other),
                max: one.max(other),
                below,
                above,
                stamp,
                positive,
                negative,
            })
        });
    let gauge = (any::<i64>(), any::<i64>(), any::<i64>());
    prop_oneof![
        3 => window,
        1 => any::<u64>().prop_map(Cell::Count),
        1 => gauge.prop_map(|(last, min, max)| Cell::Gauge(Gauge { last, min, max })),
    ]
}

proptest! {
    #[test]
    fn a_cell_comes_out_as_it_was(cells in proptest::collection::vec(cell(), 1..4)) {
        let mut bytes = Vec::new();
        for cell in &cells {
            cell.write(&mut bytes);
        }
        let mut read = Bytes(&bytes);
        for cell in &cells {
            let found = Cell::read(&mut read);
            prop_assert_eq!(found.as_ref(), Some(cell));
        }
        prop_assert!(read.0.is_empty());
    }

    /// Whatever a file says, it is refused or read, and takes no more memory than it has bytes.
    #[test]
    fn no_bytes_are_too_wrong_to_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut read = Bytes(&bytes);
        while Cell::read(&mut read).is_some() {}
        let mut names = names::Read::default();
        let _ = names.add(&bytes);
        assert!(frame::blocks(&bytes).count() <= bytes.len());
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// A daemon that is killed and started at any time, in any minute, loses nothing of what was written, and rolls
    /// everything up once.
    #[test]
    fn restarts_lose_nothing(kills in proptest::collection::btree_set(0..800_i64, 0..6)) {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(settings(folder.path())).unwrap();
        let intervals: Vec<Interval> = (0..800).map(|number| interval(number * 10, 1)).collect();
        for (number, one) in (0..).zip(&intervals) {
            if kills.contains(&number) {
                drop(store);
                store = Store::open(settings(folder.path())).unwrap();
            }
            store.write(one).unwrap();
        }
        let truth = without_spans(truth(intervals.iter()));
        for intervals_max in [1_000, 200, 3] {
            let (sums, told) = read(folder.path(), [BEGAN, BEGAN + 3 * HOUR], intervals_max);
            prop_assert_eq!(told, NOTHING);
            prop_assert_eq!(without_spans(sums), truth.clone());
        }
    }
}
