//! Divides a payload that the server refuses, so that a row at fault takes no others with it.

use crate::limits::CLICKHOUSE_UNPACKED_BYTES_MAX;
use crate::publish::clickhouse::line::Line;
use crate::publish::halves::middle;
use crate::publish::text::gunzip;
use crate::publish::{Payload, gzip};

/// Returns the series of a line of JSON: its metric or event, and its tags.
fn series(json: &str) -> String {
    let line = Line::parse(json, 0).unwrap_or_default();
    let tags: Vec<&str> = line.tags.iter().map(|tag| &*tag.0).collect();
    format!("{}{} of {}", line.metric.0, line.event.0, tags.join(","))
}

/// Returns the series of the first record of a payload.
pub(super) fn first_series(payload: &Payload) -> String {
    let text = gunzip(&payload.body, CLICKHOUSE_UNPACKED_BYTES_MAX).unwrap_or_default();
    text.lines().next().map(series).unwrap_or_default()
}

/// Divides the records of a payload by series, and those of a series by number. `None` if there is only one.
pub(super) fn halves(payload: &Payload) -> Option<[Payload; 2]> {
    let text = gunzip(&payload.body, CLICKHOUSE_UNPACKED_BYTES_MAX).ok()?;
    let mut lines: Vec<(String, &str)> = text.lines().map(|line| (series(line), line)).collect();
    lines.sort_by(|one, other| one.0.cmp(&other.0));
    let (keys, lines): (Vec<_>, Vec<_>) = lines.into_iter().unzip();
    let (front, back) = lines.split_at(middle(&keys));
    if front.is_empty() {
        return None;
    }
    Some([front, back].map(|lines| {
        let body = lines
            .iter()
            .flat_map(|line| [line, "\n"])
            .collect::<String>();
        Payload {
            kind: payload.kind,
            body: gzip(body.as_bytes()),
            records: lines.len() as u64,
        }
    }))
}
