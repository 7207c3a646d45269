//! Watches brokers: what Celery and BullMQ do there becomes sightings in the store, from where the streams tell them.
//!
//! Exactly one replica watches a connection, by a lease in our own Redis ([`crate::store::LEASE`]). Whoever takes one over goes on where the broker
//! lets it: BullMQ's streams are kept, and their cursors are stored with the state; Celery's events are not, so a gap is told.
//! Brokers are only read, but where a connection asks for exact consumers.

mod broker;
mod bullmq;
mod celery;
mod glob;
mod key_scan;
mod reporter;
mod watcher;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::{task::JoinHandle, time::sleep};

use crate::{
    config::Config,
    domain::names::TenantId,
    replica::Replica,
    store::{Free, ReplicaId, Store, StoreError, Take},
    trust::Vault,
};

pub use broker::check_url;

use broker::Guard;

/// How often a replica looks for connections that nobody watches.
const LOOK: Duration = Duration::from_millis(1_000);
/// The wait before the next take where more are free: others take theirs meanwhile, those that watch less sooner.
const TURN: Duration = Duration::from_millis(50);
/// All those waits of one look together.
const TURNS_LONGEST: Duration = Duration::from_millis(1_000);
/// How long leaving may take: each lease is given back, or lapses.
const FAREWELL: Duration = Duration::from_secs(3);

/// Watches connections, among all replicas each once, until the replica drains; then gives them back.
pub async fn collect(store: Store, config: Arc<Config>, vault: Arc<Vault>, replica: Arc<Replica>) {
    let guard = Arc::new(Guard { allowed: config.broker_hosts.clone(), store: store.clone() });
    let mut collector = QueueMonitor {
        store,
        guard,
        vault,
        replica: replica.clone(),
        name: ReplicaId::random(),
        watches: HashMap::new(),
    };
    tokio::select! {
        () = replica.drain.cancelled() => {}
        () = collector.look_around() => {}
    }
    let _ = tokio::time::timeout(FAREWELL, futures_util::future::join_all(collector.watches.into_values())).await;
}

/// A connection by its tenant and its id.
type Named = (TenantId, String);

struct QueueMonitor {
    store: Store,
    guard: Arc<Guard>,
    vault: Arc<Vault>,
    replica: Arc<Replica>,
    name: ReplicaId,
    watches: HashMap<Named, JoinHandle<()>>,
}

impl QueueMonitor {
    async fn look_around(&mut self) {
        // Replicas that start together look one after the other.
        sleep(LOOK.mul_f64(chance())).await;
        loop {
            self.watches.retain(|_, watch| !watch.is_finished());
            metrics::gauge!("holdfast_queue_watches").set(self.watches.len() as f64);
            match self.free().await {
                Ok((lost, free)) => {
                    // What its watcher lost is taken at once. Of the rest a part is left to the others at each look, so that all get some.
                    let share = free.len().div_ceil(2);
                    let taken: Vec<_> = lost.into_iter().chain(free.into_iter().take(share)).collect();
                    self.take(taken).await;
                }
                Err(error) => tracing::debug!(%error, "connections could not be looked for"),
            }
            sleep(LOOK.mul_f64(0.75 + 0.5 * chance())).await;
        }
    }

    /// The connections that nobody watches, in random order: those whose watcher was lost, and the others.
    async fn free(&self) -> Result<(Vec<Named>, Vec<Named>), StoreError> {
        let mut by_tenant: BTreeMap<TenantId, Vec<String>> = BTreeMap::new();
        for (tenant, connection) in self.store.watched_connections().await? {
            if !self.watches.contains_key(&(tenant.clone(), connection.clone())) {
                by_tenant.entry(tenant).or_default().push(connection);
            }
        }
        let (mut lost, mut free) = (Vec::new(), Vec::new());
        for (tenant, connections) in by_tenant {
            let ids: Vec<_> = connections.iter().map(String::as_str).collect();
            let looks = self.store.look_at_watches(&tenant, &ids).await?;
            for (connection, look) in connections.iter().zip(looks) {
                match look {
                    Free::Now => free.push((chance(), (tenant.clone(), connection.clone()))),
                    Free::Lapsed => lost.push((chance(), (tenant.clone(), connection.clone()))),
                    Free::In(_) => {}
                    Free::Never => self.store.forget_connection(&tenant, connection).await?,
                }
            }
        }
        Ok((shuffled(lost), shuffled(free)))
    }

    async fn take(&mut self, connections: Vec<Named>) {
        let longest = TURNS_LONGEST / connections.len().max(1) as u32;
        for (tenant, connection) in connections {
            // The more a replica watches, the longer it leaves what is free to others.
            sleep((TURN * self.watches.len() as u32).min(longest).mul_f64(0.5 + chance())).await;
            match self.store.take_watch(&tenant, &connection, &self.name).await {
                Ok(Take::Taken(taken)) => {
                    let watch = watcher::watch(
                        self.store.clone(),
                        *taken,
                        self.guard.clone(),
                        self.vault.clone(),
                        self.replica.drain.clone(),
                    );
                    self.watches.insert((tenant, connection), tokio::spawn(watch));
                }
                Ok(Take::Held | Take::Gone) => {}
                Err(error) => tracing::debug!(%error, "a connection could not be taken"),
            }
        }
    }
}

fn shuffled(mut drawn: Vec<(f64, Named)>) -> Vec<Named> {
    drawn.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    drawn.into_iter().map(|(_, named)| named).collect()
}

/// A random number from 0 to 1: for spreading, not for secrets.
fn chance() -> f64 {
    f64::from(uuid::Uuid::new_v4().as_fields().0) / f64::from(u32::MAX)
}
