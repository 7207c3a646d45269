//! Every way to Redis: one server by a lane; TLS and clusters by redis-rs, which can do both.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ProtocolVersion, PushInfo, PushKind,
    RedisError, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    io::tcp::TcpSettings,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};

use crate::store::{
    Address, TIMEOUT,
    redis::{
        pipelined::{PipelinedConnection, SendError},
        resp::Arguments,
    },
};

const CONNECT_PATIENCE: Duration = Duration::from_millis(1_000);
/// How many calls to a cluster may wait to be written; more than that wait for a place among them.
const WAITING: usize = 1_024;

/// A connection. The last clone closes it.
#[derive(Clone)]
pub(in crate::store) enum Transport {
    PipelinedConnection(PipelinedConnection),
    Tls(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// What a connection says unasked.
#[derive(Debug)]
pub(in crate::store) enum Push<'a> {
    /// Somebody published this on a channel that is subscribed.
    Payload(&'a [u8]),
    /// It has ended; one to a cluster mends itself.
    Ended,
}

/// Why a call got no reply.
#[derive(Debug)]
pub(in crate::store) enum CallError {
    SendError(SendError),
    Redis(RedisError),
}

impl From<RedisError> for CallError {
    fn from(error: RedisError) -> Self {
        Self::Redis(error)
    }
}

impl Transport {
    /// Sends the command that `write` writes and waits for its reply, [`TIMEOUT`] at most. An error of Redis may be a reply, too.
    /// It stands for so many calls; `since` is the present moment.
    pub(in crate::store) async fn send(
        &mut self,
        calls: u32,
        since: Instant,
        write: impl Fn(&mut dyn Arguments),
    ) -> Result<Value, CallError> {
        let command = || {
            let mut command = Cmd::new();
            write(&mut command);
            command
        };
        match self {
            Self::PipelinedConnection(lane) => lane.call(calls, since, write).await.map_err(CallError::SendError),
            Self::Tls(connection) => within(TIMEOUT, connection.req_packed_command(&command())).await,
            Self::Cluster(connection) => within(TIMEOUT, connection.req_packed_command(&command())).await,
        }
    }

    /// Subscribes a channel; whether that is done.
    pub(in crate::store) async fn subscribe(&mut self, channel: &str) -> bool {
        match self {
            Self::PipelinedConnection(_) => self.tell(&["SUBSCRIBE", channel]).await,
            Self::Tls(connection) => connection.subscribe(channel).await.is_ok(),
            Self::Cluster(connection) => connection.ssubscribe(channel).await.is_ok(),
        }
    }

    /// The opposite.
    pub(in crate::store) async fn unsubscribe(&mut self, channel: &str) -> bool {
        match self {
            Self::PipelinedConnection(_) => self.tell(&["UNSUBSCRIBE", channel]).await,
            Self::Tls(connection) => connection.unsubscribe(channel).await.is_ok(),
            Self::Cluster(connection) => connection.sunsubscribe(channel).await.is_ok(),
        }
    }

    /// Whether Redis answers.
    pub(in crate::store) async fn beat(&mut self) -> bool {
        self.tell(&["PING"]).await
    }

    async fn tell(&mut self, command: &[&str]) -> bool {
        let told = self.send(1, Instant::now(), |to| command.iter().for_each(|part| to.text(part))).await;
        told.is_ok_and(|reply| !matches!(reply, Value::ServerError(_)))
    }
}

/// Connects; `told` gets what the connection says unasked.
pub(in crate::store) async fn connect(
    address: &Address,
    told: impl Fn(Push<'_>) + Send + Sync + 'static,
) -> Result<Transport, RedisError> {
    match address {
        Address::One(info) if is_plain(info) => lane(info, told).await,
        Address::One(info) => {
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(CONNECT_PATIENCE))
                .set_response_timeout(Some(TIMEOUT))
                .set_pipeline_buffer_size(WAITING)
                .set_push_sender(Pushes(Arc::new(told)));
            Ok(Transport::Tls(Client::open(info.clone())?.get_multiplexed_async_connection_with_config(&config).await?))
        }
        Address::Sentinel { sentinels, name, username, password } => {
            let mut sentinels = sentinel(sentinels, name, username.as_deref(), password.as_deref())?;
            lane(sentinels.async_get_client().await?.get_connection_info(), told).await
        }
        Address::Cluster(nodes) => {
            let client = ClusterClient::builder(nodes.clone())
                .use_protocol(ProtocolVersion::RESP3)
                .connection_timeout(CONNECT_PATIENCE)
                .response_timeout(TIMEOUT)
                .overall_response_timeout(Some(TIMEOUT))
                .retries(4)
                .min_retry_wait(20)
                .max_retry_wait(200)
                .tcp_settings(TcpSettings::default().set_nodelay(true))
                .push_sender(Pushes(Arc::new(told)))
                .build()?;
            Ok(Transport::Cluster(client.get_async_connection().await?))
        }
    }
}

async fn lane(
    server: &ConnectionInfo,
    told: impl Fn(Push<'_>) + Send + Sync + 'static,
) -> Result<Transport, RedisError> {
    let opened = tokio::time::timeout(CONNECT_PATIENCE, PipelinedConnection::open(server, told)).await;
    Ok(Transport::PipelinedConnection(opened.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??))
}

fn is_plain(server: &ConnectionInfo) -> bool {
    matches!(server.addr(), ConnectionAddr::Tcp(..) | ConnectionAddr::Unix(_))
}

/// Those who know who the primary is.
fn sentinel(
    sentinels: &[ConnectionAddr],
    name: &str,
    username: Option<&str>,
    password: Option<&str>,
) -> Result<SentinelClient, RedisError> {
    let mut builder = SentinelClientBuilder::new(sentinels.to_vec(), name, SentinelServerType::Master)?;
    if let Some(username) = username {
        builder = builder.set_client_to_redis_username(username);
    }
    if let Some(password) = password {
        builder = builder.set_client_to_redis_password(password);
    }
    builder.build()
}

async fn within(patience: Duration, sent: impl Future<Output = Result<Value, RedisError>>) -> Result<Value, CallError> {
    Ok(tokio::time::timeout(patience, sent).await.map_err(|_| CallError::SendError(SendError::Unknown))??)
}

/// How redis-rs tells us what comes unasked.
#[derive(Clone)]
struct Pushes(Arc<dyn Fn(Push<'_>) + Send + Sync>);

impl redis::aio::AsyncPushSender for Pushes {
    fn send(&self, push: PushInfo) -> Result<(), redis::aio::SendError> {
        match (push.kind, push.data.get(1)) {
            (PushKind::Message | PushKind::SMessage, Some(Value::BulkString(message))) => {
                (self.0)(Push::Payload(message))
            }
            (PushKind::Disconnection, _) => (self.0)(Push::Ended),
            _ => {}
        }
        Ok(())
    }
}
