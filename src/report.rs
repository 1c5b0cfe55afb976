//! `latency-monitor report` turns dumps, and files of samples and windows, into a page with plots or into text.
//!
//! It reads files line by line and keeps a bounded part: the probes of dumps up to
//! [`REPORT_PROBES_MAX`](crate::limits::REPORT_PROBES_MAX), and a histogram and a heatmap for each other series.
//! This room knows the lines, and nothing of how they are made.

mod data;
mod html;
mod plot;
mod read;
#[cfg(test)]
mod tests;
mod text;

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

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
    /// Dumps, or files of samples and windows as lines of JSON; - is the standard input
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
    /// A line is not what it should be.
    #[error("{}, line {line}: {reason}", path.display())]
    Line {
        /// In which file.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no delay in any of the files.
    #[error("there is nothing to report: no file has a probe, a sample or a window")]
    Empty,
    /// The report cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// Where to.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
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
            return Err(ReportError::Empty);
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

/// Reads lines and adds them to the data.
fn read(path: &Path, mut lines: impl BufRead, data: &mut Data) -> Result<(), ReportError> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let limit = REPORT_LINE_BYTES_MAX + 1;
        let length = lines.by_ref().take(limit).read_until(b'\n', &mut line);
        let length = length.map_err(|source| ReportError::Read {
            path: path.to_owned(),
            source,
        })?;
        let taken = if length as u64 == limit {
            Err(format!("longer than {REPORT_LINE_BYTES_MAX} bytes"))
        } else if length == 0 {
            break;
        } else if line.trim_ascii().is_empty() {
            Ok(())
        } else {
            read::line(&line).and_then(|line| data.add(line))
        };
        taken.map_err(|reason| ReportError::Line {
            path: path.to_owned(),
            line: number,
            reason,
        })?;
    }
    data.end_file();
    Ok(())
}
