//! Which jobs somebody wants to see, and in which order.

use std::cmp::Ordering;

use uuid::Uuid;

use crate::domain::queue::{Framework, Job, JobState, bounded};

/// The most bytes of a text by which jobs are sorted; what is longer is told apart by the id.
const KEY_BYTES: usize = 512;

/// What passes. An absent part lets everything pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the field of that name")]
pub struct JobFilter {
    /// A part of the name, in any case.
    pub search: Option<String>,
    pub state: Option<JobState>,
    pub queue: Option<String>,
    pub worker: Option<String>,
    pub connection: Option<Uuid>,
    pub framework: Option<Framework>,
}

impl JobFilter {
    /// Whether everything passes.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the job passes.
    #[must_use]
    pub fn passes(&self, job: &Job) -> bool {
        let is = |wanted: &Option<String>, is: &Option<String>| wanted.is_none() || wanted == is;
        self.state.is_none_or(|state| state == job.state)
            && self.connection.is_none_or(|connection| connection == job.connection)
            && self.framework.is_none_or(|framework| framework == job.framework)
            && is(&self.queue, &job.queue)
            && is(&self.worker, &job.worker)
            && self.search.as_ref().is_none_or(|part| job.name.to_lowercase().contains(&part.to_lowercase()))
    }
}

/// By what jobs are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "names")]
pub enum JobSort {
    CreatedAt,
    Name,
    State,
    DurationMs,
    Queue,
    StartedAt,
    Worker,
}

impl JobSort {
    /// Every one there is, with the word as the API spells it.
    pub const ALL: [(&str, Self); 7] = [
        ("createdAt", Self::CreatedAt),
        ("name", Self::Name),
        ("state", Self::State),
        ("durationMs", Self::DurationMs),
        ("queue", Self::Queue),
        ("startedAt", Self::StartedAt),
        ("worker", Self::Worker),
    ];

    /// What of a job is compared.
    #[must_use]
    pub fn key(self, job: &Job) -> SortKey {
        let text = |text: &str| SortKey::Text(bounded(text, KEY_BYTES).to_owned());
        let number = |number: Option<i64>| number.map_or(SortKey::Absent, SortKey::Number);
        let maybe = |name: &Option<String>| name.as_deref().map_or(SortKey::Absent, text);
        match self {
            Self::CreatedAt => SortKey::Number(job.created_ms),
            Self::Name => text(&job.name),
            Self::State => text(job.state.name()),
            Self::DurationMs => number(job.duration_ms),
            Self::Queue => maybe(&job.queue),
            Self::StartedAt => number(job.started_ms),
            Self::Worker => maybe(&job.worker),
        }
    }
}

/// What is compared. What is absent comes last in either direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SortKey {
    /// A number.
    Number(i64),
    /// A text.
    Text(String),
    /// Nothing.
    Absent,
}

/// Where something stands in a sorted list: its key, and its id where keys are equal.
pub type SortPosition = (SortKey, Uuid);

/// Which of the two comes first, in the direction that is asked for.
#[must_use]
pub fn compare(descending: bool, a: &SortPosition, b: &SortPosition) -> Ordering {
    let directed = |ordering: Ordering| if descending { ordering.reverse() } else { ordering };
    let by_key = match (&a.0, &b.0) {
        (SortKey::Absent, SortKey::Absent) => Ordering::Equal,
        (SortKey::Absent, _) => Ordering::Greater,
        (_, SortKey::Absent) => Ordering::Less,
        (SortKey::Number(a), SortKey::Number(b)) => directed(a.cmp(b)),
        (SortKey::Text(a), SortKey::Text(b)) => directed(a.cmp(b)),
        (SortKey::Number(_), SortKey::Text(_)) => Ordering::Less,
        (SortKey::Text(_), SortKey::Number(_)) => Ordering::Greater,
    };
    by_key.then_with(|| directed(a.1.cmp(&b.1)))
}

/// The first few of many, in order, without keeping them all.
#[derive(Debug)]
pub struct Best<T> {
    descending: bool,
    most: usize,
    found: Vec<(SortPosition, T)>,
}

impl<T> Best<T> {
    /// Keeps at most so many.
    #[must_use]
    pub fn of(most: usize, descending: bool) -> Self {
        Self { descending, most, found: Vec::new() }
    }

    /// Takes one in, if it is among the first.
    pub fn offer(&mut self, standing: SortPosition, one: T) {
        let at = self.found.partition_point(|(known, _)| compare(self.descending, known, &standing) == Ordering::Less);
        if at < self.most {
            self.found.insert(at, (standing, one));
            self.found.truncate(self.most);
        }
    }

    /// The first ones, with where they stand.
    #[must_use]
    pub fn take(self) -> Vec<(SortPosition, T)> {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(key: SortKey, id: u128) -> SortPosition {
        (key, Uuid::from_u128(id))
    }

    #[test]
    fn the_first_few_are_kept_in_order_and_what_is_absent_comes_last() {
        for descending in [false, true] {
            let mut best = Best::of(4, descending);
            for (key, id) in [(Some(5), 1), (None, 2), (Some(7), 3), (Some(5), 4), (Some(9), 5)] {
                best.offer(standing(key.map_or(SortKey::Absent, SortKey::Number), id), id);
            }
            let found: Vec<_> = best.take().into_iter().map(|(_, id)| id).collect();
            assert_eq!(found, if descending { [5, 3, 4, 1] } else { [1, 4, 3, 5] });
        }
        let mut best = Best::of(2, true);
        best.offer(standing(SortKey::Absent, 1), 'a');
        best.offer(standing(SortKey::Text("x".into()), 2), 'b');
        assert_eq!(best.take().into_iter().map(|(_, id)| id).collect::<Vec<_>>(), ['b', 'a']);
    }
}
