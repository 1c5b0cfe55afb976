//! The HTTP client of the backends: requests with a deadline, and answers sorted by what becomes
//! of the records that were sent.
//!
//! The client must not be made inside an asynchronous runtime. No thread of this program is in
//! one.

#[cfg(test)]
mod tests;
mod tls;

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::blocking::{Client, RequestBuilder, Response as Answer};
use reqwest::header::{DATE, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Method, StatusCode, Url};

use crate::clock::Clock;
use crate::limits::{HTTP_ANSWER_BYTES_MAX, REASON_BYTES_MAX};
use crate::publish::{BaseUrl, SendError, Verdict};

/// The time to make a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The time that an unused connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// Bytes of an answer that are read at once.
const READ_BYTES: usize = 8 * 1024;

/// The name of this program in requests.
const USER_AGENT: &str = concat!("latency-monitor/", env!("CARGO_PKG_VERSION"));

/// Why a backend that sends over HTTP cannot begin: the system refused what sending needs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot prepare to send: {0}")]
pub struct SetupError(pub(super) String);

/// The client of one backend. It keeps its connections, and follows no redirect: a request that
/// carries records or a key goes only to the configured place.
#[derive(Debug)]
pub(super) struct Http {
    /// `None` until it is needed, and after a failure, so that certificates are read again.
    client: RefCell<Option<Client>>,
    ca_file: Option<PathBuf>,
    /// The Unix socket that every request goes over, whatever its URL.
    socket: Option<PathBuf>,
    clock: Clock,
}

impl Http {
    /// Makes a client that trusts the certificates of the system and of this file.
    pub(super) fn new(ca_file: Option<PathBuf>) -> Self {
        Self {
            client: RefCell::default(),
            ca_file,
            socket: None,
            clock: Clock::new(),
        }
    }

    /// Makes a client whose requests go over a Unix socket; `None` where there are none.
    pub(super) fn over_socket(path: PathBuf) -> Option<Self> {
        cfg!(unix).then(|| Self {
            socket: Some(path),
            ..Self::new(None)
        })
    }

    /// Begins a request. Give it headers and a body, then [send](Self::send) it. Where there is
    /// nothing to trust that HTTPS needs, the error says what is missing.
    pub(super) fn request(&self, method: Method, url: Url) -> Result<RequestBuilder, SendError> {
        Ok(self.client(&url)?.request(method, url))
    }

    fn client(&self, url: &Url) -> Result<Client, SendError> {
        if let Some(client) = &*self.client.borrow() {
            return Ok(client.clone());
        }
        let missing = |reason: String| {
            SendError::new(Verdict::Barred, format!("{}: {reason}", Place(url.clone())))
        };
        let tls = if url.scheme() == "https" {
            tls::client(tls::of_the_system(), self.ca_file.as_deref()).map_err(missing)?
        } else {
            tls::none()
        };
        let builder = Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .redirect(Policy::none())
            .tls_backend_preconfigured(tls);
        #[cfg(unix)]
        let builder = match &self.socket {
            Some(path) => builder.unix_socket(path.as_path()),
            None => builder,
        };
        let client = builder.build().map_err(|error| missing(chain(&error)))?;
        *self.client.borrow_mut() = Some(client.clone());
        Ok(client)
    }

    /// Sends a request within `timeout`. Returns the answer if its status is a success.
    pub(super) fn send(
        &self,
        request: RequestBuilder,
        timeout: Duration,
    ) -> Result<Response, SendError> {
        self.exchange(request, timeout)?.accepted()
    }

    /// Sends a request within `timeout`. Returns the answer, whatever its status.
    pub(super) fn exchange(
        &self,
        request: RequestBuilder,
        timeout: Duration,
    ) -> Result<Response, SendError> {
        self.exchange_up_to(request, timeout, HTTP_ANSWER_BYTES_MAX)
    }

