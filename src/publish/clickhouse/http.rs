//! One request to the server, and what its answer means.

use std::io::Read as _;
use std::time::Duration;

use reqwest::blocking;

use crate::publish::{ClickHouseSettings, SendError};

/// How much of an answer is read.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

/// How much of an error is told.
const REASON_CHARS_MAX: usize = 300;

/// What an operator mends: an unknown table or database, a user, a password, a right, a quota.
const MENDABLE: &[u32] = &[60, 81, 192, 193, 194, 201, 497, 516];

/// The rows do not fit the table: a column is gone or has another type.
const SCHEMA: &[u32] = &[6, 16, 27, 33, 36, 47, 53, 70, 117, 349];

/// Why a request was not answered as hoped.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) error: SendError,
    /// Whether the table is not as we thought.
    pub(super) is_schema: bool,
}

impl Refusal {
    pub(super) fn never(reason: String) -> Self {
        Self {
            error: SendError::Never { reason },
            is_schema: false,
        }
    }

    pub(super) fn schema(reason: String) -> Self {
        Self {
            is_schema: true,
            ..Self::later(reason, None)
        }
    }

    fn later(reason: String, after: Option<Duration>) -> Self {
        Self {
            error: SendError::Later { reason, after },
            is_schema: false,
        }
    }
}

pub(super) struct Client {
    http: blocking::Client,
    url: reqwest::Url,
    username: String,
    password: String,
}

impl Client {
    pub(super) fn new(settings: &ClickHouseSettings) -> Result<Self, SendError> {
        let never = |error: &dyn std::fmt::Display| SendError::Never {
            reason: format!("clickhouse: {}: {error}", settings.host),
        };
        let scheme = if settings.secure { "https" } else { "http" };
        let host = settings.host.trim_matches(['[', ']']);
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        let url = format!("{scheme}://{host}:{}/", settings.port);
        Ok(Self {
            http: blocking::Client::builder()
                .build()
                .map_err(|error| never(&error))?,
            url: url.parse().map_err(|error| never(&error))?,
            username: settings.username.clone(),
            password: settings.password.0.clone(),
        })
    }

    /// Posts a query with its rows, compressed by gzip; gives the answer.
    pub(super) fn post(
        &self,
        query: &str,
        token: Option<&str>,
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<String, Refusal> {
        let mut url = self.url.clone();
        url.query_pairs_mut().append_pair("query", query);
        if let Some(token) = token {
            url.query_pairs_mut()
                .append_pair("insert_deduplication_token", token)
                .append_pair("insert_deduplicate", "1")
                .append_pair("deduplicate_blocks_in_dependent_materialized_views", "1");
        }
        let mut request = self
            .http
            .post(url)
            .timeout(timeout)
            .header("X-ClickHouse-User", &self.username)
            .header("X-ClickHouse-Key", &self.password);
        if !body.is_empty() {
            request = request.header("Content-Encoding", "gzip");
        }
        let place = format!("clickhouse: {}", self.url);
        let response = request
            .body(body)
            .send()
            // The address would show the whole query.
            .map_err(|error| {
                Refusal::later(format!("{place}: {}", chain(&error.without_url())), None)
            })?;
        let status = response.status().as_u16();
        let header = |name: &str| -> Option<u32> {
            let value = response.headers().get(name)?;
            value.to_str().ok()?.trim().parse().ok()
        };
        let code = header("x-clickhouse-exception-code");
        let after = header("retry-after").map(|seconds| Duration::from_secs(seconds.into()));
        let mut text = Vec::new();
        response
            .take(ANSWER_BYTES_MAX)
            .read_to_end(&mut text)
            .map_err(|error| Refusal::later(format!("{place}: {error}"), None))?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let code = code.or_else(|| code_in(&text));
        if status == 200 && code.is_none() {
            return Ok(text);
        }
        let told: String = text.trim().chars().take(REASON_CHARS_MAX).collect();
        Err(refusal(
            status,
            code,
            format!("{place}: {status}: {told}"),
            after,
        ))
    }
}

/// What a refusal means.
pub(super) fn refusal(
    status: u16,
    code: Option<u32>,
    reason: String,
    after: Option<Duration>,
) -> Refusal {
    match (status, code) {
        (_, Some(code)) if SCHEMA.contains(&code) => Refusal::schema(reason),
        (_, Some(code)) if MENDABLE.contains(&code) => Refusal::later(reason, after),
        (401 | 403 | 404 | 408 | 429, _) => Refusal::later(reason, after),
        (400..=499, _) => Refusal::never(reason),
        _ => Refusal::later(reason, after),
    }
}

/// The number in `Code: 60. DB::Exception`.
fn code_in(text: &str) -> Option<u32> {
    let (code, rest) = text.trim_start().strip_prefix("Code: ")?.split_once('.')?;
    rest.contains("DB::").then(|| code.parse().ok())?
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
