//! Vocabulary of the queue monitor: frameworks, states, observations, list rows, connections.
//!
//! An [`Observation`] is one fact about a job, a worker or a queue, reported by a watcher or by a pushing client, in the same form for every
//! framework. Observations may arrive late, twice and in any order; the store folds them into one state by the time at which they happened.

mod change;
pub mod connection;
mod enums;
mod ids;
mod job_query;
mod observation;
mod rows;
mod sort;

pub use change::QueueChange;
pub use enums::{ConsumersSource, Framework, GapReason, JobState, TimeRange, WorkerState};
pub use ids::{job_id, queue_id, worker_id};
pub use job_query::{JobFilter, JobQuery};
pub use observation::{
    Extensions, Gap, JobObservation, Observation, QueueObservation, WorkerObservation, truncate_utf8,
};
pub use rows::{Job, JobDetail, Queue, StateTransition, TimeBucket, UNKNOWN_NAME, Worker, display_name};
pub use sort::{JobSort, SortKey, SortOrder, SortPosition, TopK};
