//! Connections of the queue monitor: create, list, delete.

use chrono::{DateTime, Utc};
use poem_openapi::{Object, OpenApi, param::Path};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    domain::{
        field_errors::FieldErrors,
        queue::{
            ConsumersSource, Framework,
            connection::{BrokerError, Connection, ConnectionOptions, ConnectionRequest, NewConnection, WatchHealth},
        },
        time::{instant, wire, wire_option},
    },
    http::{
        app_state::{AppState, Tag},
        auth::{Admin, Authorized},
        wire::{
            error::{ApiError, Code},
            outcome::within_limit,
            request::Body,
            response::{Answer, Nothing},
            word::Word,
        },
    },
    monitor,
    store::{CreatedConnection, Store},
};

pub(in crate::http) struct Connections;

#[OpenApi(tag = "Tag::Queues")]
impl Connections {
    /// Create a connection of the queue monitor. Its ingest key is shown this once.
    ///
    /// With a `brokerUrl` the queues of that broker are watched, read-only, by one replica at a time; the operator says which brokers may be
    /// (`BROKER_HOSTS`). The address is stored encrypted and never shown. Without one, events come by `POST /api/ingest` alone. A
    /// connection with a broker may be sent events, too: an event that is both watched and sent counts once.
    #[oai(path = "/connections", method = "post", operation_id = "createConnection")]
    async fn create(
        &self,
        caller: Authorized<Admin>,
        app_state: AppState,
        body: Body<NewConnectionRequest>,
    ) -> Result<Answer<ConnectionWithKey, 201>, ApiError> {
        let mut errors = FieldErrors::default();
        let new = NewConnection::parse(body.0.into(), &mut errors);
        if let Some(url) = new.as_ref().and_then(|new| new.broker_url.as_ref()) {
            let allowed = app_state.app().config.brokers_of(&caller.0.tenant().id);
            errors.check(|| "brokerUrl".into(), monitor::check_url(url, &allowed));
        }
        let new = errors.finish(|| new).map_err(ApiError::validation)?;
        let id = Store::new_connection_id();
        let sealed_url = match &new.broker_url {
            Some(url) => Some(
                app_state
                    .app()
                    .vault
                    .seal(&id, url)
                    .ok_or_else(|| ApiError::new(Code::Internal, "The system gives no random numbers."))?,
            ),
            None => None,
        };
        let stamped = app_state.store().create_connection(&caller.0, &id, &new, sealed_url).await?;
        Ok(Answer(within_limit(stamped, &caller.0)?.map(ConnectionWithKey::new)))
    }

    /// List the tenant's connections, oldest first, each with the health of its watch. Never a broker's address, never an ingest key.
    #[oai(path = "/connections", method = "get", operation_id = "listConnections")]
    async fn list(&self, caller: Authorized<Admin>, app_state: AppState) -> Result<Answer<ConnectionList>, ApiError> {
        let stamped = app_state.store().connections(&caller.0).await?;
        Ok(Answer(stamped.map(|connections| {
            let rows = connections.into_iter().map(|(connection, health)| ConnectionRow::new(connection, health));
            ConnectionList { connections: rows.collect(), next_cursor: None }
        })))
    }

    /// Delete a connection: its watch stops, its streams end, its ingest key is refused at once on every replica, and what was observed
    /// through it is deleted within moments.
    #[oai(path = "/connections/:id", method = "delete", operation_id = "deleteConnection")]
    async fn delete(
        &self,
        caller: Authorized<Admin>,
        app_state: AppState,
        id: Path<String>,
    ) -> Result<Nothing, ApiError> {
        let deleted = app_state.store().delete_connection(&caller.0, &id.0).await?;
        if !deleted.answer {
            return Err(ApiError::not_found("connection").at(deleted.now_us));
        }
        if let Ok(connection) = Uuid::try_parse(&id.0) {
            let (store, tenant) = (app_state.store().clone(), caller.0.tenant().id.clone());
            // In the background: nobody can read it any more, and what an interrupted deletion leaves is evicted by its age.
            tokio::spawn(async move {
                if let Err(error) = store.delete_observations(&tenant, connection).await {
                    tracing::warn!(%error, "deleting the observations of a connection failed; they are evicted by their age");
                }
            });
        }
        Ok(Nothing)
    }
}

/// A connection to create.
#[derive(Debug, Deserialize, Object)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[oai(rename_all = "camelCase")]
struct NewConnectionRequest {
    /// Name for people, 1 to 256 bytes.
    name: Option<String>,
    /// `celery` or `bullmq`.
    framework: Option<String>,
    /// The broker to watch: `redis://` or `rediss://user:password@host:port/database`. Its host and port must be among the operator's.
    broker_url: Option<String>,
    /// Only these queues; without it all that are found. At most 200. Celery's events are of all jobs, whatever their queue.
    queues: Option<Vec<String>>,
    /// Prefix of every key: kombu's `global_keyprefix`, or BullMQ's `prefix` (`bull` without it).
    key_prefix: Option<String>,
    /// Celery: ask the workers which queues they consume, by their remote control. This is the one thing that writes to the broker.
    exact_consumers: Option<bool>,
    /// Celery: kombu's `fanout_prefix` as a text, where `{db}` stands for the database's number; empty for `False`. `/{db}.` without it.
    fanout_prefix: Option<String>,
    /// Celery: kombu's `fanout_patterns`. True without it.
    fanout_patterns: Option<bool>,
    /// Celery: kombu's `priority_steps`. 0, 3, 6 and 9 without it.
    priority_steps: Option<Vec<u8>>,
    /// Celery: kombu's `sep`. The bytes 6 and 22 without it.
    separator: Option<String>,
    /// Celery: `event_exchange` of its configuration. `celeryev` without it.
    event_exchange: Option<String>,
    /// Celery: `control_exchange` of its configuration. `celery` without it.
    control_exchange: Option<String>,
}

