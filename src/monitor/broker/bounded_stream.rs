//! The socket to a broker, with bounds: of each reply, and of what all brokers of a replica have sent of replies that are not complete.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::reply_scanner::{Refused, ReplyScanner};

/// Most bytes of incomplete replies of all brokers together, 64 MiB. What would pass it is refused, and asked for again in smaller pieces.
const MAX_PENDING_BYTES: u64 = 64 << 20;

/// Bytes of incomplete replies on all connections of this replica.
static PENDING_BYTES: AtomicU64 = AtomicU64::new(0);

/// The beginning of this process' time.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What is known of a connection beside its replies.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// When the last bytes came, in milliseconds since [`START`].
    received_ms: AtomicU64,
    too_large: AtomicBool,
    ended: AtomicBool,
}

impl Progress {
    fn note_received(&self) {
        self.received_ms.store(START.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// How long nothing has come.
    pub(super) fn silence(&self) -> Duration {
        START.elapsed().saturating_sub(Duration::from_millis(self.received_ms.load(Ordering::Relaxed)))
    }

    /// Whether it ended because a reply was too large.
    pub(super) fn is_too_large(&self) -> bool {
        self.too_large.load(Ordering::Relaxed)
    }

    /// Whether the connection is of no more use.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Notes that the connection is of no more use.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// A stream whose incoming replies are bounded.
pub(super) struct BoundedStream<S> {
    stream: S,
    scanner: ReplyScanner,
    /// Our part of [`PENDING_BYTES`].
    pending: u64,
    progress: Arc<Progress>,
}

impl<S> BoundedStream<S> {
    pub(super) fn new(stream: S, progress: Arc<Progress>) -> Self {
        progress.note_received();
        Self { stream, scanner: ReplyScanner::default(), pending: 0, progress }
    }

    /// Checks what has come.
    fn check(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.progress.note_received();
        if bytes.is_empty() {
            self.progress.end();
        }
        let scanned = self.scanner.scan(bytes);
        let pending = self.scanner.pending_bytes();
        let before = PENDING_BYTES.fetch_add(pending, Ordering::Relaxed);
        PENDING_BYTES.fetch_sub(self.pending, Ordering::Relaxed);
        let all = before.saturating_sub(self.pending) + pending;
        let is_over = all > MAX_PENDING_BYTES && pending > self.pending;
        self.pending = pending;
        let refused = match scanned {
            Ok(()) if !is_over => return Ok(()),
            Ok(()) => Refused::TooLarge,
            Err(refused) => refused,
        };
        self.progress.end();
        if refused == Refused::TooLarge {
            self.progress.too_large.store(true, Ordering::Relaxed);
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "a reply of the broker is refused"))
    }
}

impl<S> Drop for BoundedStream<S> {
    fn drop(&mut self) {
        self.progress.end();
        PENDING_BYTES.fetch_sub(self.pending, Ordering::Relaxed);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for BoundedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let checked = self.check(&buffer.filled()[before..]);
        if checked.is_err() {
            // Who reads is given nothing of what is refused.
            buffer.set_filled(before);
        }
        Poll::Ready(checked)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for BoundedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn a_reply_that_is_too_large_ends_the_connection_and_gives_its_bytes_back() {
        let head = b"+OK\r\n*2\r\n$100\r\nhalf of it".as_slice();
        let progress = Arc::new(Progress::default());
        let mut stream = BoundedStream::new(tokio_test_stream(&[head, b"$4000000000\r\n"].concat()), progress.clone());
        let mut read = Vec::new();
        // The first bytes are incomplete; the head of a bulk string stands inside one, so the whole is malformed, not too large.
        let ended = stream.read_to_end(&mut read).await;
        assert!(ended.is_ok() && !progress.is_too_large());
        assert!(progress.has_ended(), "the end of the stream");

        let progress = Arc::new(Progress::default());
        let mut stream = BoundedStream::new(tokio_test_stream(b"*2\r\n:1\r\n$4000000000\r\nx"), progress.clone());
        assert!(stream.read_to_end(&mut read).await.is_err());
        assert!(progress.is_too_large() && progress.has_ended());
    }

    fn tokio_test_stream(bytes: &[u8]) -> impl AsyncRead + Unpin + use<> {
        io::Cursor::new(bytes.to_vec())
    }
}
