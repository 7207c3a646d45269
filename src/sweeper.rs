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
use tokio::time::{Instant as Wake, sleep_until};

use crate::{
    replica::Replica,
    store::{Look, Partition, Store, StoreError},
};

/// How often a partition is looked at when nothing is due there.
const LOOK: Duration = Duration::from_millis(500);
/// Partitions are looked at in so many groups, one after the other: what a group asks goes out at once, which costs a small part of
/// asking one by one, and keeps Redis from nobody for long.
const GROUPS: u16 = 8;
/// Looks at one partition are at least this far apart: many deadlines close together are ended together.
const COALESCE: Duration = Duration::from_millis(20);
/// How many tenants with lapsed reservations are taken on at one look; the next look follows at once.
const TENANTS: usize = 100;
/// Redis' clock may differ from ours in pace by so much between two looks before that counts as a step.
const STEP: Duration = Duration::from_secs(5);
/// A step is named in `/readyz` for this long.
const STEP_SHOWN: Duration = Duration::from_secs(60);

/// Sweeps all partitions until the replica drains.
pub async fn sweep(store: Store, replica: Arc<Replica>) {
    let partitions = Partition::all().map(|partition| sweep_one(store.clone(), partition, replica.clone()));
    let mut sweeping: FuturesUnordered<_> = partitions.collect();
    tokio::select! {
        () = replica.drain.cancelled() => {}
        () = async { while sweeping.next().await.is_some() {} } => {}
    }
}

async fn sweep_one(store: Store, partition: Partition, replica: Arc<Replica>) {
    let mut clock = Clock::default();
    let rhythm = Rhythm::of(partition);
    let mut wake = rhythm.first;
    loop {
        sleep_until(wake).await;
        let began = Wake::now();
        match turn(&store, partition).await {
            Ok(look) => {
                clock.compare(&look, &replica);
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
    fn next_wake(&self, look: &Look) -> Wake {
        let at = Wake::from_std(look.at);
        let turns = at.saturating_duration_since(self.first).as_millis() / LOOK.as_millis() + 1;
        let usual = self.first + LOOK * turns as u32;
        look.next_ms.map_or(usual, |next| usual.min(at + Duration::from_millis((next - look.now_ms).max(0) as u64)))
    }
}

/// Looks, and ends what has lapsed.
async fn turn(store: &Store, partition: Partition) -> Result<Look, StoreError> {
    let look = store.look(partition, TENANTS).await?;
    for tenant in &look.lapsed {
        store.expire(tenant).await?;
    }
    for tenant in &look.untended {
        store.tend_queues(tenant).await?;
    }
    Ok(look)
}

/// Compares the pace of Redis' clock with ours.
#[derive(Debug, Default)]
struct Clock {
    last: Option<(i64, Instant)>,
    stepped: Option<Instant>,
}

impl Clock {
    fn compare(&mut self, look: &Look, replica: &Replica) {
        if let Some((then_ms, then)) = self.last.replace((look.now_ms, look.at)) {
            let ours = look.at.duration_since(then).as_millis() as i64;
            let theirs = look.now_ms - then_ms;
            if theirs < 0 || (theirs - ours).unsigned_abs() > STEP.as_millis() as u64 {
                metrics::counter!("holdfast_redis_clock_steps_total").increment(1);
                tracing::error!(step_ms = theirs - ours, "the clock of redis stepped: reservations end earlier or later than their holders were told");
                self.stepped = Some(look.at);
                replica.clock_stepped.store(true, Ordering::Relaxed);
            }
        }
        if self.stepped.is_some_and(|stepped| stepped.elapsed() > STEP_SHOWN) {
            self.stepped = None;
            replica.clock_stepped.store(false, Ordering::Relaxed);
        }
    }
}
