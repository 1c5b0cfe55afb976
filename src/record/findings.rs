//! Publishes what was found in the probes of flows.

use crate::proto::{Direction, FlowKind, Origin, Trace, Why};
use crate::record::Recorder;
use crate::record::burst::{Detector, Finding};
use crate::record::event::EventKind;
use crate::record::paths::PathFinding;
use crate::record::quantity::FlowDirection;

impl Recorder {
    /// Looks for bursts, and for one of several flows that departs from the others, in a probe that has ended.
    pub(super) fn look_into(&mut self, trace: &Trace) {
        if let Some(detector) = &mut self.detector {
            detector.handle_trace(trace);
            self.publish_found();
        }
        if self.paths.handle_trace(trace) {
            self.publish_paths();
        }
    }

    /// Publishes what was found of one of several flows beside the others.
    pub(super) fn publish_paths(&mut self) {
        while let Some(found) = self.paths.poll() {
            match found {
                PathFinding::Event(origin, at, kind) => {
                    if let EventKind::PathDivergence(departure) = &kind
                        && departure.duration_ns.is_none()
                    {
                        self.ask_trace(origin, departure.flow, Why::Divergence);
                    }
                    self.publish_event(origin, at, kind);
                }
                PathFinding::Worst(origin, kind, worst) => {
                    let found = self.series.find_total(origin).map(|found| found.index);
                    let Some(index) = found.or_else(|| self.series.set_of(origin)) else {
                        continue;
                    };
                    for sink in &mut self.sinks {
                        sink.record_worst(index, kind, worst);
                    }
                }
            }
        }
    }

    /// Publishes what the detector found.
    pub(super) fn publish_found(&mut self) {
        while let Some(found) = self.detector.as_mut().and_then(Detector::poll) {
            match found {
                Finding::Event(origin, at, kind) => self.publish_event(origin, at, kind),
                Finding::Began(origin, kind) => self.ask_trace(origin, kind, Why::Burst),
                Finding::Threshold(origin, kind, direction, ns) => {
                    self.handle_threshold(origin, kind, direction, ns);
                }
            }
        }
    }

    fn handle_threshold(&mut self, origin: Origin, kind: FlowKind, direction: Direction, ns: u64) {
        let Some(direction) = FlowDirection::new(kind, direction) else {
            return;
        };
        let sinks = &mut self.sinks;
        self.series.for_each(origin, |mut found| {
            for sink in sinks.iter_mut() {
                sink.record_threshold(&mut found, direction, ns);
            }
        });
    }
}
