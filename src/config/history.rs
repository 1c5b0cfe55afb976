//! The table `[history]`: what this host keeps of what it has measured.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::error::Problems;
use crate::config::keys::{
    HISTORY_DIR, HISTORY_INTERVAL, HISTORY_KEEP, HISTORY_MAX_MIB, HISTORY_METRICS,
};
use crate::config::layer::Layer;
use crate::record::Choice;

/// Seconds of a minute, which intervals have to fill.
const MINUTE_S: u32 = 60;

/// Where what was measured is kept, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryConfig {
    /// A folder of this daemon alone.
    pub dir: PathBuf,
    /// How long anything is kept.
    pub keep: Duration,
    /// Mebibytes of all files.
    pub max_mib: u32,
    /// The length of the finest intervals.
    pub interval: Duration,
    /// Which metrics.
    pub choice: Choice,
}

impl HistoryConfig {
    /// Makes it of settings that have been checked one by one; `None`: nothing is kept.
    pub(super) fn from_layer(layer: &Layer, problems: &mut Problems) -> Option<Self> {
        let interval_s: u32 = layer.get(&HISTORY_INTERVAL);
        if !MINUTE_S.is_multiple_of(interval_s) {
            let text = format_args!(
                "must divide a minute, and {interval_s} s do not: 1, 2, 5, 10, 15, 20, 30 or 60"
            );
            let place = layer.place(&HISTORY_INTERVAL);
            problems.add(place, HISTORY_INTERVAL.name, text);
        }
        let days: u32 = layer.get(&HISTORY_KEEP);
        Some(Self {
            dir: layer.find(&HISTORY_DIR)?,
            keep: Duration::from_secs(u64::from(days) * 86_400),
            max_mib: layer.get(&HISTORY_MAX_MIB),
            interval: Duration::from_secs(interval_s.into()),
            choice: layer.find(&HISTORY_METRICS).unwrap_or_default(),
        })
    }

    /// Bytes of all files.
    pub const fn bytes_max(&self) -> u64 {
        self.max_mib as u64 * 1024 * 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Overrides};

    fn parse(text: &str) -> Result<Option<HistoryConfig>, String> {
        let config = Config::parse(text, &Overrides::default());
        config
            .map(|config| config.history)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_kept_without_a_folder() {
        assert_eq!(parse(""), Ok(None));
        assert_eq!(parse("[history]\nkeep = 3"), Ok(None));
        let kept = parse("[history]\ndir = '/h'").unwrap().unwrap();
        assert_eq!(kept.keep, Duration::from_hours(7 * 24));
        assert_eq!(kept.bytes_max(), 1 << 30);
        assert_eq!(
            (kept.interval, kept.choice),
            (Duration::from_secs(10), Choice::ALL)
        );
    }

    #[test]
    fn what_is_kept_can_be_less_or_more() {
        let text =
            "[history]\ndir = '/h'\nkeep = 90\nmax_mib = 16\ninterval = 1\nmetrics = ['*.rtt']";
        let kept = parse(text).unwrap().unwrap();
        assert_eq!((kept.keep.as_secs(), kept.max_mib), (90 * 86_400, 16));
        let rtt = crate::record::Metric::named("udp.wan.rtt").unwrap();
        let owd = crate::record::Metric::named("udp.wan.owd").unwrap();
        assert!(kept.choice.has(rtt) && !kept.choice.has(owd));
    }

    #[test]
    fn an_interval_fills_a_minute_and_limits_are_told() {
        for (setting, told) in [
            (
                "interval = 7",
                "line 2: `interval` must divide a minute, and 7 s do not",
            ),
            ("interval = 0", "`interval` must be 1 to 60 seconds"),
            ("max_mib = 15", "`max_mib` must be 16 to"),
            ("keep = 0", "`keep` must be 1 to 3650 days"),
            ("directory = 'x'", "is not a key of [history]"),
        ] {
            let error = parse(&format!("[history]\n{setting}")).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
