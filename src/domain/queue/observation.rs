//! What a watcher or a pushing client saw.

use crate::domain::queue::{ConsumersFrom, JobState, WorkerState};

/// One thing that was seen.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// Something about a job.
    Job(Box<JobObservation>),
    /// Something about a worker.
    Worker(Box<WorkerObservation>),
    /// How a queue stands.
    Queue(QueueObservation),
    /// Nobody looked for a while, and what happened meanwhile cannot be found out.
    Gap(Gap),
}

/// Facts that only one framework has, by name; each value is JSON text.
pub type Extensions = Vec<(String, String)>;

impl JobObservation {
    /// The most bytes of an external id, and of a worker's. The other numbers are of the same kind; longer texts are cut by [`bounded`].
    pub const ID_BYTES: usize = 512;
    /// Of a name.
    pub const NAME_BYTES: usize = 1_024;
    /// Of a queue's name.
    pub const QUEUE_BYTES: usize = 255;
    /// Of an error.
    pub const ERROR_BYTES: usize = 10_000;
    /// Of a stack trace.
    pub const STACKTRACE_BYTES: usize = 50_000;
    /// Of the texts of arguments and of a result.
    pub const TEXT_BYTES: usize = 10_000;
    /// Of all names and values of extensions together; those beyond are left out.
    pub const EXTENSIONS_BYTES: usize = 4_096;
}

/// Something about a job. What is `None` was not seen, and leaves what is known as it is.
///
/// The texts need not be bounded by who makes it: the store cuts them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct JobObservation {
    /// The framework's own id.
    pub external_id: String,
    /// When it happened, in microseconds since the Unix epoch, on the clock of whoever reports it.
    pub at_us: i64,
    /// What decides between sightings of the same microsecond: a Lamport clock, or any number that grows; 0 where there is none.
    pub clock: i64,
    /// The state that it then was in; `None`: only the fields below are told.
    pub state: Option<JobState>,
    /// The framework says that the job begins again, whatever it was before (BullMQ's `waiting` after `active` or `failed`): the
    /// state is taken even if it would lead backwards. Celery's job never needs it: its retries have attempts.
    pub again: bool,
    /// Which attempt this is of, 1 for the first; `None` where the framework does not say.
    pub attempt: Option<u32>,
    /// The most retries.
    pub max_retries: Option<u32>,
    /// What runs: the task's name.
    pub name: Option<String>,
    /// The queue that it was put into.
    pub queue: Option<String>,
    /// The worker that has it, by its external id.
    pub worker: Option<String>,
    /// 0 to 1.
    pub progress: Option<f64>,
    /// What went wrong, in the framework's words.
    pub error: Option<String>,
    /// Where it went wrong.
    pub stacktrace: Option<String>,
    /// Positional arguments, as the framework writes them.
    pub args: Option<String>,
    /// Named arguments, likewise.
    pub kwargs: Option<String>,
    /// The result, likewise.
    pub result: Option<String>,
    /// The external id of the job that made this one.
    pub parent_id: Option<String>,
    /// The external id of the first of that chain.
    pub root_id: Option<String>,
    /// When it was made, in milliseconds since the Unix epoch. Without it the earliest sighting counts.
    pub created_ms: Option<i64>,
    /// When the attempt began; without it the sighting of `active` says so.
    pub started_ms: Option<i64>,
    /// When it ended; without it the sighting of that state says so.
    pub completed_ms: Option<i64>,
    /// When it is due.
    pub scheduled_ms: Option<i64>,
    /// How long it ran, in milliseconds; without it the difference of the two.
    pub runtime_ms: Option<i64>,
    /// What only this framework has.
    pub extensions: Extensions,
}

/// Something about a worker.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerObservation {
    /// The framework's own id; Celery's node name.
    pub external_id: String,
    /// When it happened, in microseconds since the Unix epoch, on the worker's clock. A later one counts, an earlier one does not.
    pub at_us: i64,
    /// How it is. Anything but `Offline` is a sign of life.
    pub state: WorkerState,
    /// The name that people read; often the external id.
    pub hostname: String,
    /// Its process.
    pub pid: Option<i64>,
    /// How many jobs it runs.
    pub active_jobs: Option<u32>,
    /// How many it has run since it began.
    pub processed: Option<i64>,
    /// How many it can run at once.
    pub concurrency: Option<u32>,
    /// The queues that it takes from.
    pub queues: Option<Vec<String>>,
    /// Software, version, pool and the like: values are JSON text.
    pub metadata: Extensions,
}

/// How a queue stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueObservation {
    /// Its name.
    pub name: String,
    /// When it was looked at, in microseconds since the Unix epoch. A later one counts, an earlier one does not.
    pub at_us: i64,
    /// How many jobs wait in it.
    pub depth: Option<u64>,
    /// How many workers take from it, and how that is known.
    pub consumers: Option<(u32, ConsumersFrom)>,
}

/// A time of which nothing is known: the stream tells it as `gap`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Since when, in milliseconds since the Unix epoch.
    pub from_ms: i64,
    /// Until when.
    pub to_ms: i64,
    /// One word: `handover`, `overflow`, `disconnected` ...
    pub reason: String,
}

/// The longest beginning of `text` that has at most `most` bytes and ends with a whole character.
#[must_use]
pub fn bounded(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(bounded("aéz", 2), "a");
        assert_eq!(bounded("aéz", 3), "aé");
        assert_eq!(bounded("aéz", 9), "aéz");
    }
}