    /// The same with so many bytes of the body at most.
    pub(super) fn exchange_up_to(
        &self,
        request: RequestBuilder,
        timeout: Duration,
        bytes_max: u64,
    ) -> Result<Response, SendError> {
        let began = self.clock.mono();
        let mut answer = self.open(request, timeout)?;
        let to = Place(answer.url().clone());
        let later =
            |what: &dyn fmt::Display| SendError::new(Verdict::Later, format!("{to}: {what}"));
        let (status, headers) = (answer.status(), answer.headers().clone());
        let retry_after = retry_after(&headers);
        let mut body = Vec::new();
        let mut piece = [0; READ_BYTES];
        let mut rest = (&mut answer).take(bytes_max);
        loop {
            match rest.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => body.extend_from_slice(&piece[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A refusal needs no body: the status says enough.
                Err(_) if !status.is_success() => break,
                Err(error) => return Err(later(&chain(&error))),
            }
            // The client grants each read the whole timeout, so the sum is checked here.
            if Duration::from_nanos(self.clock.mono_for_sure().since(began)) > timeout {
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

    /// Sends a request, and returns the answer once its head is there, whatever its status. `timeout` is for that, and
    /// again for each read of the body.
    pub(super) fn open(
        &self,
        request: RequestBuilder,
        timeout: Duration,
    ) -> Result<Answer, SendError> {
        let request = request.timeout(timeout).build().map_err(|error| {
            let fault = chain(&error.without_url());
            SendError::new(Verdict::Never, format!("not a request: {fault}"))
        })?;
        let to = Place(request.url().clone());
        let client = self.client(request.url())?;
        client.execute(request).map_err(|error| {
            // The server's certificate may be new, and its issuer's as well.
            self.client.take();
            let mut what = chain(&error.without_url());
            if what.contains("certificate") {
                what.push_str("; name it, or its issuer's, with `ca_file`");
            }
            SendError::new(Verdict::Later, format!("{to}: {what}"))
        })
    }
}

/// Says what is missing or wrong of the certificates that a backend at `base` trusts, if anything is.
pub(crate) fn look_at_certificates(base: &BaseUrl, ca_file: Option<&Path>) -> Option<String> {
    if base.is_https() {
        return tls::client(tls::of_the_system(), ca_file).err();
    }
    tls::read(ca_file?).err()
}

/// The answer of a server.
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

    /// The body as text, if it is UTF-8.
    pub(super) fn into_text(self) -> Option<String> {
        String::from_utf8(self.body).ok()
    }

    /// The body, or its first [`HTTP_ANSWER_BYTES_MAX`] bytes, as text.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Returns the answer if it is a success. Else the error is by its status:
    /// [`Verdict::Later`] for 408, 425, 429 and 5xx; [`Verdict::Barred`] for redirections, 401 to
    /// 405, 407, 410 and 421; [`Verdict::Never`] for all others, which are about what was sent.
    pub(super) fn accepted(self) -> Result<Self, SendError> {
        if self.status.is_success() {
            return Ok(self);
        }
        let verdict = match self.status.as_u16() {
            408 | 425 | 429 | 500..=599 => Verdict::Later,
            // This is not the place, or we are not let in: any other request would be refused too.
            300..=399 | 401..=405 | 407 | 410 | 421 => Verdict::Barred,
            _ => Verdict::Never,
        };
        Err(self.error(verdict, ""))
    }

    /// Makes the error that `verdict` means, whatever the status. `hint` says what would be
    /// right, if that is known.
    pub(super) fn error(&self, verdict: Verdict, hint: &str) -> SendError {
        let mut reason = self.reason();
        if !hint.is_empty() {
            reason.push_str("; ");
            reason.push_str(hint);
        }
        SendError {
            verdict,
            reason,
            after: self.retry_after,
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

/// A URL without user, password and query, which may be secret: for logs.
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

/// Reads `Retry-After`: seconds, or a date. A date is compared with the clock of the server that wrote it, so an
/// answer without its `Date` asks for no time: our clock may be another one.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| Some(headers.get(name)?.to_str().ok()?.trim());
    let wish = text(RETRY_AFTER)?;
    if let Ok(seconds) = wish.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text| httpdate::parse_http_date(text).ok();
    let asked = date(wish)?.duration_since(date(text(DATE)?)?);
    Some(asked.unwrap_or_default())
}

/// Returns an error with its causes: "error sending request" alone says too little.
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
