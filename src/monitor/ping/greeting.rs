//! Asks the other end what it speaks, before anything counts.
//!
//! The first probe to a host that may be anything is text, and a text probe has the other end's own time in it. Among
//! the few probes of a ping that one would be most of the mean. So one probe goes ahead, which is in no figure.

use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::Config;
use crate::limits::CHANNEL_RECORDS_MAX;
use crate::monitor::LatencyMonitor;
use crate::monitor::ping::start::PingError;
use crate::monitor::ping::views;
use crate::proto::{FlowView, Protocol, Spoken, TargetSpec, Visit};
use crate::publish;
use crate::record::{Mode, SinkConfig};

/// The probe leaves this soon.
const SOON_NS: u64 = 1_000_000;
/// The answer may take so long; a slower one is awaited in vain, and the first probes are text then.
const PATIENCE_NS: u64 = 1_000_000_000;
/// How often it is looked at.
const LOOK_NS: u64 = 20_000_000;

/// True if the other end decides what is spoken.
pub(super) fn is_of_use(spec: &TargetSpec) -> bool {
    let has_words = spec.udp_port.is_some() || spec.tcp_port.is_some();
    spec.protocol == Protocol::Auto && spec.key.is_none() && has_words
}

/// Sends one probe. Returns whether its answer says that the other end speaks native.
pub(super) fn speaks_native(config: &Config, spec: &TargetSpec) -> Result<bool, PingError> {
    let mut config = config.clone();
    config.targets = vec![TargetSpec {
        interval_ns: SOON_NS,
        flows: 1,
        visit: Some(Visit {
            probes_max: Some(1),
        }),
        ..spec.clone()
    }];
    let mut monitor = LatencyMonitor::new(config);
    let (backend, records) = publish::channel(CHANNEL_RECORDS_MAX);
    let sink = SinkConfig::new(Mode::Samples, LOOK_NS);
    monitor.start_with(vec![(sink, Box::new(backend))], || ())?;
    let clock = Clock::new();
    let patience_ns = PATIENCE_NS.min(spec.timeout_ns);
    let give_up = clock.mono_for_sure().plus(patience_ns);
    let mut found = Vec::new();
    while !monitor.has_failed() && !is_decided(&found) {
        let left = give_up.since(clock.mono_for_sure());
        match records.recv_timeout(Duration::from_nanos(left)) {
            Ok(record) if record.metric().ends_with(".wan.sent") => found = views(&monitor),
            Ok(_) if left > 0 => {}
            Ok(_) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    monitor.stop()?;
    Ok(found.iter().any(|view| view.spoken == Spoken::Native))
}

/// True once an answer has come, or the network has said that none will.
fn is_decided(views: &[FlowView]) -> bool {
    let is_refused = |view: &FlowView| view.refused.is_some() || view.trouble.is_some();
    views
        .iter()
        .any(|view| view.counters.received > 0 || is_refused(view))
}
