//! What was told before: for readers who were away, and for holes in what a replica heard.

use std::sync::Arc;

use crate::store::{Arg, Key, Notification, Partition, Reply, Store, StoreError, TenantHandle, scripts};

/// How long an event is told again, in microseconds.
const KEPT_US: i64 = 3_600_000_000;

/// A page of what was told after a position.
#[derive(Debug)]
pub struct Replay {
    /// Redis' clock, in microseconds since the Unix epoch.
    pub now_us: i64,
    /// The tenant's latest position, as reads report it.
    pub position: i64,
    /// The position of the last kept event. Below `position` only where Redis lost writes that a replica has seen.
    pub last: i64,
    /// The notes, in order; the first names the position before it.
    pub notes: Vec<Notification>,
}

/// What is asked of one tenant in [`Store::heads`].
#[derive(Debug, Clone)]
pub struct Ask {
    /// Whose.
    pub place: Arc<TenantHandle>,
    /// The credentials to be looked after.
    pub credentials: Vec<String>,
}

/// How a tenant stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The position of its last kept event; `None`: the tenant is gone.
    pub position: Option<i64>,
    /// Of the credentials asked for, those that ended.
    pub ended: Vec<String>,
}

impl Store {
    /// What was told to the tenant after `from`: at most `limit` entries of the history, in which up to 32 events of a batch may
    /// share one, and none older than an hour. `None`: the tenant is gone.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn replay(&self, place: &TenantHandle, from: i64, limit: usize) -> Result<Option<Replay>, StoreError> {
        let Some(keeper) = self.keeper(place.tenant()).await? else { return Ok(None) };
        let reply = match self.ask(&scripts::REPLAY, &keeper, &[Arg::Number(from), Arg::Number(limit as i64)]).await {
            Err(StoreError::Unauthorized) => return Ok(None),
            reply => reply?,
        };
        let mut reader = reply.items();
        let read = (|| {
            let last = reader.int()?;
            let mut notes = Vec::new();
            while reader.left() > 0 {
                notes.extend(Notification::read_kept(reader.bytes()?)?);
            }
            // The first entry may begin before the page does.
            let after = from.max(reply.now_us - KEPT_US);
            notes.retain(|note| note.positions().is_some_and(|(_, position)| position > after));
            Some(Replay { now_us: reply.now_us, position: reply.position, last, notes })
        })();
        read.map(Some).ok_or_else(|| reply.unexpected())
    }

    /// How tenants of one partition stand, in the order asked.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn heads(&self, asks: &[Ask]) -> Result<Vec<Head>, StoreError> {
        let script = &scripts::HEADS;
        let bytes = self
            .link
            .eval(script, asks.iter().map(|ask| ask.place.key("meta")), |to| {
                for ask in asks {
                    to.int(ask.credentials.len() as i64);
                    ask.credentials.iter().for_each(|credential| to.text(credential));
                }
            })
            .await?;
        let reply = Reply::read(script, bytes)?;
        let mut reader = reply.items();
        let heads = asks.iter().map(|ask| {
            let position = reader.maybe_int()?;
            let mut ended = Vec::new();
            for credential in &ask.credentials {
                if !reader.boolean()? {
                    ended.push(credential.clone());
                }
            }
            Some(Head { position, ended })
        });
        heads.collect::<Option<_>>().ok_or_else(|| reply.unexpected())
    }

    /// Says that this replica lives, to the tenants of a partition whose streams are counted.
    ///
    /// # Errors
    /// As [`StoreError`] says; the next beat makes up for it.
    pub async fn beat(&self, partition: Partition, replica: &super::stream_slots::ReplicaId) -> Result<(), StoreError> {
        let key = partition.replicas();
        let alive = super::stream_slots::ALIVE.as_millis() as i64;
        let bytes = self.link.eval(&scripts::REPLICA_BEAT, std::iter::once(Key::from(key.as_str())), |to| {
            to.text(replica.as_str());
            to.int(alive);
        });
        Reply::read(&scripts::REPLICA_BEAT, bytes.await?).map(|_| ())
    }
}
