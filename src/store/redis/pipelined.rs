//! A connection to one server: commands go out, replies come back in their order, and between them what is published.
//!
//! It is what almost every request waits for. redis-rs' connections can do more (TLS, clusters: `wire.rs`), and each call
//! costs more there: a queue, an encoding, a timer and a parser of its own, together a sixth of the instructions of a request. Here a
//! call goes straight into the common buffer, and one task writes and reads for all, so that calls of the same moment share a write.

use std::{
    collections::VecDeque,
    future::Future,
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use redis::{ConnectionAddr, ConnectionInfo, RedisError, Value};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::{TcpStream, UnixStream, tcp, unix},
    sync::{Notify, oneshot},
    time::{Instant, Sleep},
};

use crate::store::{
    TIMEOUT,
    redis::{
        resp::{Arguments, Command, KEPT, MESSAGE, malformed, read, read_message},
        transport::Push,
    },
};

/// So many calls are written at once, however many more there may be at this moment: Redis is to begin while we go on.
const TOGETHER: usize = 8;
/// So many calls, or so many bytes of them that are not written yet, are waited for; more than that wait for a place.
const CALLS: usize = 4_096;
const UNWRITTEN: usize = 8 << 20;
/// The least room for what is read.
const PIECE: usize = 16 << 10;

/// The connection. The last clone closes it.
#[derive(Debug, Clone)]
pub(in crate::store) struct PipelinedConnection(Arc<End>);

/// Our end of it.
#[derive(Debug)]
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[derive(Debug)]
struct Shared {
    outgoing: Outgoing,
    state: Mutex<State>,
    /// The task that reads, and writes what nobody else has written.
    task: AtomicWaker,
    /// There may be a place again.
    room: Notify,
}

/// The half of the connection that is written to.
#[derive(Debug)]
enum Outgoing {
    Tcp(tcp::OwnedWriteHalf),
    Unix(unix::OwnedWriteHalf),
}

/// The other half.
type Incoming = Box<dyn AsyncRead + Send + Unpin>;

/// Who gets what comes unasked.
type PushCallback = Box<dyn Fn(Push<'_>) + Send>;

#[derive(Debug, Default)]
struct State {
    command: Command,
    /// What is to be written next, and how many calls that is.
    out: Vec<u8>,
    unwritten: usize,
    /// Who waits for a reply, in the order of their calls.
    waiting: VecDeque<Waiter>,
    closed: bool,
}

#[derive(Debug)]
struct Waiter {
    /// `None`: it waited for too long, but its reply still has to come before the next one.
    reply: Option<oneshot::Sender<Value>>,
    since: Instant,
}

/// No reply will come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum SendError {
    /// The connection had ended before the call was sent.
    Unsent,
    /// The connection ended before the reply, or [`TIMEOUT`] did: only asking again can tell.
    Unknown,
}

/// Why a call was not put among those that wait.
enum Refused {
    Full,
    Closed,
}

impl Outgoing {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(half) => half.try_write(bytes),
            Self::Unix(half) => half.try_write(bytes),
        }
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(half) => half.as_ref().poll_write_ready(context),
            Self::Unix(half) => half.as_ref().poll_write_ready(context),
        }
    }
}

impl State {
    fn is_full(&self) -> bool {
        self.waiting.len() >= CALLS || self.out.len() >= UNWRITTEN
    }

    /// Writes what the stream takes at once.
    fn write(&mut self, to: &Outgoing) -> io::Result<()> {
        while !self.out.is_empty() {
            match to.try_write(&self.out)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => drop(self.out.drain(..written)),
            }
        }
        self.unwritten = 0;
        self.out.shrink_to(KEPT);
        Ok(())
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody waits any more, and nobody will.
    fn close(&self) {
        let waiting = {
            let mut state = self.state();
            state.closed = true;
            std::mem::take(&mut state.waiting)
        };
        drop(waiting);
        self.room.notify_waiters();
        self.task.wake();
    }
}

