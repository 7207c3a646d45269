//! The kept events, page by page: for whoever asks what happened, and does not watch.

use std::borrow::Cow;

use poem_openapi::{
    Object, Union,
    registry::{MetaSchemaRef, Registry},
    types::Type,
};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    domain::field_errors::FieldErrors,
    feed::{Filter, Frame},
    http::{
        events::schema::{PlatformEvent, ReservationEvent},
        wire::{error::ApiError, pagination::check_limit, response::Answer},
    },
    store::{Caller, Store},
};

/// Entries of the history that one call looks at, where the query does not say.
const DEFAULT_ENTRIES: usize = 100;
/// Most that it may ask for.
const MAX_ENTRIES: usize = 1_000;

/// A page of what happened. Its events are JSON already, so the type is described beside it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct EventHistory {
    events: Vec<Box<RawValue>>,
    as_of: i64,
    next_after: Option<i64>,
}

/// A page of what happened.
#[derive(Object)]
#[oai(rename = "EventHistory", rename_all = "camelCase")]
#[allow(dead_code, reason = "it only describes")]
struct EventHistoryDescribed {
    /// In order, oldest first, as the stream sends them. A page may be short, or empty, where a filter left events out.
    events: Vec<KnownEvent>,
    /// The tenant's latest position.
    as_of: i64,
    /// Pass it as `after` to read on; null: there is nothing more.
    next_after: Option<i64>,
}

/// What a kept event can be.
#[derive(Union)]
#[allow(dead_code, clippy::large_enum_variant, reason = "it only describes")]
enum KnownEvent {
    Reservation(ReservationEvent),
    Platform(PlatformEvent),
}

impl Type for EventHistory {
    const IS_REQUIRED: bool = true;

    type RawElementValueType = Self;
    type RawValueType = Self;

    fn name() -> Cow<'static, str> {
        EventHistoryDescribed::name()
    }

    fn schema_ref() -> MetaSchemaRef {
        EventHistoryDescribed::schema_ref()
    }

    fn register(registry: &mut Registry) {
        EventHistoryDescribed::register(registry);
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

/// Reads a page.
pub(in crate::http) async fn history(
    store: &Store,
    caller: &Caller,
    filter: Result<Filter, ApiError>,
    after: Option<i64>,
    limit: Option<i64>,
) -> Result<Answer<EventHistory>, ApiError> {
    let mut errors = FieldErrors::default();
    let limit = match limit {
        None => Some(DEFAULT_ENTRIES),
        Some(limit) => errors.check(|| "limit".into(), check_limit(limit, MAX_ENTRIES)),
    };
    let after = after.unwrap_or(0);
    if after < 0 {
        errors.add("after", "must be a position, from 0 up");
    }
    let (limit, filter) = (errors.finish(|| limit).map_err(ApiError::validation)?, filter?);
    let page = store.history(caller, after, limit).await?;
    Ok(Answer(page.map(|page| {
        let end = page.notifications.last().and_then(|notification| notification.positions());
        let next_after = end.map(|(_, position)| position).filter(|_| page.has_more());
        let frames = page.notifications.iter().filter_map(Frame::from_notification);
        let events = frames
            .filter(|frame| filter.matches(frame))
            .filter_map(|frame| RawValue::from_string(frame.data().to_owned()).ok())
            .collect();
        EventHistory { events, as_of: page.position, next_after }
    })))
}
