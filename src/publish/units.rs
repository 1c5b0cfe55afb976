//! What the numbers of gauges are, for backends that want base units or name their units.

/// The unit that a gauge is recorded in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Nanoseconds,
    Bytes,
    PartsPerBillion,
    Number,
}

/// What a gauge is recorded in.
pub(super) fn gauge_unit(name: &str) -> Unit {
    match name {
        "clock.offset"
        | "clock.error"
        | "monitor.clock.error"
        | "monitor.cpu"
        | "monitor.backend.oldest"
        | "tcp.wan.burst.threshold"
        | "tcp.wan.burst.start"
        | "tcp.wan.burst.duration"
        | "tcp.wan.burst.peak"
        | "udp.wan.burst.threshold"
        | "udp.wan.burst.start"
        | "udp.wan.burst.duration"
        | "udp.wan.burst.peak" => Unit::Nanoseconds,
        "clock.skew" => Unit::PartsPerBillion,
        "monitor.resident" => Unit::Bytes,
        _ if name.ends_with("bytes") => Unit::Bytes,
        _ => Unit::Number,
    }
}

/// Whether a gauge is what an interval added, so that its sum over intervals means something.
pub(super) fn is_increment(name: &str) -> bool {
    ["monitor.cpu", "monitor.clock_steps"].contains(&name)
}

/// Nanoseconds as another unit of time, of which one has `ns_per_unit`. 53 bits of digits are left.
#[expect(
    clippy::cast_precision_loss,
    reason = "what is beyond 53 bits is no longer measured"
)]
pub(super) fn per(ns: i128, ns_per_unit: f64) -> f64 {
    ns as f64 / ns_per_unit
}
