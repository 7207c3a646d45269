//! Observations: what a watcher or a pushing client reports.

use crate::domain::queue::{ConsumersSource, GapReason, JobState, WorkerState};

/// One reported fact.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// State or details of a job.
    Job(Box<JobObservation>),
    /// State or details of a worker.
    Worker(Box<WorkerObservation>),
    /// Depth and consumers of a queue.
    Queue(QueueObservation),
    /// An interval whose events are lost.
    Gap(Gap),
}

/// Facts that only one framework has: name, and value as JSON text.
pub type Extensions = Vec<(String, String)>;

impl JobObservation {
    /// Maximum of an external id of a job or a worker, in bytes. Longer texts are cut by [`truncate_utf8`]; so are those below.
    pub const ID_BYTES: usize = 512;
    /// Maximum of a task's name, in bytes.
    pub const NAME_BYTES: usize = 1_024;
    /// Maximum of a queue's name, in bytes.
    pub const QUEUE_BYTES: usize = 255;
    /// Maximum of an error text, in bytes.
    pub const ERROR_BYTES: usize = 10_000;
    /// Maximum of a stack trace, in bytes.
    pub const STACKTRACE_BYTES: usize = 50_000;
    /// Maximum of each of `args`, `kwargs` and `result`, in bytes.
    pub const TEXT_BYTES: usize = 10_000;
    /// Maximum of the names and values of all extensions together, in bytes; further extensions are dropped.
    pub const EXTENSIONS_BYTES: usize = 4_096;
}

/// State or details of a job. `None` means "not observed" and leaves the known value as it is.
///
/// Texts may have any length: the store cuts them to the limits above.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct JobObservation {
    /// The framework's own id.
    pub external_id: String,
    /// When it happened, in microseconds since the Unix epoch, on the reporter's clock.
    pub at_us: i64,
    /// Orders observations of the same microsecond: a Lamport clock, or any number that grows; 0 where there is none.
    pub clock: i64,
    /// The state entered; `None`: only the details below are reported.
    pub state: Option<JobState>,
    /// The framework says that the job starts again from `state`, even if that is backwards (BullMQ's `waiting` after `active` or
    /// `failed`). Celery does not need it: its retries have attempt numbers.
    pub restarted: bool,
    /// Number of the attempt, 1 for the first; `None` where the framework does not say.
    pub attempt: Option<u32>,
    /// Maximum number of retries.
    pub max_retries: Option<u32>,
    /// Name of the task.
    pub name: Option<String>,
    /// Name of the queue that the job was put into.
    pub queue: Option<String>,
    /// External id of the worker that runs the job.
    pub worker: Option<String>,
    /// Progress, from 0 to 1.
    pub progress: Option<f64>,
    /// Error text, in the framework's words.
    pub error: Option<String>,
    /// Stack trace of the error.
    pub stacktrace: Option<String>,
    /// Positional arguments, in the framework's notation.
    pub args: Option<String>,
    /// Named arguments, in the framework's notation.
    pub kwargs: Option<String>,
    /// Result, in the framework's notation.
    pub result: Option<String>,
    /// External id of the job that created this one.
    pub parent_id: Option<String>,
    /// External id of the first job of that chain.
    pub root_id: Option<String>,
    /// Creation time, in milliseconds since the Unix epoch. Default: the time of the earliest observation.
    pub created_ms: Option<i64>,
    /// Start of the attempt, in milliseconds since the Unix epoch. Default: the time of the observation of `Active`.
    pub started_ms: Option<i64>,
    /// End of the job, in milliseconds since the Unix epoch. Default: the time of the observation of the final state.
    pub completed_ms: Option<i64>,
    /// Due time, in milliseconds since the Unix epoch.
    pub scheduled_ms: Option<i64>,
    /// Run time, in milliseconds. Default: from start to end.
    pub runtime_ms: Option<i64>,
    /// Facts that only this framework has.
    pub extensions: Extensions,
}

/// State and details of a worker.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerObservation {
    /// The framework's own id; for Celery the node name.
    pub external_id: String,
    /// When it was observed, in microseconds since the Unix epoch, on the worker's clock. The latest observation wins.
    pub at_us: i64,
    /// Any state but `Offline` counts as a heartbeat.
    pub state: WorkerState,
    /// Name for people; often the external id.
    pub hostname: String,
    /// Process id.
    pub pid: Option<i64>,
    /// Number of jobs that it runs.
    pub active_jobs: Option<u32>,
    /// Number of jobs that it has run since it started.
    pub processed: Option<i64>,
    /// Maximum number of jobs at once.
    pub concurrency: Option<u32>,
    /// Queues that it consumes.
    pub queues: Option<Vec<String>>,
    /// Software, version, pool and the like.
    pub metadata: Extensions,
    /// Whether the watcher found this, and not the worker said it. It says whether the worker lives only where that sends no heartbeats.
    pub is_found: bool,
}

/// Depth and consumers of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueObservation {
    /// Name of the queue.
    pub name: String,
    /// When it was observed, in microseconds since the Unix epoch. The latest observation wins.
    pub at_us: i64,
    /// Number of waiting jobs.
    pub depth: Option<u64>,
    /// Number of workers that consume it, and the source that was asked; no number: the source does not know.
    pub consumers: Option<(Option<u32>, ConsumersSource)>,
}

/// An interval whose events are lost. The stream sends it as `gap`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Start, in milliseconds since the Unix epoch.
    pub from_ms: i64,
    /// End, in milliseconds since the Unix epoch.
    pub to_ms: i64,
    /// Why the events are lost.
    pub reason: GapReason,
}

/// The longest prefix of `text` that has at most `max_bytes` bytes and splits no character.
#[must_use]
pub fn truncate_utf8(text: &str, max_bytes: usize) -> &str {
    let end = (0..=max_bytes.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(truncate_utf8("aéz", 2), "a");
        assert_eq!(truncate_utf8("aéz", 3), "aé");
        assert_eq!(truncate_utf8("aéz", 9), "aéz");
    }
}
