//! Decoders of packed jobs, workers, queues and counts. Their layouts stand in `lua/README.md`.

use uuid::Uuid;

use crate::{
    domain::queue::{
        ConsumersSource, Extensions, Framework, Job, JobDetail, JobState, Queue, StateTransition, Worker, WorkerState,
        queue_id, worker_id,
    },
    store::codec::Reader,
};

/// Number of values per transition in a packed job: state, time, tie-breaker, attempt, mark.
const TRANSITION_VALUES: usize = 5;

/// Counts of the jobs that ended within one slot of a ring.
pub(super) struct SlotCounts {
    /// Number of the slot since the Unix epoch; an older one than expected means that the slot is empty.
    pub(super) slot: i64,
    pub(super) succeeded: i64,
    pub(super) failed: i64,
    pub(super) wait_sum_ms: i64,
    pub(super) wait_count: i64,
}

pub(super) fn decode_counts(packed: &[u8]) -> Option<SlotCounts> {
    let mut reader = Reader::new(packed);
    Some(SlotCounts {
        slot: reader.int()?,
        succeeded: reader.int()?,
        failed: reader.int()?,
        wait_sum_ms: reader.int()?,
        wait_count: reader.int()?,
    })
}

pub(super) fn decode_job(id: Uuid, packed: &[u8]) -> Option<Job> {
    let reader = &mut Reader::new(packed);
    reader.array()?;
    let connection = Uuid::from_slice(reader.bytes()?).ok()?;
    let framework = Framework::from_code(reader.int()?)?;
    let external_id = reader.text()?.into();
    let name = reader.maybe_text()?.unwrap_or_default();
    let (queue, worker) = (reader.maybe_text()?, reader.maybe_text()?);
    let state = JobState::from_code(reader.int()?)?;
    let changed_ms = reader.int()?;
    let stored_previous = reader.maybe_int()?.and_then(JobState::from_code);
    let created_ms = reader.int()?;
    let (started_ms, completed_ms) = (reader.maybe_int()?, reader.maybe_int()?);
    let (scheduled_ms, runtime_ms, attempt) = (reader.maybe_int()?, reader.maybe_int()?, reader.maybe_int()?);
    let error = reader.maybe_text()?;
    let (_published_state, _published_attempt) = (reader.int()?, reader.maybe_int()?);
    let history = decode_history(reader)?;
    let from_start_to_end = completed_ms.zip(started_ms).map(|(completed, started)| (completed - started).max(0));
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
        previous: history.iter().rev().nth(1).map(|transition| transition.state).or(stored_previous),
        created_ms,
        started_ms,
        completed_ms,
        scheduled_ms,
        duration_ms: completed_ms.and(runtime_ms.or(from_start_to_end)),
        attempt,
        error,
        history,
    })
}

/// Decodes the transitions that count. A step back without an observed retry gets one before it, as the stream publishes it.
fn decode_history(reader: &mut Reader<'_>) -> Option<Vec<StateTransition>> {
    let transitions = reader.array()? / TRANSITION_VALUES;
    let mut history: Vec<StateTransition> = Vec::with_capacity(transitions);
    for _ in 0..transitions {
        let (state, at_ms) = (JobState::from_code(reader.int()?)?, reader.int()? / 1000);
        let (_tie_breaker, _attempt, mark) = (reader.int()?, reader.int()?, reader.int()?);
        if mark <= 0 {
            continue;
        }
        let is_step_back =
            history.last().is_some_and(|last| last.state != JobState::Retrying && state.rank() <= last.state.rank());
        if is_step_back && state != JobState::Retrying {
            history.push(StateTransition { state: JobState::Retrying, at_ms });
        }
        history.push(StateTransition { state, at_ms });
    }
    Some(history)
}

pub(super) fn decode_detail(packed: &[u8]) -> Option<JobDetail> {
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
        extensions: decode_timed_extensions(reader)?,
    })
}

pub(super) fn decode_worker(packed: &[u8]) -> Option<Worker> {
    let reader = &mut Reader::new(packed);
    reader.array()?;
    let connection = Uuid::from_slice(reader.bytes()?).ok()?;
    let framework = Framework::from_code(reader.int()?)?;
    let external_id: String = reader.text()?.into();
    let hostname = reader.text()?.into();
    let state = WorkerState::from_code(reader.int()?)?;
    let last_heartbeat_ms = reader.int()?;
    let _last_heartbeat_by_its_clock = reader.int()?;
    let (pid, active_jobs) = (reader.maybe_int()?, reader.maybe_int()?.unwrap_or(0));
    let (processed, concurrency) = (reader.maybe_int()?, reader.maybe_int()?);
    Some(Worker {
        id: worker_id(connection, &external_id),
        connection,
        framework,
        external_id,
        hostname,
        state,
        last_heartbeat_ms,
        pid,
        active_jobs,
        processed,
        concurrency,
        queues: reader.maybe_texts()?.unwrap_or_default(),
        metadata: decode_extensions(reader)?,
        created_ms: reader.int()?,
        finished_last_hour: 0,
    })
}

pub(super) fn decode_queue(packed: &[u8]) -> Option<Queue> {
    let reader = &mut Reader::new(packed);
    reader.array()?;
    let connection = Uuid::from_slice(reader.bytes()?).ok()?;
    let framework = Framework::from_code(reader.int()?)?;
    let name: String = reader.text()?.into();
    let depth = reader.maybe_int()?;
    let consumers = reader.maybe_int()?.zip(reader.maybe_int()?.and_then(ConsumersSource::from_code));
    let _observed_at = reader.int()?;
    Some(Queue {
        id: queue_id(connection, &name),
        connection,
        framework,
        name,
        depth,
        consumers,
        created_ms: reader.int()?,
        buckets: Vec::new(),
    })
}

/// Name and value in turn.
fn decode_extensions(reader: &mut Reader<'_>) -> Option<Extensions> {
    let values = reader.array()?;
    (0..values / 2).map(|_| Some((reader.text()?.to_owned(), reader.text()?.to_owned()))).collect()
}

/// Name, value and the time of its observation in turn.
fn decode_timed_extensions(reader: &mut Reader<'_>) -> Option<Extensions> {
    let values = reader.array()?;
    let extension = |_| {
        let (name, value, _observed_at) = (reader.text()?.to_owned(), reader.text()?.to_owned(), reader.int()?);
        Some((name, value))
    };
    (0..values / 3).map(extension).collect()
}
