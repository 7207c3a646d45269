//! The workers and queues that are watched: `GET /api/workers`, `GET /api/queues`.

use chrono::{DateTime, Utc};
use poem_openapi::{Object, OpenApi, param::Query};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    domain::{
        field_errors::FieldErrors,
        queue::{Framework, Queue, Tally, Worker, WorkerState},
        time::{instant, wire},
    },
    http::{
        app_state::{AppState, Tag},
        auth::{Authorized, Read},
        queues::jobs::{LIMIT_MOST, connection_of, descending_of, limit_of, one_of},
        wire::{error::ApiError, response::Answer},
    },
    store::{Range, Stamped},
};

/// How many a page has without a wish.
const LIMIT: usize = 50;

pub(in crate::http) struct Fleet;

#[derive(Clone, Copy)]
enum WorkerSort {
    Hostname,
    State,
    ActiveJobs,
    LastHeartbeat,
    TaskRate,
}

const WORKER_SORTS: [(&str, WorkerSort); 5] = [
    ("hostname", WorkerSort::Hostname),
    ("state", WorkerSort::State),
    ("activeJobs", WorkerSort::ActiveJobs),
    ("lastHeartbeat", WorkerSort::LastHeartbeat),
    ("taskRate", WorkerSort::TaskRate),
];

#[derive(Clone, Copy)]
enum QueueSort {
    Name,
    Depth,
    Consumers,
    Throughput,
    FailureRate,
}

const QUEUE_SORTS: [(&str, QueueSort); 5] = [
    ("name", QueueSort::Name),
    ("depth", QueueSort::Depth),
    ("consumers", QueueSort::Consumers),
    ("throughput", QueueSort::Throughput),
    ("failureRate", QueueSort::FailureRate),
];

#[OpenApi(tag = "Tag::Queues")]
impl Fleet {
    /// List workers. One that was not heard for 6 s is offline; one that was not heard for 24 h is forgotten.
    #[oai(path = "/workers", method = "get", operation_id = "listWorkers")]
    #[allow(clippy::too_many_arguments, reason = "each is a parameter of the API")]
    async fn workers(
        &self,
        caller: Authorized<Read>,
        here: AppState,
        /// From 1 on.
        page: Query<Option<i64>>,
        /// How many on a page: 1 to 100, 50 by default.
        limit: Query<Option<i64>>,
        #[oai(name = "connectionId")] connection_id: Query<Option<String>>,
        /// `celery`, `bullmq` or `sidekiq`.
        framework: Query<Option<String>>,
        /// `offline`, or `online`: any that is not. `busy`: online with jobs; `idle`: online without.
        state: Query<Option<String>>,
        /// `hostname` (the default), `state`, `activeJobs`, `lastHeartbeat` or `taskRate`.
        #[oai(name = "sortBy")]
        sort_by: Query<Option<String>>,
        /// `asc` (the default) or `desc`.
        #[oai(name = "sortOrder")]
        sort_order: Query<Option<String>>,
    ) -> Result<Answer<WorkerList>, ApiError> {
        let mut errors = FieldErrors::default();
        let connection = connection_of(&mut errors, connection_id.0);
        let framework = one_of(&mut errors, "framework", framework.0, Framework::ALL, Framework::name);
        let state = one_of(&mut errors, "state", state.0, WorkerState::ALL, WorkerState::name);
        let (_, sort) =
            one_of(&mut errors, "sortBy", sort_by.0, &WORKER_SORTS, |(name, _)| name).unwrap_or(WORKER_SORTS[0]);
        let descending = descending_of(&mut errors, sort_order.0, false);
        let paging = Paging::parse(&mut errors, page.0, limit.0);
        errors.finish(|| Some(())).map_err(ApiError::validation)?;
        let Stamped { now_us, position, answer: mut workers } = here.store().workers(&caller.0).await?;
        workers.retain(|worker| {
            connection.is_none_or(|wanted| wanted == worker.connection)
                && framework.is_none_or(|wanted| wanted == worker.framework)
                && state.is_none_or(|wanted| is_so(worker, wanted))
        });
        let by_rate = matches!(sort, WorkerSort::TaskRate);
        if by_rate {
            here.store().count_workers(&caller.0, &mut workers, now_us).await?;
        }
        workers.sort_by(|a, b| {
            let ordering = match sort {
                WorkerSort::Hostname => a.hostname.cmp(&b.hostname),
                WorkerSort::State => a.state.name().cmp(b.state.name()),
                WorkerSort::ActiveJobs => a.active_jobs.cmp(&b.active_jobs),
                WorkerSort::LastHeartbeat => a.heard_ms.cmp(&b.heard_ms),
                WorkerSort::TaskRate => a.finished_in_hour.cmp(&b.finished_in_hour),
            };
            directed(descending, ordering.then_with(|| a.id.cmp(&b.id)))
        });
        let pagination = paging.over(workers.len());
        let mut workers = paging.cut(workers);
        if !by_rate {
            here.store().count_workers(&caller.0, &mut workers, now_us).await?;
        }
        let data = workers.into_iter().map(Into::into).collect();
        Ok(Answer(Stamped { now_us, position, answer: WorkerList { data, pagination } }))
    }

