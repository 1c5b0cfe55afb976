//! Pairs of hosts, and the keys of their rows.

use std::sync::Arc;

use crate::proto::{FlowKind, Labels};

/// Figures of a peer's clock, in the order of [`Metric::of_clocks`](crate::record::Metric::of_clocks).
pub(super) const CLOCKS: [&str; 3] = ["offset_ns", "skew_ppb", "error_ns"];

/// Whose figures they are: a sender and a receiver, and the tags of the flows between them.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) labels: Arc<Labels>,
    /// The figures of [`CLOCKS`] as last published.
    pub(super) clock: [Option<i64>; CLOCKS.len()],
    /// The number of the last interval with a record.
    pub(super) seen: u64,
}

/// Returns the key of a row. Rows of one pair stand together.
pub(super) const fn key(pair: u32, kind: FlowKind) -> u64 {
    (pair as u64) << 2 | kind as u64
}

/// Returns the pair and the kind of flow of a key.
pub(super) fn parts(key: u64) -> (u32, FlowKind) {
    let kind = usize::try_from(key & 3).unwrap_or(0);
    let kind = FlowKind::ALL.get(kind).copied().unwrap_or(FlowKind::Udp);
    (u32::try_from(key >> 2).unwrap_or(u32::MAX), kind)
}
