//! The `clickhouse` backend: rows in the server's binary format, over HTTP.
//!
//! What a column may hold is known only once the server was asked, and it may be away when the first
//! record comes. So batches wait as JSON lines, and become rows when they are sent.

mod http;
mod row;
pub mod schema;

use std::fmt;
use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::publish::clickhouse::http::{Client, Refusal};
use crate::publish::clickhouse::row::{Column, parse_columns};
use crate::publish::{
    Batch, BatchId, ClickHouseSettings, Encode, Encoder, Payload, SendError, Transport,
};
use crate::record::{Distribution, Record};

/// Bytes of JSON, before they are compressed, that one batch has at most, but for its last record.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of JSON that a batch may unpack to: what was gathered, and the largest of windows.
const UNPACKED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The tables, by [`Payload::kind`]: what is behind the name of the first one.
const TABLES: [&str; 3] = ["", "_windows", "_events"];

/// Gathers records, table by table.
#[derive(Debug, Default)]
pub struct ClickHouseEncoder {
    json: Encoder,
    distribution: Option<Box<Distribution>>,
    lines: [Vec<u8>; 3],
    records: [u64; 3],
}

impl ClickHouseEncoder {
    /// One that has gathered nothing.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Encode for ClickHouseEncoder {
    fn name(&self) -> &'static str {
        "clickhouse"
    }

    fn add(&mut self, record: &Record) -> bool {
        let kind = match record {
            Record::Sample { .. } | Record::Count { .. } | Record::Gauge { .. } => 0,
            Record::Window(_) => 1,
            Record::Event(_) => 2,
        };
        let lines = &mut self.lines[kind];
        self.json.encode(record, lines);
        if let Record::Window(window) = record {
            let distribution = self.distribution.get_or_insert_default();
            distribution.load(window);
            lines.pop();
            write_buckets(distribution, lines);
        }
        lines.push(b'\n');
        self.records[kind] += 1;
        true
    }

    fn is_full(&self) -> bool {
        self.lines
            .iter()
            .any(|lines| lines.len() >= BATCH_BYTES_MAX)
    }

    fn take(&mut self, out: &mut Vec<Payload>) {
        for (kind, (lines, records)) in (0..).zip(self.lines.iter_mut().zip(&mut self.records)) {
            if lines.is_empty() {
                continue;
            }
            out.push(Payload {
                kind,
                body: gzip(lines),
                records: std::mem::take(records),
            });
            lines.clear();
        }
    }
}

/// The end of a window's object, with its histograms as pairs of a value and how often it was.
fn write_buckets(distribution: &Distribution, out: &mut Vec<u8>) {
    let positive = Some((distribution.positive(), 1));
    let negative = distribution.negative().map(|histogram| (histogram, -1));
    let mut separator = ", \"buckets\": [";
    for (histogram, sign) in [negative, positive].into_iter().flatten() {
        for step in histogram.iter_recorded() {
            let value = i64::try_from(step.value_iterated_to()).unwrap_or(i64::MAX) * sign;
            let pair = format!("{separator}[{value}, {}]", step.count_at_value());
            out.extend_from_slice(pair.as_bytes());
            separator = ", ";
        }
    }
    let end: &[u8] = if separator == ", " { b"]}" } else { b"}" };
    out.extend_from_slice(end);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .expect("memory takes every write")
}

/// Makes rows of batches, and inserts them.
pub struct ClickHouseTransport {
    client: Client,
    settings: ClickHouseSettings,
    columns: [Option<Vec<Column>>; 3],
    /// The batch that did not fit the columns that were just asked for.
    misfit: Option<BatchId>,
    left_out: Arc<AtomicU64>,
}

