//! What arrives of the marks of packets.

use super::Recorder;
use crate::proto::Seen;
use crate::record::event::EventKind;

impl Recorder {
    /// Packets of a flow arrive with this code point.
    pub(super) fn handle_dscp(&mut self, seen: &Seen) {
        if let Some(found) = self.series.find(seen.origin) {
            for sink in &mut self.sinks {
                sink.record_dscp(found.index, seen);
            }
        }
        if seen.has_changed {
            let kind = EventKind::Remarked {
                flow: seen.kind,
                direction: seen.direction,
                sent: seen.sent,
                arrived: seen.arrived,
            };
            self.publish_event(seen.origin, seen.at, kind);
        }
    }
}
