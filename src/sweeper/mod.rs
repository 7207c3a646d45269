//! The sweeper: ends reservations whose time has passed when no call does, and maintains the queue monitor's data.
//!
//! A lapsed reservation is free at once: every script ends what has lapsed before it decides. The sweeper publishes the expiry when nobody
//! calls. Each replica polls the earliest deadlines of every partition twice a second. A TTL is at least one second, so the replica knows each
//! deadline before it comes, and sleeps until then. The first replica to arrive ends what has lapsed; the others find nothing. So no lock
//! between replicas is needed.

mod clock;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, sleep_until};

use crate::{
    replica::Replica,
    store::{DueTenants, Partition, Store, StoreError},
};
use clock::Clock;

/// Interval at which a partition is polled when nothing is due there.
const POLL: Duration = Duration::from_millis(500);
/// Partitions are polled in this many groups, spread over the interval. The polls of a group are sent together, which costs a small part of
/// polling one by one, and keeps Redis busy for 0.1 ms at most. Every further group wakes an idle replica and Redis more often: with eight
/// groups both cost half as much again.
const GROUPS: u16 = 2;
/// Shortest interval between two polls of a partition: deadlines close together are ended together.
const MIN_INTERVAL: Duration = Duration::from_millis(20);
/// Most tenants whose reservations are ended after one poll; the next poll follows at once.
const MAX_TENANTS: usize = 100;

/// Interval at which the use of this build's functions is noted; those that nobody uses are removed after a day.
const LIBRARY_USE_INTERVAL: Duration = Duration::from_secs(3_600);

/// Sweeps all partitions until the replica drains.
pub async fn sweep(store: Store, replica: Arc<Replica>) {
    let clock = Arc::new(Clock::new(replica.clone()));
    let partitions = Partition::all().map(|partition| sweep_partition(store.clone(), partition, clock.clone()));
    let mut sweepers: FuturesUnordered<_> = partitions.collect();
    tokio::select! {
        () = replica.drain.cancelled() => {}
        () = note_library_use(&store) => {}
        () = async { while sweepers.next().await.is_some() {} } => {}
    }
}

/// Notes again and again that this build's functions are in use.
async fn note_library_use(store: &Store) {
    loop {
        store.redis().connected().await;
        let next = match store.note_library_use().await {
            Ok(()) => LIBRARY_USE_INTERVAL,
            Err(error) => {
                tracing::debug!(%error, "the use of the functions could not be noted");
                POLL
            }
        };
        tokio::time::sleep(next).await;
    }
}

async fn sweep_partition(store: Store, partition: Partition, clock: Arc<Clock>) {
    let schedule = Schedule::of(partition);
    let mut wake = schedule.first;
    loop {
        sleep_until(wake).await;
        // Without a connection each partition would only log that it has none.
        store.redis().connected().await;
        let began = Instant::now();
        wake = match sweep_once(&store, partition, &clock).await {
            Ok(due) if due.lapsed.is_empty() && due.queues_due.is_empty() => {
                schedule.next(&due).max(began + MIN_INTERVAL)
            }
            // The tenants that were swept may have later deadlines, which only another poll shows.
            Ok(_) => began + MIN_INTERVAL,
            Err(error) => {
                tracing::debug!(%error, "a partition could not be swept");
                began + POLL
            }
        };
    }
}

/// Polls a partition, and ends what has lapsed.
async fn sweep_once(store: &Store, partition: Partition, clock: &Clock) -> Result<DueTenants, StoreError> {
    let due = store.due_tenants(partition, MAX_TENANTS, clock.read(store).await?).await?;
    for tenant in &due.lapsed {
        store.expire(tenant).await?;
    }
    for tenant in &due.queues_due {
        store.maintain_queues(tenant).await?;
    }
    Ok(due)
}

/// When a partition is polled if nothing is due there: together with its group.
struct Schedule {
    first: Instant,
}

impl Schedule {
    fn of(partition: Partition) -> Self {
        // All groups count from one instant, whenever a partition's sweeper starts.
        static START: OnceLock<Instant> = OnceLock::new();
        let group = partition.number() as u32 % u32::from(GROUPS);
        Self { first: *START.get_or_init(Instant::now) + POLL * group / u32::from(GROUPS) }
    }

    /// The next poll after one that found nothing due: at the next deadline, or with the group.
    fn next(&self, due: &DueTenants) -> Instant {
        let polled = Instant::from_std(due.now.at);
        let turns = polled.saturating_duration_since(self.first).as_millis() / POLL.as_millis() + 1;
        let with_group = self.first + POLL * turns as u32;
        let until = |deadline_ms: i64| Duration::from_millis((deadline_ms - due.now.now_ms).max(0) as u64);
        due.next_ms.map_or(with_group, |deadline_ms| with_group.min(polled + until(deadline_ms)))
    }
}