impl fmt::Debug for ClickHouseTransport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ClickHouseTransport")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl ClickHouseTransport {
    /// One that has asked the server nothing yet.
    pub fn new(settings: ClickHouseSettings) -> Result<Self, SendError> {
        Ok(Self {
            client: Client::new(&settings)?,
            settings,
            columns: [None, None, None],
            misfit: None,
            left_out: Arc::default(),
        })
    }

    /// How many values no column could hold, such as a negative delay in an unsigned one.
    pub fn left_out(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.left_out)
    }

    fn table(&self, kind: usize) -> String {
        let table = format!("{}{}", self.settings.table, TABLES[kind]);
        format!("{}.{}", quoted(&self.settings.database), quoted(&table))
    }

    fn ask(&mut self, kind: usize, timeout: Duration) -> Result<(), Refusal> {
        let query = format!("DESCRIBE TABLE {} FORMAT TabSeparated", self.table(kind));
        let answer = self.client.post(&query, None, Vec::new(), timeout)?;
        let columns = parse_columns(&answer, kind, &self.settings.columns);
        if columns.is_empty() {
            let table = self.table(kind);
            return Err(Refusal::schema(format!("{table} has none of our columns")));
        }
        self.columns[kind] = Some(columns);
        Ok(())
    }

    fn try_send(&mut self, batch: &Batch, kind: usize, timeout: Duration) -> Result<(), Refusal> {
        if self.columns[kind].is_none() {
            self.ask(kind, timeout)?;
        }
        let columns = self.columns[kind].as_deref().unwrap_or_default();
        let mut rows = Vec::new();
        let left_out = rows_of(&batch.payload, columns, &mut rows).map_err(Refusal::never)?;
        let names: Vec<String> = columns.iter().map(|column| quoted(&column.name)).collect();
        let query = format!(
            "INSERT INTO {} ({}) FORMAT RowBinary",
            self.table(kind),
            names.join(", ")
        );
        if !rows.is_empty() {
            let token = batch.id.to_string();
            self.client
                .post(&query, Some(&token), gzip(&rows), timeout)?;
        }
        let before = self.left_out.fetch_add(left_out, Ordering::Relaxed);
        if left_out > 0 && before == 0 {
            tracing::warn!(
                "clickhouse: {left_out} records of a batch have a value that its column in {} cannot \
                 hold (a negative delay in an unsigned one); they are left out and counted, also from \
                 now on",
                self.table(kind)
            );
        }
        Ok(())
    }
}

impl Transport for ClickHouseTransport {
    fn send(&mut self, batch: &Batch, timeout: Duration) -> Result<(), SendError> {
        let kind = usize::from(batch.payload.kind);
        if kind >= TABLES.len() {
            return Err(SendError::Never {
                reason: format!("clickhouse: a batch for table {kind}, which there is not"),
            });
        }
        let refusal = match self.try_send(batch, kind, timeout) {
            Ok(()) => {
                self.misfit = None;
                return Ok(());
            }
            Err(refusal) => refusal,
        };
        if !refusal.is_schema {
            return Err(refusal.error);
        }
        // The table may have been changed: it is asked anew, once for each batch.
        let was_asked_for_it = self.misfit == Some(batch.id) && self.columns[kind].is_some();
        self.columns[kind] = None;
        self.misfit = Some(batch.id);
        match refusal.error {
            SendError::Later { reason, .. } if was_asked_for_it => Err(SendError::Never { reason }),
            error => Err(error),
        }
    }
}

/// Writes a payload's records as rows; gives how many are left out, since a column cannot hold them.
fn rows_of(payload: &Payload, columns: &[Column], out: &mut Vec<u8>) -> Result<u64, String> {
    let mut lines = String::new();
    GzDecoder::new(&*payload.body)
        .take(UNPACKED_BYTES_MAX)
        .read_to_string(&mut lines)
        .map_err(|error| format!("clickhouse: a batch that cannot be unpacked: {error}"))?;
    let mut left_out = 0;
    for line in lines.lines() {
        let record: Value = serde_json::from_str(line)
            .map_err(|error| format!("clickhouse: a batch that cannot be read: {error}"))?;
        let begin = out.len();
        if !columns.iter().all(|column| column.write(&record, out)) {
            out.truncate(begin);
            left_out += 1;
        }
    }
    Ok(left_out)
}

/// A name as an identifier.
fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`"))
}

#[cfg(test)]
mod tests;
