//! Stream slots: open event streams, counted per tenant over all replicas together.
//!
//! A slot is an entry that names its replica, and a replica sends a heartbeat every few seconds. So nothing drifts when a process dies: its
//! slots do not count any more once it has been silent for [`REPLICA_TTL`].

use std::{sync::Arc, time::Duration};

use uuid::Uuid;

use crate::store::{Arg, Caller, KeyKind, Limited, Stamped, Store, StoreError, TenantHandle, functions};

/// How long a replica counts as alive after a heartbeat, 12 s: the slots of a killed one are free within 15 s.
pub(in crate::store) const REPLICA_TTL: Duration = Duration::from_secs(12);
/// Streams of one session at the same time.
const MAX_STREAMS_OF_SESSION: i64 = 10;
/// Streams of all sessions of a tenant at the same time.
const MAX_SESSION_STREAMS_OF_TENANT: i64 = 100;

/// One run of a replica: random, so that a restarted one is another.
#[derive(Debug, Clone)]
pub struct ReplicaId(Arc<str>);

impl ReplicaId {
    /// The id of a replica that starts.
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::new_v4().simple().to_string().into())
    }

    /// The id as text, as fields of keys contain it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A stream that takes a slot: the replica that serves it, and its number there.
#[derive(Debug, Clone)]
pub struct StreamId {
    /// The replica.
    pub replica: ReplicaId,
    /// The stream's number on it.
    pub number: u64,
}

impl StreamId {
    /// Its field in the key `streams`.
    fn field(&self) -> String {
        format!("{}/{}", self.replica.as_str(), self.number)
    }
}

/// The kind of credential that opened a stream, which decides how it is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamKind {
    /// A key or a token: counts against the tier's limit.
    Key,
    /// A session's cookie, by its hash: at most 10 of a session and 100 of a tenant, beside the tier's limit.
    Session(String),
}

impl StreamKind {
    /// The session's hash; empty for other kinds.
    fn session(&self) -> &str {
        match self {
            Self::Key => "",
            Self::Session(session) => session,
        }
    }

    /// The greatest number of streams of this kind that the tenant may have; `None`: unlimited, and not counted.
    #[must_use]
    pub fn limit(&self, caller: &Caller) -> Option<i64> {
        match self {
            Self::Key => caller.limits().streams.map(|limit| limit as i64),
            Self::Session(_) => Some(MAX_SESSION_STREAMS_OF_TENANT),
        }
    }
}

impl Store {
    /// Acquires a slot for a stream of the caller. Repeating it with the same id acquires no second one.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may have been acquired; [`Store::release_stream_slot`] releases it.
    pub async fn acquire_stream_slot(
        &self,
        caller: &Caller,
        stream: &StreamId,
        kind: &StreamKind,
    ) -> Result<Stamped<Limited<()>>, StoreError> {
        let entered = self.enter(caller, stream, kind).await?;
        let present = self.present_caller(caller.clone());
        if kind.limit(&present) == kind.limit(caller) {
            return Ok(entered);
        }
        // The tier was changed: the limit that was sent is not the present one, by which a slot that was acquired would count itself.
        if matches!(entered.answer, Limited::Done(())) {
            self.release_stream_slot(caller.tenant_handle(), stream).await?;
        }
        self.enter(&present, stream, kind).await
    }

    async fn enter(
        &self,
        caller: &Caller,
        stream: &StreamId,
        kind: &StreamKind,
    ) -> Result<Stamped<Limited<()>>, StoreError> {
        let args = [
            Arg::Text(stream.replica.as_str()),
            Arg::Number(stream.number as i64),
            Arg::Text(kind.session()),
            Arg::Number(kind.limit(caller).unwrap_or(0)),
            Arg::Number(MAX_STREAMS_OF_SESSION),
            Arg::Number(REPLICA_TTL.as_millis() as i64),
        ];
        self.ask(&functions::STREAM_ENTER, caller, &args).await?.limited(|_| Ok(()))
    }

    /// Releases a stream's slot. Repeating it is harmless.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may have been released.
    pub async fn release_stream_slot(&self, tenant_handle: &TenantHandle, stream: &StreamId) -> Result<(), StoreError> {
        self.redis.send(redis::cmd("HDEL").arg(tenant_handle.key(KeyKind::Streams)).arg(stream.field())).await?;
        Ok(())
    }

    /// Restores a slot that Redis has lost, so that it is counted again.
    ///
    /// # Errors
    /// As [`StoreError`] says; repeating is harmless.
    pub async fn restore_stream_slot(
        &self,
        tenant_handle: &TenantHandle,
        stream: &StreamId,
        kind: &StreamKind,
    ) -> Result<(), StoreError> {
        self.redis
            .send(redis::cmd("HSET").arg(tenant_handle.key(KeyKind::Streams)).arg(stream.field()).arg(kind.session()))
            .await?;
        Ok(())
    }
}
