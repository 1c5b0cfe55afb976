//! What the `otlp` backend can be told.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::publish::exponential::Scale;
use crate::publish::{BaseUrl, Secret};

/// Where to send, as whom, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpSettings {
    /// What `/v1/metrics` and `/v1/logs` are appended to.
    pub endpoint: BaseUrl,
    /// Headers of each request.
    pub headers: Headers,
    /// Attributes of the resource, beside our own or in their place.
    pub resource: Resource,
    /// What counts and histograms count.
    pub temporality: Temporality,
    /// The scale of histograms, unless they would have too many buckets.
    pub scale: Scale,
    /// The most buckets on one side of zero.
    pub max_buckets: usize,
    /// Certificates in PEM that are trusted beside those of the system.
    pub ca_file: Option<PathBuf>,
}

/// What counts and histograms count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temporality {
    /// What an interval added.
    Delta,
    /// All since the series began in this process.
    Cumulative,
}

/// Headers that HTTP itself, or we, give.
const OURS: [&str; 6] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
];

/// Headers of requests, a line for each: `name: value`. They may hold a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Secret);

impl Headers {
    /// Parses lines of headers.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::of(&Secret::parse_lines(text)?)
    }

    /// The headers that a secret has.
    pub fn of(secret: &Secret) -> Result<Self, String> {
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        for line in secret
            .as_str()
            .lines()
            .filter(|line| !line.trim().is_empty())
        {
            let Some((name, value)) = line.split_once(':') else {
                return Err("must have a line for each header, as `name: value`".to_owned());
            };
            let (name, value) = (name.trim(), value.trim());
            if name.is_empty() || !name.bytes().all(is_token) {
                return Err(format!("must name headers, and {name:?} is no name of one"));
            }
            if OURS.iter().any(|ours| ours.eq_ignore_ascii_case(name)) {
                return Err(format!("must not have {name}, which is ours to give"));
            }
            if value.is_empty() {
                return Err(format!("must have a value for {name}"));
            }
        }
        Ok(Self(secret.clone()))
    }

    /// The lines of a table of headers.
    pub(crate) fn lines(table: &BTreeMap<String, String>) -> Result<String, String> {
        let mut lines = String::new();
        for (name, value) in table {
            if value.chars().any(char::is_control) || name.contains(':') {
                return Err(format!(
                    "must name headers of one line, and {name:?} is none"
                ));
            }
            lines.extend([name, ": ", value, "\n"]);
        }
        Ok(lines)
    }

    /// The names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let lines = self.0.as_str().lines();
        lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim(), value.trim()))
    }

    /// Reads them again from their file, if they have one. True if there are new ones.
    #[cfg(feature = "http-backends")]
    pub(super) fn renew(&mut self) -> Option<bool> {
        let mut secret = self.0.clone();
        let renewed = secret.renew()?.then(|| Self::of(&secret).ok()).flatten();
        let is_new = renewed.is_some();
        *self = renewed.unwrap_or_else(|| self.clone());
        Some(is_new)
    }
}

/// Attributes of the resource: what a receiver knows this daemon by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource(BTreeMap<String, String>);

impl Resource {
    /// Parses a table of attributes.
    pub fn parse(table: BTreeMap<String, String>) -> Result<Self, String> {
        if table.keys().any(String::is_empty) {
            return Err("must name attributes, and \"\" is no name".to_owned());
        }
        Ok(Self(table))
    }

    /// The names and values of these and of our own attributes; one with an empty value is left out.
    pub(super) fn of_host(&self, name: &str) -> BTreeMap<String, String> {
        let ours = [
            ("service.name", "latency-monitor"),
            ("service.version", env!("CARGO_PKG_VERSION")),
            ("service.instance.id", name),
            ("host.name", name),
        ];
        let ours = ours.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut all = BTreeMap::from(ours);
        all.extend(self.0.clone());
        all.retain(|_, value| !value.is_empty());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_lines_and_none_of_ours() {
        let headers = Headers::parse("Authorization: Bearer a:b\n\nx-scope: 7\r\n").unwrap();
        let pairs: Vec<_> = headers.iter().collect();
        assert_eq!(pairs, [("Authorization", "Bearer a:b"), ("x-scope", "7")]);
        assert_eq!(format!("{headers:?}"), "Headers((secret))");
        for wrong in ["x", ": y", "a b: y", "x:", "Content-Type: y", "x: \u{1}"] {
            assert!(Headers::parse(wrong).is_err(), "{wrong:?}");
        }
        let table = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        assert_eq!(Headers::lines(&table("x", "y")).unwrap(), "x: y\n");
        for wrong in [table("x: y\nz", "y"), table("x", "y\nz: 1")] {
            assert!(Headers::lines(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_resource_has_our_attributes_unless_told_otherwise() {
        let given = [("service.name", "wan"), ("host.name", ""), ("site", "fra")];
        let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let resource = Resource::parse(BTreeMap::from(given)).unwrap().of_host("a");
        let names: Vec<_> = resource.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "service.instance.id",
                "service.name",
                "service.version",
                "site"
            ]
        );
        assert_eq!(resource["service.name"], "wan");
        assert!(Resource::parse(BTreeMap::from([(String::new(), "x".to_owned())])).is_err());
    }
}
