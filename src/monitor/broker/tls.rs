//! TLS to a broker. Its certificate is always verified.

use std::{
    io,
    sync::{Arc, OnceLock},
};

use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{self, ClientConfig, RootCertStore, pki_types::ServerName},
};

use crate::domain::queue::connection::BrokerError;

/// Begins TLS on a connection to `host`.
pub(super) async fn begin(stream: TcpStream, host: &str) -> Result<TlsStream<TcpStream>, BrokerError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| BrokerError::Address)?;
    let connector = connector().map_err(|_| BrokerError::Tls)?;
    connector.connect(name, stream).await.map_err(|_| BrokerError::Tls)
}

/// The system's trusted roots, or those of `SSL_CERT_FILE`, read once.
fn connector() -> io::Result<TlsConnector> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(config.clone().into());
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(CONFIG.get_or_init(|| Arc::new(config)).clone().into())
}
