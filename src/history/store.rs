//! Writes intervals, rolls them up, and drops what is too old or too much.
//!
//! Nothing depends on the wall clock going forward: intervals are counted, and one of a coarser tier says which ones of
//! the finer tier are in it. A clock that is set back begins another interval, as any other time does.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::PathBuf;

use crate::history::frame::{Frame, Kind};
use crate::history::gather::Interval;
use crate::history::names::Given;
use crate::history::roll::{self, Pieces};
use crate::history::segment::{Name, Open, Segment, list};
use crate::history::tier::Tier;
use crate::limits::{HISTORY_FILES_MAX, HISTORY_RUN_MAX};

/// The file whose lock says that somebody writes.
const LOCK: &str = "lock";

/// Files are at most this part of all bytes, so that a dropped one is not half of what there is.
const PARTS: u64 = 32;

/// Where and how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A folder that nobody else writes to.
    pub folder: PathBuf,
    /// How long anything is kept, in nanoseconds.
    pub keep_ns: i64,
    /// Bytes of all files.
    pub bytes_max: u64,
    /// The length of a fine interval in nanoseconds.
    pub interval_ns: i64,
}

/// Intervals in a row that become one of the coarser tier.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// Which of the coarser tier's intervals, since 1970.
    period: i64,
    first: u64,
    last: u64,
    count: usize,
}

/// A file that nobody appends to.
#[derive(Debug)]
struct Closed {
    name: Name,
    bytes: u64,
    /// The number of its last interval.
    last: u64,
}

/// The files of a tier.
#[derive(Debug, Default)]
struct Files {
    /// The oldest first.
    closed: VecDeque<Closed>,
    open: Option<Open>,
    /// The number of the next interval.
    next: u64,
    /// What is to be rolled up.
    run: Option<Run>,
}

impl Files {
    fn bytes(&self) -> u64 {
        let closed: u64 = self.closed.iter().map(|file| file.bytes).sum();
        closed + self.open.as_ref().map_or(0, |open| open.bytes)
    }

    fn count(&self) -> usize {
        self.closed.len() + usize::from(self.open.is_some())
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Store {
    settings: Settings,
    /// Locked for as long as this lives.
    _lock: File,
    tiers: [Files; Tier::ALL.len()],
    serial: u64,
    notes: Vec<String>,
}

impl Store {
    /// Opens a folder, or makes it, and rolls up what an earlier run has left. The error is a sentence.
    pub(crate) fn open(settings: Settings) -> Result<Self, String> {
        let folder = settings.folder.display().to_string();
        let failed = |what: &str| {
            let text = format!("cannot {what} {folder}");
            move |error: io::Error| format!("{text}: {error}")
        };
        fs::create_dir_all(&settings.folder).map_err(failed("make the folder"))?;
        let lock = settings.folder.join(LOCK);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(lock);
        let lock = lock.map_err(failed("write to"))?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => {
                return Err(format!(
                    "{folder} is in use by another process; give each daemon a `dir` of its own"
                ));
            }
            locked => locked.map_err(io::Error::from).map_err(failed("lock"))?,
        }
        let mut store = Self {
            settings,
            _lock: lock,
            tiers: Default::default(),
            serial: 1,
            notes: Vec::new(),
        };
        store.find().map_err(failed("read"))?;
        Ok(store)
    }

    /// Returns what there was to be told since the last call, a sentence each.
    pub(crate) fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// Returns the bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.tiers.iter().map(Files::bytes).sum()
    }

    /// Writes an interval, and rolls up what is over with it. After an error nothing of it is there.
    pub(crate) fn write(&mut self, interval: &Interval) -> io::Result<()> {
        self.drop_old(interval.span[1]);
        let tier = Tier::Fine;
        let number = self.tiers[tier.index()].next;
        self.append(
            tier,
            Kind::Interval,
            number,
            [0; 2],
            interval.span,
            &mut |names| {
                let mut frame = Frame::default();
                for (subject, row) in &interval.rows {
                    if roll::add(&mut frame, names, subject, row).is_none() {
                        return Ok(None);
                    }
                }
                Ok(Some(frame))
            },
        )?;
        self.tiers[tier.index()].next = number + 1;
        self.go_on(tier, number, interval.span);
        Ok(())
    }

    /// Writes events: lines of JSON, each with its end, and the times of the first and the last one.
    pub(crate) fn write_events(&mut self, lines: &[u8], span: [i64; 2]) -> io::Result<()> {
        self.append(Tier::Events, Kind::Events, 0, [0; 2], span, &mut |_| {
            Ok(Some(Frame::of(lines.to_vec())))
        })
    }

