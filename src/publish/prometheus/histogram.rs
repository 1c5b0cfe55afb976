//! A histogram of a series: with classic buckets, with native ones, or with both.

use crate::limits::NATIVE_BUCKETS_MAX;
use crate::publish::Bounds;
use crate::publish::exponential::{Exponential, Scale};
use crate::publish::prometheus::buckets::Buckets;
use crate::publish::text::per;
use crate::record::{Distribution, Metric, MetricKind, Window};

/// What the histograms of a state are like.
#[derive(Clone, Debug)]
pub(in crate::publish) struct Shape {
    /// Bounds of classic buckets: of delays that are never negative, and of others.
    classic: Option<[Bounds; 2]>,
    native: Option<Scale>,
}

impl Shape {
    /// Classic buckets with these bounds, or the default ones.
    pub(in crate::publish) fn classic(bounds: Option<&Bounds>) -> Self {
        let classic = match bounds {
            Some(bounds) => [bounds.clone(), bounds.with_zero()],
            None => [Bounds::positive(), Bounds::signed()],
        };
        Self {
            classic: Some(classic),
            native: None,
        }
    }

    /// Native buckets only.
    pub(in crate::publish) const fn native(scale: Scale) -> Self {
        Self {
            classic: None,
            native: Some(scale),
        }
    }

    /// With native buckets, too.
    pub(in crate::publish) fn and_native(self, scale: Scale) -> Self {
        Self {
            native: Some(scale),
            ..self
        }
    }

    /// Makes an empty histogram of a metric.
    pub(super) fn histogram(&self, metric: &Metric) -> Histogram {
        let classic = self.classic.as_ref().map(|[positive, signed]| {
            let is_signed = metric.kind == MetricKind::SignedDelay;
            Buckets::new(if is_signed { signed } else { positive })
        });
        Histogram {
            classic,
            native: self.native.map(Exponential::new),
            count: 0,
            sum_ns: 0,
        }
    }
}

/// All values of a series since it began.
#[derive(Debug)]
pub(super) struct Histogram {
    classic: Option<Buckets>,
    native: Option<Exponential>,
    count: u64,
    sum_ns: i128,
}

impl Histogram {
    /// Counts one value.
    pub(super) fn record(&mut self, value_ns: i64) {
        if let Some(classic) = &mut self.classic {
            classic.record(value_ns);
        }
        if let Some(native) = &mut self.native {
            native.record_n(value_ns, 1);
            native.fit(NATIVE_BUCKETS_MAX);
        }
        self.count += 1;
        self.sum_ns += i128::from(value_ns);
    }

    /// Counts all values of a window, which `distribution` has loaded.
    pub(super) fn merge(&mut self, window: &Window, distribution: &Distribution) {
        if let Some(classic) = &mut self.classic {
            classic.merge(window, distribution);
        }
        if let Some(native) = &mut self.native {
            native.record_window(window, distribution);
            native.fit(NATIVE_BUCKETS_MAX);
        }
        self.count += window.count();
        self.sum_ns += window.sum();
    }

    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn sum_seconds(&self) -> f64 {
        per(self.sum_ns, 1e9)
    }

    pub(super) const fn native(&self) -> Option<&Exponential> {
        self.native.as_ref()
    }

    /// Fills `out` with each classic bound in seconds and the number of values between it and the one before;
    /// without classic buckets with the infinite bound only.
    pub(super) fn fill(&self, out: &mut Vec<(f64, u64)>) {
        match &self.classic {
            Some(classic) => classic.fill(out),
            None => {
                out.clear();
                out.push((f64::INFINITY, self.count));
            }
        }
    }
}
