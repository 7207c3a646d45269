//! A connection's socket: how long a peer may be gone or stuck, and how its bytes are read and written.

use std::{
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

/// At most so much of a stream lies unsent in the kernel: a reader that is stuck would hold megabytes otherwise.
const SEND_BUFFER: usize = 64 << 10;
/// A peer that vanished is noticed after this long without an acknowledgement. A silent stream speaks every 15 s, so its place is
/// free again within 30 s.
pub(in crate::http) const VANISHED: Duration = Duration::from_secs(12);
/// One that is there, but takes no byte of what waits for it, is cut off after this long.
const STUCK: Duration = Duration::from_secs(20);

/// Sets what every connection needs.
pub(in crate::http) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(stream);
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(VANISHED).with_interval(VANISHED / 4))?;
    socket.set_tcp_user_timeout(Some(VANISHED))
}

impl ChunkSink for OwnedWriteHalf {
    fn try_write(&self, chunk: &[u8]) -> io::Result<usize> {
        Self::try_write(self, chunk)
    }
}

/// The connection as the HTTP library uses it, and its half for writing, which may outlive that.
///
/// In halves because tokio's own reading needs its stream for itself: it knows that a read which did not fill its buffer has emptied the
/// socket. Reading a shared stream costs a second system call per request that finds nothing: 4 % of a replica's time.
pub(in crate::http) fn halves(stream: TcpStream) -> (Join<OwnedReadHalf, WriteTimeout>, Arc<OwnedWriteHalf>) {
    let (reads, writes) = stream.into_split();
    let writes = Arc::new(writes);
    (tokio::io::join(reads, WriteTimeout::new(writes.clone())), writes)
}

/// A connection whose peer must take something within [`STUCK`] once something waits for it.
///
/// While it is stuck this clock decides, and the kernel's own (`TCP_USER_TIMEOUT`, which cannot tell a stuck reader from a vanished
/// one) is put further away.
pub(in crate::http) struct WriteTimeout {
    stream: Arc<OwnedWriteHalf>,
    stuck: Option<Pin<Box<Sleep>>>,
}

impl WriteTimeout {
    pub(in crate::http) fn new(stream: Arc<OwnedWriteHalf>) -> Self {
        Self { stream, stuck: None }
    }

    /// Writes by `write` as soon as the socket takes something.
    fn write_when_ready(
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
        self.watched(context, written)
    }

    fn watched(&mut self, context: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let kernels = |stream: &OwnedWriteHalf, timeout| {
            socket2::SockRef::from(stream.as_ref()).set_tcp_user_timeout(Some(timeout))
        };
        if written.is_ready() {
            if self.stuck.take().is_some() {
                // It may be gone already; the next write says so.
                let _ = kernels(&self.stream, VANISHED);
            }
            return written;
        }
        if self.stuck.is_none() {
            let _ = kernels(&self.stream, STUCK + VANISHED);
            self.stuck = Some(Box::pin(sleep(STUCK)));
        }
        match self.stuck.as_mut().map(|stuck| stuck.as_mut().poll(context)) {
            Some(Poll::Ready(())) => {
                metrics::counter!("holdfast_stuck_readers_total").increment(1);
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            _ => Poll::Pending,
        }
    }
}

impl AsyncWrite for WriteTimeout {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.write_when_ready(context, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write_when_ready(context, |stream| stream.try_write_vectored(bytes))
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

/// Waits until the peer closes. What it still sends is not read by anybody.
pub(in crate::http) async fn closed(stream: &OwnedWriteHalf) {
    let stream = stream.as_ref();
    let mut nothing = [0; 64];
    loop {
        if stream.readable().await.is_err() {
            return;
        }
        match stream.try_read(&mut nothing) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
