//! `POST /api/ingest`: what clients push of their jobs, workers and queues.

use chrono::DateTime;
use poem::{Request, http::header};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions, Object, OpenApi,
    registry::{MetaSecurityScheme, Registry},
};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    domain::{
        field_errors::FieldErrors,
        queue::{
            ConsumersFrom, Extensions, Framework, JobObservation, JobState, NAMELESS, Observation, QueueObservation,
            WorkerObservation, WorkerState,
        },
    },
    http::{
        app_state::{AppState, Tag},
        auth::{admit, authenticate, count_failure},
        pipeline::context::app,
        queues::payload::{IngestJob, IngestQueue, IngestRequest, IngestWorker},
        wire::{
            error::{ApiError, Code},
            outcome::within_limit,
            request,
            request::Large,
            response::Answer,
        },
    },
    store::{Bearer, Caller, INGEST_KEY_PREFIX, Secret},
};

/// The most events of one call.
const BATCH: usize = 1_000;
/// A worker says so that it lives; it stands for `online`.
const HEARTBEAT: &str = "heartbeat";
/// No event is of before the year 2000 or after 2100: a time in other units would pass otherwise.
const TIMES_MS: std::ops::Range<i64> = 946_684_800_000..4_102_444_800_000;

pub(in crate::http) struct Ingest;

#[OpenApi(tag = "Tag::Queues")]
impl Ingest {
    /// Push what happened to jobs, workers and queues: up to 1,000 events, all or none.
    ///
    /// The key is the connection's ingest key. An event that was pushed or seen before changes nothing and counts as a duplicate. The
    /// order in which events come does not matter: a job's state follows from the times at which they happened.
    ///
    /// Types are `job:state_change`, `worker:state_change`, `worker:heartbeat` and `queue:snapshot`, also spelled with `.` or `_` for
    /// the colon. New events count against the day of the tenant's tier (UTC); beyond it 429 says when the day ends.
    #[oai(path = "/ingest", method = "post", operation_id = "ingest")]
    async fn ingest(
        &self,
        pusher: Pusher,
        here: AppState,
        body: Large<IngestRequest>,
    ) -> Result<Answer<Ingested, 202>, ApiError> {
        let caller = pusher.0;
        let connection = caller.connection().ok_or_else(unauthorized)?;
        let (framework, sightings) = parse(connection, body.0)?;
        let stamped = here.store().ingest(&caller, framework, &sightings).await?;
        Ok(Answer(
            within_limit(stamped, &caller)?
                .map(|intake| Ingested { accepted: intake.accepted as u64, duplicates: intake.duplicates as u64 }),
        ))
    }
}

/// Who has a connection's ingest key.
struct Pusher(Caller);

impl<'a> ApiExtractor<'a> for Pusher {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        let scheme = MetaSecurityScheme {
            ty: "http",
            description: Some("The ingest key of a connection: `sk_live_...`."),
            name: None,
            key_in: None,
            scheme: Some("bearer"),
            bearer_format: None,
            flows: None,
            openid_connect_url: None,
        };
        registry.create_security_scheme("ingestKey", scheme);
    }

    fn security_schemes() -> Vec<&'static str> {
        vec!["ingestKey"]
    }

    async fn from_request(
        request: &'a Request,
        body: &mut poem::RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        match let_in(request).await {
            Ok(caller) => Ok(Self(caller)),
            Err(error) => {
                if let Ok(body) = body.take() {
                    request::drain(body).await;
                }
                Err(error.into())
            }
        }
    }
}

async fn let_in(request: &Request) -> Result<Caller, ApiError> {
    let app = app(request)?;
    let Some(authorization) = request.headers().get(header::AUTHORIZATION) else { return Err(unauthorized()) };
    let key = authorization.to_str().ok().and_then(|text| {
        let (scheme, key) = text.split_once(' ')?;
        (scheme.eq_ignore_ascii_case("bearer") && key.trim().starts_with(INGEST_KEY_PREFIX)).then(|| key.trim())
    });
    let Some(key) = key.filter(|key| key.len() <= 256) else { return Err(count_failure(request, app, unauthorized())) };
    let caller = authenticate(request, app, Some(Bearer::Ingest(Secret::of(key)))).await.map_err(|error| {
        // The wording of other routes names headers that do not count here.
        if error.status().as_u16() == 401 { unauthorized() } else { error }
    })?;
    admit(request, app, &caller)?;
    Ok(caller)
}

fn unauthorized() -> ApiError {
    ApiError::new(
        Code::Unauthorized,
        "Invalid or missing API key. Send the connection's ingest key as Authorization: Bearer sk_live_....",
    )
}

