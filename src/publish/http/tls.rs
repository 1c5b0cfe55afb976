//! What HTTPS trusts: the certificates of the system, and those that a `ca_file` has.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, version};

/// The versions of TLS that are spoken.
const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];

/// Returns the certificates of the system, as many as can be read.
pub(super) fn of_the_system() -> Vec<CertificateDer<'static>> {
    rustls_native_certs::load_native_certs().certs
}

/// Makes the configuration of a client that trusts `roots`, and what is in `ca_file`. The error says
/// what is missing.
pub(super) fn client(
    roots: Vec<CertificateDer<'static>>,
    ca_file: Option<&Path>,
) -> Result<ClientConfig, String> {
    let named = ca_file.map_or(Ok(Vec::new()), read)?;
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots.into_iter().chain(named.iter().cloned()));
    if store.is_empty() {
        return Err(
            "there are no CA certificates, which HTTPS needs: install those of the system (the \
             package ca-certificates), or name a file with `ca_file`"
                .to_owned(),
        );
    }
    let provider = Arc::new(ring::default_provider());
    let known = WebPkiServerVerifier::builder_with_provider(store.into(), provider.clone())
        .build()
        .map_err(|error| format!("the CA certificates cannot be used: {error}"))?;
    Ok(ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(VERSIONS)
        .expect("the provider has both versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier { named, known }))
        .with_no_client_auth())
}

/// Makes the configuration of a client that speaks plain HTTP only.
pub(super) fn none() -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(VERSIONS)
        .expect("the provider has both versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth()
}

/// Reads the certificates of a file in PEM.
pub(super) fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |fault: String| format!("`ca_file` {}: {fault}", path.display());
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| wrong(format!("cannot be read: {error}")))?;
    if found.is_empty() {
        return Err(wrong("has no certificate in PEM".to_owned()));
    }
    Ok(found)
}

/// Takes a server whose own certificate is named, as it is, and others by the rules.
///
/// A certificate that a server has made for itself is often one of a CA, and without the server's
/// name; the rules refuse both. Whoever names it knows it, and its key signs the handshake.
#[derive(Debug)]
struct Verifier {
    named: Vec<CertificateDer<'static>>,
    known: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        server: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.named.iter().any(|named| named == server) {
            return Ok(ServerCertVerified::assertion());
        }
        (self.known).verify_server_cert(server, between, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        (self.known).verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        (self.known).verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.known.supported_verify_schemes()
    }
}
