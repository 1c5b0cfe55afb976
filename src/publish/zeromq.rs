//! The `zeromq` backend: the JSON of each record as a message on a PUB socket, at once.
//!
//! By itself a PUB socket drops what a slow subscriber has no room for, and tells nobody. Ours is
//! told to refuse such a message instead (`ZMQ_XPUB_NODROP`), so that it is dropped here, where it
//! can be counted. It is dropped for every subscriber then: libzmq offers to refuse a message or to
//! lose it for some in silence, and nothing between. A subscriber that reads nothing at all for
//! [`ZEROMQ_STUCK_MS_MAX`](crate::limits::ZEROMQ_STUCK_MS_MAX) while we have something for it is disconnected, so that one that hangs
//! does not hold up the others for longer than that.

mod settings;
mod transport;

pub use settings::ZeroMqSettings;
pub use transport::{ZeroMq, ZeroMqError};
