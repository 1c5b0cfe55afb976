//! What the `zeromq` backend can be told.

use crate::proto::Host;

/// Where the socket is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZeroMqSettings {
    /// The address of this host, with a zone if it is link-local; or the name of an interface.
    pub address: Host,
    /// The port. 0 takes a free one.
    pub port: u16,
}
