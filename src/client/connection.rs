//! One HTTP/1.1 connection to the service.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{self, ClientConfig, RootCertStore, pki_types::ServerName},
};

use crate::client::endpoint::Endpoint;

/// Sends requests over one connection, one after the other.
pub(super) type Sender = SendRequest<Full<Bytes>>;

/// The most time for one address of a host to accept a connection, where the host has several.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Opens connections to one endpoint.
pub(super) struct Connector {
    endpoint: Endpoint,
    tls: Option<TlsConnector>,
}

impl Connector {
    /// Reads the system's trusted roots where the endpoint is TLS; `SSL_CERT_FILE` names others.
    ///
    /// # Errors
    /// There is no usable root, or the host is no name that a certificate can have.
    pub(super) fn new(endpoint: Endpoint) -> io::Result<Self> {
        let tls = if endpoint.tls { Some(TlsConnector::from(Arc::new(tls_config()?))) } else { None };
        Ok(Self { endpoint, tls })
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Opens a connection. `attempt` is the number of the attempt, from 0: of a host's addresses another one comes first each time, so
    /// that a replica that accepts and never answers is asked once.
    ///
    /// # Errors
    /// No address accepted, or TLS failed. Nothing was sent of any request.
    ///
    /// # Cancellation
    /// Dropping the future closes what was opened.
    pub(super) async fn open(&self, attempt: usize) -> io::Result<Sender> {
        let mut addresses: Vec<SocketAddr> =
            tokio::net::lookup_host((self.endpoint.host.as_str(), self.endpoint.port)).await?.collect();
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        let first = attempt % addresses.len();
        addresses.rotate_left(first);
        let stream = connect(&addresses).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => handshake(stream).await,
            Some(tls) => {
                let name = ServerName::try_from(self.endpoint.host.clone())
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
                handshake(tls.connect(name, stream).await.map_err(explained)?).await
            }
        }
    }
}

/// The first of these addresses that accepts.
async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut failure = None;
    for address in addresses {
        match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failure = Some(error),
            Err(_) => failure = Some(io::Error::new(io::ErrorKind::TimedOut, "no connection in time")),
        }
    }
    Err(failure.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

/// Speaks HTTP/1.1 over a stream; a task of its own drives the connection until it ends.
async fn handshake(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> io::Result<Sender> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(async move {
        // A connection that broke shows at the call that is under way.
        let _ = connection.await;
    });
    Ok(sender)
}

/// A peer that answers in plain text is mostly one that was meant to be called by http.
fn explained(error: io::Error) -> io::Error {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidMessage(_)) => {
            io::Error::other("it answers, but not in TLS: is it http:// instead of https://?")
        }
        _ => error,
    }
}

fn tls_config() -> io::Result<ClientConfig> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        return Err(io::Error::other(
            "this system has no trusted root certificates; install ca-certificates, or name a file in SSL_CERT_FILE",
        ));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}
