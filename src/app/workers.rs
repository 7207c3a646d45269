//! The threads that serve requests: one runtime each, with its own socket, Redis connection and share of the feed.

use std::{io, sync::Arc, thread::JoinHandle, time::Duration};

use tokio::runtime;
use tokio_rustls::TlsAcceptor;

use crate::{
    app::{AppError, Shared},
    feed::Feed,
    http::{self, App, ConnectionSlots, Listener, Server},
};

/// Longest wait of a worker for Redis before it serves without: new connections wait in the kernel's queue meanwhile.
const FIRST_CONNECTION: Duration = Duration::from_secs(1);
/// Part of the drain window in which streams end; the rest is for their last bytes to arrive.
const STREAMS_END: f64 = 0.8;

/// Threads of a worker for what would block its runtime, 2: parsing of large bodies, and names that are resolved.
const BLOCKING_THREADS: usize = 2;

/// The running workers.
pub(super) struct Workers(Vec<JoinHandle<io::Result<()>>>);

impl Workers {
    /// Starts a thread per socket of the listener; `connections` bounds what all of them serve at once.
    ///
    /// # Errors
    /// The system's, when a thread cannot be made.
    pub(super) fn start(
        shared: &Shared,
        listener: Listener,
        feeds: Vec<Feed>,
        tls: Option<TlsAcceptor>,
        connections: Arc<ConnectionSlots>,
    ) -> io::Result<Self> {
        let sockets = listener.into_sockets().into_iter().zip(feeds).enumerate();
        let workers = sockets.map(|(number, (socket, feed))| {
            let drain = shared.config.drain;
            let server = Server::new(socket, tls.clone(), connections.clone(), shared.replica.clone(), drain);
            let shared = shared.clone();
            std::thread::Builder::new().name(format!("serve-{number}")).spawn(move || {
                let mut builder = runtime::Builder::new_current_thread();
                builder.enable_all().max_blocking_threads(BLOCKING_THREADS).build()?.block_on(run(shared, server, feed))
            })
        });
        workers.collect::<io::Result<_>>().map(Self)
    }

    /// Waits until all workers and `other` have ended.
    ///
    /// # Errors
    /// That of the first that failed.
    pub(super) async fn join(self, other: JoinHandle<io::Result<()>>) -> Result<(), AppError> {
        let joined = tokio::task::spawn_blocking(move || {
            self.0.into_iter().chain([other]).try_for_each(|thread| thread.join().unwrap_or(Ok(())))
        });
        Ok(joined.await.unwrap_or(Ok(()))?)
    }
}

/// Serves one socket until the replica has drained.
async fn run(shared: Shared, server: Server, feed: Feed) -> io::Result<()> {
    let store = shared.open_store();
    let Shared { config, replica, limiters, vault, redis, .. } = shared;
    redis.add(store.redis().clone());
    // A worker that serves before it has reached Redis would answer 503 while the others answer.
    let _ = tokio::time::timeout(FIRST_CONNECTION, store.redis().connected()).await;
    tokio::spawn(feed.clone().run());
    tokio::spawn({
        let (feed, drain, window) = (feed.clone(), replica.drain.clone(), config.drain);
        async move {
            drain.cancelled().await;
            feed.end_streams(window.mul_f64(STREAMS_END)).await;
        }
    });
    server.run(http::pipeline(App { store, redis, feed, config, replica, limiters, vault })).await
}
