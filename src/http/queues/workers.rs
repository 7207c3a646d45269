//! `GET /api/workers`.

use std::cmp::Ordering;

use chrono::{DateTime, Utc};
use poem_openapi::{Object, OpenApi, param::Query};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    domain::{
        field_errors::FieldErrors,
        queue::{Framework, SortOrder, Worker, WorkerState},
        time::{instant, wire},
    },
    http::{
        app_state::{AppState, Tag},
        auth::{Authorized, Read},
        queues::{
            paging::{Pages, Paging},
            params,
            queue_list::MIN_RATE_MS,
        },
        wire::{
            error::ApiError,
            response::Answer,
            word::{UncheckedWord, Word},
        },
    },
    store::Stamped,
};

pub(in crate::http) struct Workers;

/// Field by which workers are sorted.
#[derive(Clone, Copy, PartialEq)]
enum WorkerSort {
    Hostname,
    State,
    ActiveJobs,
    LastHeartbeat,
    TaskRate,
}

impl WorkerSort {
    const ALL: [(&str, Self); 5] = [
        ("hostname", Self::Hostname),
        ("state", Self::State),
        ("activeJobs", Self::ActiveJobs),
        ("lastHeartbeat", Self::LastHeartbeat),
        ("taskRate", Self::TaskRate),
    ];

    /// Compares ascending; workers with equal fields by id.
    fn compare(self, a: &Worker, b: &Worker, now_ms: i64) -> Ordering {
        let by_field = match self {
            Self::Hostname => a.hostname.cmp(&b.hostname),
            Self::State => a.state.name().cmp(b.state.name()),
            Self::ActiveJobs => a.active_jobs.cmp(&b.active_jobs),
            Self::LastHeartbeat => a.last_heartbeat_ms.cmp(&b.last_heartbeat_ms),
            Self::TaskRate => task_rate(a, now_ms).total_cmp(&task_rate(b, now_ms)),
        };
        by_field.then_with(|| a.id.cmp(&b.id))
    }
}

#[OpenApi(tag = "Tag::Queues")]
impl Workers {
    /// List workers. A worker without a heartbeat for 6 s is offline; after 24 h offline it is no longer listed.
    #[oai(path = "/workers", method = "get", operation_id = "listWorkers")]
    #[allow(clippy::too_many_arguments, reason = "each is a parameter of the API")]
    async fn list(
        &self,
        caller: Authorized<Read>,
        app_state: AppState,
        /// From 1 on.
        page: Query<Option<i64>>,
        /// How many on a page: 1 to 100, 50 by default.
        limit: Query<Option<i64>>,
        #[oai(name = "connectionId")] connection_id: Query<Option<String>>,
        framework: Query<Option<UncheckedWord<Framework>>>,
        /// `offline`, or `online`: any that is not. `busy`: online with jobs; `idle`: online without.
        state: Query<Option<UncheckedWord<WorkerState>>>,
        /// `hostname` (the default), `state`, `activeJobs`, `lastHeartbeat` or `taskRate`.
        #[oai(name = "sortBy")]
        sort_by: Query<Option<String>>,
        /// `asc` (the default) or `desc`.
        #[oai(name = "sortOrder")]
        sort_order: Query<Option<String>>,
    ) -> Result<Answer<WorkerList>, ApiError> {
        let mut errors = FieldErrors::default();
        let connection = params::connection_id(&mut errors, connection_id.0);
        let framework: Option<Framework> = params::word(&mut errors, "framework", framework.0);
        let state: Option<WorkerState> = params::word(&mut errors, "state", state.0);
        let sort = params::sort_by(&mut errors, sort_by.0, &WorkerSort::ALL);
        let order = params::sort_order(&mut errors, sort_order.0, SortOrder::Ascending);
        let paging = Paging::parse(&mut errors, page.0, limit.0);
        let ((_, sort), order, paging) =
            errors.finish(|| Some((sort?, order?, paging?))).map_err(ApiError::validation)?;

        let store = app_state.store();
        let _turn = store.whole_read(&caller.0).await?;
        let Stamped { now_us, position, answer: mut workers } = store.workers(&caller.0).await?;
        workers.retain(|worker| {
            connection.is_none_or(|connection| connection == worker.connection)
                && framework.is_none_or(|framework| framework == worker.framework)
                && state.is_none_or(|state| matches_state(worker, state))
        });
        // Counting is the expensive part: only the page is counted, unless the counts decide the order.
        let sorts_by_counts = sort == WorkerSort::TaskRate;
        if sorts_by_counts {
            store.count_workers(&caller.0, &mut workers, now_us).await?;
        }
        let now_ms = now_us / 1000;
        workers.sort_by(|a, b| order.apply(sort.compare(a, b, now_ms)));
        let (mut workers, pagination) = paging.cut(workers);
        if !sorts_by_counts {
            store.count_workers(&caller.0, &mut workers, now_us).await?;
        }
        let data = workers.into_iter().map(|worker| WorkerRow::new(worker, now_ms)).collect();
        Ok(Answer(Stamped { now_us, position, answer: WorkerList { data, pagination } }))
    }
}

