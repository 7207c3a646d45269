//! What the stream of a connection tells.

use uuid::Uuid;

use crate::domain::queue::{JobState, WorkerState};

/// One thing that changed. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq)]
pub enum QueueChange {
    /// A job went into another state.
    Job {
        /// Which job.
        id: Uuid,
        /// What it runs; empty while nobody has said it.
        name: String,
        /// The state that it is in now.
        state: JobState,
        /// What it was told to be before; `None` of a job that was not told of yet.
        previous: Option<JobState>,
        /// When.
        at_ms: i64,
    },
    /// A worker was heard.
    Heartbeat {
        /// Which worker.
        id: Uuid,
        /// Its name.
        hostname: String,
        /// How it is.
        state: WorkerState,
        /// How many jobs it runs.
        active_jobs: i64,
    },
    /// A worker came online or went offline.
    Worker {
        /// Which worker.
        id: Uuid,
        /// Its name.
        hostname: String,
        /// How it is now.
        state: WorkerState,
        /// How it was before.
        previous: WorkerState,
        /// When.
        at_ms: i64,
    },
    /// How a queue stands.
    Queue {
        /// Its name.
        name: String,
        /// How many jobs wait in it; `None` where nobody has said.
        depth: Option<i64>,
        /// How many workers take from it.
        consumers: Option<i64>,
    },
    /// Nobody looked for a while.
    Gap {
        /// Since when.
        from_ms: i64,
        /// Until when.
        to_ms: i64,
        /// One word.
        reason: String,
    },
}
