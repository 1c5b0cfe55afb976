//! Requests to Datadog's intake, and what its answers mean.

use std::time::Duration;

use reqwest::Method;

use crate::publish::datadog::EVENT;
use crate::publish::request::{Client, Request, SetupError, base_url};
use crate::publish::{Batch, DatadogSettings, Secret, SendError, Transport};

/// Posts payloads.
#[derive(Debug)]
pub struct DatadogTransport {
    client: Client,
    series_url: String,
    events_url: String,
    api_key: Secret,
    site: String,
}

impl DatadogTransport {
    /// For the site, or the `url`, of these settings.
    pub fn new(settings: &DatadogSettings) -> Result<Self, SetupError> {
        let DatadogSettings { site, api_key, url } = settings;
        let setting = |reason: &str| SetupError::Setting(reason.to_owned());
        let key = api_key.0.trim();
        if key.is_empty() {
            return Err(setting("there is no key: set `api_key` or DD_API_KEY"));
        }
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(setting("`api_key` has characters that no key has"));
        }
        let base = match url {
            Some(url) => base_url(url)?,
            None => base_url(&format!("https://api.{}", site.trim()))?,
        };
        Ok(Self {
            client: Client::new()?,
            series_url: format!("{base}/api/v2/series"),
            events_url: format!("{base}/api/v1/events"),
            api_key: Secret(key.to_owned()),
            site: site.clone(),
        })
    }
}

impl Transport for DatadogTransport {
    fn send(&mut self, batch: &Batch, timeout: Duration) -> Result<(), SendError> {
        let is_event = batch.payload.kind == EVENT;
        let url = if is_event {
            &self.events_url
        } else {
            &self.series_url
        };
        let headers = [
            ("dd-api-key", self.api_key.0.as_str()),
            ("content-type", "application/json"),
            ("content-encoding", "gzip"),
        ];
        // Events are single and small, and go as they are.
        let headers = &headers[..if is_event { 2 } else { 3 }];
        let answer = self.client.call(Request {
            method: Method::POST,
            url,
            headers,
            body: batch.payload.body.clone(),
            timeout,
        })?;
        match answer.status {
            401 | 403 => {
                let site = &self.site;
                Err(answer.never(&format!(
                    "the key is not taken: set `api_key` or DD_API_KEY to an API key (no application key) of the \
                     organisation at `site`, which is {site}"
                )))
            }
            404 => Err(answer.never("there is no intake there: look at `site` and `url`")),
            _ => answer.judge(),
        }
    }
}
