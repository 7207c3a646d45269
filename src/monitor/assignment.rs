//! Assignment of connections to replicas: each replica polls for connections without a watcher, and takes the lease of some.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    config::Config,
    domain::names::TenantId,
    monitor::{broker::BrokerGuard, random::random_fraction, watcher},
    replica::Replica,
    store::{AcquireOutcome, Availability, ReplicaId, Store, StoreError},
    trust::Vault,
};

/// Interval at which a replica polls for connections without a watcher; with jitter of a quarter.
const POLL_INTERVAL: Duration = Duration::from_millis(1_000);
/// Delay before each lease is taken, per connection that the replica watches already: replicas with fewer are faster, so load evens out.
const DELAY_PER_WATCH: Duration = Duration::from_millis(50);
/// Maximum of all these delays within one poll.
const MAX_TOTAL_DELAY: Duration = Duration::from_millis(1_000);
/// Timeout of the shutdown, in which every lease is released. A lease that is not released expires.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);

/// Watches connections until the replica drains; then releases their leases.
///
/// Among all replicas each connection has one watcher.
pub async fn run(store: Store, config: Arc<Config>, vault: Arc<Vault>, replica: Arc<Replica>) {
    let guard = Arc::new(BrokerGuard { config, store: store.clone() });
    let mut monitor = QueueMonitor {
        store,
        guard,
        vault,
        replica: replica.clone(),
        replica_id: ReplicaId::random(),
        watches: HashMap::new(),
    };
    tokio::select! {
        () = replica.drain.cancelled() => {}
        () = monitor.poll_forever() => {}
    }
    let watches = futures_util::future::join_all(monitor.watches.into_values());
    if timeout(SHUTDOWN_TIMEOUT, watches).await.is_err() {
        tracing::warn!("some watches were not released in time; their leases expire");
    }
}

/// A connection: its tenant, and its id.
type ConnectionKey = (TenantId, String);

/// Connections that this replica may take, each list in random order.
#[derive(Default)]
struct Unwatched {
    /// Their watcher was lost.
    expired: Vec<ConnectionKey>,
    /// Never watched, or released by their watcher.
    free: Vec<ConnectionKey>,
}

struct QueueMonitor {
    store: Store,
    guard: Arc<BrokerGuard>,
    vault: Arc<Vault>,
    replica: Arc<Replica>,
    replica_id: ReplicaId,
    watches: HashMap<ConnectionKey, JoinHandle<()>>,
}

impl QueueMonitor {
    async fn poll_forever(&mut self) {
        // Replicas that start together poll at different times.
        sleep(POLL_INTERVAL.mul_f64(random_fraction())).await;
        loop {
            self.watches.retain(|_, watch| !watch.is_finished());
            metrics::gauge!("holdfast_queue_watches").set(self.watches.len() as f64);
            match self.find_unwatched().await {
                Ok(Unwatched { expired, free }) => {
                    // Expired leases are taken at once, of free connections half per poll, so that replicas share them.
                    let share = free.len().div_ceil(2);
                    self.acquire(expired.into_iter().chain(free.into_iter().take(share)).collect()).await;
                }
                Err(error) => tracing::debug!(%error, "polling for connections without a watcher failed"),
            }
            sleep(POLL_INTERVAL.mul_f64(0.75 + 0.5 * random_fraction())).await;
        }
    }

    async fn find_unwatched(&self) -> Result<Unwatched, StoreError> {
        let mut by_tenant: BTreeMap<TenantId, Vec<String>> = BTreeMap::new();
        for (tenant, connection) in self.store.connections_to_watch().await? {
            if !self.watches.contains_key(&(tenant.clone(), connection.clone())) {
                by_tenant.entry(tenant).or_default().push(connection);
            }
        }
        let mut found = Unwatched::default();
        for (tenant, connections) in by_tenant {
            let ids: Vec<_> = connections.iter().map(String::as_str).collect();
            let availabilities = self.store.watch_availability(&tenant, &ids).await?;
            for (connection, availability) in connections.into_iter().zip(availabilities) {
                match availability {
                    Availability::Free => found.free.push((tenant.clone(), connection)),
                    Availability::Expired => found.expired.push((tenant.clone(), connection)),
                    Availability::HeldFor(_) => {}
                    Availability::Gone => self.store.unlist_connection(&tenant, &connection).await?,
                }
            }
        }
        shuffle(&mut found.free);
        shuffle(&mut found.expired);
        Ok(found)
    }

    async fn acquire(&mut self, connections: Vec<ConnectionKey>) {
        let max_delay = MAX_TOTAL_DELAY / connections.len().max(1) as u32;
        for (tenant, connection) in connections {
            let delay = (DELAY_PER_WATCH * self.watches.len() as u32).min(max_delay);
            sleep(delay.mul_f64(0.5 + random_fraction())).await;
            match self.store.acquire_watch(&tenant, &connection, &self.replica_id).await {
                Ok(AcquireOutcome::Acquired(acquired)) => {
                    let watch = watcher::watch(
                        self.store.clone(),
                        *acquired,
                        self.guard.clone(),
                        self.vault.clone(),
                        self.replica.drain.clone(),
                    );
                    self.watches.insert((tenant, connection), tokio::spawn(watch));
                }
                Ok(AcquireOutcome::Held | AcquireOutcome::Gone) => {}
                Err(error) => tracing::debug!(%error, "acquiring the watch of a connection failed"),
            }
        }
    }
}

fn shuffle(connections: &mut [ConnectionKey]) {
    connections.sort_by_cached_key(|_| uuid::Uuid::new_v4());
}
