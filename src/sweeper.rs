//! Tells expiries when nobody asks, and workers that have fallen silent.
//!
//! A reservation whose time has passed is free at once: every script sees to that. What is left is to say so. Each replica looks at
//! every partition's earliest deadlines twice a second, so it knows each deadline (a TTL is a second at least) before it comes, and
//! wakes for it. The first replica to come ends what has lapsed; the others find nothing. No lease is needed, and none can be lost.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::Mutex,
    time::{Instant as Wake, sleep_until},
};

use crate::{
    replica::Replica,
    store::{ClockSample, DueTenants, Partition, Store, StoreError},
};

/// How often a partition is looked at when nothing is due there.
const LOOK: Duration = Duration::from_millis(500);
/// Partitions are looked at in so many groups, one after the other: what a group asks goes out at once, which costs a small part of
/// asking one by one, and keeps Redis from nobody for long (0.1 ms). Each more wakes a replica that has nothing to do, and Redis, more often: eight
/// cost both half as much again.
const GROUPS: u16 = 2;
/// Looks at one partition are at least this far apart: many deadlines close together are ended together.
const COALESCE: Duration = Duration::from_millis(20);
/// How many tenants with lapsed reservations are taken on at one look; the next look follows at once.
const TENANTS: usize = 100;
/// For so long Redis' clock is not read again: one reading serves a group, and asking for each partition would double what looking
/// costs Redis. In that time no two clocks drift apart by what matters, and the script that ends a reservation reads its own.
const FRESH: Duration = Duration::from_millis(50);
/// Redis' clock may differ from ours in pace by so much between two readings before that counts as a step.
const STEP: Duration = Duration::from_secs(5);
/// A step is named in `/readyz` for this long.
const STEP_SHOWN: Duration = Duration::from_secs(60);

/// Sweeps all partitions until the replica drains.
pub async fn sweep(store: Store, replica: Arc<Replica>) {
    let clock = Arc::new(Clock { last: Mutex::default(), replica: replica.clone() });
    let partitions = Partition::all().map(|partition| sweep_one(store.clone(), partition, clock.clone()));
    let mut sweeping: FuturesUnordered<_> = partitions.collect();
    tokio::select! {
        () = replica.drain.cancelled() => {}
        () = async { while sweeping.next().await.is_some() {} } => {}
    }
}

async fn sweep_one(store: Store, partition: Partition, clock: Arc<Clock>) {
    let rhythm = Rhythm::of(partition);
    let mut wake = rhythm.first;
    loop {
        sleep_until(wake).await;
        let began = Wake::now();
        match turn(&store, partition, &clock).await {
            Ok(look) => {
                // What was ended may have had others of its tenant behind it: only a new look knows when those come.
                let looked_through = look.lapsed.is_empty() && look.untended.is_empty();
                wake = if looked_through { rhythm.next_wake(&look).max(began + COALESCE) } else { began + COALESCE };
            }
            Err(error) => {
                tracing::debug!(%error, "the sweep could not look");
                wake = began + LOOK;
            }
        }
    }
}

/// When a partition is looked at if nothing is due there: together with its group.
struct Rhythm {
    first: Wake,
}

impl Rhythm {
    fn of(partition: Partition) -> Self {
        let group = partition.number() as u32 % u32::from(GROUPS);
        // The groups count from one moment for all, whenever they are asked.
        static BEGAN: std::sync::OnceLock<Wake> = std::sync::OnceLock::new();
        Self { first: *BEGAN.get_or_init(Wake::now) + LOOK * group / u32::from(GROUPS) }
    }

    /// When to look again: at the next deadline, or with the group.
    fn next_wake(&self, look: &DueTenants) -> Wake {
        let at = Wake::from_std(look.now.at);
        let turns = at.saturating_duration_since(self.first).as_millis() / LOOK.as_millis() + 1;
        let usual = self.first + LOOK * turns as u32;
        look.next_ms.map_or(usual, |next| usual.min(at + Duration::from_millis((next - look.now.now_ms).max(0) as u64)))
    }
}

/// Looks, and ends what has lapsed.
async fn turn(store: &Store, partition: Partition, clock: &Clock) -> Result<DueTenants, StoreError> {
    let look = store.look(partition, TENANTS, clock.read(store).await?).await?;
    for tenant in &look.lapsed {
        store.expire(tenant).await?;
    }
    for tenant in &look.untended {
        store.maintain_queues(tenant).await?;
    }
    Ok(look)
}

/// Redis' clock, read for all partitions, and its pace compared with ours.
struct Clock {
    last: Mutex<Option<Seen>>,
    replica: Arc<Replica>,
}

struct Seen {
    reading: ClockSample,
    stepped: Option<Instant>,
}

impl Clock {
    /// What it shows, or showed a moment ago.
    async fn read(&self, store: &Store) -> Result<ClockSample, StoreError> {
        // Those who come meanwhile wait for the same reading.
        let mut last = self.last.lock().await;
        if let Some(seen) = &*last
            && seen.reading.at.elapsed() < FRESH
        {
            return Ok(seen.reading);
        }
        let reading = store.clock().await?;
        let stepped = last.take().and_then(|seen| {
            let Some(step_ms) = step_between(seen.reading, reading) else { return seen.stepped };
            metrics::counter!("holdfast_redis_clock_steps_total").increment(1);
            tracing::error!(
                step_ms,
                "the clock of redis stepped: reservations end earlier or later than their holders were told"
            );
            Some(reading.at)
        });
        let stepped = stepped.filter(|stepped| stepped.elapsed() <= STEP_SHOWN);
        self.replica.clock_stepped.store(stepped.is_some(), Ordering::Relaxed);
        *last = Some(Seen { reading, stepped });
        Ok(reading)
    }
}

/// By how much Redis' clock went otherwise than ours, in milliseconds, if that is a step.
fn step_between(then: ClockSample, now: ClockSample) -> Option<i64> {
    let step_ms = now.now_ms - then.at(now.at).now_ms;
    (now.now_ms < then.now_ms || step_ms.unsigned_abs() > STEP.as_millis() as u64).then_some(step_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_what_no_delay_explains() {
        let then = ClockSample { now_ms: 1_000_000, at: Instant::now() };
        let after = |ours_ms: u64, theirs_ms: i64| {
            step_between(
                then,
                ClockSample { now_ms: then.now_ms + theirs_ms, at: then.at + Duration::from_millis(ours_ms) },
            )
        };
        assert_eq!((after(500, 500), after(500, 5_400), after(6_000, 1_100)), (None, None, None));
        assert_eq!((after(500, 6_000), after(6_000, 500), after(500, -1)), (Some(5_500), Some(-5_500), Some(-501)));
        assert_eq!(then.at(then.at + Duration::from_millis(70)).now_ms, 1_000_070);
    }
}
