//! Parser of pushed events: each becomes an observation, or adds the faults of its fields.

use chrono::DateTime;
use serde_json::{Map, Value, value::RawValue};
use uuid::Uuid;

use crate::{
    domain::{
        closed_set::ClosedSet,
        field_errors::FieldErrors,
        queue::{
            ConsumersSource, Extensions, Framework, JobObservation, Observation, QueueObservation, UNKNOWN_NAME,
            WorkerObservation, WorkerState,
        },
    },
    http::{
        queues::{
            ingest::payload::{IngestEvent, IngestJob, IngestQueue, IngestRequest, IngestWorker, MAX_EVENTS},
            params::is_none_of,
        },
        wire::{error::ApiError, request::MAX_EXACT, word::UncheckedWord},
    },
};

/// Word of the API that stands for the worker state `online`.
const HEARTBEAT: &str = "heartbeat";
/// Field of a worker's metadata that counts the jobs it has run.
const PROCESSED: &str = "processedTotal";
/// Bytes of what only one framework has, 64 KiB, and the number of its fields that are kept.
const MAX_EXTENSIONS_BYTES: usize = 64 << 10;
const MAX_EXTENSIONS: usize = 64;
/// Range of valid times, the years 2000 to 2099, in milliseconds since the Unix epoch. It catches times in other units.
const TIMES_MS: std::ops::Range<i64> = 946_684_800_000..4_102_444_800_000;

/// Parses the events of a request. They must all be of one framework.
pub(super) fn parse(connection: Uuid, request: IngestRequest) -> Result<(Framework, Vec<Observation>), ApiError> {
    let events = request.events.ok_or_else(|| ApiError::field("events", "is required: a list of events"))?.0;
    if events.is_empty() {
        return Err(ApiError::field("events", format!("is empty; send 1 to {MAX_EVENTS} events")));
    }
    let mut errors = FieldErrors::default();
    let mut framework = None;
    let mut observations = Vec::with_capacity(events.len());
    for (index, event) in events.into_iter().enumerate() {
        let mut fields = Fields { errors: &mut errors, path: format!("events[{index}]") };
        observations.extend(parse_event(event, connection, &mut framework, &mut fields));
    }
    errors.finish(|| Some((framework?, observations))).map_err(ApiError::validation)
}

fn parse_event(
    event: IngestEvent,
    connection: Uuid,
    common_framework: &mut Option<Framework>,
    fields: &mut Fields<'_>,
) -> Option<Observation> {
    let framework = event.framework.as_ref().map(UncheckedWord::as_str);
    if let Some(framework) = fields.check("framework", required_word(framework))
        && *common_framework.get_or_insert(framework) != framework
    {
        fields.add("framework", "differs from that of the events before; push them apart");
    }
    if let Some(id) = event.connection_id
        && Uuid::try_parse(&id).ok() != Some(connection)
    {
        fields.add("connectionId", "is not the connection of this key");
    }
    let at_us = fields.check("timestamp", event.timestamp.ok_or("is required".into()).and_then(|text| time_us(&text)));
    let subject = fields.check("type", Subject::parse(event.r#type))?;
    match (subject, event.job, event.worker, event.queue) {
        (Subject::Job, Some(job), ..) => parse_job(*job, at_us, &mut fields.nested("job")),
        (Subject::Worker, _, Some(worker), _) => parse_worker(worker, at_us, &mut fields.nested("worker")),
        (Subject::Queue, _, _, Some(queue)) => parse_queue(queue, at_us, &mut fields.nested("queue")),
        (missing, ..) => {
            fields.add(missing.field(), "is required");
            None
        }
    }
}

/// What an event is about: the part of its type before the separator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Job,
    Worker,
    Queue,
}

impl Subject {
    /// Parses a type, with `:`, `.` or `_` as the separator.
    fn parse(event_type: Option<String>) -> Result<Self, String> {
        let event_type = event_type.ok_or("is required")?;
        match event_type.split_once([':', '.']).or_else(|| event_type.split_once('_')) {
            Some(("job", "state_change" | "progress")) => Ok(Self::Job),
            Some(("worker", "state_change" | HEARTBEAT)) => Ok(Self::Worker),
            Some(("queue", "snapshot" | "state_change")) => Ok(Self::Queue),
            _ => Err("is none of job:state_change, worker:state_change, worker:heartbeat and queue:snapshot".into()),
        }
    }

    /// Field of the event that holds it.
    fn field(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Worker => "worker",
            Self::Queue => "queue",
        }
    }
}

/// Errors of an object's fields, with the object's path.
struct Fields<'a> {
    errors: &'a mut FieldErrors,
    path: String,
}

