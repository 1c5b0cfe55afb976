//! Reads what a store has written, also while it writes.
//!
//! A reader holds no lock. What it needs to know of another tier it reads there: an interval of the coarser tier says
//! which finer ones are in it. So every interval is read once, whatever is rolled up or dropped meanwhile.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::history::cell::Cell;
use crate::history::column::Column;
use crate::history::frame::{Found, Head, blocks};
use crate::history::names::{Read, Subject};
use crate::history::roll::cells;
use crate::history::segment::{Segment, list};
use crate::history::tier::Tier;
use crate::limits::HISTORY_DAMAGES_TOLD_MAX;

/// The longest fine interval: a minute.
const INTERVAL_NS_MAX: i64 = 60_000_000_000;

/// A time, in Unix nanoseconds, and how finely it is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from_ns: i64,
    pub(crate) to_ns: i64,
    /// The finest tier that has no more intervals than this in it.
    pub(crate) intervals_max: i64,
}

/// The values of one subject in one interval.
#[derive(Debug)]
pub(crate) struct Part<'a> {
    /// When the interval began and ended.
    pub(crate) span: [i64; 2],
    /// Whose values they are: their tags as published.
    pub(crate) tags: &'a Subject,
    pub(crate) row: Vec<(&'a Column, Cell)>,
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    folder: PathBuf,
}

/// A file with frames that are to be read.
#[derive(Debug)]
struct Wanted {
    path: PathBuf,
    names: Read,
    frames: Vec<Found>,
}

/// A tier, as far as its frames' heads tell.
#[derive(Debug, Default)]
struct Known {
    files: Vec<Wanted>,
    /// The last interval of the finer tier that is in it.
    through: u64,
    /// The length of the longest interval.
    interval_ns: Option<i64>,
}

impl Known {
    fn heads(&self) -> impl Iterator<Item = &Head> {
        let frames = self.files.iter().flat_map(|file| &file.frames);
        frames.map(|found| &found.head)
    }

    fn numbers(&self) -> BTreeSet<u64> {
        self.heads().map(|head| head.number).collect()
    }

    /// Returns which intervals of the finer tier these are made of, as far as their neighbours tell of those that are
    /// not there.
    fn made_of(&self, [first, last]: [u64; 2]) -> [u64; 2] {
        let before = self.heads().filter(|head| head.number < first);
        let before = before.map(|head| head.made_of[1]).max();
        let behind = self.heads().filter(|head| head.number > last);
        let behind = behind.map(|head| head.made_of[0]).min();
        let last = behind.map_or(self.through, |behind| behind.saturating_sub(1));
        [before.unwrap_or(0).saturating_add(1), last]
    }
}

/// What was read, and what could not be.
#[derive(Debug, Default)]
pub(crate) struct Told(pub(crate) Vec<String>);

impl Told {
    fn tell(&mut self, text: String) {
        if self.0.len() < HISTORY_DAMAGES_TOLD_MAX {
            self.0.push(text);
        }
    }
}

impl Reader {
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// Returns the name of the host that wrote, if it says anything of itself.
    pub(crate) fn host(&self) -> io::Result<Option<String>> {
        for (name, _) in list(&self.folder)?.into_iter().rev() {
            let Ok(segment) = Segment::open(&name.path(&self.folder)) else {
                continue;
            };
            let of_host = |tags: &&Subject| tags.len() == 1;
            let host = segment.names.subjects.iter().find(of_host);
            if let Some(host) = host.and_then(|tags| tags.first()?.strip_prefix("source:")) {
                return Ok(Some(host.to_owned()));
            }
        }
        Ok(None)
    }

