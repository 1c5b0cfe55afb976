//! What is measured under one set of labels: each [`Quantity`] is a series of its own.

use crate::proto::sample::Tag;
use crate::proto::{self, Direction, FlowKind, OneWay, Sample};
use crate::record::metrics::{self, Metric};

/// Series of delays that one set of labels has at most.
pub(super) const QUANTITIES: usize = PDV + LANES;

/// Kinds of flows and directions that have one-way delays.
pub(super) const LANES: usize = 4;

const CORRECTED: usize = proto::Metric::ALL.len();
const IPDV: usize = CORRECTED + 2;
const PDV: usize = IPDV + LANES;

/// One direction of one kind of flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lane {
    is_tcp: bool,
    direction: Direction,
}

impl Lane {
    /// Where a packet went. Connects have no one-way delay.
    pub(super) fn of(one_way: &OneWay) -> Option<Self> {
        Self::new(one_way.kind, one_way.direction)
    }

    /// One direction of a kind of flow.
    pub(super) fn new(kind: FlowKind, direction: Direction) -> Option<Self> {
        let is_tcp = match kind {
            FlowKind::Udp => false,
            FlowKind::Tcp => true,
            FlowKind::Connect => return None,
        };
        Some(Self { is_tcp, direction })
    }

    /// Every lane, in the order of their places.
    pub(super) const ALL: [Self; LANES] = [
        Self {
            is_tcp: false,
            direction: Direction::Forward,
        },
        Self {
            is_tcp: false,
            direction: Direction::Reverse,
        },
        Self {
            is_tcp: true,
            direction: Direction::Forward,
        },
        Self {
            is_tcp: true,
            direction: Direction::Reverse,
        },
    ];

    /// The gauge of the threshold over which a queue is a burst.
    pub(super) const fn threshold_metric(self) -> &'static Metric {
        &metrics::BURST_THRESHOLD[self.is_tcp as usize]
    }

    /// Its place among [`LANES`].
    pub(super) const fn index(self) -> usize {
        2 * self.is_tcp as usize + self.direction as usize
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
    /// How far the delays of two consecutive packets are apart (RFC 3393).
    Ipdv(Lane),
    /// Delays over the least of their window (RFC 5481, section 4.2).
    Pdv(Lane),
}

impl Quantity {
    /// What a sample is one of.
    pub(super) const fn of(sample: &Sample) -> Self {
        match sample.metric {
            proto::Metric::UdpOwd if sample.is_corrected => Self::Corrected { is_tcp: false },
            proto::Metric::TcpOwd if sample.is_corrected => Self::Corrected { is_tcp: true },
            metric => Self::Delay(metric),
        }
    }

    /// Its place among [`QUANTITIES`].
    pub(super) const fn index(self) -> usize {
        match self {
            Self::Delay(metric) => metric as usize,
            Self::Corrected { is_tcp } => CORRECTED + is_tcp as usize,
            Self::Ipdv(lane) => IPDV + lane.index(),
            Self::Pdv(lane) => PDV + lane.index(),
        }
    }

    /// The metric that is published.
    pub(super) const fn metric(self) -> &'static Metric {
        match self {
            Self::Delay(delay) => metrics::delay(delay),
            Self::Corrected { is_tcp: false } => metrics::delay(proto::Metric::UdpOwd),
            Self::Corrected { is_tcp: true } => metrics::delay(proto::Metric::TcpOwd),
            Self::Ipdv(lane) => &metrics::IPDV[lane.is_tcp as usize],
            Self::Pdv(lane) => &metrics::PDV[lane.is_tcp as usize],
        }
    }

    /// The tag that tells it from others of that name, behind those of the flow.
    pub(super) const fn tag(self) -> Option<Tag<'static>> {
        match self {
            Self::Delay(_) => None,
            Self::Corrected { .. } => Some(Tag {
                key: Some("owd"),
                value: "corrected",
            }),
            Self::Ipdv(lane) | Self::Pdv(lane) => Some(Tag {
                key: Some("direction"),
                value: lane.direction.as_str(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_quantity_has_a_place_of_its_own() {
        let lanes = [false, true].into_iter().flat_map(|is_tcp| {
            [Direction::Forward, Direction::Reverse].map(|direction| Lane { is_tcp, direction })
        });
        let places: Vec<usize> = proto::Metric::ALL
            .map(Quantity::Delay)
            .into_iter()
            .chain([false, true].map(|is_tcp| Quantity::Corrected { is_tcp }))
            .chain(lanes.clone().map(Quantity::Ipdv))
            .chain(lanes.map(Quantity::Pdv))
            .map(Quantity::index)
            .collect();
        assert_eq!(places, (0..QUANTITIES).collect::<Vec<_>>());
    }
}
