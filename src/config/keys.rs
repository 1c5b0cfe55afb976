//! The keys of single backends in a `[[metrics]]` table: whose they are, what they may be, and the
//! settings that they come to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::Path;

use crate::config::error::{Given, Place, Problems};
use crate::config::metrics::BackendSettings;
use crate::config::options::{check_range, check_with, parse_host};
use crate::config::section::Section;
use crate::config::{Backend, LogLevel, Outside, Word};
use crate::limits::BUCKETS_MAX;
use crate::publish::clickhouse::{COLUMNS, COLUMNS_LISTED};
use crate::publish::http::masked;
use crate::publish::{
    ClickHouseSettings, DatadogSettings, PushgatewaySettings, Secret, ZeroMqSettings,
};

/// Ports that one can bind or connect to.
const PORT: RangeInclusive<i64> = 1..=65_535;

/// Mebibytes of batches that wait: at least one batch, and at most what a disk has.
const BUFFER_MIB: RangeInclusive<i64> = 1..=1_048_576;

/// Backends whose batches wait in a queue.
const QUEUED: &[Backend] = &[Backend::ClickHouse, Backend::Pushgateway, Backend::Datadog];

/// Variables that secrets are taken from.
const PASSWORD_VARIABLE: &str = "LATENCY_MONITOR_PASSWORD";
const API_KEY_VARIABLE: &str = "DD_API_KEY";
const SITE_VARIABLE: &str = "DD_SITE";

/// The keys as they were written.
#[derive(Clone, Debug, Default)]
pub(super) struct BackendKeys {
    pub(super) level: Option<Given<LogLevel>>,
    pub(super) buffer_mib: Option<Given<i64>>,
    pub(super) spool_dir: Option<Given<String>>,
    address: Option<Given<String>>,
    port: Option<Given<i64>>,
    host: Option<Given<String>>,
    secure: Option<Given<bool>>,
    database: Option<Given<String>>,
    username: Option<Given<String>>,
    password: Option<Given<String>>,
    password_file: Option<Given<String>>,
    table: Option<Given<String>>,
    columns: Option<Given<BTreeMap<String, String>>>,
    gateway: Option<Given<String>>,
    job: Option<Given<String>>,
    buckets: Option<Given<Vec<f64>>>,
    delete_on_stop: Option<Given<bool>>,
    site: Option<Given<String>>,
    api_key: Option<Given<String>>,
    api_key_file: Option<Given<String>>,
    url: Option<Given<String>>,
}

impl BackendKeys {
    pub(super) fn read(section: &mut Section<'_>, problems: &mut Problems) -> Self {
        Self {
            level: section.word("level", problems),
            buffer_mib: section.integer("buffer_mib", problems),
            spool_dir: section.string("spool_dir", problems),
            address: section.string("address", problems),
            port: section.integer("port", problems),
            host: section.string("host", problems),
            secure: section.boolean("secure", problems),
            database: section.string("database", problems),
            username: section.string("username", problems),
            password: section.string("password", problems),
            password_file: section.string("password_file", problems),
            table: section.string("table", problems),
            columns: section.names("columns", &COLUMNS[..COLUMNS_LISTED], problems),
            gateway: section.string("gateway", problems),
            job: section.string("job", problems),
            buckets: section.numbers("buckets", problems),
            delete_on_stop: section.boolean("delete_on_stop", problems),
            site: section.string("site", problems),
            api_key: section.string("api_key", problems),
            api_key_file: section.string("api_key_file", problems),
            url: section.string("url", problems),
        }
    }

