//! The accept loop under poem: one per runtime, all on one port.
//!
//! poem's own listener leaves Nagle's algorithm on, gives a slow head no deadline, spins when file descriptors run out and waits
//! for open streams for ever at shutdown. So we accept ourselves and hand each request to our edge, behind which poem routes it.

use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    net::{SocketAddr, TcpListener as StdListener},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use poem::{
    Addr,
    http::uri::Scheme,
    web::{LocalAddr, RemoteAddr},
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::{TlsAcceptor, rustls};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    http::{
        Pipeline,
        events::stream::{EventFeed, StreamHandoff},
        server::{
            connection,
            connection::{VANISHED, WriteTimeout, closed, prepare},
        },
    },
    replica::Replica,
};

/// A request's head must be there within this time; so must the next one on a connection that stays.
const HEAD: Duration = Duration::from_secs(30);
/// hyper's own bound on a head. Ours (`trace`) is lower and answers with a body; this one only stops what is absurd. It also bounds what
/// hyper holds for a reader that does not read: with a stream's next piece (64 KiB) that makes 256 KiB.
const HEAD_BYTES: usize = 192 << 10;
/// After a failed accept (no file descriptor left, say) the next one waits this long instead of spinning.
const BACK_OFF: Duration = Duration::from_millis(50);
/// What the kernel queues while all our places are taken.
const BACKLOG: i32 = 4096;

/// Why we cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenerError {
    /// The address cannot be bound.
    #[error("HOLDFAST_LISTEN={address} cannot be listened on: {error}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error("HOLDFAST_TLS_CERT and HOLDFAST_TLS_KEY cannot be used: {0}")]
    Tls(String),
}

/// A port that is ours, from which each runtime takes a socket of its own.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    sockets: Vec<StdListener>,
}

impl Listener {
    /// Binds `count` sockets to one address; the kernel spreads connections over them.
    ///
    /// # Errors
    /// When the address is taken, also by a process that would share it.
    pub fn bind(address: SocketAddr, count: usize) -> Result<Self, ListenerError> {
        let fault = |error| ListenerError::Bind { address, error };
        // Shared ports let two services bind the same one without a word; a bind that does not share finds the other.
        let probe = bound(address, false).map_err(fault)?;
        let address = probe.local_addr().map_err(fault)?.as_socket().unwrap_or(address);
        drop(probe);
        let sockets = (0..count)
            .map(|_| {
                let socket = bound(address, true)?;
                socket.listen(BACKLOG)?;
                socket.set_nonblocking(true)?;
                Ok(socket.into())
            })
            .collect::<io::Result<_>>()
            .map_err(fault)?;
        Ok(Self { address, sockets })
    }

    /// The address, with the port that the system chose where none was given.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The sockets, one per runtime.
    #[must_use]
    pub fn into_sockets(self) -> Vec<StdListener> {
        self.sockets
    }
}

fn bound(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// One runtime's accept loop.
pub struct Serving {
    socket: StdListener,
    tls: Option<TlsAcceptor>,
    places: Arc<Semaphore>,
    replica: Arc<Replica>,
    drain_window: Duration,
}

impl Serving {
    /// Prepares to serve on `socket`; `places` bounds the connections of the whole replica.
    #[must_use]
    pub fn new(
        socket: StdListener,
        tls: Option<TlsAcceptor>,
        places: Arc<Semaphore>,
        replica: Arc<Replica>,
        drain_window: Duration,
    ) -> Self {
        Self { socket, tls, places, replica, drain_window }
    }

    /// Serves until the replica drains, then until the last connection has ended or the drain window is over.
    ///
    /// Connections that are left then end with the runtime, which has nothing else to do.
    ///
    /// # Errors
    /// When the socket cannot be used on this runtime.
    pub async fn run(self, edge: Pipeline) -> io::Result<()> {
        let listener = TcpListener::from_std(self.socket)?;
        let edge = Arc::new(edge);
        let (drain, tasks) = (self.replica.drain.clone(), TaskTracker::new());
        loop {
            let Ok(place) = self.places.clone().acquire_owned().await else { break };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = drain.cancelled() => break,
            };
            let (stream, remote) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    metrics::counter!("holdfast_accept_errors_total").increment(1);
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(BACK_OFF).await;
                    continue;
                }
            };
            if prepare(&stream).is_err() {
                continue; // it is gone already
            }
            let (edge, tls, replica) = (edge.clone(), self.tls.clone(), self.replica.clone());
            tasks.spawn(async move {
                replica.connections.fetch_add(1, Ordering::Relaxed);
                match tls {
                    None => serve_plain(stream, remote, edge, &replica.drain).await,
                    // In a box, like all that is large: an idle stream's task is as large as the largest thing that it ever does.
                    Some(tls) => Box::pin(serve_tls(stream, remote, tls, edge, &replica.drain)).await,
                }
                replica.connections.fetch_sub(1, Ordering::Relaxed);
                drop(place);
            });
        }
        drop(listener);
        tasks.close();
        if tokio::time::timeout(self.drain_window, tasks.wait()).await.is_err() {
            tracing::warn!(
                connections = tasks.len(),
                "the drain window is over; cutting the connections that are left"
            );
        }
        Ok(())
    }
}

