//! The `zeromq` backend: the JSON of each record as a message on a PUB socket, at once. Its
//! messages are those of `json.rs`.
//!
//! By default a PUB socket silently drops a message that a slow subscriber has no room for. This
//! one refuses it instead (`ZMQ_XPUB_NODROP`), so that the drop can be counted. The message is
//! then dropped for every subscriber: libzmq offers nothing between the two. A subscriber that
//! reads nothing for [`ZEROMQ_STUCK_MS_MAX`](crate::limits::ZEROMQ_STUCK_MS_MAX) while there are
//! messages for it is disconnected, so that it does not hold up the others for longer.

mod settings;
#[cfg(feature = "zeromq")]
mod transport;

pub use settings::ZeroMqSettings;
#[cfg(feature = "zeromq")]
pub use transport::{ZeroMq, ZeroMqError};
