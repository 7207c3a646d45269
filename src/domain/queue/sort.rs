//! Sort orders of lists, and the selection of the first `k` rows.

use std::cmp::Ordering;

use uuid::Uuid;

use crate::domain::queue::{Job, truncate_utf8};

/// Maximum of a text in a sort key, in bytes, so that a cursor stays short. Rows whose texts differ later are ordered by id.
const KEY_BYTES: usize = 512;

/// Direction of a sorted list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "names")]
pub enum SortOrder {
    Ascending,
    Descending,
}

impl SortOrder {
    /// Turns an ascending comparison into this direction.
    #[must_use]
    pub fn apply(self, ascending: Ordering) -> Ordering {
        match self {
            Self::Ascending => ascending,
            Self::Descending => ascending.reverse(),
        }
    }
}

/// Field by which jobs are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "names of fields of `Job`")]
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
    /// Every field, with the word of the API.
    pub const ALL: [(&str, Self); 7] = [
        ("createdAt", Self::CreatedAt),
        ("name", Self::Name),
        ("state", Self::State),
        ("durationMs", Self::DurationMs),
        ("queue", Self::Queue),
        ("startedAt", Self::StartedAt),
        ("worker", Self::Worker),
    ];

    /// Position of a job in a list sorted by this field.
    #[must_use]
    pub fn position(self, job: &Job) -> SortPosition {
        SortPosition { key: self.key(job), id: job.id }
    }

    fn key(self, job: &Job) -> SortKey {
        let text = |text: &str| SortKey::Text(truncate_utf8(text, KEY_BYTES).to_owned());
        let optional_text = |value: &Option<String>| value.as_deref().map_or(SortKey::Absent, text);
        let optional_number = |value: Option<i64>| value.map_or(SortKey::Absent, SortKey::Number);
        match self {
            Self::CreatedAt => SortKey::Number(job.created_ms),
            Self::Name => text(&job.name),
            Self::State => text(job.state.name()),
            Self::DurationMs => optional_number(job.duration_ms),
            Self::Queue => optional_text(&job.queue),
            Self::StartedAt => optional_number(job.started_ms),
            Self::Worker => optional_text(&job.worker),
        }
    }
}

/// Value of the sorted field. Absent values come last in either direction.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "names")]
pub enum SortKey {
    Number(i64),
    Text(String),
    Absent,
}

/// Position of a row in a sorted list: its key, and its id among equal keys.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "names")]
pub struct SortPosition {
    pub key: SortKey,
    pub id: Uuid,
}

impl SortPosition {
    /// Compares two positions of a list with that direction; `Less`: `self` comes first.
    #[must_use]
    pub fn compare(&self, other: &Self, order: SortOrder) -> Ordering {
        let by_key = match (&self.key, &other.key) {
            (SortKey::Absent, SortKey::Absent) => Ordering::Equal,
            (SortKey::Absent, _) => Ordering::Greater,
            (_, SortKey::Absent) => Ordering::Less,
            (SortKey::Number(a), SortKey::Number(b)) => order.apply(a.cmp(b)),
            (SortKey::Text(a), SortKey::Text(b)) => order.apply(a.cmp(b)),
            (SortKey::Number(_), SortKey::Text(_)) => Ordering::Less,
            (SortKey::Text(_), SortKey::Number(_)) => Ordering::Greater,
        };
        by_key.then_with(|| order.apply(self.id.cmp(&other.id)))
    }
}

/// Top-k selection: the first `k` of any number of rows, in memory for `k`.
#[derive(Debug)]
pub struct TopK<T> {
    order: SortOrder,
    limit: usize,
    rows: Vec<(SortPosition, T)>,
}

impl<T> TopK<T> {
    /// Selects at most `limit` rows.
    #[must_use]
    pub fn new(limit: usize, order: SortOrder) -> Self {
        Self { order, limit, rows: Vec::new() }
    }

    /// Inserts a row, and drops the last one beyond the limit.
    pub fn insert(&mut self, position: SortPosition, row: T) {
        let index = self.rows.partition_point(|(other, _)| other.compare(&position, self.order) == Ordering::Less);
        if index < self.limit {
            self.rows.insert(index, (position, row));
            self.rows.truncate(self.limit);
        }
    }

    /// The selected rows in order, each with its position.
    #[must_use]
    pub fn into_sorted(self) -> Vec<(SortPosition, T)> {
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(key: SortKey, id: u128) -> SortPosition {
        SortPosition { key, id: Uuid::from_u128(id) }
    }

    #[test]
    fn the_first_k_are_in_order_and_absent_values_come_last() {
        for order in [SortOrder::Ascending, SortOrder::Descending] {
            let mut top = TopK::new(4, order);
            for (key, id) in [(Some(5), 1), (None, 2), (Some(7), 3), (Some(5), 4), (Some(9), 5)] {
                top.insert(position(key.map_or(SortKey::Absent, SortKey::Number), id), id);
            }
            let ids: Vec<_> = top.into_sorted().into_iter().map(|(_, id)| id).collect();
            assert_eq!(ids, if order == SortOrder::Descending { [5, 3, 4, 1] } else { [1, 4, 3, 5] });
        }
        let mut top = TopK::new(2, SortOrder::Descending);
        top.insert(position(SortKey::Absent, 1), 'a');
        top.insert(position(SortKey::Text("x".into()), 2), 'b');
        assert_eq!(top.into_sorted().into_iter().map(|(_, row)| row).collect::<Vec<_>>(), ['b', 'a']);
    }
}
