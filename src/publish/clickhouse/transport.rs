//! Asks for the columns, makes rows of batches, and inserts them.

use std::time::Duration;

use reqwest::header::{CONTENT_ENCODING, HeaderValue};
use reqwest::{Method, Url};

use crate::clock::Clock;
use crate::proto::Mono;
use crate::publish::clickhouse::answer::{Cause, Refusal, judge};
use crate::publish::clickhouse::halves::{first_series, halves};
use crate::publish::clickhouse::schema::quoted;
use crate::publish::clickhouse::{ClickHouseSettings, Columns, TABLES, Table};
use crate::publish::http::Http;
use crate::publish::retry::nanos;
use crate::publish::{Batch, Payload, SendError, Transport, Verdict, gzip};

/// The settings of an insert. It is complete when it is answered, also through a distributed
/// table, since nobody could repeat it after that. A roll-up takes no row twice.
const INSERT_SETTINGS: [(&str, Option<&str>); 5] = [
    ("insert_deduplication_token", None),
    ("async_insert", Some("0")),
    ("insert_distributed_sync", Some("1")),
    ("insert_deduplicate", Some("1")),
    (
        "deduplicate_blocks_in_dependent_materialized_views",
        Some("1"),
    ),
];

/// Inserts batches.
#[derive(Debug)]
pub struct ClickHouseTransport {
    /// The name in messages.
    name: Box<str>,
    http: Http,
    clock: Clock,
    url: Url,
    pub(super) settings: ClickHouseSettings,
    /// Settings of an insert that the server takes; without a value, the batch's identity.
    insert_settings: Vec<(&'static str, Option<&'static str>)>,
    tables: [Option<Table>; TABLES.len()],
    /// The last warning about each table, which is not repeated.
    said: [Option<String>; TABLES.len()],
    has_said_left_out: bool,
    left_out: u64,
}

impl ClickHouseTransport {
    /// Makes a transport that has asked the server nothing yet. `name` is the backend's in messages.
    pub fn new(name: &str, settings: ClickHouseSettings) -> Self {
        Self {
            name: name.into(),
            http: Http::new(settings.ca_file.clone()),
            clock: Clock::new(),
            url: settings.server.join([""]),
            settings,
            insert_settings: INSERT_SETTINGS.to_vec(),
            tables: Default::default(),
            said: Default::default(),
            has_said_left_out: false,
            left_out: 0,
        }
    }

    fn table(&self, kind: usize) -> String {
        let table = format!("{}{}", self.settings.table.as_str(), TABLES[kind]);
        format!(
            "{}.{}",
            quoted(self.settings.database.as_str()),
            quoted(&table)
        )
    }

    /// Posts a query, with rows if it is an insert, and returns the answer.
    fn post(
        &self,
        query: &str,
        rows: Option<(&str, Vec<u8>)>,
        deadline: Mono,
    ) -> Result<String, Refusal> {
        let mut url = self.url.clone();
        url.query_pairs_mut().append_pair("query", query);
        if let Some((token, _)) = &rows {
            let settings = self.insert_settings.iter();
            url.query_pairs_mut()
                .extend_pairs(settings.map(|(name, value)| (name, value.unwrap_or(token))));
        }
        let left = Duration::from_nanos(deadline.since(self.clock.mono_for_sure()));
        if left.is_zero() {
            let reason = "there is no time left to insert";
            return Err(SendError::new(Verdict::Later, reason).into());
        }
        let header = |text: &str| {
            let value = HeaderValue::from_bytes(text.as_bytes());
            value.expect("a setting has no control characters")
        };
        let mut password = header(self.settings.password.as_str());
        password.set_sensitive(true);
        let mut request = self
            .http
            .request(Method::POST, url)?
            .header("X-ClickHouse-User", header(self.settings.username.as_str()))
            .header("X-ClickHouse-Key", password);
        request = match rows {
            Some((_, body)) => request.header(CONTENT_ENCODING, "gzip").body(body),
            // Some proxies refuse a POST without a length.
            None => request.body(Vec::new()),
        };
        judge(&self.http.exchange(request, left)?)
    }