    /// Every key, where it was given, and the backends that have it.
    fn owners(&self) -> [(&'static str, Option<Place>, &'static [Backend]); 21] {
        use Backend::{ClickHouse, Datadog, Log, Pushgateway, ZeroMq};
        [
            ("level", place(self.level.as_ref()), &[Log]),
            ("buffer_mib", place(self.buffer_mib.as_ref()), QUEUED),
            ("spool_dir", place(self.spool_dir.as_ref()), QUEUED),
            ("address", place(self.address.as_ref()), &[ZeroMq]),
            ("port", place(self.port.as_ref()), &[ZeroMq, ClickHouse]),
            ("host", place(self.host.as_ref()), &[ClickHouse]),
            ("secure", place(self.secure.as_ref()), &[ClickHouse]),
            ("database", place(self.database.as_ref()), &[ClickHouse]),
            ("username", place(self.username.as_ref()), &[ClickHouse]),
            ("password", place(self.password.as_ref()), &[ClickHouse]),
            (
                "password_file",
                place(self.password_file.as_ref()),
                &[ClickHouse],
            ),
            ("table", place(self.table.as_ref()), &[ClickHouse]),
            ("columns", place(self.columns.as_ref()), &[ClickHouse]),
            ("gateway", place(self.gateway.as_ref()), &[Pushgateway]),
            ("job", place(self.job.as_ref()), &[Pushgateway]),
            ("buckets", place(self.buckets.as_ref()), &[Pushgateway]),
            (
                "delete_on_stop",
                place(self.delete_on_stop.as_ref()),
                &[Pushgateway],
            ),
            ("site", place(self.site.as_ref()), &[Datadog]),
            ("api_key", place(self.api_key.as_ref()), &[Datadog]),
            (
                "api_key_file",
                place(self.api_key_file.as_ref()),
                &[Datadog],
            ),
            ("url", place(self.url.as_ref()), &[Datadog]),
        ]
    }

    /// Reports keys that another backend would have.
    pub(super) fn check_owners(&self, backend: Backend, problems: &mut Problems) {
        for (key, place, owners) in self.owners() {
            let Some(place) = place.filter(|_| !owners.contains(&backend)) else {
                continue;
            };
            let owners: Vec<String> = owners
                .iter()
                .map(|owner| format!("`backend = \"{}\"`", owner.as_word()))
                .collect();
            let text = format_args!("is for {} only", owners.join(" or "));
            problems.add(place, key, text);
        }
    }

    /// The backend's settings; `table` is where they stand.
    pub(super) fn settings(
        &self,
        backend: Backend,
        table: Place,
        outside: &dyn Outside,
        problems: &mut Problems,
    ) -> BackendSettings {
        if QUEUED.contains(&backend) {
            let unit = " mebibytes";
            let given = self.buffer_mib.as_ref();
            check_range(given, "buffer_mib", &BUFFER_MIB, unit, problems);
            filled(self.spool_dir.as_ref(), "spool_dir", problems);
        }
        match backend {
            Backend::Cli => BackendSettings::Cli,
            Backend::Log => BackendSettings::Log,
            Backend::ZeroMq => BackendSettings::ZeroMq(self.zeromq(problems)),
            Backend::ClickHouse => BackendSettings::ClickHouse(self.clickhouse(outside, problems)),
            Backend::Pushgateway => BackendSettings::Pushgateway(self.pushgateway(problems)),
            Backend::Datadog => BackendSettings::Datadog(self.datadog(table, outside, problems)),
        }
    }

    fn zeromq(&self, problems: &mut Problems) -> ZeroMqSettings {
        let default = ZeroMqSettings::default();
        let address = self.address.as_ref();
        if let Some(given) = address {
            check_with(given, "address", address_fault(&given.value), problems);
        }
        ZeroMqSettings {
            address: value(address, default.address),
            port: self.port(default.port, problems),
        }
    }

