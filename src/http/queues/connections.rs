//! The queue monitor's connections: made, listed with how their watches go, ended.

use chrono::{DateTime, Utc};
use poem_openapi::{Object, OpenApi, param::Path};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    domain::{
        field_errors::FieldErrors,
        queue::{
            Framework,
            connection::{Asked, Connection, Health, NewConnection, Options},
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
        },
    },
    monitor,
    store::{MadeConnection, Store},
};

pub(in crate::http) struct Connections;

#[OpenApi(tag = "Tag::Queues")]
impl Connections {
    /// Make a connection of the queue monitor. Its ingest key is shown this once.
    ///
    /// With a `brokerUrl` the queues of that broker are watched, read-only, by one replica at a time; the operator says which brokers may be
    /// (`BROKER_HOSTS`). The address is stored encrypted and never shown. Without one, events come by `POST /api/ingest` alone. A
    /// connection with a broker may be sent events, too: what is told twice counts once.
    #[oai(path = "/connections", method = "post", operation_id = "createConnection")]
    async fn create(
        &self,
        caller: Authorized<Admin>,
        here: AppState,
        body: Body<NewConnectionRequest>,
    ) -> Result<Answer<ConnectionWithKey, 201>, ApiError> {
        let mut errors = FieldErrors::default();
        let new = NewConnection::parse(body.0.into(), &mut errors);
        if let Some(url) = new.as_ref().and_then(|new| new.broker_url.as_ref()) {
            errors.check(|| "brokerUrl".into(), monitor::check_url(url, &here.app().config.broker_hosts));
        }
        let new = errors.finish(|| new).map_err(ApiError::validation)?;
        let id = Store::new_connection_id();
        let sealed_url = match &new.broker_url {
            Some(url) => Some(
                here.app()
                    .vault
                    .seal(&id, url)
                    .ok_or_else(|| ApiError::new(Code::Internal, "The system gives no random numbers."))?,
            ),
            None => None,
        };
        let stamped = here.store().create_connection(&caller.0, &id, &new, sealed_url).await?;
        Ok(Answer(within_limit(stamped, &caller.0)?.map(ConnectionWithKey::of)))
    }

    /// List the tenant's connections, oldest first, each with how its watch goes. Never a broker's address, never an ingest key.
    #[oai(path = "/connections", method = "get", operation_id = "listConnections")]
    async fn list(&self, caller: Authorized<Admin>, here: AppState) -> Result<Answer<ConnectionList>, ApiError> {
        let told = here.store().connections(&caller.0).await?;
        let rows = |connections: Vec<(Connection, Health)>| {
            connections.into_iter().map(|(made, health)| ConnectionRow::of(made, health)).collect()
        };
        Ok(Answer(told.map(|connections| ConnectionList { connections: rows(connections), next_cursor: None })))
    }

    /// End a connection: its watch stops, its streams end, its ingest key is refused at once on every replica, and what was seen through it
    /// goes within moments.
    #[oai(path = "/connections/:id", method = "delete", operation_id = "deleteConnection")]
    async fn delete(&self, caller: Authorized<Admin>, here: AppState, id: Path<String>) -> Result<Nothing, ApiError> {
        let told = here.store().delete_connection(&caller.0, &id.0).await?;
        if !told.answer {
            return Err(ApiError::not_found("connection").at(told.now_us));
        }
        if let Ok(connection) = Uuid::try_parse(&id.0) {
            let (store, tenant) = (here.store().clone(), caller.0.tenant().id.clone());
            // Nobody waits for it: nothing can be seen through it any more, and what is left goes with its age.
            tokio::spawn(async move {
                if let Err(error) = store.forget_seen(&tenant, connection).await {
                    tracing::warn!(%error, "what was seen through a connection could not be let go of yet");
                }
            });
        }
        Ok(Nothing)
    }
}

/// A connection to make.
#[derive(Debug, Deserialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
struct NewConnectionRequest {
    /// What people call it. 1 to 256 bytes.
    name: Option<String>,
    /// `celery` or `bullmq`.
    framework: Option<String>,
    /// The broker to watch: `redis://` or `rediss://user:password@host:port/database`. Its host and port must be among the operator's.
    broker_url: Option<String>,
    /// Only these queues; without it all that are found. At most 200. Celery's events tell of all jobs, whatever their queue.
    queues: Option<Vec<String>>,
    /// What stands before every key: kombu's `global_keyprefix`, or BullMQ's `prefix` (`bull` without it).
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
}

