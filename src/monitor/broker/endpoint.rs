//! One checked address of a broker, and the pool of connections to it.

use std::{collections::HashSet, net::SocketAddr, sync::Arc, time::Duration};

use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use redis::{
    AsyncConnectionConfig, Cmd, Pipeline, PushInfo, RedisConnectionInfo, Value,
    aio::{AsyncPushSender, MultiplexedConnection, SendError},
};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};

use super::{
    BrokerGuard, TIMEOUT,
    bounded_stream::{BoundedStream, Progress},
    error::{classify, is_select_refused},
    rights::{MissingRight, name_of},
    tls,
};
use crate::domain::queue::connection::BrokerError;

/// The address to which all connections of a broker go.
#[derive(Clone)]
pub(in crate::monitor) struct Endpoint {
    pub(super) settings: RedisConnectionInfo,
    /// The name in its certificate, where it has TLS.
    pub(super) tls_name: Option<String>,
    pub(super) pinned: SocketAddr,
    pub(super) guard: Arc<BrokerGuard>,
    pub(super) missing_right: MissingRight,
}

/// A connection to a broker, whose replies are bounded.
pub(in crate::monitor) struct BrokerConnection {
    pub(in crate::monitor) connection: MultiplexedConnection,
    pub(in crate::monitor) deadline: ReplyDeadline,
}

/// Gives replies up that do not come, and notes which are refused for want of a right.
#[derive(Clone)]
pub(in crate::monitor) struct ReplyDeadline {
    progress: Arc<Progress>,
    has_tls: bool,
    missing_right: MissingRight,
}

/// Called with what a broker pushes.
pub(super) type PushCallback = Arc<dyn Fn(PushInfo) + Send + Sync>;

#[derive(Clone)]
struct PushSender(PushCallback);

impl AsyncPushSender for PushSender {
    fn send(&self, info: PushInfo) -> Result<(), SendError> {
        (self.0)(info);
        Ok(())
    }
}

impl Endpoint {
    /// Connects, authenticates, and makes sure that it is not our own Redis.
    pub(super) async fn connect(&self, on_push: Option<PushCallback>) -> Result<BrokerConnection, BrokerError> {
        timeout(2 * TIMEOUT, self.connect_unbounded(on_push)).await.map_err(|_| BrokerError::Timeout)?
    }

    async fn connect_unbounded(&self, on_push: Option<PushCallback>) -> Result<BrokerConnection, BrokerError> {
        let failed = |error: std::io::Error| classify(&error.into(), false);
        let stream = timeout(TIMEOUT, TcpStream::connect(self.pinned)).await.map_err(|_| BrokerError::Timeout)?;
        let stream = stream.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let progress = Arc::new(Progress::default());
        // Deadlines are ours: they count from the last byte, so that a slow link makes progress.
        let mut config = AsyncConnectionConfig::new().set_response_timeout(None);
        if let Some(on_push) = on_push {
            config = config.set_push_sender(PushSender(on_push));
        }
        let connection = match &self.tls_name {
            Some(name) => {
                let stream = BoundedStream::new(tls::begin(stream, name).await?, progress.clone());
                open(&self.settings, stream, config).await
            }
            None => open(&self.settings, BoundedStream::new(stream, progress.clone()), config).await,
        };
        let has_tls = self.tls_name.is_some();
        let deadline = ReplyDeadline { progress, has_tls, missing_right: self.missing_right.clone() };
        let connection = match connection {
            Ok(connection) => connection,
            Err(error) if is_select_refused(&error) => {
                self.missing_right.note_refusal("select", "");
                return Err(BrokerError::Auth);
            }
            Err(error) => return Err(deadline.class_of("hello", &error)),
        };
        ["hello", "select"].iter().for_each(|command| self.missing_right.note_success(command));
        let mut connection = BrokerConnection { connection, deadline };
        self.guard.check_identity(&mut connection).await?;
        Ok(connection)
    }
}

async fn open<S>(
    settings: &RedisConnectionInfo,
    stream: BoundedStream<S>,
    config: AsyncConnectionConfig,
) -> redis::RedisResult<MultiplexedConnection>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (connection, driver) = MultiplexedConnection::new_with_config(settings, stream, config).await?;
    // Ends with the last clone of the connection.
    tokio::spawn(driver);
    Ok(connection)
}

