//! What the backend can be told.

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
