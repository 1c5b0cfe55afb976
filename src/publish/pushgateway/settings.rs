//! What the `pushgateway` backend can be told.

use std::path::PathBuf;

use crate::publish::{BaseUrl, Bounds, Name};

/// Which gateway is pushed to, and under what.
#[derive(Clone, Debug, PartialEq)]
pub struct PushgatewaySettings {
    /// The gateway.
    pub gateway: BaseUrl,
    /// The job that the group is pushed under.
    pub job: Name,
    /// The buckets of all histograms, if not the default ones.
    pub buckets: Option<Bounds>,
    /// Certificates in PEM that are trusted beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// The group is deleted when the daemon ends in order.
    pub delete_on_stop: bool,
}
