//! Query of the list of jobs.

use uuid::Uuid;

use crate::domain::queue::{Framework, Job, JobSort, JobState, SortOrder, SortPosition};

/// One page of the list of jobs.
#[derive(Debug, Clone)]
pub struct JobQuery {
    /// Conditions of the listed jobs.
    pub filter: JobFilter,
    /// Field by which they are sorted.
    pub sort: JobSort,
    /// Direction of the sort.
    pub order: SortOrder,
    /// Position of the last job of the page before; `None` for the first page.
    pub after: Option<SortPosition>,
    /// Maximum number of jobs of the page.
    pub limit: usize,
}

/// Conditions that a listed job must all meet; an absent one is met by every job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "those without are compared with the field of that name of `Job`")]
pub struct JobFilter {
    /// Part of the name, in any case.
    pub search: Option<String>,
    pub state: Option<JobState>,
    pub queue: Option<String>,
    pub worker: Option<String>,
    pub connection: Option<Uuid>,
    pub framework: Option<Framework>,
}

impl JobFilter {
    /// Whether it has no condition.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the job meets every condition.
    #[must_use]
    pub fn matches(&self, job: &Job) -> bool {
        let equal = |wanted: &Option<String>, actual: &Option<String>| wanted.is_none() || wanted == actual;
        self.state.is_none_or(|state| state == job.state)
            && self.connection.is_none_or(|connection| connection == job.connection)
            && self.framework.is_none_or(|framework| framework == job.framework)
            && equal(&self.queue, &job.queue)
            && equal(&self.worker, &job.worker)
            && self.search.as_ref().is_none_or(|part| job.name.to_lowercase().contains(&part.to_lowercase()))
    }
}
