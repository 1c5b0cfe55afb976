//! `latency-monitor report` turns dumps, and files of samples and windows, into a page with plots or into text.
//!
//! It reads files line by line, and leaves out and tells what cannot be read. It keeps a bounded part: the probes of
//! dumps up to [`REPORT_PROBES_MAX`](crate::limits::REPORT_PROBES_MAX), and a histogram and a heatmap for each other
//! series.
//! This room knows the lines, and nothing of how they are made.

mod data;
mod html;
mod plot;
mod read;
#[cfg(test)]
mod tests;
mod text;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::limits::REPORT_LINE_BYTES_MAX;
use crate::report::data::Data;

/// The format of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A page for a browser, which needs nothing else.
    #[default]
    Html,
    /// A table and small plots, for a terminal.
    Text,
}

/// The arguments of `latency-monitor report`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Request {
    /// Dumps, or files of samples and windows as lines of JSON, by gzip or not; - is the standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Where to write, - for the standard output [default: HTML beside the first file, with .html behind its
    /// name; text, and what is from the standard input, to the standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// As a page for a browser, or as text for a terminal
    #[arg(long, value_enum, default_value_t = Format::Html)]
    pub format: Format,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no delay in any of the files.
    #[error(
        "there is nothing to report: no file has a probe, a sample or a window{}",
        told(unread)
    )]
    Empty {
        /// What could not be read, a line for each file.
        unread: Vec<String>,
    },
    /// The report cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// Where to.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn told(unread: &[String]) -> String {
    let lines = unread.iter().flat_map(|line| ["\n", line]);
    lines.collect()
}

impl Request {
    /// Reads the files and writes the report.
    pub fn run(&self) -> Result<(), ReportError> {
        let mut data = Data::default();
        for path in &self.files {
            if path == Path::new("-") {
                read(path, io::stdin().lock(), &mut data)?;
            } else {
                let file = File::open(path).map_err(|source| ReportError::Read {
                    path: path.clone(),
                    source,
                })?;
                read(path, BufReader::with_capacity(1 << 18, file), &mut data)?;
            }
        }
        if data.is_empty() {
            let unread = data.unread;
            return Err(ReportError::Empty { unread });
        }
        let report = match self.format {
            Format::Html => html::page(&data),
            Format::Text => text::page(&data),
        };
        let to_stdout = PathBuf::from("-");
        let output = match (&self.output, self.format, self.files.first()) {
            (Some(output), _, _) => output.clone(),
            (None, Format::Html, Some(first)) if *first != to_stdout => {
                let mut name = first.clone().into_os_string();
                name.push(".html");
                name.into()
            }
            _ => to_stdout.clone(),
        };
        let written = if output == to_stdout {
            match io::stdout().write_all(report.as_bytes()) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                written => written,
            }
        } else {
            fs::write(&output, report).inspect_err(|_| {
                // Half a page is worse than none. A device or a pipe is not ours to remove.
                if fs::metadata(&output).is_ok_and(|found| found.is_file()) {
                    let _ = fs::remove_file(&output);
                }
            })
        };
        written.map_err(|source| ReportError::Write {
            path: output,
            source,
        })
    }
}

/// Reads a file, compressed by gzip or not, and adds its lines to the data.
fn read(path: &Path, mut file: impl BufRead, data: &mut Data) -> Result<(), ReportError> {
    let begin = file.fill_buf().map_err(|source| ReportError::Read {
        path: path.to_owned(),
        source,
    })?;
    // No line of text begins so. A file of several compressed parts is read as one.
    let unread = if begin.first() == Some(&GZIP) {
        read_lines(BufReader::new(MultiGzDecoder::new(file)), data)
    } else {
        read_lines(file, data)
    };
    data.end_file();
    if let Some(words) = unread.words() {
        data.unread.push(format!("{}{words}", path.display()));
    }
    Ok(())
}

/// The first byte of a file that gzip has written.
const GZIP: u8 = 0x1f;

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
            && let Err(mut reason) = read::line(&line).and_then(|line| data.add(line))
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
