//! Where what is measured goes: the `[[metrics]]` tables.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::error::{Given, Place, Problems};
use crate::config::keys::BackendKeys;
use crate::config::options::check_range;
use crate::config::section::Section;
use crate::config::{LogLevel, Outside, Word};
use crate::publish::{
    ClickHouseSettings, DatadogSettings, DeliverySettings, PushgatewaySettings, ZeroMqSettings,
};
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
    /// The same, one object a message, on a ZeroMQ PUB socket.
    ZeroMq,
    /// Rows in ClickHouse.
    ClickHouse,
    /// Prometheus histograms and counters on a Pushgateway.
    Pushgateway,
    /// Series in Datadog.
    Datadog,
}

impl Word for Backend {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("cli", Self::Cli),
        ("log", Self::Log),
        ("zeromq", Self::ZeroMq),
        ("clickhouse", Self::ClickHouse),
        ("pushgateway", Self::Pushgateway),
        ("datadog", Self::Datadog),
    ];
}

impl Backend {
    /// What it gets if nothing else is said: one that counts and adds up is given windows.
    pub const fn default_mode(self) -> Mode {
        match self {
            Self::Cli | Self::Log | Self::ZeroMq | Self::ClickHouse => Mode::Samples,
            Self::Pushgateway | Self::Datadog => Mode::Windows,
        }
    }
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

/// What only one backend can be told.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum BackendSettings {
    /// Nothing.
    Cli,
    /// Nothing but the level, which stands in [`MetricsConfig`].
    Log,
    /// Where to bind.
    ZeroMq(ZeroMqSettings),
    /// Which server, as whom, and into what.
    ClickHouse(ClickHouseSettings),
    /// Which gateway, and under what.
    Pushgateway(PushgatewaySettings),
    /// Which site, and the key.
    Datadog(DatadogSettings),
}

impl BackendSettings {
    /// The backend that they are for.
    pub const fn backend(&self) -> Backend {
        match self {
            Self::Cli => Backend::Cli,
            Self::Log => Backend::Log,
            Self::ZeroMq(_) => Backend::ZeroMq,
            Self::ClickHouse(_) => Backend::ClickHouse,
            Self::Pushgateway(_) => Backend::Pushgateway,
            Self::Datadog(_) => Backend::Datadog,
        }
    }
}

/// One backend, and what it gets.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MetricsConfig {
    /// Which.
    pub backend: Backend,
    /// What it is told.
    pub settings: BackendSettings,
    /// Samples, windows or both.
    pub mode: Mode,
    /// The length of a window and between counts, and how batches wait and are sent.
    pub delivery: DeliverySettings,
    /// The level that the log backend writes at.
    pub level: LogLevel,
    /// Whether a loss is also a delay of 0, and a negative delay 0, as in the Python program.
    pub compat_zero: bool,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self::new(BackendSettings::Cli)
    }
}

impl MetricsConfig {
    /// A backend that is told this, and everything else as the table of keys says.
    pub fn new(settings: BackendSettings) -> Self {
        let backend = settings.backend();
        Self {
            backend,
            settings,
            mode: backend.default_mode(),
            delivery: DeliverySettings::default(),
            level: LogLevel::Warning,
            compat_zero: false,
        }
    }

    /// Reports what a program may have put in.
    pub(super) fn check(&self, problems: &mut Problems) {
        let interval = self.delivery.send_interval;
        if !SEND_INTERVAL_S.contains(&interval.as_secs_f64()) {
            let text = format_args!("of {interval:?} is out of range");
            problems.add(Place::Program, "send_interval", text);
        }
        if self.settings.backend() != self.backend {
            let (settings, backend) = (self.settings.backend(), self.backend);
            let text = format_args!(
                "is {:?}, and its settings are those of {:?}",
                backend.as_word(),
                settings.as_word()
            );
            problems.add(Place::Program, "backend", text);
        }
    }
}

/// What holds for every table whatever it says itself.
pub(super) struct Around<'a> {
    /// The backend that a flag names.
    pub(super) backend: Option<Backend>,
    /// The mode that a flag names.
    pub(super) mode: Option<Mode>,
    pub(super) log_level: LogLevel,
    pub(super) outside: &'a dyn Outside,
}

/// One `[[metrics]]` table, as it was written.
#[derive(Clone, Debug, Default)]
pub(super) struct MetricsLayer {
    place: Place,
    backend: Option<Given<Backend>>,
    mode: Option<Given<Mode>>,
    send_interval: Option<Given<f64>>,
    compat_zero: Option<Given<bool>>,
    keys: BackendKeys,
    /// A flag has made it a table for another backend, whose keys it does not have.
    is_diverted: bool,
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
            compat_zero: section.boolean("compat_zero", problems),
            keys: BackendKeys::read(section, problems),
            is_diverted: false,
        }
    }

    fn backend(&self) -> Backend {
        self.backend
            .as_ref()
            .map_or(Backend::Cli, |backend| backend.value)
    }

    fn resolve(&self, around: &Around<'_>, problems: &mut Problems) -> MetricsConfig {
        let backend = self.backend();
        let default = MetricsConfig::default();
        let interval = self.send_interval.as_ref();
        check_range(
            interval,
            "send_interval",
            &SEND_INTERVAL_S,
            " seconds",
            problems,
        );
        let diverted = BackendKeys::default();
        let keys = if self.is_diverted {
            &diverted
        } else {
            self.keys.check_owners(backend, problems);
            &self.keys
        };
        let level = keys.level.as_ref();
        let level_value = level.map_or(default.level, |level| level.value);
        if backend == Backend::Log && level_value.tracing() > around.log_level.tracing() {
            let (word, shown) = (level_value.as_word(), around.log_level.as_word());
            let place = level.map_or(self.place, |level| level.place);
            let text = format_args!("is {word}, which a `log_level` of {shown} does not show");
            problems.add(place, "level", text);
        }
        let seconds = interval
            .map(|given| given.value)
            .filter(|s| SEND_INTERVAL_S.contains(s));
        let mode = self.mode.as_ref().map(|mode| mode.value);
        let buffer_mib = keys.buffer_mib.as_ref();
        MetricsConfig {
            backend,
            settings: keys.settings(backend, self.place, around.outside, problems),
            mode: around
                .mode
                .or(mode)
                .unwrap_or_else(|| backend.default_mode()),
            delivery: DeliverySettings {
                send_interval: seconds
                    .map_or(default.delivery.send_interval, Duration::from_secs_f64),
                buffer_mib: buffer_mib
                    .and_then(|given| u32::try_from(given.value).ok())
                    .unwrap_or(default.delivery.buffer_mib),
                spool_dir: keys
                    .spool_dir
                    .as_ref()
                    .map(|given| PathBuf::from(&given.value)),
            },
            level: level_value,
            compat_zero: self.compat_zero.as_ref().is_some_and(|given| given.value),
        }
    }
}

/// The backends to publish to: the file's tables. If a flag names a backend, an only table is for that
/// one, without the keys that are another's, and of several those that are for it remain.
pub(super) fn resolve(
    mut layers: Vec<MetricsLayer>,
    around: &Around<'_>,
    problems: &mut Problems,
) -> Vec<MetricsConfig> {
    if let Some(wanted) = around.backend {
        if let [only] = &mut layers[..] {
            only.is_diverted = only.backend() != wanted;
            only.backend = Some(Given::by_program(wanted));
        }
        layers.retain(|layer| layer.backend() == wanted);
    }
    if layers.is_empty() {
        layers.push(MetricsLayer {
            backend: around.backend.map(Given::by_program),
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
        .map(|layer| layer.resolve(around, problems))
        .collect()
}
