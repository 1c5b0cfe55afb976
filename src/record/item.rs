//! What is handed to the backends: one [`Record`] for each sample, window, count, gauge and
//! event.

use std::sync::Arc;

use crate::proto::sample::Tag;
use crate::proto::{Labels, StampSource, Wall};
use crate::record::event::Event;
use crate::record::window::Window;

/// The tags of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tags {
    /// Of a flow: its source, its target, and the target's own tags.
    Flow(Arc<Labels>),
    /// Of a flow, and one more behind them that tells apart what has the same name: `direction:` of
    /// what is measured in both, `owd:corrected` of delays less the difference of the clocks.
    Marked(Arc<Labels>, Tag<'static>),
    /// Of this process itself (`monitor.*`): its name alone, as the source.
    Host(Box<str>),
    /// Of one of its backends (`monitor.backend.*`): its name and the backend's.
    Backend {
        /// The name of this process, as the source.
        source: Box<str>,
        /// The backend's name.
        backend: Box<str>,
    },
}

impl Tags {
    /// The tags as published, in their order.
    pub fn iter(&self) -> impl Iterator<Item = Tag<'_>> {
        let (labels, source, last) = match self {
            Self::Flow(labels) => (Some(labels), None, None),
            Self::Marked(labels, tag) => (Some(labels), None, Some(*tag)),
            Self::Host(name) => (None, Some(keyed("source", name)), None),
            Self::Backend { source, backend } => (
                None,
                Some(keyed("source", source)),
                Some(keyed("backend", backend)),
            ),
        };
        labels
            .into_iter()
            .flat_map(|labels| labels.iter())
            .chain(source)
            .chain(last)
    }
}

const fn keyed<'a>(key: &'static str, value: &'a str) -> Tag<'a> {
    Tag {
        key: Some(key),
        value,
    }
}

/// A metric's name and its tags: what makes two values belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// The published name.
    pub metric: &'static str,
    /// The published tags.
    pub tags: Arc<Tags>,
}

/// One thing to publish. It is small, because hundreds of thousands pass a ring every second, and
/// cloning one is cheap, except for a window.
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
        /// The probe's number on its flow.
        seq: u64,
        /// What made its stamps.
        stamp: StampSource,
        /// The reflector's turn-around time in nanoseconds, if it was known and is not in the value.
        dwell_ns: Option<u32>,
    },
    /// All delays of one series in one flush interval.
    Window(Box<Window>),
    /// How often something happened in one flush interval.
    Count {
        /// The metric's name.
        name: &'static str,
        /// The tags.
        tags: Arc<Tags>,
        /// The end of the interval.
        at: Wall,
        /// The number.
        value: u64,
    },
    /// A reading at the end of a flush interval.
    Gauge {
        /// The metric's name.
        name: &'static str,
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
    /// The metric's name, as `udp.wan.rtt`; of an event its kind, as `clock_step`.
    pub fn metric(&self) -> &'static str {
        match self {
            Self::Sample { series, .. } => series.metric,
            Self::Window(window) => window.series().metric,
            Self::Count { name, .. } | Self::Gauge { name, .. } => name,
            Self::Event(event) => event.name(),
        }
    }

    /// The tags, `source` first; each writes itself as it is published.
    pub fn tags(&self) -> impl Iterator<Item = Tag<'_>> {
        let tags = match self {
            Self::Sample { series, .. } => &series.tags,
            Self::Window(window) => &window.series().tags,
            Self::Count { tags, .. } | Self::Gauge { tags, .. } => tags,
            Self::Event(event) => &event.tags,
        };
        tags.iter()
    }

    /// When it was received, or happened; of a window, a count or a gauge the end of its interval.
    pub fn at(&self) -> Wall {
        match self {
            Self::Sample { at, .. } | Self::Count { at, .. } | Self::Gauge { at, .. } => *at,
            Self::Window(window) => window.end(),
            Self::Event(event) => event.at,
        }
    }

    /// The one number it carries: nanoseconds of a sample, the number of a count (at most
    /// `i64::MAX`), the reading of a gauge, how much of an event (nanoseconds of a step). A window has many: see [`Record::window`].
    pub fn value(&self) -> Option<i64> {
        match self {
            Self::Sample { value_ns, .. } => Some(*value_ns),
            Self::Window(_) => None,
            Self::Count { value, .. } => Some(i64::try_from(*value).unwrap_or(i64::MAX)),
            Self::Gauge { value, .. } => Some(*value),
            Self::Event(event) => Some(event.value()),
        }
    }

    /// The window, if it is one.
    pub fn window(&self) -> Option<&Window> {
        match self {
            Self::Window(window) => Some(window),
            _ => None,
        }
    }
}
