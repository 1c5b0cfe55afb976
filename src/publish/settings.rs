//! What each backend can be told: filled in by the configuration, taken by the backend.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A word that no message shows.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.0.is_empty() {
            "(none)"
        } else {
            "(secret)"
        })
    }
}

/// How batches wait and are sent, the same for all that have a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliverySettings {
    /// How often a batch is closed and sent.
    pub send_interval: Duration,
    /// Mebibytes of batches that wait at most, in memory or on disk.
    pub buffer_mib: u32,
    /// Where batches wait across a restart; `None`: in memory only.
    pub spool_dir: Option<PathBuf>,
}

impl Default for DeliverySettings {
    fn default() -> Self {
        Self {
            send_interval: Duration::from_secs(30),
            buffer_mib: 64,
            spool_dir: None,
        }
    }
}

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

/// `backend = "pushgateway"`.
#[derive(Clone, Debug, PartialEq)]
pub struct PushgatewaySettings {
    /// `host:port` or a URL.
    pub gateway: String,
    /// The job that the group is pushed under.
    pub job: String,
    /// Upper bounds of the buckets in seconds, ascending; empty: the default ones.
    pub buckets: Vec<f64>,
    /// Delete the group when the daemon ends in order.
    pub delete_on_stop: bool,
}

impl Default for PushgatewaySettings {
    fn default() -> Self {
        Self {
            gateway: "localhost:9091".to_owned(),
            job: "latency-monitor".to_owned(),
            buckets: Vec::new(),
            delete_on_stop: false,
        }
    }
}

/// `backend = "datadog"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatadogSettings {
    /// The site, as `datadoghq.com` or `datadoghq.eu`.
    pub site: String,
    /// The key.
    pub api_key: Secret,
    /// Instead of `https://api.<site>`: a proxy, or a test.
    pub url: Option<String>,
}

impl Default for DatadogSettings {
    fn default() -> Self {
        Self {
            site: "datadoghq.com".to_owned(),
            api_key: Secret::default(),
            url: None,
        }
    }
}