    /// List queues, each with what ended in it within `timeRange`.
    #[oai(path = "/queues", method = "get", operation_id = "listQueues")]
    #[allow(clippy::too_many_arguments, reason = "each is a parameter of the API")]
    async fn queues(
        &self,
        caller: Authorized<Read>,
        here: AppState,
        /// From 1 on.
        page: Query<Option<i64>>,
        /// How many on a page: 1 to 100, 50 by default.
        limit: Query<Option<i64>>,
        #[oai(name = "connectionId")] connection_id: Query<Option<String>>,
        /// `celery`, `bullmq` or `sidekiq`.
        framework: Query<Option<String>>,
        /// `name` (the default), `depth`, `consumers`, `throughput` or `failureRate`.
        #[oai(name = "sortBy")]
        sort_by: Query<Option<String>>,
        /// `asc` (the default) or `desc`.
        #[oai(name = "sortOrder")]
        sort_order: Query<Option<String>>,
        /// `1h`, `6h`, `24h` (the default) or `7d`.
        #[oai(name = "timeRange")]
        time_range: Query<Option<String>>,
    ) -> Result<Answer<QueueList>, ApiError> {
        let mut errors = FieldErrors::default();
        let connection = connection_of(&mut errors, connection_id.0);
        let framework = one_of(&mut errors, "framework", framework.0, Framework::ALL, Framework::name);
        let (_, sort) =
            one_of(&mut errors, "sortBy", sort_by.0, &QUEUE_SORTS, |(name, _)| name).unwrap_or(QUEUE_SORTS[0]);
        let descending = descending_of(&mut errors, sort_order.0, false);
        let range =
            one_of(&mut errors, "timeRange", time_range.0, &Range::ALL, |range| range.name).unwrap_or(Range::ALL[2]);
        let paging = Paging::parse(&mut errors, page.0, limit.0);
        errors.finish(|| Some(())).map_err(ApiError::validation)?;
        let Stamped { now_us, position, answer: mut queues } = here.store().queues(&caller.0).await?;
        queues.retain(|queue| {
            connection.is_none_or(|wanted| wanted == queue.connection)
                && framework.is_none_or(|wanted| wanted == queue.framework)
        });
        let by_counts = matches!(sort, QueueSort::Throughput | QueueSort::FailureRate);
        if by_counts {
            here.store().count_queues(&caller.0, &mut queues, range, now_us).await?;
        }
        queues.sort_by(|a, b| {
            let ordering = match sort {
                QueueSort::Name => a.name.cmp(&b.name),
                QueueSort::Depth => a.depth.cmp(&b.depth),
                QueueSort::Consumers => a.consumers.map(|(count, _)| count).cmp(&b.consumers.map(|(count, _)| count)),
                QueueSort::Throughput => ended(a).cmp(&ended(b)),
                QueueSort::FailureRate => failure_rate(a).unwrap_or(-1.0).total_cmp(&failure_rate(b).unwrap_or(-1.0)),
            };
            directed(descending, ordering.then_with(|| a.id.cmp(&b.id)))
        });
        let pagination = paging.over(queues.len());
        let mut queues = paging.cut(queues);
        if !by_counts {
            here.store().count_queues(&caller.0, &mut queues, range, now_us).await?;
        }
        let data = queues.into_iter().map(|queue| QueueRow::of(queue, range)).collect();
        Ok(Answer(Stamped { now_us, position, answer: QueueList { data, pagination } }))
    }
}

