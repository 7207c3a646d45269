//! Jobs, workers and queues as they are shown.

use uuid::Uuid;

use crate::domain::queue::{ConsumersFrom, Extensions, Framework, JobState, WorkerState};

/// A job as lists show it. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its id: see [`super::job_id`].
    pub id: Uuid,
    /// The connection that it was seen through.
    pub connection: Uuid,
    /// What runs it.
    pub framework: Framework,
    /// The framework's own id.
    pub external_id: String,
    /// The task's name; empty while nobody has said it.
    pub name: String,
    /// Where it waited.
    pub queue: Option<String>,
    /// Who has it, by the external id.
    pub worker: Option<String>,
    /// Where it is.
    pub state: JobState,
    /// Since when.
    pub changed_ms: i64,
    /// Where it was before.
    pub previous: Option<JobState>,
    /// When it was made.
    pub created_ms: i64,
    /// When its last attempt began.
    pub started_ms: Option<i64>,
    /// When it ended.
    pub completed_ms: Option<i64>,
    /// When it is due.
    pub scheduled_ms: Option<i64>,
    /// How long it ran.
    pub duration_ms: Option<i64>,
    /// Which attempt it is at, 1 for the first.
    pub attempt: Option<i64>,
    /// What went wrong last.
    pub error: Option<String>,
    /// The states that it went through, in order.
    pub history: Vec<StateTransition>,
}

/// What a job's own page shows beside.
#[derive(Debug, Clone, PartialEq, Default)]
#[allow(missing_docs, reason = "as in `JobSighting`")]
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

/// A state that a job went into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateTransition {
    /// Which.
    pub state: JobState,
    /// When, in milliseconds since the Unix epoch, on the clock of whoever reported it.
    pub at_ms: i64,
}

/// A worker as lists show it.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "as in `WorkerSighting`")]
pub struct Worker {
    pub id: Uuid,
    pub connection: Uuid,
    pub framework: Framework,
    pub external_id: String,
    pub hostname: String,
    pub state: WorkerState,
    /// When it was last heard, on Redis' clock, in milliseconds since the Unix epoch.
    pub heard_ms: i64,
    pub pid: Option<i64>,
    pub active_jobs: i64,
    pub processed: Option<i64>,
    pub concurrency: Option<i64>,
    pub queues: Vec<String>,
    pub metadata: Extensions,
    /// When it was first seen, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// Jobs that ended on it within the last hour.
    pub finished_in_hour: i64,
}

/// A queue as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Its id: see [`super::queue_id`].
    pub id: Uuid,
    /// The connection that it was seen through.
    pub connection: Uuid,
    /// What fills it.
    pub framework: Framework,
    /// Its name.
    pub name: String,
    /// How many jobs wait in it; `None` where nobody has said.
    pub depth: Option<i64>,
    /// How many workers take from it, and how that is known.
    pub consumers: Option<(i64, ConsumersFrom)>,
    /// When it was first seen, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// What ended in the range that was asked for: spans of equal length, the oldest first.
    pub tallies: Vec<Tally>,
}

/// What ended within one span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// When the span begins, in milliseconds since the Unix epoch.
    pub start_ms: i64,
    /// When it ends.
    pub end_ms: i64,
    /// Jobs that were completed.
    pub succeeded: i64,
    /// Jobs that failed for good.
    pub failed: i64,
    /// How long those that ran waited before they began, together, in milliseconds.
    pub waited_ms: i64,
    /// Of how many that is known.
    pub waited: i64,
}
