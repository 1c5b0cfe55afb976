//! The `clickhouse` backend: rows in the server's binary format, over HTTP.
//!
//! The types of the columns are known only once the server was asked, and it may be away when the
//! first record comes. So batches wait as JSON lines, and become rows when they are sent.

#[cfg(feature = "http-backends")]
mod answer;
mod encode;
#[cfg(feature = "http-backends")]
mod halves;
mod kind;
mod line;
pub mod schema;
mod settings;
mod table;
#[cfg(all(test, feature = "http-backends"))]
mod tests;
#[cfg(feature = "http-backends")]
mod transport;

pub use encode::ClickHouseEncoder;
pub use settings::{COLUMNS, COLUMNS_LISTED, ClickHouseSettings, Columns};
pub use table::Table;
#[cfg(feature = "http-backends")]
pub use transport::ClickHouseTransport;

/// The backend's name in the configuration and in messages.
const NAME: &str = "clickhouse";

/// The suffixes of the tables, by [`Payload::kind`](crate::publish::Payload::kind).
const TABLES: [&str; 3] = ["", "_windows", "_events"];
