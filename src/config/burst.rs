//! The table `[burst]`: what counts as a micro-burst, and what is kept of one.

use std::fmt::{self, Write};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::error::{Given, Problems};
use crate::config::options::{check_range, nanos};
use crate::config::section::Section;
use crate::limits::{BURST_MARGIN_MS_MAX, DUMPS_KEPT_MAX};

/// Microseconds of a threshold: from what stamps can tell to a minute.
const THRESHOLD_US: RangeInclusive<f64> = 0.1..=60_000_000.0;

/// Milliseconds of quiet that end a burst.
const QUIET_MS: RangeInclusive<f64> = 0.01..=60_000.0;

/// Milliseconds kept before and after a burst.
const MARGIN_MS: RangeInclusive<f64> = 0.0..=BURST_MARGIN_MS_MAX;

/// Dumps in the folder.
const DUMPS: RangeInclusive<i64> = 1..=DUMPS_KEPT_MAX;

/// What counts as a micro-burst, and what is kept of one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BurstConfig {
    /// Queueing delay at which a burst begins; `None`: found from each flow's own noise.
    pub threshold: Option<Duration>,
    /// How long the queueing delay must stay under half of the threshold for a burst to end.
    pub quiet: Duration,
    /// How much of a flow is dumped from before a burst.
    pub pre: Duration,
    /// How much of a flow is dumped from after a burst.
    pub post: Duration,
    /// Where dumps are written; `None`: nothing is recorded for them.
    pub dump_dir: Option<PathBuf>,
    /// Dumps that are kept; the oldest go first.
    pub dumps_max: usize,
}

impl Default for BurstConfig {
    fn default() -> Self {
        Self {
            threshold: None,
            quiet: Duration::from_millis(5),
            pre: Duration::from_millis(200),
            post: Duration::from_millis(200),
            dump_dir: None,
            dumps_max: 100,
        }
    }
}

/// The table as it is written.
#[derive(Debug, Default)]
pub(super) struct BurstKeys {
    /// `None` in it: `"auto"`.
    threshold_us: Option<Given<Option<f64>>>,
    quiet_ms: Option<Given<f64>>,
    pre_ms: Option<Given<f64>>,
    post_ms: Option<Given<f64>>,
    dump_dir: Option<Given<String>>,
    dumps_max: Option<Given<i64>>,
}

impl BurstKeys {
    pub(super) fn read(section: &mut Section<'_>, problems: &mut Problems) -> Self {
        Self {
            threshold_us: section.number_or_auto("threshold_us", problems),
            quiet_ms: section.number("quiet_ms", problems),
            pre_ms: section.number("pre_ms", problems),
            post_ms: section.number("post_ms", problems),
            dump_dir: section.string("dump_dir", problems),
            dumps_max: section.integer("dumps_max", problems),
        }
    }

    /// The settings that it comes to.
    pub(super) fn resolve(self, problems: &mut Problems) -> BurstConfig {
        let default = BurstConfig::default();
        let threshold = self.threshold_us.and_then(|given| {
            let place = given.place;
            given.value.map(|value| Given { value, place })
        });
        let mut span = |given: Option<Given<f64>>, key, range: &RangeInclusive<f64>, unit, ns| {
            check_range(given.as_ref(), key, range, unit, problems);
            let given = given.filter(|given| range.contains(&given.value))?;
            Some(Duration::from_nanos(nanos(given.value * ns)))
        };
        let ms = " milliseconds";
        let config = BurstConfig {
            threshold: span(
                threshold,
                "threshold_us",
                &THRESHOLD_US,
                " microseconds",
                1e3,
            ),
            quiet: span(self.quiet_ms, "quiet_ms", &QUIET_MS, ms, 1e6).unwrap_or(default.quiet),
            pre: span(self.pre_ms, "pre_ms", &MARGIN_MS, ms, 1e6).unwrap_or(default.pre),
            post: span(self.post_ms, "post_ms", &MARGIN_MS, ms, 1e6).unwrap_or(default.post),
            dump_dir: self
                .dump_dir
                .as_ref()
                .map(|given| given.value.as_str().into()),
            dumps_max: self
                .dumps_max
                .as_ref()
                .and_then(|given| usize::try_from(given.value).ok())
                .unwrap_or(default.dumps_max),
        };
        check_range(self.dumps_max.as_ref(), "dumps_max", &DUMPS, "", problems);
        if let Some(given) = self.dump_dir.filter(|given| given.value.is_empty()) {
            problems.add(given.place, "dump_dir", "must be a folder, not empty");
        }
        config
    }
}

/// The table with every default filled in.
pub(super) fn write(out: &mut String, config: &BurstConfig) -> fmt::Result {
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    writeln!(out, "\n[burst]")?;
    match config.threshold {
        None => writeln!(out, "threshold_us = \"auto\"")?,
        Some(threshold) => writeln!(out, "threshold_us = {:?}", threshold.as_secs_f64() * 1e6)?,
    }
    writeln!(out, "quiet_ms = {:?}", ms(config.quiet))?;
    writeln!(out, "pre_ms = {:?}", ms(config.pre))?;
    writeln!(out, "post_ms = {:?}", ms(config.post))?;
    if let Some(folder) = &config.dump_dir {
        let folder = toml::Value::from(folder.to_string_lossy().into_owned());
        writeln!(out, "dump_dir = {folder}")?;
    }
    writeln!(out, "dumps_max = {}", config.dumps_max)
}
