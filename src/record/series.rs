//! A series: a metric's name and its tags.

use std::sync::Arc;

use crate::proto::Labels;
use crate::proto::sample::Tag;
use crate::record::metrics::Metric;

/// The tags of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tags {
    /// Those of a flow: its source, its target, and the target's own tags.
    Flow(Arc<Labels>),
    /// Those of a flow and one more, which tells series of one name apart: `direction:`, or `owd:corrected` for
    /// delays less the difference of the clocks.
    Marked(Arc<Labels>, Tag<'static>),
    /// That of this process (`monitor.*`): its name, as the source.
    Host(Box<str>),
    /// Those of one of its backends (`monitor.backend.*`).
    Backend {
        /// The name of this process, as the source.
        source: Box<str>,
        /// The backend's name.
        backend: Box<str>,
    },
}

impl Tags {
    /// Returns the tags as published, in their order.
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

/// A metric and its tags: what makes two values belong together.
#[derive(Clone, Debug)]
pub struct Series {
    /// The metric.
    pub metric: &'static Metric,
    /// The published tags.
    pub tags: Arc<Tags>,
}
