//! Gathers records as lines of JSON, one batch a table.

use crate::limits::CLICKHOUSE_BATCH_BYTES;
use crate::publish::clickhouse::{NAME, TABLES};
use crate::publish::{Encode, Encoder, Payload, gzip};
use crate::record::Record;

/// Gathers records, table by table.
#[derive(Debug)]
pub struct ClickHouseEncoder {
    json: Encoder,
    lines: [Vec<u8>; TABLES.len()],
    records: [u64; TABLES.len()],
}

impl Default for ClickHouseEncoder {
    /// Makes an encoder without records.
    fn default() -> Self {
        Self {
            json: Encoder::with_buckets(),
            lines: Default::default(),
            records: Default::default(),
        }
    }
}

impl Encode for ClickHouseEncoder {
    fn name(&self) -> &'static str {
        NAME
    }

    fn add(&mut self, record: &Record) -> bool {
        let kind = match record {
            Record::Sample { .. } | Record::Count { .. } | Record::Gauge { .. } => 0,
            Record::Window(_) => 1,
            Record::Event(_) => 2,
        };
        let lines = &mut self.lines[kind];
        self.json.encode(record, lines);
        lines.push(b'\n');
        self.records[kind] += 1;
        true
    }

    fn is_full(&self) -> bool {
        let mut lines = self.lines.iter();
        lines.any(|lines| lines.len() >= CLICKHOUSE_BATCH_BYTES)
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
