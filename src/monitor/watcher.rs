//! One connection, watched for as long as this replica has its lease: the broker is reached, and reached again.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    domain::queue::{
        Framework,
        connection::{BrokerError, Connection},
    },
    monitor::{
        broker::{Broker, BrokerAddress, Guard},
        bullmq, celery,
        reporter::{Reporter, WatchEnd},
    },
    store::{Store, Taken},
    trust::Vault,
};

/// The wait before a broker is tried again: doubled each time in between.
const AGAIN_FIRST: Duration = Duration::from_millis(250);
const AGAIN_LONGEST: Duration = Duration::from_secs(15);

/// Watches until the lease is lost, or `stop` says so; then the lease is given back.
pub(super) async fn watch(store: Store, taken: Taken, guard: Arc<Guard>, vault: Arc<Vault>, stop: CancellationToken) {
    let (tenant, id) = (taken.watched.tenant.clone(), taken.watched.connection);
    tracing::info!(%tenant, connection = %id, fence = taken.watched.fence, "watching a connection");
    let outlet = Arc::new(Reporter::new(store, &taken));
    let ended = tokio::select! {
        () = stop.cancelled() => "given back",
        () = outlet.keep() => "lost",
        () = keep_at_it(&taken.connection, &outlet, &guard, &vault) => "lost",
    };
    if ended == "given back" {
        outlet.give_back().await;
    }
    tracing::info!(%tenant, connection = %id, ended, "watching a connection no more");
}

/// Returns when the watch is lost.
async fn keep_at_it(connection: &Connection, outlet: &Arc<Reporter>, guard: &Arc<Guard>, vault: &Vault) {
    let (mut wait, mut told) = (AGAIN_FIRST, None);
    loop {
        let begun = tokio::time::Instant::now();
        let trouble = match once(connection, outlet, guard, vault).await {
            Err(WatchEnd::BrokerError(trouble)) => trouble,
            Err(WatchEnd::Lost) => return,
        };
        outlet.disconnected(trouble, None);
        if told.replace(trouble) == Some(trouble) {
            tracing::debug!(connection = %connection.id, trouble = trouble.name(), "a broker still cannot be watched");
        } else {
            tracing::warn!(connection = %connection.id, trouble = trouble.name(), "a broker cannot be watched; trying until it can");
        }
        // Whatever worked for a while is tried again at once.
        if begun.elapsed() > AGAIN_LONGEST {
            (wait, told) = (AGAIN_FIRST, None);
        }
        let part = 0.5 + 0.5 * crate::monitor::chance();
        tokio::time::sleep(wait.mul_f64(part)).await;
        wait = (wait * 2).min(AGAIN_LONGEST);
    }
}

async fn once(
    connection: &Connection,
    outlet: &Arc<Reporter>,
    guard: &Arc<Guard>,
    vault: &Vault,
) -> Result<std::convert::Infallible, WatchEnd> {
    let url = connection
        .sealed_url
        .as_ref()
        .and_then(|sealed| vault.unseal(&connection.id, sealed))
        .ok_or(BrokerError::Address)?;
    let address = BrokerAddress::parse(&url).ok_or(BrokerError::Address)?;
    let broker = Arc::new(Broker::reach(&address, guard.clone()).await?);
    match connection.framework {
        Framework::Celery => celery::watch(&broker, &connection.options, address.database(), outlet).await,
        Framework::BullMq => bullmq::watch(&broker, &connection.options, outlet).await,
        Framework::Sidekiq => Err(BrokerError::Protocol.into()),
    }
}
