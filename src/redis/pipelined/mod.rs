//! A pipelined connection to one server without TLS: commands go out, replies come back in their order, and published messages between them.
//!
//! Hot path: almost every request waits for it. redis-rs' connections can do more (TLS, clusters: `transport.rs`), and each command costs
//! more there: a queue, an encoding, a timer and a parser of its own, together a sixth of the instructions of a request. Here a command is
//! encoded into the common buffer, and one task writes and reads for all, so that commands of the same moment share a system call.

mod io_task;
mod shared;

use std::{io, pin::pin, sync::Arc};

use redis::{ConnectionAddr, ConnectionInfo, RedisError, Value};
use tokio::{
    net::{TcpStream, UnixStream},
    time::Instant,
};

use futures_util::future::try_join_all;
use io_task::{Incoming, IoTask};
use shared::{NotEnqueued, Outgoing, Shared};

use crate::redis::resp::Command;

/// What a connection delivers without a command.
#[derive(Debug)]
pub(super) enum Push<'a> {
    /// The payload of a message on a subscribed channel.
    Message(&'a [u8]),
    /// A channel is not subscribed any more. A cluster says so by itself when the channel's slot moves to another node.
    Unsubscribed(&'a [u8]),
    /// The connection has ended. One to a cluster reconnects by itself.
    Ended,
}

/// Why a command gets no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendError {
    /// The connection had ended before the command was sent.
    Unsent,
    /// The connection ended before the reply, or [`TIMEOUT`](crate::redis::TIMEOUT) did: only asking again can tell.
    Unknown,
}

/// The connection. The last clone closes it.
#[derive(Debug, Clone)]
pub(super) struct PipelinedConnection(Arc<CloseOnDrop>);

