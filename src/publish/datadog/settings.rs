//! What the backend can be told.

use crate::publish::Secret;

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
