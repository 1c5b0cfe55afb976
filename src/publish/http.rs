//! HTTP as the backends use it: one client each, requests with a deadline, and answers sorted by
//! what is to become of the records that were sent.
//!
//! The client must not be made inside an asynchronous runtime; the threads here are none.

mod date;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, Read};
use std::time::Duration;

use reqwest::blocking::{Client, RequestBuilder};
use reqwest::header::{DATE, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Method, StatusCode, Url};

use crate::clock::Clock;
use crate::limits::{HTTP_ANSWER_BYTES_MAX, REASON_BYTES_MAX};
use crate::proto::Wall;
use crate::publish::SendError;

/// What making a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an unused connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// Bytes of an answer that are read at once.
const READ_BYTES: usize = 8 * 1024;

/// Who we are.
const USER_AGENT: &str = concat!("latency-monitor/", env!("CARGO_PKG_VERSION"));

/// Why a backend that sends over HTTP cannot begin: what the system did not give.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot prepare to send: {0}")]
pub struct SetupError(pub(super) String);

/// A client of one backend, which keeps its connections. It follows no redirect: a request that
/// carries records or a key goes where it was configured to go.
#[derive(Debug)]
pub(super) struct Http {
    client: Client,
    clock: Clock,
}

impl Http {
    /// A client that trusts the system's certificates.
    pub(super) fn new() -> Result<Self, SetupError> {
        // Fails where the process has a provider already, which then serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .redirect(Policy::none())
            .build()
            .map_err(|error| {
                SetupError(format!("no HTTP client can be made: {}", chain(&error)))
            })?;
        Ok(Self {
            client,
            clock: Clock::new(),
        })
    }

    /// A request, to be given headers and a body and then to be [sent](Self::send).
    pub(super) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.client.request(method, url)
    }

    /// Sends a request within `timeout`, and gives the answer if it is a good one.
    pub(super) fn send(
        &self,
        request: RequestBuilder,
        timeout: Duration,
    ) -> Result<Response, SendError> {
        self.exchange(request, timeout)?.accepted()
    }

    /// Sends a request within `timeout`, and gives the answer whatever its status.
    pub(super) fn exchange(
        &self,
        request: RequestBuilder,
        timeout: Duration,
    ) -> Result<Response, SendError> {
        let began = self.clock.mono();
        let request = request
            .timeout(timeout)
            .build()
            .map_err(|error| SendError::Never {
                reason: format!("not a request: {}", chain(&error.without_url())),
            })?;
        let to = Place(request.url().clone());
        let later = |what: &dyn fmt::Display| SendError::Later {
            reason: format!("{to}: {what}"),
            after: None,
        };
        let mut answer = self
            .client
            .execute(request)
            .map_err(|error| later(&chain(&error.without_url())))?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        self.clock.refresh(self.clock.mono());
        let retry_after = retry_after(&headers, self.clock.now().wall);
        let mut body = Vec::new();
        let mut piece = [0; READ_BYTES];
        let mut rest = (&mut answer).take(HTTP_ANSWER_BYTES_MAX);
        loop {
            match rest.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => body.extend_from_slice(&piece[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The status says enough of what was refused.
                Err(_) if !status.is_success() => break,
                Err(error) => return Err(later(&chain(&error))),
            }
            // Each read has the time that all of it should take.
            if Duration::from_nanos(self.clock.mono().since(began)) > timeout {
                return Err(later(&"the answer takes too long"));
            }
        }
        Ok(Response {
            status,
            headers,
            body,
            retry_after,
            from: to,
        })
    }
}

/// What becomes of records that a server did not take; see [`SendError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Later,
    Barred,
    Never,
}

/// What a server said.
#[derive(Debug)]
pub(super) struct Response {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    retry_after: Option<Duration>,
    from: Place,
}