    fn clickhouse(&self, outside: &dyn Outside, problems: &mut Problems) -> ClickHouseSettings {
        let default = ClickHouseSettings::default();
        if let Some(given) = &self.host {
            check_with(given, "host", parse_host(&given.value).err(), problems);
        }
        if let Some(given) = &self.columns {
            let fault = columns_fault(&given.value);
            check_with(given, "columns", fault, problems);
        }
        let password = Source {
            key: self.password.as_ref(),
            file: self.password_file.as_ref(),
            file_key: "password_file",
            variable: PASSWORD_VARIABLE,
        };
        ClickHouseSettings {
            host: value(self.host.as_ref(), default.host),
            port: self.port(default.port, problems),
            secure: self
                .secure
                .as_ref()
                .map_or(default.secure, |given| given.value),
            database: filled(self.database.as_ref(), "database", problems)
                .unwrap_or(default.database),
            username: filled(self.username.as_ref(), "username", problems)
                .unwrap_or(default.username),
            password: password.secret(outside, problems).unwrap_or_default(),
            table: filled(self.table.as_ref(), "table", problems).unwrap_or(default.table),
            columns: value(self.columns.as_ref(), default.columns),
        }
    }

    fn pushgateway(&self, problems: &mut Problems) -> PushgatewaySettings {
        let default = PushgatewaySettings::default();
        if let Some(given) = &self.gateway {
            check_with(given, "gateway", gateway_fault(&given.value), problems);
        }
        if let Some(given) = &self.buckets {
            check_with(given, "buckets", buckets_fault(&given.value), problems);
        }
        PushgatewaySettings {
            gateway: value(self.gateway.as_ref(), default.gateway),
            job: filled(self.job.as_ref(), "job", problems).unwrap_or(default.job),
            buckets: value(self.buckets.as_ref(), default.buckets),
            delete_on_stop: value(self.delete_on_stop.as_ref(), default.delete_on_stop),
        }
    }

    fn datadog(
        &self,
        table: Place,
        outside: &dyn Outside,
        problems: &mut Problems,
    ) -> DatadogSettings {
        let default = DatadogSettings::default();
        let api_key = Source {
            key: self.api_key.as_ref(),
            file: self.api_key_file.as_ref(),
            file_key: "api_key_file",
            variable: API_KEY_VARIABLE,
        };
        let before = problems.0.len();
        let api_key = api_key.secret(outside, problems).unwrap_or_default();
        if api_key.0.is_empty() && problems.0.len() == before {
            let text = format!(
                "`backend = \"datadog\"` needs an API key: give `api_key`, `api_key_file`, or \
                 {API_KEY_VARIABLE} in the environment"
            );
            problems.add_text(table, text);
        }
        let site = match &self.site {
            Some(given) => {
                check_with(given, "site", parse_host(&given.value).err(), problems);
                given.value.clone()
            }
            None => match outside.variable(SITE_VARIABLE) {
                Some(site) => {
                    if let Err(fault) = parse_host(&site) {
                        let text = format!("{SITE_VARIABLE} in the environment {fault}");
                        problems.add_text(Place::Program, text);
                    }
                    site
                }
                None => default.site,
            },
        };
        if let Some(given) = &self.url {
            check_with(given, "url", url_fault(&given.value), problems);
        }
        DatadogSettings {
            site,
            api_key,
            url: self.url.as_ref().map(|given| given.value.clone()),
        }
    }

    fn port(&self, default: u16, problems: &mut Problems) -> u16 {
        let port = self.port.as_ref();
        check_range(port, "port", &PORT, "", problems);
        port.and_then(|given| u16::try_from(given.value).ok())
            .unwrap_or(default)
    }
}

/// The places that a secret may stand in, the first one that has it first.
struct Source<'a> {
    key: Option<&'a Given<String>>,
    file: Option<&'a Given<String>>,
    file_key: &'static str,
    variable: &'static str,
}

