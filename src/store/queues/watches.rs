//! Who watches which connection: a lease per connection, numbered, so that what an earlier holder still sends is refused.

use std::time::Duration;

use crate::{
    domain::{
        names::TenantId,
        queue::connection::{Connection, Health},
    },
    store::{
        ReplicaId, Store, StoreError, Watched,
        keys::{CONNECTIONS, watched_entry},
        queues::connections::read_connection,
        scripts,
    },
};

/// How long a lease lasts that is not kept: a killed watcher's connections are taken over within 10 s.
pub const LEASE: Duration = Duration::from_secs(6);

/// When a connection may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Free {
    /// Now: nobody has watched it yet, or its watcher gave it back.
    Now,
    /// Now: its watcher was lost.
    Lapsed,
    /// When its lease ends, unless that is kept.
    In(Duration),
    /// Never: there is no such connection any more.
    Never,
}

/// What a take came to.
#[derive(Debug)]
pub enum Take {
    /// It is ours.
    Taken(Box<Taken>),
    /// Another replica was first.
    Held,
    /// There is no such connection any more.
    Gone,
}

/// What a watcher has to know.
#[derive(Debug)]
pub struct Taken {
    /// The lease.
    pub watched: Watched,
    /// The connection.
    pub connection: Connection,
    /// Redis' clock in microseconds since the Unix epoch.
    pub now_us: i64,
    /// Until when it was watched before, in milliseconds since the Unix epoch; `None`: never.
    pub watched_until_ms: Option<i64>,
    /// Whether the watcher before gave it back, rather than being lost.
    pub given_back: bool,
}

impl Store {
    /// Every connection that has a broker. Some may be gone: [`Store::look_at_watches`] tells.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn watched_connections(&self) -> Result<Vec<(TenantId, String)>, StoreError> {
        let all = self.link.send(redis::cmd("SMEMBERS").arg(CONNECTIONS)).await?;
        let all: Vec<String> = redis::from_redis_value(all)
            .map_err(|_| StoreError::UnexpectedReply { script: "connections", got: "no set".into() })?;
        let entry = |entry: &String| {
            let (tenant, connection) = entry.split_once('/')?;
            Some((TenantId::parse(tenant)?, connection.to_owned()))
        };
        Ok(all.iter().filter_map(entry).collect())
    }

    /// Takes what is gone off the list of what is to be watched.
    ///
    /// # Errors
    /// As [`StoreError`] says; repeating is harmless.
    pub async fn forget_connection(&self, tenant: &TenantId, connection: &str) -> Result<(), StoreError> {
        self.link.send(redis::cmd("SREM").arg(CONNECTIONS).arg(watched_entry(tenant, connection))).await.map(|_| ())
    }

    /// When each of a tenant's connections may be taken.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn look_at_watches(&self, tenant: &TenantId, connections: &[&str]) -> Result<Vec<Free>, StoreError> {
        let reply = self.eval_at(&scripts::WATCH_LOOK, &self.place(tenant), connections).await?;
        reply.each(1, |reader| {
            Some(match reader.int()? {
                -2 => Free::Lapsed,
                ..0 => Free::Never,
                0 => Free::Now,
                left_ms => Free::In(Duration::from_millis(left_ms as u64)),
            })
        })
    }

    /// Takes a connection to watch for [`LEASE`], if nobody has it.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may have been taken; then nobody keeps it, and it is free again when the lease ends.
    pub async fn take_watch(
        &self,
        tenant: &TenantId,
        connection: &str,
        replica: &ReplicaId,
    ) -> Result<Take, StoreError> {
        let lease = LEASE.as_millis().to_string();
        let reply =
            self.eval_at(&scripts::WATCH_TAKE, &self.place(tenant), &[connection, replica.as_str(), &lease]).await?;
        match reply.verdict() {
            "HELD" => Ok(Take::Held),
            "GONE" => Ok(Take::Gone),
            "OK" => {
                let taken = reply.whole(|reader| {
                    let fence = reader.int()?;
                    let made = read_connection(connection, reader.bytes()?)?;
                    let watched = Watched {
                        tenant: tenant.clone(),
                        connection: connection.parse().ok()?,
                        framework: made.framework,
                        fence,
                    };
                    let watched_until_ms = reader.maybe_int()?;
                    Some(Taken {
                        watched,
                        connection: made,
                        now_us: reply.now_us,
                        watched_until_ms,
                        given_back: reader.boolean()?,
                    })
                })?;
                Ok(Take::Taken(Box::new(taken)))
            }
            _ => Err(reply.unexpected()),
        }
    }

    /// Keeps a watch for another [`LEASE`] and writes down how it goes. Redis' clock in microseconds, or `None` if the watch is lost:
    /// its connection is gone, or another replica took it.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may have been kept. Repeating is safe.
    pub async fn keep_watch(&self, watched: &Watched, health: &Health) -> Result<Option<i64>, StoreError> {
        self.say_of_watch(watched, health, LEASE).await
    }

    /// Gives a watch back, so that another replica may take it at once. Repeating it is harmless.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may have been given back; if not, it lapses.
    pub async fn give_watch_back(&self, watched: &Watched, health: &Health) -> Result<(), StoreError> {
        self.say_of_watch(watched, health, Duration::ZERO).await.map(|_| ())
    }

    async fn say_of_watch(
        &self,
        watched: &Watched,
        health: &Health,
        lease: Duration,
    ) -> Result<Option<i64>, StoreError> {
        let number = |number: Option<i64>| number.unwrap_or(0).to_string();
        let lag = health.lag_ms.map_or_else(String::new, |lag| lag.to_string());
        let args = [
            &watched.connection.to_string(),
            &watched.fence.to_string(),
            &lease.as_millis().to_string(),
            health.trouble.as_deref().unwrap_or(""),
            &number(health.connected_ms),
            &number(health.event_ms),
            &lag,
        ];
        let reply = self.eval_at(&scripts::WATCH_KEEP, &self.place(&watched.tenant), &args).await?;
        match reply.verdict() {
            "OK" => Ok(Some(reply.now_us)),
            "LOST" => Ok(None),
            _ => Err(reply.unexpected()),
        }
    }
}
