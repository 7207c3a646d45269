//! Places on the event stream: counted per tenant over all replicas together.
//!
//! A place is an entry that names its replica, and a replica says every few seconds that it lives. So nothing drifts when a
//! process dies: its entries count no more as soon as it has been silent for [`ALIVE`].

use std::{sync::Arc, time::Duration};

use uuid::Uuid;

use crate::store::{Arg, Caller, Limited, Stamped, Store, StoreError, TenantHandle, scripts};

/// How long a replica counts as alive after it last said so: a killed one's places come back within 15 s.
pub(in crate::store) const ALIVE: Duration = Duration::from_secs(12);
/// The most streams of one session, and of all sessions of a tenant.
const COOKIES_OF_SESSION: i64 = 10;
const COOKIES_OF_TENANT: i64 = 100;

/// One run of a replica: random, so that a restarted one is another.
#[derive(Debug, Clone)]
pub struct ReplicaId(Arc<str>);

impl ReplicaId {
    /// Of a replica that has just begun.
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::new_v4().simple().to_string().into())
    }

    /// The text, as in keys' fields.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A stream that takes a place: the replica that serves it, and its number there.
#[derive(Debug, Clone)]
pub struct StreamId {
    /// Which replica.
    pub replica: ReplicaId,
    /// The stream's number on it.
    pub number: u64,
}

/// By what kind of credential a stream was opened, which decides whether and how it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamKind {
    /// A key or a token: counts against the tier's limit.
    Key,
    /// A session's cookie: at most ten of a session and a hundred of a tenant, beside the tier's limit.
    Session(String),
}

impl StreamKind {
    /// The most streams of this kind that the tenant may have; `None`: no limit, and nobody needs to count.
    #[must_use]
    pub fn most(&self, caller: &Caller) -> Option<i64> {
        match self {
            Self::Key => caller.limits().streams.map(|most| most as i64),
            Self::Session(_) => Some(COOKIES_OF_TENANT),
        }
    }
}

impl Store {
    /// Takes a place for a stream of the caller's. Repeating it with the same id takes no second one.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may have been taken; [`Store::leave_stream`] gives it back.
    pub async fn enter_stream(
        &self,
        caller: &Caller,
        stream: &StreamId,
        kind: &StreamKind,
    ) -> Result<Stamped<Limited<()>>, StoreError> {
        let session = match kind {
            StreamKind::Key => "",
            StreamKind::Session(session) => session,
        };
        let args = [
            Arg::Text(stream.replica.as_str()),
            Arg::Number(stream.number as i64),
            Arg::Text(session),
            Arg::Number(kind.most(caller).unwrap_or(0)),
            Arg::Number(COOKIES_OF_SESSION),
            Arg::Number(ALIVE.as_millis() as i64),
        ];
        self.ask(&scripts::STREAM_ENTER, caller, &args).await?.limited(|_| Ok(()))
    }

    /// Gives a stream's place back. Repeating it is harmless.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may have been given back.
    pub async fn leave_stream(&self, place: &TenantHandle, stream: &StreamId) -> Result<(), StoreError> {
        let field = format!("{}/{}", stream.replica.as_str(), stream.number);
        self.link.send(redis::cmd("HDEL").arg(place.key("streams")).arg(field)).await.map(|_| ())
    }

    /// Puts a place back that Redis has forgotten, so that it is counted again.
    ///
    /// # Errors
    /// As [`StoreError`] says; repeating is harmless.
    pub async fn keep_stream(
        &self,
        place: &TenantHandle,
        stream: &StreamId,
        kind: &StreamKind,
    ) -> Result<(), StoreError> {
        let field = format!("{}/{}", stream.replica.as_str(), stream.number);
        let session = match kind {
            StreamKind::Key => "",
            StreamKind::Session(session) => session,
        };
        self.link.send(redis::cmd("HSET").arg(place.key("streams")).arg(field).arg(session)).await.map(|_| ())
    }
}
