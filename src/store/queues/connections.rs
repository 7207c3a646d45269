//! Connections of the queue monitor: create, list, delete. The leases of their watchers are in `watches.rs`.
//!
//! A connection's record is in its tenant's state. Two entries elsewhere only lead to it: the directory, by the hash of its ingest key, and the
//! list of connections to watch. Neither entry has any effect without the record.

use uuid::Uuid;

use crate::{
    domain::{
        closed_set::ClosedSet,
        queue::{
            Framework,
            connection::{BrokerError, Connection, NewConnection, WatchHealth},
        },
    },
    store::{
        Arg, Caller, INGEST_KEY_PREFIX, KeyKind, Limited, Secret, Stamped, Store, StoreError, TenantHandle,
        codec::Reader, functions, keys::watched_entry, tenants::api_keys::random_text,
    },
};

/// A connection just created, with the text of its ingest key: the store keeps only the key's hash.
#[derive(Debug, Clone)]
pub struct CreatedConnection {
    /// The connection.
    pub connection: Connection,
    /// Ingest key: `sk_live_...`.
    pub ingest_key: String,
}

impl Store {
    /// A random id for a new connection. The broker's address is encrypted under it before [`Store::create_connection`].
    #[must_use]
    pub fn new_connection_id() -> String {
        Uuid::new_v4().to_string()
    }

    /// Creates a connection of the caller's tenant, with an ingest key.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`], [`StoreError::Interrupted`]: there may be a connection whose ingest key nobody knows; the list shows it.
    pub async fn create_connection(
        &self,
        caller: &Caller,
        id: &str,
        new: &NewConnection,
        sealed_url: Option<String>,
    ) -> Result<Stamped<Limited<CreatedConnection>>, StoreError> {
        let ingest_key = random_text(INGEST_KEY_PREFIX)?;
        let secret = Secret::of(&ingest_key);
        let options = serde_json::to_string(&new.options).unwrap_or_default();
        let caller = &self.fresh(caller).await?;
        let max_connections = caller.limits().connections.unwrap_or(0);
        let args = [
            Arg::Text(id),
            Arg::Text(secret.hash()),
            Arg::Text(&new.name),
            Arg::Text(new.framework.name()),
            Arg::Text(sealed_url.as_deref().unwrap_or("")),
            Arg::Text(&options),
            Arg::Number(max_connections as i64),
        ];
        let stamped =
            self.ask(&functions::CONNECTION_CREATE, caller, &args).await?.limited(|reply| reply.whole(Reader::int))?;
        if let Limited::Done(_) = stamped.answer {
            let tenant = &caller.tenant().id;
            self.complete(redis::cmd("SET").arg(self.namespace().credential_entry(secret.hash())).arg(tenant.as_str()))
                .await?;
            if sealed_url.is_some() {
                self.complete(redis::cmd("SADD").arg(self.namespace().connections()).arg(watched_entry(tenant, id)))
                    .await?;
            }
        }
        let created = |created_ms| {
            let NewConnection { name, framework, options, .. } = new.clone();
            CreatedConnection {
                connection: Connection { id: id.into(), name, framework, created_ms, sealed_url, options },
                ingest_key,
            }
        };
        Ok(stamped.map(|outcome| outcome.map(created)))
    }

