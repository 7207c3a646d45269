//! Changes that the live stream of a connection sends to its subscribers.

use uuid::Uuid;

use crate::domain::queue::{GapReason, JobState, WorkerState};

/// One change of a connection's jobs, workers or queues. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq)]
pub enum QueueChange {
    /// A job entered another state.
    Job {
        /// Id of the job.
        id: Uuid,
        /// Name of its task; empty while nobody has reported it.
        name: String,
        /// The state entered.
        state: JobState,
        /// The state that the stream sent before; `None` for the first change of a job.
        previous: Option<JobState>,
        /// When the job entered the state.
        at_ms: i64,
    },
    /// A live worker sent a heartbeat.
    Heartbeat {
        /// Id of the worker.
        id: Uuid,
        /// Its name.
        hostname: String,
        /// Its state.
        state: WorkerState,
        /// Number of jobs that it runs.
        active_jobs: i64,
    },
    /// A worker came online or went offline.
    Worker {
        /// Id of the worker.
        id: Uuid,
        /// Its name.
        hostname: String,
        /// The state entered.
        state: WorkerState,
        /// The state before.
        previous: WorkerState,
        /// When the state changed.
        at_ms: i64,
    },
    /// Depth or consumers of a queue changed.
    Queue {
        /// Name of the queue.
        name: String,
        /// Number of waiting jobs; `None` while nobody has reported it.
        depth: Option<i64>,
        /// Number of workers that consume it; `None` while nobody has reported it.
        consumers: Option<i64>,
    },
    /// Events of an interval may be missing.
    Gap {
        /// Start of the interval.
        from_ms: i64,
        /// End of the interval.
        to_ms: i64,
        /// Why they are missing.
        reason: GapReason,
    },
}
