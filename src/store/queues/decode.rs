//! Packed jobs, workers and queues, read. Their layouts stand in `lua/README.md`.

use uuid::Uuid;

use crate::{
    domain::queue::{
        ConsumersFrom, Extensions, Framework, Job, JobDetail, JobState, Queue, StateTransition, Worker, WorkerState,
        queue_id, worker_id,
    },
    store::codec::Reader,
};

/// How many numbers stand in the store for one transition of a job.
const STEP: usize = 5;

pub(in crate::store) fn read_counts(packed: &[u8]) -> Option<(i64, [i64; 4])> {
    let mut reader = Reader::new(packed);
    Some((reader.int()?, [reader.int()?, reader.int()?, reader.int()?, reader.int()?]))
}

/// Reads a packed job; its layout stands in `lua/README.md`.
pub(in crate::store) fn read_job(id: Uuid, packed: &[u8]) -> Option<Job> {
    let reader = &mut Reader::new(packed);
    reader.array()?;
    let connection = Uuid::from_slice(reader.bytes()?).ok()?;
    let framework = Framework::of_code(reader.int()?)?;
    let external_id = reader.text()?.into();
    let name = reader.maybe_text()?.unwrap_or_default();
    let (queue, worker) = (reader.maybe_text()?, reader.maybe_text()?);
    let state = JobState::of_code(reader.int()?)?;
    let changed_ms = reader.int()?;
    let previous = reader.maybe_int()?.and_then(JobState::of_code);
    let created_ms = reader.int()?;
    let (started_ms, completed_ms) = (reader.maybe_int()?, reader.maybe_int()?);
    let (scheduled_ms, runtime_ms, attempt) = (reader.maybe_int()?, reader.maybe_int()?, reader.maybe_int()?);
    let error = reader.maybe_text()?;
    reader.int()?; // what was told of it
    reader.maybe_int()?;
    let numbers = reader.array()?;
    let mut history = Vec::with_capacity(numbers / STEP);
    for _ in 0..numbers / STEP {
        let (state, at_us) = (JobState::of_code(reader.int()?)?, reader.int()?);
        let (_tiebreak, _attempt, mark) = (reader.int()?, reader.int()?, reader.int()?);
        if mark > 0 {
            // What leads back leads through a retry, as it was told, even if nobody saw that itself.
            let back = history.last().is_some_and(|before: &StateTransition| {
                before.state != JobState::Retrying && state.rank() <= before.state.rank()
            });
            if back && state != JobState::Retrying {
                history.push(StateTransition { state: JobState::Retrying, at_ms: at_us / 1000 });
            }
            history.push(StateTransition { state, at_ms: at_us / 1000 });
        }
    }
    let took = completed_ms.zip(started_ms).map(|(completed, started)| (completed - started).max(0));
    let duration_ms = completed_ms.and(runtime_ms.or(took));
    Some(Job {
        id,
        connection,
        framework,
        external_id,
        name,
        queue,
        worker,
        state,
        changed_ms,
        previous: history.iter().rev().nth(1).map(|passage| passage.state).or(previous),
        created_ms,
        started_ms,
        completed_ms,
        scheduled_ms,
        duration_ms,
        attempt,
        error,
        history,
    })
}

pub(in crate::store) fn read_detail(packed: &[u8]) -> Option<JobDetail> {
    let reader = &mut Reader::new(packed);
    reader.array()?;
    Some(JobDetail {
        max_retries: reader.maybe_int()?,
        progress: if reader.absent() { None } else { Some(reader.number()?) },
        args: reader.maybe_text()?,
        kwargs: reader.maybe_text()?,
        result: reader.maybe_text()?,
        stacktrace: reader.maybe_text()?,
        parent_id: reader.maybe_text()?,
        root_id: reader.maybe_text()?,
        extensions: {
            let values = reader.array()?;
            let each = (0..values / 3).map(|_| {
                let pair = (reader.text()?.to_owned(), reader.text()?.to_owned());
                reader.int()?; // when it was told
                Some(pair)
            });
            each.collect::<Option<_>>()?
        },
    })
}

pub(in crate::store) fn read_worker(packed: &[u8]) -> Option<Worker> {
    let reader = &mut Reader::new(packed);
    reader.array()?;
    let connection = Uuid::from_slice(reader.bytes()?).ok()?;
    let framework = Framework::of_code(reader.int()?)?;
    let external_id: String = reader.text()?.into();
    let hostname = reader.text()?.into();
    let state = WorkerState::of_code(reader.int()?)?;
    let heard_ms = reader.int()?;
    reader.int()?; // the same on the worker's clock
    let (pid, active, processed, concurrency) =
        (reader.maybe_int()?, reader.maybe_int()?, reader.maybe_int()?, reader.maybe_int()?);
    let queues = reader.maybe_texts()?.unwrap_or_default();
    let metadata = read_extensions(reader)?;
    let created_ms = reader.int()?;
    let id = worker_id(connection, &external_id);
    let active_jobs = active.unwrap_or(0);
    let finished_in_hour = 0;
    Some(Worker {
        id,
        connection,
        framework,
        external_id,
        hostname,
        state,
        heard_ms,
        pid,
        active_jobs,
        processed,
        concurrency,
        queues,
        metadata,
        created_ms,
        finished_in_hour,
    })
}

fn read_extensions(reader: &mut Reader<'_>) -> Option<Extensions> {
    let values = reader.array()?;
    (0..values / 2).map(|_| Some((reader.text()?.to_owned(), reader.text()?.to_owned()))).collect()
}

pub(in crate::store) fn read_queue(packed: &[u8]) -> Option<Queue> {
    let reader = &mut Reader::new(packed);
    reader.array()?;
    let connection = Uuid::from_slice(reader.bytes()?).ok()?;
    let framework = Framework::of_code(reader.int()?)?;
    let name: String = reader.text()?.into();
    let depth = reader.maybe_int()?;
    let consumers = reader.maybe_int()?.zip(reader.maybe_int()?.and_then(ConsumersFrom::of_code));
    reader.int()?; // when it was looked at
    let created_ms = reader.int()?;
    Some(Queue {
        id: queue_id(connection, &name),
        connection,
        framework,
        name,
        depth,
        consumers,
        created_ms,
        tallies: Vec::new(),
    })
}