async fn serve_tls(
    stream: TcpStream,
    remote: SocketAddr,
    tls: TlsAcceptor,
    edge: Arc<Pipeline>,
    drain: &CancellationToken,
) {
    if let Ok(Ok(stream)) = tokio::time::timeout(HEAD, tls.accept(connection::halves(stream).0)).await {
        Box::pin(serve(stream, remote, Scheme::HTTPS, edge, drain, None)).await;
    }
}

/// Serves a connection without TLS. A stream of events that begins on it goes on without the HTTP library, whose buffers it would
/// hold for nothing.
async fn serve_plain(stream: TcpStream, remote: SocketAddr, edge: Arc<Pipeline>, drain: &CancellationToken) {
    let (to, handed) = tokio::sync::oneshot::channel();
    let (stream, writes) = connection::halves(stream);
    let over = {
        // Both in boxes, so that they are gone, not only done, once the stream goes on alone.
        let serving = Box::pin(serve(stream, remote, Scheme::HTTP, edge, drain, Some(to)));
        tokio::select! {
            () = serving => None,
            Ok(over) = handed => Some(over),
        }
    };
    if let Some((head, feed)) = over {
        let mut to = WriteTimeout::new(writes.clone());
        let writing = async {
            to.write_all(&head).await?;
            feed.write_to(&mut to, writes.clone()).await
        };
        tokio::select! {
            // Its reader is gone, or too slow, or all was said.
            _ = writing => {}
            () = closed(&writes) => {}
        }
    }
}

/// The head of an answer whose body comes in chunks, as HTTP/1.1 has it.
fn head_of(answer: &hyper::Response<impl Sized>) -> Vec<u8> {
    let mut head = format!(
        "HTTP/1.1 {}\r\ndate: {}\r\ntransfer-encoding: chunked\r\n",
        answer.status(),
        chrono::Utc::now().format("%a, %d %b %Y %T GMT")
    )
    .into_bytes();
    for (name, value) in answer.headers() {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// Where a connection's stream is handed over, with the head that comes before it.
type Over = tokio::sync::oneshot::Sender<(Vec<u8>, EventFeed)>;

async fn serve<S>(
    stream: S,
    remote: SocketAddr,
    scheme: Scheme,
    edge: Arc<Pipeline>,
    drain: &CancellationToken,
    over: Option<Over>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let begun = Arc::new(AtomicBool::new(false));
    let has_begun = begun.clone();
    let over = Arc::new(Mutex::new(over));
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        begun.store(true, Ordering::Relaxed);
        let edge = edge.clone();
        // HTTP/2 carries many streams on one connection, and HTTP/1.0 knows no chunks: those stay with the library.
        let over = (request.version() == hyper::Version::HTTP_11 && request.method() == hyper::Method::GET)
            .then(|| over.clone());
        let addresses = (LocalAddr(Addr::custom("holdfast", "")), RemoteAddr(Addr::SocketAddr(remote)), scheme.clone());
        async move {
            let (local, remote, scheme) = addresses;
            let mut answer = edge.serve((request, local, remote, scheme).into()).await;
            let feed = answer.extensions_mut().remove::<StreamHandoff>().zip(over).and_then(|(handover, over)| {
                let over = over.lock().unwrap_or_else(PoisonError::into_inner).take()?;
                Some((over, handover.take()?))
            });
            let answer = hyper::Response::from(answer);
            if let Some((over, feed)) = feed {
                let _ = over.send((head_of(&answer), feed));
                // Dropped with the connection's state as soon as the stream is taken over.
                std::future::pending::<()>().await;
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HEAD_BYTES);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(VANISHED).max_header_list_size(HEAD_BYTES as u32);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    // hyper's own deadline begins only when it knows which HTTP is spoken; until then a silent peer would hold its place for ever.
    let mut silence = std::pin::pin!(tokio::time::sleep(HEAD));
    let first_head =
        poll_fn(
            |context| if has_begun.load(Ordering::Relaxed) { Poll::Pending } else { silence.as_mut().poll(context) },
        );
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = first_head => return,
        () = drain.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// Reads a certificate chain and its key for serving TLS, with HTTP/2 offered.
///
/// # Errors
/// What is wrong with the files.
pub(crate) fn tls(certificate: &Path, key: &Path) -> Result<TlsAcceptor, ListenerError> {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    let fault = |file: &Path, error: &dyn std::fmt::Display| ListenerError::Tls(format!("{}: {error}", file.display()));
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| fault(certificate, &error))?;
    let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| fault(key, &error))?;
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| fault(certificate, &error))?
        .with_no_client_auth()
        .with_single_cert(chain, key_der)
        .map_err(|error| fault(certificate, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
