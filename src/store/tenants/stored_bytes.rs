//! How many bytes a tenant stores, in all its keys together, and the limit of its tier on that.
//!
//! Redis estimates it from samples, so it is asked at most every few seconds, before calls that make a tenant's data grow. Between two looks the
//! tenant's rate bounds what is added. Calls that free or read are never refused.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use crate::{
    domain::tier::Tier,
    store::{Caller, LimitReached, Stamped, Store, StoreError, call::Arg, functions},
    sync::lock,
};

/// How long the last look counts.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// What was seen last of one tenant's data.
#[derive(Debug, Default)]
pub struct StoredBytes {
    looked_at: std::sync::Mutex<Option<Instant>>,
    bytes: AtomicU64,
    is_over: AtomicBool,
}

impl StoredBytes {
    /// The bytes at the last look; 0 before the first.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn is_fresh(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
            && lock(&self.looked_at).is_some_and(|looked_at| looked_at.elapsed() < LOOK_INTERVAL)
    }

    fn note(&self, bytes: u64, is_over: bool) {
        *lock(&self.looked_at) = Some(Instant::now());
        self.bytes.store(bytes, Ordering::Relaxed);
        self.is_over.store(is_over, Ordering::Relaxed);
    }
}

/// A tenant stores more than its tier allows; nothing changed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the tenant's data is larger than its tier allows")]
pub struct StorageFull {
    /// The limit, and what is stored.
    pub reached: LimitReached,
    /// The tenant's tier.
    pub tier: Tier,
    /// Redis' clock in microseconds.
    pub now_us: i64,
}

impl Store {
    /// Makes sure that a tenant may store more.
    ///
    /// # Errors
    /// [`StoreError::StorageFull`] where it stores too much already.
    pub(in crate::store) async fn check_stored(&self, caller: &Caller) -> Result<(), StoreError> {
        let seen = caller.tenant_handle().stored();
        if caller.limits().stored_bytes.is_none() || seen.is_fresh() {
            return Ok(());
        }
        // Who was over the limit asks before each call, which is refused at once; that counts.
        let cost = u32::from(seen.is_over.load(Ordering::Relaxed));
        self.look_at_stored(caller, cost).await.map(drop)
    }

    /// How many bytes a tenant stores.
    ///
    /// # Errors
    /// As [`StoreError`] says; a read changes nothing.
    pub async fn stored_bytes(&self, caller: &Caller) -> Result<i64, StoreError> {
        match self.look_at_stored(caller, 0).await {
            Ok(stamped) => Ok(stamped.answer),
            Err(StoreError::StorageFull(full)) => Ok(full.reached.used),
            Err(error) => Err(error),
        }
    }

    async fn look_at_stored(&self, caller: &Caller, cost: u32) -> Result<Stamped<i64>, StoreError> {
        let most = caller.limits().stored_bytes.unwrap_or(0);
        let args = [Arg::Number(most as i64)];
        let reply = self.ask_at_cost(cost, &functions::STORED_BYTES, caller, &args).await?;
        let seen = caller.tenant_handle().stored();
        if reply.status() == "LIMIT" {
            let reached = reply.limit()?;
            seen.note(reached.used as u64, true);
            metrics::counter!("holdfast_storage_refusals_total").increment(1);
            let full = StorageFull { reached, tier: caller.tenant().tier, now_us: reply.now_us };
            return Err(StoreError::StorageFull(Box::new(full)));
        }
        let bytes = reply.whole(|reader| reader.int())?;
        seen.note(bytes as u64, false);
        Ok(reply.stamped(bytes))
    }
}
