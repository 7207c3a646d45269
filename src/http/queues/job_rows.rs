//! JSON of jobs.

use chrono::{DateTime, Utc};
use poem_openapi::Object;
use serde::Serialize;
use serde_json::{Map, Value, value::RawValue};
use uuid::Uuid;

use crate::{
    domain::{
        queue::{Framework, Job, JobDetail, JobState, StateTransition, display_name},
        time::{instant, wire, wire_option},
    },
    http::wire::word::Word,
};

/// A job.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename = "Job", rename_all = "camelCase")]
pub(in crate::http) struct JobRow {
    id: Uuid,
    /// The framework's own id.
    external_id: String,
    framework: Word<Framework>,
    connection_id: Uuid,
    /// Name of the task; `unknown` while nobody has reported it.
    name: String,
    queue: Option<String>,
    state: Word<JobState>,
    #[serde(with = "wire")]
    state_changed_at: DateTime<Utc>,
    #[serde(with = "wire_option")]
    scheduled_for: Option<DateTime<Utc>>,
    #[serde(with = "wire")]
    created_at: DateTime<Utc>,
    #[serde(with = "wire_option")]
    started_at: Option<DateTime<Utc>>,
    #[serde(with = "wire_option")]
    completed_at: Option<DateTime<Utc>>,
    duration_ms: Option<i64>,
    /// The worker's external id.
    worker_id: Option<String>,
    error: Option<String>,
}

impl From<Job> for JobRow {
    fn from(job: Job) -> Self {
        Self {
            id: job.id,
            external_id: job.external_id,
            framework: job.framework.into(),
            connection_id: job.connection,
            name: display_name(&job.name).to_owned(),
            queue: job.queue,
            state: job.state.into(),
            state_changed_at: instant(job.changed_ms),
            scheduled_for: job.scheduled_ms.map(instant),
            created_at: instant(job.created_ms),
            started_at: job.started_ms.map(instant),
            completed_at: job.completed_ms.map(instant),
            duration_ms: job.duration_ms,
            worker_id: job.worker,
            error: job.error,
        }
    }
}

/// A job with everything that is known of it.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename = "JobDetails", rename_all = "camelCase")]
pub(in crate::http) struct JobWithDetails {
    #[serde(flatten)]
    #[oai(flatten)]
    row: JobRow,
    previous_state: Option<Word<JobState>>,
    /// Number of the last attempt, 1 for the first.
    attempt: Option<i64>,
    max_retries: Option<i64>,
    /// 0 to 1.
    progress: Option<f64>,
    /// In the framework's notation, as are `kwargs` and `result`.
    args: Option<String>,
    kwargs: Option<String>,
    result: Option<String>,
    stacktrace: Option<String>,
    /// The external id of the job that created this one.
    parent_id: Option<String>,
    /// The external id of the first job of that chain.
    root_id: Option<String>,
    #[oai(skip)]
    tags: Map<String, Value>,
    #[oai(skip)]
    extensions: ExtensionMap,
    /// The states that it went through, the oldest first.
    state_history: Vec<StateTransitionRow>,
    /// The newest other jobs of its name.
    recent_executions: Vec<JobRow>,
}

impl JobWithDetails {
    pub(super) fn new(job: Job, detail: JobDetail, recent: Vec<Job>) -> Self {
        Self {
            previous_state: job.previous.map(Into::into),
            attempt: job.attempt,
            max_retries: detail.max_retries,
            progress: detail.progress,
            args: detail.args,
            kwargs: detail.kwargs,
            result: detail.result,
            stacktrace: detail.stacktrace,
            parent_id: detail.parent_id,
            root_id: detail.root_id,
            tags: Map::new(),
            extensions: ExtensionMap(detail.extensions),
            state_history: job.history.iter().map(Into::into).collect(),
            recent_executions: recent.into_iter().map(Into::into).collect(),
            row: job.into(),
        }
    }
}

/// Names and JSON values, serialised as one object without decoding the values.
#[derive(Debug, Default)]
struct ExtensionMap(Vec<(String, String)>);

impl Serialize for ExtensionMap {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(name, value)| {
            // Every reporter stores JSON; a value that is none would be shown as text.
            let value: Box<RawValue> =
                serde_json::from_str(value).or_else(|_| serde_json::value::to_raw_value(value)).unwrap_or_default();
            (name, value)
        }))
    }
}

/// Entry of a job into a state.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "StateTransition")]
pub(in crate::http) struct StateTransitionRow {
    state: Word<JobState>,
    #[serde(with = "wire")]
    timestamp: DateTime<Utc>,
}

impl From<&StateTransition> for StateTransitionRow {
    fn from(transition: &StateTransition) -> Self {
        Self { state: transition.state.into(), timestamp: instant(transition.at_ms) }
    }
}

/// A page of jobs.
#[derive(Debug, Serialize, Object)]
pub(in crate::http) struct JobList {
    pub(super) data: Vec<JobRow>,
    pub(super) pagination: Cursors,
}

/// Where the list goes on.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename = "CursorPagination", rename_all = "camelCase")]
pub(in crate::http) struct Cursors {
    /// Null at the end.
    pub(super) next_cursor: Option<String>,
    pub(super) limit: u64,
    /// How many there are on all pages.
    pub(super) total: u64,
}