fn directed(descending: bool, ordering: std::cmp::Ordering) -> std::cmp::Ordering {
    if descending { ordering.reverse() } else { ordering }
}

/// Whether a worker is so, as the filter means it.
fn is_so(worker: &Worker, wanted: WorkerState) -> bool {
    let online = worker.state != WorkerState::Offline;
    match wanted {
        WorkerState::Online => online,
        WorkerState::Offline => !online,
        WorkerState::Busy => online && (worker.active_jobs > 0 || worker.state == WorkerState::Busy),
        WorkerState::Idle => online && worker.active_jobs == 0 && worker.state != WorkerState::Busy,
    }
}

fn sum(queue: &Queue, part: impl Fn(&Tally) -> i64) -> i64 {
    queue.tallies.iter().map(part).sum()
}

fn ended(queue: &Queue) -> i64 {
    sum(queue, |tally| tally.succeeded + tally.failed)
}

fn failure_rate(queue: &Queue) -> Option<f64> {
    let ended = ended(queue);
    (ended > 0).then(|| sum(queue, |tally| tally.failed) as f64 / ended as f64)
}

/// Which page, and how long.
struct Paging {
    page: usize,
    limit: usize,
}

impl Paging {
    fn parse(errors: &mut FieldErrors, page: Option<i64>, limit: Option<i64>) -> Self {
        let page = page.map_or(Some(1), |page| {
            let read =
                usize::try_from(page).ok().filter(|page| *page > 0).ok_or_else(|| "must be 1 or more".to_owned());
            errors.check(|| "page".into(), read)
        });
        Self { page: page.unwrap_or(1), limit: limit_of(errors, limit, LIMIT.min(LIMIT_MOST)) }
    }

    fn over(&self, total: usize) -> Pages {
        Pages {
            page: self.page as u64,
            limit: self.limit as u64,
            total: total as u64,
            total_pages: total.div_ceil(self.limit) as u64,
        }
    }

    fn cut<T>(&self, all: Vec<T>) -> Vec<T> {
        all.into_iter().skip((self.page - 1).saturating_mul(self.limit)).take(self.limit).collect()
    }
}

/// A worker.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
pub(in crate::http) struct WorkerRow {
    id: Uuid,
    /// The framework's own id.
    external_id: String,
    framework: String,
    connection_id: Uuid,
    hostname: String,
    pid: Option<i64>,
    /// `online` or `offline`; `busy` or `idle` where a client pushed it so.
    state: String,
    #[serde(with = "wire")]
    last_heartbeat: DateTime<Utc>,
    concurrency: Option<i64>,
    active_jobs: i64,
    queues: Vec<String>,
    #[oai(skip)]
    metadata: Map<String, Value>,
    /// Jobs per minute that ended on it, over the last hour.
    task_rate: f64,
    processed_total: Option<i64>,
    #[oai(skip)]
    extensions: Map<String, Value>,
    #[serde(with = "wire")]
    created_at: DateTime<Utc>,
}

