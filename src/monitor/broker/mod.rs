//! Connections to a broker.
//!
//! A broker's name is resolved once, and every connection goes to the address that was checked (no DNS rebinding). Each connection first
//! asks the server who it is, so that our own Redis is never watched.

mod address;
mod error;
mod guard;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, Cmd, Pipeline, ProtocolVersion, PushInfo, RedisError, RedisFuture, Value,
    aio::MultiplexedConnection, io::AsyncDNSResolver, io::tcp::TcpSettings,
};

use crate::domain::queue::connection::BrokerError;

pub(super) use address::BrokerAddress;
pub use address::check_url;
pub(super) use guard::BrokerGuard;

use error::classify;

/// Timeout of connecting to a broker, and of each query.
const TIMEOUT: Duration = Duration::from_secs(3);

/// A connected broker. It holds one connection for queries, and opens further ones to the same address.
pub(super) struct Broker {
    endpoint: Endpoint,
    queries: MultiplexedConnection,
}

impl Broker {
    /// Connects to the first address that answers and may be watched.
    pub(super) async fn connect(address: &BrokerAddress, guard: Arc<BrokerGuard>) -> Result<Self, BrokerError> {
        let settings =
            address.info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3).set_skip_set_lib_name();
        let tcp_settings = TcpSettings::default().set_nodelay(true);
        let info = address.info.clone().set_redis_settings(settings).set_tcp_settings(tcp_settings);
        let mut last_error = BrokerError::Refused;
        for pinned in guard.resolve(&address.host).await? {
            let client = Client::open(info.clone()).map_err(|_| BrokerError::Address)?;
            let endpoint = Endpoint { client, tls: address.uses_tls(), pinned, guard: guard.clone() };
            match endpoint.connect(|config| config.set_response_timeout(Some(TIMEOUT))).await {
                Ok(queries) => return Ok(Self { endpoint, queries }),
                Err(BrokerError::OwnRedis) => return Err(BrokerError::OwnRedis),
                Err(error) => last_error = error,
            }
        }
        Err(last_error)
    }

    /// Opens a connection for pub/sub: `on_push` gets every message that the broker pushes on it.
    pub(super) async fn pubsub_connection(
        &self,
        on_push: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<MultiplexedConnection, BrokerError> {
        let sender = PushCallback(Arc::new(on_push));
        self.endpoint.connect(|config| config.set_response_timeout(Some(TIMEOUT)).set_push_sender(sender.clone())).await
    }

    /// Opens a connection for reads that block up to `max_block` in the broker.
    pub(super) async fn blocking_connection(&self, max_block: Duration) -> Result<MultiplexedConnection, BrokerError> {
        self.endpoint.connect(|config| config.set_response_timeout(Some(max_block + TIMEOUT))).await
    }

    /// Sends one command.
    pub(super) async fn query(&self, command: &Cmd) -> Result<Value, BrokerError> {
        let reply = self.queries.clone().send_packed_command(command).await;
        reply.and_then(Value::extract_error).map_err(|error| self.classify(&error))
    }

    /// Sends commands as one pipeline; replies are in the same order.
    pub(super) async fn query_all<T: redis::FromRedisValue>(&self, commands: &Pipeline) -> Result<Vec<T>, BrokerError> {
        commands.query_async(&mut self.queries.clone()).await.map_err(|error| self.classify(&error))
    }

    /// Class of an error of one of its connections.
    pub(super) fn classify(&self, error: &RedisError) -> BrokerError {
        classify(error, self.endpoint.tls)
    }
}

/// The address to which all connections of a broker go.
struct Endpoint {
    client: Client,
    tls: bool,
    pinned: SocketAddr,
    guard: Arc<BrokerGuard>,
}

impl Endpoint {
    async fn connect(
        &self,
        configure: impl Fn(AsyncConnectionConfig) -> AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, BrokerError> {
        let config = configure(AsyncConnectionConfig::new())
            .set_connection_timeout(Some(TIMEOUT))
            .set_dns_resolver(PinnedResolver(self.pinned));
        let mut connection = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(|error| classify(&error, self.tls))?;
        self.guard.check_identity(&mut connection, self.tls).await?;
        Ok(connection)
    }
}

/// Resolves every name to the address that was checked.
struct PinnedResolver(SocketAddr);

impl AsyncDNSResolver for PinnedResolver {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        _: &'b str,
        _: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        Box::pin(async { Ok(Box::new(std::iter::once(self.0)) as Box<dyn Iterator<Item = SocketAddr> + Send>) })
    }
}

#[derive(Clone)]
struct PushCallback(Arc<dyn Fn(PushInfo) + Send + Sync>);

impl redis::aio::AsyncPushSender for PushCallback {
    fn send(&self, info: PushInfo) -> Result<(), redis::aio::SendError> {
        (self.0)(info);
        Ok(())
    }
}
