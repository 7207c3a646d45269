//! Accept loop: one per runtime, under poem.
//!
//! poem's own listener leaves Nagle's algorithm on, has no timeout for a slow head, spins when file descriptors run
//! out, and at shutdown waits for open streams without an end.

use std::{
    io,
    net::TcpListener as StdListener,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use poem::http::uri::Scheme;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    http::{
        Pipeline,
        pipeline::https_refusal,
        server::{
            activity::HEAD_TIMEOUT,
            admission::{Admission, ConnectionSlots, HEALTH_CONNECTION_LIFE},
            connection,
            handoff::ConnectionHandoff,
            protocol::{Connection, serve},
        },
    },
    replica::Replica,
};

/// Delay after a failed accept, which else would be repeated at once: mostly there is no file descriptor left.
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// Time for the refusal of plain HTTP where TLS is spoken, 1 s, and bytes that are still read of it, 64 KiB.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
const MAX_REFUSED_BYTES: u64 = 64 << 10;

/// The HTTP server of one runtime.
pub struct Server {
    socket: StdListener,
    tls: Option<TlsAcceptor>,
    connection_slots: Arc<ConnectionSlots>,
    replica: Arc<Replica>,
    drain_timeout: Duration,
}

impl Server {
    /// A server on `socket`. `connection_slots` bounds the connections of the whole replica; `drain_timeout` is how
    /// long open connections may go on after the replica has begun to drain.
    #[must_use]
    pub fn new(
        socket: StdListener,
        tls: Option<TlsAcceptor>,
        connection_slots: Arc<ConnectionSlots>,
        replica: Arc<Replica>,
        drain_timeout: Duration,
    ) -> Self {
        Self { socket, tls, connection_slots, replica, drain_timeout }
    }

    /// Serves until the replica drains, then until the last connection has ended or the drain times out. Connections
    /// that are left then end with the runtime.
    ///
    /// # Errors
    /// When the socket cannot be used on this runtime.
    pub async fn run(self, pipeline: Pipeline) -> io::Result<()> {
        let listener = TcpListener::from_std(self.socket)?;
        let pipeline = Arc::new(pipeline);
        let (drain, tasks) = (self.replica.drain.clone(), TaskTracker::new());
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = drain.cancelled() => break,
            };
            let (stream, remote) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    metrics::counter!("holdfast_accept_errors_total").increment(1);
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(RETRY_DELAY).await;
                    continue;
                }
            };
            if connection::configure(&stream).is_err() {
                continue; // it is gone already
            }
            let connection =
                Connection { admission: self.connection_slots.admit(remote.ip()), remote, pipeline: pipeline.clone() };
            let is_full = matches!(connection.admission, Admission::HealthOnly(_));
            let (tls, replica) = (self.tls.clone(), self.replica.clone());
            tasks.spawn(async move {
                replica.connections.fetch_add(1, Ordering::Relaxed);
                // Boxed, as everything large is: an idle stream's task is as large as its largest future.
                match (&connection.admission, tls) {
                    (Admission::HealthOnly(place), tls) => {
                        let ended = place.ended.clone();
                        let serving = serve_for_health(stream, tls, connection, &replica.drain);
                        let serving = tokio::time::timeout(HEALTH_CONNECTION_LIFE, serving);
                        Box::pin(ended.run_until_cancelled(serving)).await;
                    }
                    (Admission::Full(_), None) => serve_plain(stream, connection, &replica.drain).await,
                    (Admission::Full(_), Some(tls)) => {
                        Box::pin(serve_tls(stream, tls, connection, &replica.drain)).await;
                    }
                }
                replica.connections.fetch_sub(1, Ordering::Relaxed);
            });
            if is_full {
                // Those that were ended for this one close now, before the next takes a file descriptor.
                tokio::task::yield_now().await;
            }
        }
        drop(listener);
        tasks.close();
        if tokio::time::timeout(self.drain_timeout, tasks.wait()).await.is_err() {
            tracing::warn!(connections = tasks.len(), "the drain timed out; closing the connections that are left");
        }
        Ok(())
    }
}

async fn serve_for_health(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    connection: Connection,
    drain: &CancellationToken,
) {
    match tls {
        None => serve(connection::split(stream).0, Scheme::HTTP, &connection, drain, None).await,
        Some(tls) => serve_tls(stream, tls, connection, drain).await,
    }
}

async fn serve_tls(stream: TcpStream, tls: TlsAcceptor, connection: Connection, drain: &CancellationToken) {
    let deadline = Instant::now() + HEAD_TIMEOUT;
    let mut first = [0];
    match timeout_at(deadline, stream.peek(&mut first)).await {
        // A method's first letter; the first byte of a TLS handshake is 22 (RFC 8446, 5.1).
        Ok(Ok(_)) if first[0].is_ascii_uppercase() => {
            let _ = tokio::time::timeout(REFUSAL_TIMEOUT, refuse_plain(stream)).await;
            return;
        }
        Ok(Ok(_)) => {}
        _ => return,
    }
    let (stream, _) = connection::split(stream);
    if let Ok(Ok(stream)) = timeout_at(deadline, tls.accept(stream)).await {
        Box::pin(serve(stream, Scheme::HTTPS, &connection, drain, None)).await;
    }
}

/// Answers plain HTTP where TLS is spoken, and reads a while what else comes: a client that still sends would lose the answer to a reset.
async fn refuse_plain(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(&https_refusal()).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(MAX_REFUSED_BYTES), &mut tokio::io::sink()).await.map(drop)
}

async fn serve_plain(stream: TcpStream, connection: Connection, drain: &CancellationToken) {
    let (handoff, handed_over) = ConnectionHandoff::new();
    let (stream, socket) = connection::split(stream);
    let handed_over = {
        // Boxed, so that its memory is freed, not only unused, while a handed-over stream goes on.
        let serving = Box::pin(serve(stream, Scheme::HTTP, &connection, drain, Some(handoff)));
        tokio::select! {
            () = serving => None,
            Ok(handed_over) = handed_over => Some(handed_over),
        }
    };
    if let Some(handed_over) = handed_over {
        handed_over.serve(socket).await;
    }
}