impl From<Worker> for WorkerRow {
    fn from(worker: Worker) -> Self {
        let value = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
        Self {
            id: worker.id,
            external_id: worker.external_id,
            framework: worker.framework.name().into(),
            connection_id: worker.connection,
            hostname: worker.hostname,
            pid: worker.pid,
            state: worker.state.name().into(),
            last_heartbeat: instant(worker.heard_ms),
            concurrency: worker.concurrency,
            active_jobs: worker.active_jobs,
            queues: worker.queues,
            metadata: worker.metadata.iter().map(|(name, text)| (name.clone(), value(text))).collect(),
            task_rate: rounded(worker.finished_in_hour as f64 / 60.0),
            processed_total: worker.processed,
            extensions: Map::new(),
            created_at: instant(worker.created_ms),
        }
    }
}

/// Four decimals are enough to tell rates apart.
fn rounded(rate: f64) -> f64 {
    (rate * 10_000.0).round() / 10_000.0
}

/// A queue.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
pub(in crate::http) struct QueueRow {
    id: Uuid,
    name: String,
    framework: String,
    connection_id: Uuid,
    /// How many jobs wait in it now; null while nobody has told it.
    depth: Option<i64>,
    /// How many workers take from it; null while nobody has told it.
    consumers: Option<i64>,
    /// How that is known: `inferred` from workers that took jobs from it and live, `exact` by asking them, `connected` from the
    /// broker's connections, or `pushed` by a client.
    consumers_source: Option<String>,
    /// Jobs per second that ended, over the range.
    throughput: f64,
    /// How long jobs that ended had waited before they began, on average.
    avg_latency_ms: Option<f64>,
    /// 0 to 1; null where nothing ended.
    failure_rate: Option<f64>,
    health_bar: HealthBar,
    #[oai(skip)]
    extensions: Map<String, Value>,
    #[serde(with = "wire")]
    created_at: DateTime<Utc>,
}

impl QueueRow {
    fn of(queue: Queue, range: Range) -> Self {
        let waited = sum(&queue, |tally| tally.waited);
        Self {
            throughput: rounded(ended(&queue) as f64 / (range.length_ms() as f64 / 1000.0)),
            avg_latency_ms: (waited > 0).then(|| rounded(sum(&queue, |tally| tally.waited_ms) as f64 / waited as f64)),
            failure_rate: failure_rate(&queue).map(rounded),
            id: queue.id,
            framework: queue.framework.name().into(),
            connection_id: queue.connection,
            depth: queue.depth,
            consumers: queue.consumers.map(|(count, _)| count),
            consumers_source: queue.consumers.map(|(_, from)| from.name().into()),
            health_bar: HealthBar {
                time_range: range.name.into(),
                buckets: queue
                    .tallies
                    .iter()
                    .map(|tally| Bucket {
                        start: instant(tally.start_ms),
                        end: instant(tally.end_ms),
                        succeeded: tally.succeeded,
                        failed: tally.failed,
                    })
                    .collect(),
            },
            extensions: Map::new(),
            created_at: instant(queue.created_ms),
            name: queue.name,
        }
    }
}

/// What ended, span by span.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
pub(in crate::http) struct HealthBar {
    time_range: String,
    /// The oldest first; the last one is not over.
    buckets: Vec<Bucket>,
}

/// What ended within a span of time.
#[derive(Debug, Serialize, Object)]
pub(in crate::http) struct Bucket {
    #[serde(with = "wire")]
    start: DateTime<Utc>,
    #[serde(with = "wire")]
    end: DateTime<Utc>,
    succeeded: i64,
    failed: i64,
}

/// A page of workers.
#[derive(Debug, Serialize, Object)]
pub(in crate::http) struct WorkerList {
    data: Vec<WorkerRow>,
    pagination: Pages,
}

/// A page of queues.
#[derive(Debug, Serialize, Object)]
pub(in crate::http) struct QueueList {
    data: Vec<QueueRow>,
    pagination: Pages,
}

/// Which page this is, of how many.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
pub(in crate::http) struct Pages {
    page: u64,
    limit: u64,
    total: u64,
    total_pages: u64,
}
