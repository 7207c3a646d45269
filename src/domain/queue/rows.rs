//! Rows of the lists of jobs, workers and queues.

use uuid::Uuid;

use crate::domain::queue::{ConsumersSource, Extensions, Framework, JobState, WorkerState};

/// Word of the API for the name of a job whose task is not known.
pub const UNKNOWN_NAME: &str = "unknown";

/// A job's name for display: [`UNKNOWN_NAME`] where it is empty.
#[must_use]
pub fn display_name(name: &str) -> &str {
    if name.is_empty() { UNKNOWN_NAME } else { name }
}

/// One job of the list. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// See [`super::job_id`].
    pub id: Uuid,
    /// Connection through which it was observed.
    pub connection: Uuid,
    /// Framework that runs it.
    pub framework: Framework,
    /// The framework's own id.
    pub external_id: String,
    /// Name of the task; empty while nobody has reported it.
    pub name: String,
    /// Name of the queue that it was put into.
    pub queue: Option<String>,
    /// External id of the worker that ran it last.
    pub worker: Option<String>,
    /// Present state.
    pub state: JobState,
    /// When it entered the present state.
    pub changed_ms: i64,
    /// State before the present one.
    pub previous: Option<JobState>,
    /// Creation time.
    pub created_ms: i64,
    /// Start of its last attempt.
    pub started_ms: Option<i64>,
    /// When it ended.
    pub completed_ms: Option<i64>,
    /// Due time.
    pub scheduled_ms: Option<i64>,
    /// Run time of its last attempt, in milliseconds.
    pub duration_ms: Option<i64>,
    /// Number of its last attempt, 1 for the first.
    pub attempt: Option<i64>,
    /// Latest error text.
    pub error: Option<String>,
    /// States that it went through, the oldest first.
    pub history: Vec<StateTransition>,
}

/// Details of one job, beyond its row in the list.
#[derive(Debug, Clone, PartialEq, Default)]
#[allow(missing_docs, reason = "each is the field of that name of `JobObservation`")]
pub struct JobDetail {
    pub max_retries: Option<i64>,
    pub progress: Option<f64>,
    pub args: Option<String>,
    pub kwargs: Option<String>,
    pub result: Option<String>,
    pub stacktrace: Option<String>,
    pub parent_id: Option<String>,
    pub root_id: Option<String>,
    pub extensions: Extensions,
}

/// Entry of a job into a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateTransition {
    /// The state entered.
    pub state: JobState,
    /// When, in milliseconds since the Unix epoch, on the reporter's clock.
    pub at_ms: i64,
}

/// One worker of the list.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "those without are the field of that name of `WorkerObservation`")]
pub struct Worker {
    /// See [`super::worker_id`].
    pub id: Uuid,
    /// Connection through which it was observed.
    pub connection: Uuid,
    pub framework: Framework,
    pub external_id: String,
    pub hostname: String,
    pub state: WorkerState,
    /// Time of its last heartbeat, on Redis' clock, in milliseconds since the Unix epoch.
    pub last_heartbeat_ms: i64,
    pub pid: Option<i64>,
    pub active_jobs: i64,
    pub processed: Option<i64>,
    pub concurrency: Option<i64>,
    pub queues: Vec<String>,
    pub metadata: Extensions,
    /// When it was first observed, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// Number of jobs that ended on it within the last hour. 0 until the store counts them.
    pub finished_last_hour: i64,
}

/// One queue of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// See [`super::queue_id`].
    pub id: Uuid,
    /// Connection through which it was observed.
    pub connection: Uuid,
    /// Framework whose jobs it holds.
    pub framework: Framework,
    /// Name of the queue.
    pub name: String,
    /// Number of waiting jobs; `None` while nobody has reported it.
    pub depth: Option<i64>,
    /// Number of workers that consume it, and the source of that number; `None` while nobody has reported it.
    pub consumers: Option<(i64, ConsumersSource)>,
    /// When it was first observed, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// Counts of ended jobs over the requested range, in buckets of equal length, the oldest first. Empty until the store counts them.
    pub buckets: Vec<TimeBucket>,
}

/// Counts of the jobs that ended within one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimeBucket {
    /// Start of the interval, in milliseconds since the Unix epoch.
    pub start_ms: i64,
    /// End of the interval, in milliseconds since the Unix epoch.
    pub end_ms: i64,
    /// Jobs completed.
    pub succeeded: i64,
    /// Jobs failed for good.
    pub failed: i64,
    /// Sum of the times that jobs waited before they started, in milliseconds.
    pub wait_sum_ms: i64,
    /// Number of jobs in that sum: those whose wait is known.
    pub wait_count: i64,
}
