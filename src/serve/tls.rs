//! HTTPS from the files of the configuration.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::config::TlsFiles;
use crate::serve::ServeError;

/// Returns what makes connections HTTPS.
pub(super) fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, ServeError> {
    let provider = Arc::new(ring::default_provider());
    let certificates = certificates("tls_cert_file", &files.certificates)?;
    let key_fault = |reason| fault("tls_key_file", &files.key, reason);
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| key_fault(format!("has no private key in PEM: {error}")))?;
    let versions = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| key_fault(format!("cannot be used: {error}")))?;
    let verified = match &files.client_ca {
        None => versions.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(self::certificates("client_ca_file", path)?);
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            let verifier = verifier.map_err(|error| {
                fault("client_ca_file", path, format!("cannot be used: {error}"))
            })?;
            versions.with_client_cert_verifier(verifier)
        }
    };
    let mut config = verified
        .with_single_cert(certificates, key)
        .map_err(|error| key_fault(format!("does not fit `tls_cert_file`: {error}")))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(
    key: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, ServeError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Err(error) => Err(fault(key, path, format!("cannot be read: {error}"))),
        Ok(found) if found.is_empty() => {
            Err(fault(key, path, "has no certificate in PEM".to_owned()))
        }
        Ok(found) => Ok(found),
    }
}

fn fault(key: &'static str, path: &Path, reason: String) -> ServeError {
    ServeError::File {
        key,
        path: path.to_owned(),
        reason,
    }
}
