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
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    http::{
        Pipeline,
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
    let (stream, _) = connection::split(stream);
    if let Ok(Ok(stream)) = tokio::time::timeout(HEAD_TIMEOUT, tls.accept(stream)).await {
        Box::pin(serve(stream, Scheme::HTTPS, &connection, drain, None)).await;
    }
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
