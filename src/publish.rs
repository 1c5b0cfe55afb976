//! From records to the world: the flush threads and the backends they feed.
//!
//! Each configured backend has a [`Flusher`], a thread that reads the backend's [`Feed`] and calls
//! the [`Backend`]; so one that hangs holds up neither the measurement nor another one. A backend
//! turns records into bytes in a function of its own, without I/O, and sends those.
//!
//! [`Feed`]: crate::record::Feed

#[cfg(feature = "http-backends")]
mod ask;
mod backend;
mod batch;
mod bounds;
mod channel;
mod cli;
pub mod clickhouse;
mod datadog;
#[cfg(feature = "http-backends")]
pub mod delivery;
pub mod exponential;
#[cfg(feature = "http-backends")]
mod fetch;
mod flusher;
#[cfg(feature = "http-backends")]
mod halves;
mod hdr;
mod history;
#[cfg(feature = "http-backends")]
mod http;
mod json;
#[cfg(feature = "http-backends")]
mod live;
mod log;
mod otlp;
#[cfg(feature = "http-backends")]
mod prometheus;
#[cfg(feature = "http-backends")]
mod pushgateway;
mod retry;
mod scrape;
mod settings;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod text;
mod whole;
mod zeromq;

#[cfg(feature = "http-backends")]
pub(crate) use ask::Asker;
pub use backend::{Backend, PublishError, Tried};
pub use batch::{Batch, BatchId, Encode, Payload, SendError, Transport, Verdict};
pub use bounds::Bounds;
pub use channel::{Channel, channel};
pub use cli::Cli;
#[cfg(feature = "http-backends")]
pub use clickhouse::ClickHouseTransport;
pub use clickhouse::{ClickHouseEncoder, ClickHouseSettings};
#[cfg(feature = "http-backends")]
pub use datadog::DatadogTransport;
pub(crate) use datadog::datadog_tag;
pub use datadog::{ApiKey, DatadogEncoder, DatadogSettings, Site};
pub use delivery::DeliverySettings;
#[cfg(feature = "http-backends")]
pub use delivery::{Delivery, DeliveryError};
pub use exponential::Scale;
#[cfg(feature = "http-backends")]
pub(crate) use fetch::Fetch;
pub use flusher::Flusher;
pub use history::{History, HistorySettings};
#[cfg(feature = "http-backends")]
pub use http::SetupError;
#[cfg(feature = "http-backends")]
pub(crate) use http::look_at_certificates;
pub use json::Encoder;
#[cfg(feature = "http-backends")]
pub use live::{Live, PastRange, Watch};
pub use log::Log;
#[cfg(feature = "http-backends")]
pub use otlp::OtlpTransport;
pub(crate) use otlp::otlp_attributes;
pub use otlp::{Headers, OtlpEncoder, OtlpSettings, Resource, Temporality};
#[cfg(feature = "http-backends")]
pub(crate) use prometheus::prometheus_labels;
#[cfg(feature = "http-backends")]
pub use prometheus::{Exposition, Format, Last};
#[cfg(feature = "http-backends")]
pub use pushgateway::Pushgateway;
pub use pushgateway::PushgatewaySettings;
pub use scrape::{HistogramKind, ScrapeSettings};
pub use settings::{BaseUrl, Name, Secret, read_secret};
pub use text::gzip;
pub use whole::{Lost, WholeLines};
pub use zeromq::ZeroMqSettings;
#[cfg(feature = "zeromq")]
pub use zeromq::{ZeroMq, ZeroMqError};

// A build without a backend still parses its settings, to say which feature is missing.
#[cfg(not(feature = "http-backends"))]
mod delivery {
    mod settings;
    pub use settings::DeliverySettings;
}
#[cfg(not(feature = "http-backends"))]
mod pushgateway {
    mod settings;
    pub use settings::PushgatewaySettings;
}
