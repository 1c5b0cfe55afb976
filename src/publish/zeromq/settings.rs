//! What the `zeromq` backend can be told.

use std::net::IpAddr;

/// Where the socket is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZeroMqSettings {
    /// The address of this host.
    pub address: IpAddr,
    /// The port. 0 takes a free one.
    pub port: u16,
}
