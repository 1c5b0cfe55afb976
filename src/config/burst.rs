//! The table `[burst]`: what counts as a micro-burst, and what is kept of one.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::key::Key;
use crate::config::keys::{DUMP_DIR, DUMPS_MAX, POST_MS, PRE_MS, QUIET_MS, THRESHOLD_US};
use crate::config::layer::{Layer, by_default};
use crate::config::value::nanos;

/// What counts as a micro-burst, and what is kept of one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BurstConfig {
    /// Queueing delay at which a burst begins; `None`: found from each flow's own noise.
    pub threshold: Option<Duration>,
    /// How long the queueing delay must stay under half of the threshold for a burst to end.
    pub quiet: Duration,
    /// How much of a flow is dumped from before a burst.
    pub pre: Duration,
    /// How much of a flow is dumped from after a burst.
    pub post: Duration,
    /// Where dumps are written; `None`: nothing is recorded for them.
    pub dump_dir: Option<PathBuf>,
    /// Dumps that are kept; the oldest go first.
    pub dumps_max: usize,
}

by_default! { BurstConfig = BurstConfig::from_layer; }

impl BurstConfig {
    pub(super) fn from_layer(layer: &Layer) -> Self {
        let ms = |key: &'static Key| Duration::from_nanos(nanos(layer.get::<f64>(key) * 1e6));
        let threshold_us: Option<f64> = layer.find(&THRESHOLD_US);
        Self {
            threshold: threshold_us.map(|us| Duration::from_nanos(nanos(us * 1e3))),
            quiet: ms(&QUIET_MS),
            pre: ms(&PRE_MS),
            post: ms(&POST_MS),
            dump_dir: layer.find(&DUMP_DIR),
            dumps_max: layer.get(&DUMPS_MAX),
        }
    }
}
