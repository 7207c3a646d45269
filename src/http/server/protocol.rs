//! HTTP/1.1 and HTTP/2 on one connection, by hyper.

use std::{
    convert::Infallible,
    future::poll_fn,
    net::SocketAddr,
    sync::{
        Arc,
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
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::http::{
    Pipeline,
    server::{connection::ACK_TIMEOUT, handoff::ConnectionHandoff},
};

/// Timeout of a request's head, also of the next one on a connection that is kept alive, and of the TLS handshake.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// hyper's bound on a head, 192 KiB. The pipeline's own bound is lower and answers with a body; this one stops what is
/// absurd. It also bounds hyper's buffers for a client that does not read: with a stream's next chunk (64 KiB) that
/// makes 256 KiB.
const MAX_HEAD_BYTES: usize = 192 << 10;

/// Serves a connection until it ends, or, once `drain` is cancelled, until its present requests are answered.
///
/// A stream that begins on it goes to `handoff`, if there is one; the caller then drops this future.
pub(super) async fn serve<S>(
    stream: S,
    remote: SocketAddr,
    scheme: Scheme,
    pipeline: Arc<Pipeline>,
    drain: &CancellationToken,
    handoff: Option<ConnectionHandoff>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let has_begun = Arc::new(AtomicBool::new(false));
    let head_arrived = has_begun.clone();
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        head_arrived.store(true, Ordering::Relaxed);
        let pipeline = pipeline.clone();
        // HTTP/2 carries many streams on one connection, and HTTP/1.0 has no chunks: those stay with hyper.
        let can_hand_off = request.version() == hyper::Version::HTTP_11 && request.method() == hyper::Method::GET;
        let handoff = handoff.as_ref().filter(|_| can_hand_off).cloned();
        let addresses = (LocalAddr(Addr::custom("holdfast", "")), RemoteAddr(Addr::SocketAddr(remote)), scheme.clone());
        async move {
            let (local, remote, scheme) = addresses;
            let response = pipeline.serve((request, local, remote, scheme).into()).await;
            if handoff.is_some_and(|handoff| handoff.claim(&response)) {
                // The connection's task drops this future; the response is not answered here.
                drop(response);
                return std::future::pending().await;
            }
            Ok::<_, Infallible>(hyper::Response::from(response))
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(MAX_HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(ACK_TIMEOUT)
        .max_header_list_size(MAX_HEAD_BYTES as u32);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    // hyper's own timeout begins once it knows the version of HTTP; before, a silent client would hold its connection
    // for ever.
    let mut timeout = std::pin::pin!(tokio::time::sleep(HEAD_TIMEOUT));
    let first_head_timeout = poll_fn(|context| match has_begun.load(Ordering::Relaxed) {
        true => Poll::Pending,
        false => timeout.as_mut().poll(context),
    });
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = first_head_timeout => return,
        () = drain.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
