//! The history of events: replayed to subscribers that were away, and to fill gaps in what a replica has received.

use std::sync::Arc;

use crate::store::{
    Arg, Caller, Key, KeyKind, Notification, Partition, Reply, Stamped, Store, StoreError, TenantHandle,
    call::{Call, Invocation},
    codec::Writer,
    events::stream_slots::{REPLICA_TTL, ReplicaId},
    functions,
};

/// Retention of events, in microseconds: one hour.
const RETENTION_US: i64 = 3_600_000_000;

/// A page of the history after a position.
#[derive(Debug)]
pub struct Replay {
    /// Redis' clock, in microseconds since the Unix epoch.
    pub now_us: i64,
    /// The tenant's latest position, as reads report it.
    pub position: i64,
    /// The position of the last kept event. Below `position` only where Redis lost writes that a replica has seen.
    pub last: i64,
    /// The events, in order; each names the position before it.
    pub notifications: Vec<Notification>,
}

impl Replay {
    /// Whether kept events follow behind the page. It ends early where it has become long, so its length does not say.
    #[must_use]
    pub fn has_more(&self) -> bool {
        let end = self.notifications.last().and_then(Notification::positions);
        end.is_some_and(|(_, position)| position < self.last)
    }
}

/// The query of one tenant in [`Store::heads`].
#[derive(Debug, Clone)]
pub struct HeadQuery {
    /// The tenant.
    pub tenant_handle: Arc<TenantHandle>,
    /// Credentials of open streams, to be checked: fields of the tenant's state.
    pub credentials: Vec<String>,
}

/// The end of a tenant's history, how much of what is live only there was, and which credentials have ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantHead {
    /// The position of the last event that is kept; `None`: the tenant is gone.
    pub position: Option<i64>,
    /// How many messages of what is live only it has had.
    pub number: i64,
    /// The queried credentials that have ended.
    pub ended: Vec<String>,
}

/// Reads the events after `from` out of a reply.
fn read_page(reply: &Reply, from: i64) -> Result<Replay, StoreError> {
    let mut reader = reply.items();
    let read = (|| {
        let last = reader.int()?;
        let mut notifications = Vec::new();
        while reader.left() > 0 {
            notifications.extend(Notification::read_kept(reader.bytes()?)?);
        }
        // The first entry may begin before the page does.
        let after = from.max(reply.now_us - RETENTION_US);
        notifications.retain(|notification| notification.positions().is_some_and(|(_, position)| position > after));
        Some(Replay { now_us: reply.now_us, position: reply.position, last, notifications })
    })();
    read.ok_or_else(|| reply.unexpected())
}

impl Store {
    /// The tenant's events after `from`, none older than an hour: at most `limit` entries of the history, of which one may hold up to 32 events of a
    /// batch. `None`: the tenant is gone.
    ///
    /// # Errors
    /// As [`StoreError`] says; a read changes nothing.
    pub async fn replay(
        &self,
        tenant_handle: &TenantHandle,
        from: i64,
        limit: usize,
    ) -> Result<Option<Replay>, StoreError> {
        let Some(system) = self.system_caller(tenant_handle.tenant()).await? else { return Ok(None) };
        let packed = Writer::default().int(from).int(limit as i64).done();
        let reply = match self.call(&system, Call::packed(&functions::REPLAY, packed)).await {
            Err(StoreError::Unauthorized) => return Ok(None),
            reply => reply?,
        };
        read_page(&reply, from).map(Some)
    }

    /// The same, as a call of the tenant's own.
    ///
    /// # Errors
    /// As [`StoreError`] says; a read changes nothing.
    pub async fn history(&self, caller: &Caller, from: i64, limit: usize) -> Result<Stamped<Replay>, StoreError> {
        let packed = Writer::default().int(from).int(limit as i64).done();
        let reply = self.call(caller, Call::packed(&functions::REPLAY, packed).weighing(limit)).await?;
        let page = read_page(&reply, from)?;
        Ok(Stamped { now_us: reply.now_us, position: reply.position, answer: page })
    }

    /// The heads of tenants of one partition, in the order of the queries.
    ///
    /// # Errors
    /// As [`StoreError`] says; a read changes nothing.
    pub async fn heads(&self, queries: &[HeadQuery]) -> Result<Vec<TenantHead>, StoreError> {
        let keys = queries.iter().map(|query| query.tenant_handle.key(KeyKind::Meta));
        let mut args = Vec::new();
        for query in queries {
            args.push(Arg::Number(query.credentials.len() as i64));
            args.extend(query.credentials.iter().map(|credential| Arg::Text(credential)));
        }
        let reply = self.eval(Invocation::new(&functions::HEADS, keys, &args)).await?;
        let mut reader = reply.items();
        let heads = queries.iter().map(|query| {
            let (position, number) = (reader.maybe_int()?, reader.int()?);
            let mut ended = Vec::new();
            for credential in &query.credentials {
                if !reader.boolean()? {
                    ended.push(credential.clone());
                }
            }
            Some(TenantHead { position, number, ended })
        });
        heads.collect::<Option<_>>().ok_or_else(|| reply.unexpected())
    }

    /// Heartbeat of this replica in a partition: its stream slots there count for the next 12 s.
    ///
    /// # Errors
    /// As [`StoreError`] says; the next heartbeat makes up for it.
    pub async fn send_heartbeat(&self, partition: Partition, replica: &ReplicaId) -> Result<(), StoreError> {
        let key = self.namespace().replicas(partition);
        let keys = std::iter::once(Key::from(key.as_str()));
        let args = [Arg::Text(replica.as_str()), Arg::Number(REPLICA_TTL.as_millis() as i64)];
        self.eval(Invocation::new(&functions::REPLICA_BEAT, keys, &args)).await.map(|_| ())
    }
}