    /// Does without the settings that a refusal names, or without any if it names none and says that
    /// one is unknown. Returns false if there is none to do without.
    fn does_without(&mut self, reason: &str) -> bool {
        // What the server knows in its place may be among ours as well.
        let reason = reason.split("Maybe you meant").next().unwrap_or_default();
        let is_named = |(name, _): &(&'static str, _)| reason.contains(name);
        let names_none = !self.insert_settings.iter().any(is_named);
        let takes_none = names_none && reason.to_ascii_lowercase().contains("unknown setting");
        let refused = |setting: &mut (&'static str, _)| takes_none || is_named(setting);
        let refused: Vec<_> = self.insert_settings.extract_if(.., refused).collect();
        if refused.is_empty() {
            return false;
        }
        let names: Vec<&str> = refused.iter().map(|(name, _)| *name).collect();
        tracing::warn!(
            backend = &*self.name,
            "goes on without {}, which the server does not take: a batch that is sent again after a lost answer may \
             be stored twice: {reason}",
            names.join(", ")
        );
        true
    }

    /// Asks for the columns of a table.
    fn ask(&mut self, kind: u8, deadline: Mono) -> Result<(), Refusal> {
        let index = usize::from(kind);
        let name = self.table(index);
        let query = format!("DESCRIBE TABLE {name} FORMAT TabSeparated");
        let answer = self.post(&query, None, deadline)?;
        // Only the table of samples may be one that somebody else made.
        let none = Columns::default();
        let renamed = if kind == 0 {
            &self.settings.columns
        } else {
            &none
        };
        let table = Table::parse(&answer, kind, renamed).map_err(|fault| {
            let reason = format!(
                "{name} {fault}: mend the table, `table` or `columns`; \
                 `latency-monitor schema clickhouse` prints one that fits"
            );
            Refusal {
                error: SendError::new(Verdict::Later, reason),
                cause: Cause::Table,
            }
        })?;
        if table.odd.is_empty() {
            self.said[index] = None;
        } else {
            let odd = table.odd.join("; ");
            self.say(
                index,
                format!("{name} {odd}; what is not filled has its default"),
            );
        }
        self.tables[index] = Some(table);
        Ok(())
    }

    /// Logs a warning about a table, unless it was the last one.
    fn say(&mut self, index: usize, what: String) {
        if self.said[index].as_ref() != Some(&what) {
            tracing::warn!(backend = &*self.name, "{what}");
            self.said[index] = Some(what);
        }
    }

    /// Inserts a batch. Returns the number of its records that no column could hold.
    fn insert(&mut self, batch: &Batch, deadline: Mono) -> Result<u64, Refusal> {
        let kind = batch.payload.kind;
        let index = usize::from(kind);
        if self.tables[index].is_none() {
            self.ask(kind, deadline)?;
        }
        let Some(table) = &self.tables[index] else {
            return Ok(batch.payload.records);
        };
        self.clock.refresh(self.clock.mono());
        let made = self.clock.now().wall.as_unix_nanos();
        let mut rows = Vec::new();
        let left_out = table
            .write_rows(&batch.payload, made, &mut rows)
            .map_err(|reason| SendError::new(Verdict::Never, reason))?;
        let names: Vec<String> = table.names().map(quoted).collect();
        let (name, names) = (self.table(index), names.join(", "));
        let query = format!("INSERT INTO {name} ({names}) FORMAT RowBinary");
        if !rows.is_empty() {
            let token = batch.id.to_string();
            self.post(&query, Some((&token, gzip(&rows))), deadline)?;
        }
        if left_out > 0 && !self.has_said_left_out {
            self.has_said_left_out = true;
            tracing::warn!(
                backend = &*self.name,
                "{left_out} records of a batch have a value that its column in {name} cannot hold \
                 (a negative delay in an unsigned one): such are left out and counted"
            );
        }
        Ok(left_out)
    }
}

impl Transport for ClickHouseTransport {
    fn send(&mut self, batch: &Batch, timeout: Duration) -> Result<(), SendError> {
        self.left_out = 0;
        self.renew();
        let index = usize::from(batch.payload.kind);
        if index >= TABLES.len() {
            let reason = format!("a batch for table {index}, which there is not");
            return Err(SendError::new(Verdict::Never, reason));
        }
        let deadline = self.clock.mono().plus(nanos(timeout));
        loop {
            let was_known = self.tables[index].is_some();
            let refusal = match self.insert(batch, deadline) {
                Ok(left_out) => {
                    self.left_out = left_out;
                    return Ok(());
                }
                Err(refusal) => refusal,
            };
            match refusal.cause {
                Cause::Setting if self.does_without(&refusal.error.reason) => continue,
                Cause::Setting | Cause::Other => return Err(refusal.error),
                Cause::Table | Cause::Columns => {}
            }
            self.tables[index] = None;
            if was_known {
                // The table has changed: ask once more.
                continue;
            }
            if index == 0 {
                return Err(refusal.error);
            }
            // Windows and events may be without a table; samples do not wait for that.
            let what = match index {
                1 => "windows",
                _ => "events",
            };
            let reason = refusal.error.to_string();
            self.say(index, format!("{what} are left out and counted: {reason}"));
            self.left_out = batch.payload.records;
            return Ok(());
        }
    }

    fn renew(&mut self) -> Option<bool> {
        self.settings.password.renew()
    }

    fn left_out(&self) -> u64 {
        self.left_out
    }

    fn halves(&self, batch: &Batch) -> Option<[Payload; 2]> {
        halves(&batch.payload)
    }

    fn series_of(&self, batch: &Batch) -> String {
        first_series(&batch.payload)
    }
}
