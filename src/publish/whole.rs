//! Writes lines so that each is whole in its file or stream, or absent.
//!
//! A disk that fills takes a part of a write. Of a file that part is cut off again. A stream cannot
//! take back what it has; there the rest of the line goes first as soon as there is room.

use std::cmp::Ordering;
use std::fs::File;
use std::io::{self, ErrorKind, Seek as _, SeekFrom, Write};
use std::thread;
use std::time::Duration;

use crate::sys::host::{Open, duplicate};

/// The pause before another attempt where a stream that does not block is full.
const PAUSE: Duration = Duration::from_millis(10);

/// What was not written.
#[derive(Debug)]
pub struct Lost {
    /// The number of lines.
    pub lines: u64,
    /// What the system said.
    pub source: io::Error,
}

/// Writes lines whole or not at all, and counts those that are lost.
#[derive(Debug)]
pub struct WholeLines<W> {
    pub(super) out: W,
    /// The same file, if it is one, to cut off a part of a line.
    file: Option<File>,
    /// The rest of a line of which the stream has a part.
    rest: Vec<u8>,
}

impl WholeLines<File> {
    /// Writes to what this is open on: a file, or a stream. Nothing else in this process may
    /// write to the same file.
    pub(crate) fn to(open: impl Open) -> io::Result<Self> {
        let out = duplicate(&open)?;
        let is_file = out.metadata()?.is_file();
        let file = if is_file {
            Some(out.try_clone()?)
        } else {
            None
        };
        let rest = Vec::new();
        Ok(Self { out, file, rest })
    }
}

impl<W: Write> WholeLines<W> {
    /// Writes to a stream, of which nothing can be cut off.
    pub fn stream(out: W) -> Self {
        Self {
            out,
            file: None,
            rest: Vec::new(),
        }
    }

    /// Writes these lines, of which the last one has its end too.
    pub fn write(&mut self, lines: &[u8]) -> Result<(), Lost> {
        let lost = |lines: &[u8], source| {
            let lines = lines.split(|&byte| byte == b'\n').skip(1).count() as u64;
            Lost { lines, source }
        };
        let rest = std::mem::take(&mut self.rest);
        if let Err((taken, source)) = self.put(&rest) {
            self.rest = rest[taken..].to_vec();
            return Err(lost(lines, source));
        }
        let Err((taken, source)) = self.put(lines) else {
            return Ok(());
        };
        let is_end = |&byte: &u8| byte == b'\n';
        let whole = (lines[..taken].iter().rposition(is_end)).map_or(0, |end| end + 1);
        if taken == whole || self.cut(taken - whole).is_ok() {
            return Err(lost(&lines[whole..], source));
        }
        let end = lines[taken..].iter().position(is_end);
        let (rest, others) = lines[taken..].split_at(end.map_or(lines.len() - taken, |at| at + 1));
        self.rest = rest.to_vec();
        Err(lost(others, source))
    }

    /// Writes bytes. The error comes with the number of those that were written.
    fn put(&mut self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut taken = 0;
        while taken < bytes.len() {
            match self.out.write(&bytes[taken..]) {
                Ok(0) => return Err((taken, ErrorKind::WriteZero.into())),
                Ok(more) => taken += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Somebody else has set the stream so. It is to us as one that blocks.
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::park_timeout(PAUSE),
                Err(error) => return Err((taken, error)),
            }
        }
        self.out.flush().map_err(|error| (taken, error))
    }

