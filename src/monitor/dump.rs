//! The thread that writes dumps: one file for each burst and snapshot, and the oldest removed.
//!
//! A file is written under a hidden name, and renamed when it is whole. A dump that cannot be
//! written is counted. The first failure after a success is logged.

mod line;
mod written;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use crate::limits::DUMP_NAME_BYTES_MAX;
use crate::monitor::dump::line::LineWriter;
pub(in crate::monitor) use crate::monitor::dump::written::Written;
use crate::proto::{Direction, Wall};
use crate::record::{Dump, Event, EventKind, Order};

/// Our files are those whose names begin and end so. All others in the folder are left alone.
const PREFIXES: [&str; 2] = ["lm-burst-", "lm-snapshot-"];
const SUFFIX: &str = ".jsonl";

/// Bytes of the time in a name, by which names sort: `20260112T120854.587069267Z`.
const TIME_BYTES: usize = 26;

/// The names of files that are not whole.
const SNAPSHOT_DRAFT: &str = ".lm-dump.partial";
const BURST_DRAFT: &str = ".lm-dump.burst";

/// The running thread.
#[derive(Debug)]
pub(super) struct DumpThread {
    ended: Receiver<()>,
    #[cfg(feature = "http-server")]
    written: Arc<Written>,
}

impl DumpThread {
    /// Starts the thread. It ends after the last order, once nobody can send another one.
    pub(super) fn spawn(
        folder: PathBuf,
        dumps_max: usize,
        host: &str,
        orders: Receiver<Order>,
        lost: Arc<AtomicU64>,
    ) -> io::Result<Self> {
        let mut writer = DumpWriter::new(folder, dumps_max, host);
        #[cfg(feature = "http-server")]
        let written = Arc::clone(&writer.written);
        let (sender, ended) = channel();
        thread::Builder::new()
            .name("lm-dump".into())
            .spawn(move || {
                for order in orders {
                    writer.take(&order, &lost);
                }
                writer.end_snapshot(&lost);
                // The receiver may have given up waiting.
                let _ = sender.send(());
            })?;
        Ok(Self {
            ended,
            #[cfg(feature = "http-server")]
            written,
        })
    }

    /// Returns what has been written, now and later.
    #[cfg(feature = "http-server")]
    pub(super) fn written(&self) -> Arc<Written> {
        Arc::clone(&self.written)
    }

    /// Waits for its end, at most for `timeout`. False if it still writes then.
    pub(super) fn join(self, timeout: Duration) -> bool {
        !matches!(
            self.ended.recv_timeout(timeout),
            Err(RecvTimeoutError::Timeout)
        )
    }
}

/// A file that is being written.
struct Draft {
    path: PathBuf,
    file: BufWriter<File>,
}

/// Writes dumps into one folder.
struct DumpWriter {
    written: Arc<Written>,
    lines: LineWriter,
    /// The snapshot that is being written, and when it was asked for. Its file is `None` once that
    /// has failed.
    snapshot: Option<(Wall, Option<Draft>)>,
    is_failing: bool,
}

impl DumpWriter {
    fn new(folder: PathBuf, dumps_max: usize, host: &str) -> Self {
        Self {
            written: Arc::new(Written::new(folder, dumps_max)),
            lines: LineWriter::new(host),
            snapshot: None,
            is_failing: false,
        }
    }

    fn take(&mut self, order: &Order, lost: &AtomicU64) {
        match order {
            Order::Burst(dump) => {
                let written = self.write_burst(dump);
                self.judge(written, lost);
            }
            Order::Part(asked, dump) => {
                let written = self.write_part(*asked, dump);
                self.note_failure(written, lost);
            }
            Order::End(asked) => {
                // Without a flow there is an empty file, for whoever waits for one.
                let begun = self.begin_snapshot(*asked);
                self.note_failure(begun, lost);
                self.end_snapshot(lost);
            }
        }
    }

    fn write_burst(&mut self, dump: &Dump) -> io::Result<()> {
        let mut draft = self.draft(BURST_DRAFT)?;
        if let Err(error) = self.lines.write(dump, &mut draft.file) {
            let _ = fs::remove_file(&draft.path);
            return Err(error);
        }
        self.finish(draft, &burst_name(dump), dump.event.clone())
    }

