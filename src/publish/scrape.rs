//! What those who scrape this host are given, as the configuration says it.

use crate::publish::Bounds;
use crate::publish::exponential::Scale;

/// Which buckets histograms have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistogramKind {
    /// Those with fixed bounds.
    Classic,
    /// Those of native histograms.
    Native,
    /// Each format the ones that it carries.
    Both,
}

/// What whoever scrapes this host gets.
#[derive(Clone, Debug, PartialEq)]
pub struct ScrapeSettings {
    /// Which buckets histograms have.
    pub histograms: HistogramKind,
    /// How fine native ones are.
    pub scale: Scale,
    /// The bounds of classic ones, if not the default ones.
    pub buckets: Option<Bounds>,
}
