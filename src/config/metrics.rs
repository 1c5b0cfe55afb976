//! Where measurements go: the `[[metrics]]` tables.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::config::error::{Place, Problems};
use crate::config::key::{Key, Scope, Table};
use crate::config::keys;
use crate::config::keys::METRICS_NAME;
use crate::config::keys::{
    API_KEY, BACKEND, BUCKETS, BUFFER_MIB, CA_FILE, CLICKHOUSE_HOST, CLICKHOUSE_PORT,
    COLUMNS_RENAMED, COMPAT_ZERO, DATABASE, DELETE_ON_STOP, ENDPOINT, GATEWAY, HEADERS, JOB, LEVEL,
    MAX_BUCKETS, METRICS, MODE, PASSWORD, RESOURCE, SCALE, SECURE, SEND_INTERVAL, SITE, SPOOL_DIR,
    TABLE, TEMPORALITY, URL, USERNAME, ZEROMQ_ADDRESS, ZEROMQ_PORT,
};
use crate::config::layer::{Layer, by_default};
use crate::config::outside::Outside;
use crate::config::rules;
use crate::config::section::Section;
use crate::config::value::Value;
use crate::config::words::{Backend, LogLevel, Word as _};
use crate::limits::BACKENDS_MAX;
use crate::publish::{
    BaseUrl, ClickHouseSettings, DatadogSettings, DeliverySettings, OtlpSettings,
    PushgatewaySettings, Site, ZeroMqSettings,
};
use crate::record::{Choice, Mode};

/// What only one backend is told.
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
    /// Which receiver, as whom, and how.
    Otlp(OtlpSettings),
}

impl BackendSettings {
    /// Returns the backend that they are for.
    pub const fn backend(&self) -> Backend {
        match self {
            Self::Cli => Backend::Cli,
            Self::Log => Backend::Log,
            Self::ZeroMq(_) => Backend::ZeroMq,
            Self::ClickHouse(_) => Backend::ClickHouse,
            Self::Pushgateway(_) => Backend::Pushgateway,
            Self::Datadog(_) => Backend::Datadog,
            Self::Otlp(_) => Backend::Otlp,
        }
    }

    /// Makes the settings of a backend. Datadog has none without an API key.
    fn from_layer(backend: Backend, layer: &Layer) -> Option<Self> {
        Some(match backend {
            Backend::Cli => Self::Cli,
            Backend::Log => Self::Log,
            Backend::ZeroMq => Self::ZeroMq(zeromq(layer)),
            Backend::ClickHouse => Self::ClickHouse(clickhouse(layer)),
            Backend::Pushgateway => Self::Pushgateway(pushgateway(layer)),
            Backend::Datadog => Self::Datadog(DatadogSettings {
                site: layer.get(&SITE),
                api_key: layer.find(&API_KEY)?,
                url: layer.find(&URL),
                ca_file: layer.find(&CA_FILE),
            }),
            Backend::Otlp => Self::Otlp(otlp(layer)),
        })
    }
}

/// Decides what the Python program's client of `ClickHouse` reads out of other settings: the database
/// before the table's name, and TLS of the port.
fn as_in_python(layer: &mut Layer, problems: &mut Problems) {
    let table: Option<String> = layer.find(&TABLE);
    let place = layer.place(&TABLE);
    if let Some((database, table)) = table.as_deref().and_then(|table| table.split_once('.'))
        && layer.find::<String>(&DATABASE).is_none()
    {
        layer.put(&DATABASE, database.to_owned().into(), place);
        layer.put(&TABLE, table.to_owned().into(), place);
    }
    let port: u16 = layer.get(&CLICKHOUSE_PORT);
    if layer.find::<bool>(&SECURE).is_none() {
        if ![443, 8123, 8443].contains(&port) {
            let text = format_args!(
                "is {port}, which the Python program asks over HTTP, and this one over HTTPS: say which \
                 (`secure`)"
            );
            problems.warn(layer.place(&CLICKHOUSE_PORT), CLICKHOUSE_PORT.name, text);
        }
        layer.put(&SECURE, (port != 8123).into(), Place::Program);
    }
}

