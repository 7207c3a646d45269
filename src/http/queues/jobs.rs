//! The jobs that are watched: `GET /api/jobs`, and one of them with its history.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use poem_openapi::{
    Object, OpenApi,
    param::{Path, Query},
};
use serde::Serialize;
use serde_json::{Map, Value, value::RawValue};
use uuid::Uuid;

use crate::{
    domain::{
        field_errors::FieldErrors,
        queue::{Framework, Job, JobDetail, JobFilter, JobSort, JobState, SortKey, SortPosition, named},
        time::{instant, wire, wire_option},
    },
    http::{
        app_state::{AppState, Tag},
        auth::{Authorized, Read},
        wire::{error::ApiError, response::Answer},
    },
    store::Stamped,
};

/// How many jobs a page has without a wish, and at most.
const LIMIT: usize = 50;
pub(in crate::http) const LIMIT_MOST: usize = 100;
/// The most bytes of a cursor and of a search.
const CURSOR_BYTES: usize = 1_000;
const SEARCH_BYTES: usize = 500;
/// How many others of the same name a job's own page shows.
const RECENT: usize = 10;

pub(in crate::http) struct Jobs;

#[OpenApi(tag = "Tag::Queues")]
impl Jobs {
    /// List jobs, the last made first. They are kept for 24 h, and no more than the tier allows.
    ///
    /// Several filters at once: a job must pass each. What is absent (a queue that nobody named) comes last in either order. A cursor
    /// belongs to its sort and order.
    #[oai(path = "/jobs", method = "get", operation_id = "listJobs")]
    #[allow(clippy::too_many_arguments, reason = "each is a parameter of the API")]
    async fn list(
        &self,
        caller: Authorized<Read>,
        here: AppState,
        /// Where to go on: `nextCursor` of the page before.
        cursor: Query<Option<String>>,
        /// How many: 1 to 100, 50 by default.
        limit: Query<Option<i64>>,
        /// A part of the name, in any case; at most 500 bytes.
        search: Query<Option<String>>,
        /// `unknown`, `queued`, `scheduled`, `active`, `completed`, `failed`, `retrying` or `cancelled`.
        state: Query<Option<String>>,
        /// A queue's name.
        queue: Query<Option<String>>,
        /// A worker's external id.
        worker: Query<Option<String>>,
        #[oai(name = "connectionId")] connection_id: Query<Option<String>>,
        /// `celery`, `bullmq` or `sidekiq`.
        framework: Query<Option<String>>,
        /// `createdAt` (the default), `name`, `state`, `durationMs`, `queue`, `startedAt` or `worker`.
        #[oai(name = "sortBy")]
        sort_by: Query<Option<String>>,
        /// `desc` (the default) or `asc`.
        #[oai(name = "sortOrder")]
        sort_order: Query<Option<String>>,
    ) -> Result<Answer<JobList>, ApiError> {
        let mut errors = FieldErrors::default();
        let filter = JobFilter {
            search: search.0.filter(|text| !text.is_empty()).and_then(|text| {
                let fits = text.len() <= SEARCH_BYTES;
                errors.check(
                    || "search".into(),
                    fits.then_some(text).ok_or_else(|| format!("is longer than {SEARCH_BYTES} bytes")),
                )
            }),
            state: one_of(&mut errors, "state", state.0, JobState::ALL, JobState::name),
            queue: queue.0,
            worker: worker.0,
            connection: connection_of(&mut errors, connection_id.0),
            framework: one_of(&mut errors, "framework", framework.0, Framework::ALL, Framework::name),
        };
        let limit = limit_of(&mut errors, limit.0, LIMIT);
        let (name, sort) =
            one_of(&mut errors, "sortBy", sort_by.0, &JobSort::ALL, |(name, _)| name).unwrap_or(JobSort::ALL[0]);
        let descending = descending_of(&mut errors, sort_order.0, true);
        let after = cursor.0.filter(|cursor| !cursor.is_empty()).and_then(|cursor| {
            let read = decode(&cursor, name, descending)
                .ok_or_else(|| "is none that this list gave in this order; begin again without it".to_owned());
            errors.check(|| "cursor".into(), read)
        });
        errors.finish(|| Some(())).map_err(ApiError::validation)?;
        let told = here.store().jobs(&caller.0, &filter, (sort, descending), after.as_ref(), limit).await?;
        Ok(Answer(told.map(|page| {
            let next_cursor =
                page.jobs.last().filter(|_| page.more).map(|(standing, _)| encode(standing, name, descending));
            JobList {
                data: page.jobs.into_iter().map(|(_, job)| job.into()).collect(),
                pagination: Cursors { next_cursor, limit: limit as u64, total: page.total as u64 },
            }
        })))
    }

