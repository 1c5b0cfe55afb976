//! Reads a document over HTTP, with the client of the backends.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, Url};

use crate::publish::http::Http;

/// Reads one document again and again.
#[derive(Debug)]
pub(crate) struct Fetch {
    http: Http,
    url: Url,
}

impl Fetch {
    /// The document at a URL, from a server that certificates of the system or of `ca_file` stand for.
    pub(crate) fn new(url: Url, ca_file: Option<PathBuf>) -> Self {
        Self {
            http: Http::new(ca_file),
            url,
        }
    }

    /// Asks for it with these headers. Returns it as text, or why there is none: no answer within `timeout`, an answer
    /// that is no success, or one of more than `bytes_max`.
    pub(crate) fn get(
        &self,
        headers: &[[String; 2]],
        timeout: Duration,
        bytes_max: u64,
    ) -> Result<String, String> {
        let request = self.http.request(Method::GET, self.url.clone());
        let mut request = request.map_err(|error| error.reason)?;
        for [name, value] in headers {
            let name: HeaderName = name
                .parse()
                .map_err(|_| format!("{name:?} is no name of a header"))?;
            // The value may be a secret.
            let mut held: HeaderValue = value
                .parse()
                .map_err(|_| format!("the value of the header `{name}` is none"))?;
            held.set_sensitive(true);
            request = request.header(name, held);
        }
        // One more tells that there is more.
        let answer = self.http.exchange_up_to(request, timeout, bytes_max + 1);
        let answer = answer.and_then(super::http::Response::accepted);
        let text = answer.map_err(|error| error.reason)?.into_text();
        match text {
            Some(text) if text.len() as u64 > bytes_max => {
                Err(format!("the answer has more than {bytes_max} bytes"))
            }
            Some(text) => Ok(text),
            None => Err("the answer is no UTF-8".to_owned()),
        }
    }
}
