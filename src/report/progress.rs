//! Says on a terminal how far a long file has been read.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Write as _};
use std::path::Path;

use crate::limits::REPORT_QUIET_BYTES_MAX;

/// A file that tells how much of it has been read, on standard error if that is a terminal and the file is long.
///
/// It goes by bytes and not by time: each hundredth of the file rewrites the line.
#[derive(Debug)]
pub(super) struct Progress<R> {
    inner: R,
    /// What is told, and the file's length; `None` if nothing is.
    told: Option<(String, u64)>,
    read: u64,
    percent: u64,
}

impl Progress<File> {
    /// Wraps a file.
    pub(super) fn new(path: &Path, file: File) -> Self {
        let length = file
            .metadata()
            .ok()
            .filter(fs_is_file)
            .map(|found| found.len());
        let length = length.filter(|length| *length > REPORT_QUIET_BYTES_MAX);
        let name = || crate::report::words::plain(&path.display().to_string());
        Self {
            inner: file,
            told: length
                .filter(|_| io::stderr().is_terminal())
                .map(|length| (name(), length)),
            read: 0,
            percent: 0,
        }
    }
}

fn fs_is_file(found: &std::fs::Metadata) -> bool {
    found.is_file()
}

impl<R: Read> Read for Progress<R> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(target)?;
        self.read = self.read.saturating_add(read as u64);
        if let Some((name, length)) = &self.told
            && let Some(line) = line(name, &mut self.percent, self.read, *length, read == 0)
        {
            // A terminal that has gone is no reason to end.
            let _ = io::stderr().write_all(line.as_bytes());
        }
        Ok(read)
    }
}

/// Returns what is to be written, if another hundredth has been read or the file has ended.
fn line(name: &str, percent: &mut u64, read: u64, length: u64, is_end: bool) -> Option<String> {
    const CELLS: u64 = 40;
    let now = (u128::from(read) * 100 / u128::from(length.max(1))).min(100);
    let now = u64::try_from(now).unwrap_or(100);
    if is_end {
        // The line goes away: the report is what stays.
        return Some("\r\u{1b}[K".to_owned());
    }
    if now == *percent {
        return None;
    }
    *percent = now;
    let full = now * CELLS / 100;
    let bar: String = (0..CELLS)
        .map(|cell| if cell < full { '#' } else { '.' })
        .collect();
    Some(format!("\r[{bar}] {now:3} % of {name}\u{1b}[K"))
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn each_hundredth_is_told_once_and_the_line_goes_away() {
        let mut percent = 0;
        assert_eq!(line("f", &mut percent, 9, 1_000, false), None);
        let half = line("f", &mut percent, 500, 1_000, false).unwrap();
        let want = format!(
            "\r[{}{}]  50 % of f\u{1b}[K",
            "#".repeat(20),
            ".".repeat(20)
        );
        assert_eq!(half, want);
        assert_eq!(line("f", &mut percent, 509, 1_000, false), None);
        // A file that has grown meanwhile.
        assert!(
            line("f", &mut percent, 5_000, 1_000, false)
                .unwrap()
                .contains("100 %")
        );
        assert_eq!(
            line("f", &mut percent, 5_000, 1_000, true).unwrap(),
            "\r\u{1b}[K"
        );
    }
}
