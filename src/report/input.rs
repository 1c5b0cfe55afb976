//! Reads files, compressed or not, line by line, and finds out which host a file is of.
//!
//! No line names the host that wrote it, but the series of what a host measures and what it says of itself have its
//! name as their source. The first of those decides; a file without any is called by its own name.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::limits::REPORT_LINE_BYTES_MAX;
use crate::report::ReportError;
use crate::report::data::Data;
use crate::report::zstd::Zstd;

/// Reads a file, compressed by gzip, by zstd or not, and adds its lines to the data.
pub(super) fn read(
    path: &Path,
    mut file: impl BufRead,
    data: &mut Data,
) -> Result<(), ReportError> {
    let begin = file.fill_buf().map_err(|source| ReportError::Read {
        path: path.to_owned(),
        source,
    })?;
    // No line of text begins so. A file of several compressed parts is read as one.
    let unread = match begin.first() {
        Some(&GZIP) => read_host(
            path,
            BufReader::with_capacity(AHEAD, MultiGzDecoder::new(file)),
            data,
        ),
        Some(&ZSTD) => read_host(path, BufReader::with_capacity(AHEAD, Zstd::new(file)), data),
        _ => read_host(path, file, data),
    };
    data.end_file();
    if let Some(words) = unread.words() {
        data.unread.push(format!("{}{words}", path.display()));
    }
    Ok(())
}

/// The first byte of a file that gzip has written.
const GZIP: u8 = 0x1f;
/// The first byte of a file that zstd has written, a parenthesis in text. No line of JSON begins so.
const ZSTD: u8 = 0x28;
/// Bytes that are looked at to find out which host a file is of.
const AHEAD: usize = 1 << 18;

/// Finds out which host the lines are of, and adds them.
fn read_host(path: &Path, mut file: impl BufRead, data: &mut Data) -> Unread {
    // What cannot be read here cannot be read below either, and is told there.
    let host = file.fill_buf().ok().and_then(|ahead| {
        let mut lines = ahead.split_inclusive(|byte| *byte == b'\n');
        lines.find_map(|line| super::read::line(line).ok()?.own_name())
    });
    let name = path.file_name().unwrap_or(path.as_os_str());
    data.begin_file(host.unwrap_or_else(|| name.to_string_lossy().into_owned()));
    read_lines(file, data)
}

/// What was left out of a file.
#[derive(Debug, Default)]
struct Unread {
    lines: u64,
    /// The number of the first one, counted from 1, and what is wrong with it.
    first: Option<(u64, String)>,
    /// Why the file was not read to its end.
    end: Option<io::Error>,
    /// How many probes the dump at its end should have besides those that are there.
    missing: Option<usize>,
    is_empty: bool,
}

impl Unread {
    /// Says what was left out, behind the name of the file; `None` if nothing was.
    fn words(&self) -> Option<String> {
        let mut words = match &self.first {
            None => String::new(),
            Some((line, reason)) if self.lines == 1 => {
                format!(", line {line}: {reason}; it is left out")
            }
            Some((line, reason)) => {
                let lines = self.lines;
                format!(": {lines} lines are left out, from line {line} on: {reason}")
            }
        };
        if let Some(error) = &self.end {
            let _ = write!(words, ": it cannot be read to its end: {error}");
        }
        if let Some(missing) = self.missing {
            let _ = write!(words, ": the last dump lacks {missing} of its probes");
        }
        if self.is_empty {
            words.push_str(": it is empty");
        }
        (!words.is_empty()).then_some(words)
    }

    fn leave_out(&mut self, line: u64, reason: String) {
        self.lines += 1;
        self.first.get_or_insert((line, reason));
    }
}

/// Adds the lines that can be read to the data. Returns what was left out.
fn read_lines(mut file: impl BufRead, data: &mut Data) -> Unread {
    let (mut unread, mut line) = (Unread::default(), Vec::new());
    for number in 1.. {
        line.clear();
        let limit = REPORT_LINE_BYTES_MAX + 1;
        let read = file.by_ref().take(limit).read_until(b'\n', &mut line);
        unread.end = read.err();
        let is_long = line.len() as u64 == limit && !line.ends_with(b"\n");
        if is_long {
            unread.leave_out(number, format!("longer than {REPORT_LINE_BYTES_MAX} bytes"));
            unread.end = unread.end.or_else(|| file.skip_until(b'\n').err());
        } else if !line.trim_ascii().is_empty()
            && let Err(mut reason) = super::read::line(&line).and_then(|line| data.add(line))
        {
            if !line.ends_with(b"\n") {
                reason.insert_str(0, "cut off, and ");
            }
            unread.leave_out(number, reason);
        }
        if line.is_empty() || unread.end.is_some() {
            unread.is_empty = number == 1 && line.is_empty() && unread.end.is_none();
            break;
        }
    }
    unread.missing = data.missing();
    unread
}
