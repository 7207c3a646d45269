//! Hand-off of open event streams from the HTTP library to the raw connection.
//!
//! A stream holds its connection for hours, and the library's buffers with it. So on HTTP/1.1 without TLS, where
//! nothing else comes on the connection, the library is dropped once the stream begins, and the stream writes its
//! response to the socket itself. Elsewhere (TLS, HTTP/2, HTTP/1.0) the stream is the body of the response.
//!
//! The steps: a handler attaches a [`StreamHandoff`] to its response; [`ConnectionHandoff::claim`] finds it there and
//! sends the stream to the task that serves the connection; that task drops the library and calls
//! [`HandedOver::serve`].

use std::{
    io,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::{io::AsyncWriteExt, net::tcp::OwnedWriteHalf, sync::oneshot};

use crate::{
    http::{
        pipeline::request_head::write_headers,
        server::{
            connection::{WriteTimeout, closed},
            open_stream::OpenStream,
        },
    },
    sync::lock,
};

/// Hands an open stream to the response's body or to the raw connection; the first to take it owns it.
#[derive(Clone)]
pub(in crate::http) struct StreamHandoff(Arc<Mutex<Option<OpenStream>>>);

impl StreamHandoff {
    /// Attaches a stream to a response, of which it becomes the body unless the connection claims it.
    pub(in crate::http) fn attach(
        stream: OpenStream,
        response: impl FnOnce(poem::Body) -> poem::Response,
    ) -> poem::Response {
        let handoff = Self(Arc::new(Mutex::new(Some(stream))));
        let mut response = response(poem::Body::from_bytes_stream(handoff.clone().into_body()));
        response.extensions_mut().insert(handoff);
        response
    }

    fn take(&self) -> Option<OpenStream> {
        lock(&self.0).take()
    }

    /// The stream as a body. It is taken when the body is first polled, which never happens to the body of a claimed
    /// response.
    fn into_body(self) -> impl Stream<Item = Result<Bytes, io::Error>> + Send + 'static {
        enum State {
            NotTaken(StreamHandoff),
            Taken(OpenStream),
            Ended,
        }
        stream::unfold(State::NotTaken(self), async |state| {
            let mut open = match state {
                State::NotTaken(handoff) => handoff.take()?,
                State::Taken(open) => open,
                State::Ended => return None,
            };
            let chunk = open.next().await?;
            Some((Ok(chunk.bytes), if chunk.is_last { State::Ended } else { State::Taken(open) }))
        })
    }
}

/// The way by which a connection's stream reaches the task that serves the connection. It works once.
#[derive(Clone)]
pub(super) struct ConnectionHandoff(Arc<Mutex<Option<oneshot::Sender<HandedOver>>>>);

/// A stream without the HTTP library: the head of its response, and what follows.
pub(super) struct HandedOver {
    head: Vec<u8>,
    stream: OpenStream,
}

impl ConnectionHandoff {
    pub(super) fn new() -> (Self, oneshot::Receiver<HandedOver>) {
        let (sender, receiver) = oneshot::channel();
        (Self(Arc::new(Mutex::new(Some(sender)))), receiver)
    }

    /// Sends the response's stream to the connection's task, if it has one; returns whether it did. The response must
    /// not be answered then.
    pub(super) fn claim(&self, response: &poem::Response) -> bool {
        let Some(handoff) = response.extensions().get::<StreamHandoff>() else { return false };
        let Some(sender) = lock(&self.0).take() else { return false };
        let Some(stream) = handoff.take() else { return false };
        // It fails when the connection's task is gone, and the stream with it.
        let _ = sender.send(HandedOver { head: response_head(response), stream });
        true
    }
}

/// The head of a response whose body comes in chunks.
fn response_head(response: &poem::Response) -> Vec<u8> {
    let date = chrono::Utc::now().format("%a, %d %b %Y %T GMT");
    let mut head =
        format!("HTTP/1.1 {}\r\ndate: {date}\r\ntransfer-encoding: chunked\r\n", response.status()).into_bytes();
    write_headers(response.headers(), &mut head);
    head
}

impl HandedOver {
    /// Writes the response until the stream ends, the client closes, or a write times out.
    pub(super) async fn serve(mut self, socket: Arc<OwnedWriteHalf>) {
        tokio::select! {
            // An error means that the client is gone or does not read.
            _ = self.write(&socket) => {}
            () = closed(&socket) => {}
        }
    }

    /// By reference: the future would hold the stream twice otherwise, and an idle stream is little more than this future.
    async fn write(&mut self, socket: &Arc<OwnedWriteHalf>) -> io::Result<()> {
        let mut to = WriteTimeout::new(socket.clone());
        to.write_all(&std::mem::take(&mut self.head)).await?;
        // From here on broadcasts write to the same socket while `next` waits.
        self.stream.set_sink(socket.clone());
        loop {
            let next = self.stream.next().await;
            to.write_all(&self.stream.take_unsent()).await?;
            let Some(chunk) = next else { break };
            if !chunk.bytes.is_empty() {
                write_chunk(&mut to, &chunk.bytes).await?;
            }
            if chunk.is_last {
                break;
            }
        }
        to.write_all(b"0\r\n\r\n").await?;
        to.shutdown().await
    }
}

/// Writes one chunk of HTTP/1.1's chunked transfer coding. The bytes must not be empty: an empty chunk ends the body.
async fn write_chunk(to: &mut WriteTimeout, bytes: &[u8]) -> io::Result<()> {
    let size_line = format!("{:x}\r\n", bytes.len());
    let mut parts = [io::IoSlice::new(size_line.as_bytes()), io::IoSlice::new(bytes), io::IoSlice::new(b"\r\n")];
    let mut parts = &mut parts[..];
    while !parts.is_empty() {
        let written = to.write_vectored(parts).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        io::IoSlice::advance_slices(&mut parts, written);
    }
    Ok(())
}
