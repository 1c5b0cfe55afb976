//! What the `datadog` backend can be told.

use std::path::PathBuf;

use crate::proto::Host;
use crate::publish::{BaseUrl, Secret};

/// Which intake is sent to, and the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatadogSettings {
    /// The key.
    pub api_key: ApiKey,
    /// The site.
    pub site: Site,
    /// Certificates in PEM that are trusted beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// What is asked instead of the site's API: a proxy, or a test.
    pub url: Option<BaseUrl>,
}

impl DatadogSettings {
    /// Settings with this key, and the default site.
    pub fn new(api_key: ApiKey) -> Self {
        Self {
            api_key,
            site: Site::default(),
            ca_file: None,
            url: None,
        }
    }

    /// What all URLs of the intake begin with.
    pub(crate) fn base(&self) -> &BaseUrl {
        self.url.as_ref().unwrap_or(&self.site.api)
    }
}

/// An API key, which is not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey(Secret);

impl ApiKey {
    /// Parses a key; spaces and newlines around it are no part of it.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::of(&Secret::parse(text.trim())?)
    }

    /// The key that a secret has, spaces around it left out.
    pub fn of(secret: &Secret) -> Result<Self, String> {
        let key = secret.as_str().trim();
        let is_plain = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        if key.is_empty() || !key.bytes().all(is_plain) {
            return Err("must be a key of letters, digits and signs".to_owned());
        }
        Ok(Self(secret.with_text(key)))
    }

    /// Reads it again from its file, if it has one. True if there is a new one.
    pub(super) fn renew(&mut self) -> Option<bool> {
        let mut secret = self.0.clone();
        let renewed = secret.renew()?.then(|| Self::of(&secret).ok()).flatten();
        let is_new = renewed.is_some();
        *self = renewed.unwrap_or_else(|| self.clone());
        Some(is_new)
    }

    /// The key as a secret.
    pub fn secret(&self) -> &Secret {
        &self.0
    }
}

/// A site of Datadog, such as `datadoghq.com` or `datadoghq.eu`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    name: String,
    api: BaseUrl,
}

impl Site {
    /// The site of this name. An error if no URL can have it.
    pub fn new(name: &Host) -> Result<Self, String> {
        let name = name.to_string();
        let api = BaseUrl::parse_url(&format!("https://api.{name}"))?;
        Ok(Self { name, api })
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_no_space_around_it_and_can_stand_in_a_header() {
        for wrong in ["", " \n", "two\twords", "\u{e9}", "a\0"] {
            assert!(ApiKey::parse(wrong).is_err(), "{wrong:?}");
        }
        let key = ApiKey::parse(" secret\n").unwrap();
        assert_eq!(key.secret().as_str(), "secret");
        assert_eq!(format!("{key:?}"), "ApiKey((secret))");
    }

    #[test]
    fn a_site_is_the_name_of_a_host() {
        let site = |name: &str| Site::new(&Host::Name(name.into()));
        let settings = DatadogSettings {
            site: site("datadoghq.eu").unwrap(),
            ..DatadogSettings::new(ApiKey::parse("k").unwrap())
        };
        let url = settings.base().join(["api"]);
        assert_eq!(url.as_str(), "https://api.datadoghq.eu/api");
        assert!(site("data doghq").unwrap_err().contains("data doghq"));
    }
}
