//! The queue monitor's connections: made, shown, ended. Their watches are in `watches.rs`.
//!
//! A connection's truth is in its tenant's state; two entries elsewhere only find it: the directory, by its ingest key, and the list
//! of what is to be watched. An entry alone opens nothing and is watched by nobody.

use uuid::Uuid;

use crate::{
    domain::queue::{
        Framework,
        connection::{Connection, Health, NewConnection},
    },
    store::{
        Arg, Caller, INGEST_KEY_PREFIX, Limited, Secret, Stamped, Store, StoreError,
        codec::Reader,
        keys::{CONNECTIONS, directory, watched_entry},
        scripts,
        tenants::random_text,
    },
};

/// A connection that was just made: the only moment at which the text of its ingest key is known.
#[derive(Debug, Clone)]
pub struct MadeConnection {
    /// The connection.
    pub connection: Connection,
    /// The key itself: `sk_live_...`.
    pub ingest_key: String,
}

impl Store {
    /// A new connection's id, under which its broker's address is encrypted before [`Store::create_connection`].
    #[must_use]
    pub fn new_connection_id() -> String {
        Uuid::new_v4().to_string()
    }

    /// Makes a connection for the caller's tenant, with a key for sending its events.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: there may be a connection whose ingest key nobody knows; the list shows it.
    pub async fn create_connection(
        &self,
        caller: &Caller,
        id: &str,
        new: &NewConnection,
        sealed_url: Option<String>,
    ) -> Result<Stamped<Limited<MadeConnection>>, StoreError> {
        let ingest_key = random_text(INGEST_KEY_PREFIX)?;
        let secret = Secret::of(&ingest_key);
        let options = serde_json::to_string(&new.options).unwrap_or_default();
        let caller = &self.fresh(caller).await?;
        let most = caller.limits().connections.unwrap_or(0);
        let args = [
            Arg::Text(id),
            Arg::Text(secret.hash()),
            Arg::Text(&new.name),
            Arg::Text(new.framework.name()),
            Arg::Text(sealed_url.as_deref().unwrap_or("")),
            Arg::Text(&options),
            Arg::Number(most as i64),
        ];
        let told =
            self.ask(&scripts::CONNECTION_CREATE, caller, &args).await?.limited(|reply| reply.whole(Reader::int))?;
        if let Limited::Done(_) = told.answer {
            let tenant = &caller.tenant().id;
            self.link.send(redis::cmd("SET").arg(directory(secret.hash())).arg(tenant.as_str())).await?;
            if sealed_url.is_some() {
                self.link.send(redis::cmd("SADD").arg(CONNECTIONS).arg(watched_entry(tenant, id))).await?;
            }
        }
        let made = |created_ms| {
            let NewConnection { name, framework, options, .. } = new.clone();
            MadeConnection {
                connection: Connection { id: id.into(), name, framework, created_ms, sealed_url, options },
                ingest_key,
            }
        };
        Ok(told.map(|outcome| outcome.map(made)))
    }

    /// The connections of the caller's tenant with how their watches go, oldest first.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn connections(&self, caller: &Caller) -> Result<Stamped<Vec<(Connection, Health)>>, StoreError> {
        let reply = self.ask(&scripts::CONNECTION_LIST, caller, &[]).await?;
        let now_ms = reply.now_us / 1000;
        let mut connections = reply.each(3, |reader| {
            let connection = read_connection(reader.text()?, reader.bytes()?)?;
            let health = if reader.absent() { Health::default() } else { read_health(reader.bytes()?, now_ms)? };
            Some((connection, health))
        })?;
        connections.sort_by(|(a, _), (b, _)| (a.created_ms, &a.id).cmp(&(b.created_ms, &b.id)));
        // Whoever made one of them may have been interrupted before it was listed to be watched.
        let tenant = &caller.tenant().id;
        let watched: Vec<_> = connections
            .iter()
            .filter(|(made, _)| made.sealed_url.is_some())
            .map(|(made, _)| watched_entry(tenant, &made.id))
            .collect();
        if !watched.is_empty() {
            self.link.send(redis::cmd("SADD").arg(CONNECTIONS).arg(watched)).await?;
        }
        Ok(reply.told(connections))
    }

    /// Ends a connection: its ingest key is refused and its watch is lost from now on. `false` if there is no such connection.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may have been done. Repeating is safe.
    pub async fn delete_connection(&self, caller: &Caller, id: &str) -> Result<Stamped<bool>, StoreError> {
        let reply = self.ask(&scripts::CONNECTION_DELETE, caller, &[Arg::Text(id)]).await?;
        match reply.verdict() {
            "OK" => {
                let hash = reply.whole(|reader| reader.text().map(str::to_owned))?;
                self.link.send(redis::cmd("DEL").arg(directory(&hash))).await?;
                self.link.send(redis::cmd("SREM").arg(CONNECTIONS).arg(watched_entry(&caller.tenant().id, id))).await?;
                Ok(reply.told(true))
            }
            "NOT_FOUND" => Ok(reply.told(false)),
            _ => Err(reply.unexpected()),
        }
    }
}

pub(in crate::store) fn read_connection(id: &str, packed: &[u8]) -> Option<Connection> {
    let mut reader = Reader::new(packed);
    let _hash = reader.text()?;
    let name = reader.text()?.to_owned();
    let framework = Framework::parse(reader.text()?)?;
    let created_ms = reader.int()?;
    let sealed_url = reader.maybe_text()?;
    let options = serde_json::from_str(reader.text()?).ok()?;
    Some(Connection { id: id.into(), name, framework, created_ms, sealed_url, options })
}

fn read_health(packed: &[u8], now_ms: i64) -> Option<Health> {
    let mut reader = Reader::new(packed);
    let _replica = reader.text()?;
    let watched = reader.int()? > now_ms;
    let (_kept_ms, _given_back) = (reader.maybe_int()?, reader.boolean()?);
    let connected_ms = reader.maybe_int()?.filter(|_| watched);
    Some(Health {
        watched,
        connected_ms,
        event_ms: reader.maybe_int()?,
        lag_ms: reader.maybe_int()?,
        trouble: reader.maybe_text()?.filter(|_| watched),
    })
}
