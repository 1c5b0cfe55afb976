//! From records to the world: the flush threads and the backends they feed.
//!
//! Each configured backend has a [`Flusher`], a thread that reads the backend's [`Feed`] and calls
//! the [`Backend`]; so one that hangs holds up neither the measurement nor another one. A backend
//! turns records into bytes in a function of its own, without I/O, and sends those.
//!
//! [`Feed`]: crate::record::Feed

mod backend;
mod batch;
mod channel;
mod cli;
pub mod clickhouse;
mod datadog;
pub mod delivery;
mod flusher;
mod hdr;
mod http;
mod json;
mod log;
mod pushgateway;
mod retry;
mod settings;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod text;
mod zeromq;

pub use backend::{Backend, PublishError};
pub use batch::{Batch, BatchId, Encode, Payload, SendError, Transport};
pub use channel::{Channel, channel};
pub use cli::Cli;
pub use clickhouse::{ClickHouseEncoder, ClickHouseSettings, ClickHouseTransport};
pub use datadog::{ApiKey, DatadogEncoder, DatadogSettings, DatadogTransport, Site};
pub use delivery::{Delivery, DeliveryError, DeliverySettings};
pub use flusher::Flusher;
pub use http::SetupError;
pub use json::Encoder;
pub use log::Log;
pub use pushgateway::{Bounds, Pushgateway, PushgatewaySettings};
pub use settings::{BaseUrl, Name, Secret};
pub use text::gzip;
pub use zeromq::{ZeroMq, ZeroMqError, ZeroMqSettings};
