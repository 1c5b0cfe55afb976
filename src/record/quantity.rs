//! The series of one set of labels: each [`Quantity`] is one.

use crate::proto::sample::Tag;
use crate::proto::{self, Direction, FlowKind, Sample};
use crate::record::metrics::{self, Metric};

/// Series of delays that one set of labels has at most.
pub(super) const QUANTITIES: usize = PDV + FLOW_DIRECTIONS;

/// UDP and TCP flows have one-way delays, in two directions. Connects have none.
pub(super) const FLOW_DIRECTIONS: usize = 4;

const CORRECTED: usize = proto::Metric::ALL.len();
const IPDV: usize = CORRECTED + 2;
const PDV: usize = IPDV + FLOW_DIRECTIONS;

/// One direction of UDP or of TCP flows, as a place among [`FLOW_DIRECTIONS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlowDirection(usize);

impl FlowDirection {
    /// Returns a direction of a kind of flow; `None` for connects.
    pub(super) const fn new(kind: FlowKind, direction: Direction) -> Option<Self> {
        match kind {
            FlowKind::Udp => Some(Self(direction as usize)),
            FlowKind::Tcp => Some(Self(2 + direction as usize)),
            FlowKind::Connect => None,
        }
    }

    /// Returns all of them, in the order of their places.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..FLOW_DIRECTIONS).map(Self)
    }

    /// Returns its place.
    pub(super) const fn index(self) -> usize {
        self.0
    }

    /// Returns the gauge of the threshold over which a queue is a burst.
    pub(super) const fn threshold_metric(self) -> &'static Metric {
        &metrics::BURST_THRESHOLD[self.is_tcp()]
    }

    const fn is_tcp(self) -> usize {
        self.0 / 2
    }

    const fn as_str(self) -> &'static str {
        Direction::ALL[self.0 % 2].as_str()
    }
}

/// What the values of a series are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quantity {
    /// A delay as it was measured.
    Delay(proto::Metric),
    /// A one-way delay less the estimated difference of the two clocks.
    Corrected {
        /// On TCP, not UDP.
        is_tcp: bool,
    },
    /// The difference between the delays of two consecutive packets (RFC 3393).
    Ipdv(FlowDirection),
    /// Delays over the least one of their window (RFC 5481, section 4.2).
    Pdv(FlowDirection),
}

impl Quantity {
    /// Returns what a sample is one of.
    pub(super) const fn of(sample: &Sample) -> Self {
        match sample.metric {
            proto::Metric::UdpOwd if sample.is_corrected => Self::Corrected { is_tcp: false },
            proto::Metric::TcpOwd if sample.is_corrected => Self::Corrected { is_tcp: true },
            metric => Self::Delay(metric),
        }
    }

    /// Returns all of them, in the order of their places.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let delays = proto::Metric::ALL.map(Self::Delay).into_iter();
        let corrected = [false, true].map(|is_tcp| Self::Corrected { is_tcp });
        delays
            .chain(corrected)
            .chain(FlowDirection::all().map(Self::Ipdv))
            .chain(FlowDirection::all().map(Self::Pdv))
    }

    /// Returns its place among [`QUANTITIES`].
    pub(super) const fn index(self) -> usize {
        match self {
            Self::Delay(metric) => metric as usize,
            Self::Corrected { is_tcp } => CORRECTED + is_tcp as usize,
            Self::Ipdv(direction) => IPDV + direction.index(),
            Self::Pdv(direction) => PDV + direction.index(),
        }
    }

    /// Returns the metric that is published.
    pub(super) const fn metric(self) -> &'static Metric {
        match self {
            Self::Delay(delay) => metrics::delay(delay),
            Self::Corrected { is_tcp: false } => metrics::delay(proto::Metric::UdpOwd),
            Self::Corrected { is_tcp: true } => metrics::delay(proto::Metric::TcpOwd),
            Self::Ipdv(direction) => &metrics::IPDV[direction.is_tcp()],
            Self::Pdv(direction) => &metrics::PDV[direction.is_tcp()],
        }
    }

    /// Returns the tag behind those of the flow, which tells series of one name apart.
    pub(super) const fn tag(self) -> Option<Tag<'static>> {
        let (key, value) = match self {
            Self::Delay(_) => return None,
            Self::Corrected { .. } => ("owd", "corrected"),
            Self::Ipdv(direction) | Self::Pdv(direction) => ("direction", direction.as_str()),
        };
        let key = Some(key);
        Some(Tag { key, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_quantity_has_a_place_of_its_own() {
        let places: Vec<usize> = Quantity::all().map(Quantity::index).collect();
        assert_eq!(places, (0..QUANTITIES).collect::<Vec<_>>());
    }

    #[test]
    fn directions_are_in_the_order_of_kinds_and_directions() {
        let of = |kind| {
            Direction::ALL.map(|direction| {
                let found = FlowDirection::new(kind, direction).unwrap();
                assert_eq!(found.as_str(), direction.as_str());
                found
            })
        };
        let all: Vec<_> = FlowDirection::all().collect();
        assert_eq!([of(FlowKind::Udp), of(FlowKind::Tcp)].concat(), all);
    }
}
