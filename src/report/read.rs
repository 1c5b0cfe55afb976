//! Reads one line of a dump, or of the cli backend's output.

use serde::Deserialize;

/// Every field that a line may have. Those that are there say what the line is.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Line {
    pub(super) dump: Option<String>,
    pub(super) version: Option<u32>,
    pub(super) host: String,
    pub(super) flow: String,
    pub(super) complete: bool,
    pub(super) probes: Option<usize>,
    pub(super) clock: Option<serde_json::Value>,
    pub(super) event: Option<serde_json::Value>,
    pub(super) outcome: Option<String>,
    pub(super) lost_on: Option<String>,
    pub(super) t1: Option<i64>,
    pub(super) t2: Option<i64>,
    pub(super) forward: Option<i64>,
    pub(super) reverse: Option<i64>,
    pub(super) rtt: Option<i64>,
    pub(super) s1: Option<String>,
    pub(super) s2: Option<String>,
    pub(super) s3: Option<String>,
    pub(super) s4: Option<String>,
    pub(super) metric: Option<String>,
    pub(super) points: Vec<(i64, i64)>,
    pub(super) tags: Vec<String>,
    pub(super) stamp: Option<String>,
    pub(super) seq: Option<u64>,
    pub(super) direction: Option<String>,
    pub(super) duration: i64,
    pub(super) peak: i64,
    pub(super) lost: u64,
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) hdr: Option<String>,
    pub(super) hdr_negative: Option<String>,
}

/// The version of dumps that this program reads.
const DUMP_VERSION: u32 = 1;

/// Reads one line, with or without its end.
pub(super) fn line(text: &[u8]) -> Result<Line, String> {
    let line: Line = serde_json::from_slice(text)
        .map_err(|error| format!("not a line of a dump or of the cli backend: {error}"))?;
    if line.dump.is_some() && line.version != Some(DUMP_VERSION) {
        return Err(format!(
            "a dump of version {}, and this program reads {DUMP_VERSION}",
            line.version.unwrap_or(0)
        ));
    }
    let is_known = line.dump.is_some()
        || line.outcome.is_some()
        || line.metric.is_some()
        || line.event.is_some();
    if is_known {
        Ok(line)
    } else {
        Err("neither a probe nor a metric nor an event".to_owned())
    }
}
