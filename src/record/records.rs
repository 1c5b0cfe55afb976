//! The [`Record`]: what a backend gets for each sample, window, count, gauge and event.

use std::sync::Arc;

use crate::proto::sample::Tag;
use crate::proto::{StampSource, Wall};
use crate::record::event::Event;
use crate::record::metrics::Metric;
use crate::record::series::{Series, Tags};
use crate::record::window::Window;

/// One thing to publish. It is small, because hundreds of thousands pass a ring every second. Only a window is
/// expensive to clone.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Record {
    /// One probe's delay.
    Sample {
        /// Which series it belongs to.
        series: Arc<Series>,
        /// When it was received.
        at: Wall,
        /// The delay in nanoseconds, signed for one-way delays.
        value_ns: i64,
        /// The probe's sequence number on its flow.
        seq: u64,
        /// The weaker source of its stamps.
        stamp: StampSource,
        /// The reflector's dwell in nanoseconds, if it is known and subtracted from the value.
        dwell_ns: Option<u32>,
    },
    /// All delays of one series in one flush interval.
    Window(Box<Window>),
    /// How often something happened in one flush interval.
    Count {
        /// The metric.
        metric: &'static Metric,
        /// The tags.
        tags: Arc<Tags>,
        /// The end of the interval.
        at: Wall,
        /// The number.
        value: u64,
    },
    /// A reading at the end of a flush interval.
    Gauge {
        /// The metric.
        metric: &'static Metric,
        /// The tags.
        tags: Arc<Tags>,
        /// The end of the interval.
        at: Wall,
        /// The reading, in the metric's unit.
        value: i64,
    },
    /// Something that happened.
    Event(Arc<Event>),
}

impl Record {
    /// Returns the metric's name, as `udp.wan.rtt`; of an event its kind, as `clock_step`.
    pub fn metric(&self) -> &'static str {
        match self {
            Self::Sample { series, .. } => series.metric.name,
            Self::Window(window) => window.series().metric.name,
            Self::Count { metric, .. } | Self::Gauge { metric, .. } => metric.name,
            Self::Event(event) => event.name(),
        }
    }

    /// Returns the tags, `source` first. Each writes itself as it is published.
    pub fn tags(&self) -> impl Iterator<Item = Tag<'_>> {
        let tags = match self {
            Self::Sample { series, .. } => &series.tags,
            Self::Window(window) => &window.series().tags,
            Self::Count { tags, .. } | Self::Gauge { tags, .. } => tags,
            Self::Event(event) => &event.tags,
        };
        tags.iter()
    }

    /// Returns when it was received or happened; of a window, a count or a gauge the end of its interval.
    pub fn at(&self) -> Wall {
        match self {
            Self::Sample { at, .. } | Self::Count { at, .. } | Self::Gauge { at, .. } => *at,
            Self::Window(window) => window.end(),
            Self::Event(event) => event.at,
        }
    }

    /// Returns its number: nanoseconds of a sample, the number of a count (at most `i64::MAX`), the reading of a
    /// gauge, the size of an event. A window has many: see [`Record::window`].
    pub fn value(&self) -> Option<i64> {
        match self {
            Self::Sample { value_ns, .. } => Some(*value_ns),
            Self::Window(_) => None,
            Self::Count { value, .. } => Some(i64::try_from(*value).unwrap_or(i64::MAX)),
            Self::Gauge { value, .. } => Some(*value),
            Self::Event(event) => Some(event.value()),
        }
    }

    /// Returns the window, if it is one.
    pub fn window(&self) -> Option<&Window> {
        match self {
            Self::Window(window) => Some(window),
            _ => None,
        }
    }
}
