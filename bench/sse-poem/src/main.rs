//! sse-poem: the plain way to do it, for comparison: poem's own listener, one `tokio::sync::broadcast` of ready frames, one body stream
//! per reader. `GET /sub` reads, `POST /pub` publishes its body. The address is the first argument.

use bytes::Bytes;
use futures_util::stream;
use poem::{Body, EndpointExt, Response, Route, Server, get, handler, http::StatusCode, listener::TcpListener, post, web::Data};
use tokio::sync::broadcast::{Sender, error::RecvError};

/// How far a reader may lag before it loses frames.
const FRAMES: usize = 4_096;

#[handler]
fn subscribe(frames: Data<&Sender<Bytes>>) -> Response {
    let pieces = stream::unfold(frames.subscribe(), |mut heard| async move {
        loop {
            match heard.recv().await {
                Ok(frame) => return Some((Ok::<_, std::io::Error>(frame), heard)),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    // A first piece, so that the head goes out at once.
    let head = stream::iter([Ok(Bytes::from_static(b": hello\n\n"))]);
    Response::builder().content_type("text/event-stream").body(Body::from_bytes_stream(futures_util::StreamExt::chain(head, pieces)))
}

#[handler]
fn publish(frames: Data<&Sender<Bytes>>, body: Vec<u8>) -> StatusCode {
    let _ = frames.send(Bytes::from([b"data: ", &body[..], b"\n\n"].concat()));
    StatusCode::ACCEPTED
}

#[tokio::main]
async fn main() -> Result<(), std::io::Error> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8091".into());
    let (frames, _) = tokio::sync::broadcast::channel::<Bytes>(FRAMES);
    Server::new(TcpListener::bind(address)).run(Route::new().at("/sub", get(subscribe)).at("/pub", post(publish)).data(frames)).await
}
