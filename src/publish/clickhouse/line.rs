//! Reads the lines of JSON that batches consist of.

use std::borrow::Cow;

use serde::Deserialize;

/// A string, borrowed from the line unless it has escapes.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// A record of any kind. A value that it does not have is zero or empty.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Line<'a> {
    /// The whole line.
    #[serde(skip)]
    pub(super) json: &'a str,
    /// The time at which the row is made, in Unix nanoseconds.
    #[serde(skip)]
    pub(super) made: i64,
    #[serde(borrow)]
    pub(super) metric: Text<'a>,
    pub(super) points: [(i64, i128); 1],
    #[serde(borrow)]
    pub(super) tags: Vec<Text<'a>>,
    #[serde(borrow)]
    pub(super) stamp: Text<'a>,
    pub(super) seq: u64,
    pub(super) dwell: Option<u32>,
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) count: u64,
    pub(super) min: i64,
    pub(super) mean: i64,
    pub(super) max: i64,
    pub(super) stddev: u64,
    pub(super) p50: i64,
    pub(super) p90: i64,
    pub(super) p99: i64,
    #[serde(rename = "p99.9")]
    pub(super) p99_9: i64,
    #[serde(rename = "p99.99")]
    pub(super) p99_99: i64,
    pub(super) out_of_range: u64,
    pub(super) buckets: Vec<(i64, u64)>,
    #[serde(borrow)]
    pub(super) event: Text<'a>,
    pub(super) at: Option<i64>,
    #[serde(borrow)]
    pub(super) clock: Text<'a>,
    pub(super) step: i64,
}

impl<'a> Line<'a> {
    pub(super) fn parse(json: &'a str, made: i64) -> serde_json::Result<Self> {
        let line: Self = serde_json::from_str(json)?;
        Ok(Self { json, made, ..line })
    }

    /// Returns what follows a prefix such as `source:` in the first tag that has it.
    pub(super) fn tagged(&self, prefix: &str) -> &str {
        let mut tags = self.tags.iter().map(|tag| &*tag.0);
        tags.find_map(|tag| tag.strip_prefix(prefix))
            .unwrap_or_default()
    }
}
