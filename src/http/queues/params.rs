//! Query parameters that the lists of jobs, workers and queues share. An empty parameter counts as absent.

use uuid::Uuid;

use crate::{
    domain::{closed_set::ClosedSet, field_errors::FieldErrors, queue::SortOrder},
    http::wire::{
        pagination::{PageSizes, check_limit},
        word::UncheckedWord,
    },
};

/// Page sizes of the lists.
const PAGE_SIZES: PageSizes = PageSizes { default: 50, max: 100 };
const SORT_ORDERS: [(&str, SortOrder); 2] = [("desc", SortOrder::Descending), ("asc", SortOrder::Ascending)];

/// A word of a closed set; `None`: absent or wrong.
pub(super) fn word<T: ClosedSet>(errors: &mut FieldErrors, path: &str, word: Option<UncheckedWord<T>>) -> Option<T> {
    let word = word.filter(|word| !word.as_str().is_empty())?;
    let parsed = T::of_name(word.as_str()).ok_or_else(|| is_none_of(T::VALUES.iter().map(|value| value.name())));
    errors.check(|| path.into(), parsed)
}

/// `connectionId`: a UUID; `None`: absent or wrong.
pub(super) fn connection_id(errors: &mut FieldErrors, text: Option<String>) -> Option<Uuid> {
    let text = text.filter(|text| !text.is_empty())?;
    errors.check(|| "connectionId".into(), Uuid::try_parse(&text).map_err(|_| "is not a UUID".into()))
}

/// `limit`: 1 to 100, 50 by default; `None`: wrong.
pub(super) fn limit(errors: &mut FieldErrors, limit: Option<i64>) -> Option<usize> {
    let Some(limit) = limit else { return Some(PAGE_SIZES.default) };
    errors.check(|| "limit".into(), check_limit(limit, PAGE_SIZES.max))
}

/// `sortBy`: a field of the list with its word, the first one by default; `None`: wrong.
pub(super) fn sort_by<T: Copy>(
    errors: &mut FieldErrors,
    text: Option<String>,
    fields: &[(&'static str, T)],
) -> Option<(&'static str, T)> {
    named(errors, "sortBy", text, fields).unwrap_or_else(|| fields.first().copied())
}

/// `sortOrder`; `None`: wrong.
pub(super) fn sort_order(errors: &mut FieldErrors, text: Option<String>, default: SortOrder) -> Option<SortOrder> {
    match named(errors, "sortOrder", text, &SORT_ORDERS) {
        Some(named) => named.map(|(_, order)| order),
        None => Some(default),
    }
}

/// One of a list's own words; outer `None`: absent, inner `None`: wrong.
fn named<T: Copy>(
    errors: &mut FieldErrors,
    path: &str,
    text: Option<String>,
    values: &[(&'static str, T)],
) -> Option<Option<(&'static str, T)>> {
    let text = text.filter(|text| !text.is_empty())?;
    let found = values.iter().copied().find(|(name, _)| *name == text);
    let parsed = found.ok_or_else(|| is_none_of(values.iter().map(|(name, _)| *name)));
    Some(errors.check(|| path.into(), parsed))
}

/// Message for a word that is none of these.
pub(super) fn is_none_of(words: impl Iterator<Item = &'static str>) -> String {
    format!("is none of {}", words.collect::<Vec<_>>().join(", "))
}

/// Rounds a rate or an average to four decimals.
pub(super) fn round_rate(rate: f64) -> f64 {
    (rate * 10_000.0).round() / 10_000.0
}
