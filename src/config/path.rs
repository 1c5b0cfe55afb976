//! The table `[path]`: when the hops of paths are learnt.

use std::time::Duration;

use crate::config::keys::{HOPS_MAX, PATH_INTERVAL, PATH_ON};
use crate::config::layer::{Layer, by_default};
use crate::config::rules;
use crate::config::value::nanos;
use crate::limits::FLOWS_MAX;
use crate::proto::{PathOptions, Why};

/// Nanoseconds between two packets while somebody waits for paths: routers answer some hundred a second.
const ASKED_SPACING_NS: u64 = 20_000_000;

/// When the hops of the paths of UDP flows are learnt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathConfig {
    /// The events that call for it.
    pub on: Vec<Why>,
    /// How often each flow is traced without an event; zero: never.
    pub interval: Duration,
    /// The greatest TTL that is sent.
    pub hops_max: u8,
    /// Somebody waits for the path of every flow: each is learnt once, and many at once.
    pub(crate) is_asked: bool,
}

by_default! { PathConfig = PathConfig::from_layer; }

impl PathConfig {
    pub(super) fn from_layer(layer: &Layer) -> Self {
        let on: Vec<String> = layer.get(&PATH_ON);
        Self {
            on: on
                .iter()
                .filter_map(|word| rules::path_event(word))
                .collect(),
            interval: Duration::from_nanos(nanos(layer.get::<f64>(&PATH_INTERVAL) * 1e9)),
            hops_max: layer.get(&HOPS_MAX),
            is_asked: false,
        }
    }

    /// Returns what the core takes.
    pub(crate) fn options(&self) -> PathOptions {
        if self.is_asked {
            return PathOptions {
                on: vec![Why::Asked],
                hops_max: self.hops_max,
                spacing_ns: ASKED_SPACING_NS,
                at_once: FLOWS_MAX.into(),
                ..PathOptions::never()
            };
        }
        PathOptions {
            on: self.on.clone(),
            interval_ns: u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX),
            hops_max: self.hops_max,
            ..PathOptions::never()
        }
    }
}
