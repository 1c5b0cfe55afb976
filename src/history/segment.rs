//! A file of one tier: frames behind each other, the names before the frames that use them.
//!
//! A file is written by one process from its beginning to its end. What a kill cuts off is the end of a file that
//! nobody appends to any more.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::history::frame::{Found, Frame, Kind};
use crate::history::names::{Given, Read};
use crate::history::tier::Tier;
use crate::limits::{HISTORY_FILES_MAX, HISTORY_FRAMES_MAX};

/// The last part of every file's name.
const ENDING: &str = "lmh";

/// A file, as its name tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) tier: Tier,
    /// Counts the files of all tiers, in the order in which they were begun.
    pub(super) serial: u64,
    /// Unix seconds of its first interval.
    pub(super) start_s: i64,
}

impl Name {
    pub(super) fn path(&self, folder: &Path) -> PathBuf {
        let (tier, serial, start_s) = (self.tier.word(), self.serial, self.start_s);
        folder.join(format!("{tier}-{serial:010}-{start_s}.{ENDING}"))
    }

    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_suffix(ENDING)?.strip_suffix('.')?.splitn(3, '-');
        let word = parts.next()?;
        let tier = Tier::ALL.into_iter().find(|tier| tier.word() == word)?;
        let (serial, start_s) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Self {
            tier,
            serial,
            start_s,
        })
    }
}

/// Returns the files of a folder with their lengths, the oldest of each tier first. What has another name is none.
pub(super) fn list(folder: &Path) -> io::Result<Vec<(Name, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().and_then(Name::parse) else {
            continue;
        };
        // It may have gone since.
        if let Ok(about) = entry.metadata()
            && about.is_file()
            && found.len() < HISTORY_FILES_MAX
        {
            found.push((name, about.len()));
        }
    }
    found.sort_by_key(|(name, _)| (name.tier, name.serial));
    Ok(found)
}

/// A file that is read: what it has, up to what is damaged or cut off.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) file: File,
    pub(super) names: Read,
    pub(super) frames: Vec<Found>,
    /// Where what is damaged begins. The end that a kill or a write under way has cut off is none.
    pub(super) damage: Option<String>,
}

impl Segment {
    /// Reads the heads of a file's frames, and its names.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let (mut names, mut frames, mut damage) = (Read::default(), Vec::new(), None);
        let mut at = 0;
        while at < length && frames.len() < HISTORY_FRAMES_MAX {
            let Some(found) = Found::read(&mut file, at)? else {
                damage = is_damage(&mut file, at, length)?.then(|| format!("damaged at byte {at}"));
                break;
            };
            if found.end() > length {
                break;
            }
            if found.head.kind == Kind::Names {
                let index = found.index(&mut file)?;
                if index.and_then(|index| names.add(&index)).is_none() {
                    // Those behind it would have the numbers of others.
                    damage = Some(format!("damaged names at byte {at}"));
                    break;
                }
            } else {
                frames.push(found);
            }
            at = found.end();
        }
        Ok(Self {
            file,
            names,
            frames,
            damage,
        })
    }
}

/// True if there are bytes enough for a head, and they are none: nothing was cut off there.
fn is_damage(file: &mut File, at: u64, length: u64) -> io::Result<bool> {
    use crate::history::frame::HEAD_BYTES;
    use std::io::{Read as _, Seek as _, SeekFrom};

    if length - at < HEAD_BYTES as u64 {
        return Ok(false);
    }
    // After a loss of power the end of a file can be there without what was written.
    let mut bytes = [0; HEAD_BYTES];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes.iter().any(|byte| *byte != 0))
}

/// A file that is written.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) name: Name,
    file: File,
    pub(super) bytes: u64,
    pub(super) names: Given,
    out: Vec<u8>,
}

impl Open {
    pub(super) fn create(folder: &Path, name: Name) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        Ok(Self {
            file: options.open(name.path(folder))?,
            name,
            bytes: 0,
            names: Given::default(),
            out: Vec::new(),
        })
    }

    /// Appends a frame, behind the names that are new in it. After an error the file ends as before; where that cannot
    /// be had, nobody may append to it.
    pub(super) fn append(
        &mut self,
        frame: &Frame,
        kind: Kind,
        number: u64,
        made_of: [u64; 2],
        span: [i64; 2],
    ) -> io::Result<()> {
        self.out.clear();
        let fresh = self.names.take_fresh();
        if !fresh.is_empty() {
            Frame::of(fresh).write(Kind::Names, 0, [0; 2], span, &mut self.out);
        }
        if !frame.write(kind, number, made_of, span, &mut self.out) {
            return Err(io::Error::other("more than a frame holds"));
        }
        self.file.write_all(&self.out)?;
        self.bytes += self.out.len() as u64;
        Ok(())
    }

    /// Writes it to the disk itself: no more comes.
    pub(super) fn close(self) -> io::Result<()> {
        self.file.sync_data()
    }
}
