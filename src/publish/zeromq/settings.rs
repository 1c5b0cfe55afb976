//! What the backend can be told.

/// `backend = "zeromq"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZeroMqSettings {
    /// The address to bind; IPv6 with or without brackets.
    pub address: String,
    /// The port.
    pub port: u16,
}

impl Default for ZeroMqSettings {
    fn default() -> Self {
        Self {
            address: "0.0.0.0".to_owned(),
            port: 8002,
        }
    }
}
