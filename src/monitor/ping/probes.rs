//! Puts the samples of a probe together: its round trip, and its delay in both directions.

use crate::config::Part;
use crate::monitor::ping::figures::Sorting;
use crate::proto::StampSource;
use crate::record::Record;

/// A probe that was answered. Delays are in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) seq: u64,
    /// When its answer came, in nanoseconds since 1970.
    pub(super) at: i64,
    pub(super) round_trip: Option<i64>,
    pub(super) forward: Option<i64>,
    pub(super) reverse: Option<i64>,
    /// The weakest of what stamped it.
    pub(super) stamp: StampSource,
}

/// The probe whose samples come. The recorder hands those of one probe over in a row.
#[derive(Debug, Default)]
pub(super) struct Probes(Option<Probe>);

impl Probes {
    /// Takes a record. Returns the probe before, once nothing more of it comes.
    pub(super) fn add(&mut self, record: &Record, sorting: &Sorting) -> Option<Probe> {
        let Record::Sample {
            series,
            at,
            value_ns,
            seq,
            stamp,
            ..
        } = record
        else {
            return self.0.take();
        };
        let part = sorting.part(series.metric.name, &series.tags)?;
        let is_other = |probe: &Probe| probe.seq != *seq || part == Part::RoundTrip;
        let mut before = None;
        if self.0.as_ref().is_none_or(is_other) {
            // Variation alone is no probe.
            if !matches!(part, Part::RoundTrip | Part::Forward | Part::Reverse) {
                return self.0.take();
            }
            before = self.0.replace(Probe {
                seq: *seq,
                at: at.as_unix_nanos(),
                round_trip: None,
                forward: None,
                reverse: None,
                stamp: *stamp,
            });
        }
        if let Some(probe) = &mut self.0 {
            match part {
                Part::RoundTrip => probe.round_trip = Some(*value_ns),
                Part::Forward => probe.forward = Some(*value_ns),
                Part::Reverse => probe.reverse = Some(*value_ns),
                Part::ForwardVariation | Part::ReverseVariation => return before,
            }
            probe.stamp = probe.stamp.min(*stamp);
        }
        before
    }

    /// Returns the last one: nothing more comes.
    pub(super) fn end(&mut self) -> Option<Probe> {
        self.0.take()
    }
}