    fn write_part(&mut self, asked: Wall, dump: &Dump) -> io::Result<()> {
        self.begin_snapshot(asked)?;
        if let Some((_, draft)) = &mut self.snapshot
            && let Some(open) = draft
            && let Err(error) = self.lines.write(dump, &mut open.file)
        {
            let _ = fs::remove_file(&open.path);
            *draft = None;
            return Err(error);
        }
        Ok(())
    }

    /// Begins a snapshot, unless one is being written or has failed.
    fn begin_snapshot(&mut self, asked: Wall) -> io::Result<()> {
        if self.snapshot.is_none() {
            self.snapshot = Some((asked, None));
            self.snapshot = Some((asked, Some(self.draft(SNAPSHOT_DRAFT)?)));
        }
        Ok(())
    }

    /// Names the snapshot, if one is being written.
    fn end_snapshot(&mut self, lost: &AtomicU64) {
        if let Some((asked, Some(draft))) = self.snapshot.take() {
            let written = self.finish(draft, &format!("{}{}", PREFIXES[1], time(asked)), None);
            self.judge(written, lost);
        }
    }

    fn draft(&self, name: &str) -> io::Result<Draft> {
        fs::create_dir_all(self.written.folder())?;
        let path = self.written.folder().join(name);
        let file = BufWriter::new(File::create(&path)?);
        Ok(Draft { path, file })
    }

    /// Names a file that is whole, and removes the oldest ones.
    fn finish(&self, mut draft: Draft, name: &str, event: Option<Arc<Event>>) -> io::Result<()> {
        let path = free_path(self.written.folder(), name);
        let named = draft
            .file
            .flush()
            .and_then(|()| fs::rename(&draft.path, &path));
        if let Err(error) = named {
            let _ = fs::remove_file(&draft.path);
            return Err(error);
        }
        tracing::info!(path = %path.display(), "dumped");
        if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
            self.written.add(name.to_owned(), event);
        }
        self.remove_oldest()
    }

    /// Removes the oldest files: first those of earlier runs by the times in their names, then our own in their order.
    fn remove_oldest(&self) -> io::Result<()> {
        let mut dumps = Vec::new();
        for entry in fs::read_dir(self.written.folder())? {
            let name = entry?.file_name();
            if let Some(name) = name.to_str()
                && let Some(time) = time_of(name)
            {
                let order = self.written.place(name);
                dumps.push((order, time.to_owned(), name.to_owned()));
            }
        }
        dumps.sort();
        let more = dumps.len().saturating_sub(self.written.dumps_max());
        for (.., name) in &dumps[..more] {
            match fs::remove_file(self.written.folder().join(name)) {
                // Another program has removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
        Ok(())
    }

    /// Notes how a whole dump has ended.
    fn judge(&mut self, written: io::Result<()>, lost: &AtomicU64) {
        self.is_failing &= written.is_err();
        self.note_failure(written, lost);
    }

    /// Counts a dump that is lost, and logs the first one after a success.
    fn note_failure(&mut self, written: io::Result<()>, lost: &AtomicU64) {
        let Err(error) = written else { return };
        lost.fetch_add(1, Ordering::Relaxed);
        if !std::mem::replace(&mut self.is_failing, true) {
            let folder = self.written.folder().display();
            tracing::error!(%folder, %error, "cannot write a dump; further failures are counted");
        }
    }
}

/// Returns a path that no file has: two bursts may have the same time and name.
fn free_path(folder: &Path, name: &str) -> PathBuf {
    let numbers = 1..;
    let suffixes =
        std::iter::once(String::new()).chain(numbers.map(|number: u32| format!("-{number}")));
    let mut paths = suffixes.map(|more| folder.join(format!("{name}{more}{SUFFIX}")));
    let free = paths.find(|path| !path.exists());
    free.unwrap_or_else(|| folder.join(name))
}

/// Returns the time in the name of one of our files.
fn time_of(name: &str) -> Option<&str> {
    let inside = name.strip_suffix(SUFFIX)?;
    let rest = PREFIXES
        .iter()
        .find_map(|prefix| inside.strip_prefix(prefix))?;
    let time = rest.get(..TIME_BYTES)?;
    let is_time = time.bytes().enumerate().all(|(place, byte)| match place {
        8 => byte == b'T',
        15 => byte == b'.',
        25 => byte == b'Z',
        _ => byte.is_ascii_digit(),
    });
    is_time.then_some(time)
}

fn burst_name(dump: &Dump) -> String {
    let began = dump.event.as_ref().map_or(dump.from, |event| event.at);
    let direction = match dump.event.as_ref().map(|event| &event.kind) {
        Some(EventKind::Burst(burst)) => burst.direction.map_or("loss", Direction::as_str),
        _ => "none",
    };
    // A target's name comes from the user or the network: it may hold any character.
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') {
            c
        } else {
            '_'
        }
    };
    let target: String = dump
        .labels
        .target
        .chars()
        .map(plain)
        .take(DUMP_NAME_BYTES_MAX)
        .collect();
    let flow = dump.flow.as_str();
    format!("{}{}-{flow}-{direction}-{target}", PREFIXES[0], time(began))
}

