//! Makes one interval of several, without more than one subject in memory.
//!
//! The finer intervals are read back from the disk. So nothing is lost of an interval that a restart cuts, and an hour
//! of all series needs no memory while it is measured.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::path::Path;

use crate::history::bytes::{Bytes, put};
use crate::history::cell::Cell;
use crate::history::column::Column;
use crate::history::frame::{Block, Found, Frame, blocks};
use crate::history::gather::Row;
use crate::history::names::{Given, Read, Subject};
use crate::history::segment::Segment;

/// The cells of a block. Ends at what is none.
pub(super) fn cells<'a>(
    block: &'a [u8],
    names: &'a Read,
) -> impl Iterator<Item = (&'a Column, Cell)> {
    let mut bytes = Bytes(block);
    std::iter::from_fn(move || {
        let column = bytes.number()?;
        let cell = Cell::read(&mut bytes)?;
        Some((names.column(column)?, cell))
    })
}

/// Adds a subject's values to a frame; `None`: the file has no room for another name.
pub(super) fn add(
    frame: &mut Frame,
    names: &mut Given,
    subject: &Subject,
    row: &Row,
) -> Option<()> {
    let mut block = Vec::new();
    for (column, cell) in row {
        put(names.column(column)?, &mut block);
        cell.write(&mut block);
    }
    frame.add(names.subject(subject)?, &block);
    Some(())
}

/// The intervals that become one.
#[derive(Debug)]
pub(super) struct Pieces {
    segments: Vec<(File, Read)>,
    found: Vec<(usize, Found)>,
    subjects: BTreeMap<Subject, Vec<(usize, Block)>>,
    /// What could not be read.
    pub(super) damaged: u64,
}

impl Pieces {
    /// Finds the intervals of these numbers in files of one tier.
    pub(super) fn find<'a>(
        files: impl Iterator<Item = &'a Path>,
        numbers: &RangeInclusive<u64>,
    ) -> io::Result<Self> {
        let mut pieces = Self {
            segments: Vec::new(),
            found: Vec::new(),
            subjects: BTreeMap::new(),
            damaged: 0,
        };
        for path in files {
            let Segment {
                mut file,
                names,
                frames,
                ..
            } = Segment::open(path)?;
            let wanted = |found: &&Found| numbers.contains(&found.head.number);
            for found in frames.iter().filter(wanted) {
                pieces.add(&mut file, &names, *found)?;
            }
            pieces.segments.push((file, names));
        }
        Ok(pieces)
    }

    fn add(&mut self, file: &mut File, names: &Read, found: Found) -> io::Result<()> {
        let Some(index) = found.index(file)? else {
            self.damaged += 1;
            return Ok(());
        };
        let place = self.found.len();
        for block in blocks(&index) {
            if let Some(subject) = names.subject(block.subject) {
                let blocks = self.subjects.entry(subject.clone()).or_default();
                blocks.push((place, block));
            }
        }
        self.found.push((self.segments.len(), found));
        Ok(())
    }

    /// Returns the time from the first to the last of them.
    pub(super) fn span(&self) -> Option<[i64; 2]> {
        let spans = self.found.iter().map(|(_, found)| found.head.span);
        spans.reduce(|[first, last], [start, end]| [first.min(start), last.max(end)])
    }

    /// Returns the values of all, subject by subject.
    pub(super) fn frame(&mut self, names: &mut Given) -> io::Result<Option<Frame>> {
        let mut frame = Frame::default();
        for (subject, blocks) in &self.subjects {
            let mut row = Row::new();
            for (place, block) in blocks {
                let (segment, found) = &self.found[*place];
                let (file, read) = &mut self.segments[*segment];
                let Some(bytes) = found.block(file, *block)? else {
                    self.damaged += 1;
                    continue;
                };
                for (column, cell) in cells(&bytes, read) {
                    match row.get_mut(column) {
                        Some(before) => before.merge(cell),
                        None => drop(row.insert(column.clone(), cell)),
                    }
                }
            }
            if add(&mut frame, names, subject, &row).is_none() {
                return Ok(None);
            }
        }
        Ok(Some(frame))
    }
}
