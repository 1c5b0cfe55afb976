//! The `datadog` backend: records as the JSON that Datadog's intake takes, in milliseconds.

mod encode;
mod settings;
#[cfg(test)]
mod tests;
mod transport;

pub use encode::DatadogEncoder;
pub use settings::{ApiKey, DatadogSettings, Site};
pub use transport::DatadogTransport;

/// The backend's name in the configuration and in messages.
const NAME: &str = "datadog";

/// Payloads of series, compressed.
const SERIES: u8 = 0;

/// Payloads of one event.
const EVENT: u8 = 1;
