//! Where requests go, as it is configured; and why that, or another setting, cannot be.

use reqwest::Url;

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

/// What all of a backend's URLs begin with. The scheme may be missing, and is `http` then.
#[derive(Debug)]
pub struct Base {
    given: String,
    /// Without a final slash.
    text: String,
}

impl Base {
    /// The address as it is configured: a host, perhaps with a port, or a URL without a query.
    pub fn parse(given: &str) -> Result<Self, SetupError> {
        let mut text = given.trim().to_owned();
        if !text.contains("://") {
            text.insert_str(0, "http://");
        }
        let base = Self {
            given: masked(given),
            text: text.trim_end_matches('/').to_owned(),
        };
        let url = base.join("")?;
        if !["http", "https"].contains(&url.scheme()) {
            return Err(base.wrong(format!("its scheme is {}", url.scheme())));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(base.wrong("it has a query or a fragment".to_owned()));
        }
        Ok(base)
    }

    /// The same without this at its end, if it ends so.
    #[must_use]
    pub fn without(mut self, end: &str) -> Self {
        if let Some(rest) = self.text.strip_suffix(end) {
            self.text.truncate(rest.len());
        }
        self
    }

    /// The URL of a path, which begins with a slash, under it.
    pub fn join(&self, path: &str) -> Result<Url, SetupError> {
        Url::parse(&format!("{}{path}", self.text)).map_err(|error| self.wrong(error.to_string()))
    }

    fn wrong(&self, reason: String) -> SetupError {
        SetupError::Address {
            given: self.given.clone(),
            reason,
        }
    }
}

/// An address without the secret that may stand in it before the host, whatever else is wrong with it: what a
/// password may not have is not relied upon, since this is printed to find mistakes.
pub fn masked(address: &str) -> String {
    let begin = address.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = address.split_at(begin);
    let Some((identity, host)) = rest.rsplit_once('@') else {
        return address.to_owned();
    };
    match identity.split_once(':') {
        Some((user, _)) => format!("{scheme}{user}:(secret)@{host}"),
        // In a path it is a letter like others.
        None if identity.contains('/') => address.to_owned(),
        None => format!("{scheme}(secret)@{host}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_lack_its_scheme_but_not_be_nonsense() {
        let joined = |given| Some(Base::parse(given).ok()?.join("/in").ok()?.to_string());
        assert_eq!(joined("gw:9091").as_deref(), Some("http://gw:9091/in"));
        assert_eq!(
            joined("[::1]:9091/").as_deref(),
            Some("http://[::1]:9091/in")
        );
        assert_eq!(
            joined("https://gw/pg/").as_deref(),
            Some("https://gw/pg/in")
        );
        for wrong in ["", "ftp://gw", "http://", "gw:port", "http://gw?x=1"] {
            assert_eq!(joined(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn messages_show_no_password() {
        for (url, expected) in [
            ("https://me:p@ss@gw:1/x", "https://me:(secret)@gw:1/x"),
            ("me:pass@gw", "me:(secret)@gw"),
            ("https://token@gw", "https://(secret)@gw"),
            ("https://gw/x@y", "https://gw/x@y"),
            ("http://[::1]:9091", "http://[::1]:9091"),
        ] {
            assert_eq!(masked(url), expected);
        }
        let error = Base::parse("ftp://me:pass@gw").unwrap_err().to_string();
        assert!(!error.contains("pass"), "{error}");
    }
}