    /// Show a job with its details, the states that it went through, and the last others of its name.
    #[oai(path = "/jobs/:id", method = "get", operation_id = "getJob")]
    async fn show(
        &self,
        caller: Authorized<Read>,
        here: AppState,
        id: Path<String>,
    ) -> Result<Answer<JobPage>, ApiError> {
        let id = Uuid::try_parse(&id.0).map_err(|_| ApiError::not_found("job"))?;
        let Stamped { now_us, position, answer } = here.store().job(&caller.0, id).await?;
        let (job, detail) = answer.ok_or_else(|| ApiError::not_found("job").at(now_us))?;
        let recent = if job.name.is_empty() {
            Vec::new()
        } else {
            here.store().recent_jobs(&caller.0, &job.name, RECENT + 1).await?
        };
        Ok(Answer(Stamped { now_us, position, answer: JobPage::of(job, detail, recent) }))
    }
}

/// One word of several, if it is there.
pub(in crate::http) fn one_of<T: Copy>(
    errors: &mut FieldErrors,
    path: &str,
    text: Option<String>,
    all: &[T],
    name: impl Fn(T) -> &'static str,
) -> Option<T> {
    let text = text.filter(|text| !text.is_empty())?;
    let found = all.iter().copied().find(|one| name(*one) == text);
    errors.check(
        || path.into(),
        found.ok_or_else(|| format!("is none of {}", all.iter().map(|one| name(*one)).collect::<Vec<_>>().join(", "))),
    )
}

pub(in crate::http) fn connection_of(errors: &mut FieldErrors, text: Option<String>) -> Option<Uuid> {
    let text = text.filter(|text| !text.is_empty())?;
    errors.check(|| "connectionId".into(), Uuid::try_parse(&text).map_err(|_| "is not a UUID".into()))
}

pub(in crate::http) fn limit_of(errors: &mut FieldErrors, limit: Option<i64>, default: usize) -> usize {
    let limit = limit.map_or(Some(default), |limit| {
        let fits = (1..=LIMIT_MOST as i64).contains(&limit);
        errors.check(
            || "limit".into(),
            fits.then_some(limit as usize).ok_or_else(|| format!("must be from 1 to {LIMIT_MOST}")),
        )
    });
    limit.unwrap_or(default)
}

pub(in crate::http) fn descending_of(errors: &mut FieldErrors, text: Option<String>, default: bool) -> bool {
    one_of(errors, "sortOrder", text, &[("desc", true), ("asc", false)], |(name, _)| name)
        .map_or(default, |(_, descending)| descending)
}

fn encode(standing: &SortPosition, sort: &str, descending: bool) -> String {
    let key = match &standing.0 {
        SortKey::Number(number) => format!("n{number}"),
        SortKey::Text(text) => format!("t{text}"),
        SortKey::Absent => "-".into(),
    };
    let direction = if descending { 'd' } else { 'a' };
    URL_SAFE_NO_PAD.encode(format!("{direction}{sort}:{}:{key}", standing.1.simple()))
}

fn decode(cursor: &str, sort: &str, descending: bool) -> Option<SortPosition> {
    if cursor.len() > CURSOR_BYTES {
        return None;
    }
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    let rest = text.strip_prefix(if descending { 'd' } else { 'a' })?.strip_prefix(sort)?.strip_prefix(':')?;
    let (id, key) = rest.split_once(':')?;
    let key = match key.split_at_checked(1)? {
        ("n", number) => SortKey::Number(number.parse().ok()?),
        ("t", text) => SortKey::Text(text.into()),
        ("-", "") => SortKey::Absent,
        _ => return None,
    };
    Some((key, Uuid::try_parse(id).ok()?))
}

/// A job.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
pub(in crate::http) struct JobRow {
    id: Uuid,
    /// The framework's own id.
    external_id: String,
    framework: String,
    connection_id: Uuid,
    /// `unknown` while nobody has said it.
    name: String,
    queue: Option<String>,
    /// `unknown`, `queued`, `scheduled`, `active`, `completed`, `failed`, `retrying` or `cancelled`.
    state: String,
    #[serde(with = "wire")]
    state_changed_at: DateTime<Utc>,
    #[serde(with = "wire_option")]
    scheduled_for: Option<DateTime<Utc>>,
    #[serde(with = "wire")]
    created_at: DateTime<Utc>,
    #[serde(with = "wire_option")]
    started_at: Option<DateTime<Utc>>,
    #[serde(with = "wire_option")]
    completed_at: Option<DateTime<Utc>>,
    duration_ms: Option<i64>,
    /// The worker's external id.
    worker_id: Option<String>,
    error: Option<String>,
}