    /// Removes the last bytes from the file, unless another process has written behind them. Who has emptied the file
    /// meanwhile has removed them.
    fn cut(&mut self, bytes: usize) -> io::Result<()> {
        let file = self.file.as_mut().ok_or(ErrorKind::Unsupported)?;
        let end = file.stream_position()?;
        let length = file.metadata()?.len();
        match length.cmp(&end) {
            Ordering::Less => return file.seek(SeekFrom::Start(length)).map(drop),
            Ordering::Greater => return Err(ErrorKind::Unsupported.into()),
            Ordering::Equal => {}
        }
        let before = end.saturating_sub(bytes as u64);
        file.set_len(before)?;
        file.seek(SeekFrom::Start(before)).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A disk with room for so many bytes, and a stream if there is no file.
    struct Disk {
        room: usize,
        file: Option<File>,
        stream: Vec<u8>,
        error: ErrorKind,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = self.room.min(bytes.len());
            if taken == 0 {
                self.room += usize::from(self.error == ErrorKind::WouldBlock) * 7;
                return Err(self.error.into());
            }
            self.room -= taken;
            match &mut self.file {
                Some(file) => file.write(&bytes[..taken]),
                None => self.stream.write(&bytes[..taken]),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn disk(room: usize) -> Disk {
        Disk {
            room,
            file: None,
            stream: Vec::new(),
            error: ErrorKind::StorageFull,
        }
    }

    #[test]
    fn a_line_that_did_not_fit_is_cut_off_a_file_and_the_next_begins_its_own() {
        for append in [false, true] {
            for room in 0..12 {
                let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
                fs::write(&path, "before\n").unwrap();
                let mut file = fs::OpenOptions::new();
                let mut file = file.write(true).append(append).open(&path).unwrap();
                file.seek(SeekFrom::End(0)).unwrap();
                let mut lines = WholeLines::stream(disk(room));
                (lines.out.file, lines.file) = (file.try_clone().ok(), Some(file));
                let lost = lines.write(b"one\ntwo\nthree\n").unwrap_err();
                let whole = room / 4;
                assert_eq!(lost.lines, 3 - whole as u64, "{room}");
                assert_eq!(lost.source.kind(), ErrorKind::StorageFull);
                lines.out.room = 100;
                lines.write(b"four\n").unwrap();
                let expected = ["", "one\n", "one\ntwo\n"][whole];
                let found = fs::read_to_string(&path).unwrap();
                assert_eq!(found, format!("before\n{expected}four\n"), "{room}");
            }
        }
    }

    #[test]
    fn what_a_stream_has_a_part_of_is_completed_first() {
        for room in 0..12 {
            let mut lines = WholeLines::stream(disk(room));
            let lost = lines.write(b"one\ntwo\nthree\n").unwrap_err();
            let begun = room.div_ceil(4);
            assert_eq!(lost.lines, 3 - begun as u64, "{room}");
            // Still too little room for the rest.
            assert_eq!(lines.write(b"lost\n").unwrap_err().lines, 1);
            lines.out.room = 100;
            lines.write(b"four\n").unwrap();
            let expected = ["", "one\n", "one\ntwo\n", "one\ntwo\nthree\n"][begun];
            let found = String::from_utf8(lines.out.stream).unwrap();
            assert_eq!(found, format!("{expected}four\n"), "{room}");
        }
    }

    #[test]
    fn what_another_has_written_behind_ours_is_not_cut_off() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let file = || fs::OpenOptions::new().append(true).open(&path).unwrap();
        let mut lines = WholeLines::to(file()).unwrap();
        lines.write(b"ours\n").unwrap();
        file().write_all(b"theirs\n").unwrap();
        assert!(lines.cut(2).is_err());
        lines.write(b"ours\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "ours\ntheirs\nours\n");
    }

    /// As programs do that rotate logs, most of all where the disk is full.
    #[test]
    fn of_a_line_whose_part_another_has_removed_nothing_follows() {
        for append in [false, true] {
            let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
            let mut file = fs::OpenOptions::new();
            let file = file.write(true).append(append).open(&path).unwrap();
            let mut lines = WholeLines::stream(Emptied {
                file: file.try_clone().unwrap(),
                room: 6,
            });
            lines.file = Some(file);
            let lost = lines.write(b"one\ntwo\nthree\n").unwrap_err();
            assert_eq!(lost.lines, 2);
            lines.out.room = 100;
            lines.write(b"four\n").unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), "four\n", "{append}");
        }
    }

    /// A file on a full disk, which another process empties when there is no room.
    struct Emptied {
        file: File,
        room: usize,
    }

    impl Write for Emptied {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = self.room.min(bytes.len());
            if taken == 0 {
                self.file.set_len(0)?;
                return Err(ErrorKind::StorageFull.into());
            }
            self.room -= taken;
            self.file.write(&bytes[..taken])
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stream_that_does_not_block_is_waited_for() {
        let mut lines = WholeLines::stream(disk(5));
        lines.out.error = ErrorKind::WouldBlock;
        lines.write(b"one\ntwo\nthree\n").unwrap();
        assert_eq!(lines.out.stream, b"one\ntwo\nthree\n");
    }

    #[test]
    fn a_full_device_takes_nothing_and_says_so() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut lines = WholeLines::to(full).unwrap();
        for _ in 0..2 {
            let lost = lines.write(b"one\ntwo\n").unwrap_err();
            assert_eq!(lost.lines, 2);
            assert_eq!(lost.source.kind(), ErrorKind::StorageFull);
        }
    }
}