impl From<NewConnectionRequest> for Asked {
    fn from(asked: NewConnectionRequest) -> Self {
        let NewConnectionRequest { name, framework, broker_url, queues, key_prefix, exact_consumers, .. } = asked;
        let NewConnectionRequest { fanout_prefix, fanout_patterns, priority_steps, separator, .. } = asked;
        let (queues, exact_consumers) = (queues.unwrap_or_default(), exact_consumers.unwrap_or(false));
        let options =
            Options { queues, key_prefix, exact_consumers, fanout_prefix, fanout_patterns, priority_steps, separator };
        Self { name, framework, broker_url, options }
    }
}

/// A connection as it may be shown.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
struct ConnectionRow {
    id: String,
    name: String,
    /// `celery` or `bullmq`.
    framework: String,
    #[serde(with = "wire")]
    created_at: DateTime<Utc>,
    /// Only these are watched; empty: all that are found.
    queues: Vec<String>,
    key_prefix: Option<String>,
    exact_consumers: bool,
    /// Where the number of a queue's consumers comes from. `inferred`: Celery workers that are alive and took a job from the queue; one that only
    /// waits is not seen. `exact`: Celery workers that named the queue when asked. `connected`: BullMQ workers whose connections the broker lists. Null without a broker.
    consumers_source: Option<String>,
    /// Null without a broker.
    health: Option<HealthRow>,
}

/// How a connection's watch goes.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
struct HealthRow {
    /// Whether a replica has the connection now. After a replica was lost, another has it within 10 s.
    watched: bool,
    /// Since when the broker has been watched without a break; null while it is not.
    #[serde(with = "wire_option")]
    connected_since: Option<DateTime<Utc>>,
    /// When the last event happened that was taken in.
    #[serde(with = "wire_option")]
    last_event_at: Option<DateTime<Utc>>,
    /// How long after it happened it was taken in, in milliseconds, by the clocks of both sides.
    lag_ms: Option<i64>,
    /// What keeps the broker from being watched: `address`, `not_allowed`, `own_redis`, `dns`, `refused`, `timeout`, `auth`, `tls`, `protocol` or
    /// `broken`; null when nothing does.
    error: Option<String>,
}

impl ConnectionRow {
    fn of(connection: Connection, health: Health) -> Self {
        let Connection { id, name, framework, created_ms, sealed_url, options } = connection;
        let Health { watched, connected_ms, event_ms, lag_ms, trouble } = health;
        let source = match framework {
            Framework::Celery if options.exact_consumers => "exact",
            Framework::Celery => "inferred",
            _ => "connected",
        };
        let health = HealthRow {
            watched,
            connected_since: connected_ms.map(instant),
            last_event_at: event_ms.map(instant),
            lag_ms,
            error: trouble,
        };
        Self {
            id,
            name,
            framework: framework.name().into(),
            created_at: instant(created_ms),
            queues: options.queues,
            key_prefix: options.key_prefix,
            exact_consumers: options.exact_consumers,
            consumers_source: sealed_url.is_some().then(|| source.into()),
            health: sealed_url.is_some().then_some(health),
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
    id: String,
    name: String,
    framework: String,
    #[serde(with = "wire")]
    created_at: DateTime<Utc>,
    queues: Vec<String>,
    key_prefix: Option<String>,
    exact_consumers: bool,
    consumers_source: Option<String>,
    health: Option<HealthRow>,
    /// For `POST /api/ingest`, as `Authorization: Bearer`: `sk_live_...`.
    ingest_key: String,
}

impl ConnectionWithKey {
    fn of(made: MadeConnection) -> Self {
        let row = ConnectionRow::of(made.connection, Health::default());
        let ConnectionRow {
            id,
            name,
            framework,
            created_at,
            queues,
            key_prefix,
            exact_consumers,
            consumers_source,
            health,
        } = row;
        Self {
            id,
            name,
            framework,
            created_at,
            queues,
            key_prefix,
            exact_consumers,
            consumers_source,
            health,
            ingest_key: made.ingest_key,
        }
    }
}