impl From<Job> for JobRow {
    fn from(job: Job) -> Self {
        Self {
            id: job.id,
            external_id: job.external_id,
            framework: job.framework.name().into(),
            connection_id: job.connection,
            name: named(&job.name).to_owned(),
            queue: job.queue,
            state: job.state.name().into(),
            state_changed_at: instant(job.changed_ms),
            scheduled_for: job.scheduled_ms.map(instant),
            created_at: instant(job.created_ms),
            started_at: job.started_ms.map(instant),
            completed_at: job.completed_ms.map(instant),
            duration_ms: job.duration_ms,
            worker_id: job.worker,
            error: job.error,
        }
    }
}

/// A job with everything that is known of it.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
pub(in crate::http) struct JobPage {
    #[serde(flatten)]
    #[oai(flatten)]
    row: JobRow,
    previous_state: Option<String>,
    /// 1 for the first.
    attempt: Option<i64>,
    max_retries: Option<i64>,
    progress: Option<f64>,
    /// As the framework writes them.
    args: Option<String>,
    kwargs: Option<String>,
    result: Option<String>,
    stacktrace: Option<String>,
    /// The external id of the job that made this one.
    parent_id: Option<String>,
    root_id: Option<String>,
    #[oai(skip)]
    tags: Map<String, Value>,
    #[oai(skip)]
    extensions: Extra,
    /// The states that it went through, the first one first.
    state_history: Vec<JobPassage>,
    /// The last others of its name.
    recent_executions: Vec<JobRow>,
}

/// Names and JSON values, as one object.
#[derive(Debug, Default)]
struct Extra(Vec<(String, String)>);

impl Serialize for Extra {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(name, value)| {
            // What a client pushed was JSON; anything else is shown as the text that it is.
            let value: Box<RawValue> =
                serde_json::from_str(value).or_else(|_| serde_json::value::to_raw_value(value)).unwrap_or_default();
            (name, value)
        }))
    }
}

/// A state that a job went into.
#[derive(Debug, Serialize, Object)]
pub(in crate::http) struct JobPassage {
    state: String,
    #[serde(with = "wire")]
    timestamp: DateTime<Utc>,
}

impl JobPage {
    fn of(job: Job, detail: JobDetail, recent: Vec<Job>) -> Self {
        let id = job.id;
        Self {
            previous_state: job.previous.map(|state| state.name().into()),
            attempt: job.attempt,
            max_retries: detail.max_retries,
            progress: detail.progress,
            args: detail.args,
            kwargs: detail.kwargs,
            result: detail.result,
            stacktrace: detail.stacktrace,
            parent_id: detail.parent_id,
            root_id: detail.root_id,
            tags: Map::new(),
            extensions: Extra(detail.extensions),
            state_history: job
                .history
                .iter()
                .map(|passage| JobPassage { state: passage.state.name().into(), timestamp: instant(passage.at_ms) })
                .collect(),
            recent_executions: recent.into_iter().filter(|other| other.id != id).take(RECENT).map(Into::into).collect(),
            row: job.into(),
        }
    }
}

/// A page of jobs.
#[derive(Debug, Serialize, Object)]
pub(in crate::http) struct JobList {
    data: Vec<JobRow>,
    pagination: Cursors,
}

/// Where the list goes on.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
pub(in crate::http) struct Cursors {
    /// Null at the end.
    next_cursor: Option<String>,
    limit: u64,
    /// How many there are on all pages.
    total: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_went_and_only_to_its_own_order() {
        for key in [SortKey::Number(-5), SortKey::Text("a:b".into()), SortKey::Text(String::new()), SortKey::Absent] {
            let standing = (key, Uuid::from_u128(7));
            let cursor = encode(&standing, "name", true);
            assert_eq!(decode(&cursor, "name", true), Some(standing));
            assert_eq!(decode(&cursor, "name", false), None);
            assert_eq!(decode(&cursor, "queue", true), None);
        }
        let longest = encode(&(SortKey::Text("x".repeat(512)), Uuid::nil()), "durationMs", true);
        assert!(longest.len() <= CURSOR_BYTES);
        assert_eq!(decode("!", "name", true), None);
    }
}
