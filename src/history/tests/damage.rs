//! Files that a kill has cut, that a disk has damaged, or that cannot be written.

use std::fs::{self, File, OpenOptions};
use std::path::PathBuf;

use super::*;

/// Twenty minutes, and the list of them.
fn written(folder: &Path) -> Vec<Interval> {
    let mut store = Store::open(settings(folder)).unwrap();
    let intervals: Vec<Interval> = (0..120).map(|number| interval(number * 10, 1)).collect();
    for one in &intervals {
        store.write(one).unwrap();
    }
    store.write_events(b"{\"at\": 1}\n", [BEGAN; 2]).unwrap();
    intervals
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.retain(|path| path.extension().is_some());
    paths
}

/// Whatever is read is a part of what was written, and each interval is as it was. Returns how many probes it has.
fn is_part(folder: &Path, intervals: &[Interval]) -> u64 {
    let (sums, _) = read(folder, [0, i64::MAX], i64::MAX);
    let Some(sum) = sums.get("target:t0") else {
        return 0;
    };
    let mut known = sum.spans.clone();
    known.sort_unstable();
    known.dedup();
    assert_eq!(known.len(), sum.spans.len(), "an interval is read twice");
    let read = |one: &&Interval| {
        sum.spans
            .iter()
            .any(|[start, end]| *start <= one.span[0] && one.span[1] <= *end)
    };
    let truth = truth(intervals.iter().filter(read));
    let truth = truth.get("target:t0").cloned().unwrap_or_default();
    assert_eq!((sum.sent, &sum.window), (truth.sent, &truth.window));
    sum.sent
}

/// A kill can cut a file anywhere. What is before the cut is there, the next run goes on behind it.
#[test]
fn a_file_that_is_cut_anywhere_is_read_up_to_there() {
    let folder = tempfile::tempdir().unwrap();
    let intervals = written(folder.path());
    let fine = files(folder.path())
        .into_iter()
        .find(|path| path.to_string_lossy().contains("fine"))
        .unwrap();
    let whole = fs::read(&fine).unwrap();
    // Every byte of the last two frames and of what is before them, and then some.
    let last = (whole.len() - 400)..whole.len();
    let some = (0..whole.len() - 400).step_by(97);
    let mut seen = Vec::new();
    for length in some.chain(last) {
        fs::write(&fine, &whole[..length]).unwrap();
        seen.push(is_part(folder.path(), &intervals));
    }
    assert!(seen.is_sorted(), "a longer file has no less");
    assert_eq!(seen.last(), Some(&1_190));
    // The next run begins behind it and counts on.
    let mut store = Store::open(settings(folder.path())).unwrap();
    let more = interval(1_190, 1);
    store.write(&more).unwrap();
    store.write(&interval(1_200, 1)).unwrap();
    let told = store.take_notes();
    assert_eq!(told, NOTHING, "a cut end is no damage");
    let (sums, _) = read(folder.path(), [0, i64::MAX], 1);
    assert_eq!(sums["target:t0"].sent, 1_210);
}

/// A byte that a disk has changed is told, and costs what it is part of. Nothing that is wrong is shown.
#[test]
fn a_damaged_byte_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let intervals = written(folder.path());
    for path in files(folder.path()) {
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(whole.len() / 150 + 1) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x24;
            fs::write(&path, &damaged).unwrap();
            is_part(folder.path(), &intervals);
            let span = Span {
                from_ns: 0,
                to_ns: i64::MAX,
                intervals_max: 1,
            };
            let reader = Reader::new(folder.path());
            reader
                .events(span, &mut |line| assert_eq!(line, b"{\"at\": 1}"))
                .unwrap();
        }
        fs::write(&path, &whole).unwrap();
    }
    // In the middle of the finest: it is told by whoever reads, and by the next run.
    let fine = files(folder.path())
        .into_iter()
        .find(|path| path.to_string_lossy().contains("fine"))
        .unwrap();
    let mut damaged = fs::read(&fine).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 300].fill(0xff);
    fs::write(&fine, damaged).unwrap();
    let (_, told) = read(folder.path(), [0, i64::MAX], i64::MAX);
    assert!(told.iter().any(|text| text.contains("damaged")), "{told:?}");
    let mut store = Store::open(settings(folder.path())).unwrap();
    let told = store.take_notes();
    assert!(
        told.iter().any(|text| text.contains("damaged at byte")),
        "{told:?}"
    );
    store.write(&interval(1_200, 1)).unwrap();
}

/// Files of others, empty ones, and names that are almost ours.
#[test]
fn what_is_not_ours_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let intervals = written(folder.path());
    for name in [
        "notes.txt",
        "fine-x-1.lmh",
        "fine-1.lmh",
        "slow-0000000001-1.lmh",
        "fine-0000000099-7.lmh",
    ] {
        File::create(folder.path().join(name)).unwrap();
    }
    fs::create_dir(folder.path().join("fine-0000000003-1.lmh")).unwrap();
    assert_eq!(is_part(folder.path(), &intervals), 1_200);
    Store::open(settings(folder.path())).unwrap();
}

/// Nothing can be written for a while. Afterwards it goes on, and what was written before is there.
#[test]
fn writing_goes_on_once_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("history");
    let mut store = Store::open(settings(&inside)).unwrap();
    store.write(&interval(0, 1)).unwrap();
    // An hour later a new file has to be made, and the folder is away.
    let away = folder.path().join("away");
    fs::rename(&inside, &away).unwrap();
    assert!(store.write(&interval(3_600, 1)).is_err());
    assert!(store.write(&interval(3_610, 1)).is_err());
    fs::rename(&away, &inside).unwrap();
    store.write(&interval(3_620, 1)).unwrap();
    let (sums, _) = read(&inside, [0, i64::MAX], i64::MAX);
    assert_eq!(sums["target:t0"].sent, 20);
}

/// After a loss of power the end of a file can be zeros.
#[test]
fn zeros_at_the_end_are_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    let intervals = written(folder.path());
    for path in files(folder.path()) {
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        let length = file.metadata().unwrap().len();
        file.set_len(length + 4_096).unwrap();
    }
    assert_eq!(is_part(folder.path(), &intervals), 1_200);
    let (_, told) = read(folder.path(), [0, i64::MAX], i64::MAX);
    assert_eq!(told, NOTHING);
}
