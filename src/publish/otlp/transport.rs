//! Sends payloads, and judges the answers as the protocol has them.

use std::time::Duration;

use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Url};
use serde_json::Value;

use crate::publish::http::{Http, Response};
use crate::publish::otlp::halves::{first_series, halves};
use crate::publish::otlp::{LOGS, METRICS, OtlpSettings};
use crate::publish::{Batch, Payload, SendError, Transport, Verdict};

/// Posts payloads.
#[derive(Debug)]
pub struct OtlpTransport {
    /// The name in messages.
    name: Box<str>,
    http: Http,
    metrics_url: Url,
    logs_url: Url,
    settings: OtlpSettings,
    /// Records of the last batch that were rejected.
    left_out: u64,
    /// What a receiver said last about a batch that it took.
    said: String,
    /// The last refusal was about what was sent, so that a part of it may be taken.
    is_divisible: bool,
}

impl OtlpTransport {
    /// Makes a transport to the endpoint of these settings. `name` is the backend's in messages.
    pub fn new(name: &str, settings: OtlpSettings) -> Self {
        let base = &settings.endpoint;
        Self {
            name: name.into(),
            http: Http::new(settings.ca_file.clone()),
            metrics_url: base.join(["v1", "metrics"]),
            logs_url: base.join(["v1", "logs"]),
            settings,
            left_out: 0,
            said: String::new(),
            is_divisible: false,
        }
    }

    /// Reads what a receiver that took a batch says of it.
    fn take_answer(&mut self, answer: &Response, records: u64) {
        // Who answers in another encoding has at least taken ours.
        let answer: Value = serde_json::from_str(&answer.text()).unwrap_or_default();
        let partial = &answer["partialSuccess"];
        let rejected = [
            &partial["rejectedDataPoints"],
            &partial["rejectedLogRecords"],
        ]
        .into_iter()
        .find_map(number)
        .unwrap_or(0)
        .min(records);
        self.left_out = rejected;
        let said = partial["errorMessage"].as_str().unwrap_or_default();
        if rejected == 0 && said.is_empty() {
            return;
        }
        // The numbers in it may be others each time.
        let kind: String = said
            .chars()
            .filter(|letter| !letter.is_ascii_digit())
            .collect();
        if self.said == kind {
            return;
        }
        let said: String = said
            .chars()
            .filter(|letter| !letter.is_control())
            .take(SAID_CHARS_MAX)
            .collect();
        if rejected == 0 {
            tracing::warn!(
                backend = &*self.name,
                "the receiver takes all, and says: {said}"
            );
        } else {
            tracing::warn!(
                backend = &*self.name,
                "the receiver has rejected {rejected} records of a batch; such are left out and counted: {said}"
            );
        }
        self.said = kind;
    }
}

/// Letters of what a receiver says that are logged.
const SAID_CHARS_MAX: usize = 300;

/// What is right where a receiver takes no logs.
const NO_LOGS: &str =
    "it takes no logs, which are our events; `metrics` with \"!monitor.events\" sends none";

/// Judges an answer by its status. The protocol has four for which the same batch is sent again.
fn judge(answer: Response, kind: u8) -> Result<Response, SendError> {
    // A receiver of metrics may have no place for logs; metrics do not wait for those.
    let no_place = if kind == LOGS {
        Verdict::Never
    } else {
        Verdict::Barred
    };
    let (verdict, hint) = match answer.status().as_u16() {
        200..=299 => return Ok(answer),
        429 | 502 | 503 | 504 => (Verdict::Later, ""),
        401 | 403 | 407 => (Verdict::Barred, "look at `headers` and `headers_file`"),
        404 | 405 | 410 if kind == LOGS => (no_place, NO_LOGS),
        404 | 405 | 410 | 421 => (no_place, "nothing takes OTLP there: look at `endpoint`"),
        415 => (
            Verdict::Barred,
            "it takes no JSON: send through a collector",
        ),
        300..=399 => (Verdict::Barred, "look at `endpoint`"),
        _ => (Verdict::Never, ""),
    };
    Err(answer.error(verdict, hint))
}

/// Reads a 64-bit integer, which JSON of the protocol has as a string or as a number.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

impl Transport for OtlpTransport {
    fn send(&mut self, batch: &Batch, timeout: Duration) -> Result<(), SendError> {
        self.left_out = 0;
        self.is_divisible = false;
        self.renew();
        let kind = batch.payload.kind;
        let url = if kind == METRICS {
            &self.metrics_url
        } else {
            &self.logs_url
        };
        let mut request = self
            .http
            .request(Method::POST, url.clone())?
            .header(CONTENT_TYPE, "application/json")
            .header(CONTENT_ENCODING, "gzip");
        for (name, value) in self.settings.headers.iter() {
            let mut value = HeaderValue::from_bytes(value.as_bytes())
                .expect("a header of the configuration has no control characters");
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        let answer = self
            .http
            .exchange(request.body(batch.payload.body.clone()), timeout)?;
        // What is too large or malformed may be so in one series only.
        self.is_divisible = [400, 413, 422].contains(&answer.status().as_u16());
        let answer = judge(answer, kind)?;
        self.take_answer(&answer, batch.payload.records);
        Ok(())
    }

    fn renew(&mut self) -> Option<bool> {
        self.settings.headers.renew()
    }

    fn left_out(&self) -> u64 {
        self.left_out
    }

    fn halves(&self, batch: &Batch) -> Option<[Payload; 2]> {
        self.is_divisible.then(|| halves(&batch.payload)).flatten()
    }

    fn series_of(&self, batch: &Batch) -> String {
        first_series(&batch.payload)
    }
}