fn zeromq(layer: &Layer) -> ZeroMqSettings {
    ZeroMqSettings {
        address: rules::address(&layer.get::<String>(&ZEROMQ_ADDRESS))
            .expect("the key's check parsed it"),
        port: layer.get(&ZEROMQ_PORT),
    }
}

fn clickhouse(layer: &Layer) -> ClickHouseSettings {
    let (host, port) = (layer.get(&CLICKHOUSE_HOST), layer.get(&CLICKHOUSE_PORT));
    let is_secure = layer.find(&SECURE).unwrap_or(true);
    ClickHouseSettings {
        server: BaseUrl::of_host(is_secure, &host, port).expect("the key's check made one"),
        database: layer.get(&DATABASE),
        username: layer.get(&USERNAME),
        password: layer.find(&PASSWORD).unwrap_or_default(),
        table: layer.get(&TABLE),
        columns: layer.find(&COLUMNS_RENAMED).unwrap_or_default(),
        ca_file: layer.find(&CA_FILE),
    }
}

fn pushgateway(layer: &Layer) -> PushgatewaySettings {
    PushgatewaySettings {
        gateway: layer.get(&GATEWAY),
        job: layer.get(&JOB),
        buckets: layer.find(&BUCKETS),
        delete_on_stop: layer.get(&DELETE_ON_STOP),
        ca_file: layer.find(&CA_FILE),
    }
}

fn otlp(layer: &Layer) -> OtlpSettings {
    let endpoint: BaseUrl = layer.get(&ENDPOINT);
    OtlpSettings {
        // Some give the whole URL.
        endpoint: endpoint.without("metrics").without("v1"),
        headers: layer.find(&HEADERS).unwrap_or_default(),
        resource: layer.find(&RESOURCE).unwrap_or_default(),
        temporality: layer.get(&TEMPORALITY),
        scale: layer.get(&SCALE),
        max_buckets: layer.get(&MAX_BUCKETS),
        ca_file: layer.find(&CA_FILE),
    }
}

fn delivery(layer: &Layer) -> DeliverySettings {
    DeliverySettings {
        send_interval: Duration::from_secs_f64(layer.get(&SEND_INTERVAL)),
        buffer_mib: layer.get(&BUFFER_MIB),
        spool_dir: layer.find(&SPOOL_DIR),
    }
}

// The defaults of what programs and tests make themselves: they stand in the table of keys only.
by_default! {
    ZeroMqSettings = zeromq;
    ClickHouseSettings = clickhouse;
    PushgatewaySettings = pushgateway;
    OtlpSettings = otlp;
    DeliverySettings = delivery;
    Site = |layer| layer.get(&SITE);
}

