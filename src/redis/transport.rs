//! The ways to Redis: pipelined to one server; by redis-rs where there is TLS or a cluster, which it can do.

use std::{sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ProtocolVersion, PushInfo, PushKind,
    RedisError, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    cluster_routing::{MultipleNodeRoutingInfo, ResponsePolicy, RoutingInfo},
    io::tcp::TcpSettings,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use tokio::time::Instant;

use crate::redis::{
    Address, TIMEOUT,
    address::Credentials,
    pipelined::{PipelinedConnection, Push, SendError},
    resp::Command,
};

/// Timeout of an attempt to connect, with its handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_000);
/// Timeout of asking the sentinels who the primary is. Each of them may be away.
const SENTINEL_TIMEOUT: Duration = Duration::from_millis(5_000);
/// Backpressure of a connection of redis-rs: at most this many commands wait to be written; further callers wait.
const MAX_QUEUED: usize = 1_024;

/// A connection. The last clone closes it.
#[derive(Clone)]
pub(super) enum Transport {
    Pipelined(PipelinedConnection),
    Tls(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// Why a command got no reply.
#[derive(Debug)]
pub(super) enum TransportError {
    Send(SendError),
    Redis(RedisError),
}

impl From<RedisError> for TransportError {
    fn from(error: RedisError) -> Self {
        Self::Redis(error)
    }
}

impl Transport {
    /// Sends a command and waits for its reply, [`TIMEOUT`] at most from `since` on, the present moment. An error of Redis may be a reply,
    /// too.
    pub(super) async fn send<C: Command + ?Sized>(
        &mut self,
        since: Instant,
        command: &C,
    ) -> Result<Value, TransportError> {
        match self {
            Self::Pipelined(connection) => connection.send(since, command).await.map_err(TransportError::Send),
            Self::Tls(connection) => within_timeout(connection.req_packed_command(&packed(command))).await,
            Self::Cluster(connection) => within_timeout(connection.req_packed_command(&packed(command))).await,
        }
    }

    /// The same for every primary of a cluster: an error of one is the reply.
    pub(super) async fn send_to_primaries<C: Command + ?Sized>(
        &mut self,
        since: Instant,
        command: &C,
    ) -> Result<Value, TransportError> {
        let Self::Cluster(connection) = self else { return self.send(since, command).await };
        let all = (MultipleNodeRoutingInfo::AllMasters, Some(ResponsePolicy::AllSucceeded));
        within_timeout(connection.route_command(packed(command), RoutingInfo::MultiNode(all))).await
    }

    /// Subscribes a channel; whether that succeeded. In a cluster it is a sharded channel.
    pub(super) async fn subscribe(&mut self, channel: &str) -> bool {
        match self {
            Self::Pipelined(_) => self.succeeds(&["SUBSCRIBE", channel]).await,
            Self::Tls(connection) => connection.subscribe(channel).await.is_ok(),
            Self::Cluster(connection) => connection.ssubscribe(channel).await.is_ok(),
        }
    }

    /// Unsubscribes a channel; whether that succeeded.
    pub(super) async fn unsubscribe(&mut self, channel: &str) -> bool {
        match self {
            Self::Pipelined(_) => self.succeeds(&["UNSUBSCRIBE", channel]).await,
            Self::Tls(connection) => connection.unsubscribe(channel).await.is_ok(),
            Self::Cluster(connection) => connection.sunsubscribe(channel).await.is_ok(),
        }
    }

    /// Whether Redis answers.
    pub(super) async fn ping(&mut self) -> bool {
        self.succeeds(&["PING"]).await
    }

    async fn succeeds(&mut self, command: &[&str]) -> bool {
        self.send(Instant::now(), command).await.is_ok_and(|reply| !matches!(reply, Value::ServerError(_)))
    }
}

fn packed<C: Command + ?Sized>(command: &C) -> Cmd {
    let mut packed = Cmd::new();
    command.write(&mut packed);
    packed
}

/// Connects; `on_push` gets published messages, and the end of the connection.
pub(super) async fn connect(
    address: &Address,
    on_push: impl Fn(Push<'_>) + Send + Sync + 'static,
) -> Result<Transport, RedisError> {
    match address {
        Address::One(server) if is_plain(server) => pipelined(server, on_push).await,
        Address::One(server) => {
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(CONNECT_TIMEOUT))
                .set_response_timeout(Some(TIMEOUT))
                .set_pipeline_buffer_size(MAX_QUEUED)
                .set_push_sender(PushSender(Arc::new(on_push)));
            let client = Client::open(server.clone())?;
            Ok(Transport::Tls(client.get_multiplexed_async_connection_with_config(&config).await?))
        }
        Address::Sentinel { sentinels, name, database, primary_credentials, sentinel_credentials } => {
            let mut sentinels = sentinel_client(sentinels, name, *database, primary_credentials, sentinel_credentials)?;
            let primary = tokio::time::timeout(SENTINEL_TIMEOUT, sentinels.async_get_client());
            pipelined(primary.await.map_err(|_| timed_out())??.get_connection_info(), on_push).await
        }
        Address::Cluster(nodes) => {
            let client = ClusterClient::builder(nodes.clone())
                .use_protocol(ProtocolVersion::RESP3)
                .connection_timeout(CONNECT_TIMEOUT)
                .response_timeout(TIMEOUT)
                .overall_response_timeout(Some(TIMEOUT))
                .retries(4)
                .min_retry_wait(20)
                .max_retry_wait(200)
                .tcp_settings(TcpSettings::default().set_nodelay(true))
                .push_sender(PushSender(Arc::new(on_push)))
                .build()?;
            Ok(Transport::Cluster(client.get_async_connection().await?))
        }
    }
}

async fn pipelined(
    server: &ConnectionInfo,
    on_push: impl Fn(Push<'_>) + Send + Sync + 'static,
) -> Result<Transport, RedisError> {
    let opened = tokio::time::timeout(CONNECT_TIMEOUT, PipelinedConnection::open(server, on_push)).await;
    Ok(Transport::Pipelined(opened.map_err(|_| timed_out())??))
}

fn timed_out() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::TimedOut, "no connection within the time limit")
}

fn is_plain(server: &ConnectionInfo) -> bool {
    matches!(server.addr(), ConnectionAddr::Tcp(..) | ConnectionAddr::Unix(_))
}

/// A client of the sentinels, which know the address of the primary.
fn sentinel_client(
    sentinels: &[ConnectionAddr],
    name: &str,
    database: i64,
    at_primary: &Credentials,
    at_sentinels: &Credentials,
) -> Result<SentinelClient, RedisError> {
    let mut builder = SentinelClientBuilder::new(sentinels.to_vec(), name, SentinelServerType::Master)?
        .set_client_to_redis_db(database);
    if let Some(username) = &at_primary.username {
        builder = builder.set_client_to_redis_username(username);
    }
    if let Some(password) = &at_primary.password {
        builder = builder.set_client_to_redis_password(password);
    }
    if let Some(username) = &at_sentinels.username {
        builder = builder.set_client_to_sentinel_username(username);
    }
    if let Some(password) = &at_sentinels.password {
        builder = builder.set_client_to_sentinel_password(password);
    }
    builder.build()
}

async fn within_timeout(sent: impl Future<Output = Result<Value, RedisError>>) -> Result<Value, TransportError> {
    Ok(tokio::time::timeout(TIMEOUT, sent).await.map_err(|_| TransportError::Send(SendError::Unknown))??)
}

/// Passes redis-rs' push messages to our callback.
#[derive(Clone)]
struct PushSender(Arc<dyn Fn(Push<'_>) + Send + Sync>);

impl redis::aio::AsyncPushSender for PushSender {
    fn send(&self, push: PushInfo) -> Result<(), redis::aio::SendError> {
        match (push.kind, push.data.first(), push.data.get(1)) {
            (PushKind::Message | PushKind::SMessage, _, Some(Value::BulkString(message))) => {
                (self.0)(Push::Message(message))
            }
            (PushKind::Unsubscribe | PushKind::SUnsubscribe, Some(Value::BulkString(channel)), _) => {
                (self.0)(Push::Unsubscribed(channel))
            }
            (PushKind::Disconnection, ..) => (self.0)(Push::Ended),
            _ => {}
        }
        Ok(())
    }
}
