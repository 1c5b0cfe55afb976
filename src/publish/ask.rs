//! Asks a running daemon over its HTTP face, by an address or over its Unix socket.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderValue};

use crate::limits::REASON_BYTES_MAX;
use crate::publish::BaseUrl;
use crate::publish::http::Http;

/// Bytes of a reason, and of a word on its health.
const LIMIT: u64 = REASON_BYTES_MAX as u64;

/// Who asks. What is asked and answered is the caller's.
#[derive(Debug)]
pub(crate) struct Asker {
    http: Http,
    base: BaseUrl,
    /// `Bearer` and the token, where one is needed.
    token: Option<HeaderValue>,
}

impl Asker {
    /// Asks a daemon at a URL, whose certificate one of the system or of `ca_file` stands for.
    pub(crate) fn of_url(base: BaseUrl, ca_file: Option<PathBuf>) -> Self {
        Self {
            http: Http::new(ca_file),
            base,
            token: None,
        }
    }

    /// Asks a daemon that listens on this Unix socket; `None` where there are none.
    pub(crate) fn of_socket(path: PathBuf) -> Option<Self> {
        // The name goes into the header `Host` only.
        let base = BaseUrl::parse_url("http://localhost").ok()?;
        Some(Self {
            http: Http::over_socket(path)?,
            base,
            token: None,
        })
    }

    /// Has every request carry this token.
    pub(crate) fn with_token(mut self, token: &str) -> Result<Self, String> {
        let value = HeaderValue::from_str(&format!("Bearer {}", token.trim()));
        let mut value = value.map_err(|_| "the token is none: it has control characters")?;
        value.set_sensitive(true);
        self.token = Some(value);
        Ok(self)
    }

    /// Begins to read what is below `/api/v1`, with this query. Every part of it must come within `timeout`. The error
    /// says why there is nothing to read.
    pub(crate) fn open(
        &self,
        name: &str,
        query: Option<&str>,
        timeout: Duration,
    ) -> Result<impl Read + use<>, String> {
        self.get(&["api", "v1", name], query, timeout)
    }

    /// Reads the first [`REASON_BYTES_MAX`] bytes of what is at a path. The error says why there is nothing to read, or
    /// has what was said instead.
    pub(crate) fn ask(&self, path: &str, timeout: Duration) -> Result<String, String> {
        let answer = self.get(&[path], None, timeout)?;
        let mut said = Vec::new();
        let read = answer.take(LIMIT).read_to_end(&mut said);
        read.map_err(|error| error.to_string())?;
        Ok(String::from_utf8_lossy(&said).into_owned())
    }

    fn get(
        &self,
        path: &[&str],
        query: Option<&str>,
        timeout: Duration,
    ) -> Result<impl Read + use<>, String> {
        let mut url = self.base.join(path.iter().copied());
        url.set_query(query);
        let request = self.http.request(Method::GET, url);
        let mut request = request.map_err(|error| error.reason)?;
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        let answer = self.http.open(request, timeout);
        let answer = answer.map_err(|error| error.reason)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let mut said = Vec::new();
        // A refusal needs no body: the status says enough.
        let _ = answer.take(LIMIT).read_to_end(&mut said);
        let said = String::from_utf8_lossy(&said);
        Err(format!("HTTP {status}: {}", said.trim()))
    }
}
