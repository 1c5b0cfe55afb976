//! `latency-monitor report` turns dumps, and files of samples and windows, into a page with plots or into text.
//!
//! It reads files line by line, and leaves out and tells what cannot be read. It keeps a bounded part: the probes of
//! dumps up to [`REPORT_PROBES_MAX`](crate::limits::REPORT_PROBES_MAX), and a histogram and a heatmap for each other
//! series. Files of several hosts are one report on one time axis; `input` says which host a file is of.
//! This room knows the lines, and nothing of how they are made.

mod data;
mod findings;
mod html;
mod input;
mod past;
mod plot;
mod progress;
mod read;
mod series;
#[cfg(test)]
mod tests;
mod text;
mod verdict;
mod words;
mod zstd;

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};

use crate::config::ConfigError;
use crate::limits::REPORT_SERVED_BYTES_MAX;
use crate::report::data::Data;
use crate::report::input::read;
use crate::report::progress::Progress;

pub use past::Past;

/// The format of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A page for a browser, which needs nothing else.
    #[default]
    Html,
    /// A table and small plots, for a terminal.
    Text,
}

/// The page of what was kept, if no other name is given.
const DEFAULT_PAGE: &str = "latency-report.html";

/// The arguments of `latency-monitor report`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Request {
    /// Dumps, or files of samples, windows and events as lines of JSON, of one host or several, plain or compressed by
    /// gzip or zstd; - is the standard input
    #[arg(required_unless_present = "last", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// What the daemon of this host has kept.
    #[command(flatten)]
    pub past: Past,
    /// Where to write, - for the standard output [default: HTML beside the first file, with .html behind its
    /// name, and latency-report.html of what was kept; text, and what is from the standard input, to the standard
    /// output]
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
    /// Nobody has said where it is kept.
    #[error(
        "`--last` needs `-c` and the configuration file of the daemon, or `--history` and a folder"
    )]
    Nowhere,
    /// The configuration has mistakes.
    #[error(transparent)]
    Config(Box<ConfigError>),
    /// The daemon of this file keeps nothing.
    #[error("the daemon of {} keeps nothing: give it a `dir` of [history] and restart it", .0.display())]
    Unkept(PathBuf),
    /// There is nothing to show or to judge in any of the files.
    #[error(
        "there is nothing to report: no file has a probe, a sample, a window, a count or an event{}",
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

/// Returns the page of one dump, as HTML. `name` is what the page calls the file. Of a very long one it has the
/// beginning, and says so.
pub fn page_of_dump(name: &Path, file: impl Read) -> Result<String, ReportError> {
    let mut data = Data::default();
    let file = file.take(REPORT_SERVED_BYTES_MAX);
    read(name, BufReader::with_capacity(1 << 18, file), &mut data)?;
    data.findings.end();
    if data.is_empty() {
        let unread = data.unread;
        return Err(ReportError::Empty { unread });
    }
    Ok(html::page(&data))
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
                let file = Progress::new(path, file);
                read(path, BufReader::with_capacity(1 << 18, file), &mut data)?;
            }
        }
        self.past.read(&mut data)?;
        data.findings.end();
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
            (None, Format::Html, None) => DEFAULT_PAGE.into(),
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