impl Response {
    /// The status.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// A header, if it is there and is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body, or its first [`HTTP_ANSWER_BYTES_MAX`] bytes, as text.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The answer if it is a success; else why not: [`SendError::Later`] for what the server may
    /// take another time (408, 425, 429 and its own failures), [`SendError::Barred`] for what it
    /// says of who asks and where (redirections, 401 to 405, 407, 410, 421), and
    /// [`SendError::Never`] for the rest, which is about what was sent.
    pub(super) fn accepted(self) -> Result<Self, SendError> {
        if self.status.is_success() {
            return Ok(self);
        }
        let verdict = if is_passing(self.status) {
            Verdict::Later
        } else if is_barring(self.status) {
            Verdict::Barred
        } else {
            Verdict::Never
        };
        Err(self.error(verdict, ""))
    }

    /// The failure that this answer is by `verdict`, whatever the status. `hint` says what would be
    /// right, if that is known.
    pub(super) fn error(&self, verdict: Verdict, hint: &str) -> SendError {
        let mut reason = self.reason();
        if !hint.is_empty() {
            reason.push_str("; ");
            reason.push_str(hint);
        }
        match verdict {
            Verdict::Later => SendError::Later {
                reason,
                after: self.retry_after,
            },
            Verdict::Barred => SendError::Barred { reason },
            Verdict::Never => SendError::Never { reason },
        }
    }

    /// The server, the status and the first line of the body.
    fn reason(&self) -> String {
        let mut reason = format!("{}: {}", self.from, self.status);
        if self.status.is_redirection()
            && let Some(to) = self.header(LOCATION.as_str())
        {
            let to = match Url::parse(to) {
                Ok(to) => Place(to).to_string(),
                Err(_) => to.split('?').next().unwrap_or_default().to_owned(),
            };
            reason.push_str(", it has moved to ");
            reason.push_str(&to);
            reason.push_str("; configure that");
        }
        let text = self.text();
        let line = text.lines().map(str::trim).find(|line| !line.is_empty());
        if let Some(line) = line {
            reason.push_str(": ");
            let fits = |(at, letter): &(usize, char)| at + letter.len_utf8() <= REASON_BYTES_MAX;
            reason.extend(
                line.char_indices()
                    .take_while(fits)
                    .map(|(_, letter)| if letter.is_control() { ' ' } else { letter }),
            );
        }
        reason
    }
}

/// A URL as it may be logged: without user, password and query, any of which may be secret.
#[derive(Debug)]
struct Place(Url);

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.0.host_str().unwrap_or_default();
        write!(out, "{}://{host}", self.0.scheme())?;
        if let Some(port) = self.0.port() {
            write!(out, ":{port}")?;
        }
        out.write_str(self.0.path())
    }
}

/// Whether the same request may be taken another time.
fn is_passing(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        )
}

/// Whether any other request would be refused too: this is not the place, or we are not let in.
fn is_barring(status: StatusCode) -> bool {
    status.is_redirection()
        || matches!(
            status,
            StatusCode::UNAUTHORIZED
                | StatusCode::PAYMENT_REQUIRED
                | StatusCode::FORBIDDEN
                | StatusCode::NOT_FOUND
                | StatusCode::METHOD_NOT_ALLOWED
                | StatusCode::PROXY_AUTHENTICATION_REQUIRED
                | StatusCode::GONE
                | StatusCode::MISDIRECTED_REQUEST
        )
}

/// `Retry-After`: seconds, or a date, which is compared with the server's own clock if it says it.
fn retry_after(headers: &HeaderMap, now: Wall) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = date::parse(text)?;
    let servers = headers.get(DATE).and_then(|date| date.to_str().ok());
    let now = servers
        .and_then(date::parse)
        .unwrap_or_else(|| now.as_unix_nanos() / 1_000_000_000);
    Some(Duration::from_secs(
        u64::try_from(at.saturating_sub(now)).unwrap_or(0),
    ))
}

/// An error and what caused it: of "error sending request" alone nobody learns anything.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