impl PipelinedConnection {
    /// Connects, on the present runtime; `told` gets what is published, and that the connection has ended.
    ///
    /// # Errors
    /// As redis-rs tells them, for addresses without TLS; others are not for here.
    pub(in crate::store) async fn open(
        info: &ConnectionInfo,
        told: impl Fn(Push<'_>) + Send + 'static,
    ) -> Result<Self, RedisError> {
        let (incoming, outgoing): (Incoming, _) = match info.addr() {
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
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "a connection of this kind carries no plain calls",
                )
                .into());
            }
        };
        let shared =
            Arc::new(Shared { outgoing, state: Mutex::default(), task: AtomicWaker::new(), room: Notify::new() });
        tokio::spawn(Task::run(incoming, shared.clone(), Box::new(told)));
        let lane = Self(Arc::new(End(shared)));
        lane.introduce(info).await?;
        Ok(lane)
    }

    /// Says who we are.
    async fn introduce(&self, info: &ConnectionInfo) -> Result<(), RedisError> {
        let settings = info.redis_settings();
        if let Some(password) = settings.password() {
            let name = settings.username();
            self.say(&["AUTH"].into_iter().chain(name).chain([password]).collect::<Vec<_>>()).await?.extract_error()?;
        }
        if settings.db() != 0 {
            self.say(&["SELECT", &settings.db().to_string()]).await?.extract_error()?;
        }
        // For those who read CLIENT LIST; servers before 7.2 know nothing of it.
        for (what, value) in [("LIB-NAME", "holdfast"), ("LIB-VER", env!("CARGO_PKG_VERSION"))] {
            self.say(&["CLIENT", "SETINFO", what, value]).await?;
        }
        Ok(())
    }

    async fn say(&self, command: &[&str]) -> io::Result<Value> {
        let write = |to: &mut dyn Arguments| command.iter().for_each(|part| to.text(part));
        self.call(1, std::time::Instant::now(), write).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Sends what `write` writes and waits for its reply. An error of Redis is a reply, too. It stands for so many calls; `since` is the present moment.
    ///
    /// # Errors
    /// Why no reply will come.
    pub(in crate::store) async fn call(
        &self,
        calls: u32,
        since: std::time::Instant,
        write: impl Fn(&mut dyn Arguments),
    ) -> Result<Value, SendError> {
        loop {
            match self.put(calls, since, &write) {
                Ok(replied) => return replied.await.map_err(|_| SendError::Unknown),
                Err(Refused::Closed) => return Err(SendError::Unsent),
                Err(Refused::Full) => self.room().await,
            }
        }
    }

    fn put(
        &self,
        calls: u32,
        since: std::time::Instant,
        write: impl Fn(&mut dyn Arguments),
    ) -> Result<oneshot::Receiver<Value>, Refused> {
        let (reply, replied) = oneshot::channel();
        let shared = &self.0.0;
        let mut state = shared.state();
        if state.closed {
            return Err(Refused::Closed);
        }
        if state.is_full() {
            return Err(Refused::Full);
        }
        let State { command, out, unwritten, waiting, .. } = &mut *state;
        command.begin();
        write(command);
        out.extend_from_slice(command.end());
        waiting.push_back(Waiter { reply: Some(reply), since: since.into() });
        let before = *unwritten;
        *unwritten += calls as usize;
        let is_enough = *unwritten / TOGETHER > before / TOGETHER;
        // What goes wrong here, the task will find, too.
        let failed = is_enough && state.write(&shared.outgoing).is_err();
        let tells = failed || before == 0;
        drop(state);
        if tells {
            shared.task.wake();
        }
        Ok(replied)
    }

    /// Waits until there may be a place.
    async fn room(&self) {
        let mut room = pin!(self.0.0.room.notified());
        room.as_mut().enable();
        let is_full = {
            let state = self.0.0.state();
            !state.closed && state.is_full()
        };
        if is_full {
            room.await;
        }
    }
}

/// Writes what is left to be written, reads what comes, and gives each reply to whom it belongs.
struct Task {
    incoming: Incoming,
    shared: Arc<Shared>,
    told: PushCallback,
    /// What was read and not yet understood.
    heard: Vec<u8>,
    /// When to look for those that have waited for too long. Whoever comes later waits at least as long.
    look: Pin<Box<Sleep>>,
    looks: bool,
}

impl Task {
    async fn run(incoming: Incoming, shared: Arc<Shared>, told: PushCallback) {
        let mut task = Self {
            incoming,
            shared,
            told,
            heard: Vec::new(),
            look: Box::pin(tokio::time::sleep(Duration::ZERO)),
            looks: false,
        };
        // How it ends makes no difference to those who wait.
        let _ = std::future::poll_fn(|context| task.poll(context)).await;
        task.shared.close();
        (task.told)(Push::Ended);
    }

