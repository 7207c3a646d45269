//! `GET /api/jobs`, and one job with its history.

use poem_openapi::{
    OpenApi,
    param::{Path, Query},
};
use uuid::Uuid;

use crate::{
    domain::{
        field_errors::FieldErrors,
        queue::{Framework, JobFilter, JobQuery, JobSort, JobState, SortOrder},
    },
    http::{
        app_state::{AppState, Tag},
        auth::{Authorized, Read},
        queues::{
            cursor,
            job_rows::{Cursors, JobList, JobWithDetails},
            params,
        },
        wire::{error::ApiError, outcome::answer, response::Answer, word::UncheckedWord},
    },
    store::Stamped,
};

/// Maximum of a search text, in bytes.
const SEARCH_BYTES: usize = 500;
/// Number of other jobs of the same name that are shown with a job.
const RECENT_JOBS: usize = 10;

pub(in crate::http) struct Jobs;

#[OpenApi(tag = "Tag::Queues")]
impl Jobs {
    /// List jobs, the newest first. They are kept for 24 h, and no more than the tier allows.
    ///
    /// Several filters at once: a job must pass each. An absent value (the queue of a job that nobody reported) comes last in either order. A
    /// cursor belongs to its sort and order.
    #[oai(path = "/jobs", method = "get", operation_id = "listJobs")]
    #[allow(clippy::too_many_arguments, reason = "each is a parameter of the API")]
    async fn list(
        &self,
        caller: Authorized<Read>,
        app_state: AppState,
        /// Where to go on: `nextCursor` of the page before.
        cursor: Query<Option<String>>,
        /// How many: 1 to 100, 50 by default.
        limit: Query<Option<i64>>,
        /// A part of the name, in any case; at most 500 bytes.
        search: Query<Option<String>>,
        state: Query<Option<UncheckedWord<JobState>>>,
        /// A queue's name.
        queue: Query<Option<String>>,
        /// A worker's external id.
        worker: Query<Option<String>>,
        #[oai(name = "connectionId")] connection_id: Query<Option<String>>,
        framework: Query<Option<UncheckedWord<Framework>>>,
        /// `createdAt` (the default), `name`, `state`, `durationMs`, `queue`, `startedAt` or `worker`.
        #[oai(name = "sortBy")]
        sort_by: Query<Option<String>>,
        /// `desc` (the default) or `asc`.
        #[oai(name = "sortOrder")]
        sort_order: Query<Option<String>>,
    ) -> Result<Answer<JobList>, ApiError> {
        let mut errors = FieldErrors::default();
        let filter = JobFilter {
            search: self::search(&mut errors, search.0),
            state: params::word(&mut errors, "state", state.0),
            queue: queue.0,
            worker: worker.0,
            connection: params::connection_id(&mut errors, connection_id.0),
            framework: params::word(&mut errors, "framework", framework.0),
        };
        let limit = params::limit(&mut errors, limit.0);
        let sort = params::sort_by(&mut errors, sort_by.0, &JobSort::ALL);
        let order = params::sort_order(&mut errors, sort_order.0, SortOrder::Descending);
        let after = match (cursor.0.filter(|cursor| !cursor.is_empty()), sort, order) {
            (Some(cursor), Some((sort_by, _)), Some(order)) => {
                let position = cursor::decode(&cursor, sort_by, order)
                    .ok_or_else(|| "is none that this list gave in this order; begin again without it".to_owned());
                errors.check(|| "cursor".into(), position)
            }
            _ => None,
        };
        let (sort_by, query) = errors
            .finish(|| {
                let ((sort_by, sort), order, limit) = (sort?, order?, limit?);
                Some((sort_by, JobQuery { filter, sort, order, after, limit }))
            })
            .map_err(ApiError::validation)?;
        let stamped = app_state.store().jobs(&caller.0, &query).await?;
        Ok(Answer(stamped.map(|page| {
            let last = page.jobs.last().filter(|_| page.has_more);
            let next_cursor = last.map(|(position, _)| cursor::encode(position, sort_by, query.order));
            JobList {
                data: page.jobs.into_iter().map(|(_, job)| job.into()).collect(),
                pagination: Cursors { next_cursor, limit: query.limit as u64, total: page.total as u64 },
            }
        })))
    }

    /// Show a job with its details, the states that it went through, and the newest other jobs of its name.
    #[oai(path = "/jobs/:id", method = "get", operation_id = "getJob")]
    async fn show(
        &self,
        caller: Authorized<Read>,
        app_state: AppState,
        id: Path<String>,
    ) -> Result<Answer<JobWithDetails>, ApiError> {
        let id = Uuid::try_parse(&id.0).map_err(|_| ApiError::not_found("job"))?;
        let stamped = app_state.store().job(&caller.0, id).await?;
        let Stamped { now_us, position, answer: (job, detail) } =
            answer(stamped, |job| job.ok_or_else(|| ApiError::not_found("job")))?;
        let mut recent = if job.name.is_empty() {
            Vec::new()
        } else {
            // One more, as the job itself may be among them.
            app_state.store().recent_jobs(&caller.0, &job.name, RECENT_JOBS + 1).await?
        };
        recent.retain(|other| other.id != id);
        recent.truncate(RECENT_JOBS);
        Ok(Answer(Stamped { now_us, position, answer: JobWithDetails::new(job, detail, recent) }))
    }
}

fn search(errors: &mut FieldErrors, text: Option<String>) -> Option<String> {
    let text = text.filter(|text| !text.is_empty())?;
    let fits = text.len() <= SEARCH_BYTES;
    let parsed = fits.then_some(text).ok_or_else(|| format!("is longer than {SEARCH_BYTES} bytes"));
    errors.check(|| "search".into(), parsed)
}