/// One backend, and what it gets.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MetricsConfig {
    /// What tells it from others: the word for its kind, or a name that was given.
    pub name: String,
    /// Which, and what it is told.
    pub settings: BackendSettings,
    /// Samples, windows or both.
    pub mode: Mode,
    /// Which metrics.
    pub choice: Choice,
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
    /// A backend that is told this, with every other setting at its default.
    pub fn new(settings: BackendSettings) -> Self {
        Self::from_layer(
            settings.backend().default_mode(),
            settings,
            &Layer::default(),
        )
    }

    fn from_layer(mode: Mode, settings: BackendSettings, layer: &Layer) -> Self {
        let kind = settings.backend().as_word();
        Self {
            name: layer.find(&METRICS_NAME).unwrap_or_else(|| kind.to_owned()),
            settings,
            mode,
            choice: layer.find(&METRICS).unwrap_or_default(),
            delivery: delivery(layer),
            level: layer.get(&LEVEL),
            compat_zero: layer.get(&COMPAT_ZERO),
        }
    }

    /// True if it pushes to the same group of the same gateway.
    fn pushes_to(&self, group: &PushgatewaySettings) -> bool {
        let BackendSettings::Pushgateway(mine) = &self.settings else {
            return false;
        };
        mine.gateway == group.gateway && mine.job == group.job
    }

    /// Reports what a program may have put in.
    pub(super) fn check(&self, problems: &mut Problems) {
        let interval = Value::Number(self.delivery.send_interval.as_secs_f64());
        if let Some(fault) = SEND_INTERVAL.kind.fault(&interval) {
            problems.add(Place::Program, SEND_INTERVAL.name, fault);
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
    /// Others ask this host over HTTP, so it need not publish.
    pub(super) is_asked: bool,
    pub(super) outside: &'a dyn Outside,
}

/// One `[[metrics]]` table as it is written.
#[derive(Debug)]
pub(super) struct MetricsTable {
    place: Place,
    backend: Backend,
    layer: Layer,
    /// Keys that are there and that only other backends have.
    foreign: Vec<(&'static str, Place)>,
}

impl MetricsTable {
    /// A table that says nothing but the backend.
    fn of(backend: Backend) -> Self {
        Self {
            place: Place::Program,
            backend,
            layer: Layer::default(),
            foreign: Vec::new(),
        }
    }

    pub(super) fn read(section: &Section<'_>, problems: &mut Problems) -> Self {
        let every = || keys::all().filter(|key| matches!(key.scope, Scope::Metrics | Scope::Of(_)));
        section.check_names(every().map(|key| key.name), problems);
        let any = Table::Metrics(Backend::Cli);
        let named = section.read(any, std::iter::once(&BACKEND), &mut Problems::default());
        let backend = named.get(&BACKEND);
        let table = Table::Metrics(backend);
        // Where the word is wrong, nobody knows whose keys they should be.
        let is_known = named.find(&BACKEND) == Some(backend) || section.find("backend").is_none();
        let is_foreign = |key: &&Key| is_known && keys::of(table).all(|own| own.name != key.name);
        let mut foreign: Vec<_> = every()
            .filter(is_foreign)
            .filter_map(|key| Some((key.name, section.find(key.name)?.1)))
            .collect();
        foreign.dedup();
        Self {
            place: section.place,
            backend,
            layer: section.read(table, keys::of(table), problems),
            foreign,
        }
    }

    /// Returns its settings, and whose they are.
    pub(super) const fn layer(&self) -> (&Layer, Table) {
        (&self.layer, Table::Metrics(self.backend))
    }

    /// Makes it a table for another backend, as a flag says. What is another's goes.
    fn divert(&mut self, backend: Backend) {
        if self.backend != backend {
            self.backend = backend;
            self.layer.retain(Scope::Metrics);
            self.layer.remove(&METRICS_NAME);
            self.foreign.clear();
        }
    }

    /// Completes the settings, in `self.layer` too.
    fn resolve(&mut self, around: &Around<'_>, problems: &mut Problems) -> Option<MetricsConfig> {
        for (name, place) in &self.foreign {
            problems.add(*place, name, format_args!("is for {} only", owners(name)));
        }
        let (backend, layer) = (self.backend, &mut self.layer);
        if let Some(lacking) = backend.lacking() {
            problems.add(layer.place_or(&BACKEND, self.place), BACKEND.name, lacking);
        }
        let before = problems.faults.len();
        let table = Table::Metrics(backend);
        layer.put(&BACKEND, backend.into(), layer.place(&BACKEND));
        if backend == Backend::ClickHouse {
            as_in_python(layer, problems);
        }
        layer.complete(table, around.outside, problems);
        let mode = around.mode.or_else(|| layer.find(&MODE));
        let mode = mode.unwrap_or_else(|| backend.default_mode());
        layer.put(&MODE, mode.into(), Place::Program);
        let level: LogLevel = layer.get(&LEVEL);
        if backend == Backend::Log && level.tracing() > around.log_level.tracing() {
            let (word, shown) = (level.as_word(), around.log_level.as_word());
            let text = format_args!("is {word}, which a `log_level` of {shown} does not show");
            problems.warn(layer.place_or(&LEVEL, self.place), LEVEL.name, text);
        }
        let settings = BackendSettings::from_layer(backend, layer);
        if let Some(BackendSettings::Datadog(settings)) = &settings
            && settings.api_key.secret().as_str().contains(' ')
        {
            let text = "has spaces, which no key of Datadog has";
            problems.warn(layer.place_or(&API_KEY, self.place), API_KEY.name, text);
        }
        if settings.is_none() && problems.faults.len() == before {
            let text = "`backend = \"datadog\"` needs an API key: give `api_key`, `api_key_file`, or \
                        DD_API_KEY in the environment";
            problems.add_text(self.place, text);
        }
        Some(MetricsConfig::from_layer(mode, settings?, layer))
    }
}

/// Names the backends that have a key.
fn owners(name: &str) -> String {
    let owners = Backend::WORDS.iter().filter_map(|(word, backend)| {
        let mut keys = keys::of(Table::Metrics(*backend));
        keys.any(|key| key.name == name)
            .then(|| format!("`backend = \"{word}\"`"))
    });
    owners.collect::<Vec<_>>().join(" or ")
}

/// The name under which what `[http]` gets is counted.
const FACE: &str = "http";

/// Reports backends that nothing tells apart.
fn check_names(tables: &[MetricsTable], problems: &mut Problems) {
    let mut seen = BTreeSet::new();
    let mut has_stdout = false;
    for table in tables {
        let kind = table.backend.as_word();
        let given = table.layer.find::<String>(&METRICS_NAME);
        let is_second = !seen.insert(given.clone().unwrap_or_else(|| kind.to_owned()));
        let place = table.layer.place_or(&BACKEND, table.place);
        if table.backend == Backend::Cli && std::mem::replace(&mut has_stdout, true) {
            let text = "is \"cli\" a second time, and there is one standard output";
            problems.add(place, BACKEND.name, text);
        } else if given.as_deref() == Some(FACE) {
            let place = table.layer.place_or(&METRICS_NAME, table.place);
            let text =
                format_args!("is {FACE:?}, which is the name of `[http]` there: give another name");
            problems.add(place, METRICS_NAME.name, text);
        } else if let (true, Some(name)) = (is_second, &given) {
            let place = table.layer.place_or(&METRICS_NAME, table.place);
            let text = format_args!("is {name:?} a second time: give another name");
            problems.add(place, METRICS_NAME.name, text);
        } else if is_second {
            let text = format_args!("is {kind:?} a second time: give this table a `name`");
            problems.add(place, BACKEND.name, text);
        }
    }
    if let Some(table) = tables.get(BACKENDS_MAX) {
        let text =
            format_args!("is that of one table more than {BACKENDS_MAX}, which are the most");
        problems.add(
            table.layer.place_or(&BACKEND, table.place),
            BACKEND.name,
            text,
        );
    }
}

/// Resolves the file's tables, and shows each. If a flag names a backend, an only table becomes one for
/// that backend, without the keys of another; of several tables those for that backend remain.
pub(super) fn resolve(
    mut tables: Vec<MetricsTable>,
    around: &Around<'_>,
    problems: &mut Problems,
    shown: &mut String,
) -> Vec<MetricsConfig> {
    if let Some(wanted) = around.backend {
        if let [only] = &mut tables[..] {
            only.divert(wanted);
        }
        tables.retain(|table| table.backend == wanted);
    }
    if tables.is_empty() && !(around.is_asked && around.backend.is_none()) {
        let backend = around.backend;
        let backend = backend.unwrap_or_else(|| Layer::default().get(&BACKEND));
        tables.push(MetricsTable::of(backend));
    }
    check_names(&tables, problems);
    let mut resolved = Vec::new();
    for table in &mut tables {
        let Some(made) = table.resolve(around, problems) else {
            let metrics = Table::Metrics(table.backend);
            table.layer.show("[[metrics]]", metrics, shown);
            continue;
        };
        if let BackendSettings::Pushgateway(mine) = &made.settings
            && resolved
                .iter()
                .any(|other: &MetricsConfig| other.pushes_to(mine))
        {
            let text = "is that of another table with this `gateway`: each would replace what the other pushes; give \
                        another `job`";
            let place = table.layer.place_or(&JOB, table.place);
            problems.add(place, JOB.name, text);
        }
        resolved.push(made);
        let metrics = Table::Metrics(table.backend);
        table.layer.show("[[metrics]]", metrics, shown);
    }
    resolved
}
