//! The queue monitor's words: frameworks, states, and what was seen of jobs, workers and queues.
//!
//! A [`Observation`] is one thing that a watcher or a pushing client saw, in the same words whatever the framework. Sightings may come
//! late, twice and in any order: what follows from them is decided where they are stored, by the time at which they happened.

mod change;
pub mod connection;
mod observation;
mod query;
mod shown;

pub use change::QueueChange;
pub use observation::{Extensions, Gap, JobObservation, Observation, QueueObservation, WorkerObservation, bounded};
pub use query::{Best, JobFilter, JobSort, SortKey, SortPosition, compare};
pub use shown::{Job, JobDetail, Queue, StateTransition, Tally, Worker};

use uuid::Uuid;

/// What runs the jobs of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "names")]
pub enum Framework {
    Celery,
    BullMq,
    Sidekiq,
}

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum JobState {
    /// Nothing is known but that it exists.
    Unknown,
    /// It waits for its time.
    Scheduled,
    /// It waits for a worker.
    Queued,
    /// A worker runs it.
    HeldReservation,
    /// It failed and will be tried again.
    Retrying,
    /// It was called off.
    Cancelled,
    /// It failed for good.
    Failed,
    /// It is done.
    Completed,
}

/// How a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "names")]
pub enum WorkerState {
    Online,
    Busy,
    Idle,
    Offline,
}

/// How the number of a queue's consumers is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConsumersFrom {
    /// Workers that took jobs from it and are alive: read-only, and blind to queues in which nothing happens.
    Inferred,
    /// The workers were asked.
    Exact,
    /// The connections that the broker lists under the queue's name.
    Connected,
    /// A client pushed it.
    Pushed,
}

macro_rules! words {
    ($kind:ident: $($variant:ident $word:literal),*) => {
        impl $kind {
            /// Every one there is.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word as the API spells it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),*
                }
            }

            /// The one of that name.
            #[must_use]
            pub fn parse(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.name() == name)
            }

            /// Its number in the store.
            #[must_use]
            pub fn code(self) -> i64 {
                self as i64
            }

            /// The one of that number.
            #[must_use]
            pub fn of_code(code: i64) -> Option<Self> {
                usize::try_from(code).ok().and_then(|at| Self::ALL.get(at).copied())
            }
        }
    };
}

words!(Framework: Celery "celery", BullMq "bullmq", Sidekiq "sidekiq");
words!(JobState: Unknown "unknown", Scheduled "scheduled", Queued "queued", HeldReservation "active", Retrying "retrying", Cancelled "cancelled", Failed "failed", Completed "completed");
words!(WorkerState: Online "online", Busy "busy", Idle "idle", Offline "offline");
words!(ConsumersFrom: Inferred "inferred", Exact "exact", Connected "connected", Pushed "pushed");

impl JobState {
    /// How far into an attempt it leads.
    #[must_use]
    pub fn rank(self) -> u8 {
        match self {
            Self::Unknown | Self::Retrying => 0,
            Self::Scheduled => 1,
            Self::Queued => 2,
            Self::HeldReservation => 3,
            Self::Cancelled => 4,
            Self::Failed => 5,
            Self::Completed => 6,
        }
    }
}

/// What a job is called of which nobody has said the name.
pub const NAMELESS: &str = "unknown";

/// A job's name as it is shown.
#[must_use]
pub fn named(name: &str) -> &str {
    if name.is_empty() { NAMELESS } else { name }
}

/// The id of a job, for good: the same for the same connection and external id, so that no list of both has to be kept.
#[must_use]
pub fn job_id(connection: Uuid, external_id: &str) -> Uuid {
    id(connection, "job", external_id)
}

/// The id of a worker, by its connection and external id.
#[must_use]
pub fn worker_id(connection: Uuid, external_id: &str) -> Uuid {
    id(connection, "worker", external_id)
}

/// The id of a queue, by its connection and name.
#[must_use]
pub fn queue_id(connection: Uuid, name: &str) -> Uuid {
    id(connection, "queue", name)
}

fn id(connection: Uuid, kind: &str, external_id: &str) -> Uuid {
    let mut name = Vec::with_capacity(kind.len() + 1 + external_id.len());
    name.extend_from_slice(kind.as_bytes());
    name.push(0);
    name.extend_from_slice(external_id.as_bytes());
    Uuid::new_v5(&connection, &name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers_lead_back() {
        for state in JobState::ALL {
            assert_eq!(JobState::parse(state.name()), Some(*state));
            assert_eq!(JobState::of_code(state.code()), Some(*state));
        }
        assert_eq!(JobState::of_code(-1), None);
        assert_eq!(WorkerState::parse("heartbeat"), None);
        assert_eq!(Framework::parse("bullmq"), Some(Framework::BullMq));
    }

    #[test]
    fn ids_depend_on_the_connection_the_kind_and_the_name() {
        let (one, other) = (Uuid::new_v4(), Uuid::new_v4());
        assert_eq!(job_id(one, "a"), job_id(one, "a"));
        assert_ne!(job_id(one, "a"), job_id(other, "a"));
        assert_ne!(job_id(one, "a"), worker_id(one, "a"));
    }
}
