//! The life of flows as lines of a snapshot, and what few of them have to count.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use latency_monitor::proto::{Counters, FlowKind, Life};

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

/// Writes the counts that most flows do not have.
pub(crate) fn troubles(out: &mut String, counters: &Counters) {
    let Counters {
        unreachable,
        misaddressed,
        ..
    } = *counters;
    for (of, count) in [("unreachable", unreachable), ("misaddressed", misaddressed)] {
        if count > 0 {
            let _ = writeln!(out, "  {of} {count}");
        }
    }
}
