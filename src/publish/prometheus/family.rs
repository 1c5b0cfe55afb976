//! What a family is called, and what the owner of a state says of itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::proto::sample::Tag;
use crate::publish::prometheus::labels::{Label, labels, sanitised};
use crate::publish::prometheus::series::{Kind, State};
use crate::publish::text::per;
use crate::record::{Metric, Unit};

/// A family's name, help text and type.
#[derive(Debug)]
pub(super) struct Described {
    /// With the base unit, but without the `_total` of a counter.
    pub(super) name: String,
    pub(super) help: String,
    pub(super) kind: Kind,
}

/// Describes a metric's family.
pub(super) fn describe(metric: &Metric) -> Described {
    let mut name = sanitised(metric.name);
    let unit = match metric.unit {
        Unit::Nanoseconds => "seconds",
        Unit::PartsPerBillion => "ratio",
        Unit::Bytes => "bytes",
        Unit::Number => "",
    };
    if !name.ends_with(unit) {
        name.push('_');
        name.push_str(unit);
    }
    let help = match metric.rfc {
        "" => metric.help.to_owned(),
        rfc => format!("{} ({rfc})", metric.help),
    };
    let kind = Kind::of(metric);
    Described { name, help, kind }
}

/// Returns a value in the base unit of its metric, unless that is the unit it has.
pub(super) fn in_base_unit(metric: &Metric, value: i128) -> Option<f64> {
    match metric.unit {
        Unit::Nanoseconds | Unit::PartsPerBillion => Some(per(value, 1e9)),
        Unit::Bytes | Unit::Number => None,
    }
}

/// The metrics of whoever has a state: the series kept, the records refused, and one that it counts itself.
#[derive(Clone, Debug)]
pub(in crate::publish) struct Own {
    metrics: &'static [Metric; 3],
    labels: Vec<Label>,
    third: Arc<AtomicU64>,
}

impl Own {
    /// `name` is the name of this host.
    pub(in crate::publish) fn new(
        metrics: &'static [Metric; 3],
        name: &str,
        third: Arc<AtomicU64>,
    ) -> Self {
        let source = Tag {
            key: Some("source"),
            value: name,
        };
        let labels = labels([source].into_iter());
        Self {
            metrics,
            labels,
            third,
        }
    }

    pub(super) fn labels(&self) -> &Vec<Label> {
        &self.labels
    }

    /// Returns those that are chosen.
    pub(super) fn read(&self, state: &State) -> impl Iterator<Item = (&'static Metric, u64)> {
        let count = u64::try_from(state.len()).unwrap_or(u64::MAX);
        let third = self.third.load(Ordering::Relaxed);
        let values = [count, state.refused(), third];
        let chosen = (self.metrics.iter().zip(values)).filter(|(metric, _)| state.has(metric));
        chosen.collect::<Vec<_>>().into_iter()
    }
}
