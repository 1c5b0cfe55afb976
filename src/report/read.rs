//! Reads one line of a dump, or of the cli backend's output.

use crate::record::OF_ITSELF;
use serde::Deserialize;

/// Every field that a line may have. Those that are there say what the line is.
#[derive(Clone, Debug, Default, Deserialize)]
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
    pub(super) at: Option<i64>,
    pub(super) flow_number: Option<u32>,
    /// Is null at the beginning of a divergence.
    pub(super) duration: Option<i64>,
    pub(super) peak: i64,
    pub(super) suspect: Option<String>,
    pub(super) evidence: Option<serde_json::Value>,
    /// Is null in a divergence of delays.
    pub(super) lost: Option<u64>,
    pub(super) what: Option<String>,
    pub(super) value: Option<f64>,
    pub(super) others: Option<f64>,
    pub(super) sent: Option<String>,
    pub(super) arrived: Option<String>,
    pub(super) helped: Option<bool>,
    pub(super) step: Option<i64>,
    pub(super) old: Option<serde_json::Value>,
    pub(super) new: Option<serde_json::Value>,
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) hdr: Option<String>,
    pub(super) hdr_negative: Option<String>,
}

impl Line {
    /// Returns the name of the event; nothing if it is none.
    pub(super) fn word(&self) -> &str {
        let event = self.event.as_ref();
        event.and_then(|event| event.as_str()).unwrap_or_default()
    }

    /// Returns when the event was or began.
    pub(super) fn when(&self) -> Option<i64> {
        let start = Some(self.start).filter(|start| *start != 0);
        self.at.or(start)
    }

    /// Returns the value of a tag.
    pub(super) fn tag(&self, key: &str) -> Option<&str> {
        let mut tags = self.tags.iter();
        tags.find_map(|tag| tag.strip_prefix(key)?.strip_prefix(':'))
    }

    /// Returns the event that a dump is about, as backends publish it.
    pub(super) fn event_of_dump(&self) -> Option<Self> {
        let event = self.event.as_ref().filter(|event| event.is_object())?;
        let mut line: Self = serde_json::from_value(event.clone()).ok()?;
        if line.flow.is_empty() {
            line.flow.clone_from(&self.flow);
        }
        if line.tags.is_empty() {
            line.tags.clone_from(&self.tags);
        }
        Some(line)
    }

    /// Returns the name of the host that wrote the line, if the line tells. The source of a round trip, of a count and
    /// of what a daemon says of itself is the daemon; that of a one-way delay is whoever sent the packet.
    pub(super) fn own_name(&self) -> Option<String> {
        if self.dump.is_some() {
            return Some(self.host.clone()).filter(|host| !host.is_empty());
        }
        let metric = self.metric.as_deref()?;
        let is_own = metric.starts_with(OF_ITSELF)
            || [".rtt", ".sent", ".lost", ".latency"]
                .iter()
                .any(|end| metric.ends_with(end));
        let name = self.tag("source").filter(|_| is_own)?;
        Some(name.to_owned())
    }
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