impl From<NewConnectionRequest> for ConnectionRequest {
    fn from(request: NewConnectionRequest) -> Self {
        let NewConnectionRequest { name, framework, broker_url, queues, key_prefix, exact_consumers, .. } = request;
        let NewConnectionRequest { fanout_prefix, fanout_patterns, priority_steps, separator, .. } = request;
        let NewConnectionRequest { event_exchange, control_exchange, .. } = request;
        let (queues, exact_consumers) = (queues.unwrap_or_default(), exact_consumers.unwrap_or(false));
        let options = ConnectionOptions {
            queues,
            key_prefix,
            exact_consumers,
            fanout_prefix,
            fanout_patterns,
            priority_steps,
            separator,
            event_exchange,
            control_exchange,
        };
        Self { name, framework, broker_url, options }
    }
}

/// A connection. Its secrets, the broker's address and the ingest key, are never shown.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename = "Connection", rename_all = "camelCase")]
struct ConnectionRow {
    id: String,
    name: String,
    framework: Word<Framework>,
    #[serde(with = "wire")]
    created_at: DateTime<Utc>,
    /// Names of the queues that are watched; empty: every queue found.
    queues: Vec<String>,
    key_prefix: Option<String>,
    exact_consumers: bool,
    /// Where the numbers of consumers come from, if they can be had so; each queue says where its own comes from. Null without a broker.
    consumers_source: Option<Word<ConsumersSource>>,
    /// Health of the watch; null without a broker.
    health: Option<HealthRow>,
}

/// Health of a connection's watch.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename = "ConnectionHealth", rename_all = "camelCase")]
struct HealthRow {
    /// Whether a replica watches the connection now. After a replica was lost, another one watches it within 10 s.
    watched: bool,
    /// Since when the broker has been watched without a break; null while it is not.
    #[serde(with = "wire_option")]
    connected_since: Option<DateTime<Utc>>,
    /// When the latest stored event happened.
    #[serde(with = "wire_option")]
    last_event_at: Option<DateTime<Utc>>,
    /// Time from that event's happening to its being stored, in milliseconds, by the clocks of both sides.
    lag_ms: Option<i64>,
    /// Why the broker cannot be watched, or shows nothing; null when all is well.
    error: Option<Word<BrokerError>>,
    /// ACL rule of a right that the broker's user lacks, such as `+sscan`, `~*` (keys) or `&*` (channels): with the error `auth` of one that
    /// watching needs, else of one without which numbers of consumers are inferred or unknown.
    missing_right: Option<String>,
}

impl ConnectionRow {
    fn new(connection: Connection, health: WatchHealth) -> Self {
        let Connection { id, name, framework, created_ms, sealed_url, options } = connection;
        let source = match framework {
            Framework::Celery if options.exact_consumers => ConsumersSource::Exact,
            Framework::Celery => ConsumersSource::Inferred,
            Framework::BullMq | Framework::Sidekiq => ConsumersSource::Connected,
        };
        let has_broker = sealed_url.is_some();
        Self {
            id,
            name,
            framework: framework.into(),
            created_at: instant(created_ms),
            queues: options.queues,
            key_prefix: options.key_prefix,
            exact_consumers: options.exact_consumers,
            consumers_source: has_broker.then(|| source.into()),
            health: has_broker.then(|| health.into()),
        }
    }
}

impl From<WatchHealth> for HealthRow {
    fn from(health: WatchHealth) -> Self {
        Self {
            watched: health.watched,
            connected_since: health.connected_ms.map(instant),
            last_event_at: health.last_event_ms.map(instant),
            lag_ms: health.lag_ms,
            error: health.error.map(Into::into),
            missing_right: health.missing_right,
        }
    }
}

/// The tenant's connections.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
struct ConnectionList {
    connections: Vec<ConnectionRow>,
    /// Always null: the list is whole.
    next_cursor: Option<String>,
}

/// A connection with its ingest key, which is never shown again.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
struct ConnectionWithKey {
    #[serde(flatten)]
    #[oai(flatten)]
    row: ConnectionRow,
    /// For `POST /api/ingest`, as `Authorization: Bearer`: `sk_live_...`.
    ingest_key: String,
}

impl ConnectionWithKey {
    fn new(created: CreatedConnection) -> Self {
        let row = ConnectionRow::new(created.connection, WatchHealth::default());
        Self { row, ingest_key: created.ingest_key }
    }
}
