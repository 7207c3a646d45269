//! A connection's socket: its options, the timeouts of a client that vanished or does not read, and its halves.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use socket2::TcpKeepalive;
use tokio::{
    io::{AsyncWrite, Join},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::{Sleep, sleep},
};

use crate::feed::ChunkSink;

/// Kernel's send buffer, 64 KiB: a client that does not read would hold megabytes otherwise.
const SEND_BUFFER_BYTES: usize = 64 << 10;
/// A client that acknowledges nothing for this long has vanished. A silent stream writes every 15 s, so its slot is
/// free within 30 s.
pub(super) const ACK_TIMEOUT: Duration = Duration::from_secs(12);
/// Timeout of a write: a client that acknowledges but does not read is cut off.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);

/// Sets the options of an accepted socket.
///
/// # Errors
/// When the client is gone already.
pub(super) fn configure(stream: &TcpStream) -> io::Result<()> {
    // Nagle's algorithm would delay small writes, and nearly all of ours are small.
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(stream);
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(ACK_TIMEOUT).with_interval(ACK_TIMEOUT / 4))?;
    socket.set_tcp_user_timeout(Some(ACK_TIMEOUT))
}

impl ChunkSink for OwnedWriteHalf {
    fn try_write(&self, chunk: &[u8]) -> io::Result<usize> {
        Self::try_write(self, chunk)
    }
}

/// The connection as the HTTP library uses it, and its write half, which may outlive that.
///
/// In halves because only an exclusive reader knows that a read which did not fill its buffer has emptied the socket.
/// Reading a shared stream takes a second system call per request: 4 % of a replica's CPU time.
pub(super) fn split(stream: TcpStream) -> (Join<OwnedReadHalf, WriteTimeout>, Arc<OwnedWriteHalf>) {
    let (read_half, write_half) = stream.into_split();
    let write_half = Arc::new(write_half);
    (tokio::io::join(read_half, WriteTimeout::new(write_half.clone())), write_half)
}

/// A write half whose writes fail with [`io::ErrorKind::TimedOut`] after [`WRITE_TIMEOUT`] without progress.
///
/// The kernel's `TCP_USER_TIMEOUT` cannot tell a client that does not read from one that vanished, so it is extended
/// while a write waits.
pub(super) struct WriteTimeout {
    stream: Arc<OwnedWriteHalf>,
    /// Set while a write waits.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl WriteTimeout {
    pub(super) fn new(stream: Arc<OwnedWriteHalf>) -> Self {
        Self { stream, deadline: None }
    }

    fn poll_write_with(
        &mut self,
        context: &mut Context<'_>,
        write: impl Fn(&OwnedWriteHalf) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let written = loop {
            match self.stream.as_ref().as_ref().poll_write_ready(context) {
                Poll::Pending => break Poll::Pending,
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) => match write(&self.stream) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    written => break Poll::Ready(written),
                },
            }
        };
        if written.is_ready() {
            self.clear_deadline();
            return written;
        }
        self.poll_deadline(context)
    }

    fn clear_deadline(&mut self) {
        if self.deadline.take().is_some() {
            self.set_ack_timeout(ACK_TIMEOUT);
        }
    }

    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.deadline.is_none() {
            self.set_ack_timeout(WRITE_TIMEOUT + ACK_TIMEOUT);
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(WRITE_TIMEOUT)));
        deadline.as_mut().poll(context).map(|()| {
            metrics::counter!("holdfast_stuck_readers_total").increment(1);
            Err(io::ErrorKind::TimedOut.into())
        })
    }

    fn set_ack_timeout(&self, timeout: Duration) {
        // It fails if the connection is gone; the next write reports that.
        let _ = socket2::SockRef::from(self.stream.as_ref().as_ref()).set_tcp_user_timeout(Some(timeout));
    }
}

impl AsyncWrite for WriteTimeout {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_with(context, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(context, |stream| stream.try_write_vectored(bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(socket2::SockRef::from(self.stream.as_ref().as_ref()).shutdown(std::net::Shutdown::Write))
    }
}

/// Most bytes that a client may send on its event stream, 64 KiB. Nothing is asked of it, so more is a fault or an attack.
const MAX_UNASKED_BYTES: usize = 64 << 10;
/// Buffer for what is discarded, one per thread: in the future of every stream it would be most of that.
const DISCARD_BYTES: usize = 16 << 10;

thread_local! {
    static DISCARDED: RefCell<Vec<u8>> = RefCell::new(vec![0; DISCARD_BYTES]);
}

/// Waits until the client closes its side, or has sent more than [`MAX_UNASKED_BYTES`]. What it sends is discarded.
pub(super) async fn closed(stream: &OwnedWriteHalf) {
    let stream = stream.as_ref();
    let mut unasked = 0;
    while unasked <= MAX_UNASKED_BYTES {
        if stream.readable().await.is_err() {
            return;
        }
        match DISCARDED.with_borrow_mut(|discarded| stream.try_read(discarded)) {
            Ok(0) => return,
            Ok(read) => unasked += read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
        // A socket that is always readable would keep the runtime from everything else.
        tokio::task::yield_now().await;
    }
    metrics::counter!("holdfast_talking_readers_total").increment(1);
}
