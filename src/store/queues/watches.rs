//! Leases of watchers: one per connection, with a fencing token, so that a late call of an earlier holder is refused.

use std::time::Duration;

use uuid::Uuid;

use crate::{
    domain::{
        names::TenantId,
        queue::{
            Framework,
            connection::{BrokerError, Connection, WatchHealth},
        },
    },
    store::{ReplicaId, Store, StoreError, functions, keys::watched_entry, queues::connections::decode_connection},
};

/// Duration of a lease. With the interval of the replicas' polls it bounds the takeover of a killed watcher's connections to 10 s.
pub const LEASE_DURATION: Duration = Duration::from_secs(6);

/// Lease of a connection's watcher.
#[derive(Debug, Clone)]
pub struct WatchLease {
    /// Tenant of the connection.
    pub tenant: TenantId,
    /// Id of the connection.
    pub connection: Uuid,
    /// Framework of the connection's jobs.
    pub framework: Framework,
    /// Fencing token: grows with each holder. The store compares it with the field `fence:<connection>` of the tenant's `watches`.
    pub fence: i64,
}

/// Whether a connection's lease can be acquired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// Yes: it was never held, or its holder released it.
    Free,
    /// Yes: it expired, so its holder was lost.
    Expired,
    /// Not for this long, and longer if its holder renews it.
    HeldFor(Duration),
    /// No: the connection is deleted.
    Gone,
}

/// Outcome of [`Store::acquire_watch`].
#[derive(Debug)]
pub enum AcquireOutcome {
    /// The lease is ours.
    Acquired(Box<AcquiredWatch>),
    /// Another replica holds the lease.
    Held,
    /// The connection is deleted.
    Gone,
}

/// A lease just acquired, with what its watcher needs.
#[derive(Debug)]
pub struct AcquiredWatch {
    /// The lease.
    pub lease: WatchLease,
    /// The connection to watch.
    pub connection: Connection,
    /// Redis' clock, in microseconds since the Unix epoch.
    pub now_us: i64,
    /// Until when the broker was watched before, in milliseconds since the Unix epoch; `None`: never.
    pub watched_until_ms: Option<i64>,
    /// Whether the holder before released the lease, instead of being lost.
    pub was_released: bool,
}

impl Store {
    /// Lists the connections that have a broker. Some may be deleted: see [`Store::watch_availability`].
    ///
    /// # Errors
    /// As [`StoreError`] says; reading changes nothing.
    pub async fn connections_to_watch(&self) -> Result<Vec<(TenantId, String)>, StoreError> {
        let reply = self.redis.send(redis::cmd("SMEMBERS").arg(self.namespace().connections())).await?;
        let entries: Vec<String> = redis::from_redis_value(reply)
            .map_err(|_| StoreError::UnexpectedReply { function: "connections", got: "no set".into() })?;
        let parse = |entry: &String| {
            let (tenant, connection) = entry.split_once('/')?;
            Some((TenantId::parse(tenant)?, connection.to_owned()))
        };
        Ok(entries.iter().filter_map(parse).collect())
    }

    /// Removes a deleted connection from the list of those to watch.
    ///
    /// # Errors
    /// As [`StoreError`] says; repeating is harmless.
    pub async fn unlist_connection(&self, tenant: &TenantId, connection: &str) -> Result<(), StoreError> {
        self.redis
            .send(redis::cmd("SREM").arg(self.namespace().connections()).arg(watched_entry(tenant, connection)))
            .await?;
        Ok(())
    }

    /// Availability of the leases of a tenant's connections, in the same order.
    ///
    /// # Errors
    /// As [`StoreError`] says; reading changes nothing.
    pub async fn watch_availability(
        &self,
        tenant: &TenantId,
        connections: &[&str],
    ) -> Result<Vec<Availability>, StoreError> {
        let reply = self.eval_at(&functions::WATCH_LOOK, &self.tenant_handle(tenant), connections).await?;
        reply.each(|reader| {
            Some(match reader.int()? {
                -2 => Availability::Expired,
                ..0 => Availability::Gone,
                0 => Availability::Free,
                left_ms => Availability::HeldFor(Duration::from_millis(left_ms as u64)),
            })
        })
    }

    /// Acquires the lease of a connection for [`LEASE_DURATION`], if nobody holds it.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may be acquired; then nobody renews it, and it expires.
    pub async fn acquire_watch(
        &self,
        tenant: &TenantId,
        connection: &str,
        replica: &ReplicaId,
    ) -> Result<AcquireOutcome, StoreError> {
        let lease_ms = LEASE_DURATION.as_millis().to_string();
        let reply = self
            .eval_at(&functions::WATCH_TAKE, &self.tenant_handle(tenant), &[connection, replica.as_str(), &lease_ms])
            .await?;
        match reply.status() {
            "HELD" => return Ok(AcquireOutcome::Held),
            "GONE" => return Ok(AcquireOutcome::Gone),
            "OK" => {}
            _ => return Err(reply.unexpected()),
        }
        let acquired = reply.whole(|reader| {
            let fence = reader.int()?;
            let record = decode_connection(connection, reader.bytes()?)?;
            let lease = WatchLease {
                tenant: tenant.clone(),
                connection: connection.parse().ok()?,
                framework: record.framework,
                fence,
            };
            Some(AcquiredWatch {
                lease,
                connection: record,
                now_us: reply.now_us,
                watched_until_ms: reader.maybe_int()?,
                was_released: reader.boolean()?,
            })
        })?;
        Ok(AcquireOutcome::Acquired(Box::new(acquired)))
    }

    /// Renews a lease for another [`LEASE_DURATION`], and stores the health of the watch.
    ///
    /// Returns Redis' clock in microseconds since the Unix epoch; `None`: the lease is lost, as another replica acquired it or the connection is
    /// deleted.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may be renewed. Repeating is safe.
    pub async fn renew_watch(&self, lease: &WatchLease, health: &WatchHealth) -> Result<Option<i64>, StoreError> {
        self.extend_watch(lease, health, LEASE_DURATION).await
    }

    /// Releases a lease, so that another replica can acquire it at once. Repeating is harmless.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may be released; if not, it expires.
    pub async fn release_watch(&self, lease: &WatchLease, health: &WatchHealth) -> Result<(), StoreError> {
        self.extend_watch(lease, health, Duration::ZERO).await.map(|_| ())
    }

    async fn extend_watch(
        &self,
        lease: &WatchLease,
        health: &WatchHealth,
        duration: Duration,
    ) -> Result<Option<i64>, StoreError> {
        let connected_ms = health.connected_ms.unwrap_or(0).to_string();
        let last_event_ms = health.last_event_ms.unwrap_or(0).to_string();
        let lag_ms = health.lag_ms.map(|lag_ms| lag_ms.to_string()).unwrap_or_default();
        let args: [&str; 8] = [
            &lease.connection.to_string(),
            &lease.fence.to_string(),
            &duration.as_millis().to_string(),
            health.error.map_or("", BrokerError::name),
            &connected_ms,
            &last_event_ms,
            &lag_ms,
            health.missing_right.as_deref().unwrap_or(""),
        ];
        let reply = self.eval_at(&functions::WATCH_KEEP, &self.tenant_handle(&lease.tenant), &args).await?;
        match reply.status() {
            "OK" => Ok(Some(reply.now_us)),
            "LOST" => Ok(None),
            _ => Err(reply.unexpected()),
        }
    }
}
