//! `GET /api/queues`.

use std::cmp::Ordering;

use chrono::{DateTime, Utc};
use poem_openapi::{Object, OpenApi, param::Query};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    domain::{
        field_errors::FieldErrors,
        queue::{ConsumersSource, Framework, Queue, SortOrder, TimeBucket, TimeRange},
        time::{instant, wire},
    },
    http::{
        app_state::{AppState, Tag},
        auth::{Authorized, Read},
        queues::{
            paging::{Pages, Paging},
            params::{self, round_rate},
        },
        wire::{
            error::ApiError,
            response::Answer,
            word::{UncheckedWord, Word},
        },
    },
    store::Stamped,
};

pub(in crate::http) struct Queues;

/// Field by which queues are sorted.
#[derive(Clone, Copy, PartialEq)]
enum QueueSort {
    Name,
    Depth,
    Consumers,
    Throughput,
    FailureRate,
}

impl QueueSort {
    const ALL: [(&str, Self); 5] = [
        ("name", Self::Name),
        ("depth", Self::Depth),
        ("consumers", Self::Consumers),
        ("throughput", Self::Throughput),
        ("failureRate", Self::FailureRate),
    ];

    /// Compares ascending, absent values first; queues with equal fields by id.
    fn compare(self, a: &Queue, b: &Queue, now_ms: i64) -> Ordering {
        let consumers = |queue: &Queue| queue.consumers.map(|(count, _)| count);
        let by_field = match self {
            Self::Name => a.name.cmp(&b.name),
            Self::Depth => a.depth.cmp(&b.depth),
            Self::Consumers => consumers(a).cmp(&consumers(b)),
            Self::Throughput => throughput(a, now_ms).total_cmp(&throughput(b, now_ms)),
            Self::FailureRate => failure_rate(a).unwrap_or(-1.0).total_cmp(&failure_rate(b).unwrap_or(-1.0)),
        };
        by_field.then_with(|| a.id.cmp(&b.id))
    }
}

/// Least time over which a rate is counted, a minute: over less a few jobs would look like many.
pub(super) const MIN_RATE_MS: i64 = 60_000;

#[OpenApi(tag = "Tag::Queues")]
impl Queues {
    /// List queues, each with counts of the jobs that ended in it within `timeRange`.
    #[oai(path = "/queues", method = "get", operation_id = "listQueues")]
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
        /// `name` (the default), `depth`, `consumers`, `throughput` or `failureRate`.
        #[oai(name = "sortBy")]
        sort_by: Query<Option<String>>,
        /// `asc` (the default) or `desc`.
        #[oai(name = "sortOrder")]
        sort_order: Query<Option<String>>,
        /// `1h`, `6h`, `24h` (the default) or `7d`.
        #[oai(name = "timeRange")]
        time_range: Query<Option<UncheckedWord<TimeRange>>>,
    ) -> Result<Answer<QueueList>, ApiError> {
        let mut errors = FieldErrors::default();
        let connection = params::connection_id(&mut errors, connection_id.0);
        let framework: Option<Framework> = params::word(&mut errors, "framework", framework.0);
        let sort = params::sort_by(&mut errors, sort_by.0, &QueueSort::ALL);
        let order = params::sort_order(&mut errors, sort_order.0, SortOrder::Ascending);
        let range = params::word(&mut errors, "timeRange", time_range.0).unwrap_or(TimeRange::Day);
        let paging = Paging::parse(&mut errors, page.0, limit.0);
        let ((_, sort), order, paging) =
            errors.finish(|| Some((sort?, order?, paging?))).map_err(ApiError::validation)?;

        let store = app_state.store();
        let _turn = store.whole_read(&caller.0).await?;
        let Stamped { now_us, position, answer: mut queues } = store.queues(&caller.0).await?;
        queues.retain(|queue| {
            connection.is_none_or(|connection| connection == queue.connection)
                && framework.is_none_or(|framework| framework == queue.framework)
        });
        // Counting is the expensive part: only the page is counted, unless the counts decide the order.
        let sorts_by_counts = matches!(sort, QueueSort::Throughput | QueueSort::FailureRate);
        if sorts_by_counts {
            store.count_queues(&caller.0, &mut queues, range, now_us).await?;
        }
        let now_ms = now_us / 1000;
        queues.sort_by(|a, b| order.apply(sort.compare(a, b, now_ms)));
        let (mut queues, pagination) = paging.cut(queues);
        if !sorts_by_counts {
            store.count_queues(&caller.0, &mut queues, range, now_us).await?;
        }
        let data = queues.into_iter().map(|queue| QueueRow::new(queue, range, now_ms)).collect();
        Ok(Answer(Stamped { now_us, position, answer: QueueList { data, pagination } }))
    }
}

