//! Publishes events: what a host may have caused waits for the system's word of this host, and is judged.

use std::sync::Arc;

use crate::proto::{Origin, Wall};
use crate::record::Recorder;
use crate::record::event::{Event, EventKind};
use crate::record::evidence::HostReading;

/// Something that has happened on a flow.
#[derive(Debug)]
pub(super) struct Found {
    origin: Origin,
    at: Wall,
    kind: EventKind,
}

impl Recorder {
    /// Has [`handle_host`](Self::handle_host) called whenever [`awaits_host`](Self::awaits_host) says so, and before an
    /// event is judged.
    pub fn watch_host(&mut self) {
        self.is_host_watched = true;
    }

    /// True if an event waits for what the system says of this host.
    pub fn awaits_host(&self) -> bool {
        !self.unjudged.is_empty()
    }

    /// Takes what the system says of this host, and publishes the events that waited for it.
    pub fn handle_host(&mut self, at: Wall, reading: HostReading) {
        self.witness.handle_reading(at, reading);
        self.judge_all();
    }

    /// Publishes what happened on a flow, in order. What a host may have caused waits for the system's word.
    pub(super) fn publish_event(&mut self, origin: Origin, at: Wall, kind: EventKind) {
        let is_judged = matches!(kind, EventKind::Burst(_) | EventKind::PathDivergence(_));
        let found = Found { origin, at, kind };
        if self.is_host_watched && is_judged || !self.unjudged.is_empty() {
            self.unjudged.push_back(found);
        } else {
            self.publish_judged(found);
        }
    }

    /// Publishes what waits for the system's word of this host, with what is known.
    pub(super) fn judge_all(&mut self) {
        while let Some(found) = self.unjudged.pop_front() {
            self.publish_judged(found);
        }
    }

    fn publish_judged(&mut self, found: Found) {
        let Found {
            origin,
            at,
            mut kind,
        } = found;
        self.judge(origin, at, &mut kind);
        let Some(found) = self.series.find(origin) else {
            return;
        };
        let (tags, is_remote) = (Arc::clone(&found.set.tags), found.is_remote);
        let flow = self.paths.flow_of(origin);
        let event = Arc::new(Event {
            at,
            kind,
            tags,
            flow,
        });
        if let Some(flight) = &mut self.flight {
            flight.handle_event(&event, origin);
        }
        for sink in &mut self.sinks {
            sink.publish_found(&event, is_remote);
        }
    }

    fn judge(&mut self, origin: Origin, at: Wall, kind: &mut EventKind) {
        match kind {
            EventKind::Burst(burst) => {
                let detector = self.detector.as_ref();
                let lag_ns = detector.map_or(0, |detector| detector.lag_ns(origin, burst.flow));
                self.witness.judge(origin, at, lag_ns, burst);
            }
            EventKind::PathDivergence(departure) if departure.duration_ns.is_none() => {
                self.witness.judge_departure(origin, at, departure);
                self.paths.note_judged(origin, departure);
            }
            _ => {}
        }
    }
}