#[derive(Debug)]
struct CloseOnDrop(Arc<Shared>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl PipelinedConnection {
    /// Connects and authenticates, on the present runtime; `on_push` gets published messages, and the end of the connection.
    ///
    /// # Errors
    /// As redis-rs has them. An address with TLS is [`io::ErrorKind::Unsupported`].
    pub(super) async fn open(
        server: &ConnectionInfo,
        on_push: impl Fn(Push<'_>) + Send + 'static,
    ) -> Result<Self, RedisError> {
        let (incoming, outgoing): (Incoming, _) = match server.addr() {
            ConnectionAddr::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                let (incoming, outgoing) = stream.into_split();
                (Box::new(incoming), Outgoing::Tcp(outgoing))
            }
            ConnectionAddr::Unix(path) => {
                let (incoming, outgoing) = UnixStream::connect(path).await?.into_split();
                (Box::new(incoming), Outgoing::Unix(outgoing))
            }
            _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "a pipelined connection has no TLS").into()),
        };
        let shared = Arc::new(Shared::new(outgoing));
        tokio::spawn(IoTask::run(incoming, shared.clone(), Box::new(on_push)));
        let connection = Self(Arc::new(CloseOnDrop(shared)));
        connection.handshake(server).await?;
        Ok(connection)
    }

    /// Authenticates, selects the database, and names the client library, in one round trip: a link may be 300 ms long.
    async fn handshake(&self, server: &ConnectionInfo) -> Result<(), RedisError> {
        let settings = server.redis_settings();
        let database = settings.db().to_string();
        let auth = settings
            .password()
            .map(|password| ["AUTH"].into_iter().chain(settings.username()).chain([password]).collect::<Vec<_>>());
        let select = (settings.db() != 0).then(|| vec!["SELECT", &database]);
        let needed = auth.into_iter().chain(select).collect::<Vec<_>>();
        // For CLIENT LIST. Servers before 7.2 answer with an error, which changes nothing.
        let names = [("LIB-NAME", "holdfast"), ("LIB-VER", env!("CARGO_PKG_VERSION"))]
            .map(|(what, value)| vec!["CLIENT", "SETINFO", what, value]);
        let replies = try_join_all(needed.iter().chain(&names).map(|command| self.request(command))).await?;
        replies.into_iter().take(needed.len()).try_for_each(|reply| reply.extract_error().map(drop))
    }

    async fn request(&self, command: &[&str]) -> io::Result<Value> {
        let sent = self.send(Instant::now(), command).await;
        sent.map_err(|_| self.0.0.failure().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into()))
    }

    /// Sends a command and waits for its reply, [`TIMEOUT`](crate::redis::TIMEOUT) from `since` on, the present moment. An error of Redis
    /// is a reply, too.
    ///
    /// # Errors
    /// Why no reply will come.
    ///
    /// # Cancellation
    /// Dropping the future does not take back a command that was sent.
    pub(super) async fn send<C: Command + ?Sized>(&self, since: Instant, command: &C) -> Result<Value, SendError> {
        loop {
            match self.0.0.enqueue(since, command) {
                Ok(replied) => return replied.await.map_err(|_| SendError::Unknown),
                Err(NotEnqueued::Closed) => return Err(SendError::Unsent),
                Err(NotEnqueued::Full) => self.capacity().await,
            }
        }
    }

    /// Waits until there may be capacity for one more command.
    async fn capacity(&self) {
        let shared = &self.0.0;
        let mut capacity = pin!(shared.capacity.notified());
        capacity.as_mut().enable();
        let is_full = {
            let state = shared.state();
            !state.is_closed && state.is_full()
        };
        if is_full {
            capacity.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        sync::Notify,
    };

    use super::*;
    use crate::redis::TIMEOUT;

    /// A connection to a server that sends `replies`, each so long after the one before.
    async fn connection_to(replies: Vec<(Duration, &'static [u8])>) -> (PipelinedConnection, Arc<Notify>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            // CLIENT SETINFO twice, in one piece.
            let mut handshake = Vec::new();
            while handshake.windows(7).filter(|bytes| *bytes == b"SETINFO").count() < 2 {
                assert!(stream.read_buf(&mut handshake).await.unwrap() > 0);
            }
            stream.write_all(b"-ERR unknown subcommand\r\n-ERR unknown subcommand\r\n").await.unwrap();
            for (after, reply) in replies {
                tokio::time::sleep(after).await;
                stream.write_all(reply).await.unwrap();
            }
            stream.flush().await.unwrap();
        });
        let info = redis::IntoConnectionInfo::into_connection_info(format!("redis://{address}")).unwrap();
        let closed = Arc::new(Notify::new());
        let notify = closed.clone();
        let on_push = move |push: Push<'_>| {
            if matches!(push, Push::Ended) {
                notify.notify_one();
            }
        };
        (PipelinedConnection::open(&info, on_push).await.unwrap(), closed)
    }

    const PING: &[&str] = &["PING"];

    #[tokio::test]
    async fn a_caller_that_times_out_gets_nothing_and_the_next_gets_its_own_reply() {
        let half = TIMEOUT / 2;
        let (connection, _) = connection_to(vec![
            (TIMEOUT + half / 2, b"+first\r\n+sec"),
            (Duration::from_millis(50), b"ond\r\n"),
            (half * 3, b""),
        ])
        .await;
        let first = connection.send(Instant::now(), PING);
        let second = async {
            tokio::time::sleep(half).await;
            connection.send(Instant::now(), PING).await
        };
        let (first, second) = tokio::join!(first, second);
        assert_eq!((first, second), (Err(SendError::Unknown), Ok(Value::SimpleString("second".into()))));
    }

    #[tokio::test]
    async fn a_connection_that_ends_leaves_nobody_waiting() {
        let (connection, closed) = connection_to(vec![(Duration::from_millis(50), b"+first\r\n")]).await;
        let calls =
            async { tokio::join!(connection.send(Instant::now(), PING), connection.send(Instant::now(), PING)) };
        let (first, second) = tokio::time::timeout(TIMEOUT / 2, calls).await.unwrap();
        assert_eq!((first, second), (Ok(Value::SimpleString("first".into())), Err(SendError::Unknown)));
        closed.notified().await;
        assert_eq!(connection.send(Instant::now(), PING).await, Err(SendError::Unsent));
    }
}