fn parse(connection: Uuid, body: IngestRequest) -> Result<(Framework, Vec<Observation>), ApiError> {
    let events = body.events.ok_or_else(|| ApiError::field("events", "is required: a list of events"))?;
    if events.is_empty() || events.len() > BATCH {
        return Err(ApiError::field("events", format!("has {} events; 1 to {BATCH} are allowed", events.len())));
    }
    let mut errors = FieldErrors::default();
    let mut framework = None;
    let mut sightings = Vec::with_capacity(events.len());
    for (at, event) in events.into_iter().enumerate() {
        let place = |field: &str| format!("events[{at}].{field}");
        match errors.check(
            || place("framework"),
            known(event.framework, Framework::parse, Framework::ALL.iter().map(|known| known.name())),
        ) {
            Some(named) if *framework.get_or_insert(named) != named => {
                errors.add(place("framework"), "differs from that of the events before; push them apart")
            }
            _ => {}
        }
        if let Some(id) = event.connection_id
            && Uuid::try_parse(&id).ok() != Some(connection)
        {
            errors.add(place("connectionId"), "is not the connection of this key");
        }
        let at_us = errors.check(
            || place("timestamp"),
            event.timestamp.ok_or_else(|| "is required".to_owned()).and_then(|text| time_us(&text)),
        );
        let group = errors.check(|| place("type"), group(event.r#type));
        sightings.extend(match (group, event.job, event.worker, event.queue) {
            (Some("job"), Some(job), ..) => self::job(*job, at_us, &mut errors, &place),
            (Some("worker"), _, Some(worker), _) => self::worker(worker, at_us, &mut errors, &place),
            (Some("queue"), _, _, Some(queue)) => self::queue(queue, at_us, &mut errors, &place),
            (Some(group), ..) => {
                errors.add(place(group), "is required");
                None
            }
            (None, ..) => None,
        });
    }
    let framework = framework.unwrap_or(Framework::Celery);
    errors.finish(|| Some((framework, sightings))).map_err(ApiError::validation)
}

/// What an event is about, in any of the three spellings of its type.
fn group(kind: Option<String>) -> Result<&'static str, String> {
    let kind = kind.ok_or("is required")?;
    let parts = kind.split_once([':', '.']).or_else(|| kind.split_once('_'));
    match parts {
        Some(("job", "state_change" | "progress")) => Ok("job"),
        Some(("worker", "state_change" | HEARTBEAT)) => Ok("worker"),
        Some(("queue", "snapshot" | "state_change")) => Ok("queue"),
        _ => Err("is none of job:state_change, worker:state_change, worker:heartbeat and queue:snapshot".into()),
    }
}

fn known<T>(
    text: Option<String>,
    parse: impl Fn(&str) -> Option<T>,
    words: impl Iterator<Item = &'static str>,
) -> Result<T, String> {
    let text = text.ok_or("is required")?;
    parse(&text).ok_or_else(|| format!("is none of {}", words.collect::<Vec<_>>().join(", ")))
}

/// An instant, with the time zone that leaves no doubt.
fn time_us(text: &str) -> Result<i64, String> {
    let parsed = DateTime::parse_from_rfc3339(text)
        .ok()
        .filter(|_| text.ends_with(['Z', 'z']))
        .ok_or("must be an ISO 8601 time in UTC like 2026-05-13T12:01:00.000Z")?;
    if TIMES_MS.contains(&parsed.timestamp_millis()) {
        Ok(parsed.timestamp_micros())
    } else {
        Err("is not of this century".into())
    }
}

/// A text that must be there, of at most `most` bytes.
fn needed(text: Option<String>, most: usize) -> Result<String, String> {
    match text {
        None => Err("is required".into()),
        Some(text) if text.is_empty() => Err("must not be empty".into()),
        Some(text) => within(text, most),
    }
}

fn within(text: String, most: usize) -> Result<String, String> {
    if text.len() <= most { Ok(text) } else { Err(format!("is {} bytes long; at most {most} are allowed", text.len())) }
}

fn job(
    job: IngestJob,
    at_us: Option<i64>,
    errors: &mut FieldErrors,
    place: &dyn Fn(&str) -> String,
) -> Option<Observation> {
    let path = |field: &str| place(&format!("job.{field}"));
    let external_id = errors.check(|| path("externalId"), needed(job.external_id, JobObservation::ID_BYTES));
    let name = errors.check(|| path("name"), needed(job.name, JobObservation::NAME_BYTES));
    let state = errors
        .check(|| path("state"), known(job.state, JobState::parse, JobState::ALL.iter().map(|known| known.name())));
    let mut text = |field: &str, text: Option<String>, most| {
        text.and_then(|text| errors.check(|| path(field), within(text, most)))
    };
    let queue = text("queue", job.queue, JobObservation::QUEUE_BYTES);
    let worker = text("workerId", job.worker_id, JobObservation::ID_BYTES);
    let parent_id = text("parentId", job.parent_id, JobObservation::ID_BYTES);
    let root_id = text("rootId", job.root_id, JobObservation::ID_BYTES);
    // A long error is worth more than none: these are cut, not refused.
    let (error, stacktrace) = (job.error, job.stacktrace);
    let mut time = |field: &str, text: Option<String>| {
        text.and_then(|text| errors.check(|| path(field), time_us(&text))).map(|us| us / 1000)
    };
    let created_ms = time("createdAt", job.created_at);
    let started_ms = time("startedAt", job.started_at);
    let completed_ms = time("completedAt", job.completed_at);
    let scheduled_ms = time("scheduledFor", job.scheduled_for);
    let attempt = job.attempt.and_then(|attempt| {
        errors.check(|| path("attempt"), if attempt > 0 { Ok(attempt) } else { Err("must be 1 or more".into()) })
    });
    let in_range = |progress: &f64| (0.0..=1.0).contains(progress);
    let progress = job.progress.and_then(|progress| {
        errors
            .check(|| path("progress"), Some(progress).filter(in_range).ok_or_else(|| "must be from 0 to 1".to_owned()))
    });
    Some(Observation::Job(Box::new(JobObservation {
        external_id: external_id?,
        at_us: at_us?,
        state: Some(state?),
        attempt,
        max_retries: job.max_retries,
        // A client that does not know the name says this; it must not hide what others know.
        name: Some(name?).filter(|name| name != NAMELESS),
        queue,
        worker,
        progress,
        error,
        stacktrace,
        args: job.args.as_ref().map(shown),
        kwargs: job.kwargs.as_ref().map(shown),
        result: job.result.as_ref().map(shown),
        parent_id,
        root_id,
        created_ms,
        started_ms,
        completed_ms,
        scheduled_ms,
        runtime_ms: job.duration_ms.map(|ms| ms.max(0.0) as i64),
        extensions: extensions(job.extensions),
        ..JobObservation::default()
    })))
}

/// A text as it is; anything else as JSON.
fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn extensions(map: Option<Map<String, Value>>) -> Extensions {
    map.into_iter().flatten().map(|(name, value)| (name, value.to_string())).collect()
}

fn worker(
    worker: IngestWorker,
    at_us: Option<i64>,
    errors: &mut FieldErrors,
    place: &dyn Fn(&str) -> String,
) -> Option<Observation> {
    let path = |field: &str| place(&format!("worker.{field}"));
    let external_id = errors.check(|| path("externalId"), needed(worker.external_id, JobObservation::ID_BYTES));
    let hostname =
        worker.hostname.map(|name| errors.check(|| path("hostname"), needed(Some(name), JobObservation::ID_BYTES)));
    let parse = |text: &str| if text == HEARTBEAT { Some(WorkerState::Online) } else { WorkerState::parse(text) };
    let state = errors.check(
        || path("state"),
        known(worker.state, parse, WorkerState::ALL.iter().map(|known| known.name()).chain([HEARTBEAT])),
    );
    let external_id = external_id?;
    Some(Observation::Worker(Box::new(WorkerObservation {
        at_us: at_us?,
        state: state?,
        hostname: match hostname {
            Some(hostname) => hostname?,
            None => external_id.clone(),
        },
        external_id,
        pid: worker.pid,
        active_jobs: worker.active_jobs,
        processed: worker.metadata.as_ref().and_then(|metadata| metadata.get("processedTotal")).and_then(Value::as_i64),
        concurrency: worker.concurrency,
        queues: worker.queues,
        metadata: extensions(worker.metadata),
    })))
}

fn queue(
    queue: IngestQueue,
    at_us: Option<i64>,
    errors: &mut FieldErrors,
    place: &dyn Fn(&str) -> String,
) -> Option<Observation> {
    let name = errors.check(|| place("queue.name"), needed(queue.name, JobObservation::QUEUE_BYTES));
    let consumers = queue.consumers.map(|count| (count, ConsumersFrom::Pushed));
    Some(Observation::Queue(QueueObservation {
        name: name?,
        at_us: at_us?,
        depth: queue.depth.map(Into::into),
        consumers,
    }))
}

/// What became of the events.
#[derive(Debug, Serialize, Object)]
pub(in crate::http) struct Ingested {
    /// New ones.
    accepted: u64,
    /// Those that were known.
    duplicates: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_has_three_spellings() {
        for kind in ["job:state_change", "job.state_change", "job_state_change"] {
            assert_eq!(group(Some(kind.into())), Ok("job"));
        }
        for kind in ["worker.heartbeat", "worker_state_change"] {
            assert_eq!(group(Some(kind.into())), Ok("worker"));
        }
        assert_eq!(group(Some("queue:snapshot".into())), Ok("queue"));
        for kind in ["job", "job:created", "task:state_change", ""] {
            assert!(group(Some(kind.into())).is_err(), "{kind}");
        }
    }

    #[test]
    fn times_need_the_letter_z() {
        assert_eq!(time_us("2026-05-13T12:01:00.000123Z"), Ok(1_778_673_660_000_123));
        for bad in ["2026-05-13T12:01:00.000+00:00", "2026-05-13T12:01:00", "1778673660", "0001-01-01T00:00:00Z"] {
            assert!(time_us(bad).is_err(), "{bad}");
        }
    }
}