/// Sum of a count over all buckets of a queue.
fn sum(queue: &Queue, count: impl Fn(&TimeBucket) -> i64) -> i64 {
    queue.buckets.iter().map(count).sum()
}

/// Number of jobs that ended.
fn ended(queue: &Queue) -> i64 {
    sum(queue, |bucket| bucket.succeeded + bucket.failed)
}

/// Jobs per second that ended since the first bucket began, or since the queue is known.
fn throughput(queue: &Queue, now_ms: i64) -> f64 {
    let begun_ms = queue.buckets.first().map_or(queue.created_ms, |bucket| bucket.start_ms.max(queue.created_ms));
    ended(queue) as f64 / (now_ms - begun_ms).max(MIN_RATE_MS) as f64 * 1000.0
}

fn failure_rate(queue: &Queue) -> Option<f64> {
    let ended = ended(queue);
    (ended > 0).then(|| sum(queue, |bucket| bucket.failed) as f64 / ended as f64)
}

fn average_wait_ms(queue: &Queue) -> Option<f64> {
    let count = sum(queue, |bucket| bucket.wait_count);
    (count > 0).then(|| sum(queue, |bucket| bucket.wait_sum_ms) as f64 / count as f64)
}

/// A queue.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename = "Queue", rename_all = "camelCase")]
pub(in crate::http) struct QueueRow {
    id: Uuid,
    name: String,
    framework: Word<Framework>,
    connection_id: Uuid,
    /// How many jobs wait in it now; null while nobody has reported it.
    depth: Option<i64>,
    /// How many workers consume it; null while nobody has reported it.
    consumers: Option<i64>,
    /// Where `consumers` comes from.
    consumers_source: Option<Word<ConsumersSource>>,
    /// Jobs per second that ended, over the range or, of a queue that is younger, over its life, a minute at least.
    throughput: f64,
    /// How long the jobs that ended had waited before they started, on average.
    avg_latency_ms: Option<f64>,
    /// 0 to 1; null where no job ended.
    failure_rate: Option<f64>,
    health_bar: HealthBar,
    #[oai(skip)]
    extensions: Map<String, Value>,
    #[serde(with = "wire")]
    created_at: DateTime<Utc>,
}

impl QueueRow {
    fn new(queue: Queue, range: TimeRange, now_ms: i64) -> Self {
        Self {
            throughput: round_rate(throughput(&queue, now_ms)),
            avg_latency_ms: average_wait_ms(&queue).map(round_rate),
            failure_rate: failure_rate(&queue).map(round_rate),
            health_bar: HealthBar { time_range: range.into(), buckets: queue.buckets.iter().map(Into::into).collect() },
            id: queue.id,
            name: queue.name,
            framework: queue.framework.into(),
            connection_id: queue.connection,
            depth: queue.depth,
            consumers: queue.consumers.map(|(count, _)| count),
            consumers_source: queue.consumers.map(|(_, source)| source.into()),
            extensions: Map::new(),
            created_at: instant(queue.created_ms),
        }
    }
}

/// Counts of the jobs that ended, over time.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
pub(in crate::http) struct HealthBar {
    time_range: Word<TimeRange>,
    /// The oldest first; the last one is not over.
    buckets: Vec<Bucket>,
}

/// Counts of the jobs that ended within an interval.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "TimeBucket")]
pub(in crate::http) struct Bucket {
    #[serde(with = "wire")]
    start: DateTime<Utc>,
    #[serde(with = "wire")]
    end: DateTime<Utc>,
    succeeded: i64,
    failed: i64,
}

impl From<&TimeBucket> for Bucket {
    fn from(bucket: &TimeBucket) -> Self {
        Self {
            start: instant(bucket.start_ms),
            end: instant(bucket.end_ms),
            succeeded: bucket.succeeded,
            failed: bucket.failed,
        }
    }
}

/// A page of queues.
#[derive(Debug, Serialize, Object)]
pub(in crate::http) struct QueueList {
    data: Vec<QueueRow>,
    pagination: Pages,
}