    /// Finds what an earlier run has left.
    fn find(&mut self) -> io::Result<()> {
        for (name, bytes) in list(&self.settings.folder)? {
            self.serial = self.serial.max(name.serial.saturating_add(1));
            let (tier, last) = (name.tier.index(), 0);
            self.tiers[tier]
                .closed
                .push_back(Closed { name, bytes, last });
        }
        let mut rolled_up = [0; Tier::INTERVALS.len()];
        let mut left = Vec::new();
        // The coarsest first: it says what of the next finer one is to be rolled up.
        for tier in Tier::INTERVALS.into_iter().rev() {
            let mut last = rolled_up[tier.index()];
            let mut through = 0;
            for file in &mut self.tiers[tier.index()].closed {
                let path = file.name.path(&self.settings.folder);
                let segment = match Segment::open(&path) {
                    Ok(segment) => segment,
                    Err(error) => {
                        self.notes
                            .push(format!("cannot read {}: {error}", path.display()));
                        continue;
                    }
                };
                if let Some(damage) = segment.damage {
                    let path = path.display();
                    self.notes.push(format!(
                        "{path} is {damage}; what is behind that is passed over"
                    ));
                }
                for found in &segment.frames {
                    file.last = file.last.max(found.head.number);
                    last = last.max(found.head.number);
                    through = through.max(found.head.made_of[1]);
                    if found.head.number > rolled_up[tier.index()] && tier.coarser().is_some() {
                        left.push((tier, found.head.number, found.head.span));
                    }
                }
            }
            if let Some(finer) = tier.index().checked_sub(1) {
                rolled_up[finer] = through;
            }
            self.tiers[tier.index()].next = last + 1;
        }
        // Minutes before the fine intervals, which make more of them.
        for (tier, number, span) in left {
            self.go_on(tier, number, span);
        }
        Ok(())
    }

    /// Notes that an interval is there. If it begins another one of the coarser tier, the one before is made.
    fn go_on(&mut self, tier: Tier, number: u64, span: [i64; 2]) {
        let Some(coarser) = tier.coarser() else {
            return;
        };
        let period = span[0].div_euclid(coarser.interval_ns(self.settings.interval_ns));
        let run = &mut self.tiers[tier.index()].run;
        if let Some(run) = run
            && run.period == period
            && run.count < HISTORY_RUN_MAX
        {
            (run.last, run.count) = (number, run.count + 1);
            return;
        }
        let begun = Run {
            period,
            first: number,
            last: number,
            count: 1,
        };
        if let Some(over) = run.replace(begun)
            && let Err(error) = self.roll_up(tier, coarser, over)
        {
            let note = format!(
                "the intervals of one {} are not rolled up: {error}",
                coarser.word()
            );
            self.notes.push(note);
        }
    }

    fn roll_up(&mut self, tier: Tier, coarser: Tier, run: Run) -> io::Result<()> {
        let files = &self.tiers[tier.index()];
        let closed = files.closed.iter().filter(|file| file.last >= run.first);
        let names = closed.map(|file| &file.name);
        let names = names.chain(files.open.as_ref().map(|open| &open.name));
        let paths: Vec<PathBuf> = names.map(|name| name.path(&self.settings.folder)).collect();
        let paths = paths.iter().map(PathBuf::as_path);
        let mut pieces = Pieces::find(paths, &(run.first..=run.last))?;
        let Some(span) = pieces.span() else {
            return Ok(());
        };
        let number = self.tiers[coarser.index()].next;
        let made_of = [run.first, run.last];
        self.append(
            coarser,
            Kind::Interval,
            number,
            made_of,
            span,
            &mut |names| pieces.frame(names),
        )?;
        if pieces.damaged > 0 {
            let note = format!("{} damaged parts are passed over", pieces.damaged);
            self.notes.push(note);
        }
        self.tiers[coarser.index()].next = number + 1;
        self.go_on(coarser, number, span);
        Ok(())
    }

    /// Appends a frame to the file of a tier. `fill` makes it, again if a file has no room for its names.
    fn append(
        &mut self,
        tier: Tier,
        kind: Kind,
        number: u64,
        made_of: [u64; 2],
        span: [i64; 2],
        fill: &mut dyn FnMut(&mut Given) -> io::Result<Option<Frame>>,
    ) -> io::Result<()> {
        if !self.has_room_for(tier, span[0]) {
            self.close(tier);
        }
        for _ in 0..2 {
            let mut open = match self.tiers[tier.index()].open.take() {
                Some(open) => open,
                None => self.begin(tier, span[0])?,
            };
            let frame = match fill(&mut open.names) {
                Ok(Some(frame)) => frame,
                filled => {
                    self.tiers[tier.index()].open = Some(open);
                    // The names that were given are not in it.
                    self.close(tier);
                    filled?;
                    continue;
                }
            };
            let bytes = frame.bytes() + open.names.fresh_bytes();
            if let Err(error) = self.make_room(bytes, open.bytes) {
                self.give_up(open);
                return Err(error);
            }
            if let Err(error) = open.append(&frame, kind, number, made_of, span) {
                self.give_up(open);
                return Err(error);
            }
            self.tiers[tier.index()].open = Some(open);
            return Ok(());
        }
        Err(io::Error::other("more names than a file has room for"))
    }

