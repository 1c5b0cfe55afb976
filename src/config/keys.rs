//! The keys of single backends in a `[[metrics]]` table: whose they are, what they may be, and the
//! settings that they come to.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;

use crate::config::error::{Given, Place, Problems};
use crate::config::metrics::BackendSettings;
use crate::config::options::{check_range, parse_host};
use crate::config::section::Section;
use crate::config::{Backend, LogLevel, Outside, Word};
use crate::publish::clickhouse::{COLUMNS, COLUMNS_LISTED, Columns, Server};
use crate::publish::{
    ApiKey, BaseUrl, Bounds, ClickHouseSettings, DatadogSettings, Name, PushgatewaySettings,
    Secret, Site, ZeroMqSettings,
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
            name(self.spool_dir.as_ref(), "spool_dir", problems);
        }
        match backend {
            Backend::Cli => BackendSettings::Cli,
            Backend::Log => BackendSettings::Log,
            Backend::ZeroMq => BackendSettings::ZeroMq(self.zeromq(problems)),
            Backend::ClickHouse => BackendSettings::ClickHouse(self.clickhouse(outside, problems)),
            Backend::Pushgateway => BackendSettings::Pushgateway(self.pushgateway(problems)),
            // Without a key there is a problem, and no configuration.
            Backend::Datadog => self
                .datadog(table, outside, problems)
                .map_or(BackendSettings::Cli, BackendSettings::Datadog),
        }
    }

    fn zeromq(&self, problems: &mut Problems) -> ZeroMqSettings {
        let default = ZeroMqSettings::default();
        let parse = |text: &String| ZeroMqSettings::parse_address(text);
        let address = parsed(self.address.as_ref(), "address", parse, problems);
        ZeroMqSettings {
            address: address.unwrap_or(default.address),
            port: self.port(default.port, problems),
        }
    }

    fn clickhouse(&self, outside: &dyn Outside, problems: &mut Problems) -> ClickHouseSettings {
        let default = ClickHouseSettings::default();
        let password = Source {
            key: self.password.as_ref(),
            key_name: "password",
            file: self.password_file.as_ref(),
            file_name: "password_file",
            variable: PASSWORD_VARIABLE,
        };
        let columns = |columns: &BTreeMap<_, _>| Columns::parse(columns.clone());
        let columns = parsed(self.columns.as_ref(), "columns", columns, problems);
        ClickHouseSettings {
            server: self.server(problems).unwrap_or_default(),
            database: name(self.database.as_ref(), "database", problems)
                .unwrap_or(default.database),
            username: name(self.username.as_ref(), "username", problems)
                .unwrap_or(default.username),
            password: password
                .secret(Secret::parse, outside, problems)
                .unwrap_or_default(),
            table: name(self.table.as_ref(), "table", problems).unwrap_or(default.table),
            columns: columns.unwrap_or_default(),
        }
    }

    fn server(&self, problems: &mut Problems) -> Option<Server> {
        let default = Server::default();
        let port = self.port(default.port(), problems);
        let is_secure = value(self.secure.as_ref(), default.is_secure());
        let Some(given) = &self.host else {
            return Server::new(default.host().clone(), port, is_secure).ok();
        };
        let parse = |host: &String| Server::new(parse_host(host)?, port, is_secure);
        parsed(Some(given), "host", parse, problems)
    }

    fn pushgateway(&self, problems: &mut Problems) -> PushgatewaySettings {
        let default = PushgatewaySettings::default();
        let gateway = |text: &String| BaseUrl::parse(text);
        let buckets = |bounds: &Vec<f64>| Bounds::parse(bounds);
        PushgatewaySettings {
            gateway: parsed(self.gateway.as_ref(), "gateway", gateway, problems)
                .unwrap_or(default.gateway),
            job: name(self.job.as_ref(), "job", problems).unwrap_or(default.job),
            buckets: parsed(self.buckets.as_ref(), "buckets", buckets, problems),
            delete_on_stop: value(self.delete_on_stop.as_ref(), default.delete_on_stop),
        }
    }

    /// Nothing if there is no key that can be used, which is reported.
    fn datadog(
        &self,
        table: Place,
        outside: &dyn Outside,
        problems: &mut Problems,
    ) -> Option<DatadogSettings> {
        let api_key = Source {
            key: self.api_key.as_ref(),
            key_name: "api_key",
            file: self.api_key_file.as_ref(),
            file_name: "api_key_file",
            variable: API_KEY_VARIABLE,
        };
        let before = problems.0.len();
        let api_key = api_key.secret(ApiKey::parse, outside, problems);
        if api_key.is_none() && problems.0.len() == before {
            let text = format!(
                "`backend = \"datadog\"` needs an API key: give `api_key`, `api_key_file`, or \
                 {API_KEY_VARIABLE} in the environment"
            );
            problems.add_text(table, text);
        }
        let parse = |site: &String| Site::new(&parse_host(site)?);
        let site = match outside.variable(SITE_VARIABLE) {
            Some(site) if self.site.is_none() => parse(&site)
                .map_err(|fault| {
                    let text = format!("{SITE_VARIABLE} in the environment {fault}");
                    problems.add_text(Place::Program, text);
                })
                .ok(),
            _ => parsed(self.site.as_ref(), "site", parse, problems),
        };
        let url = |url: &String| BaseUrl::parse_url(url);
        let url = parsed(self.url.as_ref(), "url", url, problems);
        Some(DatadogSettings {
            site: site.unwrap_or_default(),
            url,
            ..DatadogSettings::new(api_key?)
        })
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
    key_name: &'static str,
    file: Option<&'a Given<String>>,
    file_name: &'static str,
    variable: &'static str,
}

impl Source<'_> {
    fn secret<T>(
        &self,
        parse: fn(&str) -> Result<T, String>,
        outside: &dyn Outside,
        problems: &mut Problems,
    ) -> Option<T> {
        if self.key.is_some() {
            return parsed(self.key, self.key_name, |text| parse(text), problems);
        }
        let Some(file) = self.file else {
            let text = outside.variable(self.variable)?;
            return parse(&text)
                .map_err(|fault| {
                    let text = format!("{} in the environment {fault}", self.variable);
                    problems.add_text(Place::Program, text);
                })
                .ok();
        };
        let fault = match outside.read(Path::new(&file.value)) {
            // Editors and `echo` end a file with a newline that is no part of the secret.
            Ok(text) => match text.trim_end_matches(['\r', '\n']) {
                "" => "is empty".to_owned(),
                secret => match parse(secret) {
                    Ok(secret) => return Some(secret),
                    Err(fault) => fault,
                },
            },
            Err(error) => format!("cannot be read: {error}"),
        };
        let text = format_args!("{:?} {fault}", file.value);
        problems.add(file.place, self.file_name, text);
        None
    }
}

fn place<T>(given: Option<&Given<T>>) -> Option<Place> {
    given.map(|given| given.place)
}

fn value<T: Clone>(given: Option<&Given<T>>, default: T) -> T {
    given.map_or(default, |given| given.value.clone())
}

/// What a key's value comes to; nothing if it is not given, or is wrong, which is reported.
fn parsed<T, R>(
    given: Option<&Given<T>>,
    key: &str,
    parse: impl FnOnce(&T) -> Result<R, String>,
    problems: &mut Problems,
) -> Option<R> {
    let given = given?;
    parse(&given.value)
        .map_err(|fault| problems.add(given.place, key, fault))
        .ok()
}

fn name(given: Option<&Given<String>>, key: &str, problems: &mut Problems) -> Option<Name> {
    parsed(given, key, |text| Name::parse(text), problems)
}
