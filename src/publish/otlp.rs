//! The `otlp` backend: metrics and logs of OpenTelemetry over HTTP, in their JSON encoding.
//!
//! A window is a data point of an exponential histogram, a count one of a sum, a gauge one of a gauge, and an event a
//! log record. Names in the JSON are those of the protocol's own files.

mod attributes;
mod encode;
#[cfg(feature = "http-backends")]
mod halves;
mod json;
mod settings;
#[cfg(all(test, feature = "http-backends"))]
mod tests;
mod totals;
#[cfg(feature = "http-backends")]
mod transport;

pub(crate) use attributes::attributes as otlp_attributes;
pub use encode::OtlpEncoder;
pub use settings::{Headers, OtlpSettings, Resource, Temporality};
#[cfg(feature = "http-backends")]
pub use transport::OtlpTransport;

/// The backend's name in the configuration and in messages.
const NAME: &str = "otlp";

/// The kind of payloads of metrics.
const METRICS: u8 = 0;

/// The kind of payloads of log records.
const LOGS: u8 = 1;
