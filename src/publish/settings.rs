//! Types of which the settings of backends are made. Each is parsed once, from what was written;
//! the error goes on from the name of the key: what the value must be, and what it is.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use url::Url;

use crate::limits::SECRET_BYTES_MAX;
use crate::proto::Host;

/// A text that no message shows. An HTTP header can carry it. It may be empty.
#[derive(Clone, Default)]
pub struct Secret {
    text: String,
    /// Where it stands, so that it can be read again.
    file: Option<PathBuf>,
    /// It may have several lines, each of which a header can carry.
    has_lines: bool,
}

impl Secret {
    /// Parses a password. An error if it has a control character other than a tab.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::new(text, false)
    }

    /// Parses a text of several lines. An error if one has a control character other than a tab.
    pub fn parse_lines(text: &str) -> Result<Self, String> {
        Self::new(text, true)
    }

    fn new(text: &str, has_lines: bool) -> Result<Self, String> {
        let ends_line = |byte: u8| has_lines && [b'\n', b'\r'].contains(&byte);
        let is_plain = |byte: u8| byte == b'\t' || ends_line(byte) || !byte.is_ascii_control();
        if !text.bytes().all(is_plain) {
            return Err("must have no control characters".to_owned());
        }
        Ok(Self {
            text: text.to_owned(),
            file: None,
            has_lines,
        })
    }

    /// The same, read again from this file whenever it is used.
    #[must_use]
    pub fn of_file(self, file: &Path) -> Self {
        let file = Some(file.to_owned());
        Self { file, ..self }
    }

    /// The same with another text.
    pub(super) fn with_text(&self, text: &str) -> Self {
        let text = text.to_owned();
        Self {
            text,
            ..self.clone()
        }
    }

    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Reads it again from its file, if it has one. True if it can be read, is not empty, and is
    /// another one than before.
    pub(super) fn renew(&mut self) -> Option<bool> {
        let read = read_secret(self.file.as_deref()?).unwrap_or_default();
        let text = read.trim_end_matches(['\r', '\n']);
        let is_new =
            !text.is_empty() && text != self.text && Self::new(text, self.has_lines).is_ok();
        if is_new {
            text.clone_into(&mut self.text);
        }
        Some(is_new)
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Secret {}

/// Reads the file of a secret, which has at most [`SECRET_BYTES_MAX`] bytes.
pub fn read_secret(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = File::open(path)?;
    file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > SECRET_BYTES_MAX {
        let text = format!("it has more than {SECRET_BYTES_MAX} bytes");
        return Err(io::Error::other(text));
    }
    Ok(text)
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.text.is_empty() {
            "(none)"
        } else {
            "(secret)"
        })
    }
}

/// A name that is not empty and has no control characters. An HTTP header can carry it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// Parses a name.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(format!("must be a name, not {text:?}"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An http or https URL that paths are appended to. Shown without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct BaseUrl {
    given: String,
    url: Url,
}

impl BaseUrl {
    /// Parses `host:port`, which is asked over http, or a URL.
    pub fn parse(given: &str) -> Result<Self, String> {
        let scheme = if given.contains("://") { "" } else { "http://" };
        Self::new(given, scheme, "host:port or an http or https URL")
    }

    /// Parses a URL, scheme included.
    pub fn parse_url(given: &str) -> Result<Self, String> {
        let wanted = "an http or https URL";
        if !given.contains("://") {
            return Err(wrong(given, wanted, ""));
        }
        Self::new(given, "", wanted)
    }

    /// The root of a host's HTTP interface. An error if no URL can have such a host.
    pub fn of_host(is_secure: bool, host: &Host, port: u16) -> Result<Self, String> {
        let scheme = if is_secure { "https" } else { "http" };
        let host = match host {
            Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
            other => other.to_string(),
        };
        let wanted = "an IP address or a host name, without a port";
        url::Host::parse(&host).map_err(|error| wrong(&host, wanted, &why_not(&host, error)))?;
        Self::parse_url(&format!("{scheme}://{host}:{port}"))
    }

