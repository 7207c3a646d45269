//! Connections to a broker.
//!
//! A broker's name is resolved once, and every connection goes to the address that was checked (no DNS rebinding). Each connection first
//! asks the server who it is, so that our own Redis is never watched. What a broker sends is bounded, per reply and for the replica.

mod address;
mod bounded_stream;
mod endpoint;
mod error;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
mod guard;
mod reply_scanner;
mod rights;
mod tls;

use std::{sync::Arc, time::Duration};

use deadpool::{
    Runtime,
    managed::{Object, Pool, PoolError},
};
use redis::{Cmd, Pipeline, ProtocolVersion, PushInfo, Value};

use crate::domain::{names::TenantId, queue::connection::BrokerError};

pub(super) use address::BrokerAddress;
pub use address::check_url;
pub(super) use endpoint::BrokerConnection;
pub(super) use guard::BrokerGuard;
pub(super) use rights::MissingRight;

use endpoint::Endpoint;

/// Timeout of connecting to a broker, and of each reply since its last byte.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Most connections to one broker beside a subscription: one that blocks, one for queries, one that is being replaced.
const MAX_CONNECTIONS: usize = 3;

/// A broker that was reached. Its connections are borrowed for one or several commands; one that broke is replaced by the next loan.
pub(super) struct Broker {
    endpoint: Endpoint,
    pool: Pool<Endpoint>,
}

impl Broker {
    /// Connects to the first address that answers and that the tenant may have watched. What its user may not do is noted in `missing_right`.
    pub(super) async fn connect(
        address: &BrokerAddress,
        tenant: &TenantId,
        guard: Arc<BrokerGuard>,
        missing_right: &MissingRight,
    ) -> Result<Self, BrokerError> {
        let settings =
            address.info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3).set_skip_set_lib_name();
        let mut last_error = BrokerError::Refused;
        for pinned in guard.resolve(tenant, &address.host).await? {
            let tls_name = address.uses_tls().then(|| address.host.host.clone());
            let endpoint = Endpoint {
                settings: settings.clone(),
                tls_name,
                pinned,
                guard: guard.clone(),
                missing_right: missing_right.clone(),
            };
            let pool = Pool::builder(endpoint.clone())
                .max_size(MAX_CONNECTIONS)
                .wait_timeout(Some(TIMEOUT))
                .create_timeout(Some(2 * TIMEOUT))
                .recycle_timeout(Some(TIMEOUT))
                .runtime(Runtime::Tokio1)
                .build()
                .map_err(|_| BrokerError::Address)?;
            let broker = Self { endpoint, pool };
            match broker.borrow().await {
                Ok(_) => return Ok(broker),
                Err(BrokerError::OwnRedis) => return Err(BrokerError::OwnRedis),
                Err(error) => last_error = error,
            }
        }
        Err(last_error)
    }

    /// Borrows a connection. Dropping it gives it back.
    pub(super) async fn borrow(&self) -> Result<Object<Endpoint>, BrokerError> {
        self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => error,
            PoolError::Timeout(_) => BrokerError::Timeout,
            _ => BrokerError::Broken,
        })
    }

    /// Opens a connection for pub/sub, which is nobody else's: `on_push` gets every message that the broker pushes on it.
    pub(super) async fn pubsub_connection(
        &self,
        on_push: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<BrokerConnection, BrokerError> {
        self.endpoint.connect(Some(Arc::new(on_push))).await
    }

    /// Sends one command.
    pub(super) async fn query(&self, command: &Cmd) -> Result<Value, BrokerError> {
        self.borrow().await?.query(TIMEOUT, command).await
    }

    /// Sends one command that blocks in the broker for up to `max_block`.
    pub(super) async fn query_blocking(&self, max_block: Duration, command: &Cmd) -> Result<Value, BrokerError> {
        self.borrow().await?.query(max_block + TIMEOUT, command).await
    }

    /// Sends commands as one pipeline; replies are in the same order, and one that failed alone is an error.
    pub(super) async fn query_all(&self, commands: &mut Pipeline) -> Result<Vec<Value>, BrokerError> {
        self.borrow().await?.query_all(TIMEOUT, commands).await
    }
}
