//! The life of flows as lines of a snapshot.

use std::net::SocketAddr;
use std::time::Duration;

use latency_monitor::proto::{FlowKind, Life};

/// Writes one event; `!` marks those that are a change for a flow that had worked.
pub(crate) fn line(now_ns: u64, life: &Life) -> String {
    let at = Duration::from_nanos(now_ns).as_secs_f64();
    let kind = life.subject.kind.map_or("target", FlowKind::as_str);
    let end = |address: Option<SocketAddr>| {
        address.map_or_else(|| "-".to_owned(), |address| address.to_string())
    };
    let (local, remote) = (end(life.subject.local), end(life.subject.remote));
    let mark = if life.event.is_change() { " !" } else { "" };
    format!(
        "{at:9.3} s {kind} {local} -> {remote}{mark}: {}\n",
        life.event
    )
}