    fn new(given: &str, scheme: &str, wanted: &str) -> Result<Self, String> {
        let text = format!("{scheme}{}", given.trim_end_matches('/'));
        let url =
            Url::parse(&text).map_err(|error| wrong(given, wanted, &why_not(given, error)))?;
        // The parser leaves such characters out.
        let is_plain = !given.chars().any(|c| c.is_whitespace() || c.is_control());
        if !["http", "https"].contains(&url.scheme()) || !is_plain {
            return Err(wrong(given, wanted, ""));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong(given, wanted, "it has a query or a fragment"));
        }
        if let Some(url::Host::Ipv6(ip)) = url.host()
            && ip.is_unicast_link_local()
        {
            return Err(wrong(given, wanted, NO_INTERFACE));
        }
        Ok(Self {
            given: given.to_owned(),
            url,
        })
    }

    /// True if it is asked over TLS.
    #[cfg(feature = "http-backends")]
    pub(super) fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// The URL of a path below it, given as the parts between its slashes.
    pub fn join<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.url.clone();
        url.path_segments_mut()
            .expect("an http URL has a path")
            .pop_if_empty()
            .extend(path);
        url
    }

    /// The same without the last part of its path, if that is `end`.
    #[must_use]
    pub fn without(mut self, end: &str) -> Self {
        let mut parts = self.url.path_segments().into_iter().flatten();
        if parts.next_back() == Some(end) {
            self.url
                .path_segments_mut()
                .expect("an http URL has a path")
                .pop();
        }
        self
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&masked(&self.given))
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// Why no link-local address can be asked: it needs its interface.
const NO_INTERFACE: &str =
    "a URL cannot name the interface of a link-local address: give another address, or a name";

/// Says what is wrong with the host or the URL that cannot be read.
fn why_not(given: &str, error: url::ParseError) -> String {
    if given.to_ascii_lowercase().contains("fe80:") {
        return NO_INTERFACE.to_owned();
    }
    error.to_string()
}

fn wrong(given: &str, wanted: &str, why: &str) -> String {
    let why = match why {
        "" => String::new(),
        why => format!(" ({why})"),
    };
    format!("must be {wanted}, not {:?}{why}", masked(given))
}

/// Hides the secret that may stand before the host. It trusts nothing about what is around it, since this is
/// printed to find mistakes: a password may have characters that no URL has.
fn masked(address: &str) -> String {
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
    fn a_url_may_lack_its_scheme_but_not_be_nonsense() {
        let joined = |given| Some(BaseUrl::parse(given).ok()?.join(["in"]).to_string());
        assert_eq!(joined("gw:9091").as_deref(), Some("http://gw:9091/in"));
        assert_eq!(
            joined("[::1]:9091/").as_deref(),
            Some("http://[::1]:9091/in")
        );
        assert_eq!(
            joined("https://gw/pg/").as_deref(),
            Some("https://gw/pg/in")
        );
        for wrong in [
            "",
            "ftp://gw",
            "http://",
            "gw:port",
            "http://gw?x=1",
            "g w",
            ":1",
        ] {
            assert_eq!(joined(wrong), None, "{wrong}");
        }
        assert!(BaseUrl::parse_url("gw:9091").is_err());
        let error = BaseUrl::parse("gw:port").unwrap_err();
        let wanted =
            "must be host:port or an http or https URL, not \"gw:port\" (invalid port number)";
        assert_eq!(error, wanted);
    }

    #[test]
    fn a_host_with_its_port_is_a_url() {
        let url =
            |host| BaseUrl::of_host(true, &host, 8443).map(|base| base.join([""]).to_string());
        let address = |text: &str| Host::Address(text.parse().unwrap());
        assert_eq!(url(address("::1")).unwrap(), "https://[::1]:8443/");
        assert_eq!(
            url(address("192.0.2.1")).unwrap(),
            "https://192.0.2.1:8443/"
        );
        assert_eq!(
            url(Host::Name("click.example".into())).unwrap(),
            "https://click.example:8443/"
        );
        let error = url(Host::Name("a.1".into())).unwrap_err();
        let wanted = "must be an IP address or a host name, without a port, not \"a.1\"";
        assert!(error.starts_with(wanted), "{error}");
    }

    #[test]
    fn a_link_local_address_is_refused_with_its_interface_and_without() {
        for given in [
            "http://[fe80::2]:9091",
            "[fe80::2%eth0]:9091",
            "http://[FE80::2%25eth0]",
        ] {
            let error = BaseUrl::parse(given).unwrap_err();
            assert!(error.contains(NO_INTERFACE), "{error}");
        }
        let host = Host::Name("fe80::2%eth0".into());
        let error = BaseUrl::of_host(false, &host, 8123).unwrap_err();
        assert!(error.contains(NO_INTERFACE), "{error}");
    }

    #[test]
    fn messages_show_no_secret() {
        for (url, expected) in [
            ("https://me:p@ss@gw:1/x", "https://me:(secret)@gw:1/x"),
            ("me:pass@gw", "me:(secret)@gw"),
            ("https://token@gw", "https://(secret)@gw"),
            ("https://gw/x@y", "https://gw/x@y"),
            ("http://[::1]:9091", "http://[::1]:9091"),
        ] {
            assert_eq!(masked(url), expected);
        }
        let error = BaseUrl::parse("ftp://me:pass@gw").unwrap_err();
        assert!(!error.contains("pass"), "{error}");
        let shown = format!("{:?}", BaseUrl::parse("http://me:pass@gw").unwrap());
        assert_eq!(shown, "http://me:(secret)@gw");
        assert!(Secret::parse("two\nlines").is_err() && Secret::parse("\u{e9} \t").is_ok());
    }
}