impl Fields<'_> {
    fn nested(&mut self, field: &str) -> Fields<'_> {
        let path = format!("{}.{field}", self.path);
        Fields { errors: self.errors, path }
    }

    fn add(&mut self, field: &str, message: &str) {
        self.errors.add(format!("{}.{field}", self.path), message);
    }

    /// The parsed value; if there is none, its error is added.
    fn check<T>(&mut self, field: &str, parsed: Result<T, String>) -> Option<T> {
        self.errors.check(|| format!("{}.{field}", self.path), parsed)
    }

    /// A text of 1 to `max_bytes` bytes.
    fn required_text(&mut self, field: &str, text: Option<String>, max_bytes: usize) -> Option<String> {
        let parsed = match text {
            None => Err("is required".into()),
            Some(text) if text.is_empty() => Err("must not be empty".into()),
            Some(text) => within(text, max_bytes),
        };
        self.check(field, parsed)
    }

    /// A text of at most `max_bytes` bytes, or none.
    fn optional_text(&mut self, field: &str, text: Option<String>, max_bytes: usize) -> Option<String> {
        self.check(field, within(text?, max_bytes))
    }

    /// A time, in milliseconds since the Unix epoch, or none.
    fn optional_time_ms(&mut self, field: &str, text: Option<String>) -> Option<i64> {
        self.check(field, time_us(&text?)).map(|us| us / 1000)
    }
}

/// A word of a closed set.
fn required_word<T: ClosedSet>(text: Option<&str>) -> Result<T, String> {
    let text = text.ok_or("is required")?;
    T::of_name(text).ok_or_else(|| is_none_of(T::VALUES.iter().map(|value| value.name())))
}

/// A worker's state, or [`HEARTBEAT`].
fn worker_state(text: Option<&str>) -> Result<WorkerState, String> {
    match text {
        None => Err("is required".into()),
        Some(HEARTBEAT) => Ok(WorkerState::Online),
        Some(text) => WorkerState::of_name(text)
            .ok_or_else(|| is_none_of(WorkerState::VALUES.iter().map(|state| state.name()).chain([HEARTBEAT]))),
    }
}

/// Microseconds since the Unix epoch of an ISO 8601 time. Only UTC as `Z` is valid, so that no time zone is in doubt.
fn time_us(text: &str) -> Result<i64, String> {
    let time = DateTime::parse_from_rfc3339(text)
        .ok()
        .filter(|_| text.ends_with(['Z', 'z']))
        .ok_or("must be an ISO 8601 time in UTC like 2026-05-13T12:01:00.000Z")?;
    if TIMES_MS.contains(&time.timestamp_millis()) {
        Ok(time.timestamp_micros())
    } else {
        Err("is not of this century".into())
    }
}

fn within(text: String, max_bytes: usize) -> Result<String, String> {
    if text.len() <= max_bytes {
        Ok(text)
    } else {
        Err(format!("is {} bytes long; at most {max_bytes} are allowed", text.len()))
    }
}

/// `at_us` is `None` where the event's time is missing or wrong.
fn parse_job(job: IngestJob, at_us: Option<i64>, fields: &mut Fields<'_>) -> Option<Observation> {
    let external_id = fields.required_text("externalId", job.external_id, JobObservation::ID_BYTES);
    let name = fields.required_text("name", job.name, JobObservation::NAME_BYTES);
    let state = fields.check("state", required_word(job.state.as_ref().map(UncheckedWord::as_str)));
    let queue = fields.optional_text("queue", job.queue, JobObservation::QUEUE_BYTES);
    let worker = fields.optional_text("workerId", job.worker_id, JobObservation::ID_BYTES);
    let parent_id = fields.optional_text("parentId", job.parent_id, JobObservation::ID_BYTES);
    let root_id = fields.optional_text("rootId", job.root_id, JobObservation::ID_BYTES);
    let created_ms = fields.optional_time_ms("createdAt", job.created_at);
    let started_ms = fields.optional_time_ms("startedAt", job.started_at);
    let completed_ms = fields.optional_time_ms("completedAt", job.completed_at);
    let scheduled_ms = fields.optional_time_ms("scheduledFor", job.scheduled_for);
    let attempt = job.attempt.and_then(|attempt| {
        fields.check("attempt", if attempt > 0 { Ok(attempt) } else { Err("must be 1 or more".into()) })
    });
    let progress = job.progress.and_then(|progress| {
        let is_valid = (0.0..=1.0).contains(&progress);
        fields.check("progress", if is_valid { Ok(progress) } else { Err("must be from 0 to 1".into()) })
    });
    let extensions = fields.check("extensions", extensions(job.extensions.as_deref()));
    Some(Observation::Job(Box::new(JobObservation {
        external_id: external_id?,
        at_us: at_us?,
        state: Some(state?),
        attempt,
        max_retries: job.max_retries,
        // It must not replace a name that somebody else reported.
        name: Some(name?).filter(|name| name != UNKNOWN_NAME),
        queue,
        worker,
        progress,
        // These are cut by the store instead of refused: a part of a long error is worth more than none.
        error: job.error,
        stacktrace: job.stacktrace,
        args: job.args.as_deref().map(text_or_json),
        kwargs: job.kwargs.as_deref().map(text_or_json),
        result: job.result.as_deref().map(text_or_json),
        parent_id,
        root_id,
        created_ms,
        started_ms,
        completed_ms,
        scheduled_ms,
        runtime_ms: job.duration_ms.map(|ms| exact(ms.max(0.0) as i64)),
        extensions: extensions?,
        ..JobObservation::default()
    })))
}

