//! Streams of HTTP/2 that nobody reads are cut off, each by itself.
//!
//! The socket says nothing of them: a client may read some streams of a connection and leave the window of others shut.
//! The HTTP library polls a body only when its last chunk went out, so a body that is not polled has an unread chunk.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, sleep_until};

use crate::http::server::activity::OpenRequest;

/// Time in which a reader must take one chunk, 20 s.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(20);
/// Largest chunk of a body that is watched, 16 KiB: the smaller, the slower a reader may be without being taken for stuck.
const MAX_WATCHED_CHUNK_BYTES: usize = 16 << 10;

/// Runs each stream of HTTP/2 connections as a task, which ends when its response is not read. The library resets a
/// stream whose task ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct StreamExecutor;

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for StreamExecutor {
    fn execute(&self, stream: F) {
        tokio::spawn(async move {
            let watch = Arc::new(StreamWatch::default());
            tokio::select! {
                () = WATCH.scope(watch.clone(), stream) => {}
                () = watch.stuck() => metrics::counter!("holdfast_stuck_readers_total").increment(1),
            }
        });
    }
}

tokio::task_local! {
    /// The watch of the stream whose task this is.
    static WATCH: Arc<StreamWatch>;
}

/// Since when a stream's reader has had an unread chunk.
#[derive(Debug)]
pub(super) struct StreamWatch {
    begun: Instant,
    /// In milliseconds since `begun`; [`NO_CHUNK`]: the reader has taken everything.
    unread_since_ms: AtomicU64,
}

const NO_CHUNK: u64 = u64::MAX;

impl Default for StreamWatch {
    fn default() -> Self {
        Self { begun: Instant::now(), unread_since_ms: AtomicU64::new(NO_CHUNK) }
    }
}

impl StreamWatch {
    fn set(&self, has_chunk: bool) {
        let since_ms = if has_chunk { self.begun.elapsed().as_millis() as u64 } else { NO_CHUNK };
        self.unread_since_ms.store(since_ms, Ordering::Relaxed);
    }

    /// Waits until a chunk was not read for [`CHUNK_TIMEOUT`]. It looks that often, so it is never late.
    async fn stuck(&self) {
        loop {
            let now = Instant::now();
            let next = match self.unread_since_ms.load(Ordering::Relaxed) {
                NO_CHUNK => now + CHUNK_TIMEOUT,
                since_ms => self.begun + Duration::from_millis(since_ms) + CHUNK_TIMEOUT,
            };
            if next <= now {
                return;
            }
            sleep_until(next).await;
        }
    }
}

/// The body of a response: it keeps its request open, and, on HTTP/2, says when its chunks are taken.
pub(super) struct WatchedBody<B> {
    body: B,
    /// The rest of a chunk that was too large.
    rest: Bytes,
    watch: Option<Arc<StreamWatch>>,
    _open: OpenRequest,
}

impl<B> WatchedBody<B> {
    /// Call it on the task of the stream.
    pub(super) fn new(body: B, open: OpenRequest) -> Self {
        let watch = WATCH.try_with(Clone::clone).ok();
        Self { body, rest: Bytes::new(), watch, _open: open }
    }
}

impl<B: Body<Data = Bytes, Error = io::Error> + Unpin> Body for WatchedBody<B> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        let Some(watch) = &this.watch else { return Pin::new(&mut this.body).poll_frame(context) };
        if this.rest.is_empty() {
            match Pin::new(&mut this.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(chunk) => this.rest = chunk,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => {
                    watch.set(false);
                    return other;
                }
            }
        }
        watch.set(true);
        let chunk = this.rest.split_to(this.rest.len().min(MAX_WATCHED_CHUNK_BYTES));
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        if let Some(exact) = hint.exact() {
            hint.set_exact(exact + rest);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chunk that was put there so many seconds ago.
    fn unread_for(seconds: u64) -> StreamWatch {
        let begun = Instant::now() - Duration::from_secs(seconds);
        StreamWatch { begun, unread_since_ms: AtomicU64::new(0) }
    }

    async fn is_stuck(watch: &StreamWatch) -> bool {
        tokio::time::timeout(Duration::from_millis(50), watch.stuck()).await.is_ok()
    }

    #[tokio::test]
    async fn a_chunk_that_is_not_taken_ends_the_wait_and_silence_does_not() {
        assert!(is_stuck(&unread_for(20)).await);
        assert!(!is_stuck(&unread_for(19)).await, "it still has a second");
        let watch = unread_for(20);
        watch.set(true);
        assert!(!is_stuck(&watch).await, "the one before was taken");
        watch.set(false);
        assert!(!is_stuck(&watch).await, "nothing is unread");
    }
}
