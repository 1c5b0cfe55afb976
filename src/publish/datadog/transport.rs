//! Sends payloads to the intake, and judges its answers.

use std::time::Duration;

use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE};
use reqwest::{Method, StatusCode, Url};

use crate::publish::datadog::halves::{first_series, halves};
use crate::publish::datadog::{DatadogSettings, EVENT};
use crate::publish::http::Http;
use crate::publish::{Batch, Payload, SendError, Transport, Verdict};

/// Posts payloads.
#[derive(Debug)]
pub struct DatadogTransport {
    http: Http,
    series_url: Url,
    events_url: Url,
    settings: DatadogSettings,
}

impl DatadogTransport {
    /// Makes a transport to the site, or the `url`, of these settings.
    pub fn new(settings: DatadogSettings) -> Self {
        let base = settings.base();
        Self {
            http: Http::new(settings.ca_file.clone()),
            series_url: base.join(["api", "v2", "series"]),
            events_url: base.join(["api", "v1", "events"]),
            settings,
        }
    }
}

impl Transport for DatadogTransport {
    fn send(&mut self, batch: &Batch, timeout: Duration) -> Result<(), SendError> {
        self.renew();
        let is_event = batch.payload.kind == EVENT;
        let url = if is_event {
            &self.events_url
        } else {
            &self.series_url
        };
        let mut request = self
            .http
            .request(Method::POST, url.clone())?
            .header("dd-api-key", self.settings.api_key.secret().as_str())
            .header(CONTENT_TYPE, "application/json")
            .body(batch.payload.body.clone());
        // Events are sent one by one, uncompressed.
        if !is_event {
            request = request.header(CONTENT_ENCODING, "gzip");
        }
        let answer = self.http.exchange(request, timeout)?;
        let barred = if is_event {
            // A proxy may take series only; those do not wait for events.
            Verdict::Never
        } else {
            Verdict::Barred
        };
        match answer.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let site = self.settings.site.as_str();
                let hint = format!(
                    "the key is not taken: set `api_key` or DD_API_KEY to an API key (no application key) of \
                     the organisation at `site`, which is {site}"
                );
                Err(answer.error(Verdict::Barred, &hint))
            }
            StatusCode::NOT_FOUND => {
                Err(answer.error(barred, "there is no intake there: look at `site` and `url`"))
            }
            _ => answer.accepted().map(drop),
        }
    }

    fn renew(&mut self) -> Option<bool> {
        self.settings.api_key.renew()
    }

    fn halves(&self, batch: &Batch) -> Option<[Payload; 2]> {
        halves(&batch.payload)
    }

    fn series_of(&self, batch: &Batch) -> String {
        first_series(&batch.payload)
    }
}
