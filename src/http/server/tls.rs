//! TLS: the certificate and its key, with HTTP/2 offered by ALPN.

use std::{fmt::Display, path::Path, sync::Arc};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use crate::http::server::listener::ListenerError;

/// Reads a certificate chain and its private key, both in PEM.
///
/// # Errors
/// [`ListenerError::Tls`] with the file and what is wrong with it.
pub(crate) fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, ListenerError> {
    let tls_error = |file: &Path, error: &dyn Display| ListenerError::Tls(format!("{}: {error}", file.display()));
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| tls_error(certificate, &error))?;
    let private_key = PrivateKeyDer::from_pem_file(key).map_err(|error| tls_error(key, &error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| tls_error(certificate, &error))?
        .with_no_client_auth()
        .with_single_cert(chain, private_key)
        .map_err(|error| tls_error(certificate, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