    /// True if the open file of a tier takes what begins at this time.
    fn has_room_for(&self, tier: Tier, start_ns: i64) -> bool {
        let Some(open) = &self.tiers[tier.index()].open else {
            return true;
        };
        let time = |s: i64| s.div_euclid(tier.segment_ns() / 1_000_000_000);
        let is_small = open.bytes < self.settings.bytes_max / PARTS;
        is_small && time(open.name.start_s) == time(start_ns.div_euclid(1_000_000_000))
    }

    fn begin(&mut self, tier: Tier, start_ns: i64) -> io::Result<Open> {
        let name = Name {
            tier,
            serial: self.serial,
            start_s: start_ns.div_euclid(1_000_000_000).max(0),
        };
        self.serial += 1;
        Open::create(&self.settings.folder, name)
    }

    /// Closes the open file of a tier. Where the disk does not take it, a kill of this process does no harm still.
    fn close(&mut self, tier: Tier) {
        if let Some(open) = self.tiers[tier.index()].open.take() {
            let closed = self.closed(&open);
            if let Err(error) = open.close() {
                self.notes
                    .push(format!("cannot write {} to the disk: {error}", tier.word()));
            }
            self.tiers[tier.index()].closed.push_back(closed);
        }
    }

    /// The open file of a tier as it is from now on. Its last interval is the last one of the tier.
    fn closed(&self, open: &Open) -> Closed {
        Closed {
            name: open.name.clone(),
            bytes: open.bytes,
            last: self.tiers[open.name.tier.index()].next.saturating_sub(1),
        }
    }

    /// Leaves a file that a write has failed on: its end may be half of a frame.
    fn give_up(&mut self, open: Open) {
        let closed = self.closed(&open);
        drop(open);
        let path = closed.name.path(&self.settings.folder);
        if closed.bytes == 0 {
            // A full disk must not fill with these.
            let _ = fs::remove_file(path);
            return;
        }
        let cut = OpenOptions::new().write(true).open(&path);
        // Readers pass over what is left of it.
        let _ = cut.and_then(|file| file.set_len(closed.bytes));
        self.tiers[closed.name.tier.index()]
            .closed
            .push_back(closed);
    }

    /// Drops files that are older than they are kept.
    fn drop_old(&mut self, now_ns: i64) {
        for tier in Tier::ALL {
            let kept_ns = tier
                .keep_ns(self.settings.keep_ns)
                .saturating_add(tier.segment_ns());
            let is_old = |name: &Name| {
                let start_ns = name.start_s.saturating_mul(1_000_000_000);
                start_ns.saturating_add(kept_ns) < now_ns
            };
            let files = &self.tiers[tier.index()];
            if files.open.as_ref().is_some_and(|open| is_old(&open.name)) {
                self.close(tier);
            }
            while let Some(file) = self.tiers[tier.index()].closed.front() {
                if !is_old(&file.name) {
                    break;
                }
                self.drop_oldest(tier);
            }
        }
    }

    /// Drops files until so many bytes have room. `held` are those of the file that they are for.
    fn make_room(&mut self, bytes: u64, held: u64) -> io::Result<()> {
        if bytes > self.settings.bytes_max {
            return Err(io::Error::other("an interval is larger than `max_mib`"));
        }
        while self.bytes() + held + bytes > self.settings.bytes_max
            || self.files() >= HISTORY_FILES_MAX / 2
        {
            let has_some = |tier: &Tier| self.tiers[tier.index()].count() > 0;
            let over = |tier: &Tier| self.tiers[tier.index()].bytes() * 16 / tier.share();
            let Some(tier) = Tier::ALL.into_iter().filter(has_some).max_by_key(over) else {
                return Err(io::Error::other(
                    "`max_mib` has no room for another interval",
                ));
            };
            if self.tiers[tier.index()].closed.is_empty() {
                self.close(tier);
            }
            self.drop_oldest(tier);
        }
        Ok(())
    }

    fn files(&self) -> usize {
        self.tiers.iter().map(Files::count).sum()
    }

    fn drop_oldest(&mut self, tier: Tier) {
        let Some(Closed { name, .. }) = self.tiers[tier.index()].closed.pop_front() else {
            return;
        };
        let path = name.path(&self.settings.folder);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                self.notes
                    .push(format!("cannot remove {}: {error}", path.display()));
            }
            _ => {}
        }
    }
}
