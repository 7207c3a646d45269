//! Watcher of one connection: connects to the broker, and reconnects with backoff, for as long as this replica holds the lease.

use std::{convert::Infallible, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{
        names::TenantId,
        queue::{
            Framework,
            connection::{BrokerError, Connection},
        },
    },
    monitor::{
        broker::{Broker, BrokerAddress, BrokerGuard},
        bullmq, celery,
        random::random_fraction,
        reporter::{Reporter, WatchEnd},
    },
    store::{AcquiredWatch, Store},
    trust::Vault,
};

/// First delay before a reconnect; doubled after each failure.
const MIN_BACKOFF: Duration = Duration::from_millis(250);
/// Maximum delay before a reconnect. A watch that lasted longer than this resets the backoff.
const MAX_BACKOFF: Duration = Duration::from_secs(15);

/// Watches until the lease is lost or `stop` is cancelled; in the latter case the lease is released.
pub(super) async fn watch(
    store: Store,
    acquired: AcquiredWatch,
    guard: Arc<BrokerGuard>,
    vault: Arc<Vault>,
    stop: CancellationToken,
) {
    let (tenant, id) = (acquired.lease.tenant.clone(), acquired.lease.connection);
    tracing::info!(%tenant, connection = %id, fence = acquired.lease.fence, "watch began");
    let reporter = Reporter::new(store, &acquired);
    let lease_lost = tokio::select! {
        () = stop.cancelled() => false,
        () = reporter.renew_until_lost() => true,
        () = reconnect_until_lost(&acquired, &reporter, &guard, &vault) => true,
    };
    if !lease_lost {
        reporter.release().await;
    }
    let reason = if lease_lost { "lease lost" } else { "released" };
    tracing::info!(%tenant, connection = %id, reason, "watch ended");
}

/// Returns when the lease is lost.
async fn reconnect_until_lost(acquired: &AcquiredWatch, reporter: &Reporter, guard: &Arc<BrokerGuard>, vault: &Vault) {
    let (connection, tenant) = (&acquired.connection, &acquired.lease.tenant);
    let (mut backoff, mut last_error) = (MIN_BACKOFF, None);
    loop {
        let began = Instant::now();
        let Err(end) = connect_and_watch(connection, tenant, reporter, guard, vault).await;
        let error = match end {
            WatchEnd::LeaseLost => return,
            WatchEnd::Broker(error) => error,
        };
        reporter.disconnected(error, None);
        if last_error.replace(error) == Some(error) {
            tracing::debug!(connection = %connection.id, error = error.name(), "the broker still cannot be watched");
        } else if error == BrokerError::OwnRedisUnknown {
            tracing::warn!(
                connection = %connection.id,
                "our own Redis does not say who it is, so no broker can be told from it; its user needs the ACL rule +info; retrying"
            );
        } else {
            let missing_right = reporter.missing_right().rule().filter(|_| error == BrokerError::Auth);
            tracing::warn!(connection = %connection.id, error = error.name(), missing_right, "the broker cannot be watched; retrying");
        }
        if began.elapsed() > MAX_BACKOFF {
            (backoff, last_error) = (MIN_BACKOFF, None);
        }
        sleep(backoff.mul_f64(0.5 + 0.5 * random_fraction())).await;
        backoff = (backoff * 2).min(MAX_BACKOFF);
    }
}

async fn connect_and_watch(
    connection: &Connection,
    tenant: &TenantId,
    reporter: &Reporter,
    guard: &Arc<BrokerGuard>,
    vault: &Vault,
) -> Result<Infallible, WatchEnd> {
    let url = connection
        .sealed_url
        .as_ref()
        .and_then(|sealed| vault.unseal(&connection.id, sealed))
        .ok_or(BrokerError::Address)?;
    let address = BrokerAddress::parse(&url).ok_or(BrokerError::Address)?;
    let broker = Broker::connect(&address, tenant, guard.clone(), reporter.missing_right()).await?;
    match connection.framework {
        Framework::Celery => celery::watch(&broker, &connection.options, address.database(), reporter).await,
        Framework::BullMq => bullmq::watch(&broker, &connection.options, reporter).await,
        Framework::Sidekiq => Err(BrokerError::Protocol.into()),
    }
}