    /// Ready when the connection has ended.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.task.register(context.waker());
        self.poll_write(context)?;
        if self.poll_read(context)?.is_ready() {
            return Poll::Ready(Ok(()));
        }
        self.poll_look(context);
        if self.shared.state().closed { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_write(&self, context: &mut Context<'_>) -> io::Result<()> {
        loop {
            match self.shared.state().write(&self.shared.outgoing) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                ended => return ended,
            }
            match self.shared.outgoing.poll_ready(context) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => return Ok(()),
            }
        }
    }

    /// Ready when nothing more can come.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            // As much again as there is, so that a long reply is looked at few times.
            self.heard.reserve(PIECE.max(self.heard.len()));
            if ready!(pin!(self.incoming.read_buf(&mut self.heard)).poll(context))? == 0 {
                return Poll::Ready(Ok(()));
            }
            self.hand_out()?;
        }
    }

    fn hand_out(&mut self) -> io::Result<()> {
        let mut understood = 0;
        loop {
            let heard = &self.heard[understood..];
            if heard.starts_with(MESSAGE) {
                let Some((message, size)) = read_message(heard)? else { break };
                (self.told)(Push::Payload(message));
                understood += size;
            } else {
                let Some((value, size)) = read(heard)? else { break };
                self.hand_over(value)?;
                understood += size;
            }
        }
        self.heard.drain(..understood);
        if self.heard.is_empty() {
            self.heard.shrink_to(KEPT);
        }
        Ok(())
    }

    /// Gives a reply to whom it belongs.
    fn hand_over(&self, value: Value) -> io::Result<()> {
        let mut state = self.shared.state();
        let was_full = state.is_full();
        let waiter = state.waiting.pop_front().ok_or_else(|| malformed("a reply that nobody waits for"))?;
        drop(state);
        if let Some(reply) = waiter.reply {
            // Whoever has given up needs no reply.
            let _ = reply.send(value);
        }
        if was_full {
            self.shared.room.notify_waiters();
        }
        Ok(())
    }

    /// Lets those go that have waited for too long.
    fn poll_look(&mut self, context: &mut Context<'_>) {
        loop {
            if self.looks && self.look.as_mut().poll(context).is_pending() {
                return;
            }
            let now = Instant::now();
            let mut state = self.shared.state();
            let late = state.waiting.iter().take_while(|waiter| now.duration_since(waiter.since) >= TIMEOUT).count();
            state.waiting.iter_mut().take(late).for_each(|waiter| waiter.reply = None);
            let next = state.waiting.get(late).map(|waiter| waiter.since + TIMEOUT);
            drop(state);
            self.looks = next.is_some();
            match next {
                Some(next) => self.look.as_mut().reset(next),
                None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// A lane to a server that answers `replies` once it has read so many commands, each `after` the one before.
    async fn lane_to(replies: Vec<(Duration, &'static [u8])>) -> (PipelinedConnection, Arc<Notify>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            // CLIENT SETINFO twice, each waited for.
            for _ in 0..2 {
                assert!(stream.read(&mut [0; 256]).await.unwrap() > 0);
                stream.write_all(b"-ERR unknown subcommand\r\n").await.unwrap();
            }
            for (after, reply) in replies {
                tokio::time::sleep(after).await;
                stream.write_all(reply).await.unwrap();
            }
            stream.flush().await.unwrap();
        });
        let info = redis::IntoConnectionInfo::into_connection_info(format!("redis://{address}")).unwrap();
        let closed = Arc::new(Notify::new());
        let tell = closed.clone();
        let told = move |said: Push<'_>| {
            if matches!(said, Push::Ended) {
                tell.notify_one();
            }
        };
        (PipelinedConnection::open(&info, told).await.unwrap(), closed)
    }

    fn ping(to: &mut dyn Arguments) {
        to.text("PING");
    }

    #[tokio::test]
    async fn who_waits_too_long_gets_nothing_and_the_next_gets_its_own() {
        let half = TIMEOUT / 2;
        let (lane, _) = lane_to(vec![
            (TIMEOUT + half / 2, b"+first\r\n+sec"),
            (Duration::from_millis(50), b"ond\r\n"),
            (half * 3, b""),
        ])
        .await;
        let first = lane.call(1, Instant::now().into(), ping);
        let second = async {
            tokio::time::sleep(half).await;
            lane.call(1, Instant::now().into(), ping).await
        };
        let (first, second) = tokio::join!(first, second);
        assert_eq!((first, second), (Err(SendError::Unknown), Ok(Value::SimpleString("second".into()))));
    }

    #[tokio::test]
    async fn a_connection_that_ends_leaves_no_one_waiting() {
        let (lane, closed) = lane_to(vec![(Duration::from_millis(50), b"+first\r\n")]).await;
        let calls = async {
            tokio::join!(lane.call(1, Instant::now().into(), ping), lane.call(1, Instant::now().into(), ping))
        };
        let (first, second) = tokio::time::timeout(TIMEOUT / 2, calls).await.unwrap();
        assert_eq!((first, second), (Ok(Value::SimpleString("first".into())), Err(SendError::Unknown)));
        closed.notified().await;
        assert_eq!(lane.call(1, Instant::now().into(), ping).await, Err(SendError::Unsent));
    }
}
