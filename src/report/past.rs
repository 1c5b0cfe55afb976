//! Reads what a daemon of this host has kept (`[history]`), also while it runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{Config, DEFAULT_FILE, Overrides};
use crate::history::{Cell, Part, Reader, Span};
use crate::limits::{HISTORY_INTERVALS_SHOWN_MAX, REPORT_LAST_S_MAX};
use crate::report::data::{Data, Kept};
use crate::report::{ReportError, read};

/// Units of time, and their seconds.
const UNITS: [(&str, u64); 5] = [
    ("s", 1),
    ("min", 60),
    ("h", 3_600),
    ("d", 86_400),
    ("w", 604_800),
];

/// Reads a length of time, as `90s`, `30min`, `24h`, `7d`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, factor)| *factor);
    let (Some(factor), Ok(number)) = (factor, number.parse::<u64>()) else {
        return Err(
            "is no length of time: give a number and a unit, as in 90s, 30min, 24h, 7d, 2w"
                .to_owned(),
        );
    };
    match number.checked_mul(factor) {
        Some(seconds @ 1..=REPORT_LAST_S_MAX) => Ok(Duration::from_secs(seconds)),
        _ => Err("must be a second at least, and ten years at most".to_owned()),
    }
}

/// Whose past a report is of.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Past {
    /// Report what the daemon of this host has kept of this long, as 90s, 30min, 24h or 7d; the daemon may run
    /// meanwhile
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub last: Option<Duration>,
    /// Only of this target, or of senders of this name
    #[arg(long, value_name = "LABEL", requires = "last")]
    pub target: Option<String>,
    /// The configuration file of the daemon, which says where it keeps it [default: ./latency.toml]
    #[arg(
        short,
        long,
        value_name = "FILE",
        requires = "last",
        conflicts_with = "history"
    )]
    pub config_file: Option<PathBuf>,
    /// The folder in which it is kept: `dir` of `[history]`
    #[arg(long, value_name = "DIR", requires = "last")]
    pub history: Option<PathBuf>,
}

impl Past {
    /// Adds what was kept to the data, if it is asked for.
    pub(super) fn read(&self, data: &mut Data) -> Result<(), ReportError> {
        let Some(last) = self.last else {
            return Ok(());
        };
        let folder = self.folder()?;
        let now_ns = Clock::new().now().wall.as_unix_nanos();
        let last_ns = i64::try_from(last.as_nanos()).unwrap_or(i64::MAX);
        self.read_folder(&folder, [now_ns.saturating_sub(last_ns), now_ns], data)
    }

    /// Adds what a folder has of a time.
    pub(super) fn read_folder(
        &self,
        folder: &Path,
        [from_ns, to_ns]: [i64; 2],
        data: &mut Data,
    ) -> Result<(), ReportError> {
        let failed = |source| ReportError::Read {
            path: folder.to_owned(),
            source,
        };
        let span = Span {
            from_ns,
            to_ns,
            intervals_max: HISTORY_INTERVALS_SHOWN_MAX,
        };
        let reader = Reader::new(folder);
        let host = reader.host().map_err(failed)?;
        data.begin_file(host.unwrap_or_else(|| folder.display().to_string()));
        let is_wanted = |tags: &[Box<str>]| self.has(tags.iter().map(|tag| &**tag));
        let mut unread = reader
            .read(span, &is_wanted, &mut |part| add(&part, data))
            .map_err(failed)?;
        let mut add_event = |line: &[u8]| {
            // Of events that were written together, some are older.
            if let Ok(line) = read::line(line)
                && line.when().is_some_and(|at| at >= from_ns && at < to_ns)
                && self.has(line.tags.iter().map(|tag| &**tag))
            {
                // An event is never refused.
                let _ = data.add(line);
            }
        };
        unread.extend(reader.events(span, &mut add_event).map_err(failed)?);
        data.unread.extend(unread);
        Ok(())
    }

    fn folder(&self) -> Result<PathBuf, ReportError> {
        if let Some(folder) = &self.history {
            return Ok(folder.clone());
        }
        let usual = Path::new(DEFAULT_FILE);
        let file = match &self.config_file {
            Some(file) => file.as_path(),
            None if usual.exists() => usual,
            None => return Err(ReportError::Nowhere),
        };
        let config = Config::load(Some(file), &Overrides::default());
        let config = config.map_err(|error| ReportError::Config(Box::new(error)))?;
        let history = config.history.map(|history| history.dir);
        history.ok_or_else(|| ReportError::Unkept(file.to_owned()))
    }

    /// True if what has these tags is asked for. What the daemon says of itself always is.
    fn has<'a>(&self, mut tags: impl Iterator<Item = &'a str>) -> bool {
        let Some(target) = &self.target else {
            return true;
        };
        let mut is_of_flow = false;
        let is_one = tags.any(|tag| {
            is_of_flow |= tag.starts_with("target:");
            let named = tag
                .strip_prefix("target:")
                .or_else(|| tag.strip_prefix("source:"));
            named == Some(target)
        });
        is_one || !is_of_flow
    }
}

/// Adds the values of one subject in one interval.
fn add(part: &Part<'_>, data: &mut Data) {
    let mut tags: Vec<String> = part.tags.iter().map(ToString::to_string).collect();
    let own = tags.len();
    for (column, cell) in &part.row {
        tags.truncate(own);
        if !column.tag.is_empty() {
            tags.push(column.tag.to_string());
        }
        match cell {
            Cell::Window(window) => {
                let values: Vec<(i64, u64)> = window.values().collect();
                let kept = Kept {
                    metric: &column.metric,
                    tags: &tags,
                    span: part.span,
                    stamp: window.stamp.as_str(),
                };
                data.add_window(&kept, &values);
            }
            Cell::Count(count) => {
                let count = i64::try_from(*count).unwrap_or(i64::MAX);
                data.add_count(&column.metric, &tags, part.span[1], count);
            }
            // A report shows none.
            Cell::Gauge(_) => {}
        }
    }
}
