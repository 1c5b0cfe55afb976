//! A frame: what is appended to a file at once, and is whole or not there.
//!
//! ```text
//! magic 4 | kind 1 | 0 3 | number 8 | first 8 | last 8 | start 8 | end 8 | index 4 | body 4 | CRC of the index 4 |
//! CRC of all before 4 | index ... | body ...
//! ```
//!
//! All numbers are little-endian. The index of an interval says where in the body the block of each subject is, and
//! each block ends with a CRC of its own, so that one target is read without all others.

use std::io::{self, Read, Seek, SeekFrom};

use flate2::Crc;

use crate::history::bytes::{Bytes, put};
use crate::limits::HISTORY_FRAME_BYTES_MAX;

/// The format's name and its version.
const MAGIC: [u8; 4] = *b"LMH\x01";

/// Bytes of what stands before the index.
pub(super) const HEAD_BYTES: usize = 64;

/// Bytes of a check sum.
const CRC_BYTES: usize = 4;

/// What is in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Subjects and columns that the frames behind it name by their numbers.
    Names,
    /// An interval of every subject that has values.
    Interval,
    /// Lines of JSON.
    Events,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Names, Self::Interval, Self::Events];
}

/// What stands before the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    /// Counts the intervals of a tier, from 1.
    pub(super) number: u64,
    /// The numbers of the first and the last interval of the finer tier that are in it.
    pub(super) made_of: [u64; 2],
    /// Unix nanoseconds.
    pub(super) span: [i64; 2],
    pub(super) index_bytes: u32,
    pub(super) body_bytes: u32,
    /// The check sum of the index.
    index_crc: u32,
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

impl Head {
    fn bytes(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = Vec::with_capacity(HEAD_BYTES);
        bytes.extend(MAGIC);
        let kind = Kind::ALL.iter().position(|kind| *kind == self.kind);
        bytes.extend([u8::try_from(kind.unwrap_or(0)).unwrap_or(0), 0, 0, 0]);
        bytes.extend(self.number.to_le_bytes());
        self.made_of
            .iter()
            .for_each(|it| bytes.extend(it.to_le_bytes()));
        self.span
            .iter()
            .for_each(|it| bytes.extend(it.to_le_bytes()));
        for number in [self.index_bytes, self.body_bytes, self.index_crc] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(crc(&bytes).to_le_bytes());
        let mut head = [0; HEAD_BYTES];
        head.copy_from_slice(&bytes);
        head
    }

    /// Reads it; `None` if it is none, or damaged.
    fn read(bytes: &[u8; HEAD_BYTES]) -> Option<Self> {
        let (before, sum) = bytes.split_last_chunk::<CRC_BYTES>()?;
        if u32::from_le_bytes(*sum) != crc(before) {
            return None;
        }
        let mut rest = Bytes(before);
        if rest.take(MAGIC.len())? != MAGIC {
            return None;
        }
        let kind = *Kind::ALL.get(usize::from(*rest.take(4)?.first()?))?;
        let mut long = || Some(u64::from_le_bytes(rest.take(8)?.try_into().ok()?));
        let (number, made_of) = (long()?, [long()?, long()?]);
        let span = [long()?.cast_signed(), long()?.cast_signed()];
        let mut short = || Some(u32::from_le_bytes(rest.take(4)?.try_into().ok()?));
        let head = Self {
            kind,
            number,
            made_of,
            span,
            index_bytes: short()?,
            body_bytes: short()?,
            index_crc: short()?,
        };
        (head.bytes_behind() <= HISTORY_FRAME_BYTES_MAX).then_some(head)
    }

    /// Bytes of the index and of the body.
    pub(super) fn bytes_behind(&self) -> u64 {
        u64::from(self.index_bytes) + u64::from(self.body_bytes)
    }
}

/// A frame of a file: where it begins, and its head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) at: u64,
    pub(super) head: Head,
}