    /// Lists the connections of the caller's tenant with the health of their watches, oldest first.
    ///
    /// # Errors
    /// As [`StoreError`] says; reading changes nothing.
    pub async fn connections(&self, caller: &Caller) -> Result<Stamped<Vec<(Connection, WatchHealth)>>, StoreError> {
        let item = |reader: &mut Reader<'_>| {
            let connection = decode_connection(reader.text()?, reader.bytes()?)?;
            Some((connection, reader.maybe_bytes()?.map(<[u8]>::to_vec)))
        };
        let stamped = self.ask_in_pieces(&functions::CONNECTION_LIST, caller, &[], item).await?;
        let now_ms = stamped.now_us / 1000;
        let mut connections: Vec<_> = stamped
            .answer
            .into_iter()
            .map(|(connection, watch)| {
                let health = watch.as_deref().and_then(|packed| decode_health(packed, now_ms)).unwrap_or_default();
                (connection, health)
            })
            .collect();
        connections.sort_by(|(a, _), (b, _)| (a.created_ms, &a.id).cmp(&(b.created_ms, &b.id)));
        connections.dedup_by(|(a, _), (b, _)| a.id == b.id);
        // Repairs the list of connections to watch, after a creation that was interrupted between the record and the list.
        let tenant = &caller.tenant().id;
        let with_broker = connections.iter().filter(|(connection, _)| connection.sealed_url.is_some());
        let entries: Vec<_> = with_broker.map(|(connection, _)| watched_entry(tenant, &connection.id)).collect();
        if !entries.is_empty() {
            self.redis.send(redis::cmd("SADD").arg(self.namespace().connections()).arg(entries)).await?;
        }
        Ok(Stamped { now_us: stamped.now_us, position: stamped.position, answer: connections })
    }

    /// Deletes a connection: its ingest key is refused and its lease is lost from now on. `false`: there is no such connection.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`], [`StoreError::Interrupted`]: it may be deleted. Repeating is safe.
    pub async fn delete_connection(&self, caller: &Caller, id: &str) -> Result<Stamped<bool>, StoreError> {
        let reply = self.ask(&functions::CONNECTION_DELETE, caller, &[Arg::Text(id)]).await?;
        match reply.status() {
            "OK" => {
                let hash = reply.whole(|reader| reader.text().map(str::to_owned))?;
                self.complete(redis::cmd("DEL").arg(self.namespace().credential_entry(&hash))).await?;
                let entry = watched_entry(&caller.tenant().id, id);
                self.complete(redis::cmd("SREM").arg(self.namespace().connections()).arg(entry)).await?;
                Ok(reply.stamped(true))
            }
            "NOT_FOUND" => Ok(reply.stamped(false)),
            _ => Err(reply.unexpected()),
        }
    }

    /// Whether the tenant has that connection.
    ///
    /// # Errors
    /// As [`StoreError`] says; reading changes nothing.
    pub async fn has_connection(&self, tenant_handle: &TenantHandle, connection: Uuid) -> Result<bool, StoreError> {
        let key = tenant_handle.key(KeyKind::Connections);
        let reply = self.redis.send(redis::cmd("HEXISTS").arg(key).arg(connection.to_string())).await?;
        redis::from_redis_value(reply)
            .map_err(|_| StoreError::UnexpectedReply { function: "connections", got: "another shape".into() })
    }
}

pub(super) fn decode_connection(id: &str, packed: &[u8]) -> Option<Connection> {
    let mut reader = Reader::new(packed);
    let _key_hash = reader.text()?;
    let name = reader.text()?.to_owned();
    let framework = Framework::of_name(reader.text()?)?;
    let created_ms = reader.int()?;
    let sealed_url = reader.maybe_text()?;
    let options = serde_json::from_str(reader.text()?).ok()?;
    Some(Connection { id: id.into(), name, framework, created_ms, sealed_url, options })
}

fn decode_health(packed: &[u8], now_ms: i64) -> Option<WatchHealth> {
    let mut reader = Reader::new(packed);
    let _replica = reader.text()?;
    let watched = reader.int()? > now_ms;
    let (_renewed_ms, _was_released) = (reader.maybe_int()?, reader.boolean()?);
    let connected_ms = reader.maybe_int()?;
    let (last_event_ms, lag_ms) = (reader.maybe_int()?, reader.maybe_int()?);
    let error = match reader.maybe_text()? {
        Some(name) => Some(BrokerError::of_name(&name)?),
        None => None,
    };
    let missing_right = reader.maybe_text()?;
    // The broker's state is out of date when the lease has expired.
    Some(WatchHealth {
        watched,
        connected_ms: connected_ms.filter(|_| watched),
        last_event_ms,
        lag_ms,
        error: error.filter(|_| watched),
        missing_right: missing_right.filter(|_| watched),
    })
}
