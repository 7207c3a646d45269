//! Connections that can say everything: they hear what Redis pushes, and find their way through a cluster and through TLS.

use std::{sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ProtocolVersion, PushInfo, RedisError, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    io::tcp::TcpSettings,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};

use crate::store::{Address, PATIENCE};

const CONNECT_PATIENCE: Duration = Duration::from_millis(1_000);

/// A connection of either kind.
#[derive(Clone)]
pub(super) enum Wire {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Wire {
    pub(super) async fn send(&mut self, call: &Cmd) -> Result<Value, RedisError> {
        match self {
            Self::One(connection) => connection.req_packed_command(call).await,
            Self::Cluster(connection) => connection.req_packed_command(call).await,
        }
    }

    pub(super) async fn subscribe(&mut self, channel: &str) -> Result<(), RedisError> {
        match self {
            Self::One(connection) => connection.subscribe(channel).await,
            Self::Cluster(connection) => connection.ssubscribe(channel).await,
        }
    }

    pub(super) async fn unsubscribe(&mut self, channel: &str) -> Result<(), RedisError> {
        match self {
            Self::One(connection) => connection.unsubscribe(channel).await,
            Self::Cluster(connection) => connection.sunsubscribe(channel).await,
        }
    }

    /// Whether Redis answers.
    pub(super) async fn beat(&mut self) -> bool {
        matches!(tokio::time::timeout(PATIENCE, self.send(&redis::cmd("PING"))).await, Ok(Ok(_)))
    }
}

/// How many calls may wait to be written; more than that wait for a place among them.
const WAITING: usize = 1_024;

/// Opens a connection; `heard` gets what Redis pushes, and that the connection broke. Without `patience` whoever calls sees to it that
/// no answer is waited for without an end.
pub(super) async fn connect(address: &Address, patience: Option<Duration>, heard: impl Fn(PushInfo) + Send + Sync + 'static) -> Result<Wire, RedisError> {
    let heard = Pushes(Arc::new(heard));
    let config = || {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_PATIENCE))
            .set_response_timeout(patience)
            .set_pipeline_buffer_size(WAITING)
            .set_push_sender(heard.clone())
    };
    match address {
        Address::One(info) => Ok(Wire::One(Client::open(info.clone())?.get_multiplexed_async_connection_with_config(&config()).await?)),
        Address::Sentinel { sentinels, name, username, password } => {
            let mut client = sentinel(sentinels, name, username.as_deref(), password.as_deref())?;
            Ok(Wire::One(client.get_async_connection_with_config(&config()).await?))
        }
        Address::Cluster(nodes) => {
            let client = ClusterClient::builder(nodes.clone())
                .use_protocol(ProtocolVersion::RESP3)
                .connection_timeout(CONNECT_PATIENCE)
                .response_timeout(PATIENCE)
                .overall_response_timeout(Some(PATIENCE))
                .retries(4)
                .min_retry_wait(20)
                .max_retry_wait(200)
                .tcp_settings(TcpSettings::default().set_nodelay(true))
                .push_sender(heard)
                .build()?;
            Ok(Wire::Cluster(client.get_async_connection().await?))
        }
    }
}

/// Those who know who the primary is.
fn sentinel(sentinels: &[ConnectionAddr], name: &str, username: Option<&str>, password: Option<&str>) -> Result<SentinelClient, RedisError> {
    let mut builder = SentinelClientBuilder::new(sentinels.to_vec(), name, SentinelServerType::Master)?
        .set_client_to_redis_protocol(ProtocolVersion::RESP3)
        .set_client_to_redis_tcp_settings(TcpSettings::default().set_nodelay(true));
    if let Some(username) = username {
        builder = builder.set_client_to_redis_username(username);
    }
    if let Some(password) = password {
        builder = builder.set_client_to_redis_password(password);
    }
    builder.build()
}

/// The server to connect to, where that is one without TLS: asked of the sentinels where there are some.
pub(super) async fn plain_server(address: &Address) -> Result<Option<ConnectionInfo>, RedisError> {
    let server = match address {
        Address::One(info) => info.clone(),
        Address::Sentinel { sentinels, name, username, password } => {
            sentinel(sentinels, name, username.as_deref(), password.as_deref())?.async_get_client().await?.get_connection_info().clone()
        }
        Address::Cluster(_) => return Ok(None),
    };
    Ok(matches!(server.addr(), ConnectionAddr::Tcp(..) | ConnectionAddr::Unix(_)).then_some(server))
}

/// Gives up what takes too long.
pub(super) async fn within_patience<T>(connecting: impl Future<Output = Result<T, RedisError>>) -> Result<T, RedisError> {
    let late = |_| std::io::Error::from(std::io::ErrorKind::TimedOut);
    tokio::time::timeout(CONNECT_PATIENCE, connecting).await.map_err(late)?
}

#[derive(Clone)]
struct Pushes(Arc<dyn Fn(PushInfo) + Send + Sync>);

impl redis::aio::AsyncPushSender for Pushes {
    fn send(&self, info: PushInfo) -> Result<(), redis::aio::SendError> {
        (self.0)(info);
        Ok(())
    }
}
