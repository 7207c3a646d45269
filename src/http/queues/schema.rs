//! Describing types: the events of a connection's stream, which [`feed`](crate::feed) writes. Nothing here is ever constructed; the tests of
//! the document hold them equal to what is sent.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use poem_openapi::{
    Object, Union,
    registry::{MetaSchema, Registry},
    types::Type,
};
use uuid::Uuid;

use crate::{
    domain::queue::{JobState, WorkerState},
    http::wire::word::Word,
};

/// The schemas of the events. The document needs them added: no route refers to them, since the body of a stream is text.
pub(in crate::http) fn queue_event_schemas() -> BTreeMap<String, MetaSchema> {
    let mut registry = Registry::new();
    QueueStreamEvent::register(&mut registry);
    registry.schemas
}

/// The data of an event of `GET /api/events/stream`, one line of JSON; the line `event:` says which it is.
#[derive(Union)]
#[allow(dead_code, reason = "it only describes")]
pub(in crate::http) enum QueueStreamEvent {
    Job(JobStateChange),
    Heartbeat(WorkerHeartbeat),
    Worker(WorkerStateChange),
    Queue(QueueSnapshot),
    Gap(StreamGap),
    Alive(StreamHeartbeat),
}

/// `job:state_change`: a job went into a state.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
#[allow(dead_code, reason = "it only describes")]
pub(in crate::http) struct JobStateChange {
    /// Of the job: see `GET /api/jobs/{id}`.
    id: Uuid,
    /// Name of the task; `unknown` while nobody has reported it.
    name: String,
    state: Word<JobState>,
    /// Null where it is the first.
    previous_state: Option<Word<JobState>>,
    /// When it went into the state.
    timestamp: DateTime<Utc>,
}

/// `worker:heartbeat`: a worker is alive.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
#[allow(dead_code, reason = "it only describes")]
pub(in crate::http) struct WorkerHeartbeat {
    id: Uuid,
    hostname: String,
    state: Word<WorkerState>,
    /// Jobs that it runs now.
    active_jobs: i64,
}

/// `worker:state_change`: a worker came online or went offline.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
#[allow(dead_code, reason = "it only describes")]
pub(in crate::http) struct WorkerStateChange {
    id: Uuid,
    hostname: String,
    state: Word<WorkerState>,
    previous_state: Word<WorkerState>,
    timestamp: DateTime<Utc>,
}

/// `queue:snapshot`: how full a queue is, when it changes and at least every 30 s.
#[derive(Object)]
#[allow(dead_code, reason = "it only describes")]
pub(in crate::http) struct QueueSnapshot {
    name: String,
    /// Jobs that wait in it; null while nobody has reported it.
    depth: Option<i64>,
    /// Workers that consume it; null while nobody has reported it.
    consumers: Option<i64>,
}

/// `gap`: between these times events may be missing.
#[derive(Object)]
#[allow(dead_code, reason = "it only describes")]
pub(in crate::http) struct StreamGap {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    /// Why. Of the watcher: `handover` to another replica, `takeover` of a lost one, `disconnected` from the broker, `overflow` of its
    /// buffer, `trimmed` by the broker. Of this stream: `slow` reading, an `interrupted` connection to Redis.
    reason: String,
}

/// `heartbeat`: the stream is alive; every 15 s, whatever the filter.
#[derive(Object)]
#[allow(dead_code, reason = "it only describes")]
pub(in crate::http) struct StreamHeartbeat {
    /// When it was sent.
    timestamp: DateTime<Utc>,
}
