//! Logs what happens to flows.
//!
//! Changes are told at INFO: a flow that had worked does so no longer, or leads to another peer. What happens
//! to every flow at the start, or again and again while a peer is away, is told at DEBUG, so that ten
//! thousand targets do not flood the log.

use std::net::SocketAddr;

use crate::proto::{FlowKind, Life};

/// Logs one event.
pub(super) fn log(life: &Life) {
    let label = &life.subject.labels.target;
    let flow = life.subject.kind.map_or("all", FlowKind::as_str);
    let number = life.subject.number;
    let remote = life
        .subject
        .remote
        .map(tracing::field::display::<SocketAddr>);
    let local = life
        .subject
        .local
        .map(tracing::field::display::<SocketAddr>);
    if life.event.is_change() {
        tracing::info!(%label, flow, number, remote, local, "{}", life.event);
    } else {
        tracing::debug!(%label, flow, number, remote, local, "{}", life.event);
    }
}
