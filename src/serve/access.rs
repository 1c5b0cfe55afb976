//! Who is answered.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, ORIGIN};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;

use crate::config::HttpConfig;
use crate::publish::read_secret;
use crate::serve::{ServeError, tls};

/// Who has connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// Somebody whom the permissions of the Unix socket let in.
    Socket,
    /// Somebody at this address, perhaps with a certificate of our clients' CA.
    Address { ip: IpAddr, is_certified: bool },
}

/// What a request may not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// It has no token, or a wrong one.
    Token,
    /// It asks for a reload from another host, and nothing says that it may.
    Reload,
    /// It comes from a page in a browser.
    Browser,
}

/// What is needed to be answered. It can be read again.
#[derive(Debug)]
pub(super) struct Access(Mutex<Rules>);

#[derive(Clone, Default)]
struct Rules {
    acceptor: Option<TlsAcceptor>,
    /// The digest of the token. Two digests tell nothing by how long they take to compare.
    token: Option<[u8; 32]>,
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Rules").finish_non_exhaustive()
    }
}

impl Access {
    pub(super) fn of(config: &HttpConfig) -> Result<Self, ServeError> {
        Rules::of(config).map(|rules| Self(Mutex::new(rules)))
    }

    /// Reads the files again. If one is wrong, all stays as it was.
    pub(super) fn reload(&self, config: &HttpConfig) -> Result<(), ServeError> {
        let rules = Rules::of(config)?;
        *self.0.lock() = rules;
        Ok(())
    }

    /// Returns what makes a connection over `listen` HTTPS, if it is to be.
    pub(super) fn acceptor(&self) -> Option<TlsAcceptor> {
        self.0.lock().acceptor.clone()
    }

    /// Decides whether a request is answered at all.
    pub(super) fn may_read(&self, peer: Peer, headers: &HeaderMap) -> Result<(), Denied> {
        let token = self.0.lock().token;
        match (peer, token) {
            (Peer::Address { .. }, Some(token)) if presented(headers) != Some(token) => {
                Err(Denied::Token)
            }
            _ => Ok(()),
        }
    }

    /// Decides whether a request that may read may change something, too. Over an address that others reach, a token
    /// or a certificate must say so; and no page in a browser on this host may do it in its user's name.
    pub(super) fn may_change(&self, peer: Peer, headers: &HeaderMap) -> Result<(), Denied> {
        if headers.contains_key(ORIGIN) {
            return Err(Denied::Browser);
        }
        match peer {
            Peer::Socket => Ok(()),
            Peer::Address { ip, is_certified } => {
                let is_known = is_certified || self.0.lock().token.is_some();
                let is_here = ip.to_canonical().is_loopback();
                (is_known || is_here).then_some(()).ok_or(Denied::Reload)
            }
        }
    }
}

impl Rules {
    fn of(config: &HttpConfig) -> Result<Self, ServeError> {
        let acceptor = config.tls.as_ref().map(tls::acceptor).transpose()?;
        let token = config.token_file.as_deref().map(read_token).transpose()?;
        Ok(Self { acceptor, token })
    }
}

fn read_token(path: &Path) -> Result<[u8; 32], ServeError> {
    let fault = |reason: String| ServeError::File {
        key: "token_file",
        path: PathBuf::from(path),
        reason,
    };
    let text = read_secret(path).map_err(|error| fault(format!("cannot be read: {error}")))?;
    match text.trim() {
        "" => Err(fault("is empty: it must have a token".to_owned())),
        token => Ok(digest(token)),
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// Returns the digest of the token that a request has (RFC 6750, section 2.1).
fn presented(headers: &HeaderMap) -> Option<[u8; 32]> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| digest(token.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that asks for nothing.
    fn open() -> Access {
        Access(Mutex::default())
    }

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = list.iter();
        pairs
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    const HERE: Peer = Peer::Address {
        ip: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        is_certified: false,
    };

    fn there(is_certified: bool) -> Peer {
        let ip = "192.0.2.1".parse().unwrap();
        Peer::Address { ip, is_certified }
    }

    #[test]
    fn a_token_is_asked_for_and_compared_whole() {
        let token = Some(digest("s3cret"));
        let access = Access(Mutex::new(Rules {
            token,
            ..Rules::default()
        }));
        let read = |value| access.may_read(HERE, &headers(&[("authorization", value)]));
        assert_eq!(read("Bearer s3cret"), Ok(()));
        assert_eq!(read("bearer  s3cret "), Ok(()));
        for wrong in [
            "Bearer s3cre",
            "Bearer s3cret2",
            "Basic s3cret",
            "s3cret",
            "Bearer ",
            "",
        ] {
            assert_eq!(read(wrong), Err(Denied::Token), "{wrong}");
        }
        assert_eq!(access.may_read(HERE, &HeaderMap::new()), Err(Denied::Token));
        assert_eq!(access.may_read(Peer::Socket, &HeaderMap::new()), Ok(()));
        assert_eq!(access.may_change(there(false), &HeaderMap::new()), Ok(()));
    }

    #[test]
    fn a_reload_is_for_this_host_and_those_who_are_known() {
        let access = open();
        let none = HeaderMap::new();
        assert_eq!(access.may_read(there(false), &none), Ok(()));
        assert_eq!(access.may_change(there(false), &none), Err(Denied::Reload));
        for peer in [HERE, Peer::Socket, there(true)] {
            assert_eq!(access.may_change(peer, &none), Ok(()), "{peer:?}");
        }
        let mapped = Peer::Address {
            ip: "::ffff:127.0.0.1".parse().unwrap(),
            is_certified: false,
        };
        assert_eq!(access.may_change(mapped, &none), Ok(()));
        let page = headers(&[("origin", "https://evil.example")]);
        assert_eq!(access.may_change(HERE, &page), Err(Denied::Browser));
    }

    #[test]
    fn a_token_file_that_says_nothing_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = read_token(file.path()).unwrap_err().to_string();
        assert!(
            error.starts_with("`token_file` /")
                && error.ends_with("is empty: it must have a token"),
            "{error}"
        );
        std::fs::write(file.path(), "abc\n").unwrap();
        assert_eq!(read_token(file.path()).unwrap(), digest("abc"));
    }
}