/// Formats a time as it stands in names, in UTC.
fn time(at: Wall) -> String {
    at.to_string().replace(['-', ':'], "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{ClockState, FlowKind, Labels, Origin, Outcome, Stamp, StampSource, Trace};
    use crate::record::{Burst, Evidence, Probe, Tags};

    const START: i64 = 1_768_219_134_587_069_267;

    fn dump(start: i64, target: &str) -> Dump {
        let labels = Arc::new(Labels::new("a", target, &["isp:\"x\""]));
        let stamp = |ns| {
            Some(Stamp {
                at: Wall::from_unix_nanos(start + ns),
                source: StampSource::Kernel,
            })
        };
        let trace = |seq, stamps, outcome, lost_on| {
            Probe::new(&Trace {
                origin: Origin(0),
                kind: FlowKind::Udp,
                seq,
                stamps,
                outcome,
                lost_on,
            })
        };
        let all = [stamp(0), stamp(250), stamp(900), stamp(1_200)];
        let one = [stamp(1_000), None, None, None];
        let event = Event {
            at: Wall::from_unix_nanos(start),
            kind: EventKind::Burst(Burst {
                flow: FlowKind::Udp,
                direction: Some(Direction::Forward),
                duration_ns: 4_000,
                peak_ns: 900,
                mean_ns: 500,
                base_ns: -50,
                probes: 2,
                lost: 1,
                incident: 3,
                stamp: StampSource::Kernel,
                suspect: None,
                evidence: Evidence::default(),
            }),
            tags: Arc::new(Tags::Flow(Arc::clone(&labels))),
            flow: None,
        };
        Dump {
            labels,
            flow: FlowKind::Udp,
            event: Some(Arc::new(event)),
            from: Wall::from_unix_nanos(start - 1_000),
            to: Wall::from_unix_nanos(start + 5_000),
            is_complete: true,
            clock: None,
            own_clock: Some(ClockState::default()),
            probes: vec![
                trace(17, all, Outcome::Received, None),
                trace(18, one, Outcome::Lost, Some(Direction::Forward)),
            ],
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_dump_says_what_it_is_and_holds_every_probe() {
        let folder = tempfile::tempdir().unwrap();
        let lost = AtomicU64::new(0);
        let mut writer = DumpWriter::new(folder.path().join("new"), 10, "me");
        writer.take(&Order::Burst(Box::new(dump(START, "../b c"))), &lost);
        let name = "lm-burst-20260112T115854.587069267Z-udp-forward-.._b_c.jsonl";
        assert_eq!(names(&folder.path().join("new")), [name]);
        let text = fs::read_to_string(folder.path().join("new").join(name)).unwrap();
        insta::assert_snapshot!(text.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
        assert_eq!(lost.into_inner(), 0);
    }

    #[test]
    fn the_oldest_go_and_what_is_not_ours_stays() {
        let folder = tempfile::tempdir().unwrap();
        let others = ["a.jsonl", "lm-burst-notes.jsonl", "lm-snapshot-2026.jsonl"];
        for name in others {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let lost = AtomicU64::new(0);
        let mut writer = DumpWriter::new(folder.path().to_owned(), 3, "me");
        for second in [4, 1, 3, 2, 0, 4] {
            writer.take(
                &Order::Burst(Box::new(dump(second * 1_000_000_000, "b"))),
                &lost,
            );
        }
        writer.take(
            &Order::Part(Wall::from_unix_nanos(3_500_000_000), Box::new(dump(0, "b"))),
            &lost,
        );
        writer.take(&Order::End(Wall::from_unix_nanos(3_500_000_000)), &lost);
        let wanted = [
            "a.jsonl",
            // Written after the one of the second 4, so the clock was set.
            "lm-burst-19700101T000000.000000000Z-udp-forward-b.jsonl",
            "lm-burst-19700101T000004.000000000Z-udp-forward-b.jsonl",
            "lm-burst-notes.jsonl",
            "lm-snapshot-19700101T000003.500000000Z.jsonl",
            "lm-snapshot-2026.jsonl",
        ];
        assert_eq!(names(folder.path()), wanted);
        assert_eq!(lost.into_inner(), 0);
    }

    /// The next run does not know in which order the last one wrote, but for the times in the names.
    #[test]
    fn what_an_earlier_run_has_left_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let lost = AtomicU64::new(0);
        for seconds in [[7_000, 7_001, 7_002], [1, 0, 3_600]] {
            let mut writer = DumpWriter::new(folder.path().to_owned(), 4, "me");
            for second in seconds {
                let dump = Box::new(dump(second * 1_000_000_000, "b"));
                writer.take(&Order::Burst(dump), &lost);
            }
        }
        let names = names(folder.path());
        let times: Vec<_> = names.iter().filter_map(|name| time_of(name)).collect();
        let times: Vec<_> = times.iter().map(|time| &time[9..15]).collect();
        assert_eq!(times, ["000000", "000001", "010000", "015642"]);
    }

    #[test]
    fn a_snapshot_is_one_file_beside_bursts_that_come_between() {
        let folder = tempfile::tempdir().unwrap();
        let lost = AtomicU64::new(0);
        let mut writer = DumpWriter::new(folder.path().to_owned(), 9, "me");
        let asked = Wall::from_unix_nanos(START);
        writer.take(&Order::Part(asked, Box::new(dump(START, "b"))), &lost);
        writer.take(&Order::Burst(Box::new(dump(START, "c"))), &lost);
        writer.take(&Order::Part(asked, Box::new(dump(START, "d"))), &lost);
        // The daemon ends before the snapshot does.
        writer.end_snapshot(&lost);
        let names = names(folder.path());
        assert_eq!(names.len(), 2, "{names:?}");
        let text = fs::read_to_string(folder.path().join(&names[1])).unwrap();
        let headers = text.lines().filter(|line| line.contains("\"dump\""));
        assert_eq!((headers.count(), text.lines().count()), (2, 6));
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let blocked = folder.path().join("file");
        fs::write(&blocked, "").unwrap();
        let lost = AtomicU64::new(0);
        let mut writer = DumpWriter::new(blocked.clone(), 10, "me");
        writer.take(&Order::Burst(Box::new(dump(0, "b"))), &lost);
        writer.take(&Order::Part(Wall::default(), Box::new(dump(0, "b"))), &lost);
        writer.take(&Order::Part(Wall::default(), Box::new(dump(0, "b"))), &lost);
        writer.take(&Order::End(Wall::default()), &lost);
        assert_eq!(lost.load(Ordering::Relaxed), 2, "the snapshot is one");
        assert!(writer.is_failing);
        fs::remove_file(blocked).unwrap();
        writer.take(&Order::Burst(Box::new(dump(0, "b"))), &lost);
        assert!(!writer.is_failing, "the next failure is told again");
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        let known = [
            (0, "19700101T000000.000000000Z"),
            (-1, "19691231T235959.999999999Z"),
            (951_868_799_000_000_001, "20000229T235959.000000001Z"),
            (1_798_761_600_000_000_000, "20270101T000000.000000000Z"),
        ];
        for (ns, text) in known {
            assert_eq!(time(Wall::from_unix_nanos(ns)), text);
        }
    }
}