impl Found {
    /// Reads the head at this place; `Ok(None)`: there is none, or one that is cut off or damaged.
    pub(super) fn read(file: &mut (impl Read + Seek), at: u64) -> io::Result<Option<Self>> {
        let mut bytes = [0; HEAD_BYTES];
        file.seek(SeekFrom::Start(at))?;
        match file.read_exact(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        Ok(Head::read(&bytes).map(|head| Self { at, head }))
    }

    /// Where the next frame begins.
    pub(super) fn end(&self) -> u64 {
        self.at + HEAD_BYTES as u64 + self.head.bytes_behind()
    }

    /// Reads the index; `Ok(None)`: it is damaged.
    pub(super) fn index(&self, file: &mut (impl Read + Seek)) -> io::Result<Option<Vec<u8>>> {
        file.seek(SeekFrom::Start(self.at + HEAD_BYTES as u64))?;
        let mut bytes = Vec::new();
        file.by_ref()
            .take(self.head.index_bytes.into())
            .read_to_end(&mut bytes)?;
        let is_whole = bytes.len() as u64 == u64::from(self.head.index_bytes);
        Ok((is_whole && crc(&bytes) == self.head.index_crc).then_some(bytes))
    }

    /// Reads a block of the body without its check sum; `Ok(None)`: it is damaged.
    pub(super) fn block(
        &self,
        file: &mut (impl Read + Seek),
        block: Block,
    ) -> io::Result<Option<Vec<u8>>> {
        let body = self.at + HEAD_BYTES as u64 + u64::from(self.head.index_bytes);
        file.seek(SeekFrom::Start(body + u64::from(block.at)))?;
        let mut bytes = Vec::new();
        file.by_ref()
            .take(block.bytes.into())
            .read_to_end(&mut bytes)?;
        let is_whole = bytes.len() as u64 == u64::from(block.bytes);
        let Some((values, sum)) = bytes.split_last_chunk::<CRC_BYTES>().filter(|_| is_whole) else {
            return Ok(None);
        };
        if u32::from_le_bytes(*sum) != crc(values) {
            return Ok(None);
        }
        bytes.truncate(bytes.len() - CRC_BYTES);
        Ok(Some(bytes))
    }
}

/// The block of a subject in a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// The number of the subject in the file.
    pub(super) subject: u64,
    at: u32,
    /// With its check sum.
    bytes: u32,
}

/// Reads an index. What is wrong ends it.
pub(super) fn blocks(index: &[u8]) -> impl Iterator<Item = Block> {
    let mut bytes = Bytes(index);
    let mut at = 0_u32;
    std::iter::from_fn(move || {
        let subject = bytes.number()?;
        let length = u32::try_from(bytes.number()?).ok()?;
        let block = Block {
            subject,
            at,
            bytes: length,
        };
        at = at.checked_add(length)?;
        Some(block)
    })
}

/// A frame that is being made.
#[derive(Debug, Default)]
pub(super) struct Frame {
    pub(super) index: Vec<u8>,
    body: Vec<u8>,
}

impl Frame {
    /// One that has only an index.
    pub(super) fn of(index: Vec<u8>) -> Self {
        let body = Vec::new();
        Self { index, body }
    }

    /// Adds the block of a subject.
    pub(super) fn add(&mut self, subject: u64, values: &[u8]) {
        put(subject, &mut self.index);
        put((values.len() + CRC_BYTES) as u64, &mut self.index);
        self.body.extend_from_slice(values);
        self.body.extend(crc(values).to_le_bytes());
    }

    pub(super) fn bytes(&self) -> u64 {
        (HEAD_BYTES + self.index.len() + self.body.len()) as u64
    }

    /// Appends it to `out`, unless it is too large for a frame.
    pub(super) fn write(
        &self,
        kind: Kind,
        number: u64,
        made_of: [u64; 2],
        span: [i64; 2],
        out: &mut Vec<u8>,
    ) -> bool {
        let lengths = [self.index.len(), self.body.len()].map(u32::try_from);
        let ([Ok(index_bytes), Ok(body_bytes)], true) =
            (lengths, self.bytes() <= HISTORY_FRAME_BYTES_MAX)
        else {
            return false;
        };
        let head = Head {
            kind,
            number,
            made_of,
            span,
            index_bytes,
            body_bytes,
            index_crc: crc(&self.index),
        };
        out.extend(head.bytes());
        out.extend_from_slice(&self.index);
        out.extend_from_slice(&self.body);
        true
    }
}
