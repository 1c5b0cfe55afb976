//! Where what is measured goes: the `[[metrics]]` tables.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::error::{Given, Place, Problems};
use crate::config::options::check_range;
use crate::config::section::Section;
use crate::config::{LogLevel, Word};
use crate::record::Mode;

/// Seconds between the windows of a backend: a tenth to a day.
const SEND_INTERVAL_S: RangeInclusive<f64> = 0.1..=86_400.0;

/// The backends there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// JSON on stdout, one object a line.
    Cli,
    /// The same, through the daemon's log.
    Log,
}

impl Word for Backend {
    const WORDS: &'static [(&'static str, Self)] = &[("cli", Self::Cli), ("log", Self::Log)];
}

impl Word for Mode {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("samples", Self::Samples),
        ("windows", Self::Windows),
        ("both", Self::Both),
    ];
}

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
}

impl Word for Format {
    const WORDS: &'static [(&'static str, Self)] = &[("json", Self::Json)];
}

/// One backend, and what it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetricsConfig {
    /// Which.
    pub backend: Backend,
    /// Samples, windows or both.
    pub mode: Mode,
    /// The length of a window, and between counts.
    pub send_interval: Duration,
    /// The level that the log backend writes at.
    pub level: LogLevel,
    /// Whether a loss is also a delay of 0, and a negative delay 0, as in the Python program.
    pub compat_zero: bool,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            backend: Backend::Cli,
            mode: Mode::Samples,
            send_interval: Duration::from_secs(30),
            level: LogLevel::Warning,
            compat_zero: false,
        }
    }
}

impl MetricsConfig {
    /// Reports what a program may have put in.
    pub(super) fn check(&self, problems: &mut Problems) {
        if !SEND_INTERVAL_S.contains(&self.send_interval.as_secs_f64()) {
            let text = format_args!("of {:?} is out of range", self.send_interval);
            problems.add(Place::Program, "send_interval", text);
        }
    }
}

/// One `[[metrics]]` table, as it was written.
#[derive(Clone, Debug, Default)]
pub(super) struct MetricsLayer {
    place: Place,
    backend: Option<Given<Backend>>,
    mode: Option<Given<Mode>>,
    send_interval: Option<Given<f64>>,
    level: Option<Given<LogLevel>>,
    compat_zero: Option<Given<bool>>,
}

impl MetricsLayer {
    pub(super) fn read(section: &mut Section<'_>, place: Place, problems: &mut Problems) -> Self {
        // There is one; the key is there for what is to come.
        section.word::<Format>("format", problems);
        Self {
            place,
            backend: section.word("backend", problems),
            mode: section.word("mode", problems),
            send_interval: section.number("send_interval", problems),
            level: section.word("level", problems),
            compat_zero: section.boolean("compat_zero", problems),
        }
    }

    fn backend(&self) -> Backend {
        self.backend
            .as_ref()
            .map_or(Backend::Cli, |backend| backend.value)
    }

    fn resolve(
        &self,
        mode: Option<Mode>,
        log_level: LogLevel,
        problems: &mut Problems,
    ) -> MetricsConfig {
        let default = MetricsConfig::default();
        let interval = self.send_interval.as_ref();
        check_range(
            interval,
            "send_interval",
            &SEND_INTERVAL_S,
            " seconds",
            problems,
        );
        if let Some(level) = self
            .level
            .as_ref()
            .filter(|_| self.backend() != Backend::Log)
        {
            problems.add(level.place, "level", "is for `backend = \"log\"` only");
        }
        let level = self
            .level
            .as_ref()
            .map_or(default.level, |level| level.value);
        if self.backend() == Backend::Log && level.tracing() > log_level.tracing() {
            let (word, shown) = (level.as_word(), log_level.as_word());
            let place = self.level.as_ref().map_or(self.place, |level| level.place);
            let text = format_args!("is {word}, which a `log_level` of {shown} does not show");
            problems.add(place, "level", text);
        }
        let seconds = interval
            .map(|given| given.value)
            .filter(|s| SEND_INTERVAL_S.contains(s));
        MetricsConfig {
            backend: self.backend(),
            mode: mode
                .or_else(|| self.mode.as_ref().map(|mode| mode.value))
                .unwrap_or(default.mode),
            send_interval: seconds.map_or(default.send_interval, Duration::from_secs_f64),
            level,
            compat_zero: self.compat_zero.as_ref().is_some_and(|given| given.value),
        }
    }
}

/// The backends to publish to: the file's tables. If a flag names a backend, an only table is for that
/// one, and of several those that are for it remain.
pub(super) fn resolve(
    mut layers: Vec<MetricsLayer>,
    backend: Option<Backend>,
    mode: Option<Mode>,
    log_level: LogLevel,
    problems: &mut Problems,
) -> Vec<MetricsConfig> {
    if let Some(wanted) = backend {
        if let [only] = &mut layers[..] {
            only.backend = Some(Given::by_program(wanted));
        }
        layers.retain(|layer| layer.backend() == wanted);
    }
    if layers.is_empty() {
        let default = backend.map(Given::by_program);
        layers.push(MetricsLayer {
            backend: default,
            ..MetricsLayer::default()
        });
    }
    for (index, layer) in layers.iter().enumerate() {
        if layers
            .iter()
            .take(index)
            .any(|before| before.backend() == layer.backend())
        {
            let text = format!("is {:?} a second time", layer.backend().as_word());
            let place = layer
                .backend
                .as_ref()
                .map_or(layer.place, |given| given.place);
            problems.add(place, "backend", text);
        }
    }
    layers
        .iter()
        .map(|layer| layer.resolve(mode, log_level, problems))
        .collect()
}
