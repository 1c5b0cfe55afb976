//! HTTP requests with a deadline, and what their answers mean for what was sent.

use std::io::Read as _;
use std::time::Duration;

use reqwest::Method;
use reqwest::blocking::Client as Inner;
use reqwest::redirect::Policy;

use crate::publish::SendError;

/// Bytes of an answer that are looked at: its first line is for a message.
const ANSWER_BYTES_MAX: u64 = 4_096;

/// Characters of an answer's first line that are shown.
const LINE_CHARS_MAX: usize = 300;

/// Why a backend that sends over HTTP cannot begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// Where it is to send is no address.
    #[error("`{given}` is no address that can be asked over HTTP: {reason}")]
    Address {
        /// What was configured.
        given: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A setting has a value that it cannot have; the reason says which, and what would be right.
    #[error("{0}")]
    Setting(String),
    /// The system did not give what sending needs.
    #[error("cannot prepare to send: {0}")]
    System(String),
}

/// The scheme and the rest of a URL are as HTTP has them; without a final slash.
pub(super) fn base_url(given: &str) -> Result<String, SetupError> {
    let mut text = given.trim().to_owned();
    if !text.contains("://") {
        text.insert_str(0, "http://");
    }
    let wrong = |reason: String| SetupError::Address {
        given: shown(given),
        reason,
    };
    let url = reqwest::Url::parse(&text).map_err(|error| wrong(error.to_string()))?;
    if !["http", "https"].contains(&url.scheme()) {
        return Err(wrong(format!("its scheme is {}", url.scheme())));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it has a query or a fragment".to_owned()));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// An address without the name and the password that may be in it.
fn shown(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = url.split_at(start);
    let end = rest.find('/').unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    let host = host.rsplit('@').next().unwrap_or(host);
    format!("{scheme}{host}{path}")
}

/// One request.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) url: &'a str,
    pub(super) headers: &'a [(&'static str, &'a str)],
    pub(super) body: Vec<u8>,
    pub(super) timeout: Duration,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The request and the answer, for a message.
    reason: String,
    after: Option<Duration>,
}

impl Answer {
    /// Taken, or not: then whether it is worth to ask again.
    pub(super) fn judge(self) -> Result<(), SendError> {
        let Self {
            status,
            reason,
            after,
        } = self;
        match status {
            200..=299 => Ok(()),
            408 | 429 | 500.. => Err(SendError::Later { reason, after }),
            _ => Err(SendError::Never { reason }),
        }
    }

    /// It will never be taken, and this is what would be right.
    pub(super) fn never(self, hint: &str) -> SendError {
        SendError::Never {
            reason: format!("{}; {hint}", self.reason),
        }
    }
}

/// Connections that are used again.
#[derive(Debug)]
pub(super) struct Client(Inner);

impl Client {
    pub(super) fn new() -> Result<Self, SetupError> {
        let agent = concat!("latency-monitor/", env!("CARGO_PKG_VERSION"));
        Inner::builder()
            .user_agent(agent)
            // A redirected request would take its key along to another host, and lose its body.
            .redirect(Policy::none())
            .build()
            .map(Self)
            .map_err(|error| SetupError::System(chain(&error)))
    }

    /// Ask, and wait for the answer no longer than the request says.
    pub(super) fn call(&self, request: Request<'_>) -> Result<Answer, SendError> {
        let Request {
            method,
            url,
            headers,
            body,
            timeout,
        } = request;
        let what = format!("{method} {}", shown(url));
        let mut builder = self.0.request(method, url).timeout(timeout).body(body);
        for &(name, value) in headers {
            builder = builder.header(name, value);
        }
        let answer = builder.send().map_err(|error| {
            let reason = format!("{what}: {}", chain(&error.without_url()));
            SendError::Later {
                reason,
                after: None,
            }
        })?;
        let status = answer.status();
        let after = answer
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let mut text = Vec::new();
        // What cannot be read is a message the less; the status has been read.
        drop(answer.take(ANSWER_BYTES_MAX).read_to_end(&mut text));
        let text = String::from_utf8_lossy(&text);
        let line = text.lines().find(|line| !line.trim().is_empty());
        let mut reason = format!("{what}: {status}");
        if let Some(line) = line {
            reason.push_str(": ");
            reason.extend(line.trim().chars().take(LINE_CHARS_MAX));
        }
        Ok(Answer {
            status: status.as_u16(),
            reason,
            after,
        })
    }
}

/// An error and its causes, which say what the system said.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_lack_its_scheme_but_not_be_nonsense() {
        let base = |given| base_url(given).ok();
        assert_eq!(base("gw:9091").as_deref(), Some("http://gw:9091"));
        assert_eq!(base("[::1]:9091/").as_deref(), Some("http://[::1]:9091"));
        assert_eq!(base("https://gw/pg/").as_deref(), Some("https://gw/pg"));
        for wrong in ["", "ftp://gw", "http://", "gw:port", "http://gw?x=1"] {
            assert_eq!(base(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn messages_show_no_password() {
        for (url, expected) in [
            ("https://me:p@ss@gw:1/x@y", "https://gw:1/x@y"),
            ("me:pass@gw", "gw"),
            ("http://[::1]:9091", "http://[::1]:9091"),
        ] {
            assert_eq!(shown(url), expected);
        }
        let error = base_url("ftp://me:pass@gw").unwrap_err().to_string();
        assert!(!error.contains("pass"), "{error}");
    }

    #[test]
    fn a_status_says_whether_to_ask_again() {
        for (status, word) in [
            (202, "ok"),
            (302, "never"),
            (400, "never"),
            (403, "never"),
            (408, "later"),
            (413, "never"),
            (429, "later"),
            (500, "later"),
            (503, "later"),
        ] {
            let answer = Answer {
                status,
                reason: String::new(),
                after: Some(Duration::from_secs(7)),
            };
            let found = match answer.judge() {
                Ok(()) => "ok",
                Err(SendError::Never { .. }) => "never",
                Err(SendError::Later { after, .. }) => {
                    assert_eq!(after, Some(Duration::from_secs(7)));
                    "later"
                }
            };
            assert_eq!(found, word, "{status}");
        }
    }
}
