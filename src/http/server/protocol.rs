//! HTTP/1.1 and HTTP/2 on one connection, by hyper.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
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
    server::{
        activity::{Activity, TimedOut},
        admission::Admission,
        connection::ACK_TIMEOUT,
        handoff::ConnectionHandoff,
        http_io::HttpIo,
        http2_streams::{StreamExecutor, WatchedBody},
    },
};

/// hyper's bound on a head, 192 KiB. The pipeline's own bound is lower and answers with a body; this one stops what is
/// absurd. It also bounds hyper's buffers for a client that does not read: with a stream's next chunk (64 KiB) that
/// makes 256 KiB.
const MAX_HEAD_BYTES: usize = 192 << 10;
/// Streams of one HTTP/2 connection at a time, 100: what the standard advises as the least.
const MAX_HTTP2_STREAMS: u32 = 100;
/// Bytes of bodies that an HTTP/2 connection may send ahead of their readers, 256 KiB, and those of one stream, 64 KiB.
const HTTP2_CONNECTION_WINDOW: u32 = 256 << 10;
const HTTP2_STREAM_WINDOW: u32 = 64 << 10;
/// Time in which a connection that was asked to end must end, 5 s.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that was accepted.
pub(super) struct Connection {
    pub(super) admission: Admission,
    pub(super) remote: SocketAddr,
    pub(super) pipeline: Arc<Pipeline>,
}

/// Serves a connection until it ends, does nothing for too long, or, once `drain` is cancelled, until its present
/// requests are answered.
///
/// A stream that begins on it goes to `handoff`, if there is one; the caller then drops this future.
pub(super) async fn serve<S>(
    stream: S,
    scheme: Scheme,
    connection: &Connection,
    drain: &CancellationToken,
    handoff: Option<ConnectionHandoff>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Activity::new();
    let place = match &connection.admission {
        Admission::Full(place) => Some(place.clone()),
        Admission::HealthOnly(_) => None,
    };
    let (pipeline, remote) = (connection.pipeline.clone(), connection.remote);
    let of_connection = activity.clone();
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let open = of_connection.open_request();
        let (pipeline, place, scheme) = (pipeline.clone(), place.clone(), scheme.clone());
        // HTTP/2 carries many streams on one connection, and HTTP/1.0 has no chunks: those stay with hyper.
        let can_hand_off = request.version() == hyper::Version::HTTP_11 && request.method() == hyper::Method::GET;
        let handoff = handoff.as_ref().filter(|_| can_hand_off).cloned();
        async move {
            let addresses = (LocalAddr(Addr::custom("holdfast", "")), RemoteAddr(Addr::SocketAddr(remote)));
            let request = (request, addresses.0, addresses.1, scheme).into();
            let (response, is_proved) = match &place {
                Some(place) => pipeline.serve(request, Some(place.clone())).await,
                None => Box::pin(pipeline.serve_health_only(request)).await, // rare, and would make every request's future a third larger
            };
            if let Some(place) = place.filter(|_| is_proved) {
                place.prove();
            }
            if handoff.is_some_and(|handoff| handoff.claim(&response)) {
                // The connection's task drops this future; the response is not answered here.
                drop(response);
                return std::future::pending().await;
            }
            Ok::<_, Infallible>(hyper::Response::from(response).map(|body| WatchedBody::new(body, open)))
        }
    });
    let mut builder = auto::Builder::new(StreamExecutor);
    // Timeouts between requests are those of `Activity`: hyper knows one for a head that has begun and for the next one.
    builder.http1().header_read_timeout(None).max_buf_size(MAX_HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(ACK_TIMEOUT)
        .max_header_list_size(MAX_HEAD_BYTES as u32)
        .max_concurrent_streams(MAX_HTTP2_STREAMS)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW);
    let io = TokioIo::new(HttpIo::new(stream, activity.clone()));
    let serving = builder.serve_connection(io, service);
    tokio::pin!(serving);
    tokio::select! {
        _ = serving.as_mut() => {}
        timed_out = activity.timed_out() => if timed_out == TimedOut::Idle {
            serving.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(GOODBYE_TIMEOUT, serving).await;
        },
        () = drain.cancelled() => {
            serving.as_mut().graceful_shutdown();
            let _ = serving.await;
        }
    }
}
