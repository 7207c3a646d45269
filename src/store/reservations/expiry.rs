//! What the sweep asks: which tenants' deadlines have passed, and to end what has lapsed.

use std::time::Instant;

use crate::{
    domain::names::TenantId,
    store::{Partition, Store, StoreError, functions},
};

/// What follows the tenant in the index of deadlines where its queues are meant.
const QUEUES: &str = "/queues";

/// A look at Redis' clock.
#[derive(Debug, Clone, Copy)]
pub struct ClockSample {
    /// What it showed, in milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// When Redis answered, on this process' clock.
    pub at: Instant,
}

impl ClockSample {
    /// What it shows at another moment, a little later.
    #[must_use]
    pub fn at(&self, at: Instant) -> Self {
        Self { now_ms: self.now_ms + at.saturating_duration_since(self.at).as_millis() as i64, at }
    }
}

/// What a look at a partition shows.
#[derive(Debug, Clone)]
pub struct DueTenants {
    /// When that was.
    pub now: ClockSample,
    /// Tenants whose earliest deadline has passed, at most as many as were asked for.
    pub lapsed: Vec<TenantId>,
    /// Tenants whose queues are to be looked after, likewise.
    pub queues_due: Vec<TenantId>,
    /// The earliest deadline that is still to come or not among `lapsed`, in milliseconds since the Unix epoch.
    pub next_ms: Option<i64>,
}

/// What ending a tenant's lapsed reservations came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expired {
    /// Nothing of it has lapsed any more.
    Done,
    /// The tenant is gone.
    Gone,
}

impl Store {
    /// Reads Redis' clock.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    pub async fn clock(&self) -> Result<ClockSample, StoreError> {
        let reply = self.redis.send(&redis::cmd("TIME")).await?;
        let (seconds, micros): (i64, i64) = redis::from_redis_value(reply)
            .map_err(|_| StoreError::UnexpectedReply { function: "TIME", got: "another shape".into() })?;
        Ok(ClockSample { now_ms: seconds * 1000 + micros / 1000, at: Instant::now() })
    }

    /// Looks which tenants of a partition have deadlines behind them, the `limit` most overdue, and when the next one comes, by a
    /// `clock` that was read a little before.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn due_tenants(
        &self,
        partition: Partition,
        limit: usize,
        clock: ClockSample,
    ) -> Result<DueTenants, StoreError> {
        let unexpected = || StoreError::UnexpectedReply { function: "due_tenants", got: "another shape".into() };
        let read = async |last: usize| -> Result<Vec<(String, f64)>, StoreError> {
            let first = self
                .redis
                .send(redis::cmd("ZRANGE").arg(self.namespace().due(partition)).arg(0).arg(last).arg("WITHSCORES"))
                .await?;
            redis::from_redis_value(first).map_err(|_| unexpected())
        };
        // Mostly nothing is due, and the first says so.
        let mut first = read(0).await?;
        let mut now = clock.at(Instant::now());
        if first.first().is_some_and(|(_, deadline)| *deadline as i64 <= now.now_ms) {
            first = read(limit).await?;
            now = clock.at(Instant::now());
        }
        let now_ms = now.now_ms;
        let next_ms = first
            .iter()
            .find(|(_, deadline)| *deadline as i64 > now_ms)
            .or(first.get(limit))
            .map(|(_, deadline)| *deadline as i64);
        let (mut lapsed, mut queues_due) = (Vec::new(), Vec::new());
        for (member, _) in first.into_iter().take(limit).filter(|(_, deadline)| *deadline as i64 <= now_ms) {
            match member.strip_suffix(QUEUES) {
                Some(tenant) => queues_due.extend(TenantId::parse(tenant)),
                None => lapsed.extend(TenantId::parse(&member)),
            }
        }
        Ok(DueTenants { now, lapsed, queues_due, next_ms })
    }

    /// Ends what has lapsed of one tenant, and tells it. Safe on every replica at once: each expiry is told exactly once.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: some may have ended; calling again is harmless.
    ///
    /// # Cancellation
    /// Dropping the future does not undo a call that was already sent.
    pub async fn expire(&self, tenant: &TenantId) -> Result<Expired, StoreError> {
        let Some(system) = self.system_caller(tenant).await? else { return Ok(Expired::Gone) };
        match self.ask(&functions::EXPIRE, &system, &[]).await {
            Ok(_) => Ok(Expired::Done),
            Err(StoreError::Unauthorized) => Ok(Expired::Gone),
            Err(error) => Err(error),
        }
    }
}