fn parse_worker(worker: IngestWorker, at_us: Option<i64>, fields: &mut Fields<'_>) -> Option<Observation> {
    let external_id = fields.required_text("externalId", worker.external_id, JobObservation::ID_BYTES);
    let hostname = match worker.hostname {
        Some(hostname) => fields.required_text("hostname", Some(hostname), JobObservation::ID_BYTES),
        None => external_id.clone(),
    };
    let state = fields.check("state", worker_state(worker.state.as_deref()));
    let metadata = fields.check("metadata", extensions(worker.metadata.as_deref()));
    let processed = metadata.iter().flatten().find(|(name, _)| name == PROCESSED);
    let processed: Option<i64> = processed.and_then(|(_, count)| count.parse().ok());
    Some(Observation::Worker(Box::new(WorkerObservation {
        external_id: external_id?,
        at_us: at_us?,
        state: state?,
        hostname: hostname?,
        pid: worker.pid.map(exact),
        active_jobs: worker.active_jobs,
        processed: processed.map(exact),
        concurrency: worker.concurrency,
        queues: worker.queues.map(|queues| queues.0),
        metadata: metadata?,
        is_found: false,
    })))
}

fn parse_queue(queue: IngestQueue, at_us: Option<i64>, fields: &mut Fields<'_>) -> Option<Observation> {
    let name = fields.required_text("name", queue.name, JobObservation::QUEUE_BYTES);
    Some(Observation::Queue(QueueObservation {
        name: name?,
        at_us: at_us?,
        depth: queue.depth.map(Into::into),
        consumers: queue.consumers.map(|count| (Some(count), ConsumersSource::Pushed)),
    }))
}

/// A number within what Lua and JavaScript keep exactly; the nearest such number of a greater one.
fn exact(number: i64) -> i64 {
    number.clamp(-MAX_EXACT, MAX_EXACT)
}

/// A text as it is; any other value as JSON.
fn text_or_json(value: &RawValue) -> String {
    serde_json::from_str(value.get()).unwrap_or_else(|_| value.get().to_owned())
}

/// The fields of an object that only one framework has, each value as JSON.
fn extensions(raw: Option<&RawValue>) -> Result<Extensions, String> {
    let Some(raw) = raw else { return Ok(Extensions::new()) };
    if raw.get().len() > MAX_EXTENSIONS_BYTES {
        return Err(format!("is {} bytes long; at most {MAX_EXTENSIONS_BYTES} are allowed", raw.get().len()));
    }
    let fields: Map<String, Value> = serde_json::from_str(raw.get()).map_err(|_| "must be an object")?;
    Ok(fields.into_iter().take(MAX_EXTENSIONS).map(|(name, value)| (name, value.to_string())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_has_three_spellings() {
        let parse = |event_type: &str| Subject::parse(Some(event_type.into()));
        for event_type in ["job:state_change", "job.state_change", "job_state_change"] {
            assert_eq!(parse(event_type), Ok(Subject::Job));
        }
        for event_type in ["worker.heartbeat", "worker_state_change"] {
            assert_eq!(parse(event_type), Ok(Subject::Worker));
        }
        assert_eq!(parse("queue:snapshot"), Ok(Subject::Queue));
        for event_type in ["job", "job:created", "task:state_change", ""] {
            assert!(parse(event_type).is_err(), "{event_type}");
        }
    }

    #[test]
    fn times_must_end_with_z() {
        assert_eq!(time_us("2026-05-13T12:01:00.000123Z"), Ok(1_778_673_660_000_123));
        for wrong in ["2026-05-13T12:01:00.000+00:00", "2026-05-13T12:01:00", "1778673660", "0001-01-01T00:00:00Z"] {
            assert!(time_us(wrong).is_err(), "{wrong}");
        }
    }
}
