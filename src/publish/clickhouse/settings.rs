//! What the backend can be told.

use std::collections::BTreeMap;

use crate::publish::Secret;

/// `backend = "clickhouse"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClickHouseSettings {
    /// The server.
    pub host: String,
    /// Its HTTP port.
    pub port: u16,
    /// HTTPS rather than HTTP.
    pub secure: bool,
    /// The database.
    pub database: String,
    /// Who we are.
    pub username: String,
    /// And what proves it.
    pub password: Secret,
    /// The table that samples go to.
    pub table: String,
    /// What its columns are called, where not as we call them: our name to theirs.
    pub columns: BTreeMap<String, String>,
}

impl Default for ClickHouseSettings {
    fn default() -> Self {
        Self {
            host: "localhost".to_owned(),
            port: 8443,
            secure: true,
            database: "default".to_owned(),
            username: "default".to_owned(),
            password: Secret::default(),
            table: "metrics".to_owned(),
            columns: BTreeMap::new(),
        }
    }
}
