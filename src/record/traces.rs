//! The paths of flows: which are to be traced, and what was learnt.

use std::sync::Arc;

use super::{EventKind, Recorder};
use crate::limits::TRACES_ASKED_MAX;
use crate::proto::{FlowKind, Origin, Path, Reopened, Why};

impl Recorder {
    /// Asks for the path of a flow to be traced. TCP has no hops.
    pub(super) fn ask_trace(&mut self, origin: Origin, kind: FlowKind, why: Why) {
        if kind == FlowKind::Udp
            && self.traces.len() < TRACES_ASKED_MAX
            && !self.traces.contains(&(origin, why))
        {
            self.traces.push_back((origin, why));
        }
    }

    /// Returns the origin of a UDP flow whose path is to be traced now, and why
    /// ([`Prober::trace`](crate::proto::Prober::trace)).
    pub fn poll_trace(&mut self) -> Option<(Origin, Why)> {
        self.traces.pop_front()
    }

    /// Publishes the hops of a path, and that they are others.
    pub(super) fn handle_path(&mut self, path: &Path) {
        let path = Arc::new(path.clone());
        let (origin, at) = (path.origin, path.at);
        self.publish_event(origin, at, EventKind::Path(Arc::clone(&path)));
        if path.before.is_some() {
            self.publish_event(origin, at, EventKind::PathChange(path));
        }
    }

    /// Publishes that a flow has another port, and asks for the path from there.
    pub(super) fn handle_reopened(&mut self, reopened: Reopened) {
        self.ask_trace(reopened.origin, reopened.kind, Why::Reopen);
        let [old_port, new_port] = reopened.ports;
        let kind = EventKind::Reopened {
            flow: reopened.kind,
            old_port,
            new_port,
            lost: reopened.lost,
            helped: reopened.helped,
        };
        self.publish_event(reopened.origin, reopened.at, kind);
    }
}
