//! The table `[http]`: what others may ask this host, and how.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::error::{Place, Problems};
use crate::config::keys::{
    CLIENT_CA_FILE, HISTOGRAMS, HTTP_BUCKETS, HTTP_INTERVAL, HTTP_METRICS, LISTEN, SCHEMA, SOCKET,
    TLS_CERT_FILE, TLS_KEY_FILE, TOKEN_FILE,
};
use crate::config::layer::Layer;
use crate::config::rules;
use crate::config::value::nanos;
use crate::publish::{Scale, ScrapeSettings};
use crate::record::Choice;

/// Where HTTP is answered, to whom, and what whoever scrapes gets.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HttpConfig {
    /// An address and port.
    pub listen: Option<SocketAddr>,
    /// A Unix socket.
    pub socket: Option<PathBuf>,
    /// With it, `listen` speaks HTTPS.
    pub tls: Option<TlsFiles>,
    /// A file with a token that every request over `listen` must have.
    pub token_file: Option<PathBuf>,
    /// How often there are new values.
    pub interval: Duration,
    /// Which metrics.
    pub choice: Choice,
    /// The histograms.
    pub scrape: ScrapeSettings,
}

/// The files of HTTPS, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those between it and its CA.
    pub certificates: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// CAs of the clients that are answered; without, everyone is.
    pub client_ca: Option<PathBuf>,
}

impl HttpConfig {
    /// Makes it of settings that have been checked one by one.
    pub(super) fn from_layer(layer: &Layer, place: Place, problems: &mut Problems) -> Option<Self> {
        if !cfg!(feature = "http-server") {
            let text =
                "[http] needs the Cargo feature `http-server`, which this build does not have";
            problems.add_text(place, text);
            return None;
        }
        // What is wrong with it has been told.
        let listen = layer.find::<String>(&LISTEN);
        let listen = listen.and_then(|text| rules::socket_address(&text).ok());
        let socket: Option<PathBuf> = layer.find(&SOCKET);
        if listen.is_none() && socket.is_none() {
            let text = "[http] has neither `listen` nor `socket`: nobody could ask";
            problems.add_text(place, text);
        }
        Some(Self {
            tls: tls(layer, listen.is_some(), problems),
            listen,
            socket,
            token_file: layer.find(&TOKEN_FILE),
            interval: Duration::from_nanos(nanos(layer.get::<f64>(&HTTP_INTERVAL) * 1e9)),
            choice: layer.find(&HTTP_METRICS).unwrap_or_default(),
            scrape: ScrapeSettings {
                histograms: layer.get(&HISTOGRAMS),
                scale: Scale::new(layer.get(&SCHEMA)).unwrap_or(Scale::DEFAULT),
                buckets: layer.find(&HTTP_BUCKETS),
            },
        })
    }
}

fn tls(layer: &Layer, listens: bool, problems: &mut Problems) -> Option<TlsFiles> {
    let file = |key| layer.find::<PathBuf>(key);
    let (certificates, key) = (file(&TLS_CERT_FILE), file(&TLS_KEY_FILE));
    let client_ca = file(&CLIENT_CA_FILE);
    match (certificates, key) {
        (Some(certificates), Some(key)) => {
            if !listens {
                let text = "is for `listen`, which is not set";
                problems.warn(layer.place(&TLS_CERT_FILE), TLS_CERT_FILE.name, text);
            }
            return Some(TlsFiles {
                certificates,
                key,
                client_ca,
            });
        }
        (Some(_), None) => {
            let text = "needs the certificate's key: give `tls_key_file`, too";
            problems.add(layer.place(&TLS_CERT_FILE), TLS_CERT_FILE.name, text);
        }
        (None, Some(_)) => {
            let text = "needs the certificate: give `tls_cert_file`, too";
            problems.add(layer.place(&TLS_KEY_FILE), TLS_KEY_FILE.name, text);
        }
        (None, None) if client_ca.is_some() => {
            let text = "needs HTTPS: give `tls_cert_file` and `tls_key_file`, too";
            problems.add(layer.place(&CLIENT_CA_FILE), CLIENT_CA_FILE.name, text);
        }
        (None, None) => {}
    }
    None
}
