//! A TLS client for the tests: it trusts one certificate, and checks that it is for `localhost`.
//! It does not know what is said inside; `LineStream::encrypt` is its caller.

use std::io;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// Shakes hands over `stream` with a server whose certificate is the one in `trusted`.
///
/// # Errors
/// Why there is no TLS: an alert, another certificate, or the end of the connection.
///
/// # Panics
/// When the file has no certificate.
pub fn shake_hands(stream: &mut TcpStream, trusted: &Path) -> io::Result<ClientConnection> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(trusted).expect("a certificate");
    roots.add(certificate).expect("a certificate to trust");
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let mut tls = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    while tls.is_handshaking() {
        match tls.complete_io(stream) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => drop(outcome?),
        }
    }
    Ok(tls)
}
