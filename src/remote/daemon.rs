//! Which daemon is looked at, and how it is reached.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::config::{Config, ConfigError, Overrides};
use crate::publish::{Asker, BaseUrl, read_secret};
use crate::remote::RemoteError;

/// Where a daemon listens that says nothing else.
const DEFAULT_URL: &str = "http://127.0.0.1:8003";

/// What stands before the path of a Unix socket.
const SOCKET_SCHEME: &str = "unix:";

/// A daemon's HTTP face.
#[derive(Clone, Debug)]
enum Place {
    Url {
        base: BaseUrl,
        ca_file: Option<PathBuf>,
    },
    Socket(PathBuf),
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub(crate) struct Daemon {
    place: Place,
    /// As it is shown.
    name: String,
    token_file: Option<PathBuf>,
}

impl fmt::Display for Daemon {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.name)
    }
}

impl Daemon {
    /// The daemon at a URL, or at `unix:` and the path of its socket.
    pub(crate) fn at(given: Option<&str>) -> Result<Self, RemoteError> {
        let given = given.unwrap_or(DEFAULT_URL);
        let place = match given.strip_prefix(SOCKET_SCHEME) {
            Some("") => {
                return Err(RemoteError::Place(
                    "`unix:` needs the path of a socket".into(),
                ));
            }
            Some(path) => Place::Socket(path.into()),
            None => Place::Url {
                base: BaseUrl::parse(given).map_err(RemoteError::Place)?,
                ca_file: None,
            },
        };
        Ok(Self {
            place,
            name: given.to_owned(),
            token_file: None,
        })
    }

    /// The daemon that runs with a file.
    pub(crate) fn of_file(file: &Path) -> Result<Self, RemoteError> {
        let config = Config::load(Some(file), &Overrides::default());
        let config = config.map_err(|error: ConfigError| RemoteError::Config(Box::new(error)))?;
        let Some(http) = config.http else {
            return Err(RemoteError::Unasked(file.to_owned()));
        };
        // Its permissions say who may; it needs no token and no certificate.
        if let Some(socket) = http.socket {
            let name = format!("{SOCKET_SCHEME}{}", socket.display());
            return Self::at(Some(&name));
        }
        let Some(listen) = http.listen else {
            return Err(RemoteError::Unasked(file.to_owned()));
        };
        let scheme = if http.tls.is_some() { "https" } else { "http" };
        let name = format!("{scheme}://{}", reachable(listen));
        let mut daemon = Self::at(Some(&name))?;
        daemon.token_file = http.token_file;
        Ok(daemon.trusting(http.tls.map(|tls| tls.certificates)))
    }

    /// Takes another file with the token, if there is one.
    pub(crate) fn with_token_file(mut self, token_file: Option<PathBuf>) -> Self {
        self.token_file = token_file.or(self.token_file);
        self
    }

    /// Trusts the certificates of this file, too, if there is one.
    pub(crate) fn trusting(mut self, file: Option<PathBuf>) -> Self {
        if let Place::Url { ca_file, .. } = &mut self.place
            && file.is_some()
        {
            *ca_file = file;
        }
        self
    }

    /// Makes one who asks it. The token is read again each time.
    pub(crate) fn asker(&self) -> Result<Asker, String> {
        let asker = match &self.place {
            Place::Url { base, ca_file } => Asker::of_url(base.clone(), ca_file.clone()),
            Place::Socket(path) => Asker::of_socket(path.clone())
                .ok_or("this system has no Unix sockets: give a URL")?,
        };
        let Some(file) = &self.token_file else {
            return Ok(asker);
        };
        let token = read_secret(file);
        let token = token.map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        asker.with_token(&token)
    }
}

/// Returns where whoever listens on all addresses is reached from this host.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_text(text: &str) -> Result<Daemon, RemoteError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lm.toml");
        std::fs::write(&file, text).unwrap();
        Daemon::of_file(&file)
    }

    #[test]
    fn a_file_says_where_its_daemon_is() {
        for (text, name) in [
            ("[http]\nlisten = '0.0.0.0:8003'", "http://127.0.0.1:8003"),
            ("[http]\nlisten = '[::]:80'", "http://[::1]:80"),
            (
                "[http]\nlisten = '192.0.2.1:80'\nsocket = '/run/lm.sock'",
                "unix:/run/lm.sock",
            ),
        ] {
            assert_eq!(of_text(text).unwrap().to_string(), name);
        }
        let error = of_text("name = 'a'").unwrap_err().to_string();
        assert!(
            error.contains("[http]") && error.contains("listen ="),
            "{error}"
        );
        assert!(matches!(of_text("nom = 'a'"), Err(RemoteError::Config(_))));
    }

    #[test]
    fn a_place_is_a_url_or_a_socket() {
        for (given, is_one) in [
            (None, true),
            (Some("127.0.0.1:8003"), true),
            (Some("https://a.example.com"), true),
            (Some("unix:/run/lm.sock"), true),
            (Some("unix:"), false),
            (Some("ftp://a"), false),
            (Some("http://a/?b"), false),
        ] {
            assert_eq!(Daemon::at(given).is_ok(), is_one, "{given:?}");
        }
    }
}