impl Source<'_> {
    fn secret(&self, outside: &dyn Outside, problems: &mut Problems) -> Option<Secret> {
        if let Some(given) = self.key {
            return Some(Secret(given.value.clone()));
        }
        let Some(file) = self.file else {
            return outside.variable(self.variable).map(Secret);
        };
        let fault = match outside.read(Path::new(&file.value)) {
            // Editors and `echo` end a file with a newline that is no part of the secret.
            Ok(text) => match text.trim_end_matches(['\r', '\n']) {
                "" => "is empty".to_owned(),
                secret => return Some(Secret(secret.to_owned())),
            },
            Err(error) => format!("cannot be read: {error}"),
        };
        let text = format_args!("{:?} {fault}", file.value);
        problems.add(file.place, self.file_key, text);
        None
    }
}

fn place<T>(given: Option<&Given<T>>) -> Option<Place> {
    given.map(|given| given.place)
}

fn value<T: Clone>(given: Option<&Given<T>>, default: T) -> T {
    given.map_or(default, |given| given.value.clone())
}

/// A string, which must not be empty.
fn filled(given: Option<&Given<String>>, key: &str, problems: &mut Problems) -> Option<String> {
    let given = given?;
    if given.value.is_empty() || given.value.chars().any(char::is_control) {
        let text = format_args!("must be a name, not {:?}", given.value);
        problems.add(given.place, key, text);
    }
    Some(given.value.clone())
}

/// What is wrong with an address to bind.
fn address_fault(address: &str) -> Option<String> {
    let bare = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    match bare.unwrap_or(address).parse::<IpAddr>() {
        Ok(address) if address.is_multicast() => {
            Some(format!("must be an address of this host, not {address}"))
        }
        Ok(_) => None,
        Err(_) => Some(format!(
            "must be an IP address such as 0.0.0.0 or ::, not {address:?}"
        )),
    }
}

/// What is wrong with the names of columns, ours and the table's.
fn columns_fault(columns: &BTreeMap<String, String>) -> Option<String> {
    let is_name = |name: &str| !name.is_empty() && !name.chars().any(char::is_control);
    let mut theirs = BTreeSet::new();
    columns.iter().find_map(|(ours, name)| {
        if !COLUMNS.contains(&ours.as_str()) {
            let all = COLUMNS.join(", ");
            return Some(format!(
                "must rename columns of ours, which are {all}, and not {ours:?}"
            ));
        }
        if !is_name(name) {
            return Some(format!("must name columns, and {name:?} is no name"));
        }
        (!theirs.insert(name)).then(|| format!("must not name {name:?} twice"))
    })
}

/// What is wrong with where Prometheus' gateway is.
fn gateway_fault(gateway: &str) -> Option<String> {
    let is_url = gateway.contains("://");
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| gateway.strip_prefix(scheme));
    let rest = rest.or_else(|| (!is_url).then_some(gateway));
    let is_right = rest.is_some_and(|rest| is_plain(rest) && !rest.starts_with([':', '/']));
    (!is_right).then(|| {
        let shown = masked(gateway);
        format!("must be host:port or an http or https URL, not {shown:?}")
    })
}

/// What is wrong with an endpoint.
fn url_fault(url: &str) -> Option<String> {
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| url.strip_prefix(scheme));
    let is_right = rest.is_some_and(|rest| is_plain(rest) && !rest.starts_with([':', '/']));
    (!is_right).then(|| format!("must be an http or https URL, not {:?}", masked(url)))
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// What is wrong with the bounds of a histogram.
fn buckets_fault(buckets: &[f64]) -> Option<String> {
    if buckets.is_empty() || buckets.len() > BUCKETS_MAX {
        let count = buckets.len();
        return Some(format!("must be 1 to {BUCKETS_MAX} bounds, not {count}"));
    }
    // Written so that a NaN is wrong as well.
    let is_bound = |bound: &f64| bound.is_finite() && *bound > 0.0;
    if let Some(bound) = buckets.iter().find(|bound| !is_bound(bound)) {
        return Some(format!("must be seconds above 0, not {bound}"));
    }
    let fallen = buckets.windows(2).find(|pair| pair[0] >= pair[1])?;
    Some(format!(
        "must ascend, and {} comes after {}",
        fallen[1], fallen[0]
    ))
}