/// Whether a worker passes the filter of that state. `online` stands for any live worker; `busy` and `idle` also follow from its number of jobs.
fn matches_state(worker: &Worker, state: WorkerState) -> bool {
    let is_online = worker.state != WorkerState::Offline;
    match state {
        WorkerState::Online => is_online,
        WorkerState::Offline => !is_online,
        WorkerState::Busy => is_online && (worker.active_jobs > 0 || worker.state == WorkerState::Busy),
        WorkerState::Idle => is_online && worker.active_jobs == 0 && worker.state != WorkerState::Busy,
    }
}

/// A worker.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename = "Worker", rename_all = "camelCase")]
pub(in crate::http) struct WorkerRow {
    id: Uuid,
    /// The framework's own id.
    external_id: String,
    framework: Word<Framework>,
    connection_id: Uuid,
    hostname: String,
    pid: Option<i64>,
    state: Word<WorkerState>,
    #[serde(with = "wire")]
    last_heartbeat: DateTime<Utc>,
    concurrency: Option<i64>,
    active_jobs: i64,
    queues: Vec<String>,
    #[oai(skip)]
    metadata: Map<String, Value>,
    /// Jobs per minute that ended on it, over the last hour or, of a worker that is younger, over its life, a minute at least.
    task_rate: f64,
    processed_total: Option<i64>,
    #[oai(skip)]
    extensions: Map<String, Value>,
    #[serde(with = "wire")]
    created_at: DateTime<Utc>,
}

/// Jobs per minute that ended on a worker within the last hour, or since it is known.
fn task_rate(worker: &Worker, now_ms: i64) -> f64 {
    let known_ms = (now_ms - worker.created_ms).clamp(MIN_RATE_MS, 60 * MIN_RATE_MS);
    worker.finished_last_hour as f64 / known_ms as f64 * MIN_RATE_MS as f64
}

impl WorkerRow {
    fn new(worker: Worker, now_ms: i64) -> Self {
        let value = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
        Self {
            task_rate: params::round_rate(task_rate(&worker, now_ms)),
            id: worker.id,
            external_id: worker.external_id,
            framework: worker.framework.into(),
            connection_id: worker.connection,
            hostname: worker.hostname,
            pid: worker.pid,
            state: worker.state.into(),
            last_heartbeat: instant(worker.last_heartbeat_ms),
            concurrency: worker.concurrency,
            active_jobs: worker.active_jobs,
            queues: worker.queues,
            metadata: worker.metadata.iter().map(|(name, text)| (name.clone(), value(text))).collect(),
            processed_total: worker.processed,
            extensions: Map::new(),
            created_at: instant(worker.created_ms),
        }
    }
}

/// A page of workers.
#[derive(Debug, Serialize, Object)]
pub(in crate::http) struct WorkerList {
    data: Vec<WorkerRow>,
    pagination: Pages,
}