impl ReplyDeadline {
    /// Class of the error with which a command ended.
    fn class_of(&self, command: &str, error: &redis::RedisError) -> BrokerError {
        if self.progress.is_too_large() {
            return BrokerError::TooLarge;
        }
        self.missing_right.note_error(command, error);
        classify(error, self.has_tls)
    }

    /// Waits for the reply to a command for as long as bytes keep coming: `silence` after the last one it is given up, and the connection with it.
    ///
    /// # Errors
    /// [`BrokerError::Timeout`] after a silence, [`BrokerError::TooLarge`] after [`MAX_REPLY_TIME`] without one.
    pub(in crate::monitor) async fn wait<T>(
        &self,
        silence: Duration,
        command: &str,
        reply: impl Future<Output = redis::RedisResult<T>>,
    ) -> Result<T, BrokerError> {
        let progress = &self.progress;
        let asked = Instant::now();
        let ended = async {
            loop {
                let silent = progress.silence().min(asked.elapsed());
                if silent >= silence {
                    return BrokerError::Timeout;
                }
                if asked.elapsed() >= MAX_REPLY_TIME {
                    return BrokerError::TooLarge;
                }
                sleep_until(Instant::now() + (silence - silent).min(MAX_REPLY_TIME)).await;
            }
        };
        let replied = tokio::select! {
            replied = reply => Ok(replied),
            error = ended => Err(error),
        };
        match replied {
            Ok(Ok(reply)) => {
                self.missing_right.note_success(command);
                Ok(reply)
            }
            Ok(Err(error)) => Err(self.class_of(command, &error)),
            Err(error) => {
                // Its reply may still come, and would be taken for that of another command.
                self.progress.end();
                Err(error)
            }
        }
    }
}

impl BrokerConnection {
    /// Sends one command; its reply is given up `silence` after the last byte.
    pub(in crate::monitor) async fn query(&mut self, silence: Duration, command: &Cmd) -> Result<Value, BrokerError> {
        let deadline = self.deadline.clone();
        let reply = async { self.connection.send_packed_command(command).await?.extract_error() };
        deadline.wait(silence, &name_of(command), reply).await
    }

    /// Sends commands as one pipeline; replies are in the same order. One that fails for its key alone (another type, no such key) is an error in its
    /// place. Any other error is one of all: its right is missing, or the broker is loading, busy or no primary.
    pub(super) async fn query_all(
        &mut self,
        silence: Duration,
        commands: &mut Pipeline,
    ) -> Result<Vec<Value>, BrokerError> {
        commands.ignore_errors();
        let deadline = self.deadline.clone();
        let replies: Vec<Value> = deadline.wait(silence, "", commands.query_async(&mut self.connection)).await?;
        for (reply, command) in replies.iter().zip(commands.cmd_iter()) {
            match reply {
                Value::ServerError(error) if !ERRORS_OF_KEYS.contains(&error.code()) => {
                    return Err(deadline.class_of(&name_of(command), &error.clone().into()));
                }
                _ => {}
            }
        }
        let names: HashSet<_> = commands.cmd_iter().map(name_of).collect();
        names.iter().for_each(|name| deadline.missing_right.note_success(name));
        Ok(replies)
    }
}

/// Codes of errors that concern one command's key, and no other command of a pipeline.
const ERRORS_OF_KEYS: [&str; 2] = ["ERR", "WRONGTYPE"];
/// Longest time of one reply, however steadily its bytes come: what takes longer is too large for its link.
const MAX_REPLY_TIME: Duration = Duration::from_secs(60);

impl managed::Manager for Endpoint {
    type Type = BrokerConnection;
    type Error = BrokerError;

    async fn create(&self) -> Result<BrokerConnection, BrokerError> {
        self.connect(None).await
    }

    async fn recycle(&self, connection: &mut BrokerConnection, _: &Metrics) -> RecycleResult<BrokerError> {
        if connection.deadline.progress.has_ended() { Err(RecycleError::message("it has ended")) } else { Ok(()) }
    }
}
