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

impl ZeroMqSettings {
    /// Parses an address to bind: IPv4, or IPv6 with or without brackets.
    pub fn parse_address(text: &str) -> Result<IpAddr, String> {
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        match bare.unwrap_or(text).parse::<IpAddr>() {
            Ok(address) if address.is_multicast() => {
                Err(format!("must be an address of this host, not {address}"))
            }
            Ok(address) => Ok(address),
            Err(_) => Err(format!(
                "must be an IP address such as 0.0.0.0 or ::, not {text:?}"
            )),
        }
    }
}
