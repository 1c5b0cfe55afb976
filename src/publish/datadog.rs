//! The `datadog` backend: records as JSON for the intake of Datadog, in milliseconds.

mod encode;
#[cfg(feature = "http-backends")]
mod halves;
mod settings;
mod tags;
#[cfg(all(test, feature = "http-backends"))]
mod tests;
#[cfg(feature = "http-backends")]
mod transport;

pub use encode::DatadogEncoder;
pub use settings::{ApiKey, DatadogSettings, Site};
pub(crate) use tags::datadog_tag;
#[cfg(feature = "http-backends")]
pub use transport::DatadogTransport;

/// The backend's name in the configuration and in messages.
const NAME: &str = "datadog";

/// The kind of payloads of series, which are compressed.
const SERIES: u8 = 0;

/// The kind of payloads of one event.
const EVENT: u8 = 1;
