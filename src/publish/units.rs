//! Units of time that stores want.

/// Nanoseconds as another unit of time, of which one has `ns_per_unit`. 53 bits of digits are left.
#[expect(
    clippy::cast_precision_loss,
    reason = "what is beyond 53 bits is no longer measured"
)]
pub(super) fn per(ns: i128, ns_per_unit: f64) -> f64 {
    ns as f64 / ns_per_unit
}