    /// Calls `each` with the values of every subject that `is_wanted` by its tags, in every interval that touches the
    /// span; intervals ascend in the order in which they were measured. Returns what could not be read.
    pub(crate) fn read(
        &self,
        span: Span,
        is_wanted: &dyn Fn(&[Box<str>]) -> bool,
        each: &mut dyn FnMut(Part<'_>),
    ) -> io::Result<Vec<String>> {
        let mut told = Told::default();
        // The coarsest tier first: what is rolled up meanwhile is then still read of the finer one.
        let mut tiers: Vec<Known> = Vec::new();
        for tier in Tier::INTERVALS.into_iter().rev() {
            tiers.insert(0, self.look(tier, &mut told)?);
        }
        let chosen = choose(&tiers, span);
        for (known, numbers) in tiers.iter().zip(plan(&tiers, chosen)).rev() {
            for file in &known.files {
                let is_in = |found: &&Found| {
                    let head = &found.head;
                    let [start, end] = head.span;
                    numbers.contains(&head.number) && end > span.from_ns && start < span.to_ns
                };
                let mut found = file.frames.iter().filter(is_in).peekable();
                if found.peek().is_none() {
                    continue;
                }
                // It may have been dropped since.
                if let Ok(mut opened) = File::open(&file.path) {
                    for found in found {
                        read_frame(&mut opened, file, found, is_wanted, each, &mut told)?;
                    }
                }
            }
        }
        Ok(told.0)
    }

    /// Calls `each` with every event of a span, as a line of JSON without its end. Returns what could not be read.
    pub(crate) fn events(
        &self,
        span: Span,
        each: &mut dyn FnMut(&[u8]),
    ) -> io::Result<Vec<String>> {
        let mut told = Told::default();
        for file in self.look(Tier::Events, &mut told)?.files {
            let is_in = |found: &&Found| {
                let [first, last] = found.head.span;
                last >= span.from_ns && first < span.to_ns
            };
            for found in file.frames.iter().filter(is_in) {
                let Ok(mut opened) = File::open(&file.path) else {
                    break;
                };
                match found.index(&mut opened)? {
                    Some(lines) => {
                        let lines = lines.split(|byte| *byte == b'\n');
                        lines.filter(|line| !line.is_empty()).for_each(&mut *each);
                    }
                    None => told.tell(damaged(&file.path, found)),
                }
            }
        }
        Ok(told.0)
    }

    /// Reads the heads of a tier.
    fn look(&self, tier: Tier, told: &mut Told) -> io::Result<Known> {
        let mut known = Known::default();
        for (name, _) in list(&self.folder)?
            .into_iter()
            .filter(|(name, _)| name.tier == tier)
        {
            let path = name.path(&self.folder);
            let segment = match Segment::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    told.tell(format!("{}: cannot be read: {error}", path.display()));
                    continue;
                }
                Ok(segment) => segment,
            };
            if let Some(damage) = segment.damage {
                told.tell(format!(
                    "{}: {damage}; what is behind that is left out",
                    path.display()
                ));
            }
            for found in &segment.frames {
                known.through = known.through.max(found.head.made_of[1]);
                let [start, end] = found.head.span;
                // One that an end has cut is shorter, one that a step of the clock is in may be any length.
                let length_ns = end.saturating_sub(start).clamp(1, INTERVAL_NS_MAX);
                known.interval_ns = known.interval_ns.max(Some(length_ns));
            }
            known.files.push(Wanted {
                path,
                names: segment.names,
                frames: segment.frames,
            });
        }
        Ok(known)
    }
}

/// Chooses the tier that a span is read of.
fn choose(tiers: &[Known], span: Span) -> usize {
    let length_ns = span.to_ns.saturating_sub(span.from_ns);
    let fine_ns = tiers.first().and_then(|fine| fine.interval_ns).unwrap_or(1);
    let fits = |tier: &Tier| length_ns / tier.interval_ns(fine_ns).max(1) <= span.intervals_max;
    let last = Tier::INTERVALS.len() - 1;
    Tier::INTERVALS.iter().position(fits).unwrap_or(last)
}

/// Divides the time among the tiers, as the numbers of the intervals that are read of each: all of the chosen one,
/// finer ones that are not rolled up yet, and coarser ones for what is not there any more.
fn plan(tiers: &[Known], chosen: usize) -> Vec<BTreeSet<u64>> {
    let mut plan: Vec<BTreeSet<u64>> = tiers.iter().map(Known::numbers).collect();
    for tier in 0..chosen {
        let (known, through) = (&mut plan[tier], tiers[tier + 1].through);
        *known = known.split_off(&through.saturating_add(1));
    }
    for tier in chosen + 1..tiers.len() {
        let there = tiers[tier - 1].numbers();
        plan[tier].clear();
        for head in tiers[tier].heads() {
            let [first, last] = head.made_of;
            if first > last
                || there.range(first..=last).count() as u64 == (last - first).saturating_add(1)
            {
                continue;
            }
            // What is left of it below is in there, too.
            plan[tier].insert(head.number);
            let mut range = [first, last];
            for finer in (chosen..tier).rev() {
                let [first, last] = range;
                plan[finer].retain(|number| !(first..=last).contains(number));
                range = tiers[finer].made_of(range);
            }
        }
    }
    plan
}

fn read_frame(
    opened: &mut File,
    file: &Wanted,
    found: &Found,
    is_wanted: &dyn Fn(&[Box<str>]) -> bool,
    each: &mut dyn FnMut(Part<'_>),
    told: &mut Told,
) -> io::Result<()> {
    let Some(index) = found.index(opened)? else {
        told.tell(damaged(&file.path, found));
        return Ok(());
    };
    for block in blocks(&index) {
        let Some(tags) = file.names.subject(block.subject) else {
            continue;
        };
        if !is_wanted(tags) {
            continue;
        }
        match found.block(opened, block)? {
            Some(bytes) => each(Part {
                span: found.head.span,
                tags,
                row: cells(&bytes, &file.names).collect(),
            }),
            None => told.tell(damaged(&file.path, found)),
        }
    }
    Ok(())
}

fn damaged(path: &Path, found: &Found) -> String {
    format!(
        "{}: a part of what begins at byte {} is damaged and left out",
        path.display(),
        found.at
    )
}
